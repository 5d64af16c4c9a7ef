// SPDX-License-Identifier: GPL-2.0

//! Where the blocks of a file are.
//!
//! a block of a file: unknown → looked up: in memory, or in the tree on the disk → known → forgotten
//!
//! The map in memory is the authority. The tree is read only for what the map does not know, and
//! only by [`load`], which holds the file's `loading` mutex. Whoever changes the tree holds it as
//! well, and changes the map before giving it up. So what was read is still so when it becomes
//! known, and nothing known is ever replaced by what was read: it only fills a gap.
//!
//! Its three locks are in [`locks`](super::locks).

mod cached;
mod reclaim;

pub(super) use self::{
    cached::ExtentMap,
    reclaim::Maps, //
};
pub(super) use crate::extent_map::{
    Extent,
    Mapping,
    State, //
};

use super::{
    metadata::{
        self,
        At,
        MetaBlock, //
    },
    Inode, KernelCrc32c,
};
use crate::{
    kernel::sched_mm::NofsScope,
    ondisk::{
        extent::{
            Child,
            Lookup,
            Node, //
        },
        Lblk, //
    },
};
use ::kernel::{
    prelude::*,
    sync::{
        Arc,
        MutexGuard, //
    },
};
use core::ops::ControlFlow;

/// What is at block `lblk` of a file.
///
/// # Errors
///
/// What reading and checking the tree says; `EINVAL` if no file has such a block.
///
/// # Context
///
/// Sleeps, unless it is known.
pub(super) fn lookup(inode: &Inode, lblk: Lblk) -> Result<Mapping> {
    match lookup_cached(inode, lblk) {
        Some(mapping) => Ok(mapping),
        None => load(inode, lblk),
    }
}

/// What is known to be at block `lblk` of a file.
///
/// # Context
///
/// Any but that of interrupts.
pub(super) fn lookup_cached(inode: &Inode, lblk: Lblk) -> Option<Mapping> {
    inode.extent_map().as_ref()?.lookup(lblk)
}

/// A number that was another one before where the blocks of a file are changed.
pub(super) fn version(_inode: &Inode) -> u64 {
    0
}

/// Keeps others from reading and changing the tree of a file, for one who changes it.
pub(super) fn change(inode: &Inode) -> Result<Changing<'_>> {
    let _nofs = NofsScope::memalloc_nofs_save();
    let maps = inode.sb().volume().maps();
    let map = maps.map_of(inode)?;
    Ok(Changing {
        maps,
        map,
        _loading: map.loading(),
    })
}

/// The right to change the tree of a file.
pub(super) struct Changing<'a> {
    maps: &'a Maps,
    map: &'a Arc<ExtentMap>,
    _loading: MutexGuard<'a, ()>,
}

impl Changing<'_> {
    /// What is at block `lblk` of the file.
    ///
    /// # Errors
    ///
    /// Those of [`lookup`].
    pub(super) fn lookup(&self, inode: &Inode, lblk: Lblk) -> Result<Mapping> {
        read(inode, self.map, lblk)
    }

    /// The tree has changed.
    pub(super) fn forget(self) {
        self.maps.evict(self.map);
    }
}

/// Forgets all of an inode that nobody uses any more.
pub(super) fn evict(inode: &Inode) {
    if let Some(map) = inode.extent_map().as_ref() {
        inode.sb().volume().maps().evict(map);
    }
}

/// Reads what is at block `lblk`, and what the same node of the tree tells of other blocks.
fn load(inode: &Inode, lblk: Lblk) -> Result<Mapping> {
    if lblk >= Lblk::END {
        return Err(EINVAL);
    }
    let _nofs = NofsScope::memalloc_nofs_save();
    let map = inode.sb().volume().maps().map_of(inode)?;
    let _loading = map.loading();
    read(inode, map, lblk)
}

/// As [`load`], with `loading` held, and allocations NOFS.
fn read(inode: &Inode, map: &Arc<ExtentMap>, lblk: Lblk) -> Result<Mapping> {
    let sb = inode.sb();
    let volume = sb.volume();
    let disk = inode.disk();
    // Another thread may have read it while this one waited.
    if let Some(mapping) = map.lookup(lblk) {
        return Ok(mapping);
    }
    let root = disk
        .extents(volume)
        .map_err(|error| metadata::blame(sb, At::inode(disk.ino()), error))?;
    let mut step = learn(inode, map, lblk, &root)?;
    // The depth falls with each step, which the type of a child guarantees.
    loop {
        let child = match step {
            ControlFlow::Break(mapping) => return Ok(mapping),
            ControlFlow::Continue(child) => child,
        };
        let block = MetaBlock::read(sb, disk.ino(), child.pblk())?;
        let node = Node::child::<KernelCrc32c>(volume, disk.seed(), child, block.block()?)
            .map_err(|error| metadata::blame(sb, At::block(disk.ino(), block.pblk), error))?;
        step = learn(inode, map, lblk, &node)?;
    }
}

/// Learns what a node of the tree tells of block `lblk` and those around it, or which node does.
/// Every node that was read comes here.
fn learn(
    inode: &Inode,
    map: &Arc<ExtentMap>,
    lblk: Lblk,
    node: &Node<'_>,
) -> Result<ControlFlow<Mapping, Child>> {
    let sb = inode.sb();
    let maps = sb.volume().maps();
    if let Node::Leaf(leaf) = node {
        for extent in leaf.extents() {
            sb.check_blocks(inode.ino(), extent.pblks())?;
        }
    }
    let mapping = match (node, node.lookup(lblk)) {
        (_, Lookup::Child(child)) => return Ok(ControlFlow::Continue(child)),
        (Node::Inner(_), Lookup::Hole(lblks)) => {
            ExtentMap::learn(map, maps, lblk, lblks, core::iter::empty())?
        }
        (Node::Leaf(leaf), _) => ExtentMap::learn(
            map,
            maps,
            lblk,
            node.lblks(),
            leaf.extents().map(Extent::from),
        )?,
        // Only leaves have extents.
        (Node::Inner(_), Lookup::Extent(_)) => return Err(EINVAL),
    };
    Ok(ControlFlow::Break(mapping))
}
