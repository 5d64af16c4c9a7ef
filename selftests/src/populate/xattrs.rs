// SPDX-License-Identifier: GPL-2.0

//! Extended attributes in the inode and in a block of their own, and access control lists.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::Path;

use anyhow::{Context, Result};
use rustix::fs::{lsetxattr, mknodat, FileType, Mode, XattrFlags, CWD};
use rustix::io::Errno;

use super::Place;
use crate::seed::Bytes;

/// Longest name behind its namespace.
const LONGEST_NAME: usize = 255;
/// By how much the value that fills a block is made shorter until it fits.
const STEP: usize = 4;

pub(super) fn all(place: &Place<'_>) -> Result<()> {
    let value = |stream: u64, len: usize| Bytes::new(place.seed, 0x3000 + stream).take(len);
    let file = |name: &str| -> Result<_> {
        let path = place.path(name);
        File::create_new(&path).with_context(|| path.display().to_string())?;
        Ok(path)
    };

    let path = file("one small")?;
    set(&path, "user.small", b"value")?;
    let path = file("empty value")?;
    set(&path, "user.empty", b"")?;
    set(&path, "trusted.empty", b"")?;
    let path = file("every namespace")?;
    for name in ["user.a", "trusted.b", "security.c"] {
        set(&path, name, name.as_bytes())?;
    }
    let path = file("capability")?;
    // struct vfs_cap_data, revision 2: CAP_NET_RAW permitted and effective.
    let words = [0x0200_0001_u32, 1 << 13, 0, 0, 0];
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    set(&path, "security.capability", &bytes)?;

    let path = file("many")?;
    for number in 0..12_usize {
        set(
            &path,
            &format!("user.many {number}"),
            &value(number as u64, number * 5),
        )?;
    }
    let path = file("long name")?;
    set(
        &path,
        &format!("user.{}", "n".repeat(LONGEST_NAME - "user.".len())),
        b"v",
    )?;
    let path = file("many lengths")?;
    for len in 1..=6 {
        set(&path, &format!("user.{len}"), &value(50, len))?;
    }
    let path = file("nearly a full block")?;
    let mut len = usize::try_from(place.block)?;
    while try_set(&path, "trusted.large", &value(51, len))? == Err(Errno::NOSPC) {
        len -= STEP;
    }
    let path = file("in inode and block")?;
    set(&path, "user.in the inode", &value(52, 20))?;
    set(
        &path,
        "user.in the block",
        &value(53, usize::try_from(place.block)? / 2),
    )?;

    // Files with equal attributes share the block.
    for name in ["shared 1", "shared 2", "shared 3"] {
        let path = file(name)?;
        set(&path, "user.shared", &value(54, 400))?;
    }
    let dir = place.path("directory");
    fs::create_dir(&dir)?;
    set(&dir, "user.of a directory", b"x")?;
    set(&dir, "trusted.of a directory", &value(55, 300))?;
    let link = place.path("link");
    symlink("to nowhere", &link)?;
    set(&link, "trusted.of a link", &value(56, 30))?;
    let long = place.path("long link");
    symlink("x".repeat(200), &long)?;
    set(&long, "security.of a link", &value(57, 30))?;
    let fifo = place.path("fifo");
    mknodat(CWD, &fifo, FileType::Fifo, Mode::RWXU, 0)?;
    set(&fifo, "trusted.of a fifo", &value(58, 30))?;
    acls(place)
}

/// Tags of an entry of an access control list, as `include/uapi/linux/posix_acl.h` numbers them.
pub mod tag {
    /// The owner.
    pub const USER_OBJ: u16 = 0x01;
    /// A user.
    pub const USER: u16 = 0x02;
    /// The group of the file.
    pub const GROUP_OBJ: u16 = 0x04;
    /// A group.
    pub const GROUP: u16 = 0x08;
    /// The most that users and groups may do.
    pub const MASK: u16 = 0x10;
    /// All others.
    pub const OTHER: u16 = 0x20;
}

/// In an entry that is of no user or group in particular.
pub const NOBODY: u32 = u32::MAX;

fn acls(place: &Place<'_>) -> Result<()> {
    use tag::{GROUP, GROUP_OBJ, MASK, OTHER, USER, USER_OBJ};
    let small = acl(&[
        (USER_OBJ, 6, NOBODY),
        (USER, 4, 1000),
        (USER, 0, 70_000),
        (GROUP_OBJ, 4, NOBODY),
        (GROUP, 7, 4_000_000_000),
        (MASK, 5, NOBODY),
        (OTHER, 0, NOBODY),
    ]);
    let mut entries = vec![(USER_OBJ, 7, NOBODY)];
    entries.extend((0..40).map(|number| (USER, 5, 2000 + number)));
    entries.extend([
        (GROUP_OBJ, 5, NOBODY),
        (MASK, 7, NOBODY),
        (OTHER, 1, NOBODY),
    ]);
    let large = acl(&entries);
    let path = place.path("acl");
    File::create_new(&path)?;
    set(&path, "system.posix_acl_access", &small)?;
    let path = place.path("large acl");
    File::create_new(&path)?;
    set(&path, "system.posix_acl_access", &large)?;
    let dir = place.path("acls of a directory");
    fs::create_dir(&dir)?;
    set(&dir, "system.posix_acl_access", &small)?;
    set(&dir, "system.posix_acl_default", &large)?;
    File::create_new(dir.join("inherits"))?;
    fs::create_dir(dir.join("inherits both"))?;
    Ok(())
}

/// A list in the form of `struct posix_acl_xattr_header` and its entries: tag, permissions, user or group.
#[must_use]
pub fn acl(entries: &[(u16, u16, u32)]) -> Vec<u8> {
    const VERSION: u32 = 2;
    let mut bytes = VERSION.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        bytes.extend(tag.to_le_bytes());
        bytes.extend(permissions.to_le_bytes());
        bytes.extend(id.to_le_bytes());
    }
    bytes
}

fn set(path: &Path, name: &str, value: &[u8]) -> Result<()> {
    try_set(path, name, value)?.with_context(|| format!("{name} of {} bytes", value.len()))
}

/// The inner result is the filesystem's.
fn try_set(path: &Path, name: &str, value: &[u8]) -> Result<Result<(), Errno>> {
    match lsetxattr(path, name, value, XattrFlags::empty()) {
        Err(e @ (Errno::NOSPC | Errno::RANGE)) => Ok(Err(e)),
        Err(e) => Err(e).with_context(|| format!("{}: {name}", path.display())),
        Ok(()) => Ok(Ok(())),
    }
}
