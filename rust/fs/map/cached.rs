// SPDX-License-Identifier: GPL-2.0

//! What is known of one file.

use super::{
    reclaim::Maps,
    Seen, //
};
use crate::{
    extent_map::{
        self,
        Change,
        Chunk,
        Directory,
        Error as Missing,
        Extent,
        Mapping,
        Record,
        Records,
        Spare,
        MAX_RECORDS, //
    },
    kernel::sched_mm::NofsScope,
    ondisk::{
        Blocks,
        Ino,
        Lblk,
        LblkRange, //
    },
};
use ::kernel::{
    new_mutex, new_spinlock,
    prelude::*,
    rbtree::{
        RBTree,
        RBTreeNode,
        RBTreeNodeReservation, //
    },
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc,
        Mutex,
        MutexGuard,
        SpinLock,
        SpinLockGuard, //
    },
};

/// Chunks that are taken out while a lock is held, at most.
const MAX_REMOVED: usize = 16;

/// The map of a file, from the first time that somebody asked for one of its blocks.
#[pin_data]
pub(crate) struct ExtentMap {
    ino: Ino,
    #[pin]
    loading: Mutex<()>,
    #[pin]
    known: SpinLock<Known>,
    /// How often blocks of the file have become something else: changed with `known` locked, before
    /// those can see it who look there.
    changes: Atomic<u64>,
}

/// What the spinlock protects.
pub(super) struct Known {
    chunks: Chunks,
    /// Whether [`Maps`] has the map in its list: changed only with the lock of that held, too.
    pub(super) is_listed: bool,
}

impl Known {
    /// Whether nothing is known.
    pub(super) fn is_empty(&self) -> bool {
        self.chunks.0.is_empty()
    }
}

/// What sweeping over some chunks did.
pub(super) struct Progress {
    /// Where to go on, unless that was all.
    pub(super) next: Option<Lblk>,
    /// How many records it looked at.
    pub(super) scanned: usize,
    /// How many of them are gone.
    pub(super) freed: usize,
}

impl ExtentMap {
    /// A map that knows nothing.
    pub(super) fn new(ino: Ino) -> impl PinInit<Self> {
        pin_init!(Self {
            ino,
            loading <- new_mutex!((), "stablefs::loading"),
            known <- new_spinlock!(
                Known { chunks: Chunks(RBTree::new()), is_listed: false },
                "stablefs::known"
            ),
            changes: Atomic::new(0),
        })
    }

    /// The number of the file's inode.
    pub(super) fn ino(&self) -> Ino {
        self.ino
    }

