// SPDX-License-Identifier: GPL-2.0

//! On a full disk, and out of inodes, the operation that finds no room says so, whatever was accepted before is kept, and
//! room that is given back can be used.
//!
//! Promise 3, honest failure. No control breaks it: each case sees the disk full before it looks for what is lost.
//! Filesystems: those that write ext4 volumes; the others are too large to be filled. ext4 of 7.2 fails it on larger
//! volumes than these, of 24 MiB with blocks of 1 KiB: of what was written to space that had just been given back, some
//! 200 KiB that fsync confirmed are zeroes.

use std::borrow::Cow;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::thread;

use anyhow::{anyhow, bail, ensure, Context, Result};
use rustix::fs::{
    fallocate, lsetxattr, mkdir, mknodat, openat, statvfs, symlink, FallocateFlags, FileType, Mode,
    OFlags, XattrFlags, CWD,
};
use rustix::io::Errno;
use stablefs_selftests::child::{self, Stored};
use stablefs_selftests::devices::Kind;
use stablefs_selftests::filesystem::Fstyp;
use stablefs_selftests::mounted::Mounted;
use stablefs_selftests::needs::{Needs, Volume};
use stablefs_selftests::program::{say, Case, Env, Program};
use stablefs_selftests::seed::Bytes;
use stablefs_selftests::volume;

pub(crate) const PROGRAM: Program = Program {
    name: "full_disk",
    needs: Needs {
        on: Cow::Borrowed(&[Kind::Pmem, Kind::Plain]),
        volume: Volume::Raw,
        only: Cow::Borrowed(&[Fstyp::Stablefs, Fstyp::Ext4]),
    },
    cases: &[
        Case::new("write", |env| filled(env, &["-b", "4096"], write)),
        Case::new("write_in_blocks_of_1_kib", |env| {
            filled(env, &["-b", "1024"], write)
        }),
        Case::new("write_into_holes", |env| {
            filled(env, &["-b", "1024"], write_into_holes)
        }),
        Case::new("write_by_four_at_once", |env| {
            filled(env, &["-b", "4096"], write_by_four)
        }),
        Case::new("store_to_a_mapping", |env| {
            filled(env, &["-b", "4096"], store)
        }),
        Case::new("fallocate", |env| filled(env, &["-b", "4096"], allocate)),
        Case::new("write_to_unwritten_blocks", |env| {
            filled(env, &["-b", "1024", "-N", "2048"], write_to_unwritten)
        }),
        Case::new("store_to_unwritten_blocks", |env| {
            filled(env, &["-b", "1024", "-N", "2048"], store_to_unwritten)
        }),
        Case::new("names_and_attributes", |env| {
            filled(env, &["-b", "1024"], names)
        }),
        Case::new("out_of_inodes", |env| {
            filled(env, &["-b", "4096", "-N", "400"], inodes)
        }),
    ],
};

/// Of the volume.
const MIB: u64 = 12;
/// More than the volume holds.
const MORE: u64 = 24 << 20;

/// Has `fill` fill a new volume, which is then unmounted, checked, and seen through ext4 by what `fill` returns.
fn filled(env: &Env, options: &[&str], fill: fn(&Env, &Path) -> Result<Vec<Kept>>) -> Result<()> {
    let dev = env.dev()?;
    volume::make(dev, &[options, &["-m", "0"]].concat(), &format!("{MIB}M"))?;
    let mounted = Mounted::new(env.fstyp, dev, "")?;
    let kept = fill(env, mounted.dir())?;
    see(&kept, mounted.dir())?;
    mounted.unmount()?;
    volume::check(dev)?;
    for fstyp in [env.fstyp, Fstyp::Ext4] {
        let mounted = Mounted::new(fstyp, dev, "")?;
        see(&kept, mounted.dir()).with_context(|| format!("as {fstyp} sees it"))?;
        mounted.unmount()?;
    }
    volume::check(dev)
}

