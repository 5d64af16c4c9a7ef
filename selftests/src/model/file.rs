// SPDX-License-Identifier: GPL-2.0

//! One file and its bytes in memory: changed and read in every way that there is, as fsx does.

use std::fmt;
use std::fs;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::{bail, ensure, Context, Result};
use rustix::fs::{
    copy_file_range, fadvise, fallocate, fstatvfs, openat, seek, statx, Advice, AtFlags,
    FallocateFlags, Mode, OFlags, SeekFrom, StatxFlags, CWD,
};
use rustix::io::{pwritev2, Errno, ReadWriteFlags};

use super::failing::Failing;
use super::history::History;
use crate::filesystem::Fstyp;
use crate::mapping::SharedMapping;
use crate::seed::Bytes;

/// Longest file, in bytes behind its start.
const MOST: u64 = 2 << 20;
/// Where most operations are.
const NEAR: u64 = 128 << 10;
/// What direct I/O wants of a buffer's address, at most.
const MEMORY_ALIGN: usize = 4096;

/// How often pages may be dropped while a file is looked through.
const DROPPED: u32 = 10;

const ZEROES: [u8; 4096] = [0; 4096];

/// Where in the file the operations are.
#[derive(Clone, Copy, Debug)]
pub enum Start {
    /// At its beginning.
    Beginning,
    /// At the end of the longest file that a volume with blocks of so many bytes can hold under ext4; before is a hole.
    OfLongest(u64),
}

/// A file under random operations.
pub struct File {
    path: PathBuf,
    /// Position in the file of the first byte of `content`.
    base: u64,
    /// What is in the file from there on.
    content: Vec<u8>,
    random: Bytes,
    history: History,
    failing: Failing,
    /// What is stored behind the end may become part of the file.
    leaks_behind_the_end: bool,
    open: Option<Open>,
}

/// The file as it is open while the volume is mounted.
struct Open {
    file: fs::File,
    append: fs::File,
    direct: fs::File,
    /// The whole of what the file may become, so that pages stay mapped from one operation to the next.
    mapping: SharedMapping,
    /// Multiples of this many bytes suit direct I/O.
    align: u64,
}

/// A part of the file, in bytes from `base` on.
#[derive(Clone, Copy)]
struct Range {
    pos: u64,
    len: u64,
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}+{:#x}", self.pos, self.len)
    }
}

impl Range {
    fn end(self) -> u64 {
        self.pos + self.len
    }

    /// Its indices in a slice.
    fn slice(self) -> std::ops::Range<usize> {
        self.pos as usize..self.end() as usize
    }
}

/// How bytes are read.
#[derive(Clone, Copy, Debug)]
enum By {
    Read,
    Mapping,
    Direct,
}

impl By {
    const ALL: &'static [Self] = &[Self::Read, Self::Mapping, Self::Direct];
}

impl File {
    /// A file that is to be at `path` in a volume: made anew when it is first [opened](Self::open).
    pub fn new(path: &Path, start: Start, seed: u64) -> Self {
        /// An extent tree counts blocks in 32 bits, and the last number is no block.
        const MOST_BLOCKS: u64 = u32::MAX as u64;
        let base = match start {
            Start::Beginning => 0,
            Start::OfLongest(block) => (MOST_BLOCKS * block - MOST) / MEMORY_ALIGN as u64 * 4096,
        };
        Self {
            path: path.to_owned(),
            base,
            content: Vec::new(),
            random: Bytes::new(seed, 0xf11e),
            history: History::default(),
            failing: Failing::default(),
            leaks_behind_the_end: false,
            open: None,
        }
    }

    /// From now on it is on a volume that `fstyp` has mounted: what that is known to do wrong is not asked of it.
    pub fn hand_to(&mut self, fstyp: Fstyp) {
        // A direct write behind the end leaves the rest of the last page as it is in the page cache.
        self.leaks_behind_the_end = fstyp == Fstyp::Ext4;
    }

