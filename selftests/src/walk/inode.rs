// SPDX-License-Identifier: GPL-2.0

//! What ioctls and readlink(2) say about an inode.

use std::fs::File;

use rustix::fs::readlinkat;

use super::{escaped, Node, Record};
use crate::ioctl::{fsgetxattr, getflags, getversion};

/// Records flags, project and generation of `node`, which `file` is open on.
pub(super) fn record(record: &mut Record, node: &Node, file: &File) {
    let path = &node.path;
    let flags = getflags(file).map(|flags| format!("{flags:#x}"));
    record.add_result(path, "flags", flags);
    let fsxattr = fsgetxattr(file).map(|fsxattr| format!("{fsxattr:?}"));
    record.add_result(path, "fsxattr", fsxattr);
    record.add_result(path, "generation", getversion(file));
}

/// Records where the symbolic link `node` leads.
pub(super) fn record_link(record: &mut Record, node: &Node) {
    let target = readlinkat(&node.fd, c"", Vec::new()).map(|target| escaped(&target));
    record.add_result(&node.path, "target", target);
}
