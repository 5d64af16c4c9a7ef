// SPDX-License-Identifier: GPL-2.0

//! A volume that ext4 has changed between two walks is seen to differ, in what was changed and in nothing else.
//!
//! This is the control of every test that compares walks: one that sees nothing would pass whatever the filesystem
//! under test says. The first walk is through ext4, the second through the filesystem under test.
//! Filesystems: those that read ext4 volumes.

use std::borrow::Cow;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{symlink, FileExt, PermissionsExt};
use std::path::Path;

use anyhow::{ensure, Context, Result};
use rustix::fs::{
    fallocate, lsetxattr, utimensat, AtFlags, FallocateFlags, Timespec, Timestamps, XattrFlags, CWD,
};
use stablefs_selftests::devices::Kind;
use stablefs_selftests::filesystem::Fstyp;
use stablefs_selftests::ioctl::{flag, getflags, setflags};
use stablefs_selftests::mounted::Mounted;
use stablefs_selftests::needs::{Needs, Volume};
use stablefs_selftests::program::{Case, Env, Program};
use stablefs_selftests::seed::Bytes;
use stablefs_selftests::volume;
use stablefs_selftests::walk::{walk, Differences};

pub(crate) const PROGRAM: Program = Program {
    name: "comparison_sees_a_change",
    needs: Needs {
        on: Cow::Borrowed(&[Kind::Pmem]),
        volume: Volume::Raw,
        only: Cow::Borrowed(&[Fstyp::Stablefs, Fstyp::Ext4]),
    },
    cases: &[
        Case::new("nothing_changed", |env| sees(env, &[], |_| Ok(()))),
        Case::new("a_bit_of_the_data", |env| {
            sees(env, &["data", "mtime", "ctime", "atime"], one_bit)
        }),
        Case::new("a_name", |env| {
            sees(env, &["entry", "absent", "mtime", "ctime"], |dir| {
                Ok(fs::rename(dir.join("file"), dir.join("fil3"))?)
            })
        }),
        Case::new("the_mode", |env| {
            sees(env, &["mode", "ctime"], |dir| {
                Ok(fs::set_permissions(
                    dir.join("file"),
                    fs::Permissions::from_mode(0o600),
                )?)
            })
        }),
        Case::new("a_nanosecond", |env| {
            sees(env, &["mtime", "ctime"], nanosecond)
        }),
        Case::new("a_flag", |env| {
            sees(env, &["flags", "fsxattr", "attributes", "ctime"], |dir| {
                let file = File::open(dir.join("file"))?;
                Ok(setflags(&file, getflags(&file)? | flag::NODUMP)?)
            })
        }),
        Case::new("an_extended_attribute", |env| {
            sees(env, &["xattr", "ctime"], |dir| {
                Ok(lsetxattr(
                    dir.join("file"),
                    "user.name",
                    b"Value",
                    XattrFlags::REPLACE,
                )?)
            })
        }),
        Case::new("a_hole", |env| {
            let sorts = [
                "segment", "extent", "blocks", "seek", "data", "direct", "mtime", "ctime",
                "f_bfree", "f_bavail",
            ];
            sees(env, &sorts, |dir| {
                let file = OpenOptions::new().write(true).open(dir.join("file"))?;
                let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
                Ok(fallocate(&file, flags, 0, 8192)?)
            })
        }),
        Case::new("where_a_link_leads", |env| {
            // It has to be made anew.
            let sorts = [
                "target",
                "size",
                "generation",
                "atime",
                "mtime",
                "ctime",
                "btime",
                "ino",
                "entry",
                "handle",
                "handle_with_parent",
                "handle_wrong_generation",
            ];
            sees(env, &sorts, |dir| {
                fs::remove_file(dir.join("link"))?;
                Ok(symlink("here", dir.join("link"))?)
            })
        }),
        Case::new("a_generation", generation),
    ],
};

const LEN: &str = "32M";

fn one_bit(dir: &Path) -> Result<()> {
    let path = dir.join("file");
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    let mut byte = [0];
    file.read_exact_at(&mut byte, 77_777)?;
    byte[0] ^= 0x10;
    Ok(file.write_all_at(&byte, 77_777)?)
}

fn nanosecond(dir: &Path) -> Result<()> {
    let path = dir.join("file");
    let old = rustix::fs::stat(&path)?;
    let times = Timestamps {
        last_access: Timespec {
            tv_sec: old.st_atime,
            tv_nsec: old.st_atime_nsec as i64,
        },
        last_modification: Timespec {
            tv_sec: old.st_mtime,
            tv_nsec: old.st_mtime_nsec as i64 ^ 4,
        },
    };
    Ok(utimensat(CWD, &path, &times, AtFlags::empty())?)
}

/// The generation cannot be set through ext4.
fn generation(env: &Env) -> Result<()> {
    let sorts = [
        "generation",
        "handle",
        "handle_with_parent",
        "handle_wrong_generation",
    ];
    let differences = differences(env, |dev| {
        volume::debugfs(dev, "set_inode_field /file generation 5").map(drop)
    })?;
    only(&differences, &sorts)
}

/// Has `change` made through ext4, and sees that the walks differ in the first of `sorts`, and in no other sort than
/// these. With none, they do not differ.
fn sees(env: &Env, sorts: &[&str], change: fn(&Path) -> Result<()>) -> Result<()> {
    let differences = differences(env, |dev| {
        let volume = Mounted::new(Fstyp::Ext4, dev, "")?;
        change(volume.dir())?;
        volume.unmount()
    })?;
    only(&differences, sorts)
}

fn only(differences: &Differences, sorts: &[&str]) -> Result<()> {
    let found: Vec<&str> = differences.sorts().collect();
    let [first, ..] = sorts else {
        ensure!(
            found.is_empty(),
            "differences without a change:\n{differences}"
        );
        return Ok(());
    };
    ensure!(
        found.contains(first),
        "the change is not seen; want a difference of sort {first}, found:\n{differences}"
    );
    ensure!(
        found.iter().all(|sort| sorts.contains(sort)),
        "the change is of sorts {sorts:?}, found:\n{differences}"
    );
    Ok(())
}

/// What differs between a walk before `change` and one after it.
fn differences(env: &Env, change: impl FnOnce(&Path) -> Result<()>) -> Result<Differences> {
    let dev = env.dev()?;
    volume::make(dev, &[], LEN)?;
    let volume = Mounted::new(Fstyp::Ext4, dev, "")?;
    fill(volume.dir(), env.seed)?;
    volume.unmount()?;
    let look = |fstyp| {
        let volume = Mounted::new(fstyp, dev, "ro")?;
        let record = walk(volume.dir(), env.seed)?;
        volume.unmount()?;
        anyhow::Ok(record)
    };
    let before = look(Fstyp::Ext4)?;
    change(dev).context("the change")?;
    Ok(before.differences(&look(env.fstyp)?))
}

fn fill(dir: &Path, seed: u64) -> Result<()> {
    let file = dir.join("file");
    fs::write(&file, Bytes::new(seed, 0).take(100_000))?;
    lsetxattr(&file, "user.name", b"value", XattrFlags::CREATE)?;
    fs::hard_link(&file, dir.join("0007"))?;
    symlink("there", dir.join("link"))?;
    fs::create_dir(dir.join("directory"))?;
    Ok(())
}
