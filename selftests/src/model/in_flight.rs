// SPDX-License-Identifier: GPL-2.0

//! One file under operations of which several are in flight at once, where others are too; and in memory what each of its
//! bytes can be.
//!
//! A byte that several write is what one of them writes, and one that is read meanwhile may be what it was before. What is
//! in flight together is either written through the page cache or past it, as nobody says what comes of both.

use std::fs;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use anyhow::{bail, ensure, Context, Result};
use rustix::fs::{fadvise, statx, Advice, AtFlags, FallocateFlags, OFlags, StatxFlags};
use rustix::io::{preadv2, pwritev2, Errno, ReadWriteFlags};

use super::file::open_or_create;
use super::history::History;
use crate::filesystem::Fstyp;
use crate::seed::Bytes;
use crate::uring::{How, Part, Ring, What};

/// Longest file, in bytes.
const MOST: u64 = 512 << 10;
/// Most that are in flight at once.
const SLOTS: u16 = 8;

/// A file under random operations, several at once.
pub struct InFlight {
    fstyp: Fstyp,
    path: PathBuf,
    content: Vec<u8>,
    random: Bytes,
    history: History,
    counts: Counts,
}

/// What has been tried.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Requests to the ring.
    pub requests: u64,
    /// Bytes that several wrote at once.
    pub contested: u64,
    /// Those that were told not to wait and did something.
    pub done: u64,
    /// Those that would have waited.
    pub refused: u64,
}

/// The file as it is open while the volume is mounted.
struct Open {
    file: fs::File,
    direct: fs::File,
    /// Multiples of this many bytes suit direct I/O.
    align: u64,
}

/// One of those that are in flight together.
struct Pending {
    what: What,
    nowait: bool,
    /// What it writes, from where on: nothing if it reads.
    at: u64,
    bytes: Vec<u8>,
    /// Whether the file becomes longer if that reaches behind its end.
    extends: bool,
}

impl Pending {
    /// What it makes of the byte at `pos`.
    fn value(&self, pos: u64) -> Option<u8> {
        let index = usize::try_from(pos.checked_sub(self.at)?).ok()?;
        self.bytes.get(index).copied()
    }
}

impl InFlight {
    /// A file that is to be at `path` in a volume, which `fstyp` changes.
    pub fn new(fstyp: Fstyp, path: &Path, seed: u64) -> Self {
        Self {
            fstyp,
            path: path.to_owned(),
            content: Vec::new(),
            random: Bytes::new(seed, 0x10f1),
            history: History::default(),
            counts: Counts::default(),
        }
    }

    /// What has been tried.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Does `n` operations below `root`, where the volume is mounted now, each of several parts.
    ///
    /// # Errors
    /// The filesystem refuses one, or something is read that was not written; with what was done before.
    pub fn run(&mut self, root: &Path, n: u64) -> Result<()> {
        let open = self.open(root)?;
        let mut ring = Ring::new(SLOTS)?;
        for _ in 0..n {
            let done = match self.random.below(12) {
                0 => self.truncate(&open),
                1 => self.forget(&open),
                2..=4 => self.call(&open),
                _ => self.together(&open, &mut ring),
            };
            done.with_context(|| self.history.show())?;
        }
        Ok(())
    }

    /// Compares the whole file below `root` with what it must hold.
    ///
    /// # Errors
    /// It holds something else; with what was done before.
    pub fn check(&self, root: &Path) -> Result<()> {
        let found = fs::read(root.join(&self.path)).context("read")?;
        let len = self.content.len();
        ensure!(
            found.len() == len,
            "{:#x} bytes instead of {len:#x}",
            found.len()
        );
        let wrong = found.iter().zip(&self.content).position(|(a, b)| a != b);
        if let Some(pos) = wrong {
            bail!(
                "byte {pos:#x} is {:#04x} instead of {:#04x}: {}",
                found[pos],
                self.content[pos],
                self.history.show()
            );
        }
        Ok(())
    }

    fn open(&self, root: &Path) -> Result<Open> {
        let path = root.join(&self.path);
        let open = |flags| open_or_create(&path, flags);
        let file = open(OFlags::empty())?;
        let stat = statx(&file, c"", AtFlags::EMPTY_PATH, StatxFlags::DIOALIGN).context("statx")?;
        Ok(Open {
            direct: open(OFlags::DIRECT)?,
            align: stat.stx_dio_offset_align.max(512).into(),
            file,
        })
    }

