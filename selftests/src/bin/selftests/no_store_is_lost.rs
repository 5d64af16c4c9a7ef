// SPDX-License-Identifier: GPL-2.0

//! What a device stores to a page that it pinned reaches the disk, though writeback has come and gone in between, and
//! whatever became of the page's folio meanwhile: `write` to another page of it, a hole in it, a frozen volume.
//!
//! The device is an `O_DIRECT` read, into a mapping, of a file on a disk that waits until it is told to go on.
//!
//! Promise 1, stable data: a folio that is pinned stays dirty.
//! Filesystems that fail it: ext4 and XFS, all cases but the first and those in which the whole page is punched; btrfs,
//! where another page of the folio is written, or punched.

use std::borrow::Cow;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::thread::{self, ScopedJoinHandle};
use std::time::Duration;

use anyhow::{anyhow, bail, ensure, Context, Result};
use rustix::fs::{fadvise, fallocate, Advice, FallocateFlags, OFlags};
use rustix::io::Errno;
use stablefs_selftests::blockdev::{Dm, Held, Loop};
use stablefs_selftests::devices::{kernel_name, Kind};
use stablefs_selftests::filesystem::Fstyp;
use stablefs_selftests::ioctl::{freeze, thaw};
use stablefs_selftests::mounted::Mounted;
use stablefs_selftests::needs::{Missing, Needs, Volume};
use stablefs_selftests::pins;
use stablefs_selftests::program::{Case, Env, Program};
use stablefs_selftests::volume;
use stablefs_selftests::words::{Words, WORD};

pub(crate) const PROGRAM: Program = Program {
    name: "no_store_is_lost",
    needs: Needs {
        on: Cow::Borrowed(&[Kind::Plain, Kind::Dif]),
        volume: Volume::Raw,
        only: Cow::Borrowed(&[]),
    },
    cases: &[
        Case::new("nothing_in_between", |env| pinned(env, 4096, nothing)),
        Case::new("page_written", |env| pinned(env, 4096, write)),
        Case::new("page_written_1_kib", |env| pinned(env, 1024, write)),
        Case::new("block_written_1_kib", |env| pinned(env, 1024, write_block)),
        Case::new("page_punched", |env| pinned(env, 4096, punch)),
        Case::new("page_punched_1_kib", |env| pinned(env, 1024, punch)),
        Case::new("another_page_punched", |env| {
            pinned(env, 4096, punch_another)
        }),
        Case::new("block_punched_1_kib", |env| pinned(env, 1024, punch_block)),
        Case::new("frozen", |env| pinned(env, 4096, frozen)),
        Case::new("frozen_1_kib", |env| pinned(env, 1024, frozen)),
    ],
};

const NAME: &str = "file";
const MIB: u32 = 64;
const PAGE: usize = 4096;
/// Of the file, written at once so that it is one folio, or a few.
const LEN: usize = 1 << 20;
/// The page that the device stores to.
const POS: usize = 5 * PAGE;
/// What the file holds.
const OLD: u8 = b'A';
/// What the page holds then.
const STORED: u8 = b'B';
/// What the device stores.
const READ: u8 = b'D';
/// Time for writeback that ought not to happen.
const PAUSE: Duration = Duration::from_secs(1);

/// A file full of [`READ`] on a disk of its own, to be read directly.
struct Source {
    file: File,
    _mounted: Mounted,
    dm: Dm,
    _disk: Loop,
}

impl Source {
    fn new() -> Result<Self> {
        const LEN: u64 = 16 << 20;
        let disk = Loop::new(LEN, 512)?;
        let table = format!("0 {} linear {} 0", LEN / 512, disk.path().display());
        let dm = Dm::new(&table)?;
        volume::make(dm.path(), &["-O", "^has_journal"], "")?;
        let mounted = Mounted::new(Fstyp::Ext4, dm.path(), "noatime")?;
        let path = mounted.dir().join("source");
        fs::write(&path, [READ; PAGE])?;
        File::open(&path)?.sync_all()?;
        let file = File::options()
            .read(true)
            .custom_flags(OFlags::DIRECT.bits() as i32)
            .open(&path)?;
        // From now on the device is asked for nothing but the data.
        Words::private(PAGE)?.read_from(0..PAGE, &file, 0)?;
        Ok(Self {
            file,
            _mounted: mounted,
            dm,
            _disk: disk,
        })
    }
}

