// SPDX-License-Identifier: GPL-2.0

//! Inodes of the disk as inodes of the VFS.

use super::{
    aops::{
        self,
        Unreadable, //
    },
    dir, file,
    metadata::{
        self,
        At, //
    },
    namei, Inode, KernelCrc32c, Stablefs, SuperBlock,
};
use crate::{
    kernel::{
        errno,
        inode::{
            Flags,
            Got,
            Kind,
            Ops,
            Params,
            Special,
            Time, //
        },
        iomap::Fiemap, //
    },
    ondisk::{
        self,
        group::Descriptor,
        inode::{
            Content,
            Type, //
        },
        Ino,
        Pblk,
        PblkRange, //
    },
};
use ::kernel::{
    prelude::*,
    str::CString,
    sync::aref::ARef, //
};

/// What is kept for an inode in memory.
pub(crate) struct InodeInfo {
    /// As it was read.
    disk: ondisk::Inode,
    /// Where reading ahead has failed.
    unreadable: Unreadable,
}

impl Inode {
    /// Where reading ahead has failed.
    pub(super) fn unreadable(&self) -> &Unreadable {
        &self.data().unreadable
    }

    /// The inode as it was read.
    pub(super) fn disk(&self) -> &ondisk::Inode {
        &self.data().disk
    }

    /// Its number.
    pub(super) fn ino(&self) -> Ino {
        self.disk().ino()
    }
}

/// Operations on inodes that are neither directories nor links.
pub(super) struct InodeOperations;

#[vtable]
impl crate::kernel::inode::Operations for InodeOperations {
    type FileSystem = Stablefs;

    fn fiemap(inode: &Inode, fieinfo: Fiemap<'_>) -> Result {
        file::fiemap(inode, fieinfo)
    }
}

/// The inode of that number, which has to be in use and to have a name.
///
/// # Errors
///
/// `ESTALE` for one that is free, or deleted; what reading and checking it says.
///
/// # Context
///
/// Sleeps.
pub(super) fn iget(sb: &SuperBlock, ino: Ino) -> Result<ARef<Inode>> {
    let new = match sb.iget_locked(ino.get())? {
        Got::Old(inode) => return Ok(inode),
        Got::New(new) => new,
    };
    let bytes = read_bytes(sb, ino)?;
    let disk = ondisk::Inode::parse::<KernelCrc32c>(sb.volume(), ino, &bytes)
        .map_err(|error| metadata::blame(sb, At::inode(ino), error))?
        .filter(|disk| disk.links() > 0)
        .ok_or(errno::estale())?;
    let params = params(sb, &disk)?;
    Ok(new.fill(
        params,
        InodeInfo {
            disk,
            unreadable: Unreadable::new(),
        },
    ))
}

/// The bytes of an inode, from the inode table.
pub(super) fn read_bytes(sb: &SuperBlock, ino: Ino) -> Result<KVec<u8>> {
    let volume = sb.volume();
    let group = volume.group_of(ino);
    let place = volume
        .descriptor_place(group)
        .map_err(|error| metadata::blame(sb, At::inode(ino), error))?;
    let at = At::block(ino, place.pblk);
    let bytes = metadata::read(sb, volume, at, place)?;
    let descriptor = Descriptor::parse::<KernelCrc32c>(volume, group, &bytes)
        .map_err(|error| metadata::blame(sb, at, error))?;
    let place = descriptor.inode_place(volume, ino).ok_or(EINVAL)?;
    let around = around(volume, &descriptor, place.pblk);
    metadata::read_ahead(sb, volume, place.pblk, around);
    metadata::read(sb, volume, At::block(ino, place.pblk), place)
}

/// The blocks of the inode table around one of them that are worth reading with it: whoever looks at
/// one inode of a directory mostly looks at its neighbours, too.
fn around(volume: &ondisk::Superblock, descriptor: &Descriptor, pblk: Pblk) -> PblkRange {
    /// As many as ext4 reads at a time; a power of 2.
    const BLOCKS: u64 = 32;

    let used = descriptor.inode_table_used(volume);
    let start = pblk.0 & !(BLOCKS - 1);
    PblkRange {
        start: Pblk(start.max(used.start.0)),
        end: Pblk(start.saturating_add(BLOCKS).min(used.end.0)),
    }
}

fn params(sb: &SuperBlock, disk: &ondisk::Inode) -> Result<Params<Stablefs>> {
    let dax = sb.volume().dax().is_for(sb, disk);
    let ops = Ops::new::<InodeOperations>;
    let kind = match (disk.file_type(), disk.content()) {
        (Type::Directory, _) => Kind::Directory(Ops::new::<namei::Operations>(), dir::ops()),
        (Type::Regular, _) if dax => Kind::Regular(ops(), file::ops(), aops::dax_ops()),
        (Type::Regular, _) => Kind::Regular(ops(), file::ops(), aops::ops()),
        (Type::Symlink, Content::Target(target)) => {
            Kind::Symlink(Ops::simple_symlink(), c_string(target.bytes())?)
        }
        (Type::Symlink, _) => Kind::PageSymlink(ops(), aops::ops()),
        (Type::Fifo, _) => special(Special::Fifo, disk),
        (Type::CharDevice, _) => special(Special::CharDevice, disk),
        (Type::BlockDevice, _) => special(Special::BlockDevice, disk),
        (Type::Socket, _) => special(Special::Socket, disk),
    };
    let flags = disk.flags();
    let has = |flag| flags.contains(flag);
    Ok(Params {
        kind,
        permissions: disk.permissions(),
        uid: disk.uid(),
        gid: disk.gid(),
        nlink: disk.links().into(),
        size: disk.size(),
        blocks: disk.sectors(),
        atime: time(disk.atime()),
        mtime: time(disk.mtime()),
        ctime: time(disk.ctime()),
        generation: disk.generation(),
        flags: Flags {
            sync: has(ondisk::inode::Flags::SYNC),
            append: has(ondisk::inode::Flags::APPEND),
            immutable: has(ondisk::inode::Flags::IMMUTABLE),
            noatime: has(ondisk::inode::Flags::NOATIME),
            dirsync: has(ondisk::inode::Flags::DIRSYNC),
            dax,
        },
    })
}

fn special(kind: Special, disk: &ondisk::Inode) -> Kind<Stablefs> {
    let (major, minor) = match disk.content() {
        Content::Device(device) => (device.major, device.minor),
        _ => (0, 0),
    };
    Kind::Special {
        ops: Ops::new::<InodeOperations>(),
        kind,
        major,
        minor,
    }
}

fn time(time: ondisk::inode::Time) -> Time {
    Time {
        sec: time.sec,
        nsec: time.nsec,
    }
}

fn c_string(bytes: &[u8]) -> Result<CString> {
    let mut text = KVec::with_capacity(bytes.len().saturating_add(1), GFP_KERNEL)?;
    text.extend_from_slice(bytes, GFP_KERNEL)?;
    text.push(0, GFP_KERNEL)?;
    let text = CStr::from_bytes_with_nul(&text).map_err(|_| EINVAL)?;
    Ok(CString::try_from(text)?)
}
