// SPDX-License-Identifier: GPL-2.0

//! A sector whose data does not fit its protection information, or that cannot be read at all, is an error for whoever
//! reads it and for nobody else; the log names inode and offset. Once the sector is right again, so is the file.
//!
//! Promise 1, stable data: its reading side. Broken by control `skip_read_verify`, which reads protection information
//! and looks at none of it. And with the checks of the device and of the kernel switched off, a case sees that the
//! wrong data is returned, so it is the checks that make the error.
//! Filesystems: stablefs, and beside it what ext4 makes of the same sector; ext4 and XFS alone, for comparison. ext4
//! has no inode and offset in the log of a failed read, so that is asked of stablefs only.

use std::borrow::Cow;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use anyhow::{bail, ensure, Context, Result};
use rustix::fs::{fadvise, Advice, OFlags};
use rustix::io::Errno;
use stablefs_selftests::blockdev::Dm;
use stablefs_selftests::child::{load, Loaded};
use stablefs_selftests::devices::{kernel_name, Kind};
use stablefs_selftests::filesystem::Fstyp;
use stablefs_selftests::ioctl::{fiemap, FIEMAP_SYNC};
use stablefs_selftests::kmsg::Kmsg;
use stablefs_selftests::mounted::Mounted;
use stablefs_selftests::needs::{Needs, Volume};
use stablefs_selftests::program::{say, Case, Env, Program};
use stablefs_selftests::scsi::{Sector, Switch};
use stablefs_selftests::seed::Bytes;

pub(crate) const PROGRAM: Program = Program {
    name: "corrupt_sector_is_an_error",
    needs: Needs {
        // The one kind whose protection information can be left stale from here: NVMe makes what the kernel does not.
        on: Cow::Borrowed(&[Kind::Dif]),
        volume: Volume::Raw,
        only: Cow::Borrowed(&[Fstyp::Stablefs, Fstyp::Ext4, Fstyp::Xfs]),
    },
    cases: &[
        Case::new("seen_by_the_device", |env| corrupted(env, Checks::Both)),
        Case::new("seen_by_the_kernel_alone", |env| {
            corrupted(env, Checks::Kernel)
        }),
        Case::new("wrong_data_without_any_check", |env| {
            corrupted(env, Checks::None)
        }),
    ],
};

/// The same where a device cannot read a sector.
pub(crate) const UNREADABLE: Program = Program {
    name: "unreadable_sector_is_an_error",
    needs: Needs {
        on: Cow::Borrowed(Kind::ALL),
        volume: Volume::Raw,
        only: Cow::Borrowed(&[Fstyp::Stablefs, Fstyp::Ext4, Fstyp::Xfs]),
    },
    cases: &[Case::new("of_a_file", unreadable)],
};

/// Who looks at protection information when a sector is read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Checks {
    Both,
    Kernel,
    None,
}

const SECTOR: u64 = 512;
const BLOCK: u64 = 4096;
const FILE_LEN: usize = 8 << 20;
/// Where the bad sector lies: in the middle of a block, far from the ends of the file.
const BAD_BLOCK: u64 = 1234;
const BAD: u64 = BAD_BLOCK * BLOCK + SECTOR;
/// As far as one read from the device may reach at most: what is farther away is read by itself.
const FAR: u64 = 2 << 20;

/// What a reader got.
pub(crate) type Outcome = Result<Vec<u8>, Errno>;

/// The filesystem that writes the volume, and is looked at first.
fn writer(env: &Env) -> Fstyp {
    match env.fstyp {
        Fstyp::Stablefs => Fstyp::Ext4,
        other => other,
    }
}

/// The filesystems that are looked at, the one under test last.
fn looked_at(env: &Env) -> Vec<Fstyp> {
    let mut all = vec![writer(env), env.fstyp];
    all.dedup();
    all
}

/// A volume with the file, and another file. Returns where on the volume the bad sector is to be.
fn made(env: &Env) -> Result<u64> {
    let dev = env.dev()?;
    writer(env).make(dev)?;
    let mounted = Mounted::new(writer(env), dev, "")?;
    let path = mounted.dir().join("file");
    fs::write(&path, content(env))?;
    fs::write(mounted.dir().join("other"), content(env))?;
    let file = File::open(&path)?;
    file.sync_all()?;
    let extents = fiemap(&file, FIEMAP_SYNC)?;
    drop(file);
    mounted.unmount()?;
    let extent = extents
        .iter()
        .find(|extent| (extent.logical..extent.logical + extent.length).contains(&BAD));
    let extent = extent.with_context(|| format!("no extent at {BAD:#x}: {extents:?}"))?;
    Ok(extent.physical + (BAD - extent.logical))
}