/// The file under test, and what it is on.
struct Target<'a> {
    dev: &'a Path,
    root: File,
    file: File,
    mapping: Words,
}

impl<'a> Target<'a> {
    fn new(dev: &'a Path, root: &Path) -> Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(root.join(NAME))?;
        file.write_all_at(&vec![OLD; LEN], 0)?;
        file.sync_all()?;
        let mapping = Words::of(&file, 0, LEN)?;
        let root = File::open(root)?;
        Ok(Self {
            dev,
            root,
            file,
            mapping,
        })
    }

    /// What the mapping shows.
    fn bytes(&self) -> Vec<u8> {
        let words = (0..LEN / WORD).map(|index| self.mapping.load(index));
        words.flat_map(u64::to_ne_bytes).collect()
    }

    /// Whether it shows nothing but `byte` in the page.
    fn shows(&self, byte: u8) -> Result<()> {
        let bytes = self.bytes();
        same(&bytes[POS..][..PAGE], &[byte; PAGE]).context("the mapping")
    }
}

impl Drop for Target<'_> {
    fn drop(&mut self) {
        // Nobody can unmount it otherwise. It is an error where it is not frozen.
        let _ = thaw(&self.root);
    }
}

/// A device that will store to the page, and has it pinned.
struct Pin<'scope> {
    held: Held,
    /// Of the whole machine, without this one.
    others: u64,
    reader: ScopedJoinHandle<'scope, Result<(), Errno>>,
}

impl Pin<'_> {
    /// Has the device store, and let go.
    fn stores(self) -> Result<()> {
        self.held.release()?;
        let read = self.reader.join().map_err(|_| anyhow!("panicked"))?;
        read.context("the read")?;
        // A page that is found clean is unpinned by a worker, which says that it is dirty.
        pins::wait(|held| held <= self.others)
    }
}

/// Has the page stored to, pinned and written back; then `between` has the device store. What the page holds in the end
/// is what the file holds for good.
fn pinned(env: &Env, block: u32, between: fn(&Target<'_>, Pin<'_>) -> Result<()>) -> Result<()> {
    let dev = env.dev()?;
    if env.fstyp == Fstyp::Btrfs {
        if block != 4096 {
            return Err(Missing(format!("{}: no blocks of {block}", env.fstyp)).into());
        }
        env.fstyp.make(dev)?;
    } else {
        volume::make_small(env.fstyp, dev, block, MIB)?;
    }
    let source = Source::new()?;
    let mounted = Mounted::new(env.fstyp, dev, "")?;
    let target = Target::new(dev, mounted.dir())?;
    (POS / WORD..(POS + PAGE) / WORD).for_each(|index| {
        target
            .mapping
            .store(index, u64::from_ne_bytes([STORED; WORD]))
    });

    let others = pins::held()?;
    let held = source.dm.hold()?;
    thread::scope(|scope| {
        let read = || target.mapping.read_from(POS..POS + PAGE, &source.file, 0);
        let pin = Pin {
            held,
            others,
            reader: scope.spawn(read),
        };
        pins::wait(|held| held > others).context("the read does not begin")?;
        target.file.sync_all().context("fsync of a pinned page")?;
        target.shows(STORED).context("the read is over too early")?;
        between(&target, pin)
    })?;

    let bytes = target.bytes();
    target.file.sync_all().context("fsync")?;
    let path = mounted.dir().join(NAME);
    drop(target);
    let file = File::open(&path)?;
    fadvise(&file, 0, None, Advice::DontNeed)?;
    holds(&file, &bytes).context("after the cache was dropped")?;
    drop(file);
    mounted.unmount()?;
    env.fstyp.check(dev)?;
    let mounted = Mounted::new(env.fstyp, dev, "")?;
    holds(&File::open(mounted.dir().join(NAME))?, &bytes).context("after a remount")?;
    mounted.unmount()
}

