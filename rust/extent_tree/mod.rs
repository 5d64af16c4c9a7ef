// SPDX-License-Identifier: GPL-2.0

//! Changes of the tree that tells where the blocks of a file are.
//!
//! a step: path read → planned, with access to all that changes and all new blocks there → changed
//!
//! A [`Tree`] is changed in steps, each in one handle of the journal, and each of which leaves a tree
//! in good order: [`insert`](Tree::insert), [`convert`](Tree::convert), [`remove`](Tree::remove),
//! [`split`](Tree::split), [`join`](Tree::join). A step changes one extent, in one leaf, and what that
//! means for the nodes above; [`shift_left`](Tree::shift_left) and [`shift_right`](Tree::shift_right) change
//! all of a leaf that moves. [`Cost`] says how many blocks that can be. Where nodes are kept, and by which rules, is for [`Nodes`] to say.
//!
//! Everything that reads, or can find the disk full, comes before the first change. So an error from
//! there leaves the tree as it was, and gives back the blocks that it would have had. After an error
//! from a change the tree may be half changed, and blocks may belong to nobody: then the journal must
//! be aborted. Blocks are freed last, so that none is ever free and still in the tree.
//!
//! The trees that come out have the form that e2fsck wants: no node is empty but the root of an empty
//! file, and each index begins with the block that the node below begins with. After each step the
//! only node below the root, if there is but one that the step looked at, has more entries than fit
//! into the root.
//!
//! Format: [Documentation/filesystems/ext4/ifork.rst](srctree/Documentation/filesystems/ext4/ifork.rst).

#![cfg_attr(
    not(test),
    deny(
        clippy::arithmetic_side_effects,
        clippy::as_conversions,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::unwrap_used
    )
)]

mod convert;
mod cost;
mod insert;
mod list;
mod nodes;
mod path;
mod plan;
mod remove;
mod shift;
mod splice;

pub use convert::Converted;
pub use cost::Cost;
pub use nodes::{
    Error,
    Nodes,
    Result, //
};

use crate::ondisk::{
    extent::{
        Extent,
        State, //
    },
    LblkRange,
    Seed,
    Superblock, //
};

/// The tree of a file, to be changed.
pub struct Tree<'a, N> {
    volume: &'a Superblock,
    seed: Seed,
    nodes: &'a mut N,
}

impl<'a, N: Nodes> Tree<'a, N> {
    /// The tree with these nodes, in a file with that [seed](crate::ondisk::Inode::seed).
    pub fn new(volume: &'a Superblock, seed: Seed, nodes: &'a mut N) -> Self {
        Self {
            volume,
            seed,
            nodes,
        }
    }

    /// The part of an extent that is in `lblks`, with another state; none if nothing is, or if it is
    /// too long for that.
    fn part(&self, extent: &Extent, lblks: LblkRange, state: State) -> Option<Extent> {
        let lblks = LblkRange {
            start: lblks.start.max(extent.lblks().start),
            end: lblks.end.min(extent.lblks().end),
        };
        Extent::new(self.volume, lblks, extent.pblk(lblks.start)?, state)
    }

    /// Both extents as one, if the second goes on where the first ends and that is not too long.
    fn joined(&self, first: &Extent, second: &Extent) -> Option<Extent> {
        if first.lblks().end != second.lblks().start
            || first.pblks().end != second.start()
            || first.state() != second.state()
        {
            return None;
        }
        let lblks = LblkRange {
            start: first.lblks().start,
            end: second.lblks().end,
        };
        Extent::new(self.volume, lblks, first.start(), first.state())
    }
}
