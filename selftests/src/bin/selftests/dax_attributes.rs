// SPDX-License-Identifier: GPL-2.0

//! Which files are DAX: as the mount option says, or the file's own flag, which is set, cleared and inherited, and has its
//! effect when the file is next taken from the disk; statx(2) says what is in effect. What a file holds is the same
//! before and after.
//!
//! As `Documentation/filesystems/dax.rst` has it, with its examples A, B and C. Promise: none of the three; the flag is
//! where the second one begins.

use std::borrow::Cow;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{ensure, Context, Result};
use rustix::io::Errno;
use stablefs_selftests::blockdev::Loop;
use stablefs_selftests::dax::{self, is_dax, PAGE};
use stablefs_selftests::devices::Kind;
use stablefs_selftests::filesystem::Fstyp;
use stablefs_selftests::ioctl::{fsgetxattr, fssetxattr, Fsxattr};
use stablefs_selftests::mounted::Mounted;
use stablefs_selftests::needs::{Needs, Volume};
use stablefs_selftests::program::{Case, Env, Program};
use stablefs_selftests::seed::Bytes;
use stablefs_selftests::words::{Words, WORD};

pub(crate) const PROGRAM: Program = Program {
    name: "dax_attributes",
    needs: Needs {
        on: Cow::Borrowed(&[Kind::Pmem]),
        volume: Volume::Raw,
        only: Cow::Borrowed(&[Fstyp::Stablefs, Fstyp::Ext4, Fstyp::Xfs]),
    },
    cases: &[
        Case::new("always", |env| options(env, "dax=always", |_| true)),
        Case::new("never", |env| options(env, "dax=never", |_| false)),
        Case::new("inode", |env| options(env, "dax=inode", |flagged| flagged)),
        Case::new("without_an_option", |env| {
            options(env, "", |flagged| flagged)
        }),
        Case::new("inherited", |env| inherited(env, "dax=inode")),
        Case::new("inherited_with_never", |env| inherited(env, "dax=never")),
        Case::new("inherited_with_always", |env| inherited(env, "dax=always")),
        Case::new("takes_effect_later", takes_effect_later),
        Case::new("after_a_remount", after_a_remount),
        Case::new("kept_where_there_is_no_dax", without_dax),
    ],
};

const MIB: u32 = 32;
/// Of a device that cannot do it: XFS makes none that is smaller.
const LOOP_LEN: u64 = 320 << 20;
/// `FS_XFLAG_DAX`
const XFLAG_DAX: u32 = 0x8000;
const LEN: usize = 5 * PAGE;

fn mounted(env: &Env, option: &str) -> Result<Mounted> {
    dax::make(env.fstyp, env.dev()?, MIB)?;
    Mounted::new(env.fstyp, env.dev()?, option)
}

fn flagged(path: &Path) -> Result<bool> {
    let file = File::open(path).with_context(|| path.display().to_string())?;
    Ok(fsgetxattr(&file)?.xflags & XFLAG_DAX != 0)
}

fn flag(path: &Path, dax: bool) -> Result<(), Errno> {
    let file = File::open(path).map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::IO))?;
    let now = fsgetxattr(&file)?;
    let others = now.xflags & !XFLAG_DAX;
    let xflags = match dax {
        true => others | XFLAG_DAX,
        false => others,
    };
    fssetxattr(&file, Fsxattr { xflags, ..now })
}

/// Whether statx says that the file is DAX.
fn expect(path: &Path, dax: bool) -> Result<()> {
    let name = path.display();
    let found = is_dax(&File::open(path).with_context(|| name.to_string())?)?;
    ensure!(found == dax, "{name}: DAX is {found}, want {dax}");
    Ok(())
}

fn expect_flag(path: &Path, dax: bool) -> Result<()> {
    let found = flagged(path)?;
    let name = path.display();
    ensure!(found == dax, "{name}: the flag is {found}, want {dax}");
    Ok(())
}