/// What fsync has confirmed is there.
fn holds(file: &File, bytes: &[u8]) -> Result<()> {
    let mut found = vec![0; LEN];
    file.read_exact_at(&mut found, 0)?;
    same(&found, bytes)
}

fn same(found: &[u8], wanted: &[u8]) -> Result<()> {
    let mut pairs = (0..).zip(found.iter().zip(wanted));
    if let Some((n, (found, wanted))) = pairs.find(|(_, (found, wanted))| found != wanted) {
        let [found, wanted] = [*found, *wanted].map(char::from);
        bail!("byte {n:#x} is {found:?}, want {wanted:?}");
    }
    Ok(())
}

fn stored(target: &Target<'_>, pin: Pin<'_>) -> Result<()> {
    pin.stores()?;
    target.shows(READ)
}

/// Nothing else is done to the folio, so that whoever unpins it finds it clean, and says so.
fn nothing(target: &Target<'_>, pin: Pin<'_>) -> Result<()> {
    stored(target, pin)
}

/// Another page of the folio becomes dirty, so that whoever unpins it says nothing.
fn write(target: &Target<'_>, pin: Pin<'_>) -> Result<()> {
    target.file.write_all_at(&[b'C'; PAGE], 0)?;
    stored(target, pin)
}

/// The like of a block of the page itself.
fn write_block(target: &Target<'_>, pin: Pin<'_>) -> Result<()> {
    target.file.write_all_at(&[b'C'; 1024], POS as u64 + 1024)?;
    stored(target, pin)
}

/// The page may be taken out of the file, or stay as part of a larger folio.
fn punch(target: &Target<'_>, pin: Pin<'_>) -> Result<()> {
    punched(target, POS, PAGE)?;
    pin.stores()
}

/// The folio, if it is large, cannot be split while it is pinned.
fn punch_another(target: &Target<'_>, pin: Pin<'_>) -> Result<()> {
    punched(target, POS + 20 * PAGE, PAGE)?;
    stored(target, pin)
}

/// The page stays, and one of its blocks is gone.
fn punch_block(target: &Target<'_>, pin: Pin<'_>) -> Result<()> {
    punched(target, POS + 1024, 1024)?;
    stored(target, pin)
}

fn punched(target: &Target<'_>, pos: usize, len: usize) -> Result<()> {
    let mode = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    fallocate(&target.file, mode, pos as u64, len as u64).context("punch")
}

/// Nothing is written to the frozen volume, whoever asks for it, and nothing is forgotten.
fn frozen(target: &Target<'_>, pin: Pin<'_>) -> Result<()> {
    freeze(&target.root).context("FIFREEZE")?;
    let before = sectors_written(target.dev)?;
    stored(target, pin)?;
    thread::scope(|scope| {
        // It waits for the thaw, or is refused.
        let fsync = scope.spawn(|| target.file.sync_data());
        thread::sleep(PAUSE);
        let written = sectors_written(target.dev)? - before;
        thaw(&target.root).context("FITHAW")?;
        fsync
            .join()
            .map_err(|_| anyhow!("panicked"))?
            .context("fsync of a frozen volume")?;
        ensure!(
            written == 0,
            "{written} sectors are written while it is frozen"
        );
        Ok(())
    })
}

/// Sectors that were written to `dev` so far: see `Documentation/block/stat.rst`.
fn sectors_written(dev: &Path) -> Result<u64> {
    let file = format!("/sys/class/block/{}/stat", kernel_name(dev)?);
    let text = fs::read_to_string(&file).context(file)?;
    let word = text.split_whitespace().nth(6).context("stat")?;
    Ok(word.parse()?)
}