/// Bytes that a file is known to hold.
struct Kept {
    name: String,
    pos: u64,
    len: u64,
    stream: u64,
}

/// Bytes are written, and kept, in pieces of this many.
const PIECE: usize = 10_000;

impl Kept {
    fn bytes(&self) -> Vec<u8> {
        Bytes::new(0xf0, self.stream).take(self.len as usize)
    }
}

fn see(kept: &[Kept], root: &Path) -> Result<()> {
    fs::write("/proc/sys/vm/drop_caches", "3").context("drop_caches")?;
    for piece in kept {
        let mut found = vec![0; piece.len as usize];
        File::open(root.join(&piece.name))?
            .read_exact_at(&mut found, piece.pos)
            .with_context(|| format!("{} at {:#x}", piece.name, piece.pos))?;
        let wanted = piece.bytes();
        if let Some(n) = wanted.iter().zip(&found).position(|(a, b)| a != b) {
            let wrong = wanted.iter().zip(&found).filter(|(a, b)| a != b);
            bail!(
                "{}: {} bytes from {:#x} on that were accepted are lost, the first is {:#04x}",
                piece.name,
                wrong.count(),
                piece.pos + n as u64,
                found[n]
            );
        }
    }
    Ok(())
}

/// A new file in `root`.
fn create(root: &Path, name: &str) -> Result<File> {
    let mut options = OpenOptions::new();
    let options = options.read(true).write(true).create_new(true);
    options
        .open(root.join(name))
        .with_context(|| name.to_owned())
}

fn is_no_space(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::NOSPC.raw_os_error())
}

/// Writes pieces to file `name`, one each `step` bytes, until there is no room. Returns those that were accepted: none
/// may be lost, not even of the last, of which a part was.
fn fill(file: &File, name: &str, step: u64, stream: u64) -> Result<Vec<Kept>> {
    let mut kept = Vec::new();
    for (number, pos) in (0..).zip((0..).step_by(step as usize)) {
        let mut piece = Kept {
            name: name.to_owned(),
            pos,
            len: PIECE as u64,
            stream: (stream << 32) | number,
        };
        let bytes = piece.bytes();
        let mut done = 0;
        while done < PIECE {
            match file.write_at(&bytes[done..], pos + done as u64) {
                Ok(0) => bail!("write accepts nothing, and says nothing"),
                Ok(count) => done += count,
                Err(e) if is_no_space(&e) => {
                    piece.len = done as u64;
                    kept.push(piece);
                    file.sync_all().context("fsync on the full disk")?;
                    return Ok(kept);
                }
                Err(e) => return Err(e).context("write on the full disk"),
            }
        }
        kept.push(piece);
        ensure!(number * (PIECE as u64) < MORE, "the disk does not fill");
    }
    Ok(kept)
}

fn total(kept: &[Kept]) -> u64 {
    kept.iter().map(|piece| piece.len).sum()
}

fn write(_env: &Env, root: &Path) -> Result<Vec<Kept>> {
    let file = create(root, "first")?;
    let kept = fill(&file, "first", PIECE as u64, 1)?;
    see(&kept, root)?;
    say(&format!("{} bytes", total(&kept)));
    let left = statvfs(root)?;
    let left = left.f_bavail * left.f_bsize;
    ensure!(left < 1 << 20, "the disk is not full, it has {left} bytes");
    // Over what is there, room is needed for nothing.
    file.write_all_at(&kept[0].bytes(), kept[0].pos)
        .context("overwrite")?;
    file.sync_all().context("fsync of what is overwritten")?;

    // What is given back can be used: all of it, without a remount.
    drop(file);
    fs::remove_file(root.join("first"))?;
    let file = create(root, "second")?;
    let again = fill(&file, "second", PIECE as u64, 2)?;
    say(&format!("{} bytes again", total(&again)));
    ensure!(
        total(&again) + (1 << 20) > total(&kept),
        "of {} bytes that were given back, {} can be used",
        total(&kept),
        total(&again)
    );
    // A part of it, too.
    let half = total(&again) / 2 / PIECE as u64 * PIECE as u64;
    file.set_len(half)?;
    let third = create(root, "third")?;
    let more = fill(&third, "third", PIECE as u64, 3)?;
    ensure!(total(&more) + (1 << 20) > half, "{} bytes", total(&more));
    let mut kept = again;
    kept.retain(|piece| piece.pos < half);
    kept.extend(more);
    Ok(kept)
}

