// SPDX-License-Identifier: GPL-2.0

//! Names added to trees of hashes where there is no room for them.
//!
//! ```text
//! one block of names ── index ──> root, 2 leaves
//! leaf full ── room in the node above? ─┬─ yes ───────────────────────────────┬─> leaf split, name added
//!                                       ├─ in the root: node split ───────────┤
//!                                       ├─ no node yet: entries of the root ──┘
//!                                       │  go to a new node
//!                                       └─ no: the tree is full (`ENOSPC`)
//! ```
//!
//! | what | blocks that change | new ones |
//! | --- | --- | --- |
//! | name added to, taken out of, changed in a [leaf](LeafMut) | leaf | |
//! | another directory above ([`set_parent`](super::set_parent)) | root | |
//! | [`index`] | the one block | 2 leaves |
//! | [`Growth::Leaf`] | leaf, the node above it or the root | leaf |
//! | [`Growth::Node`] | leaf, node, root | leaf, node |
//! | [`Growth::Level`] | leaf, root | leaf, node |
//!
//! What changes, and what is new, has to reach the disk in one transaction. All that can be wrong
//! is found before a byte of an old block changes: blocks are checked, then the caller allocates as
//! many as [`Path::growth`] asks for, and what follows only fails when these are not what was asked
//! for.
//!
//! Format: [Documentation/filesystems/ext4/directory.rst](srctree/Documentation/filesystems/ext4/directory.rst).

use super::{
    node::NodeMut,
    Child,
    BLOCK_MASK, //
};
use crate::ondisk::{
    dir::{
        Cut,
        DirBlock,
        LeafMut,
        NewEntry,
        Slot, //
    },
    hash::Hasher,
    Crc32c,
    Inode,
    Lblk,
    Result,
    Superblock, //
};

/// Makes the only block of a directory into the root of a tree with that hash function, above the
/// two leaves that then have its names and another one; unless the blocks cannot be leaves of it,
/// or the name could be put into the block [as it is](LeafMut::insert_packed). `scratch` has to have
/// [`Slot::MAX`] elements, or as many as there are names.
///
/// The inode then gets its [flag](crate::ondisk::inode::Flags::INDEX), and the size of three blocks.
pub fn index<C: Crc32c>(
    leaf: LeafMut<'_>,
    hasher: &Hasher,
    entry: &NewEntry<'_>,
    leaves: [DirBlock<'_>; 2],
    scratch: &mut [Slot],
) -> Option<()> {
    let parent = leaf.leaf().find(b"..").ok()??.ino();
    let [DirBlock { lblk: lower, .. }, DirBlock { lblk: upper, .. }] = leaves;
    let is_possible = lower != upper && can_be_new(lower) && can_be_new(upper);
    if leaf.lblk() != Lblk(0) || !is_possible {
        return None;
    }
    let cut = Cut::new(&leaf, hasher, entry, scratch)?;
    cut.copy::<C>(&leaf, entry, leaves)?;
    let mut root = NodeMut::from_leaf(leaf, parent, hasher, lower)?;
    root.insert(0, cut.hash(), upper)?;
    root.seal::<C>();
    Some(())
}

/// What has to become larger, so that a leaf can be split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Growth {
    /// Nothing else: its entry goes to the node above, or the root if there is none.
    Leaf,
    /// The node above, which is full, is split; its entry goes to the root.
    Node,
    /// The tree: the entries of the root, which is full, go to a node below it.
    Level,
}

impl Growth {
    /// Whether a block for a node is needed beside the one for the leaf.
    pub fn needs_node(self) -> bool {
        self != Self::Leaf
    }
}

/// The way from the root of a directory's tree to the leaf that a new name belongs to.
#[derive(Debug)]
pub struct Path<'a, 'e> {
    entry: NewEntry<'e>,
    hasher: Hasher,
    root: NodeMut<'a>,
    /// Which entry of the root leads on.
    root_at: usize,
    node: Option<PathNode<'a>>,
    leaf: LeafMut<'a>,
}

#[derive(Debug)]
struct PathNode<'a> {
    node: NodeMut<'a>,
    lblk: Lblk,
    at: usize,
}

