// SPDX-License-Identifier: GPL-2.0

//! Operations that several tasks do in one directory at once, so that nobody can say what comes of each: only that they
//! succeed, or fail for a reason that another task can be.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{bail, ensure, Result};
use rustix::fs::{
    linkat, lremovexattr, lsetxattr, mkdir, openat, renameat_with, rmdir, symlink, unlink, AtFlags,
    Mode, OFlags, RenameFlags, XattrFlags, CWD,
};
use rustix::io::Errno;

use crate::seed::Bytes;

/// What another task can be the reason of.
const REASONS: &[Errno] = &[
    Errno::NOENT,
    Errno::EXIST,
    Errno::NOTDIR,
    Errno::ISDIR,
    Errno::NOTEMPTY,
    Errno::INVAL,
    Errno::PERM,
    Errno::LOOP,
    Errno::NODATA,
    Errno::XDEV,
    Errno::BUSY,
];

/// Does `n` random operations below `top`, a directory.
///
/// # Errors
/// One fails for another reason than another task.
pub fn unruly(top: &Path, random: &mut Bytes, n: u64) -> Result<()> {
    let without_memory = unruly_without_memory(top, random, n)?;
    ensure!(
        without_memory == 0,
        "no memory for {without_memory} operations"
    );
    Ok(())
}

/// As [`unruly`], while there may be no memory. Returns how many failed for that reason.
///
/// # Errors
/// One fails for another reason.
pub fn unruly_without_memory(top: &Path, random: &mut Bytes, n: u64) -> Result<u64> {
    let mut without_memory = 0;
    for _ in 0..n {
        let (one, other) = (path(random), path(random));
        let choice = random.below(12);
        let result = operation(&top.join(&one), &top.join(&other), choice, random);
        match result {
            Err(Errno::NOMEM) => without_memory += 1,
            Err(errno) if !REASONS.contains(&errno) => {
                bail!("operation {choice} on {one} and {other}: {errno}");
            }
            _ => {}
        }
    }
    Ok(without_memory)
}

/// One of few paths: tasks are to meet.
fn path(random: &mut Bytes) -> String {
    let name = random.below(8);
    match random.below(3) {
        0 => format!("{name}"),
        1 => format!("{}/{name}", random.below(4)),
        _ => format!("{}/{}/{name}", random.below(4), random.below(4)),
    }
}

fn operation(one: &Path, other: &Path, choice: u64, random: &mut Bytes) -> Result<(), Errno> {
    let mode = Mode::RWXU;
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    match choice {
        0..=1 => mkdir(one, mode),
        2..=3 => {
            let file = fs::File::from(openat(CWD, one, flags | OFlags::CREATE, mode)?);
            let bytes = random.take(5000);
            file.write_all_at(&bytes, random.below(20_000))
                .map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::IO))
        }
        4 => symlink("target", one),
        5 => linkat(CWD, one, CWD, other, AtFlags::empty()),
        6 => unlink(one),
        7 => rmdir(one),
        8 => renameat_with(CWD, one, CWD, other, RenameFlags::NOREPLACE),
        9 => renameat_with(CWD, one, CWD, other, RenameFlags::empty()),
        10 => lsetxattr(one, "trusted.x", &random.take(200), XattrFlags::empty()),
        _ => lremovexattr(one, "trusted.x"),
    }
}