    /// Opens it below `root`, where the volume is mounted now.
    ///
    /// # Errors
    /// The filesystem refuses it.
    pub fn open(&mut self, root: &Path) -> Result<()> {
        let path = root.join(&self.path);
        let open = |flags| open_or_create(&path, flags);
        let file = open(OFlags::empty())?;
        if self.history.next() == 1 {
            file.set_len(self.base).context("ftruncate")?;
        }
        let stat = statx(&file, c"", AtFlags::EMPTY_PATH, StatxFlags::DIOALIGN).context("statx")?;
        let align = match stat.stx_dio_offset_align {
            0 => MEMORY_ALIGN as u32,
            align => align,
        };
        self.open = Some(Open {
            append: open(OFlags::APPEND)?,
            direct: open(OFlags::DIRECT)?,
            mapping: SharedMapping::from(&file, self.base, MOST as usize)?,
            file,
            align: align.into(),
        });
        self.check()
    }

    /// Until it is closed, has memory be short now and then in the middle of an operation of this thread.
    ///
    /// # Errors
    /// This kernel cannot do that.
    pub fn fail_allocations(&mut self) -> Result<()> {
        self.failing.begin()
    }

    /// How many operations came to nothing for want of memory, and how many did not although some was missing.
    pub fn failed(&self) -> (u64, u64) {
        self.failing.failed()
    }

    /// Closes it, so that the volume can be unmounted.
    pub fn close(&mut self) {
        self.failing.end();
        self.open = None;
    }

    /// Does `n` operations.
    ///
    /// # Errors
    /// The filesystem refuses one, or something is read that was not written; with what was done before.
    pub fn run(&mut self, n: u64) -> Result<()> {
        for _ in 0..n {
            let done = self.operation();
            done.with_context(|| self.history.show())?;
        }
        Ok(())
    }

    /// Compares the whole file with what it must hold, read in all ways.
    ///
    /// # Errors
    /// It holds something else; with what was done before.
    pub fn check(&mut self) -> Result<()> {
        let whole = Range {
            pos: 0,
            len: self.size(),
        };
        let check = || {
            self.check_size()?;
            By::ALL.iter().try_for_each(|&by| self.compare(whole, by))?;
            self.check_holes()
        };
        check().with_context(|| self.history.show())
    }

    fn opened(&self) -> Result<&Open> {
        self.open.as_ref().context("the file is not open")
    }

    /// Bytes behind `base`.
    fn size(&self) -> u64 {
        self.content.len() as u64
    }

    /// Where `range` begins in the file.
    fn at(&self, range: Range) -> u64 {
        self.base + range.pos
    }

    fn operation(&mut self) -> Result<()> {
        let range = self.range();
        match self.random.below(108) {
            0..=17 => self.write(range, "write", |open, pos, bytes| {
                open.file.write_all_at(bytes, pos).context("write")
            }),
            18..=20 => self.write(range, "write with O_DSYNC", |open, pos, bytes| {
                let mut done = 0;
                while done < bytes.len() {
                    let rest = [std::io::IoSlice::new(&bytes[done..])];
                    let pos = pos + done as u64;
                    let wrote = pwritev2(open.file.as_fd(), &rest, pos, ReadWriteFlags::DSYNC);
                    let wrote = wrote.context("pwritev2")?;
                    ensure!(wrote > 0, "it ends {} bytes early", rest[0].len());
                    done += wrote;
                }
                Ok(())
            }),
            21..=25 => self.append(range.len),
            26..=39 => self.store(range),
            40..=42 => self.store_behind_the_end(),
            43..=54 => {
                let range = self.aligned(range)?;
                self.write(range, "direct write", |open, pos, bytes| {
                    let (buffer, start) = aligned_copy(bytes);
                    let bytes = &buffer[start..start + bytes.len()];
                    open.direct.write_all_at(bytes, pos).context("direct write")
                })
            }
            55..=69 => self.read(range),
            70..=77 => self.truncate(range),
            78..=81 => self.allocate(range, FallocateFlags::empty()),
            82..=83 => self.allocate(range, FallocateFlags::KEEP_SIZE),
            84..=87 => self.allocate(
                range,
                FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE,
            ),
            88..=90 => self.allocate(range, FallocateFlags::ZERO_RANGE),
            91 => self.allocate(
                range,
                FallocateFlags::ZERO_RANGE | FallocateFlags::KEEP_SIZE,
            ),
            92..=93 => self.copy(range),
            94 => self.sync("fsync", |file| file.sync_all()),
            95 => self.sync("fdatasync", |file| file.sync_data()),
            96..=97 => self.sync("fadvise DONTNEED", |file| {
                Ok(fadvise(file, 0, None, Advice::DontNeed)?)
            }),
            98 => self.sync("drop_caches", |_| {
                fs::write("/proc/sys/vm/drop_caches", "1")
            }),
            100..=103 => self.collapse(range),
            104..=107 => self.insert(range),
            _ => {
                self.history.add("look for holes");
                self.check_size()?;
                self.check_holes()
            }
        }
    }