    /// Waits until nobody else reads or changes the tree on the disk.
    pub(super) fn loading(&self) -> MutexGuard<'_, ()> {
        self.loading.lock()
    }

    /// What is known, locked.
    pub(super) fn known(&self) -> SpinLockGuard<'_, Known> {
        self.known.lock()
    }

    /// What is known of block `lblk`.
    pub(super) fn lookup(&self, lblk: Lblk) -> Option<Seen> {
        self.look(&self.known.lock(), lblk)
    }

    /// How often blocks of the file have become something else.
    pub(super) fn changes(&self) -> u64 {
        self.changes.load(Relaxed)
    }

    /// What is known, with the lock held.
    fn look(&self, known: &Known, lblk: Lblk) -> Option<Seen> {
        let mapping = extent_map::lookup(&known.chunks, lblk)?;
        Some(Seen {
            mapping,
            cookie: self.changes(),
        })
    }

    /// Learns what `extents` tell of the blocks in `lblks` around `lblk` that are not known, as that
    /// itself is not, and returns what is at `lblk`. The extents, in order, are all that there are in
    /// `lblks`. The caller holds [`loading`](Self::loading), so that they stay true, and what is not
    /// known stays so.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(super) fn learn(
        this: &Arc<Self>,
        maps: &Maps,
        lblk: Lblk,
        lblks: LblkRange,
        extents: impl Iterator<Item = Extent> + Clone,
    ) -> Result<Seen> {
        let gap = extent_map::gap(&this.known.lock().chunks, lblk, lblks);
        let mappings = extent_map::cover(gap, extents);
        let count = mappings.clone().count();
        let mut nodes = nodes(mappings, count)?;
        loop {
            let mut known = this.known.lock();
            if known.is_listed {
                while let Some(node) = nodes.pop() {
                    known.chunks.0.insert(node);
                }
                maps.count(0, count);
                // Nothing was forgotten of it yet, with the lock held.
                return this.look(&known, lblk).ok_or(EINVAL);
            }
            drop(known);
            maps.list(this)?;
        }
    }

    /// Has what is known of the blocks of `new` be that, and returns how many of them were reserved.
    /// The caller holds [`loading`](Self::loading), and has changed the tree.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, but not if `kept` has two spares: then memory that is missing is taken from there.
    pub(super) fn set(
        &self,
        maps: &Maps,
        new: Mapping,
        kept: &mut [Option<Memory>; 2],
    ) -> Result<Blocks> {
        let mut get = |capacity| {
            memory(capacity).or_else(|error| kept.iter_mut().find_map(Option::take).ok_or(error))
        };
        let mut reserved = 0_u64;
        let mut rest = Some(new);
        while let Some(now) = rest {
            let (change, _) = self.step(maps, &mut get, |chunks, spare| {
                extent_map::set(chunks, now, spare).map(Some)
            })?;
            let change = change.ok_or(EINVAL)?;
            reserved = reserved.saturating_add(change.reserved.0);
            rest = now.clip(LblkRange::all_from(change.next));
        }
        Ok(Blocks(reserved))
    }

    /// Reserves the first blocks of `lblks`, and returns which; `None` unless they are known to be a
    /// hole.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(super) fn reserve(&self, maps: &Maps, lblks: LblkRange) -> Result<Option<Seen>> {
        let (change, cookie) = self.step(maps, &mut memory, |chunks, spare| {
            extent_map::reserve(chunks, lblks, spare)
        })?;
        Ok(change.filter(|change| change.is_change).map(|change| {
            let end = change.next;
            let mapping = Mapping::Reserved(LblkRange { end, ..lblks });
            Seen { mapping, cookie }
        }))
    }

    /// Has what is reserved in `lblks` be a hole, and returns how many blocks that are: without
    /// memory, not all.
    pub(super) fn release(&self, maps: &Maps, lblks: LblkRange) -> Blocks {
        let mut released = 0_u64;
        let mut rest = lblks;
        while !rest.is_empty() {
            let step = self.step(maps, &mut memory, |chunks, spare| {
                extent_map::release(chunks, rest, spare)
            });
            let Ok((Some(change), _)) = step else {
                break;
            };
            released = released.saturating_add(change.reserved.0);
            rest.start = change.next;
        }
        Blocks(released)
    }

    /// Forgets what is known of the blocks from `from` on, and returns how many of them were reserved. The caller
    /// holds [`loading`](Self::loading), and is about to change the tree.
    ///
    /// # Errors
    ///
    /// `EINVAL`, if the map is broken.
    pub(super) fn forget(&self, maps: &Maps, from: Lblk) -> Result<Blocks> {
        let known = self.known.lock();
        // What has been seen may not be known any more.
        self.changes.add(1, Relaxed);
        drop(known);
        let mut reserved = 0_u64;
        loop {
            let (change, _) = self.step(maps, &mut memory, |chunks, _| {
                extent_map::forget(chunks, from)
            })?;
            let Some(change) = change else {
                return Ok(Blocks(reserved));
            };
            reserved = reserved.saturating_add(change.reserved.0);
        }
    }

    /// Does one step of a change, with the memory that it wants, and returns what it did, and the
    /// number of changes after it.
    fn step(
        &self,
        maps: &Maps,
        get: &mut impl FnMut(usize) -> Result<Memory>,
        mut step: impl FnMut(&mut Chunks, &mut Option<Memory>) -> Result<Option<Change<Node>>, Missing>,
    ) -> Result<(Option<Change<Node>>, u64)> {
        // Dropped after the lock is, as are chunks that are not needed any more.
        let mut spare = None;
        loop {
            let mut known = self.known.lock();
            let result = step(&mut known.chunks, &mut spare);
            if let Ok(Some(change)) = &result {
                if change.is_change {
                    self.changes.add(1, Relaxed);
                }
                maps.count(change.before, change.after);
            }
            let changes = self.changes();
            drop(known);
            match result {
                Ok(change) => return Ok((change, changes)),
                Err(Missing::NoSpare { capacity }) => spare = Some(get(capacity)?),
                Err(Missing::Inconsistent) => return Err(EINVAL),
            }
        }
    }

    /// Sweeps over some chunks from the one on that begins at or behind `lblk`.
    pub(super) fn sweep(&self, lblk: Lblk) -> Progress {
        let mut progress = Progress {
            next: Some(lblk),
            scanned: 0,
            freed: 0,
        };
        // Dropped after the lock is.
        let mut removed = [const { None }; MAX_REMOVED];
        let mut known = self.known.lock();
        for removed in &mut removed {
            let Some(from) = progress.next else {
                break;
            };
            let swept = extent_map::sweep(&mut known.chunks, from);
            progress.next = swept.as_ref().map(|swept| swept.next);
            let Some(swept) = swept else {
                break;
            };
            progress.scanned = progress.scanned.saturating_add(swept.records);
            if swept.removed.is_some() {
                progress.freed = progress.freed.saturating_add(swept.records);
                *removed = swept.removed;
            }
        }
        drop(known);
        progress
    }

    /// Forgets everything, and returns how much that was.
    pub(super) fn clear(&self) -> Cleared {
        let chunks = core::mem::replace(&mut self.known.lock().chunks.0, RBTree::new());
        let mut cleared = Cleared {
            records: 0,
            reserved: Blocks(0),
        };
        for chunk in chunks.values() {
            cleared.records = cleared.records.saturating_add(chunk.len());
            let reserved = cleared.reserved.0.saturating_add(chunk.reserved().0);
            cleared.reserved = Blocks(reserved);
        }
        cleared
    }
}

