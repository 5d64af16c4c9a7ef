// SPDX-License-Identifier: GPL-2.0

//! What the tests of the map have in common: numbers, and a directory.

use extent_map::{
    Chunk,
    Directory,
    Extent,
    Record,
    Records,
    State, //
};
use ondisk::{
    Lblk,
    LblkRange,
    Pblk, //
};
use std::{
    collections::BTreeMap,
    ops::{
        Deref,
        DerefMut, //
    },
};

/// A small generator: SplitMix64.
pub struct Numbers(pub u64);

impl Numbers {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, limit: u32) -> u32 {
        (self.next() % u64::from(limit)) as u32
    }
}

/// Records, and never more of them than it was made for.
#[derive(Clone)]
pub struct Memory {
    records: Vec<Record>,
    capacity: usize,
}

impl Memory {
    pub fn new(capacity: usize) -> Self {
        Self {
            records: Vec::new(),
            capacity,
        }
    }
}

impl FromIterator<Record> for Memory {
    fn from_iter<I: IntoIterator<Item = Record>>(records: I) -> Self {
        let records = Vec::from_iter(records);
        let capacity = records.len();
        Self {
            records,
            ..Self::new(capacity)
        }
    }
}

impl Deref for Memory {
    type Target = [Record];

    fn deref(&self) -> &[Record] {
        &self.records
    }
}

impl DerefMut for Memory {
    fn deref_mut(&mut self) -> &mut [Record] {
        &mut self.records
    }
}

impl Records for Memory {
    fn capacity(&self) -> usize {
        self.capacity
    }

    fn push(&mut self, record: Record) -> Option<()> {
        (self.records.len() < self.capacity).then(|| self.records.push(record))
    }

    fn truncate(&mut self, len: usize) {
        self.records.truncate(len);
    }
}

#[derive(Default)]
pub struct Chunks(pub BTreeMap<u32, Chunk<Memory>>);

impl Directory for Chunks {
    type Records = Memory;
    type Node = ();
    type Removed = Chunk<Memory>;

    fn at_or_before<T>(&self, lblk: Lblk, look: impl FnOnce(&Chunk<Memory>) -> T) -> Option<T> {
        self.0
            .range(..=lblk.0)
            .next_back()
            .map(|(_, chunk)| look(chunk))
    }

    fn at_or_behind<T>(&self, lblk: Lblk, look: impl FnOnce(&Chunk<Memory>) -> T) -> Option<T> {
        self.0.range(lblk.0..).next().map(|(_, chunk)| look(chunk))
    }

    fn change<T>(&mut self, lblk: Lblk, change: impl FnOnce(&mut Chunk<Memory>) -> T) -> Option<T> {
        self.0.get_mut(&lblk.0).map(change)
    }

    fn insert(&mut self, chunk: Chunk<Memory>, _: ()) {
        assert!(self.0.insert(chunk.lblks().start.0, chunk).is_none());
    }

    fn remove(&mut self, lblk: Lblk) -> Option<Chunk<Memory>> {
        self.0.remove(&lblk.0)
    }
}

pub fn range(start: u32, end: u32) -> LblkRange {
    LblkRange {
        start: Lblk(start),
        end: Lblk(end),
    }
}

pub fn extent(start: u32, end: u32, pblk: u64, state: State) -> Extent {
    Extent::new(range(start, end), Pblk(pblk), state).unwrap()
}