    /// Carries out an operation, after which the file holds `after`; perhaps so that it fails. Says whether that failed:
    /// then each byte is as before or as after, and so is the size, or it is between both.
    fn change(&mut self, after: Vec<u8>, call: impl FnOnce(&Open) -> Result<()>) -> Result<bool> {
        let open = self.open.as_ref().context("the file is not open")?;
        let called = self.failing.call(&mut self.random, || call(open))?;
        let Err(e) = called else {
            self.content = after;
            return Ok(false);
        };
        if !self.failing.is_reason_of(&e) {
            return Err(e);
        }
        self.history.outcome("no memory");
        let size = open.file.metadata().context("fstat")?.len();
        let size = size.checked_sub(self.base).context("it is too short")?;
        let (least, most) = (
            self.content.len().min(after.len()),
            self.content.len().max(after.len()),
        );
        ensure!(
            (least..=most).contains(&(size as usize)),
            "after it failed, the size is {size:#x}, not between {least:#x} and {most:#x}"
        );
        let mut found = vec![0; size as usize];
        open.file
            .read_exact_at(&mut found, self.base)
            .context("read")?;
        for (pos, byte) in found.iter().enumerate() {
            let [before, after] = [&self.content, &after].map(|all| all.get(pos).unwrap_or(&0));
            ensure!(
                byte == before || byte == after,
                "after it failed, {pos:#x} is {byte:#04x}, not {before:#04x} or {after:#04x}"
            );
        }
        self.content = found;
        Ok(true)
    }

    /// `content` with `bytes` at `pos`.
    fn with(&self, pos: u64, bytes: &[u8]) -> Vec<u8> {
        let mut after = self.content.clone();
        let range = pos as usize..pos as usize + bytes.len();
        after.resize(after.len().max(range.end), 0);
        after[range].copy_from_slice(bytes);
        after
    }

    /// A part that lies anywhere, more often where others do: near the beginning, or around the end.
    fn range(&mut self) -> Range {
        let random = &mut self.random;
        let len = match random.below(8) {
            0..=1 => 1 + random.below(100),
            2..=5 => 1 + random.below(20_000),
            6 => (1 + random.below(16)) * 4096,
            _ => 1 + random.below(300_000),
        };
        let size = self.content.len() as u64;
        let pos = match random.below(8) {
            0..=3 => random.below(NEAR),
            4..=5 => size.saturating_sub(random.below(10_000)),
            6 => random.below(MOST / 4096) * 4096,
            _ => random.below(MOST),
        };
        let pos = pos.min(MOST - 1);
        Range {
            pos,
            len: len.min(MOST - pos),
        }
    }

    /// `range`, made what suits direct I/O.
    fn aligned(&self, range: Range) -> Result<Range> {
        let align = self.opened()?.align;
        let pos = range.pos / align * align;
        let end = range.end().next_multiple_of(align);
        Ok(Range {
            pos,
            len: end - pos,
        })
    }

    /// What operation `history.next()` writes to `range`: never 0, and other bytes than the operations before.
    fn bytes(&self, range: Range) -> Vec<u8> {
        let number = self.history.next();
        let byte = |pos: u64| (1 + (number * 37 + pos * 11 + (pos >> 8)) % 255) as u8;
        (range.pos..range.end()).map(byte).collect()
    }