impl<'a, 'e> Path<'a, 'e> {
    /// Checks the blocks on the way to where a name belongs. Gives nothing if they are others.
    ///
    /// # Errors
    ///
    /// Those of [`Root::parse`](super::Root::parse) and [`Index::below`](super::Index::below).
    pub fn check<C: Crc32c>(
        volume: &Superblock,
        dir: &Inode,
        entry: NewEntry<'e>,
        root: &'a mut [u8],
        node: Option<DirBlock<'a>>,
        leaf: LeafMut<'a>,
    ) -> Result<Option<Self>> {
        let (root, hasher) = NodeMut::root::<C>(volume, dir, root)?;
        let hash = hasher.hash(entry.name);
        let Some(above) = root.index().map(|index| index.find(hash)) else {
            return Ok(None);
        };
        let (node, child) = match (above.child(), node) {
            (Child::Node(below), Some(block)) if below.lblk() == block.lblk => {
                let node = NodeMut::below::<C>(volume, dir, below, block.bytes)?;
                let Some(above) = node.index().map(|index| index.find(hash)) else {
                    return Ok(None);
                };
                let node = PathNode {
                    node,
                    lblk: block.lblk,
                    at: above.n,
                };
                (Some(node), above.child())
            }
            (child, None) => (None, child),
            _ => return Ok(None),
        };
        let is_way = child == Child::Leaf(leaf.lblk()) && dir.ino() == leaf.dir();
        Ok(is_way.then_some(Self {
            entry,
            hasher,
            root,
            root_at: above.n,
            node,
            leaf,
        }))
    }

    /// What has to become larger; nothing can if the tree has as many entries as it may
    /// (`ENOSPC`).
    pub fn growth(&self) -> Option<Growth> {
        match &self.node {
            None if self.root.is_full() => Some(Growth::Level),
            None => Some(Growth::Leaf),
            Some(above) if !above.node.is_full() => Some(Growth::Leaf),
            Some(_) if !self.root.is_full() => Some(Growth::Node),
            Some(_) => None,
        }
    }

    /// Splits the leaf, lets grow what [has to](Self::growth), and adds the name; unless the blocks
    /// are not those that this takes, or the name could be put into the leaf
    /// [as it is](LeafMut::insert_packed). `scratch` has to have [`Slot::MAX`] elements, or as many as
    /// there are names.
    pub fn split<C: Crc32c>(
        self,
        new_leaf: DirBlock<'_>,
        new_node: Option<DirBlock<'_>>,
        scratch: &mut [Slot],
    ) -> Option<()> {
        let growth = self.growth()?;
        let new_node = match new_node {
            Some(block) => Some(NewNode {
                node: self.root.another(block.bytes)?,
                lblk: block.lblk,
            }),
            None => None,
        };
        let is_node_possible = new_node
            .as_ref()
            .is_none_or(|new| new.lblk != new_leaf.lblk && self.can_have(new.lblk));
        let has_node = new_node.is_some();
        if has_node != growth.needs_node() || !is_node_possible || !self.can_have(new_leaf.lblk) {
            return None;
        }
        let Self {
            entry,
            hasher,
            mut root,
            root_at,
            node,
            mut leaf,
        } = self;
        let cut = Cut::new(&leaf, &hasher, &entry, scratch)?;
        let lblk = new_leaf.lblk;
        cut.split::<C>(&mut leaf, &entry, new_leaf)?;

        // The new leaf's entry goes behind that of the old one, wherever this is now.
        let hash = cut.hash();
        match (node, new_node) {
            (None, None) => root.insert(root_at, hash, lblk)?,
            (None, Some(mut new)) => {
                root.deepen(new.lblk, &mut new.node)?;
                new.node.insert(root_at, hash, lblk)?;
                new.node.seal::<C>();
            }
            (Some(mut above), None) => {
                above.node.insert(above.at, hash, lblk)?;
                above.node.seal::<C>();
                return Some(());
            }
            (Some(mut above), Some(mut new)) => {
                let half = above.node.half()?;
                root.insert(root_at, above.node.hash_of(half)?, new.lblk)?;
                above.node.split(half, &mut new.node)?;
                match above.at.checked_sub(half) {
                    Some(at) => new.node.insert(at, hash, lblk)?,
                    None => above.node.insert(above.at, hash, lblk)?,
                }
                above.node.seal::<C>();
                new.node.seal::<C>();
            }
        }
        root.seal::<C>();
        Some(())
    }

    /// Whether a block can be a new one: it is none of those that the way goes through.
    fn can_have(&self, lblk: Lblk) -> bool {
        let is_node = |above: &PathNode<'_>| above.lblk == lblk;
        can_be_new(lblk) && lblk != self.leaf.lblk() && !self.node.as_ref().is_some_and(is_node)
    }
}

/// Whether a tree can have a block at that place, that is not the root's.
fn can_be_new(lblk: Lblk) -> bool {
    lblk > Lblk(0) && lblk.0 <= BLOCK_MASK
}

/// A new block, already a node.
struct NewNode<'a> {
    node: NodeMut<'a>,
    lblk: Lblk,
}
