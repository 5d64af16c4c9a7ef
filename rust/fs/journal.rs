// SPDX-License-Identifier: GPL-2.0

//! The journal's blocks: its inode → extents read, whole and in order → where each block is.
//!
//! The inode is read here and not through the VFS: replay may change any inode, and none may be in
//! memory then.

use super::{
    metadata::{
        self,
        Fault, //
    },
    refusal::Refusal,
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
        Blocks,
        InBlock,
        Ino,
        Inode,
        Lblk,
        PblkRange,
        Superblock, //
    },
};
use ::kernel::prelude::*;
use core::fmt;

/// Extents that are kept in memory, at most: 32 MiB. The largest journal that tools make has ten
/// million blocks, and rarely more than a dozen extents.
const MAX_EXTENTS: usize = 1 << 20;

/// Where the journal is.
pub(super) struct Journal {
    ino: Ino,
    len: Blocks,
    /// None if it is mapped block by block, as ext3 did: then its blocks are not known.
    extents: Option<KVVec<Extent>>,
}

/// What is wrong with the journal's inode.
#[derive(Clone, Copy)]
pub(super) enum Broken {
    /// It is free, or was deleted.
    Free,
    /// It is not a regular file.
    Type,
    /// It is empty.
    Empty,
    /// It has more blocks than the kernel's journal can, or is in more pieces than are kept.
    TooLarge,
    /// It has no block of that number.
    Hole(Lblk),
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
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Free => f.write_str("free or deleted"),
            Self::Type => f.write_str("not a regular file"),
            Self::Empty => f.write_str("empty"),
            Self::TooLarge => f.write_str("too large, or in too many pieces"),
            Self::Hole(lblk) => write!(f, "without a block {}", lblk.0),
            Self::Fault(fault) => fault.fmt(f),
        }
    }
}

impl Journal {
    /// Finds the journal of a volume that has one.
    pub(super) fn find(sb: &OnDevice, volume: &Superblock) -> Result<Option<Self>, Refusal> {
        let Some(ino) = volume.settings().journal() else {
            return Ok(None);
        };
        Self::read(sb, volume, ino)
            .map(Some)
            .map_err(|broken| Refusal::JournalInode { ino, broken })
    }

    fn read(sb: &OnDevice, volume: &Superblock, ino: Ino) -> Result<Self, Broken> {
        let inode = read_inode(sb, volume, ino)?;
        if inode.file_type() != Type::Regular {
            return Err(Broken::Type);
        }
        let blocks = Blocks(inode.size())
            .0
            .checked_div(volume.block_size().bytes().get().into());
        // What C counts with.
        let Some(end) = blocks.and_then(|blocks| i32::try_from(blocks).ok()) else {
            return Err(Broken::TooLarge);
        };
        let end = match u32::try_from(end) {
            Err(_) | Ok(0) => return Err(Broken::Empty),
            Ok(end) => Lblk(end),
        };
        Ok(Self {
            ino,
            len: Blocks(end.0.into()),
            extents: match inode.extents(volume) {
                Ok(_) => Some(extents(sb, volume, &inode, end)?),
                Err(ondisk::Error::Unsupported(_)) => None,
                Err(error) => return Err(format_fault(error)),
            },
        })
    }

    /// Its inode.
    pub(super) fn ino(&self) -> Ino {
        self.ino
    }

    /// How many blocks it has.
    pub(super) fn len(&self) -> Blocks {
        self.len
    }

    /// Where they are.
    pub(super) fn blocks(&self) -> impl Iterator<Item = PblkRange> + '_ {
        self.extents.iter().flatten().map(Extent::pblks)
    }
}

fn read_fault(error: Error) -> Broken {
    Broken::Fault(Fault::Read(error))
}

fn format_fault(error: ondisk::Error) -> Broken {
    Broken::Fault(Fault::Format(error))
}

fn read_inode(sb: &OnDevice, volume: &Superblock, ino: Ino) -> Result<Inode, Broken> {
    let read = |place| metadata::copy(sb, volume, place).map_err(read_fault);
    let group = volume.group_of(ino);
    let place = volume.descriptor_place(group).map_err(format_fault)?;
    let descriptor =
        Descriptor::parse::<KernelCrc32c>(volume, group, &read(place)?).map_err(format_fault)?;
    let place = descriptor
        .inode_place(volume, ino)
        .ok_or(read_fault(EINVAL))?;
    Inode::parse::<KernelCrc32c>(volume, ino, &read(place)?)
        .map_err(format_fault)?
        .filter(|inode| inode.links() > 0)
        .ok_or(Broken::Free)
}

/// All extents of a file without holes, in order.
fn extents(
    sb: &OnDevice,
    volume: &Superblock,
    inode: &Inode,
    end: Lblk,
) -> Result<KVVec<Extent>, Broken> {
    let mut extents: KVVec<Extent> = KVVec::new();
    let mut next = Lblk(0);
    while next < end {
        check_fatal_signal().map_err(read_fault)?;
        let extent = lookup(sb, volume, inode, next)?.ok_or(Broken::Hole(next))?;
        if extents.len() >= MAX_EXTENTS {
            return Err(Broken::TooLarge);
        }
        extents
            .push(extent, GFP_KERNEL)
            .map_err(|_| read_fault(ENOMEM))?;
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
    let mut found = inode.extents(volume).map_err(format_fault)?.lookup(lblk);
    // The depth falls with each step, which the type of a child guarantees.
    loop {
        let child = match found {
            Lookup::Hole(_) => return Ok(None),
            Lookup::Extent(extent) => return Ok(Some(extent)),
            Lookup::Child(child) => child,
        };
        let place = InBlock {
            pblk: child.pblk(),
            start: 0,
            len: volume.block_size().bytes().get(),
        };
        let bytes = metadata::copy(sb, volume, place).map_err(read_fault)?;
        let block = ondisk::Block::new(&bytes).ok_or(read_fault(EINVAL))?;
        found = Node::child::<KernelCrc32c>(volume, inode.seed(), child, block)
            .map_err(format_fault)?
            .lookup(lblk);
    }
}
