// SPDX-License-Identifier: GPL-2.0

//! What is known of one file.

use super::reclaim::Maps;
use crate::{
    extent_map::{
        self,
        Chunk,
        Directory,
        Extent,
        Mapping,
        Record,
        MAX_RECORDS, //
    },
    ondisk::{
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
        RBTreeNode, //
    },
    sync::{
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
    pub(super) fn lookup(&self, lblk: Lblk) -> Option<Mapping> {
        extent_map::lookup(&self.known.lock().chunks, lblk)
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
    ) -> Result<Mapping> {
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
                maps.count_learnt(count);
                // Nothing was forgotten of it yet, with the lock held.
                return extent_map::lookup(&known.chunks, lblk).ok_or(EINVAL);
            }
            drop(known);
            maps.list(this)?;
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

    /// Forgets everything, and returns how many records that were.
    pub(super) fn clear(&self) -> usize {
        let chunks = core::mem::replace(&mut self.known.lock().chunks.0, RBTree::new());
        chunks
            .values()
            .fold(0, |count, chunk| chunk.len().saturating_add(count))
    }
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

    fn remove(&mut self, lblk: Lblk) -> Option<Node> {
        self.0.remove_node(&lblk)
    }
}