/// Has all files be taken from the disk again.
fn forget() -> Result<()> {
    rustix::fs::sync();
    fs::write("/proc/sys/vm/drop_caches", "3").context("drop_caches")
}

/// A file without the flag, and one that was made in a directory with it: now, and when they are taken from the disk.
fn options(env: &Env, option: &str, dax: fn(bool) -> bool) -> Result<()> {
    let mounted = mounted(env, option)?;
    let root = mounted.dir();
    let dir = root.join("dir");
    fs::create_dir(&dir)?;
    flag(&dir, true).context("a directory does not take the flag")?;
    expect(&dir, false).context("a directory")?;
    let files = [(root.join("plain"), false), (dir.join("flagged"), true)];
    for (path, flagged) in &files {
        File::create_new(path)?;
        expect_flag(path, *flagged)?;
        expect(path, dax(*flagged)).context("a new file")?;
        written(env, path)?;
    }
    forget()?;
    for (path, flagged) in &files {
        expect(path, dax(*flagged)).context("taken from the disk")?;
        holds(env, path)?;
    }
    mounted.unmount()?;
    env.fstyp.check(env.dev()?)?;
    // Whatever was in effect before.
    let mounted = Mounted::new(env.fstyp, env.dev()?, "dax=inode")?;
    for (path, flagged) in [("plain", false), ("dir/flagged", true)] {
        expect(&mounted.dir().join(path), flagged).context("after a remount with dax=inode")?;
        holds(env, &mounted.dir().join(path))?;
    }
    mounted.unmount()
}

fn content(env: &Env) -> Vec<u8> {
    Bytes::new(env.seed, 0xda).take(LEN)
}

/// Half of it is written, half of it stored.
fn written(env: &Env, path: &Path) -> Result<()> {
    let content = content(env);
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    file.set_len(LEN as u64)?;
    let (head, tail) = content.split_at(2 * PAGE + 1000);
    file.write_all_at(head, 0)?;
    let mapping = Words::of(&file, 0, LEN)?;
    for (index, word) in (head.len() / WORD..).zip(tail.chunks_exact(WORD)) {
        mapping.store(index, u64::from_ne_bytes(word.try_into()?));
    }
    drop(mapping);
    holds(env, path)
}

fn holds(env: &Env, path: &Path) -> Result<()> {
    let wanted = content(env);
    let name = path.display();
    let found = fs::read(path)?;
    let differs = found.iter().zip(&wanted).position(|(a, b)| a != b);
    ensure!(
        differs.is_none() && found.len() == wanted.len(),
        "{name}: {} bytes, byte {differs:?} is another",
        found.len()
    );
    let mapping = Words::to_load(&File::open(path)?, 0, LEN)?;
    for (index, word) in wanted.chunks_exact(WORD).enumerate() {
        let word = u64::from_ne_bytes(word.try_into()?);
        ensure!(
            mapping.load(index) == word,
            "{name}: the mapping holds another word at {:#x}",
            index * WORD
        );
    }
    Ok(())
}