    fn write(
        &mut self,
        range: Range,
        name: &str,
        put: fn(&Open, u64, &[u8]) -> Result<()>,
    ) -> Result<()> {
        let bytes = self.bytes(range);
        self.history.add(format!("{name} {range}"));
        let (pos, after) = (self.at(range), self.with(range.pos, &bytes));
        self.change(after, |open| put(open, pos, &bytes))?;
        self.glance(range)
    }

    fn append(&mut self, len: u64) -> Result<()> {
        let pos = self.size();
        let range = Range {
            pos,
            len: len.min(MOST - pos),
        };
        self.write(range, "append", |open, _, bytes| {
            (&open.append).write_all(bytes).context("append")
        })
    }

    /// A store to the mapping, behind the end only once the file is made longer.
    fn store(&mut self, range: Range) -> Result<()> {
        if range.end() > self.size() {
            self.history.add(format!("truncate to {:#x}", range.end()));
            if self.set_len(range.end())? {
                return Ok(());
            }
        }
        let bytes = self.bytes(range);
        self.history.add(format!("store {range}"));
        let after = self.with(range.pos, &bytes);
        // A fault without memory is taken again.
        self.change(after, |open| open.mapping.store(range.pos as usize, &bytes))?;
        self.glance(range)
    }

    /// What is stored behind the end of the file, in its last page, is never part of the file.
    fn store_behind_the_end(&mut self) -> Result<()> {
        if self.leaks_behind_the_end {
            return Ok(());
        }
        let page = rustix::param::page_size() as u64;
        let pos = self.size();
        let left = pos.next_multiple_of(page) - pos;
        let range = Range {
            pos,
            len: left.min(1 + self.random.below(page)),
        };
        self.history.add(format!("store behind the end {range}"));
        let bytes = vec![0xee; range.len as usize];
        self.opened()?.mapping.store(range.pos as usize, &bytes)
    }

    fn truncate(&mut self, range: Range) -> Result<()> {
        let size = match self.random.below(4) {
            0 => range.len.min(MOST),
            1 => range.pos / 4096 * 4096,
            2 => self.size() / 2,
            _ => range.pos,
        };
        self.history
            .add(format!("truncate from {:#x} to {size:#x}", self.size()));
        self.set_len(size)?;
        self.check_size()
    }

    /// As [`change`](Self::change).
    fn set_len(&mut self, size: u64) -> Result<bool> {
        let end = self.base + size;
        let mut after = self.content.clone();
        after.resize(size as usize, 0);
        self.change(after, |open| open.file.set_len(end).context("ftruncate"))
    }

    fn allocate(&mut self, range: Range, flags: FallocateFlags) -> Result<()> {
        self.history.add(format!("fallocate {flags:?} {range}"));
        let mut after = self.content.clone();
        if flags.intersects(FallocateFlags::PUNCH_HOLE | FallocateFlags::ZERO_RANGE) {
            let end = range.end().min(self.size());
            if range.pos < end {
                after[range.pos as usize..end as usize].fill(0);
            }
        }
        if !flags.contains(FallocateFlags::KEEP_SIZE) {
            after.resize(after.len().max(range.end() as usize), 0);
        }
        let pos = self.at(range);
        self.change(after, |open| {
            fallocate(&open.file, flags, pos, range.len).context("fallocate")
        })?;
        self.check_size()?;
        self.glance(range)
    }

    /// `range`, made whole blocks.
    fn blocks(&self, range: Range) -> Result<Range> {
        let block = fstatvfs(&self.opened()?.file).context("fstatvfs")?.f_bsize;
        let pos = range.pos / block * block;
        let end = range.end().next_multiple_of(block);
        Ok(Range {
            pos,
            len: end - pos,
        })
    }

