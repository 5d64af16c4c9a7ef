// SPDX-License-Identifier: GPL-2.0

//! What is said about the volume as a whole: statfs(2), label, UUID.

use std::os::fd::BorrowedFd;
use std::rc::Rc;

use rustix::fs::{fstatfs, fstatvfs};

use super::Record;
use crate::ioctl::{getfslabel, getfsuuid};

/// Records it. Left out is `f_type`, by which programs tell the filesystem and not the volume.
pub(super) fn record(record: &mut Record, root: BorrowedFd<'_>) {
    let path = Rc::from("(volume)");
    match fstatfs(root) {
        Ok(stat) => {
            let mut add = |what: &'static str, value: u64| record.add(&path, what, value);
            add("f_bsize", stat.f_bsize as u64);
            add("f_frsize", stat.f_frsize as u64);
            add("f_blocks", stat.f_blocks);
            add("f_bfree", stat.f_bfree);
            add("f_bavail", stat.f_bavail);
            add("f_files", stat.f_files);
            add("f_ffree", stat.f_ffree);
            add("f_namelen", stat.f_namelen as u64);
        }
        Err(e) => record.add(&path, "statfs", format_args!("error: {e}")),
    }
    // The only view of `f_fsid` and of the mount's flags that rustix gives.
    match fstatvfs(root) {
        Ok(stat) => {
            record.add(&path, "f_fsid", format_args!("{:#x}", stat.f_fsid));
            record.add(&path, "f_flag", format_args!("{:?}", stat.f_flag));
        }
        Err(e) => record.add(&path, "statvfs", format_args!("error: {e}")),
    }
    let label = getfslabel(root).map(|label| label.escape_ascii().to_string());
    record.add_result(&path, "label", label);
    let uuid = getfsuuid(root).map(|uuid| format!("{} bytes, {:02x?}", uuid.len, uuid.uuid));
    record.add_result(&path, "uuid", uuid);
}