/// Examples A, B and C, and files.
fn inherited(env: &Env, option: &str) -> Result<()> {
    let mounted = mounted(env, option)?;
    let root = mounted.dir();
    let make = |path: &str| fs::create_dir_all(root.join(path)).with_context(|| path.to_owned());
    let set = |path: &str| flag(&root.join(path), true).with_context(|| path.to_owned());

    make("A/a/b/c")?;
    File::create_new(root.join("A/a/old"))?;
    set("A/a")?;
    make("A/a/b/c/d")?;
    make("A/a/e")?;
    File::create_new(root.join("A/a/new"))?;
    File::create_new(root.join("A/a/b/other"))?;
    fs::rename(root.join("A/a/b/other"), root.join("A/a/moved"))?;
    fs::hard_link(root.join("A/a/old"), root.join("A/a/e/linked"))?;
    std::os::unix::fs::symlink("new", root.join("A/a/symlink"))?;

    make("B/a")?;
    set("B/a")?;
    make("B/a/b/c/d")?;

    make("C/a/b/c")?;
    set("C/a/b/c")?;
    make("C/a/b/c/d")?;
    flag(&root.join("C/a/b/c"), false).context("cleared")?;
    make("C/a/b/c/late")?;

    let wanted = [
        (
            "A",
            "A/a A/a/e A/a/new",
            "A/a/b A/a/b/c A/a/b/c/d A/a/old A/a/moved A/a/e/linked",
        ),
        ("B", "B/a B/a/b B/a/b/c B/a/b/c/d", "B"),
        ("C", "C/a/b/c/d", "C/a C/a/b C/a/b/c C/a/b/c/late"),
    ];
    let look = |root: &Path| -> Result<()> {
        for (example, with, without) in wanted {
            for (paths, dax) in [(with, true), (without, false)] {
                for path in paths.split(' ') {
                    expect_flag(&root.join(path), dax).context(example)?;
                }
            }
        }
        Ok(())
    };
    look(root)?;
    forget()?;
    look(root).context("taken from the disk")?;
    mounted.unmount()?;
    env.fstyp.check(env.dev()?)?;
    let mounted = Mounted::new(env.fstyp, env.dev()?, "dax=inode")?;
    look(mounted.dir()).context("after a remount")?;
    expect(&mounted.dir().join("A/a/new"), true)?;
    expect(&mounted.dir().join("A/a/old"), false)?;
    mounted.unmount()
}

/// The flag of a file that holds something is set, and cleared again: while it is open nothing changes but the flag.
fn takes_effect_later(env: &Env) -> Result<()> {
    let mounted = mounted(env, "dax=inode")?;
    let path = mounted.dir().join("file");
    File::create_new(&path)?;
    written(env, &path)?;
    for dax in [true, false, true] {
        let open = File::open(&path)?;
        let mapping = Words::to_load(&open, 0, LEN)?;
        mapping.load(0);
        flag(&path, dax).context("the flag of a file that holds something")?;
        expect_flag(&path, dax)?;
        expect(&path, !dax).context("it is open still")?;
        forget()?;
        expect(&path, !dax).context("it is open still, and caches were dropped")?;
        holds(env, &path)?;
        drop((open, mapping));
        forget()?;
        expect(&path, dax).context("nobody has it open")?;
        holds(env, &path)?;
        written(env, &path)?;
    }
    mounted.unmount()?;
    env.fstyp.check(env.dev()?)
}

/// The same, where the volume is mounted again.
fn after_a_remount(env: &Env) -> Result<()> {
    let mut mounted = mounted(env, "dax=inode")?;
    let path = mounted.dir().join("file");
    File::create_new(&path)?;
    written(env, &path)?;
    for dax in [true, false] {
        flag(&mounted.dir().join("file"), dax)?;
        mounted.unmount()?;
        env.fstyp.check(env.dev()?)?;
        mounted = Mounted::new(env.fstyp, env.dev()?, "dax=inode")?;
        let path = mounted.dir().join("file");
        expect_flag(&path, dax)?;
        expect(&path, dax)?;
        holds(env, &path)?;
        written(env, &path)?;
    }
    mounted.unmount()
}

/// On a disk the flag is set, inherited and kept, and has no effect.
fn without_dax(env: &Env) -> Result<()> {
    let disk = Loop::new(LOOP_LEN, 512)?;
    env.fstyp.make(disk.path())?;
    let mounted = Mounted::new(env.fstyp, disk.path(), "dax=inode")?;
    let dir = mounted.dir().join("dir");
    fs::create_dir(&dir)?;
    flag(&dir, true)?;
    let path = dir.join("file");
    File::create_new(&path)?;
    written(env, &path)?;
    forget()?;
    expect_flag(&path, true)?;
    expect(&path, false)?;
    holds(env, &path)?;
    mounted.unmount()?;
    env.fstyp.check(disk.path())
}
