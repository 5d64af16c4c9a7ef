// SPDX-License-Identifier: GPL-2.0

//! The leaves of an indexed directory, in the order of their hashes.
//!
//! root → perhaps a node → leaf → next leaf → …

use super::{
    inode::read_block,
    metadata::{
        self,
        At, //
    },
    Inode, KernelCrc32c,
};
use crate::ondisk::{
    hash::{
        Hash,
        Hasher, //
    },
    htree::{
        Child,
        Entry,
        Index,
        Root, //
    },
    Ino,
    Lblk, //
};
use ::kernel::prelude::*;
use core::ops::ControlFlow;

/// A leaf that is visited.
pub(super) struct Visited {
    /// Where it is in the directory.
    pub(super) lblk: Lblk,
    /// The node above it, unless that is the root.
    pub(super) node: Option<Lblk>,
    /// The entry of the leaf that would be next.
    pub(super) next: Option<Entry>,
    /// The hash function of the directory.
    pub(super) hasher: Hasher,
    /// The hash that the first visited leaf is that of.
    pub(super) hash: Hash,
}

/// Visits the leaf that names of a hash, which `hash` chooses, are in, and those that follow, until
/// `visit` breaks or the directory ends.
///
/// # Errors
///
/// What reading and checking the nodes says, or `visit` does.
pub(super) fn for_each_leaf<R>(
    dir: &Inode,
    hash: impl FnOnce(Hasher) -> Hash,
    mut visit: impl FnMut(Visited) -> Result<ControlFlow<R>>,
) -> Result<ControlFlow<R>> {
    let sb = dir.sb();
    let block = read_block(dir, Lblk(0))?;
    let root = Root::parse::<KernelCrc32c>(sb.volume(), &dir.disk(), block.block()?)
        .map_err(|error| metadata::blame(sb, At::block(dir.ino(), block.pblk), error))?;
    let hasher = root.hasher();
    let hash = hash(hasher);
    let mut visit = |lblk, node, next| {
        visit(Visited {
            lblk,
            node,
            next,
            hasher,
            hash,
        })
    };

    let mut is_first = true;
    let mut entry = Some(root.index().find(hash));
    while let Some(above) = entry {
        let next_above = root.index().after(above);
        match above.child() {
            Child::Leaf(lblk) => {
                if let ControlFlow::Break(value) = visit(lblk, None, next_above)? {
                    return Ok(ControlFlow::Break(value));
                }
            }
            Child::Node(below) => {
                let block = read_block(dir, below.lblk())?;
                let at = At::block(dir.ino(), block.pblk);
                let node =
                    Index::below::<KernelCrc32c>(sb.volume(), &dir.disk(), below, block.block()?)
                        .map_err(|error| metadata::blame(sb, at, error))?;
                let mut entry = Some(if is_first {
                    node.find(hash)
                } else {
                    node.first()
                });
                while let Some(leaf) = entry {
                    let next = node.after(leaf);
                    let Child::Leaf(lblk) = leaf.child() else {
                        return Err(metadata::corrupt(
                            sb,
                            at,
                            format_args!("hash tree is deeper than it may be"),
                        ));
                    };
                    let next_leaf = next.or(next_above);
                    if let ControlFlow::Break(value) = visit(lblk, Some(below.lblk()), next_leaf)? {
                        return Ok(ControlFlow::Break(value));
                    }
                    entry = next;
                }
            }
        }
        is_first = false;
        entry = next_above;
    }
    Ok(ControlFlow::Continue(()))
}

/// The leaf that a name is in, or is to be added to.
///
/// # Errors
///
/// What reading and checking the nodes says.
pub(super) fn leaf_of(dir: &Inode, name: &[u8]) -> Result<Visited> {
    let found = for_each_leaf(
        dir,
        |hasher| hasher.hash(name),
        |leaf| Ok(ControlFlow::Break(leaf)),
    )?;
    match found {
        ControlFlow::Break(leaf) => Ok(leaf),
        // No node is without entries.
        ControlFlow::Continue(()) => Err(EINVAL),
    }
}

/// Whether names of the hash that the leaf of `entry` begins with may be in the leaf before it, too.
pub(super) fn is_continued(entry: Entry) -> bool {
    entry.continues(Hash {
        major: entry.hash(),
        minor: 0,
    })
}

/// The directory above an indexed one.
pub(super) fn parent(dir: &Inode) -> Result<Ino> {
    let sb = dir.sb();
    let block = read_block(dir, Lblk(0))?;
    Root::parse::<KernelCrc32c>(sb.volume(), &dir.disk(), block.block()?)
        .map(|root| root.parent())
        .map_err(|error| metadata::blame(sb, At::block(dir.ino(), block.pblk), error))
}