    /// Takes a part away, if the file goes on behind it.
    fn collapse(&mut self, range: Range) -> Result<()> {
        let range = self.blocks(range)?;
        self.history.add(format!("collapse {range}"));
        let pos = self.at(range);
        let call = |open: &Open| {
            let mode = FallocateFlags::COLLAPSE_RANGE;
            fallocate(&open.file, mode, pos, range.len).context("collapse")
        };
        if range.end() >= self.size() {
            return self.refused(call);
        }
        let mut after = self.content.clone();
        after.drain(range.slice());
        self.change(after, call)?;
        self.check_size()?;
        self.glance(range)
    }

    /// Makes a hole, before the end of the file, that moves what is behind.
    fn insert(&mut self, range: Range) -> Result<()> {
        let mut range = self.blocks(range)?;
        let left = MOST - self.size();
        if range.len > left {
            range = self.blocks(Range { len: 1, ..range })?;
        }
        self.history.add(format!("insert {range}"));
        let pos = self.at(range);
        let call = |open: &Open| {
            let mode = FallocateFlags::INSERT_RANGE;
            fallocate(&open.file, mode, pos, range.len).context("insert")
        };
        if range.pos >= self.size() {
            return self.refused(call);
        }
        if range.len > left {
            return Ok(());
        }
        if self.base > 0 {
            // What is promised behind the end may not move any further.
            let size = self.size();
            self.set_len(size)?;
        }
        let mut after = self.content.clone();
        let zeroes = vec![0; range.len as usize];
        after.splice(range.pos as usize..range.pos as usize, zeroes);
        self.change(after, call)?;
        self.check_size()?;
        self.glance(range)
    }

    /// What does not suit where the file ends is an error, and nothing else.
    fn refused(&mut self, call: impl FnOnce(&Open) -> Result<()>) -> Result<()> {
        match call(self.opened()?) {
            Err(e) if e.downcast_ref() == Some(&Errno::INVAL) => self.check_size(),
            other => bail!("{other:?}, want EINVAL"),
        }
    }

    /// Copies a part of the file within the file.
    fn copy(&mut self, range: Range) -> Result<()> {
        let len = range.len.min(self.size().saturating_sub(range.pos));
        let to = Range {
            pos: self.random.below(MOST - len),
            len,
        };
        let from = Range { len, ..range };
        self.history.add(format!("copy {from} to {:#x}", to.pos));
        if len == 0 || from.pos < to.end() && to.pos < from.end() {
            return Ok(());
        }
        let (mut pos_in, mut pos_out) = (self.at(from), self.at(to));
        let after = self.with(to.pos, &self.content[from.slice()]);
        self.change(after, |open| {
            let file = &open.file;
            let mut left = len as usize;
            while left > 0 {
                let copied =
                    copy_file_range(file, Some(&mut pos_in), file, Some(&mut pos_out), left)
                        .context("copy_file_range")?;
                ensure!(copied > 0, "copy_file_range ends {left} bytes early");
                left -= copied;
            }
            Ok(())
        })?;
        self.glance(to)
    }

    fn sync(&mut self, name: &str, sync: fn(&fs::File) -> std::io::Result<()>) -> Result<()> {
        self.history.add(name);
        let after = self.content.clone();
        self.change(after, |open| {
            sync(&open.file).with_context(|| name.to_owned())
        })
        .map(drop)
    }

    fn read(&mut self, range: Range) -> Result<()> {
        let range = Range {
            // What was to be changed may not be there.
            len: range.len.min(self.size().saturating_sub(range.pos)),
            ..range
        };
        let by = *self.random.pick(By::ALL).unwrap_or(&By::Read);
        self.history.add(format!("read by {by:?} {range}"));
        self.compare(range, by)
    }

    /// Now and then reads what has just been changed.
    fn glance(&mut self, range: Range) -> Result<()> {
        if self.random.one_in(4) {
            return self.read(range);
        }
        Ok(())
    }