    fn size(&self) -> u64 {
        self.content.len() as u64
    }

    fn truncate(&mut self, open: &Open) -> Result<()> {
        let size = self.random.below(MOST);
        self.history.add(format!("truncate to {size:#x}"));
        open.file.set_len(size).context("ftruncate")?;
        self.content.resize(size as usize, 0);
        Ok(())
    }

    /// Has the kernel forget what it can of the file.
    fn forget(&mut self, open: &Open) -> Result<()> {
        self.history.add("fsync, fadvise DONTNEED");
        open.file.sync_all().context("fsync")?;
        fadvise(&open.file, 0, None, Advice::DontNeed).context("fadvise")
    }

    /// A part of the file of at most a slot's length that ends at `end` or before: where in the file, and its length; with
    /// `align` it suits direct I/O.
    fn range(&mut self, end: u64, align: u64) -> (u64, u64) {
        let random = &mut self.random;
        let most = (Ring::SLOT as u64).min(end);
        let len = match random.below(4) {
            0 => 1 + random.below(600),
            1..=2 => 1 + random.below(20_000),
            _ => 1 + random.below(most),
        };
        let len = len.next_multiple_of(align).min(most / align * align);
        // They are to meet: half of them begin at few places.
        let pos = match random.below(2) {
            0 => random.below(8) * 0x3000,
            _ => random.below(end),
        };
        let pos = pos.min(end - len) / align * align;
        (pos, len)
    }

    /// `len` bytes that are 0 nowhere, and like no others soon.
    fn bytes(&mut self, len: u64) -> Vec<u8> {
        let bytes = self.random.take(len as usize);
        bytes.into_iter().map(|byte| byte | 1).collect()
    }

    /// One call that says how it is to be done: preadv2(2) or pwritev2(2).
    fn call(&mut self, open: &Open) -> Result<()> {
        let is_direct = self.random.one_in(2);
        let (file, align) = match is_direct {
            true => (&open.direct, open.align),
            false => (&open.file, 1),
        };
        let nowait = match self.random.below(2) {
            0 => ReadWriteFlags::NOWAIT,
            _ => ReadWriteFlags::empty(),
        };
        let is_nowait = !nowait.is_empty();
        if self.random.one_in(3) && self.size() >= align {
            let (pos, len) = self.range(self.size(), align);
            self.history.add(format!(
                "preadv2 {nowait:?} direct {is_direct} {pos:#x}+{len:#x}"
            ));
            let (mut buffer, start) = aligned(len as usize);
            let bytes = &mut buffer[start..start + len as usize];
            let read = preadv2(file.as_fd(), &mut [IoSliceMut::new(bytes)], pos, nowait);
            let read = self.count(read, len, is_nowait)?;
            let wanted = &self.content[pos as usize..][..read];
            let wrong = (bytes.iter().zip(wanted)).position(|(found, want)| found != want);
            ensure!(
                wrong.is_none(),
                "byte {:#x} is wrong",
                pos + wrong.unwrap_or(0) as u64
            );
            return Ok(());
        }
        let sync = match self.random.below(4) {
            0 => ReadWriteFlags::DSYNC,
            1 => ReadWriteFlags::SYNC,
            _ => ReadWriteFlags::empty(),
        };
        let (mut pos, mut len) = self.range(MOST, align);
        let mut flags = nowait | sync;
        let mut at = pos;
        if self.random.one_in(3) && self.size() % align == 0 && self.size() < MOST / 2 {
            // Wherever it is told to write.
            flags |= ReadWriteFlags::APPEND;
            pos = self.size();
            len = len.min(MOST / 2);
            at = at.max(1) / align * align;
        }
        self.history.add(format!(
            "pwritev2 {flags:?} direct {is_direct} {pos:#x}+{len:#x}"
        ));
        let bytes = self.bytes(len);
        let (mut buffer, start) = aligned(bytes.len());
        buffer[start..start + bytes.len()].copy_from_slice(&bytes);
        let slice = &buffer[start..start + bytes.len()];
        let wrote = pwritev2(file.as_fd(), &[IoSlice::new(slice)], at, flags);
        let wrote = self.count(wrote, len, is_nowait)?;
        self.put(pos, &bytes[..wrote]);
        self.check_size(open)
    }

