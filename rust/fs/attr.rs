// SPDX-License-Identifier: GPL-2.0

//! What is told of an inode: `statx()`, `lsattr`.

use super::Inode;
use crate::{
    kernel::{
        fileattr::FileKattr,
        inode::Time,
        stat::{
            Attributes,
            Fields,
            Kstat, //
        },
    },
    ondisk::{
        self,
        inode::{
            Flags,
            Type, //
        },
        RoCompat, //
    },
};
use ::kernel::prelude::*;

/// Flags that programs see as attributes.
const ATTRIBUTES: [(Flags, Attributes); 6] = [
    (Flags::APPEND, Attributes::APPEND),
    (Flags::COMPR, Attributes::COMPRESSED),
    (Flags::ENCRYPT, Attributes::ENCRYPTED),
    (Flags::IMMUTABLE, Attributes::IMMUTABLE),
    (Flags::NODUMP, Attributes::NODUMP),
    (Flags::VERITY, Attributes::VERITY),
];

/// Tells what is known of an inode of any type.
pub(super) fn getattr(inode: &Inode, stat: &mut Kstat<'_>) -> Result {
    let disk = inode.disk();
    if let Some(btime) = disk.crtime() {
        if stat.requests(Fields::BTIME) {
            stat.set_btime(time(btime));
        }
    }
    if disk.file_type() == Type::Regular {
        if stat.requests(Fields::DIOALIGN) {
            let (mem, offset) = dioalign(inode);
            stat.set_dioalign(mem, offset);
        }
        if stat.requests(Fields::WRITE_ATOMIC) {
            stat.set_no_atomic_writes();
        }
    }
    for (flag, attribute) in ATTRIBUTES {
        let set = if disk.flags().contains(flag) {
            attribute
        } else {
            Attributes::default()
        };
        stat.set_attributes(attribute, set);
    }
    stat.generic_fillattr(inode);
    Ok(())
}

/// What memory, and places in the file, have to be aligned to for direct I/O.
///
/// With DAX any alignment will do, and nothing is gained by it; but programs take the answer for
/// that of the device, so that is what they get.
fn dioalign(inode: &Inode) -> (u32, u32) {
    if inode.disk().flags().contains(Flags::VERITY) {
        return (0, 0);
    }
    let sb = inode.sb();
    (
        sb.bdev_dma_alignment().saturating_add(1),
        sb.bdev_logical_block_size(),
    )
}

/// Tells the flags of a file or a directory, and its project.
pub(super) fn fileattr_get(inode: &Inode, fa: &mut FileKattr<'_>) -> Result {
    let disk = inode.disk();
    let mut shown = Flags::USER_VISIBLE;
    if disk.file_type() == Type::Regular {
        shown = shown.without(Flags::PROJINHERIT);
    }
    fa.fill_flags(disk.flags().bits() & shown.bits());
    let ro_compat = inode.sb().volume().features().ro_compat;
    if ro_compat.contains(RoCompat::PROJECT) {
        fa.set_projid(disk.projid());
    }
    Ok(())
}

/// A time of the disk, for the VFS.
pub(super) fn time(time: ondisk::inode::Time) -> Time {
    Time {
        sec: time.sec,
        nsec: time.nsec,
    }
}
