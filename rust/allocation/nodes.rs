// SPDX-License-Identifier: GPL-2.0

//! How many nodes an extent tree may need for entries that will go into it.
//!
//! none pending → entries announced, blocks kept for nodes → nodes made of them → entries settled,
//! what is left given back
//!
//! Delayed data has its place in the tree when it is written back, which cannot fail for want of
//! blocks. A dirty block may become an extent of its own: so many entries are announced as blocks
//! are reserved, and settled when the blocks are written for good, since until then the extent may
//! be split for the part that was written first. What splits extents that are there already
//! announces what it adds: two entries at most when a range in the middle changes its state.
//!
//! # The bound
//!
//! Whatever order entries come in, and wherever they belong, these rules hold for the tree:
//!
//! * A full node is split in halves and the entry goes into one of them; only the last node of a
//!   level, when its new entry goes behind all others, stays full, and the entry begins a new node.
//! * When the root is full, its entries move to a new node below.
//! * While entries are pending, whoever takes entries out of the tree does so with a plan made
//!   [afresh](Plan::afresh).
//!
//! Say that all nodes are full when the entries are announced. Of the nodes of a level each may be
//! split once by its first entry, and the last twice. A half is split again only after as many
//! entries came into it as fill it, half of what a node holds. An entry makes one node of a level at
//! most, and each node is an entry one level up. The root can be full as well: there are levels to
//! come, too, of which each begins with one node of the root's entries.

use crate::ondisk::{
    extent::{
        block_max,
        MAX_DEPTH,
        ROOT_MAX, //
    },
    BlockSize, //
};
use core::num::NonZeroU64;

/// How many entries nodes have room for.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    root: u64,
    node: u64,
    /// Entries that a half of a node has room for, at least.
    half: NonZeroU64,
}

impl Shape {
    /// Of the trees of a volume.
    pub fn new(block_size: BlockSize) -> Option<Self> {
        let len = usize::try_from(block_size.bytes().get()).ok()?;
        Self::with_room(ROOT_MAX.into(), block_max(len)?.into())
    }

    fn with_room(root: u64, node: u64) -> Option<Self> {
        let half = NonZeroU64::new(node / 2)?;
        // So that the root's entries do not fill the node that they move to.
        (node > root).then_some(Self { root, node, half })
    }

    /// How many nodes `entries` may add to a tree with `depth` levels below the root.
    pub fn nodes(self, entries: u64, depth: u16) -> u64 {
        // OVERFLOW: entries are blocks of a file, fewer than 2^32, and nodes fewer than those. The
        // number of nodes that a tree can have counts only where it is less.
        let mut nodes = 0_u64;
        // What is added one level below, and then on this level.
        let mut added = entries;
        for level in 1..=MAX_DEPTH {
            added = match depth.checked_sub(level) {
                Some(above) => {
                    let there = self
                        .node
                        .saturating_pow(above.into())
                        .saturating_mul(self.root);
                    let again = added / self.half;
                    added.min(there.saturating_add(1).saturating_add(again))
                }
                // The root of the tree as it is has nothing free, perhaps; the one after it, what
                // its first node leaves.
                None if depth.checked_add(1) == Some(level) || added > self.root => {
                    let again = added.saturating_add(self.root) / self.half;
                    added.min(again.saturating_add(1))
                }
                None => break,
            };
            nodes = nodes.saturating_add(added);
        }
        nodes
    }
}

/// What is kept for the tree of an inode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Entries that are still to come.
    pending: u64,
    /// Entries that were announced since the tree was as the plan has it.
    announced: u64,
    /// How deep it was then.
    depth: u16,
    /// Blocks that are kept.
    kept: u64,
}

impl Plan {
    /// Blocks that are kept, of those that are [reserved](super::Space::reserve).
    pub fn kept(&self) -> u64 {
        self.kept
    }

    /// The plan with more entries to come, in a tree that has `depth` levels below the root. What it
    /// keeps more than this one is to be reserved first.
    #[must_use]
    pub fn announce(&self, shape: Shape, depth: u16, entries: u64) -> Self {
        let before = if self.pending == 0 {
            Self {
                depth,
                ..Self::default()
            }
        } else {
            *self
        };
        // OVERFLOW: as in `Shape::nodes`.
        let announced = before.announced.saturating_add(entries);
        let nodes = |entries| shape.nodes(entries, before.depth);
        let more = nodes(announced).saturating_sub(nodes(before.announced));
        Self {
            pending: before.pending.saturating_add(entries),
            announced,
            depth: before.depth,
            kept: before.kept.saturating_add(more),
        }
    }

    /// The same entries for a tree of which nothing is known but its depth now, or after entries
    /// were taken out of it. What the new plan keeps is reserved before the first is, and what the
    /// old one kept given back when it is replaced.
    #[must_use]
    pub fn afresh(&self, shape: Shape, depth: u16) -> Self {
        Self::default().announce(shape, depth, self.pending)
    }

    /// Notes that blocks became nodes; nothing if not so many are kept.
    pub fn spend(&mut self, nodes: u64) -> Option<()> {
        self.kept = self.kept.checked_sub(nodes)?;
        Some(())
    }

    /// Notes that entries are in the tree, which now has `depth` levels below the root, or will not
    /// come: how many blocks are given back. Nothing if not so many are pending.
    pub fn settle(&mut self, shape: Shape, depth: u16, entries: u64) -> Option<u64> {
        self.pending = self.pending.checked_sub(entries)?;
        let afresh = self.afresh(shape, depth);
        let surplus = self.kept.checked_sub(afresh.kept);
        if surplus.is_some() {
            *self = afresh;
        }
        Some(surplus.unwrap_or(0))
    }
}

#[cfg(test)]
mod tests;