fn content(env: &Env) -> Vec<u8> {
    Bytes::new(env.seed, 0).take(FILE_LEN)
}

fn corrupted(env: &Env, checks: Checks) -> Result<()> {
    let dev = env.dev()?;
    let place = made(env)?;
    let sector = Sector::read(dev, place)?;
    sector.corrupt()?;
    let mut switches = Vec::new();
    if checks != Checks::Both {
        switches.push(Switch::protection_type(dev, "0")?);
    }
    if checks == Checks::None {
        switches.push(Switch::verify(dev, "0")?);
    }
    let mut known = None;
    for fstyp in looked_at(env) {
        let mounted = Mounted::new(fstyp, dev, "ro")?;
        if checks == Checks::None {
            let bytes = read(&mounted.dir().join("file"), BAD_BLOCK * BLOCK, BLOCK)
                .context("read without checks")?;
            ensure!(
                bytes != content(env)[(BAD_BLOCK * BLOCK) as usize..][..BLOCK as usize],
                "the sector is not corrupt"
            );
        } else {
            let errnos =
                readers(env, fstyp, dev, mounted.dir()).with_context(|| format!("as {fstyp}"))?;
            same_errnos(&mut known, errnos)?;
        }
        mounted.unmount()?;
    }
    drop(switches);
    sector.repair()?;
    let mounted = Mounted::new(env.fstyp, dev, "ro")?;
    let whole = fs::read(mounted.dir().join("file")).context("once it is repaired")?;
    ensure!(
        whole == content(env),
        "it has other content once it is repaired"
    );
    mounted.unmount()
}

fn unreadable(env: &Env) -> Result<()> {
    let dev = env.dev()?;
    let start = made(env)? / SECTOR;
    let name = dev.display();
    let mut file = File::open(dev)?;
    let sectors = file.seek(SeekFrom::End(0))? / SECTOR;
    drop(file);
    let (end, rest) = (start + 1, sectors - start - 1);
    let table =
        format!("0 {start} linear {name} 0\n{start} 1 error\n{end} {rest} linear {name} {end}");
    let disk = Dm::new(&table)?;
    let mut known = None;
    for fstyp in looked_at(env) {
        let mounted = Mounted::new(fstyp, disk.path(), "ro")?;
        let errnos = readers(env, fstyp, disk.path(), mounted.dir())
            .with_context(|| format!("as {fstyp}"))?;
        same_errnos(&mut known, errnos)?;
        mounted.unmount()?;
    }
    Ok(())
}

/// The errors are those that are known, or EIO: direct readers learn of a guard as EILSEQ from some.
fn same_errnos(known: &mut Option<Vec<Errno>>, found: Vec<Errno>) -> Result<()> {
    let wanted = known.get_or_insert_with(|| found.clone());
    let same = wanted
        .iter()
        .zip(&found)
        .all(|(want, found)| want == found || *found == Errno::IO);
    ensure!(same, "readers get {found:?}, want {wanted:?}");
    Ok(())
}

/// All sorts of readers of the bad block, and of others. Returns the errors of those of the bad block.
fn readers(env: &Env, fstyp: Fstyp, dev: &Path, dir: &Path) -> Result<Vec<Errno>> {
    let path = dir.join("file");
    let content = content(env);
    let block = BAD_BLOCK * BLOCK;
    let mut log = Kmsg::mark()?;
    let outcomes = [
        ("read", read(&path, block, BLOCK)),
        ("direct", direct(&path, block, BLOCK)),
        ("direct, one sector", direct(&path, BAD, SECTOR)),
    ];
    let lines = log.lines_since()?;
    let mut errnos = Vec::new();
    for (how, outcome) in outcomes {
        match outcome {
            Err(errno) => errnos.push(errno),
            Ok(bytes) => bail!("{how} of the bad block gives {} bytes", bytes.len()),
        }
    }
    let codes: Vec<i32> = errnos.iter().map(|errno| errno.raw_os_error()).collect();
    say(&format!(
        "{fstyp}: read and direct reads of the bad block get errnos {codes:?}"
    ));
    ensure!(
        errnos.first() == Some(&Errno::IO),
        "read of the bad block: want EIO, got {:?}",
        errnos.first()
    );
    let mapped = load(&path, BAD + 100)?;
    ensure!(
        mapped == Loaded::SigBus,
        "load from the bad page: {mapped:?}"
    );
    if fstyp == Fstyp::Stablefs {
        names_the_place(dev, fs::metadata(&path)?.ino(), BAD, &lines)?;
    }

    // Its neighbours, and the other sectors of its own block where they can be read alone.
    for at in [block - BLOCK, block + BLOCK, 0, block - FAR, block + FAR] {
        let wanted = &content[at as usize..][..BLOCK as usize];
        let same = |how: &str, outcome: Outcome| -> Result<()> {
            let bytes = outcome.with_context(|| format!("{how} at {at:#x}"))?;
            ensure!(bytes == wanted, "{how} at {at:#x} gives other content");
            Ok(())
        };
        same("read", read(&path, at, BLOCK))?;
        same("direct", direct(&path, at, BLOCK))?;
        let mapped = load(&path, at + 7)?;
        ensure!(
            mapped == Loaded::Byte(wanted[7]),
            "load at {at:#x}: {mapped:?}"
        );
    }
    let sectors = direct(&path, block + 2 * SECTOR, 2 * SECTOR)
        .context("direct, sectors behind the bad one")?;
    ensure!(
        sectors == content[(block + 2 * SECTOR) as usize..][..2 * SECTOR as usize],
        "other content"
    );
    let other = fs::read(dir.join("other")).context("the other file")?;
    ensure!(other == content, "the other file has other content");
    sequential(fstyp, &path, &content)?;
    Ok(errnos)
}

