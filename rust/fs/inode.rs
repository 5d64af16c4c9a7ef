// SPDX-License-Identifier: GPL-2.0

//! Inodes of the disk as inodes of the VFS.

use super::{
    acl,
    aops::{
        self,
        Unreadable, //
    },
    attr::{
        self,
        time, //
    },
    dir, file,
    map::{
        self,
        ExtentMap,
        Mapping,
        State, //
    },
    metadata::{
        self,
        At,
        MetaBlock, //
    },
    namei, symlink, xattr, Inode, KernelCrc32c, Stablefs, SuperBlock,
};
use crate::{
    kernel::{
        errno,
        fileattr::FileKattr,
        inode::{
            Flags,
            Got,
            Kind,
            Ops,
            Params,
            Special, //
        },
        iomap::Fiemap,
        posix_acl::{
            self,
            PosixAcl, //
        },
        stat::Kstat,
        xattr::Buffer, //
    },
    ondisk::{
        self,
        group::Descriptor,
        inode::{
            Content,
            Type, //
        },
        InBlock,
        Ino,
        Lblk,
        Pblk,
        PblkRange, //
    },
};
use ::kernel::{
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc,
        SetOnce, //
    },
};

/// What is kept for an inode in memory.
pub(crate) struct InodeInfo {
    /// As it was read.
    disk: ondisk::Inode,
    /// What is known of where its blocks are, once somebody asked.
    extent_map: SetOnce<Arc<ExtentMap>>,
    /// Where reading ahead has failed.
    unreadable: Unreadable,
    /// Whether a fault has claimed blocks for it.
    has_claims: Atomic<bool>,
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

    /// Whether blocks may be claimed for it, as [`dax`](super::dax) does.
    pub(super) fn has_claims(&self) -> bool {
        self.data().has_claims.load(Relaxed)
    }

    /// Has [`has_claims`](Self::has_claims) say so, or not: the latter for one who keeps faults out.
    pub(super) fn set_has_claims(&self, has: bool) {
        if self.has_claims() != has {
            self.data().has_claims.store(has, Relaxed);
        }
    }

    /// Where the map of its blocks is, for [`map`](super::map).
    pub(super) fn extent_map(&self) -> &SetOnce<Arc<ExtentMap>> {
        &self.data().extent_map
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

    fn getattr(inode: &Inode, stat: &mut Kstat<'_>) -> Result {
        attr::getattr(inode, stat)
    }

    fn listxattr(inode: &Inode, names: &mut Buffer<'_>) -> Result {
        xattr::list(inode, names)
    }

    fn get_inode_acl(inode: &Inode, acl_type: posix_acl::Type) -> Result<Option<PosixAcl>> {
        acl::get(inode, acl_type)
    }

    fn fileattr_get(inode: &Inode, fa: &mut FileKattr<'_>) -> Result {
        attr::fileattr_get(inode, fa)
    }

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
    let info = InodeInfo {
        disk,
        extent_map: SetOnce::new(),
        unreadable: Unreadable::new(),
        has_claims: Atomic::new(false),
    };
    Ok(new.fill(params, info))
}

/// Where an inode is.
pub(super) fn place_of(sb: &SuperBlock, ino: Ino) -> Result<InBlock> {
    descriptor(sb, ino)?
        .inode_place(sb.volume(), ino)
        .ok_or(EINVAL)
}

/// The bytes of an inode, from the inode table.
pub(super) fn read_bytes(sb: &SuperBlock, ino: Ino) -> Result<KVec<u8>> {
    let volume = sb.volume();
    let descriptor = descriptor(sb, ino)?;
    let place = descriptor.inode_place(volume, ino).ok_or(EINVAL)?;
    let around = around(volume, &descriptor, place.pblk);
    metadata::read_ahead(sb, volume, place.pblk, around);
    metadata::read(sb, At::block(ino, place.pblk), place)
}

/// The descriptor of the group that an inode is in.
pub(super) fn descriptor(sb: &SuperBlock, ino: Ino) -> Result<Descriptor> {
    let volume = sb.volume();
    let group = volume.group_of(ino);
    let place = volume
        .descriptor_place(group)
        .map_err(|error| metadata::blame(sb, At::inode(ino), error))?;
    let at = At::block(ino, place.pblk);
    let bytes = metadata::read(sb, at, place)?;
    Descriptor::parse::<KernelCrc32c>(volume, group, &bytes)
        .map_err(|error| metadata::blame(sb, at, error))
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

/// Reads block `lblk` of a directory or a symbolic link, whose contents are metadata.
///
/// # Errors
///
/// `EFSCORRUPTED` if there is none; what reading says.
pub(super) fn read_block(inode: &Inode, lblk: Lblk) -> Result<MetaBlock> {
    let sb = inode.sb();
    let pblk = match map::lookup(inode, lblk)? {
        Mapping::Extent(extent) if extent.state() == State::Written => extent.pblk(lblk),
        _ => None,
    };
    match pblk {
        Some(pblk) => MetaBlock::read(sb, inode.ino(), pblk),
        None => Err(metadata::corrupt(
            sb,
            At::inode(inode.ino()),
            format_args!("has no block {}", lblk.0),
        )),
    }
}

fn params(sb: &SuperBlock, disk: &ondisk::Inode) -> Result<Params<Stablefs>> {
    let dax = sb.volume().dax().is_for(sb, disk);
    let ops = Ops::new::<InodeOperations>;
    let kind = match (disk.file_type(), disk.content()) {
        (Type::Directory, _) => Kind::Directory(Ops::new::<namei::Operations>(), dir::ops()),
        (Type::Regular, _) if dax => Kind::Regular(ops(), file::ops(), aops::dax_ops()),
        (Type::Regular, _) => Kind::Regular(ops(), file::ops(), aops::ops()),
        (Type::Symlink, content) => Kind::Symlink(
            Ops::new::<symlink::Operations>(),
            match content {
                Content::Target(target) => {
                    Some(KBox::new(symlink::c_string(target.bytes())?, GFP_KERNEL)?)
                }
                _ => None,
            },
        ),
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
        version: disk.version(),
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
