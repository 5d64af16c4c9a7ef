// SPDX-License-Identifier: GPL-2.0

//! Where the blocks of a file are.

use super::{
    metadata::{
        self,
        At,
        MetaBlock, //
    },
    Inode, KernelCrc32c,
};
use crate::ondisk::{
    extent::{
        Extent,
        Lookup,
        Node, //
    },
    Lblk,
    LblkRange, //
};
use ::kernel::prelude::*;

/// What is known of a block of a file, and of those around it.
#[derive(Clone, Copy)]
pub(super) enum Mapping {
    /// No blocks.
    Hole(LblkRange),
    /// Blocks, written or not.
    Extent(Extent),
}

impl Mapping {
    /// The blocks of the file that it tells of.
    pub(super) fn lblks(&self) -> LblkRange {
        match self {
            Self::Hole(lblks) => *lblks,
            Self::Extent(extent) => extent.lblks(),
        }
    }
}

/// What is at block `lblk` of a file.
///
/// # Errors
///
/// What reading and checking the tree says.
///
/// # Context
///
/// Sleeps.
pub(super) fn lookup(inode: &Inode, lblk: Lblk) -> Result<Mapping> {
    let sb = inode.sb();
    let volume = sb.volume();
    let disk = inode.disk();
    let root = disk
        .extents(volume)
        .map_err(|error| metadata::blame(sb, At::inode(disk.ino()), error))?;
    let mut found = root.lookup(lblk);
    // The depth falls with each step, which the type of a child guarantees.
    loop {
        let child = match found {
            Lookup::Hole(lblks) => return Ok(Mapping::Hole(lblks)),
            Lookup::Extent(extent) => {
                sb.check_blocks(disk.ino(), extent.pblks())?;
                return Ok(Mapping::Extent(extent));
            }
            Lookup::Child(child) => child,
        };
        let block = MetaBlock::read(sb, volume, disk.ino(), child.pblk())?;
        let node = Node::child::<KernelCrc32c>(volume, disk.seed(), child, block.block()?)
            .map_err(|error| metadata::blame(sb, At::block(disk.ino(), block.pblk), error))?;
        found = node.lookup(lblk);
    }
}
