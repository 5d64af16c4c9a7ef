// SPDX-License-Identifier: GPL-2.0

//! Where the blocks of a file are.
//!
//! a block of a file: unknown → looked up: in memory, or in the tree on the disk → known → changed →
//! forgotten
//!
//! hole → reserved ([`reserve`]) → allocated ([`Changing::set`]), or a hole again ([`release`])
//!
//! The map in memory is the authority. The tree is read only for what the map does not know, and
//! only by [`load`], which holds the file's `loading` mutex. Whoever changes the tree holds it as
//! well, as [`Changing`], and changes the map before giving it up. So what was read is still so when
//! it becomes known, and nothing known is ever replaced by what was read: it only fills a gap.
//!
//! What is reserved is in no tree, and so it is not forgotten before the inode is. Only a hole can be
//! reserved, and only a hole that is known: that takes no `loading`, and can come between a change
//! of the tree and that of the map. Whoever allocates is told how much was reserved when the map
//! changed, and settles that. To release it takes `loading`: what is being allocated stays reserved.
//!
//! What was seen of a file stays true as long as [`cookie`] returns what came with it.
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

use self::cached::Memory;
use super::{
    metadata::{
        self,
        At,
        MetaBlock, //
    },
    Inode, KernelCrc32c,
};
use crate::{
    extent_map::MAX_RECORDS,
    kernel::{
        current::check_fatal_signal,
        sched_mm::NofsScope, //
    },
    ondisk::{
        extent::{
            Child,
            Lookup,
            Node, //
        },
        Blocks,
        Lblk,
        LblkRange, //
    },
    protocol::initialise,
};
use ::kernel::{
    prelude::*,
    sync::{
        Arc,
        MutexGuard, //
    },
};
use core::ops::ControlFlow;

/// What was seen of a file.
#[derive(Clone, Copy)]
pub(super) struct Seen {
    /// What is there.
    pub(super) mapping: Mapping,
    /// What [`cookie`] returned then.
    pub(super) cookie: u64,
}

impl initialise::Extent for Seen {
    fn is_written(&self) -> bool {
        matches!(&self.mapping, Mapping::Extent(extent) if extent.state() == State::Written)
    }
}

/// What is at block `lblk` of a file, and around it.
///
/// # Errors
///
/// What reading and checking the tree says; `EINVAL` if no file has such a block.
///
/// # Context
///
/// Sleeps, unless it is known.
pub(super) fn lookup(inode: &Inode, lblk: Lblk) -> Result<Seen> {
    match lookup_cached(inode, lblk) {
        Some(seen) => Ok(seen),
        None => load(inode, lblk),
    }
}

/// What is known to be at block `lblk` of a file, and around it.
///
/// # Context
///
/// Any but that of interrupts.
pub(super) fn lookup_cached(inode: &Inode, lblk: Lblk) -> Option<Seen> {
    inode.extent_map().as_ref()?.lookup(lblk)
}

/// Another one each time that blocks of the file have become something else. What becomes known, or is
/// forgotten, changes nothing.
///
/// A change that happened before the call, as by one who had the same lock or had to wait for the
/// same folio, is seen.
///
/// # Context
///
/// Any.
pub(super) fn cookie(inode: &Inode) -> u64 {
    // Before there is a map, nothing has been seen.
    inode.extent_map().as_ref().map_or(0, |map| map.changes())
}

/// Reserves the beginning of `lblks`, if that is a hole. Returns what is there, then.
///
/// The caller has the room for all of `lblks` (`balloc::reserve`), and gives back what of it is not
/// [`New`](Reserved::New).
///
/// # Errors
///
/// Those of [`lookup`]; `ENOMEM`; `EINVAL` if `lblks` is empty. Nothing is reserved then.
///
/// # Context
///
/// Sleeps. Folios of the file may be locked: all allocations are NOFS.
pub(super) fn reserve(inode: &Inode, lblks: LblkRange) -> Result<Reserved> {
    if lblks.is_empty() {
        return Err(EINVAL);
    }
    let maps = inode.sb().volume().maps();
    loop {
        let seen = lookup(inode, lblks.start)?;
        if !matches!(seen.mapping, Mapping::Hole(_)) {
            return Ok(Reserved::Before);
        }
        // `None` if it became something else meanwhile, or was forgotten.
        if let Some(new) = maps.map_of(inode)?.reserve(maps, lblks)? {
            return Ok(Reserved::New(new));
        }
    }
}

