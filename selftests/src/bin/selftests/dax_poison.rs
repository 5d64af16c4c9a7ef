// SPDX-License-Identifier: GPL-2.0

//! Where persistent memory is bad, in the data of a file or in free space: who reads or writes gets EIO, who loads or
//! stores SIGBUS, and nobody else anything. An access that fails changes nothing: no block comes to the file, the other
//! pages are as they were, and a page that could not be had reads as the hole that it is. A hole punched there repairs the
//! file; so does a whole page that is written, where the memory can be made good by that.
//!
//! Promise 2, initialised data: if zeroing fails, the block goes back. Promise 3, honest failure.
//! Broken by controls: `skip_give_back`, `late_zero`.
//! Filesystems that fail it: ext4, whose file keeps a bad block that it could not have, in all cases with free space.

use std::borrow::Cow;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use anyhow::{bail, ensure, Context, Result};
use rustix::fs::{fallocate, FallocateFlags};
use rustix::io::Errno;
use stablefs_selftests::child::{self, Loaded, Stored, STORED};
use stablefs_selftests::dax::{self, is_dax, ALWAYS, PAGE};
use stablefs_selftests::devices::Kind;
use stablefs_selftests::filesystem::Fstyp;
use stablefs_selftests::ioctl::{fiemap, FIEMAP_SYNC};
use stablefs_selftests::mounted::Mounted;
use stablefs_selftests::needs::{Missing, Needs, Volume};
use stablefs_selftests::poison::Poisoned;
use stablefs_selftests::program::{say, Case, Env, Program};

pub(crate) const PROGRAM: Program = Program {
    name: "dax_poison",
    needs: Needs {
        on: Cow::Borrowed(&[Kind::Pmem]),
        volume: Volume::Raw,
        only: Cow::Borrowed(&[Fstyp::Stablefs, Fstyp::Ext4, Fstyp::Xfs]),
    },
    cases: &[
        Case::new("page_of_a_file", |env| in_data(env, 0, PAGE)),
        Case::new("sector_of_a_file", |env| in_data(env, 1024, 512)),
        Case::new("free_space_written", |env| in_free_space(env, HOLE, WRITE)),
        Case::new("free_space_stored", |env| in_free_space(env, HOLE, STORE)),
        Case::new("preallocated_written", |env| {
            in_free_space(env, PREALLOCATED, WRITE)
        }),
        Case::new("preallocated_stored", |env| {
            in_free_space(env, PREALLOCATED, STORE)
        }),
    ],
};

const MIB: u32 = 32;
const NAME: &str = "file";
/// Pages of a file with a bad one.
const PAGES: usize = 16;
/// The bad one.
const BAD: usize = 3;
/// Pages of free space with a bad one, and that one.
const FREE: usize = 64;
const FREE_BAD: usize = 20;
/// Each byte of what is written to page `page`.
const fn byte(page: usize) -> u8 {
    page as u8 + 1
}

/// What becomes of an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    Done,
    Failed,
}

fn access(result: std::io::Result<()>) -> Result<Access> {
    match result {
        Ok(()) => Ok(Access::Done),
        Err(e) if Errno::from_io_error(&e) == Some(Errno::IO) => Ok(Access::Failed),
        Err(e) => bail!("{e}, which is neither success nor EIO"),
    }
}

fn read(file: &File, page: usize, bytes: &mut [u8]) -> Result<Access> {
    let pos = (page * PAGE) as u64;
    access(file.read_exact_at(bytes, pos)).with_context(|| format!("read of page {page}"))
}

fn write(file: &File, pos: usize, bytes: &[u8]) -> Result<Access> {
    match file.write_all_at(bytes, pos as u64) {
        // What dax_iomap_rw() says where it could copy nothing, whatever the reason.
        Err(e) if Errno::from_io_error(&e) == Some(Errno::FAULT) => Ok(Access::Failed),
        result => access(result).with_context(|| format!("write at {pos:#x}")),
    }
}

/// Where the blocks of `file` are, by page: bytes on the device.
fn places(file: &File) -> Result<Vec<(usize, u64)>> {
    let mut places = Vec::new();
    for extent in fiemap(file, FIEMAP_SYNC)? {
        for within in (0..extent.length).step_by(PAGE) {
            let page = usize::try_from(extent.logical + within)? / PAGE;
            places.push((page, extent.physical + within));
        }
    }
    Ok(places)
}

fn create(mounted: &Mounted, name: &str) -> Result<File> {
    let mut options = OpenOptions::new();
    let options = options.read(true).write(true).create_new(true);
    let file = options.open(mounted.dir().join(name))?;
    ensure!(is_dax(&file)?, "it is not DAX");
    Ok(file)
}

