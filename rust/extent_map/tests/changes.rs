// SPDX-License-Identifier: GPL-2.0

//! A map that is changed, beside the file that it is of, a block at a time, with as little memory as
//! it can do with.

mod common;

use common::{
    extent,
    range,
    Chunks,
    Memory,
    Numbers, //
};
use extent_map::{
    cover,
    forget,
    gap,
    lookup,
    release,
    reserve,
    set,
    sweep,
    Change,
    Chunk,
    Directory,
    Error,
    Extent,
    Mapping,
    Record,
    Spare,
    State,
    MAX_RECORDS, //
};
use ondisk::{
    Blocks,
    Lblk,
    LblkRange, //
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Block {
    Hole,
    Reserved,
    At(u64, State),
}

impl Block {
    fn of(mapping: Mapping, lblk: u32) -> Self {
        match mapping {
            Mapping::Hole(_) => Self::Hole,
            Mapping::Reserved(_) => Self::Reserved,
            Mapping::Extent(extent) => Self::At(extent.pblk(Lblk(lblk)).unwrap().0, extent.state()),
        }
    }
}

/// What there is of memory for spares.
enum Supply {
    /// So many spares, with room for as many records as there can be.
    Full(usize),
    /// Just what is asked for, and in so many of 8 cases nothing.
    Exact { missing: u32 },
}

impl Supply {
    fn get(&mut self, numbers: &mut Numbers, capacity: usize) -> Option<Spare<(), Memory>> {
        let room = match self {
            Self::Full(left) => {
                *left = left.checked_sub(1)?;
                MAX_RECORDS
            }
            Self::Exact { missing } if numbers.below(8) < *missing => return None,
            Self::Exact { .. } => capacity,
        };
        Some(Spare {
            node: (),
            records: Memory::new(room),
        })
    }
}

/// A file and its map.
struct File {
    chunks: Chunks,
    blocks: Vec<Block>,
    is_known: Vec<bool>,
    /// Records, as changes counted them.
    records: usize,
    /// Of each chunk that is learnt, at most.
    most: usize,
    hand: Lblk,
}

impl File {
    fn new(len: u32, most: usize) -> Self {
        Self {
            chunks: Chunks::default(),
            blocks: vec![Block::Hole; len as usize],
            is_known: vec![false; len as usize],
            records: 0,
            most,
            hand: Lblk(0),
        }
    }

    fn blocks(&self, lblks: LblkRange) -> &[Block] {
        &self.blocks[lblks.start.0 as usize..lblks.end.0 as usize]
    }

    fn random_range(&self, numbers: &mut Numbers) -> LblkRange {
        let len = self.blocks.len() as u32;
        let longest = [1, 2, 5, 40, len][numbers.below(5) as usize];
        let start = numbers.below(len);
        range(start, len.min(start + 1 + numbers.below(longest)))
    }

    /// What the tree on the disk has of some blocks.
    fn tree(&self, within: LblkRange) -> Vec<Extent> {
        (within.start.0..within.end.0)
            .filter_map(|lblk| match self.blocks[lblk as usize] {
                Block::At(pblk, state) => Some(extent(lblk, lblk + 1, pblk, state)),
                _ => None,
            })
            .collect()
    }

    fn learn(&mut self, lblk: u32) {
        let leaf = range(lblk / 500 * 500, self.blocks.len() as u32);
        let gap = gap(&self.chunks, Lblk(lblk), leaf);
        let records: Vec<Record> = cover(gap, self.tree(gap).into_iter())
            .map(Record::from)
            .collect();
        self.records += records.len();
        for records in records.chunks(self.most) {
            let chunk = Chunk::new(records.iter().copied().collect());
            self.chunks.insert(chunk, ());
        }
        self.is_known[gap.start.0 as usize..gap.end.0 as usize].fill(true);
    }

    fn shrink(&mut self, count: u32) {
        for _ in 0..count {
            let Some(swept) = sweep(&mut self.chunks, self.hand) else {
                self.hand = Lblk(0);
                return;
            };
            if let Some(chunk) = swept.removed {
                let lblks = chunk.lblks();
                assert!(!self.blocks(lblks).contains(&Block::Reserved));
                self.is_known[lblks.start.0 as usize..lblks.end.0 as usize].fill(false);
                self.records -= chunk.len();
            }
            self.hand = swept.next;
        }
    }

    fn count(&mut self, change: &Change<Chunk<Memory>>) {
        self.records = self.records + change.after - change.before;
    }

    /// Does a step, with a spare if it wants one and there is one, and says whether it was done.
    fn step<T>(
        &mut self,
        numbers: &mut Numbers,
        supply: &mut Supply,
        mut step: impl FnMut(&mut Chunks, &mut Option<Spare<(), Memory>>) -> Result<T, Error>,
    ) -> Option<T> {
        let mut spare = None;
        loop {
            let before = dump(&self.chunks);
            match step(&mut self.chunks, &mut spare) {
                Ok(done) => return Some(done),
                Err(Error::NoSpare { capacity }) => {
                    assert!(capacity <= MAX_RECORDS && spare.is_none());
                    assert!(dump(&self.chunks) == before);
                    spare = Some(supply.get(numbers, capacity)?);
                }
                Err(Error::Inconsistent) => panic!("inconsistent"),
            }
        }
    }

    fn set(&mut self, new: Mapping, numbers: &mut Numbers, supply: &mut Supply) -> bool {
        let mut rest = Some(new);
        while let Some(now) = rest {
            let Some(change) = self.step(numbers, supply, |chunks, spare| set(chunks, now, spare))
            else {
                return false;
            };
            assert!(change.next > now.lblks().start && change.next <= now.lblks().end);
            assert!(change.is_change);
            self.count(&change);
            let done = range(now.lblks().start.0, change.next.0);
            let is_known = self.is_known[done.start.0 as usize];
            let reserved = self.blocks(done).iter().filter(|b| **b == Block::Reserved);
            assert_eq!(change.reserved, Blocks(reserved.count() as u64));
            for lblk in done.start.0..done.end.0 {
                assert_eq!(self.is_known[lblk as usize], is_known);
                self.blocks[lblk as usize] = Block::of(new, lblk);
            }
            rest = now.clip(range(change.next.0, u32::MAX));
            self.check();
        }
        true
    }

    fn reserve(&mut self, lblks: LblkRange, numbers: &mut Numbers, supply: &mut Supply) {
        let first = lblks.start.0 as usize;
        let step = self.step(numbers, supply, |chunks, spare| {
            reserve(chunks, lblks, spare)
        });
        let Some(change) = step else {
            return;
        };
        assert_eq!(change.is_some(), self.is_known[first]);
        let Some(change) = change else {
            return;
        };
        self.count(&change);
        assert_eq!(change.reserved, Blocks(0));
        assert_eq!(change.next > lblks.start, self.blocks[first] == Block::Hole);
        assert_eq!(change.next > lblks.start, change.is_change);
        for lblk in lblks.start.0..change.next.0 {
            assert!(self.is_known[lblk as usize] && self.blocks[lblk as usize] == Block::Hole);
            self.blocks[lblk as usize] = Block::Reserved;
        }
        self.check();
    }

    fn release(&mut self, lblks: LblkRange, numbers: &mut Numbers, supply: &mut Supply) -> bool {
        let mut rest = lblks;
        while !rest.is_empty() {
            let step = self.step(numbers, supply, |chunks, spare| {
                release(chunks, rest, spare)
            });
            let Some(change) = step else {
                return false;
            };
            let Some(change) = change else {
                break;
            };
            assert!(change.next > rest.start);
            self.count(&change);
            let mut released = 0;
            for lblk in rest.start.0..change.next.0.min(rest.end.0) {
                if self.blocks[lblk as usize] == Block::Reserved {
                    self.blocks[lblk as usize] = Block::Hole;
                    released += 1;
                }
            }
            assert_eq!(change.reserved, Blocks(released));
            assert_eq!(change.is_change, released > 0);
            rest.start = change.next;
            self.check();
        }
        assert!(!self.blocks(lblks).contains(&Block::Reserved));
        true
    }

    fn forget(&mut self, from: Lblk) {
        while let Some(change) = forget(&mut self.chunks, from).unwrap() {
            assert!(change.is_change && change.next > from);
            self.count(&change);
            let mut reserved = 0;
            for lblk in from.0..change.next.0 {
                if std::mem::take(&mut self.is_known[lblk as usize])
                    && self.blocks[lblk as usize] == Block::Reserved
                {
                    // The disk does not know of these.
                    self.blocks[lblk as usize] = Block::Hole;
                    reserved += 1;
                }
            }
            assert_eq!(change.reserved, Blocks(reserved));
            self.check();
        }
        assert!(self.is_known[from.0 as usize..]
            .iter()
            .all(|is_known| !is_known));
    }

    /// That the map says of every block what the file does, or nothing, and is as it has to be.
    fn check(&self) {
        let mut told = vec![None; self.blocks.len()];
        let mut records = 0;
        for (start, chunk) in &self.chunks.0 {
            let lblks = chunk.lblks();
            assert_eq!(lblks.start, Lblk(*start));
            assert!((1..=MAX_RECORDS).contains(&chunk.len()));
            records += chunk.len();
            let mut next = lblks.start;
            for mapping in chunk.mappings() {
                assert!(mapping.lblks().start == next && !mapping.lblks().is_empty());
                next = mapping.lblks().end;
                for lblk in mapping.lblks().start.0..next.0 {
                    let place = &mut told[lblk as usize];
                    assert_eq!(place.replace(Block::of(mapping, lblk)), None);
                }
            }
            assert_eq!(next, lblks.end);
            let all: Vec<Mapping> = chunk.mappings().collect();
            for (lblk, pair) in all
                .iter()
                .map(|mapping| mapping.lblks().end.0)
                .zip(all.windows(2))
            {
                assert!(!self.goes_on(lblk), "{pair:?} is one");
            }
        }
        assert_eq!(records, self.records);
        for (lblk, told) in told.into_iter().enumerate() {
            let known = self.is_known[lblk].then(|| self.blocks[lblk]);
            assert_eq!(told, known, "block {lblk}");
        }
    }

    /// Whether block `lblk` goes on where the one before it ends.
    fn goes_on(&self, lblk: u32) -> bool {
        match (self.blocks[lblk as usize - 1], self.blocks[lblk as usize]) {
            (Block::At(before, state), Block::At(here, also)) => {
                before + 1 == here && state == also
            }
            (before, here) => before == here,
        }
    }

    /// Now and then, where a chunk behind `lblk` begins, or would if one were split.
    fn border(&self, numbers: &mut Numbers, lblk: Lblk) -> Option<u32> {
        let (_, chunk) = self.chunks.0.range(lblk.0..).next()?;
        let n = match numbers.below(3) {
            0 => 0,
            1 => chunk.len().div_ceil(2),
            _ => return None,
        };
        let mapping = chunk.mappings().nth(n)?;
        Some(mapping.lblks().start.0)
    }

    /// What the file may become somewhere.
    fn random_mapping(&self, numbers: &mut Numbers) -> Mapping {
        let lblks = self.random_range(numbers);
        let state = match numbers.below(2) {
            0 => State::Written,
            _ => State::Unwritten,
        };
        // As often as not, at the place where it goes on in what is beside it.
        let pblk = 10_000 + u64::from(lblks.start.0) + u64::from(numbers.below(2));
        match numbers.below(4) {
            0 => Mapping::Hole(lblks),
            _ => Mapping::Extent(extent(lblks.start.0, lblks.end.0, pblk, state)),
        }
    }
}

fn dump(chunks: &Chunks) -> Vec<Vec<Mapping>> {
    let mappings = |chunk: &Chunk<Memory>| chunk.mappings().collect();
    chunks.0.values().map(mappings).collect()
}

fn some_file(numbers: &mut Numbers) -> File {
    let most = [1, 3, 20, MAX_RECORDS][numbers.below(4) as usize];
    let len = [20, 300, 1500][numbers.below(3) as usize];
    File::new(1 + numbers.below(len), most)
}

#[test]
fn a_changed_map_says_what_the_file_is() {
    for seed in 0..300 {
        let mut numbers = Numbers(seed);
        let mut file = some_file(&mut numbers);
        let mut supply = Supply::Exact {
            missing: numbers.below(3),
        };
        for _ in 0..400 {
            let lblks = file.random_range(&mut numbers);
            match numbers.below(16) {
                0 if numbers.below(4) == 0 => file.forget(lblks.start),
                0 => {
                    let count = numbers.below(12);
                    file.shrink(count);
                }
                1..=4 => {
                    if lookup(&file.chunks, lblks.start).is_none() {
                        file.learn(lblks.start.0);
                    }
                }
                5..=8 => file.reserve(lblks, &mut numbers, &mut supply),
                9 => {
                    file.release(lblks, &mut numbers, &mut supply);
                }
                _ => {
                    let new = file.random_mapping(&mut numbers);
                    file.set(new, &mut numbers, &mut supply);
                }
            }
            file.check();
        }
    }
}

/// A file all of which is known, in pieces of two blocks.
fn in_pieces(numbers: &mut Numbers) -> File {
    let mut file = some_file(numbers);
    file.blocks.push(Block::Hole);
    file.is_known.push(false);
    for (lblk, block) in file.blocks.iter_mut().enumerate() {
        *block = match lblk % 4 {
            0 | 1 => Block::Hole,
            _ => Block::At(lblk as u64, State::Written),
        };
    }
    let are_reserved = numbers.below(2) == 0;
    for lblk in 0..file.blocks.len() as u32 {
        if !file.is_known[lblk as usize] {
            file.learn(lblk);
        }
        if are_reserved && numbers.below(8) == 0 {
            let mut supply = Supply::Exact { missing: 0 };
            file.reserve(range(lblk, lblk + 1), numbers, &mut supply);
        }
    }
    file
}

#[test]
fn two_spares_are_enough_for_any_change() {
    let mut used = 0;
    for seed in 0..200 {
        let mut numbers = Numbers(seed);
        let mut file = in_pieces(&mut numbers);
        for _ in 0..40 {
            let mut supply = Supply::Full(2);
            let done = if numbers.below(4) == 0 {
                let lblks = file.random_range(&mut numbers);
                file.release(lblks, &mut numbers, &mut supply)
            } else {
                let mut new = file.random_mapping(&mut numbers);
                if let Some(border @ 1..) = file.border(&mut numbers, new.lblks().start) {
                    let start = border - numbers.below(2);
                    new = Mapping::Extent(extent(start, border + 1, 5, State::Unwritten));
                }
                file.set(new, &mut numbers, &mut supply)
            };
            assert!(done, "seed {seed}");
            if let Supply::Full(left) = supply {
                used = used.max(2 - left);
            }
        }
    }
    assert_eq!(used, 2);
}

#[test]
fn whole_chunks_are_changed_without_memory() {
    for seed in 0..50 {
        let mut numbers = Numbers(seed);
        let mut file = in_pieces(&mut numbers);
        let all = range(0, file.blocks.len() as u32);
        let done = file.set(Mapping::Hole(all), &mut numbers, &mut Supply::Full(0));
        assert!(done);
        // And what became of them is one.
        assert_eq!(dump(&file.chunks), [[Mapping::Hole(all)]]);
    }
}

#[test]
fn what_is_reserved_is_not_forgotten() {
    let mut file = File::new(30, 1);
    let mut numbers = Numbers(0);
    let mut supply = Supply::Exact { missing: 0 };
    file.blocks[10] = Block::At(7, State::Written);
    for lblk in [0, 10, 11] {
        if !file.is_known[lblk as usize] {
            file.learn(lblk);
        }
    }
    file.reserve(range(4, 6), &mut numbers, &mut supply);
    file.shrink(100);
    file.shrink(100);
    assert_eq!(
        lookup(&file.chunks, Lblk(5)),
        Some(Mapping::Reserved(range(4, 6)))
    );
    assert_eq!(lookup(&file.chunks, Lblk(11)), None);
    // What is read again lies around it.
    file.learn(20);
    file.check();
    assert!(file.release(range(5, 30), &mut numbers, &mut supply));
    assert!(file.release(range(0, 30), &mut numbers, &mut supply));
    file.shrink(100);
    file.shrink(100);
    assert!(file.chunks.0.is_empty());
}

#[test]
fn a_small_file_stays_small() {
    let mut file = File::new(1000, MAX_RECORDS);
    let mut numbers = Numbers(0);
    let mut supply = Supply::Exact { missing: 0 };
    file.learn(0);
    for lblk in 0..1000 {
        let here = range(lblk, lblk + 1);
        file.reserve(here, &mut numbers, &mut supply);
        let pblk = u64::from(500 + lblk);
        let unwritten = extent(lblk, lblk + 1, pblk, State::Unwritten);
        assert!(file.set(Mapping::Extent(unwritten), &mut numbers, &mut supply));
        let written = extent(lblk, lblk + 1, pblk, State::Written);
        assert!(file.set(Mapping::Extent(written), &mut numbers, &mut supply));
        assert!(file.records <= 2);
    }
    let all = Mapping::Extent(extent(0, 1000, 500, State::Written));
    assert_eq!(dump(&file.chunks), [[all]]);
}