/// What came of [`reserve`].
#[derive(Clone, Copy)]
pub(super) enum Reserved {
    /// These blocks, from the first that was wanted on, are reserved now and were a hole.
    New(Seen),
    /// The first was no hole.
    Before,
}

/// Has what is reserved in `lblks` be a hole again, and returns how many blocks that are, for the
/// caller to give back (`balloc::cancel`). Without memory, some may stay reserved; that does no harm,
/// and [`evict`] tells of them.
///
/// # Context
///
/// Sleeps. Folios of the file may be locked: all allocations are NOFS. No folio has anything dirty
/// there.
pub(super) fn release(inode: &Inode, lblks: LblkRange) -> Blocks {
    let maps = inode.sb().volume().maps();
    let Some(map) = inode.extent_map().as_ref() else {
        return Blocks(0);
    };
    let _loading = map.loading();
    map.release(maps, lblks)
}

/// Keeps others from reading and changing the tree of a file, for one who changes it. The memory for
/// [`set`](Changing::set) is there then.
///
/// # Errors
///
/// `ENOMEM`.
///
/// # Context
///
/// Sleeps; all allocations are NOFS.
pub(super) fn change(inode: &Inode) -> Result<Changing<'_>> {
    let _nofs = NofsScope::memalloc_nofs_save();
    let maps = inode.sb().volume().maps();
    let map = maps.map_of(inode)?;
    let kept = [
        Some(cached::memory(MAX_RECORDS)?),
        Some(cached::memory(MAX_RECORDS)?),
    ];
    Ok(Changing {
        inode,
        maps,
        map,
        kept,
        _loading: map.loading(),
    })
}

/// The right to change the tree of a file, by one extent.
pub(super) struct Changing<'a> {
    inode: &'a Inode,
    maps: &'a Maps,
    map: &'a Arc<ExtentMap>,
    /// As much as any change takes, should there be none when it is made.
    kept: [Option<Memory>; 2],
    _loading: MutexGuard<'a, ()>,
}

impl Changing<'_> {
    /// [`lookup`]. What is there stays there as long as this has the right; but a hole may become
    /// reserved.
    ///
    /// # Errors
    ///
    /// Those of [`lookup`].
    ///
    /// # Context
    ///
    /// Sleeps; all allocations are NOFS.
    pub(super) fn lookup(&self, lblk: Lblk) -> Result<Seen> {
        lookup_locked(self.inode, self.map, lblk)
    }

    /// Has the map know nothing of the blocks from `from` on, as they are about to be elsewhere in the tree, and returns
    /// how many of them were reserved, which are not any more: that is for the caller to settle. The right
    /// stays; nobody learns anything before it goes.
    ///
    /// # Errors
    ///
    /// `EINVAL`, if the map is broken.
    ///
    /// # Context
    ///
    /// May sleep. No folio has anything dirty there.
    pub(super) fn forget(&self, from: Lblk) -> Result<Blocks> {
        self.map.forget(self.maps, from)
    }

    /// The tree says this now of the blocks of `new`. Has the map say so, and returns how many of them
    /// were reserved, which are not any more: that is for the caller to settle.
    ///
    /// Others see the change in parts, if it goes over many records.
    ///
    /// # Errors
    ///
    /// `EINVAL`, if the map is broken, and `ENOMEM`: not to be expected, and nothing to go on after,
    /// as the map says something else than the tree.
    ///
    /// # Context
    ///
    /// Sleeps; all allocations are NOFS.
    pub(super) fn set(mut self, new: Mapping) -> Result<Blocks> {
        self.map.set(self.maps, new, &mut self.kept)
    }
}

/// Forgets all of an inode that nobody uses any more. Returns how many blocks were reserved, for the
/// caller to give back (`balloc::cancel`).
pub(super) fn evict(inode: &Inode) -> Blocks {
    let maps = inode.sb().volume().maps();
    let map = inode.extent_map().as_ref();
    map.map_or(Blocks(0), |map| maps.evict(map))
}

/// [`lookup`], of what may not be known.
fn load(inode: &Inode, lblk: Lblk) -> Result<Seen> {
    let _nofs = NofsScope::memalloc_nofs_save();
    let map = inode.sb().volume().maps().map_of(inode)?;
    let _loading = map.loading();
    lookup_locked(inode, map, lblk)
}