/// The pages of a file are those of `wanted`.
fn holds(file: &File, wanted: &[Vec<u8>]) -> Result<()> {
    for (page, wanted) in wanted.iter().enumerate() {
        let mut found = vec![0xee; PAGE];
        ensure!(
            read(file, page, &mut found)? == Access::Done,
            "page {page} cannot be read"
        );
        if let Some(at) = (0..PAGE).find(|&at| found[at] != wanted[at]) {
            let word = &found[at / 8 * 8..][..8];
            let old = word == dax::OLD.to_ne_bytes();
            let what = if old { ", which is old" } else { "" };
            bail!(
                "page {page}, byte {at:#x}: {:#x}{what}, want {:#x}",
                found[at],
                wanted[at]
            );
        }
    }
    Ok(())
}

/// Bad are the `len` bytes at `at` of page [`BAD`] of a file.
fn in_data(env: &Env, at: usize, len: usize) -> Result<()> {
    let dev = env.dev()?;
    let poisoned = Poisoned::new(dev)?;
    let clears = poisoned.is_cleared_by_writing(dev, 0)?;
    dax::make(env.fstyp, dev, MIB)?;
    let mounted = Mounted::new(env.fstyp, dev, ALWAYS)?;
    let file = create(&mounted, NAME)?;
    let mut wanted: Vec<Vec<u8>> = (0..PAGES).map(|page| vec![byte(page); PAGE]).collect();
    file.write_all_at(&wanted.concat(), 0)?;
    file.sync_all()?;
    let (_, place) = *places(&file)?.get(BAD).context("no such page")?;
    drop(file);
    mounted.unmount()?;
    poisoned.add(place + at as u64, len as u64)?;

    let mounted = Mounted::new(env.fstyp, dev, ALWAYS)?;
    let path = mounted.dir().join(NAME);
    let used = data(&path, &mut wanted, clears);
    let judged = used.and_then(|()| {
        mounted.unmount()?;
        env.fstyp.check(dev)?;
        poisoned.heal()?;
        let mounted = Mounted::new(env.fstyp, dev, ALWAYS)?;
        holds(&File::open(mounted.dir().join(NAME))?, &wanted).context("after a remount")?;
        mounted.unmount()
    });
    say(&format!("written pages are good again: {clears}"));
    judged
}

fn data(path: &Path, wanted: &mut [Vec<u8>], clears: bool) -> Result<()> {
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    let others = |wanted: &[Vec<u8>]| -> Result<()> {
        let mut found = vec![0; PAGE];
        for (page, wanted) in wanted.iter().enumerate().filter(|(page, _)| *page != BAD) {
            ensure!(
                read(&file, page, &mut found)? == Access::Done && found == *wanted,
                "page {page}, which is good"
            );
        }
        Ok(())
    };
    let is_bad = |when: &str| -> Result<()> {
        let found = read(&file, BAD, &mut [0; PAGE])?;
        ensure!(found == Access::Failed, "{when}: the bad page can be read");
        Ok(())
    };
    others(wanted)?;
    is_bad("first")?;
    // One that reaches over it.
    let across = access(file.read_exact_at(&mut vec![0; PAGES * PAGE], 0))?;
    ensure!(across == Access::Failed, "a read over the bad page");
    let loaded = child::load(path, (BAD * PAGE) as u64)?;
    ensure!(loaded == Loaded::SigBus, "a load gives {loaded:?}");
    let loaded = child::load(path, ((BAD + 1) * PAGE) as u64)?;
    ensure!(
        loaded == Loaded::Byte(byte(BAD + 1)),
        "a load beside it gives {loaded:?}"
    );
    let stored = child::store(path, (PAGES * PAGE) as u64, 1)?;
    let want = Stored {
        pages: BAD as u64,
        sigbus: true,
    };
    ensure!(stored == want, "stores: {stored:?}, want {want:?}");
    for page in &mut wanted[..BAD] {
        page[..STORED.len()].copy_from_slice(&STORED);
    }
    others(wanted).context("after the store")?;
    let part = write(&file, BAD * PAGE + 700, &[0xaa; 100])?;
    ensure!(part == Access::Failed, "part of the bad page is written");
    is_bad("after a write of a part")?;
    let whole = write(&file, BAD * PAGE, &[0xbb; PAGE])?;
    match (whole, clears) {
        (Access::Done, true) => {
            wanted[BAD].fill(0xbb);
            holds(&file, wanted).context("after it was written whole")?;
        }
        (Access::Failed, false) => is_bad("after a write of all of it")?,
        _ => bail!(
            "a write of all of the page: {whole:?}, while the memory is cleared by that: {clears}"
        ),
    }
    others(wanted).context("after the write")?;
    let mode = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    fallocate(&file, mode, (BAD * PAGE) as u64, PAGE as u64).context("punch")?;
    wanted[BAD].fill(0);
    holds(&file, wanted).context("after a hole was punched")?;
    file.sync_all().context("fsync")
}

/// What is there before.
type Space = fn(&File) -> Result<()>;
const HOLE: Space = |file| Ok(file.set_len((FREE * PAGE) as u64)?);
const PREALLOCATED: Space = |file| {
    Ok(fallocate(
        file,
        FallocateFlags::empty(),
        0,
        (FREE * PAGE) as u64,
    )?)
};