    /// Bytes that one which may be told not to wait has done of `len`.
    fn count(&mut self, result: Result<usize, Errno>, len: u64, nowait: bool) -> Result<usize> {
        match result {
            // Through the page cache ext4 never writes without waiting.
            Err(Errno::AGAIN | Errno::OPNOTSUPP)
                if nowait && (self.fstyp == Fstyp::Ext4 || result == Err(Errno::AGAIN)) =>
            {
                self.counts.refused += 1;
                self.history.outcome("refused");
                Ok(0)
            }
            Ok(count) if nowait && 0 < count && count as u64 <= len => {
                self.counts.done += 1;
                self.history.outcome(&format!("{count:#x}"));
                Ok(count)
            }
            Ok(count) if count as u64 == len => Ok(count),
            other => bail!("{other:?} of {len:#x}"),
        }
    }

    fn put(&mut self, pos: u64, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let (start, end) = (pos as usize, pos as usize + bytes.len());
        if end > self.content.len() {
            self.content.resize(end, 0);
        }
        self.content[start..end].copy_from_slice(bytes);
    }

    fn check_size(&self, open: &Open) -> Result<()> {
        let found = open.file.metadata().context("fstat")?.len();
        let size = self.size();
        ensure!(found == size, "the size is {found:#x} instead of {size:#x}");
        Ok(())
    }

    /// Several at once.
    fn together(&mut self, open: &Open, ring: &mut Ring) -> Result<()> {
        let is_direct = self.random.one_in(2);
        let n = 1 + self.random.below(SLOTS.into());
        self.counts.requests += n;
        let mut pending = Vec::new();
        for slot in 0..n as usize {
            let (file, what, how) = self.one(open, is_direct);
            self.history.add(format!("slot {slot}: {what:x?} {how:?}"));
            let mut one = Pending {
                what,
                nowait: how.flags.contains(ReadWriteFlags::NOWAIT),
                at: 0,
                bytes: Vec::new(),
                extends: true,
            };
            match what {
                What::Write(part, pos) => {
                    one.at = pos;
                    one.bytes = self.bytes(part.len as u64);
                    ring.put(slot, part.start, &one.bytes)?;
                }
                What::Read(part, _) => ring.put(slot, part.start, &vec![0xcc; part.len])?,
                What::Fallocate(mode, pos, len) => {
                    one.extends = !mode.contains(FallocateFlags::KEEP_SIZE);
                    one.at = pos;
                    if !mode.difference(FallocateFlags::KEEP_SIZE).is_empty() {
                        one.bytes = vec![0; len as usize];
                    }
                }
                _ => {}
            }
            ring.push(slot, file, what, how)?;
            pending.push(one);
            if self.random.one_in(3) {
                ring.submit()?;
            }
        }
        ring.submit()?;
        let mut size = self.size();
        for _ in 0..n {
            let (slot, result) = ring.end()?;
            let what = pending[slot].what;
            let done = self.ended(ring, slot, &pending, result);
            let count = done.with_context(|| format!("slot {slot}: {what:x?}"))?;
            // What came short was not written.
            let end = match what {
                What::Write(_, pos) => {
                    pending[slot].bytes.truncate(count);
                    if count == 0 {
                        0
                    } else {
                        pos + count as u64
                    }
                }
                What::Fallocate(_, pos, len) if pending[slot].extends => pos + len,
                _ => 0,
            };
            size = size.max(end);
        }
        self.content.resize(size as usize, 0);
        self.check_size(open)?;
        self.adopt(open, &pending)
    }

