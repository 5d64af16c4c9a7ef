// SPDX-License-Identifier: GPL-2.0

//! Inodes that the format itself uses, read beside the VFS: inode → extents, whole and in order.
//!
//! Replay of the journal may change any inode, so none may be in memory before it.

use super::{
    metadata::{
        self,
        Fault, //
    },
    KernelCrc32c,
};
use crate::{
    kernel::{
        current::check_fatal_signal,
        errno,
        super_block::OnDevice, //
    },
    ondisk::{
        self,
        extent::{
            Extent,
            Lookup,
            Node, //
        },
        group::Descriptor,
        inode::Type,
        Ino,
        Inode,
        Lblk,
        Pblk,
        Superblock, //
    },
};
use ::kernel::prelude::*;
use core::fmt;

/// Extents that are kept in memory, at most: 32 MiB. The largest journal that tools make has ten
/// million blocks, and rarely more than a dozen extents.
const MAX_EXTENTS: usize = 1 << 20;

/// What is wrong with such an inode.
#[derive(Clone, Copy)]
pub(super) enum Broken {
    /// It is free, or was deleted.
    Free,
    /// It is not a regular file.
    Type,
    /// It has no blocks.
    Empty,
    /// It has more blocks than can be, or is in more pieces than are kept.
    TooLarge,
    /// It has no block of that number.
    Hole(Lblk),
    /// It has a block that holds metadata of the volume.
    Foreign(Pblk),
    /// It cannot be read.
    Fault(Fault),
}

impl Broken {
    pub(super) fn errno(&self) -> Error {
        match self {
            Self::Fault(fault) => fault.errno(),
            _ => errno::efscorrupted(),
        }
    }

    fn read(error: Error) -> Self {
        Self::Fault(Fault::Read(error))
    }

    fn format(error: ondisk::Error) -> Self {
        Self::Fault(Fault::Format(error))
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Free => f.write_str("free or deleted"),
            Self::Type => f.write_str("not a regular file"),
            Self::Empty => f.write_str("empty"),
            Self::TooLarge => f.write_str("too large, or in too many pieces"),
            Self::Hole(lblk) => write!(f, "without block {}", lblk.0),
            Self::Foreign(pblk) => {
                write!(f, "block {} of it holds metadata of the volume", pblk.0)
            }
            Self::Fault(fault) => fault.fmt(f),
        }
    }
}

/// A regular file without holes.
pub(super) struct Reserved {
    /// Its inode.
    pub(super) inode: Inode,
    /// How many blocks it has, 2^31 - 1 at most.
    pub(super) len: u32,
    /// Where they are; none if they are mapped one by one, as ext3 did: then it is not known.
    pub(super) extents: Option<KVVec<Extent>>,
}

impl Reserved {
    /// Reads inode `ino`, and where its blocks are.
    pub(super) fn read(sb: &OnDevice, volume: &Superblock, ino: Ino) -> Result<Self, Broken> {
        let inode = read_inode(sb, volume, ino)?;
        if inode.file_type() != Type::Regular {
            return Err(Broken::Type);
        }
        let len = inode
            .size()
            .checked_div(volume.block_size().bytes().get().into());
        let Some(len) = len.and_then(|len| i32::try_from(len).ok()) else {
            return Err(Broken::TooLarge);
        };
        let len = match u32::try_from(len) {
            Err(_) | Ok(0) => return Err(Broken::Empty),
            Ok(len) => len,
        };
        let extents = match inode.extents(volume) {
            Ok(_) => Some(extents(sb, volume, &inode, Lblk(len))?),
            Err(ondisk::Error::Unsupported(_)) => None,
            Err(error) => return Err(Broken::format(error)),
        };
        Ok(Self {
            inode,
            len,
            extents,
        })
    }
}

fn read_inode(sb: &OnDevice, volume: &Superblock, ino: Ino) -> Result<Inode, Broken> {
    let read = |place| metadata::copy(sb, volume, place).map_err(Broken::read);
    let group = volume.group_of(ino);
    let place = volume.descriptor_place(group).map_err(Broken::format)?;
    let descriptor =
        Descriptor::parse::<KernelCrc32c>(volume, group, &read(place)?).map_err(Broken::format)?;
    let place = descriptor
        .inode_place(volume, ino)
        .ok_or(Broken::read(EINVAL))?;
    Inode::parse::<KernelCrc32c>(volume, ino, &read(place)?)
        .map_err(Broken::format)?
        .filter(|inode| inode.links() > 0)
        .ok_or(Broken::Free)
}

/// All extents of a file, in order.
fn extents(
    sb: &OnDevice,
    volume: &Superblock,
    inode: &Inode,
    end: Lblk,
) -> Result<KVVec<Extent>, Broken> {
    let mut extents: KVVec<Extent> = KVVec::new();
    let mut next = Lblk(0);
    while next < end {
        check_fatal_signal().map_err(Broken::read)?;
        let extent = lookup(sb, volume, inode, next)?.ok_or(Broken::Hole(next))?;
        if extents.len() >= MAX_EXTENTS {
            return Err(Broken::TooLarge);
        }
        extents
            .push(extent, GFP_KERNEL)
            .map_err(|_| Broken::read(ENOMEM))?;
        next = extent.lblks().end;
    }
    Ok(extents)
}

/// The extent with block `lblk`, if there is one.
fn lookup(
    sb: &OnDevice,
    volume: &Superblock,
    inode: &Inode,
    lblk: Lblk,
) -> Result<Option<Extent>, Broken> {
    let mut found = inode.extents(volume).map_err(Broken::format)?.lookup(lblk);
    // The depth falls with each step, which the type of a child guarantees.
    loop {
        let child = match found {
            Lookup::Hole(_) => return Ok(None),
            Lookup::Extent(extent) => return Ok(Some(extent)),
            Lookup::Child(child) => child,
        };
        let bytes = metadata::copy_block(sb, volume, child.pblk()).map_err(Broken::read)?;
        let block = ondisk::Block::new(&bytes).ok_or(Broken::read(EINVAL))?;
        found = Node::child::<KernelCrc32c>(volume, inode.seed(), child, block)
            .map_err(Broken::format)?
            .lookup(lblk);
    }
}