    /// Compares `range`, which lies in the file.
    fn compare(&self, range: Range, by: By) -> Result<()> {
        if range.len == 0 {
            return Ok(());
        }
        let open = self.opened()?;
        let found = match by {
            By::Read => {
                let mut bytes = vec![0xcc; range.len as usize];
                let file = &open.file;
                file.read_exact_at(&mut bytes, self.at(range))
                    .context("read")?;
                bytes
            }
            By::Mapping => open.mapping.load(range.pos as usize, range.len as usize)?,
            By::Direct => self.direct_read(range)?,
        };
        let wanted = &self.content[range.slice()];
        if wanted == found {
            return Ok(());
        }
        let wrong = || {
            let pairs = wanted.iter().zip(&found).zip(range.pos..);
            pairs.filter(|((want, found), _)| want != found)
        };
        let Some(((want, found), first)) = wrong().next() else {
            return Ok(());
        };
        let last = wrong().last().map_or(first, |(_, last)| last);
        bail!(
            "by {by:?}, {} bytes from {first:#x} to {last:#x} are wrong, the file has {:#x}: the first \
             is {found:#04x} instead of {want:#04x}",
            wrong().count(),
            self.size(),
        )
    }

    fn direct_read(&self, range: Range) -> Result<Vec<u8>> {
        let whole = self.aligned(range)?;
        let (mut buffer, start) = aligned_copy(&vec![0xcc; whole.len as usize]);
        let bytes = &mut buffer[start..start + whole.len as usize];
        let file = &self.opened()?.direct;
        let mut filled = 0;
        let wanted = (range.end() - whole.pos) as usize;
        while filled < wanted {
            let pos = self.at(whole) + filled as u64;
            let read = file.read_at(&mut bytes[filled..], pos);
            let read = read.context("direct read")?;
            ensure!(read > 0, "direct read ends {} bytes early", wanted - filled);
            filled += read;
        }
        let before = (range.pos - whole.pos) as usize;
        Ok(bytes[before..wanted].to_vec())
    }

    fn check_size(&self) -> Result<()> {
        let found = self.opened()?.file.metadata().context("fstat")?.len();
        let wanted = self.base + self.size();
        ensure!(
            found == wanted,
            "the size is {found:#x} instead of {wanted:#x}"
        );
        Ok(())
    }

    /// There is nothing in the file where it says that it has holes.
    fn check_holes(&self) -> Result<()> {
        let file = &self.opened()?.file;
        let end = self.base + self.size();
        let mut pos = self.base;
        let mut dropped = 0;
        while pos < end {
            let data = match seek(file, SeekFrom::Data(pos)) {
                Ok(data) => data,
                Err(Errno::NXIO) => end,
                Err(e) => return Err(e).context("SEEK_DATA"),
            };
            ensure!(pos <= data && data <= end, "SEEK_DATA {pos:#x}: {data:#x}");
            let hole = &self.content[(pos - self.base) as usize..(data - self.base) as usize];
            if hole
                .chunks(ZEROES.len())
                .any(|part| *part != ZEROES[..part.len()])
            {
                let n = hole.iter().take_while(|&&byte| byte == 0).count() as u64;
                let n = pos - self.base + n;
                bail!("a hole is said to be at {n:#x}, where data was written");
            }
            if data == end {
                break;
            }
            pos = seek(file, SeekFrom::Hole(data)).context("SEEK_HOLE")?;
            // A page of an unwritten extent is data while it is in the page cache; another process may have it dropped
            // at any time.
            dropped += u32::from(pos == data);
            ensure!(
                data <= pos && pos <= end && dropped <= DROPPED,
                "SEEK_HOLE {data:#x}: {pos:#x}"
            );
        }
        Ok(())
    }
}

/// `bytes` in a buffer, and where in it: at an address that suits direct I/O.
pub(super) fn aligned_copy(bytes: &[u8]) -> (Vec<u8>, usize) {
    let mut buffer = vec![0; bytes.len() + MEMORY_ALIGN];
    let start = buffer.as_ptr().align_offset(MEMORY_ALIGN);
    buffer[start..start + bytes.len()].copy_from_slice(bytes);
    (buffer, start)
}

/// Opens a file to be read and written, which is made if there is none.
pub(super) fn open_or_create(path: &Path, flags: OFlags) -> Result<fs::File> {
    let flags = flags | OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC;
    openat(CWD, path, flags, Mode::RUSR | Mode::WUSR)
        .map(fs::File::from)
        .with_context(|| format!("{}: open {flags:?}", path.display()))
}