    /// Something to be done, with which file, and how.
    fn one<'a>(&mut self, open: &'a Open, is_direct: bool) -> (&'a fs::File, What, How) {
        let choice = self.random.below(16);
        // A read of what is written through the page cache may go past it.
        let is_direct = is_direct || (choice >= 8 && self.random.one_in(4));
        let (file, align) = match is_direct {
            true => (&open.direct, open.align),
            false => (&open.file, 1),
        };
        let modes = [
            FallocateFlags::empty(),
            FallocateFlags::KEEP_SIZE,
            FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE,
            FallocateFlags::ZERO_RANGE,
            FallocateFlags::ZERO_RANGE | FallocateFlags::KEEP_SIZE,
        ];
        let what = match choice {
            8..=12 if self.size() >= align => {
                let (pos, len) = self.range(self.size(), align);
                What::Read(self.part(len, align), pos)
            }
            13 => What::Fsync,
            14 => What::Fdatasync,
            15 => {
                let mode = *self.random.pick(&modes).unwrap_or(&modes[0]);
                let (pos, len) = self.range(MOST, 1);
                What::Fallocate(mode, pos, len)
            }
            0..=7 => {
                let (pos, len) = self.range(MOST, align);
                What::Write(self.part(len, align), pos)
            }
            _ => What::Fdatasync,
        };
        let random = &mut self.random;
        let is_io = matches!(what, What::Read(..) | What::Write(..));
        let flags = match random.below(6) {
            0 if is_io => ReadWriteFlags::NOWAIT,
            1 if matches!(what, What::Write(..)) => ReadWriteFlags::DSYNC,
            _ => ReadWriteFlags::empty(),
        };
        let how = How {
            fixed: random.one_in(2),
            // One that may not wait is refused by a worker, or not, as the kernel likes.
            by_worker: flags != ReadWriteFlags::NOWAIT && random.one_in(3),
            flags,
        };
        (file, what, how)
    }

    /// Where in a slot `len` bytes are.
    fn part(&mut self, len: u64, align: u64) -> Part {
        let room = Ring::SLOT as u64 - len;
        Part {
            start: (self.random.below(room + 1) / align * align) as usize,
            len: len as usize,
        }
    }

    /// How many bytes the request of `slot` has read or written; what it has read is as it may be.
    fn ended(
        &mut self,
        ring: &Ring,
        slot: usize,
        pending: &[Pending],
        result: Result<usize, Errno>,
    ) -> Result<usize> {
        let Pending { what, nowait, .. } = pending[slot];
        match what {
            What::Write(part, _) => self.count(result, part.len as u64, nowait),
            What::Read(part, pos) => {
                let count = self.count(result, part.len as u64, nowait)?;
                let bytes = ring.get(slot, Part { len: count, ..part })?;
                for (pos, found) in (pos..).zip(bytes) {
                    let old = self.content[pos as usize];
                    let is_new = || pending.iter().any(|one| one.value(pos) == Some(found));
                    ensure!(
                        found == old || is_new(),
                        "byte {pos:#x} is {found:#04x}, which it was not ({old:#04x}), and nobody wrote"
                    );
                }
                Ok(count)
            }
            _ => {
                ensure!(result == Ok(0), "{result:?}");
                Ok(0)
            }
        }
    }

    /// Takes from the file which of `pending` was last, where there are several; and sees that it is one of them.
    fn adopt(&mut self, open: &Open, pending: &[Pending]) -> Result<()> {
        use std::os::unix::fs::FileExt;
        let writes = || pending.iter().filter(|one| !one.bytes.is_empty());
        let Some(start) = writes().map(|one| one.at).min() else {
            return Ok(());
        };
        let end = writes().map(|one| one.at + one.bytes.len() as u64).max();
        let end = end.unwrap_or(start).min(self.size());
        if start >= end {
            return Ok(());
        }
        let mut found = vec![0xcc; (end - start) as usize];
        open.file.read_exact_at(&mut found, start).context("read")?;
        for (pos, found) in (start..).zip(found) {
            let mut values = writes().filter_map(|one| one.value(pos)).peekable();
            let content = &mut self.content[pos as usize];
            let is_good = match values.peek() {
                Some(_) => values.any(|value| value == found),
                None => *content == found,
            };
            let writers = writes().filter(|one| one.value(pos).is_some()).count();
            self.counts.contested += u64::from(writers > 1);
            ensure!(
                is_good,
                "afterwards byte {pos:#x} is {found:#04x}, was {content:#04x}, written were {:x?}",
                writes()
                    .filter_map(|one| one.value(pos))
                    .collect::<Vec<_>>()
            );
            *content = found;
        }
        Ok(())
    }
}

/// A buffer, and where in it `len` bytes are at an address that suits direct I/O.
fn aligned(len: usize) -> (Vec<u8>, usize) {
    const MEMORY_ALIGN: usize = 4096;
    let buffer = vec![0xcc; len + MEMORY_ALIGN];
    let start = buffer.as_ptr().align_offset(MEMORY_ALIGN);
    (buffer, start)
}