/// How the pages are filled, from the first to the one that cannot be: gives how many there were.
type Fill = fn(&Path, &File, &mut [Vec<u8>]) -> Result<usize>;
const WRITE: Fill = |_, file, wanted| {
    for (page, wanted) in wanted.iter_mut().enumerate() {
        if write(file, page * PAGE, &[byte(page); PAGE])? == Access::Failed {
            return Ok(page);
        }
        wanted.fill(byte(page));
    }
    Ok(wanted.len())
};
const STORE: Fill = |path, _, wanted| {
    let stored = child::store(path, (wanted.len() * PAGE) as u64, 1)?;
    let pages = usize::try_from(stored.pages)?;
    for wanted in &mut wanted[..pages] {
        wanted[..STORED.len()].copy_from_slice(&STORED);
    }
    ensure!(
        stored.sigbus == (pages < wanted.len()),
        "{stored:?} of {} pages",
        wanted.len()
    );
    Ok(pages)
};

/// Bad is a page of the only free space, of which a new file takes all.
fn in_free_space(env: &Env, space: Space, fill: Fill) -> Result<()> {
    let dev = env.dev()?;
    let poisoned = Poisoned::new(dev)?;
    let clears = poisoned.is_cleared_by_writing(dev, 0)?;
    dax::make(env.fstyp, dev, MIB)?;
    let mounted = Mounted::new(env.fstyp, dev, ALWAYS)?;
    // The file itself takes no blocks yet; the metadata of both need none later.
    drop(create(&mounted, NAME)?);
    let spare = create(&mounted, "spare")?;
    spare.write_all_at(&vec![0xcc; FREE * PAGE], 0)?;
    spare.sync_all()?;
    let others = create(&mounted, "others")?;
    for page in 0.. {
        match others.write_at(&[0xdd; 16 * PAGE], page * 16 * PAGE as u64) {
            Ok(16_384..) => {}
            Ok(_) => break,
            Err(e) if Errno::from_io_error(&e) == Some(Errno::NOSPC) => break,
            Err(e) => return Err(e).context("fill"),
        }
    }
    others.sync_all()?;
    let (_, place) = *places(&spare)?.get(FREE_BAD).context("no such page")?;
    drop((spare, others));
    fs::remove_file(mounted.dir().join("spare"))?;
    mounted.unmount()?;
    poisoned.add(place, PAGE as u64)?;

    let mounted = Mounted::new(env.fstyp, dev, ALWAYS)?;
    let path = mounted.dir().join(NAME);
    let used = free_space(&path, space, fill, place, clears);
    let mounted = match used {
        Ok(_) => {
            mounted.unmount()?;
            env.fstyp.check(dev)?;
            poisoned.heal()?;
            Mounted::new(env.fstyp, dev, ALWAYS)?
        }
        Err(e) => {
            mounted.unmount()?;
            return Err(e);
        }
    };
    say(&format!("written pages are good again: {clears}"));
    let mut wanted = used?;
    let path = mounted.dir().join(NAME);
    let file = OpenOptions::new().read(true).write(true).open(&path)?;
    holds(&file, &wanted).context("after a remount")?;
    // What could not be had is to be had now.
    let pages = fill(&path, &file, &mut wanted)?;
    ensure!(pages == FREE, "page {pages} is bad for good");
    holds(&file, &wanted).context("on good memory")?;
    drop(file);
    mounted.unmount()?;
    env.fstyp.check(dev)
}

/// Gives what the file holds.
fn free_space(
    path: &Path,
    space: Space,
    fill: Fill,
    place: u64,
    clears: bool,
) -> Result<Vec<Vec<u8>>> {
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    space(&file)?;
    file.sync_all()?;
    let mut wanted = vec![vec![0; PAGE]; FREE];
    let pages = fill(path, &file, &mut wanted)?;
    say(&format!("{pages} of {FREE} pages"));
    let has_bad = || -> Result<bool> { Ok(places(&file)?.iter().any(|at| at.1 == place)) };
    if pages == FREE && !clears && !has_bad()? {
        bail!(Missing("the file has got other blocks".to_owned()));
    }
    ensure!(
        (pages == FREE) == clears,
        "the memory is cleared by writing: {clears}"
    );
    holds(&file, &wanted)?;
    let blocks = file.metadata()?.blocks();
    // The same page once more, and in the other way.
    if pages < FREE {
        let again = write(&file, pages * PAGE, &[1; PAGE])?;
        ensure!(again == Access::Failed, "page {pages}, once more");
        let stored = child::store(path, (FREE * PAGE) as u64, 1)?;
        for page in &mut wanted[..pages] {
            page[..STORED.len()].copy_from_slice(&STORED);
        }
        ensure!(
            stored.sigbus && stored.pages == pages as u64,
            "page {pages}, once more: {stored:?}"
        );
    }
    holds(&file, &wanted).context("once more")?;
    file.sync_all().context("fsync")?;
    let after = file.metadata()?.blocks();
    ensure!(after == blocks, "{blocks} sectors, then {after}");
    let preallocated = blocks >= (FREE * PAGE / 512) as u64;
    ensure!(
        preallocated || clears || !has_bad()?,
        "the bad block has come to the file"
    );
    Ok(wanted)
}
