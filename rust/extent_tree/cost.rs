// SPDX-License-Identifier: GPL-2.0

//! How many blocks a step touches, for the credits of its handle.

use crate::ondisk::extent::MAX_DEPTH;

/// Blocks with nodes that a step can touch, at most, each kind by itself; the inode's block, which has
/// the root, is not among them. That of a new or freed block takes a bitmap and a descriptor, too, a
/// freed one the record that revokes it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Nodes that change.
    pub changed: u16,
    /// Nodes that are new.
    pub created: u16,
    /// Nodes that go.
    pub freed: u16,
}

impl Cost {
    /// That of [`insert`](super::Tree::insert), [`convert`](super::Tree::convert), [`split`](super::Tree::split)
    /// or [`join`](super::Tree::join), in a tree with
    /// `depth` levels below the root: each node on the path changes, and is split, and the tree grows;
    /// or the only node below the root comes to fit into it.
    pub fn change(depth: u16) -> Self {
        Self {
            changed: depth,
            created: depth.saturating_add(1).min(MAX_DEPTH),
            freed: depth.min(1),
        }
    }

    /// That of [`shift_left`](super::Tree::shift_left) or [`shift_right`](super::Tree::shift_right): each node on the
    /// path changes, where the leaf is the first below it; or the only node below the root, which is no leaf, fits into it.
    pub fn shift(depth: u16) -> Self {
        Self {
            created: 0,
            freed: u16::from(depth > 1),
            ..Self::change(depth)
        }
    }

    /// That of [`remove`](super::Tree::remove): the same as that of a change; or the last extent goes that there is below
    /// each node on the path, after which there is only one node below the root, which fits into it.
    pub fn remove(depth: u16) -> Self {
        Self {
            freed: if depth > 0 {
                depth.saturating_add(1)
            } else {
                0
            },
            ..Self::change(depth)
        }
    }
}
