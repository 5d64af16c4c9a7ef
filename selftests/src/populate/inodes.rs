// SPDX-License-Identifier: GPL-2.0

//! Files whose inodes differ: times, modes, owners, flags, numbers of links.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use anyhow::{Context, Result};
use rustix::fs::{chmodat, chownat, utimensat, AtFlags, Gid, Mode, Timespec, Timestamps, Uid, CWD};
use rustix::io::Errno;

use super::Place;
use crate::ioctl::{flag, fsgetxattr, fssetxattr, getflags, setflags};

/// Seconds since 1970: the earliest that ext4 holds, before 1970, around the ends of 32 bits with each of the epoch's
/// values, the latest.
const SECONDS: &[i64] = &[
    -0x8000_0000,
    -1_000_000,
    -1,
    0,
    1,
    1_700_000_000,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x1_0000_0000,
    0x1_7fff_ffff,
    0x1_8000_0000,
    0x2_7fff_ffff,
    0x2_8000_0000,
    0x3_7fff_ffff,
];
const NANOSECONDS: &[i64] = &[0, 1, 123_456_789, 999_999_999];
const MODES: &[u32] = &[0o0, 0o1777, 0o2755, 0o4755, 0o6711, 0o7777, 0o444];
const OWNERS: &[(u32, u32)] = &[
    (1, 2),
    (65_534, 65_534),
    (65_535, 65_535),
    (65_536, 65_537),
    (100_000, 4_000_000_000),
    (4_294_967_294, 4_294_967_294),
];
/// Names of a file with several, and directories in a directory.
const LINKS: usize = 17;

pub(super) fn all(place: &Place<'_>) -> Result<()> {
    let file = |name: String| -> Result<PathBuf> {
        let path = place.path(&name);
        File::create_new(&path).with_context(|| path.display().to_string())?;
        Ok(path)
    };
    for (number, &seconds) in SECONDS.iter().enumerate() {
        let time = |shift: usize| Timespec {
            tv_sec: SECONDS[(number + shift) % SECONDS.len()],
            tv_nsec: NANOSECONDS[(number + shift) % NANOSECONDS.len()],
        };
        let path = file(format!("time {seconds}"))?;
        let times = Timestamps {
            last_access: time(0),
            last_modification: time(1),
        };
        utimensat(CWD, &path, &times, AtFlags::empty()).context("utimensat")?;
    }
    for &mode in MODES {
        let path = file(format!("mode {mode:04o}"))?;
        chmodat(CWD, &path, Mode::from_raw_mode(mode), AtFlags::empty()).context("chmod")?;
    }
    for &(uid, gid) in OWNERS {
        let path = file(format!("owner {uid} {gid}"))?;
        let link = place.path(&format!("link of {uid} {gid}"));
        symlink("anywhere", &link)?;
        for path in [path, link] {
            let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
            chownat(CWD, path, uid, gid, AtFlags::SYMLINK_NOFOLLOW).context("chown")?;
        }
    }
    links(place)?;
    flags(place)
}

fn links(place: &Place<'_>) -> Result<()> {
    let first = place.path("first name");
    File::create_new(&first)?;
    let dir = place.path("many directories");
    fs::create_dir(&dir)?;
    for number in 0..LINKS {
        fs::hard_link(&first, place.path(&format!("name {number}")))?;
        fs::create_dir(dir.join(number.to_string()))?;
    }
    fs::hard_link(&first, dir.join("name in another directory"))?;
    Ok(())
}

fn flags(place: &Place<'_>) -> Result<()> {
    let of_files = [
        flag::IMMUTABLE,
        flag::APPEND,
        flag::NODUMP,
        flag::NOATIME,
        flag::SYNC,
        flag::NODUMP | flag::NOATIME | flag::SYNC | flag::APPEND | flag::IMMUTABLE,
    ];
    for flags in of_files {
        let path = place.path(&format!("flags {flags:#x}"));
        fs::write(&path, "content").context("write")?;
        add_flags(&File::open(&path)?, flags)?;
    }
    for flags in [
        flag::DIRSYNC,
        flag::TOPDIR,
        flag::IMMUTABLE,
        flag::APPEND | flag::NODUMP,
    ] {
        let path = place.path(&format!("flags {flags:#x} of a directory"));
        fs::create_dir(&path)?;
        File::create_new(path.join("in it"))?;
        add_flags(&File::open(&path)?, flags)?;
    }
    let path = place.path("project");
    let file = File::create_new(&path)?;
    let mut fsxattr = fsgetxattr(&file).context("FS_IOC_FSGETXATTR")?;
    fsxattr.projid = 70_000;
    match fssetxattr(&file, fsxattr) {
        // A volume without the feature `project`, as all that mke2fs makes by default.
        Ok(()) | Err(Errno::OPNOTSUPP) => Ok(()),
        Err(e) => Err(e).context("FS_IOC_FSSETXATTR"),
    }
}

fn add_flags(file: &File, flags: u32) -> Result<()> {
    let old = getflags(file).context("FS_IOC_GETFLAGS")?;
    setflags(file, old | flags).with_context(|| format!("FS_IOC_SETFLAGS {flags:#x}"))
}
