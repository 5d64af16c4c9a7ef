// SPDX-License-Identifier: GPL-2.0

//! `fallocate` takes a part of a file away, or makes a hole in it, and moves what is behind; whatever it is that moves.
//! What cannot be done is an error, the one that ext4 has, and changes nothing. When the power fails, a file whose tree
//! fits into one transaction is what it was before, or after.
//!
//! Promise: none of the three; what every filesystem owes. No control breaks it: what the file has to hold is known.
//! Filesystems that fail it: ext4, which makes a file longer whose blocks behind the end cannot move.

use std::borrow::Cow;
use std::fs::{self, File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use anyhow::{ensure, Context, Result};
use rustix::fs::{fallocate, utimensat, AtFlags, FallocateFlags, Timespec, Timestamps, CWD};
use rustix::io::Errno;
use stablefs_selftests::blockdev::{Logging, Loop};
use stablefs_selftests::devices::Kind;
use stablefs_selftests::filesystem::Fstyp;
use stablefs_selftests::mounted::Mounted;
use stablefs_selftests::needs::{Needs, Volume};
use stablefs_selftests::program::{say, Case, Env, Program};
use stablefs_selftests::seed::Bytes;
use stablefs_selftests::volume;
use stablefs_selftests::write_log::WriteLog;

pub(crate) const PROGRAM: Program = Program {
    name: "moves_ranges",
    needs: Needs {
        on: Cow::Borrowed(&[Kind::Plain]),
        volume: Volume::Raw,
        only: Cow::Borrowed(&[Fstyp::Stablefs, Fstyp::Ext4]),
    },
    cases: &[
        Case::new("errors", errors),
        Case::new("blocks_behind_the_end", behind_the_end),
        Case::new("times", times),
        Case::new("many_extents", |env| many(env, 2_000)),
        Case::new("more_than_a_transaction_moves", |env| many(env, 15_000)),
        Case::new("power_cuts", power_cuts),
        Case::new("power_cuts_between_transactions", power_cuts_between),
    ],
};

const COLLAPSE: FallocateFlags = FallocateFlags::COLLAPSE_RANGE;
const INSERT: FallocateFlags = FallocateFlags::INSERT_RANGE;
const KEEP: FallocateFlags = FallocateFlags::KEEP_SIZE;

/// A file of so many blocks of 4 KiB, on a volume of its own.
fn with_file(env: &Env, blocks: u8, case: fn(&File, &Path) -> Result<()>) -> Result<()> {
    let dev = env.dev()?;
    volume::make(dev, &["-b", "4096"], "16M")?;
    let mounted = Mounted::new(env.fstyp, dev, "")?;
    let path = mounted.dir().join("file");
    let mut options = OpenOptions::new();
    let file = options
        .read(true)
        .write(true)
        .create_new(true)
        .open(&path)?;
    for block in 0..blocks {
        file.write_all_at(&[block + 1; 4096], u64::from(block) * 4096)?;
    }
    let done = case(&file, &path);
    drop(file);
    mounted.unmount()?;
    done?;
    volume::check(dev)
}

fn errors(env: &Env) -> Result<()> {
    with_file(env, 10, |file, path| {
        let content = fs::read(path)?;
        const MOST: u64 = u32::MAX as u64 * 4096;
        const END: u64 = 10 * 4096;
        for (mode, pos, len, want) in [
            (COLLAPSE, 1, 4096, Errno::INVAL),
            (COLLAPSE, 512, 4096, Errno::INVAL),
            (COLLAPSE, 4096, 4095, Errno::INVAL),
            (COLLAPSE, 4096, 0, Errno::INVAL),
            (COLLAPSE, 0, END, Errno::INVAL),
            (COLLAPSE, END - 4096, 4096, Errno::INVAL),
            (COLLAPSE, END, 4096, Errno::INVAL),
            (COLLAPSE, 0, MOST, Errno::INVAL),
            (COLLAPSE, 4096, MOST, Errno::FBIG),
            (COLLAPSE | KEEP, 0, 4096, Errno::OPNOTSUPP),
            (COLLAPSE | INSERT, 0, 4096, Errno::OPNOTSUPP),
            (INSERT, 1, 4096, Errno::INVAL),
            (INSERT, 2048, 4096, Errno::INVAL),
            (INSERT, 4096, 512, Errno::INVAL),
            (INSERT, 0, 0, Errno::INVAL),
            (INSERT, END, 4096, Errno::INVAL),
            (INSERT, END + 4096, 4096, Errno::INVAL),
            (INSERT, 0, MOST - 9 * 4096, Errno::FBIG),
            (INSERT, 4096, MOST, Errno::FBIG),
            (INSERT | KEEP, 0, 4096, Errno::OPNOTSUPP),
        ] {
            let found = fallocate(file, mode, pos, len);
            ensure!(
                found == Err(want),
                "{mode:?} {pos:#x}+{len:#x}: {found:?}, want {want:?}"
            );
        }
        let read_only = File::open(path)?;
        for mode in [COLLAPSE, INSERT] {
            let found = fallocate(&read_only, mode, 0, 4096);
            ensure!(found == Err(Errno::BADF), "{mode:?}, read only: {found:?}");
        }
        ensure!(fs::read(path)? == content, "it has changed");
        // As much as there can be.
        let most = MOST - END;
        fallocate(file, INSERT, 4096, most).context("insert up to the largest size")?;
        ensure!(file.metadata()?.len() == MOST, "the size");
        let mut end = vec![0; 9 * 4096];
        file.read_exact_at(&mut end, MOST - 9 * 4096)?;
        ensure!(end == content[4096..], "what has moved to the end differs");
        fallocate(file, COLLAPSE, 4096, most).context("collapse of most of it")?;
        ensure!(fs::read(path)? == content, "it has not come back");
        Ok(())
    })
}

/// What was promised behind the end moves as well, and has to find room.
fn behind_the_end(env: &Env) -> Result<()> {
    with_file(env, 4, |file, path| {
        let content = fs::read(path)?;
        let last = (u64::from(u32::MAX) - 2) * 4096;
        fallocate(file, KEEP, last, 4096)?;
        let blocks = file.metadata()?.blocks();
        let found = fallocate(file, INSERT, 4096, 2 * 4096);
        ensure!(found == Err(Errno::INVAL), "insert: {found:?}, want EINVAL");
        ensure!(fs::read(path)? == content, "it has changed");
        fallocate(file, INSERT, 4096, 4096).context("insert")?;
        fallocate(file, COLLAPSE, 4096, 4096).context("collapse")?;
        ensure!(fs::read(path)? == content, "it has not come back");
        ensure!(file.metadata()?.blocks() == blocks, "other blocks");
        Ok(())
    })
}

fn times(env: &Env) -> Result<()> {
    with_file(env, 4, |file, path| {
        let long_ago = Timespec {
            tv_sec: 1000,
            tv_nsec: 0,
        };
        for mode in [COLLAPSE, INSERT] {
            let times = Timestamps {
                last_access: long_ago,
                last_modification: long_ago,
            };
            utimensat(CWD, path, &times, AtFlags::empty())?;
            fallocate(file, mode, 4096, 4096)?;
            let stat = file.metadata()?;
            ensure!(
                stat.mtime() > 1000 && stat.ctime() > 1000,
                "{mode:?}: modified {}, changed {}",
                stat.mtime(),
                stat.ctime()
            );
        }
        Ok(())
    })
}

/// Every second block of a file is data, in blocks of 1 KiB, so that a leaf has 84 of them; unwritten extents are among them.
fn many(env: &Env, extents: u32) -> Result<()> {
    const BLOCK: u64 = 1024;
    let dev = env.dev()?;
    volume::make(dev, &["-b", "1024", "-J", "size=1"], "48M")?;
    let mounted = Mounted::new(env.fstyp, dev, "")?;
    let mut options = OpenOptions::new();
    let path = mounted.dir().join("file");
    let file = options.read(true).write(true).create_new(true).open(path)?;
    // What is in each block.
    let mut want: Vec<u32> = vec![0; 2 * extents as usize];
    for n in 0..extents {
        let pos = u64::from(2 * n) * BLOCK;
        if n % 5 == 3 {
            fallocate(&file, FallocateFlags::empty(), pos, BLOCK)?;
        } else {
            want[2 * n as usize] = n + 1;
            file.write_all_at(&(n + 1).to_le_bytes().repeat(256), pos)?;
        }
    }
    file.set_len(u64::from(2 * extents) * BLOCK)?;
    let mut random = Bytes::new(env.seed, 0x3047 + u64::from(extents));
    for round in 0..6 {
        let blocks = want.len() as u64;
        let at = match round {
            0 | 1 => 1,
            _ => random.below(blocks - 200) as usize,
        };
        let n = 1 + random.below(100) as usize;
        let (pos, len) = (at as u64 * BLOCK, n as u64 * BLOCK);
        if round % 2 == 0 {
            fallocate(&file, INSERT, pos, len).with_context(|| format!("insert {at}+{n}"))?;
            want.splice(at..at, vec![0; n]);
        } else {
            fallocate(&file, COLLAPSE, pos, len).with_context(|| format!("collapse {at}+{n}"))?;
            want.drain(at..at + n);
        }
        compare(&file, &want).with_context(|| format!("round {round}, {at}+{n}"))?;
    }
    drop(file);
    mounted.unmount()?;
    volume::check(dev)?;
    for fstyp in [env.fstyp, Fstyp::Ext4] {
        let mounted = Mounted::new(fstyp, dev, "")?;
        let file = File::open(mounted.dir().join("file"))?;
        compare(&file, &want).with_context(|| format!("as {fstyp} sees it"))?;
        drop(file);
        mounted.unmount()?;
    }
    Ok(())
}

fn compare(mut file: &File, want: &[u32]) -> Result<()> {
    let mut bytes = Vec::new();
    rustix::fs::seek(file, rustix::fs::SeekFrom::Start(0))?;
    file.read_to_end(&mut bytes)?;
    ensure!(bytes.len() == want.len() * 1024, "{} bytes", bytes.len());
    for (number, block) in bytes.chunks_exact(1024).enumerate() {
        let is_right = block
            .chunks_exact(4)
            .all(|word| word == want[number].to_le_bytes());
        ensure!(
            is_right,
            "block {number} begins with {:02x?}, want {}",
            &block[..4],
            want[number]
        );
    }
    Ok(())
}

/// Who works on a device whose writes are logged, and the file, of which so many blocks of 1 KiB are written in pieces.
struct Logged {
    image: Vec<u8>,
    logging: Logging,
    mounted: Mounted,
    file: File,
}

impl Logged {
    fn new(env: &Env, mib: u64, content: &[u8]) -> Result<Self> {
        let dev = env.dev()?;
        volume::make(dev, &["-b", "1024", "-J", "size=1"], &format!("{mib}M"))?;
        let mut image = vec![0; (mib << 20) as usize];
        File::open(dev)?.read_exact(&mut image)?;
        let logging = Logging::new(dev, mib << 11, 512 << 20)?;
        let mounted = Mounted::new(env.fstyp, logging.path(), "")?;
        let mut options = OpenOptions::new();
        let path = mounted.dir().join("file");
        let file = options.read(true).write(true).create_new(true).open(path)?;
        let blocks = content.len() / 1024;
        for block in (0..blocks).step_by(2).chain((1..blocks).step_by(2)) {
            file.write_all_at(&content[block * 1024..][..1024], block as u64 * 1024)?;
            if block == blocks / 2 {
                file.sync_data()?;
            }
        }
        file.sync_all()?;
        logging.mark("0")?;
        Ok(Self {
            image,
            logging,
            mounted,
            file,
        })
    }

    /// Has all that was done up to `step` be durable.
    fn sync(&self, step: usize) -> Result<()> {
        self.file.sync_all()?;
        self.logging.mark(&step.to_string())
    }

    /// Has `look` see the file as it is found after each flush since step `from` was durable, with the last step that was.
    /// `e2fsck` has nothing to say.
    fn each_state(
        self,
        fstyp: Fstyp,
        from: usize,
        mut look: impl FnMut(&[u8], usize) -> Result<()>,
    ) -> Result<()> {
        let Self {
            mut image,
            logging,
            mounted,
            file,
        } = self;
        drop(file);
        mounted.unmount()?;
        let log = WriteLog::parse(logging.end()?)?;
        let dev = Loop::new(image.len() as u64, log.sector())?;
        let (mut done, mut tried) = (0, 0);
        for point in log.points() {
            log.apply(&mut image, done, point);
            done = point;
            let marks = log.marks(point).filter_map(|mark| mark.parse().ok());
            let Some(least) = marks.max().filter(|&least| least >= from) else {
                continue;
            };
            fs::write(dev.file(), &image)?;
            let mounted = Mounted::new(fstyp, dev.path(), "")?;
            let found = fs::read(mounted.dir().join("file"))?;
            mounted.unmount()?;
            volume::check(dev.file())?;
            look(&found, least)
                .with_context(|| format!("at entry {point}, with {least} steps promised"))?;
            tried += 1;
        }
        say(&format!("{tried} states"));
        Ok(())
    }
}

/// The file is what it was before the step under way, or after.
fn power_cuts(env: &Env) -> Result<()> {
    const STEPS: usize = 40;
    let mut content: Vec<u8> = (0..300_u32)
        .flat_map(|n| [1 + (n % 255) as u8; 1024])
        .collect();
    let logged = Logged::new(env, 16, &content)?;
    let mut random = Bytes::new(env.seed, 0xc011);
    let mut states = vec![content.clone()];
    for step in 1..=STEPS {
        let blocks = content.len() as u64 / 1024;
        let at = 1024 * random.below(blocks - 30) as usize;
        let n = 1024 * (1 + random.below(20) as usize);
        if step % 2 == 0 {
            fallocate(&logged.file, COLLAPSE, at as u64, n as u64).context("collapse")?;
            content.drain(at..at + n);
        } else {
            fallocate(&logged.file, INSERT, at as u64, n as u64).context("insert")?;
            content.splice(at..at, vec![0; n]);
        }
        states.push(content.clone());
        // Now and then more than one is in a transaction.
        if random.one_in(2) {
            logged.sync(step)?;
        }
    }
    let mut seen = vec![false; states.len()];
    logged.each_state(env.fstyp, 0, |found, least| {
        let state = (least..states.len()).find(|&step| states[step] == found);
        seen[state.context("neither before nor after a step")?] = true;
        Ok(())
    })?;
    let seen = seen.iter().filter(|&&seen| seen).count();
    ensure!(seen > 10, "only {seen} steps seen");
    Ok(())
}

/// What is moved in several transactions may be found in between: all that stays is there then, and nothing else.
fn power_cuts_between(env: &Env) -> Result<()> {
    const BLOCKS: u32 = 30_000;
    const N: usize = 50;
    let content: Vec<u8> = (1..=BLOCKS)
        .flat_map(|n| n.to_le_bytes().repeat(256))
        .collect();
    let logged = Logged::new(env, 64, &content)?;
    // So that there is an extent for each block.
    for n in (0..BLOCKS).step_by(2) {
        let mode = FallocateFlags::PUNCH_HOLE | KEEP;
        fallocate(&logged.file, mode, u64::from(n) * 1024, 1024)?;
    }
    logged.sync(1)?;
    for (step, mode) in [(2, INSERT), (3, COLLAPSE), (4, COLLAPSE), (5, INSERT)] {
        fallocate(&logged.file, mode, 10 * 1024, N as u64 * 1024)?;
        logged.sync(step)?;
    }
    let mut between = 0;
    logged.each_state(env.fstyp, 1, |found, least| {
        let mut numbers = Vec::new();
        let mut gaps = Vec::new();
        for (place, block) in found.chunks_exact(1024).enumerate() {
            let number = u32::from_le_bytes(block[..4].try_into()?);
            ensure!(
                block
                    .chunks_exact(4)
                    .all(|word| word == number.to_le_bytes()),
                "block {place} has {:02x?}",
                &block[..8]
            );
            if number > 0 {
                gaps.push(place as i64 - i64::from(number));
                numbers.push(number);
            }
        }
        ensure!(
            numbers.is_sorted_by(|a, b| a < b),
            "they are in another order"
        );
        gaps.dedup();
        // One place where something has moved: that of this step, or in between.
        between += usize::from(gaps.len() > 2);
        let want = BLOCKS as usize / 2;
        let gone = if least < 3 { 0 } else { N / 2 };
        ensure!(
            (want - gone..=want).contains(&numbers.len()),
            "{} blocks of {want}",
            numbers.len()
        );
        Ok(())
    })?;
    say(&format!("{between} of them in between"));
    Ok(())
}
