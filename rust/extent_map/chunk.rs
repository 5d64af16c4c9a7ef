// SPDX-License-Identifier: GPL-2.0

//! Runs of records.

use super::{
    Mapping,
    Record, //
};
use crate::ondisk::{
    Lblk,
    LblkRange, //
};
use core::{
    cell::Cell,
    ops::Deref, //
};

/// Records in a chunk, at most: two KiB of them. What is told of a leaf of 340 extents, with holes
/// between or without, fills chunks of this size well.
pub const MAX_RECORDS: usize = 128;

/// Records without a gap between them, which come and go together. `R` holds them.
///
/// # Invariants
///
/// There are some. Each begins where the one before it ends.
pub struct Chunk<R> {
    records: R,
    /// Whether somebody looked something up in it since it was last swept over.
    used: Cell<bool>,
}

impl<R: Deref<Target = [Record]>> Chunk<R> {
    /// The chunk of some records of a [`cover`](super::cover) that follow each other. They count as
    /// used, as they are read because somebody wants them.
    pub fn new(records: R) -> Self {
        Self {
            records,
            used: Cell::new(true),
        }
    }

    /// How many records it has.
    #[allow(clippy::len_without_is_empty, reason = "a chunk is never empty")]
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// The blocks of the file that it tells of.
    pub fn lblks(&self) -> LblkRange {
        let start = self.records.first().map(Record::start);
        let end = self
            .records
            .last()
            .map(|record| record.mapping().lblks().end);
        LblkRange {
            start: start.unwrap_or(Lblk::END),
            end: end.unwrap_or(Lblk::END),
        }
    }

    /// What it tells of block `lblk`.
    pub(super) fn find(&self, lblk: Lblk) -> Option<Mapping> {
        let after = self
            .records
            .partition_point(|record| record.start() <= lblk);
        let mapping = self.records.get(after.checked_sub(1)?)?.mapping();
        if !mapping.lblks().contains(lblk) {
            return None;
        }
        // Others look as well, and a line of the cache that nobody writes to is in all of them.
        if !self.used.get() {
            self.used.set(true);
        }
        Some(mapping)
    }

    /// What the first record tells.
    pub(super) fn first(&self) -> Option<Mapping> {
        self.records.first().map(Record::mapping)
    }

    /// Whether it may be forgotten now. If only its use is in the way, it may next time.
    pub(super) fn is_idle(&self) -> bool {
        !self.used.take()
            && self
                .records
                .iter()
                .all(|record| record.mapping().is_in_tree())
    }
}
