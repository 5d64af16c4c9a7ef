// SPDX-License-Identifier: GPL-2.0

//! What is known of all files of a volume, and forgotten when memory is short.
//!
//! A hand goes round over the chunks of all maps. Chunks that were used since it passed last stay
//! until it comes again. Whatever the disk does not have, or not yet, stays in any case:
//! [`sweep`](crate::extent_map::sweep) sees to that.
//!
//! An inode that is evicted takes its map out of the list before its number can be had by another.
//! Who looks at the map just then has a reference of its own to it, which is but memory: a map
//! knows no inode, and nothing is learnt without one.

use super::{
    super::Inode,
    cached::{
        ExtentMap,
        Known, //
    },
};
use crate::{
    kernel::{
        shrinker::{
            self,
            Registration,
            Scanned, //
        },
        super_block::OnDevice,
    },
    ondisk::{
        Blocks,
        Lblk, //
    },
};
use ::kernel::{
    new_spinlock,
    prelude::*,
    rbtree::{
        RBTree,
        RBTreeNode, //
    },
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc, SpinLock,
    },
};

/// The maps of the files of a volume.
#[pin_data]
pub(crate) struct Maps {
    #[pin]
    listed: SpinLock<Listed>,
    /// Records in all of them. For a moment fewer than none, when one thread counts what it made
    /// another forget before that was counted.
    records: Atomic<i64>,
}

/// What the spinlock protects.
struct Listed {
    /// The maps that know something, by the numbers of their inodes.
    maps: RBTree<u32, Arc<ExtentMap>>,
    /// The first inode to sweep over.
    ino: u32,
    /// The first of its blocks to sweep over.
    lblk: Lblk,
}

impl Maps {
    /// Those of a new volume, which memory reclaim makes smaller until it is dropped.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new(sb: &OnDevice) -> Result<Registration<Self>> {
        let maps = KBox::pin_init(
            pin_init!(Self {
                listed <- new_spinlock!(
                    Listed { maps: RBTree::new(), ino: 0, lblk: Lblk(0) },
                    "stablefs::listed"
                ),
                records: Atomic::new(0),
            }),
            GFP_KERNEL,
        )?;
        Registration::new(c"stablefs-extents", sb, maps)
    }

    /// The map of an inode; a new one if it has none.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(super) fn map_of<'a>(&self, inode: &'a Inode) -> Result<&'a Arc<ExtentMap>> {
        let place = inode.extent_map();
        if place.as_ref().is_none() {
            let mut new = Some(Arc::pin_init(ExtentMap::new(inode.ino()), GFP_KERNEL)?);
            // Without the lock, a second thread could come while the first one has begun to fill
            // the place, and find it neither empty nor filled.
            let listed = self.listed.lock();
            if place.as_ref().is_none() {
                if let Some(new) = new.take() {
                    place.populate(new);
                }
            }
            drop(listed);
        }
        place.as_ref().ok_or(EINVAL)
    }

    /// Has the map in the list.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(super) fn list(&self, map: &Arc<ExtentMap>) -> Result {
        let mut node = Some(RBTreeNode::new(map.ino().get(), map.clone(), GFP_KERNEL)?);
        let mut listed = self.listed.lock();
        let mut known = map.known();
        if !known.is_listed {
            known.is_listed = true;
            // What was there, which is nothing, is dropped with the locks gone.
            node = node.and_then(|node| listed.maps.insert(node));
        }
        drop(known);
        drop(listed);
        drop(node);
        Ok(())
    }

    /// Takes the map out of the list, if `is_done` says so.
    fn unlist(&self, map: &ExtentMap, is_done: impl FnOnce(&Known) -> bool) {
        let mut node = None;
        let mut listed = self.listed.lock();
        let mut known = map.known();
        if known.is_listed && is_done(&known) {
            known.is_listed = false;
            node = listed.maps.remove_node(&map.ino().get());
        }
        drop(known);
        drop(listed);
        drop(node);
    }

    /// Forgets a map whose inode is being evicted, and returns how many blocks were reserved.
    pub(super) fn evict(&self, map: &ExtentMap) -> Blocks {
        self.unlist(map, |_| true);
        let cleared = map.clear();
        self.count(cleared.records, 0);
        cleared.reserved
    }

    /// Where there were `before` records, there are `after`.
    pub(super) fn count(&self, before: usize, after: usize) {
        let more = signed(after).saturating_sub(signed(before));
        if more != 0 {
            self.records.add(more, Relaxed);
        }
    }

    /// The map that the hand is at, and where in it. The hand goes on to the next map.
    fn next(&self) -> Option<(Arc<ExtentMap>, Lblk)> {
        let mut listed = self.listed.lock();
        let (from, lblk) = (listed.ino, listed.lblk);
        let at = listed.maps.cursor_lower_bound(&from);
        let cursor = at.or_else(|| listed.maps.cursor_front())?;
        let (ino, map) = cursor.current();
        let (ino, map) = (*ino, map.clone());
        (listed.ino, listed.lblk) = (ino.saturating_add(1), Lblk(0));
        Some((map, if ino == from { lblk } else { Lblk(0) }))
    }

    /// Sets the hand back.
    fn set_hand(&self, map: &ExtentMap, lblk: Lblk) {
        let mut listed = self.listed.lock();
        (listed.ino, listed.lblk) = (map.ino().get(), lblk);
    }
}

impl shrinker::Operations for Maps {
    fn count_objects(&self) -> usize {
        usize::try_from(self.records.load(Relaxed)).unwrap_or(0)
    }

    fn scan_objects(&self, nr_to_scan: usize) -> Scanned {
        let mut done = Scanned::default();
        while done.scanned < nr_to_scan {
            let Some((map, mut lblk)) = self.next() else {
                break;
            };
            loop {
                let progress = map.sweep(lblk);
                self.count(progress.freed, 0);
                done.freed = done.freed.saturating_add(progress.freed);
                // To look at a map that knows nothing is work, too, so that this comes to an end.
                done.scanned = done.scanned.saturating_add(progress.scanned.max(1));
                let Some(next) = progress.next else {
                    self.unlist(&map, Known::is_empty);
                    break;
                };
                if done.scanned >= nr_to_scan {
                    self.set_hand(&map, next);
                    break;
                }
                lblk = next;
            }
        }
        done
    }
}

fn signed(records: usize) -> i64 {
    i64::try_from(records).unwrap_or(i64::MAX)
}