/// What was known.
pub(super) struct Cleared {
    /// How many records.
    pub(super) records: usize,
    /// How many blocks were reserved.
    pub(super) reserved: Blocks,
}

/// Memory for one chunk more, or for a longer one.
pub(super) type Memory = Spare<RBTreeNodeReservation<Lblk, Chunk<KVec<Record>>>, KVec<Record>>;

/// Memory for a chunk of as many records.
///
/// # Errors
///
/// `ENOMEM`.
pub(super) fn memory(capacity: usize) -> Result<Memory> {
    let _nofs = NofsScope::memalloc_nofs_save();
    Ok(Spare {
        node: RBTreeNodeReservation::new(GFP_KERNEL)?,
        records: KVec::with_capacity(capacity, GFP_KERNEL)?,
    })
}

type Node = RBTreeNode<Lblk, Chunk<KVec<Record>>>;

/// The chunks of `count` mappings that follow each other, all of about the same length.
fn nodes(mut mappings: impl Iterator<Item = Mapping>, count: usize) -> Result<KVec<Node>> {
    let chunks = count.div_ceil(MAX_RECORDS).max(1);
    let len = count.div_ceil(chunks);
    let mut nodes = KVec::with_capacity(chunks, GFP_KERNEL)?;
    for _ in 0..chunks {
        let mut records = KVec::with_capacity(len, GFP_KERNEL)?;
        for mapping in mappings.by_ref().take(len) {
            records.push(Record::from(mapping), GFP_KERNEL)?;
        }
        if !records.is_empty() {
            let chunk = Chunk::new(records);
            nodes.push(
                RBTreeNode::new(chunk.lblks().start, chunk, GFP_KERNEL)?,
                GFP_KERNEL,
            )?;
        }
    }
    Ok(nodes)
}

/// Chunks by the first block that each tells of.
///
/// A node with its chunk has 64 bytes, and the records behind it 16 bytes each.
struct Chunks(RBTree<Lblk, Chunk<KVec<Record>>>);

impl Directory for Chunks {
    type Records = KVec<Record>;
    type Node = RBTreeNodeReservation<Lblk, Chunk<KVec<Record>>>;
    type Removed = Node;

    fn at_or_before<T>(
        &self,
        lblk: Lblk,
        look: impl FnOnce(&Chunk<KVec<Record>>) -> T,
    ) -> Option<T> {
        let Some(behind) = self.0.cursor_lower_bound(&lblk) else {
            let last = self.0.cursor_back()?;
            return Some(look(last.current().1));
        };
        let (first, chunk) = behind.current();
        if *first == lblk {
            return Some(look(chunk));
        }
        behind.peek_prev().map(|(_, chunk)| look(chunk))
    }

    fn at_or_behind<T>(
        &self,
        lblk: Lblk,
        look: impl FnOnce(&Chunk<KVec<Record>>) -> T,
    ) -> Option<T> {
        let cursor = self.0.cursor_lower_bound(&lblk)?;
        Some(look(cursor.current().1))
    }

    fn change<T>(
        &mut self,
        lblk: Lblk,
        change: impl FnOnce(&mut Chunk<KVec<Record>>) -> T,
    ) -> Option<T> {
        self.0.get_mut(&lblk).map(change)
    }

    fn insert(&mut self, chunk: Chunk<KVec<Record>>, node: Self::Node) {
        self.0.insert(node.into_node(chunk.lblks().start, chunk));
    }

    fn remove(&mut self, lblk: Lblk) -> Option<Node> {
        self.0.remove_node(&lblk)
    }
}

impl Records for KVec<Record> {
    fn capacity(&self) -> usize {
        KVec::capacity(self)
    }

    fn push(&mut self, record: Record) -> Option<()> {
        self.push_within_capacity(record).ok()
    }

    fn truncate(&mut self, len: usize) {
        KVec::truncate(self, len);
    }
}