/// Each piece has extents of its own: the tree needs room too.
fn write_into_holes(_env: &Env, root: &Path) -> Result<Vec<Kept>> {
    let file = create(root, "sparse")?;
    fill(&file, "sparse", 2 * PIECE as u64, 4)
}

fn write_by_four(_env: &Env, root: &Path) -> Result<Vec<Kept>> {
    thread::scope(|scope| {
        let tasks: Vec<_> = (0..4_u64)
            .map(|task| {
                scope.spawn(move || {
                    let name = format!("of task {task}");
                    let file = create(root, &name)?;
                    fill(&file, &name, PIECE as u64 * (1 + task % 2), 10 + task)
                })
            })
            .collect();
        let mut kept = Vec::new();
        for task in tasks {
            kept.extend(task.join().map_err(|_| anyhow!("panicked"))??);
        }
        Ok(kept)
    })
}

/// A fault that finds no room is SIGBUS; what was stored before is kept.
fn store(_env: &Env, root: &Path) -> Result<Vec<Kept>> {
    let file = create(root, "mapped")?;
    file.set_len(MORE)?;
    let Stored { pages, sigbus } = child::store(&root.join("mapped"), MORE, 1)?;
    ensure!(sigbus, "the disk does not fill");
    say(&format!("{pages} pages"));
    ensure!(pages > 1000, "only {pages} pages found room");
    file.sync_all().context("fsync")?;
    fs::write("/proc/sys/vm/drop_caches", "1").context("drop_caches")?;
    for page in 0..pages {
        let mut found = [0; child::STORED.len()];
        file.read_exact_at(&mut found, page * 4096)?;
        ensure!(found == child::STORED, "page {page} of {pages} is lost");
    }
    fs::remove_file(root.join("mapped"))?;
    drop(file);
    let file = create(root, "after")?;
    fill(&file, "after", PIECE as u64, 5)
}

/// What does not fit is refused, and what is left can be used.
fn allocate(_env: &Env, root: &Path) -> Result<Vec<Kept>> {
    let file = create(root, "large")?;
    for flags in [FallocateFlags::empty(), FallocateFlags::KEEP_SIZE] {
        match fallocate(&file, flags, 0, MORE) {
            Err(Errno::NOSPC) => {}
            other => bail!("fallocate {flags:?} of more than there is: {other:?}"),
        }
    }
    drop(file);
    fs::remove_file(root.join("large"))?;
    let file = create(root, "whole")?;
    let len = 3 << 20;
    fallocate(&file, FallocateFlags::empty(), 0, len).context("fallocate")?;
    let other = create(root, "other")?;
    let mut kept = fill(&other, "other", PIECE as u64, 6)?;
    // Into what was allocated there is always room to write.
    for pos in (0..len).step_by(1 << 18) {
        let piece = Kept {
            name: "whole".to_owned(),
            pos,
            len: PIECE as u64,
            stream: (7 << 32) | pos,
        };
        let wrote = file.write_all_at(&piece.bytes(), pos);
        wrote.context("write to what was allocated")?;
        kept.push(piece);
    }
    file.sync_all().context("fsync of what was allocated")?;
    Ok(kept)
}

