// SPDX-License-Identifier: GPL-2.0

//! Runs of records.

use super::{
    Mapping,
    Record, //
};
use crate::ondisk::{
    Blocks,
    Lblk,
    LblkRange, //
};
use core::{
    cell::Cell,
    ops::{
        DerefMut,
        Range, //
    },
};

/// Records in a chunk, at most: two KiB of them. What is told of a leaf of 340 extents, with holes
/// between or without, fills chunks of this size well.
pub const MAX_RECORDS: usize = 128;

/// Records of a chunk that is so small that the one before it takes it in, at most.
const FEW: usize = 8;

/// What holds the records of a chunk, and never allocates.
pub trait Records: DerefMut<Target = [Record]> {
    /// How many there is room for.
    fn capacity(&self) -> usize;

    /// Adds one behind the others, if there is room.
    fn push(&mut self, record: Record) -> Option<()>;

    /// Leaves the first `len` of them.
    fn truncate(&mut self, len: usize);
}

/// Records without a gap between them, which come and go together. `R` holds them.
///
/// # Invariants
///
/// There are some. Each begins where the one before it ends.
pub struct Chunk<R> {
    records: R,
    /// Whether somebody looked something up in it, or changed it, since it was last swept over.
    used: Cell<bool>,
}

/// How a part of a chunk is replaced.
pub(super) struct Plan {
    /// The records that go.
    at: Range<usize>,
    /// What comes: what stays before it, the new mapping and what stays behind it, where they do not
    /// go on in each other.
    with: [Option<Mapping>; 3],
    /// How many of the blocks were reserved.
    pub(super) reserved: Blocks,
    /// How many records there are then.
    pub(super) len: usize,
}

/// The records of a small chunk.
pub(super) struct Few {
    records: [Record; FEW],
    len: usize,
}

impl Few {
    fn get(&self) -> &[Record] {
        // BOUNDS: `FEW` at most.
        self.records.get(..self.len).unwrap_or_default()
    }
}

impl<R: Records> Chunk<R> {
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

