// SPDX-License-Identifier: GPL-2.0

//! What is told of an inode: `statx()`, `lsattr`.

use super::{
    blocks,
    inode,
    memory::with_memory,
    size,
    transaction::Transaction,
    Inode,
    Stablefs, //
};
use crate::{
    kernel::{
        errno,
        fileattr::{
            FileKattr,
            Wanted, //
        },
        inode::{
            Iattr,
            Locked,
            Time, //
        },
        stat::{
            Attributes,
            Fields,
            Kstat, //
        },
        truncate::ByteRange, //
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
    // Programs take a file without blocks for one without data.
    stat.add_blocks(blocks::bytes(inode, inode.reserved()) / 512);
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
    fa.set_projid(shown_projid(inode));
    Ok(())
}

/// The project that a file counts against, where there are any.
fn shown_projid(inode: &Inode) -> u32 {
    let ro_compat = inode.sb().volume().features().ro_compat;
    if ro_compat.contains(RoCompat::PROJECT) {
        inode.disk().projid()
    } else {
        0
    }
}

/// Puts what the VFS says of an inode into what the disk shall say, as far as that has room.
pub(super) fn from_vfs(inode: &Inode, fields: &mut ondisk::inode::Fields) {
    let vfs = inode.attributes();
    fields.permissions = vfs.permissions;
    fields.uid = vfs.uid;
    fields.gid = vfs.gid;
    // More than there is room for are directories' only, of which the VFS does not count so many.
    fields.links = u16::try_from(vfs.nlink).unwrap_or(u16::MAX);
    if fields.file_type == Type::Directory {
        fields.size = vfs.size;
    }
    fields.sectors = vfs.blocks;
    fields.version = vfs.version;
    fields.atime = to_disk(vfs.atime);
    fields.mtime = to_disk(vfs.mtime);
    fields.ctime = to_disk(vfs.ctime);
}

/// Changes what is told of an inode.
pub(super) fn setattr(attr: Iattr<'_, Stablefs>) -> Result {
    let inode = attr.inode();
    let attr = attr.setattr_prepare()?;
    if let Some(size) = attr.size() {
        size::setattr(&attr, size)?;
    } else {
        let transaction = Transaction::start(inode.sb(), inode::CREDITS)?;
        inode::prepare(&transaction, &inode)?;
        inode.inode_inc_iversion();
        attr.setattr_copy();
        inode::update(&transaction, &inode, |_| ())?;
        transaction.stop()?;
    }
    // The permissions have changed already, of which the list says the same.
    with_memory(|| attr.posix_acl_chmod())
}

/// Changes the flags of a file or a directory.
pub(super) fn fileattr_set(inode: Locked<'_, Stablefs>, wanted: Wanted) -> Result {
    /// Those that programs may change, and that mean something to this version.
    const CHANGEABLE: Flags = Flags::SYNC
        .with(Flags::IMMUTABLE)
        .with(Flags::APPEND)
        .with(Flags::NODUMP)
        .with(Flags::NOATIME)
        .with(Flags::DAX);
    const OF_DIRECTORIES: Flags = CHANGEABLE.with(Flags::DIRSYNC).with(Flags::TOPDIR);

    let disk = inode.disk();
    let changeable = match disk.file_type() {
        Type::Directory => OF_DIRECTORIES,
        _ => CHANGEABLE,
    };
    if wanted.projid != shown_projid(&inode) {
        return Err(errno::eopnotsupp());
    }
    let before = disk.flags();
    let wanted = Flags::from_bits(wanted.flags);
    if !wanted.without(Flags::USER_VISIBLE).is_empty() {
        return Err(errno::eopnotsupp());
    }
    let shown = Flags::from_bits(before.bits() & Flags::USER_VISIBLE.bits());
    let changed = Flags::from_bits(wanted.bits() ^ shown.bits());
    if !changed.without(changeable).is_empty() {
        return Err(errno::eopnotsupp());
    }
    let after = before
        .without(changed)
        .with(Flags::from_bits(wanted.bits() & changed.bits()));
    if changed.contains(Flags::IMMUTABLE) && after.contains(Flags::IMMUTABLE) {
        // What is written back is protected from stores, and the next one asks.
        inode.inode_dio_wait();
        inode.filemap_write_and_wait_range(ByteRange::ALL)?;
    }
    let transaction = Transaction::start(inode.sb(), inode::CREDITS)?;
    inode.inode_set_ctime_current();
    inode.inode_inc_iversion();
    inode::update(&transaction, &inode, |fields| fields.flags = after)?;
    inode.inode_set_flags(inode::vfs_flags(after, inode.is_dax()));
    if changed.contains(Flags::DAX) && disk.file_type() == Type::Regular {
        // In force once the inode comes into memory again.
        inode.d_mark_dontcache();
    }
    transaction.stop()
}

/// A time of the VFS, which has been cut to what the disk has room for.
pub(super) fn to_disk(time: Time) -> ondisk::inode::Time {
    ondisk::inode::Time {
        sec: time.sec,
        nsec: time.nsec,
    }
}

/// A time of the disk, for the VFS.
pub(super) fn time(time: ondisk::inode::Time) -> Time {
    Time {
        sec: time.sec,
        nsec: time.nsec,
    }
}