/// What [`read_behind`] has found.
#[derive(Clone, Copy)]
pub(super) struct Behind {
    /// How many nodes that is, without the root.
    pub(super) nodes: u32,
    /// How many extents these have in the blocks that were asked for: the map makes one of such as follow each other.
    pub(super) extents: u32,
    /// Where the last extent ends; where it began to look, if there is none.
    pub(super) end: Lblk,
}

/// Reads all nodes of the tree of a file that tell of `lblks`, and of what is behind: who changes them does not wait for
/// the device then, and what is broken is found before.
///
/// # Errors
///
/// What reading and checking the tree says; `EINTR` for a task that is being killed.
///
/// # Context
///
/// Sleeps.
pub(super) fn read_behind(inode: &Inode, lblks: LblkRange) -> Result<Behind> {
    let map = inode.sb().volume().maps().map_of(inode)?;
    let mut behind = Behind {
        nodes: 0,
        extents: 0,
        end: lblks.start,
    };
    let mut lblk = lblks.start;
    while lblk < Lblk::END {
        check_fatal_signal()?;
        let _loading = map.loading();
        lblk = read_leaf(inode, lblk, lblks, &mut behind)?;
    }
    Ok(behind)
}

/// Reads the leaf that tells of block `lblk`, and returns where the next one begins. Others above it have been
/// read before, unless they begin with it, or it is the first of `lblks`.
fn read_leaf(inode: &Inode, lblk: Lblk, lblks: LblkRange, behind: &mut Behind) -> Result<Lblk> {
    let (sb, disk) = (inode.sb(), inode.disk());
    let volume = sb.volume();
    let root = disk
        .extents(volume)
        .map_err(|error| metadata::blame(sb, At::inode(disk.ino()), error))?;
    let (mut found, mut next) = look(&root, lblk, lblks, behind);
    // The depth falls with each step, which the type of a child guarantees.
    while let Lookup::Child(child) = found {
        if lblk == lblks.start || child.lblks().start == lblk {
            behind.nodes = behind.nodes.saturating_add(1);
        }
        let block = MetaBlock::read(sb, disk.ino(), child.pblk())?;
        let node = Node::child::<KernelCrc32c>(volume, disk.seed(), child, block.block()?)
            .map_err(|error| metadata::blame(sb, At::block(disk.ino(), block.pblk), error))?;
        (found, next) = look(&node, lblk, lblks, behind);
    }
    Ok(next)
}

/// What a node tells of block `lblk`, and where it, or the hole before all that it tells of, ends.
fn look(node: &Node<'_>, lblk: Lblk, lblks: LblkRange, behind: &mut Behind) -> (Lookup, Lblk) {
    let found = node.lookup(lblk);
    if let Node::Leaf(leaf) = node {
        for LblkRange { start, end } in leaf.extents().map(|extent| extent.lblks()) {
            behind.end = end.max(behind.end);
            if start < lblks.end && lblks.start < end {
                behind.extents = behind.extents.saturating_add(1);
            }
        }
    }
    let end = match (node, &found) {
        (Node::Inner(_), Lookup::Hole(hole)) => hole.end,
        _ => node.lblks().end,
    };
    (found, end)
}

/// [`lookup`], by one who holds `loading`. Reads, if that is not known, what the tree has at block
/// `lblk`, and what the same node tells of other blocks.
fn lookup_locked(inode: &Inode, map: &Arc<ExtentMap>, lblk: Lblk) -> Result<Seen> {
    // Another thread may have read it while this one waited.
    if let Some(seen) = map.lookup(lblk) {
        return Ok(seen);
    }
    if lblk >= Lblk::END {
        return Err(EINVAL);
    }
    let _nofs = NofsScope::memalloc_nofs_save();
    let sb = inode.sb();
    let volume = sb.volume();
    let disk = inode.disk();
    let root = disk
        .extents(volume)
        .map_err(|error| metadata::blame(sb, At::inode(disk.ino()), error))?;
    let mut step = learn(inode, map, lblk, &root)?;
    // The depth falls with each step, which the type of a child guarantees.
    loop {
        let child = match step {
            ControlFlow::Break(seen) => return Ok(seen),
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
) -> Result<ControlFlow<Seen, Child>> {
    let sb = inode.sb();
    let maps = sb.volume().maps();
    if let Node::Leaf(leaf) = node {
        for extent in leaf.extents() {
            sb.check_blocks(inode.ino(), extent.pblks())?;
        }
    }
    let seen = match (node, node.lookup(lblk)) {
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
    Ok(ControlFlow::Break(seen))
}
