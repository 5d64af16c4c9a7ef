// SPDX-License-Identifier: GPL-2.0

//! The ranges of [`allocation`](crate::allocation) in a tree.

use crate::{
    allocation::{
        Held,
        Ranges,
        Why, //
    },
    kernel::gfp::GFP_NOFAIL,
    ondisk::{
        Blocks,
        Pblk,
        PblkRange, //
    },
};
use ::kernel::{
    prelude::*,
    rbtree::{
        RBTree,
        RBTreeNodeReservation, //
    },
};

/// Free blocks that are not to be taken, by where ranges of them end.
pub(super) struct HeldTree(RBTree<Pblk, Start>);

/// What is known of a range beside its end.
pub(in crate::fs) struct Start {
    pblk: Pblk,
    why: Why,
}

/// Memory for a range.
pub(in crate::fs) type Spare = RBTreeNodeReservation<Pblk, Start>;

impl HeldTree {
    /// Without any.
    pub(super) fn new() -> Self {
        Self(RBTree::new())
    }
}

impl Ranges for HeldTree {
    type Spare = Spare;

    fn first_behind(&self, pblk: Pblk) -> Option<Held> {
        let cursor = self.0.cursor_lower_bound(&pblk.checked_add(Blocks(1))?)?;
        let (end, start) = cursor.current();
        Some(Held {
            blocks: PblkRange {
                start: start.pblk,
                end: *end,
            },
            why: start.why,
        })
    }

    fn insert(&mut self, held: Held, spare: Spare) {
        let start = Start {
            pblk: held.blocks.start,
            why: held.why,
        };
        self.0.insert(spare.into_node(held.blocks.end, start));
    }

    fn set_start(&mut self, end: Pblk, start: Pblk) {
        if let Some(range) = self.0.get_mut(&end) {
            range.pblk = start;
        }
    }

    fn remove(&mut self, end: Pblk) -> Option<Spare> {
        Some(self.0.remove_node(&end)?.into_reservation())
    }
}

/// Memory for a range, which is waited for: a file may have lost blocks that are to be freed.
pub(in crate::fs) fn spare() -> Result<Spare> {
    RBTreeNodeReservation::new(GFP_NOFAIL)
}