/// Files of five unwritten blocks each; nothing else is free then.
fn unwritten(root: &Path, count: u64) -> Result<Vec<File>> {
    let files = (0..count).map(|number| {
        let file = create(root, &format!("unwritten {number}"))?;
        fallocate(&file, FallocateFlags::empty(), 0, 5 << 10).context("fallocate")?;
        Ok(file)
    });
    let files = files.collect::<Result<_>>()?;
    fill_with_unwritten(root)?;
    Ok(files)
}

fn fill_with_unwritten(root: &Path) -> Result<()> {
    let file = create(root, "the rest")?;
    let (mut pos, mut len) = (0, 4 << 20);
    while len >= 1 << 10 {
        match fallocate(&file, FallocateFlags::empty(), pos, len) {
            Ok(()) => pos += len,
            Err(Errno::NOSPC) => len /= 2,
            Err(e) => return Err(e).context("fallocate of the rest"),
        }
    }
    file.sync_all().context("fsync of the rest")
}

/// Writes the second and the fourth block of a file of five, for which its tree needs a block. Returns what was
/// accepted.
fn write_two(file: &File, number: u64) -> Result<Vec<Kept>> {
    let mut kept = Vec::new();
    for pos in [1 << 10, 3 << 10] {
        let piece = Kept {
            name: format!("unwritten {number}"),
            pos,
            len: 1 << 10,
            stream: (10 << 32) | (number << 16) | pos,
        };
        match file.write_at(&piece.bytes(), pos) {
            Ok(1024) => kept.push(piece),
            Err(e) if is_no_space(&e) => {}
            other => bail!("write to what was allocated: {other:?}"),
        }
    }
    Ok(kept)
}

/// More trees need blocks than there are.
fn write_to_unwritten(_env: &Env, root: &Path) -> Result<Vec<Kept>> {
    let files = unwritten(root, 900)?;
    let mut kept = Vec::new();
    for (number, file) in (0..).zip(&files) {
        kept.extend(write_two(file, number)?);
    }
    say(&format!("{} of {} writes", kept.len(), 2 * files.len()));
    ensure!(kept.len() > 100, "only {} are accepted", kept.len());
    for file in &files {
        file.sync_all().context("fsync on the full disk")?;
    }
    Ok(kept)
}

/// With few blocks left for trees, many pages can be stored to, as most of them need none.
fn store_to_unwritten(_env: &Env, root: &Path) -> Result<Vec<Kept>> {
    let mapped = create(root, "mapped")?;
    let len = 4 << 20;
    fallocate(&mapped, FallocateFlags::empty(), 0, len).context("fallocate")?;
    let files = unwritten(root, 300)?;
    let mut kept = Vec::new();
    for (number, file) in (0..).zip(&files) {
        if statvfs(root)?.f_bfree < 150 {
            break;
        }
        kept.extend(write_two(file, number)?);
        file.sync_all().context("fsync on the full disk")?;
    }
    let Stored { pages, sigbus } = child::store(&root.join("mapped"), len, 2)?;
    say(&format!("{pages} pages, SIGBUS then: {sigbus}"));
    ensure!(pages > 100, "only {pages} pages found room");
    mapped.sync_all().context("fsync of what was stored")?;
    fs::write("/proc/sys/vm/drop_caches", "1").context("drop_caches")?;
    for page in 0..pages {
        let mut found = [0; child::STORED.len()];
        mapped.read_exact_at(&mut found, page * 8192)?;
        ensure!(found == child::STORED, "page {page} of {pages} is lost");
    }
    Ok(kept)
}

