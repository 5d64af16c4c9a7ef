// SPDX-License-Identifier: GPL-2.0

//! Where the names of a directory are, and what it takes to add one.
//!
//! one block → tree, once it is full and the volume wants trees; else block after block.

use super::hash::Hasher;
use crate::ondisk::{
    Blocks,
    Compat,
    Inode,
    Superblock, //
};

/// Where the names of a directory are, and so where one goes that there is no room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// In blocks without an order: to a new one at the end, made by
    /// [`encode`](crate::ondisk::dir::encode).
    Linear,
    /// In one block, which then becomes the root of a [tree](super::index) with this hash function.
    OneBlock(Hasher),
    /// In a tree, in which [leaves are split](super::Path).
    Indexed,
}

impl Layout {
    /// That of a directory.
    ///
    /// A directory that says it has a tree, on a volume without [`DIR_INDEX`](Compat::DIR_INDEX),
    /// is a linear one; whoever changes it has to take its
    /// [flag](crate::ondisk::inode::Flags::INDEX) away, because the tree is then overwritten.
    pub fn of(volume: &Superblock, dir: &Inode) -> Self {
        let settings = volume.settings();
        let one_block = Blocks(1).bytes(volume.block_size());
        if dir.is_indexed(volume) {
            return Self::Indexed;
        }
        match settings.def_hash_version() {
            Some(version)
                if volume.features().compat.contains(Compat::DIR_INDEX)
                    && Some(dir.size()) == one_block =>
            {
                Self::OneBlock(Hasher::new(
                    version,
                    settings.hash_chars(),
                    settings.hash_seed(),
                ))
            }
            _ => Self::Linear,
        }
    }

    /// What adding a name takes at most.
    pub fn cost(self) -> Cost {
        match self {
            Self::Linear => Cost { old: 1, new: 1 },
            Self::OneBlock(_) => Cost { old: 1, new: 2 },
            // Root, node and leaf.
            Self::Indexed => Cost { old: 3, new: 2 },
        }
    }
}

/// Blocks of a directory that a change touches, at most. Those that it takes to allocate the new
/// ones, and to change the inode, are not counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Those that there are and that change.
    pub old: u32,
    /// Those that are new.
    pub new: u32,
}