/// A reader of the whole file gets all up to the bad block's surroundings, then the error.
fn sequential(fstyp: Fstyp, path: &Path, content: &[u8]) -> Result<()> {
    let mut file = File::open(path)?;
    fadvise(&file, 0, None, Advice::DontNeed)?;
    let mut bytes = Vec::new();
    let ended = file.read_to_end(&mut bytes).map_err(|e| e.raw_os_error());
    ensure!(
        ended == Err(Some(Errno::IO.raw_os_error())),
        "reading the whole file: want EIO, got {ended:?} after {} bytes",
        bytes.len()
    );
    let got = bytes.len() as u64;
    let bad = BAD_BLOCK * BLOCK;
    ensure!(
        got <= bad && got + FAR > bad,
        "reading the whole file ends after {got:#x} bytes, the bad block is at {bad:#x}"
    );
    ensure!(
        bytes == content[..bytes.len()],
        "other content ahead of the bad block"
    );
    say(&format!(
        "{fstyp}: a sequential reader gets {} bytes less than there are before the bad block",
        bad - got
    ));
    Ok(())
}

/// One read of `len` bytes at `pos` through the page cache, which knows nothing of the file, and without readahead.
pub(crate) fn read(path: &Path, pos: u64, len: u64) -> Outcome {
    let file = File::open(path).map_err(errno)?;
    fadvise(&file, 0, None, Advice::DontNeed)?;
    fadvise(&file, 0, None, Advice::Random)?;
    let mut bytes = vec![0xee; len as usize];
    let count = file.read_at(&mut bytes, pos).map_err(errno)?;
    bytes.truncate(count);
    Ok(bytes)
}

/// One direct read.
pub(crate) fn direct(path: &Path, pos: u64, len: u64) -> Outcome {
    const ALIGN: usize = 4096;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(OFlags::DIRECT.bits() as i32)
        .open(path)
        .map_err(errno)?;
    let mut buffer = vec![0xee; len as usize + ALIGN];
    let start = buffer.as_ptr().align_offset(ALIGN);
    let bytes = &mut buffer[start..start + len as usize];
    let count = file.read_at(bytes, pos).map_err(errno)?;
    Ok(bytes[..count].to_vec())
}

fn errno(e: std::io::Error) -> Errno {
    Errno::from_io_error(&e).unwrap_or(Errno::INVAL)
}

/// A line of stablefs about `dev` names inode `ino`, and an offset from which one read can have reached `bad`.
pub(crate) fn names_the_place(dev: &Path, ino: u64, bad: u64, lines: &[String]) -> Result<()> {
    let prefix = format!("stablefs ({}): ", kernel_name(dev)?);
    let found = lines
        .iter()
        .filter_map(|line| line.strip_prefix(&prefix))
        .any(|line| {
            let numbers = numbers(line);
            line.contains("inode")
                && numbers.contains(&ino)
                && numbers.iter().any(|&pos| pos <= bad && pos + FAR > bad)
        });
    ensure!(
        found,
        "want a line {prefix:?} with inode {ino} and an offset near {bad} ({bad:#x}), found {lines:#?}"
    );
    Ok(())
}

/// The numbers in `line`, decimal or hexadecimal after `0x`.
fn numbers(line: &str) -> Vec<u64> {
    line.split(|c: char| !c.is_ascii_alphanumeric())
        .filter_map(|word| match word.strip_prefix("0x") {
            Some(hex) => u64::from_str_radix(hex, 16).ok(),
            None => word.parse().ok(),
        })
        .collect()
}