/// Directories, long links and attributes need blocks.
fn names(_env: &Env, root: &Path) -> Result<Vec<Kept>> {
    let dir = root.join("directory");
    fs::create_dir(&dir)?;
    fs::write(root.join("victim"), "")?;
    let file = create(root, "filler")?;
    let mut kept = fill(&file, "filler", PIECE as u64, 8)?;
    let (mut made, mut refused) = (0, 0);
    let mut take = |result: io::Result<()>| match result {
        Ok(()) => {
            made += 1;
            Ok(true)
        }
        Err(e) if is_no_space(&e) => {
            refused += 1;
            Ok(false)
        }
        Err(e) => Err(e).context("on the full disk"),
    };
    let mut wanted = Vec::new();
    for number in 0..300 {
        let name = format!("{number} {}", "x".repeat(200));
        let path = dir.join(&name);
        let done = match number % 3 {
            0 => take(fs::create_dir(&path))?,
            1 => take(std::os::unix::fs::symlink("y".repeat(200), &path))?,
            _ => take(File::create_new(&path).map(drop))?,
        };
        wanted.extend(done.then_some(name));
    }
    let value = vec![7; 600];
    for number in 0..3 {
        let name = format!("user.{number}");
        let set = lsetxattr(root.join("victim"), name, &value, XattrFlags::empty());
        take(set.map_err(io::Error::from))?;
    }
    say(&format!("{made} made, {refused} refused"));
    ensure!(refused > 0, "nothing was refused");
    let mut found = Vec::new();
    for entry in fs::read_dir(&dir)? {
        found.extend(entry?.file_name().into_string());
    }
    wanted.sort_unstable();
    found.sort_unstable();
    ensure!(found == wanted, "other names are there than were made");

    // Room again for all of them.
    file.set_len(PIECE as u64)?;
    kept.truncate(1);
    for number in 0..300 {
        fs::create_dir(dir.join(format!("later {number}"))).context("with room again")?;
    }
    Ok(kept)
}

fn inodes(_env: &Env, root: &Path) -> Result<Vec<Kept>> {
    let free = statvfs(root)?.f_ffree;
    let make = |prefix: &str| -> Result<u64> {
        for number in 0.. {
            let path = root.join(format!("{prefix} {number}"));
            let made = match number % 2 {
                0 => File::create_new(path).map(drop),
                _ => fs::create_dir(path),
            };
            match made {
                Ok(()) => ensure!(number < 2 * free, "the inodes do not end"),
                Err(e) if is_no_space(&e) => return Ok(number),
                Err(e) => return Err(e).context("out of inodes"),
            }
        }
        Ok(0)
    };
    let made = make("first")?;
    ensure!(made == free, "{free} inodes were free, {made} were taken");
    let other = make("other")?;
    ensure!(other == 0, "{other} inodes were found after the last");
    let path = root.join("other");
    let tmpfile = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let fifo = || mknodat(CWD, &path, FileType::Fifo, Mode::RWXU, 0);
    let outcomes = [
        ("mkdir", mkdir(&path, Mode::RWXU)),
        ("symlink", symlink("target", &path)),
        ("long symlink", symlink("target".repeat(20), &path)),
        ("mknod", fifo()),
        (
            "O_TMPFILE",
            openat(CWD, root, tmpfile, Mode::RWXU).map(drop),
        ),
    ];
    for (how, outcome) in outcomes {
        ensure!(outcome == Err(Errno::NOSPC), "{how}: {outcome:?}");
    }
    fs::remove_file(root.join("first 2"))?;
    fifo().context("with an inode given back")?;
    fs::remove_file(&path)?;
    File::create_new(root.join("first 2")).context("with an inode given back")?;
    // Nothing of what failed is left, and a file that is there can still be written to.
    let file = OpenOptions::new().write(true).open(root.join("first 0"))?;
    let piece = Kept {
        name: "first 0".to_owned(),
        pos: 0,
        len: PIECE as u64,
        stream: 9,
    };
    file.write_all_at(&piece.bytes(), 0)?;
    file.sync_all()?;
    for number in (1..made).step_by(2) {
        fs::remove_dir(root.join(format!("first {number}")))?;
    }
    let (freed, again) = (made / 2, make("again")?);
    ensure!(
        again == freed,
        "{freed} inodes were given back, {again} taken"
    );
    Ok(vec![piece])
}