    /// What its records tell, in order.
    pub fn mappings(&self) -> impl Iterator<Item = Mapping> + '_ {
        self.records.iter().map(Record::mapping)
    }

    /// How many blocks it says are reserved.
    pub fn reserved(&self) -> Blocks {
        let reserved = |mapping: Mapping| mapping.reserved(mapping.lblks()).0;
        Blocks(self.mappings().map(reserved).sum())
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
        let mapping = self.mapping(self.index(lblk)?)?;
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
        self.mapping(0)
    }

    /// The first blocks in `range` that it says are reserved.
    pub(super) fn first_reserved(&self, range: LblkRange) -> Option<LblkRange> {
        let from = self.index(range.start).unwrap_or(0);
        let mut mappings = self.records.get(from..)?.iter().map(Record::mapping);
        mappings.find_map(|mapping| match mapping.clip(range) {
            Some(Mapping::Reserved(lblks)) => Some(lblks),
            _ => None,
        })
    }

    /// Whether it may be forgotten now. If only its use is in the way, it may next time.
    pub(super) fn is_idle(&self) -> bool {
        !self.used.take() && self.mappings().all(Mapping::is_in_tree)
    }

    /// How many records there is room for.
    pub(super) fn capacity(&self) -> usize {
        self.records.capacity().min(MAX_RECORDS)
    }

    /// How what it tells of the blocks of `new`, all of which it tells of, is replaced by that.
    pub(super) fn plan(&self, new: Mapping) -> Option<Plan> {
        let lblks = new.lblks();
        let mut start = self.index(lblks.start)?;
        let mut end = self
            .records
            .partition_point(|record| record.start() < lblks.end);
        let old = self.records.get(start..end)?.iter();
        let reserved = old.map(|record| record.mapping().reserved(lblks).0).sum();
        // What goes on in it may be what is left of a record, or the whole one beside it.
        let mut before = self.mapping(start)?.clip(LblkRange {
            start: Lblk(0),
            end: lblks.start,
        });
        if let (None, Some(beside)) = (before, start.checked_sub(1)) {
            before = self.mapping(beside);
            start = beside;
        }
        let mut behind = self.mapping(end.checked_sub(1)?)?.clip(LblkRange {
            start: lblks.end,
            end: Lblk::END,
        });
        if let (None, Some(beside)) = (behind, self.mapping(end)) {
            behind = Some(beside);
            end = end.checked_add(1)?;
        }
        let mut middle = new;
        if let Some(joined) = before.and_then(|before| before.join(middle)) {
            (before, middle) = (None, joined);
        }
        if let Some(joined) = behind.and_then(|behind| middle.join(behind)) {
            (behind, middle) = (None, joined);
        }
        let with = [before, Some(middle), behind];
        let come = with.iter().flatten().count();
        let stay = self.len().checked_sub(end.checked_sub(start)?)?;
        Some(Plan {
            at: start..end,
            with,
            reserved: Blocks(reserved),
            len: stay.checked_add(come)?,
        })
    }

    /// Does as planned, unless there is no room for so many records.
    pub(super) fn apply(&mut self, plan: &Plan) -> Option<()> {
        let (old, new) = (self.len(), plan.len);
        if new > self.capacity() {
            return None;
        }
        let behind = old.checked_sub(plan.at.end)?;
        let behind_at = new.checked_sub(behind)?;
        let any = *self.records.first()?;
        for _ in old..new {
            self.records.push(any)?;
        }
        // INVARIANT: Until this ends, there may be records that lie over each other.
        self.records.copy_within(plan.at.end..old, behind_at);
        self.records.truncate(new);
        let come = self.records.get_mut(plan.at.start..behind_at)?;
        for (record, mapping) in come.iter_mut().zip(plan.with.iter().flatten()) {
            *record = Record::from(*mapping);
        }
        self.used.set(true);
        Some(())
    }

    /// Exchanges what holds the records for something empty with more room, or for what has as much
    /// room as it needs.
    pub(super) fn exchange(&mut self, empty: &mut R) -> Option<()> {
        for record in self.records.iter() {
            empty.push(*record)?;
        }
        core::mem::swap(&mut self.records, empty);
        empty.truncate(0);
        Some(())
    }

    /// Splits off the second half, to something empty that has room for it.
    pub(super) fn split_off(&mut self, mut empty: R) -> Option<Self> {
        let half = self.len().div_ceil(2);
        for record in self.records.get(half..)? {
            empty.push(*record)?;
        }
        self.records.truncate(half);
        Some(Self::new(empty))
    }

    /// Forgets what it tells of the blocks from `at` on, as long as it tells of some before, and returns how many
    /// of them were reserved.
    pub(super) fn cut(&mut self, at: Lblk) -> Option<Blocks> {
        let behind = LblkRange::all_from(at);
        let kept = self.records.partition_point(|record| record.start() < at);
        let last = kept.checked_sub(1)?;
        let cut = self.mapping(last)?.clip(LblkRange {
            start: Lblk(0),
            end: at,
        })?;
        let gone = self.records.get(last..)?.iter();
        let reserved = gone.map(|record| record.mapping().reserved(behind).0).sum();
        self.records.truncate(kept);
        *self.records.get_mut(last)? = cut.into();
        Some(Blocks(reserved))
    }

    /// Its records, if it is small.
    pub(super) fn few(&self) -> Option<Few> {
        let mut records = [*self.records.first()?; FEW];
        records
            .get_mut(..self.len())?
            .copy_from_slice(&self.records);
        Some(Few {
            records,
            len: self.len(),
        })
    }

    /// Takes in some records that begin where its own end, if there is room, and says whether one of
    /// its own goes on in them.
    pub(super) fn append(&mut self, few: &Few) -> Option<bool> {
        let (first, rest) = few.get().split_first()?;
        let last = self.len().checked_sub(1)?;
        let joined = self.mapping(last)?.join(first.mapping());
        let len = self.len().checked_add(few.len)?;
        if len.checked_sub(joined.is_some().into())? > self.capacity() {
            return None;
        }
        match joined {
            Some(joined) => *self.records.get_mut(last)? = joined.into(),
            None => self.records.push(*first)?,
        }
        for record in rest {
            self.records.push(*record)?;
        }
        self.used.set(true);
        Some(joined.is_some())
    }

    /// The last record that begins at or before `lblk`.
    fn index(&self, lblk: Lblk) -> Option<usize> {
        let behind = self
            .records
            .partition_point(|record| record.start() <= lblk);
        behind.checked_sub(1)
    }

    fn mapping(&self, index: usize) -> Option<Mapping> {
        self.records.get(index).map(Record::mapping)
    }
}
