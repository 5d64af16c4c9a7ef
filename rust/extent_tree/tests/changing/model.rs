// SPDX-License-Identifier: GPL-2.0

//! Random changes of a tree, and of a map with an entry for each block.

use crate::{
    extent,
    range,
    store::{
        volume,
        Store, //
    },
    ALL,
    UNWRITTEN,
    WRITTEN, //
};
use damage::Numbers;
use extent_tree::{
    Cost,
    Error, //
};
use ondisk::{
    extent::State,
    Blocks,
    Lblk,
    LblkRange,
    Pblk,
    Shift, //
};
use std::collections::BTreeMap;

/// The first block that nodes get.
const NODES: u64 = 1000;
/// Where the blocks of the file would be if it were in one piece: behind what 32 bits can tell.
const HOME: u64 = 1 << 33;

struct File {
    store: Store,
    model: BTreeMap<u32, (u64, State)>,
    /// Blocks that the file can have.
    len: u32,
    numbers: Numbers,
    deepest: u16,
}

impl File {
    fn new(seed: u64, len: u32) -> Self {
        Self {
            store: Store::new(&volume(seed % 4 != 0), NODES),
            model: BTreeMap::new(),
            len,
            numbers: Numbers(seed),
            deepest: 0,
        }
    }

    fn below(&mut self, limit: u32) -> u32 {
        self.numbers.below(limit as usize) as u32
    }

    fn range(&mut self, longest: u32) -> LblkRange {
        let start = self.below(self.len);
        let len = 1 + self.below(longest);
        range(start, (start + len).min(self.len))
    }

    /// That the tree is in order and says what the model says, and that the last step touched no more
    /// than it may.
    fn check(&mut self, cost: Cost, nodes: usize) {
        self.check_but_for(None, cost, nodes);
    }

    /// The same, where extents may meet before one block and not be one.
    fn check_but_for(&mut self, seam: Option<Lblk>, cost: Cost, nodes: usize) {
        let leaves = self.store.leaves();
        let blocks = leaves.iter().flatten().flat_map(|extent| {
            let lblks = extent.lblks();
            (lblks.start.0..lblks.end.0)
                .map(|lblk| (lblk, (extent.pblk(Lblk(lblk)).unwrap().0, extent.state())))
        });
        assert!(blocks.eq(self.model.iter().map(|(lblk, block)| (*lblk, *block))));
        // What can be one extent is one, as none here is too long.
        for leaf in &leaves {
            for pair in leaf.windows(2) {
                assert!(
                    pair[0].lblks().end != pair[1].lblks().start
                        || Some(pair[1].lblks().start) == seam
                        || pair[0].pblks().end != pair[1].start()
                        || pair[0].state() != pair[1].state(),
                    "{pair:?}"
                );
            }
        }

        let calls = &self.store.calls;
        assert!(
            calls.changed <= cost.changed
                && calls.created <= cost.created
                && calls.freed <= cost.freed,
            "{calls:?}, {cost:?}"
        );
        assert_eq!(
            self.store.blocks.len() + usize::from(calls.freed),
            nodes + usize::from(calls.created)
        );
        self.deepest = self.deepest.max(self.store.depth());
    }

    fn insert(&mut self, longest: u32) {
        let lblks = self.range(longest);
        let start = lblks.start.0;
        let next = self.model.range(start..).next().map(|(lblk, _)| *lblk);
        let end = next.map_or(lblks.end.0, |next| next.min(lblks.end.0));
        let pblk = match self.numbers.below(2) {
            0 => HOME + u64::from(start),
            _ => 1 + self.numbers.next() % HOME,
        };
        let state = self.numbers.pick(&[WRITTEN, UNWRITTEN]);
        let (cost, nodes) = (Cost::change(self.store.depth()), self.store.blocks.len());
        if end < lblks.end.0 {
            // Some of it is no hole.
            let before = self.store.contents();
            let whole = extent(&self.store.volume, start, lblks.end.0, pblk, state);
            let refused = self.store.step(|tree| tree.insert(whole));
            assert_eq!(refused, Err(Error::Occupied));
            assert!(self.store.contents() == before);
        }
        if end > start {
            let part = extent(&self.store.volume, start, end, pblk, state);
            self.store.step(|tree| tree.insert(part)).unwrap();
            for lblk in start..end {
                let block = (pblk + u64::from(lblk - start), state);
                assert_eq!(self.model.insert(lblk, block), None);
            }
            self.check(cost, nodes);
        }
    }

    fn convert(&mut self, longest: u32) {
        let mut lblks = self.range(longest);
        let state = self.numbers.pick(&[WRITTEN, UNWRITTEN]);
        while lblks.start < lblks.end {
            let (cost, nodes) = (Cost::change(self.store.depth()), self.store.blocks.len());
            let done = self.store.step(|tree| tree.convert(lblks, state)).unwrap();
            assert!(lblks.start < done.next && done.next <= lblks.end);
            let mut converted = BTreeMap::new();
            for (lblk, block) in self.model.range_mut(lblks.start.0..done.next.0) {
                if block.1 != state {
                    block.1 = state;
                    converted.insert(*lblk, *block);
                }
            }
            let told = done.extent.into_iter().flat_map(|extent| {
                let lblks = extent.lblks();
                (lblks.start.0..lblks.end.0).map(move |lblk| {
                    let pblk = extent.pblk(Lblk(lblk)).unwrap().0;
                    (lblk, (pblk, extent.state()))
                })
            });
            assert!(told.eq(converted));
            self.check(cost, nodes);
            lblks.start = done.next;
        }
    }

    /// The blocks from `from` on move, in the model.
    fn move_blocks(&mut self, from: LblkRange, shift: Shift) {
        let moved: Vec<_> = (self.model)
            .range(from.start.0..from.end.0)
            .map(|(lblk, block)| (*lblk, *block))
            .collect();
        for (lblk, _) in &moved {
            self.model.remove(lblk);
        }
        for (lblk, block) in moved {
            let to = Lblk(lblk).shifted(shift).unwrap();
            assert_eq!(self.model.insert(to.0, block), None);
        }
    }

    /// Some blocks go, and what is behind them moves up; returns how many steps that took.
    fn collapse(&mut self, longest: u32) -> u32 {
        let lblks = self.range(longest);
        self.remove_all(lblks, ALL);
        let (mut hole, mut steps) = (lblks, 0);
        let seam = Some(lblks.start);
        loop {
            let (cost, nodes) = (Cost::shift(self.store.depth()), self.store.blocks.len());
            let next = self.store.step(|tree| tree.shift_left(hole)).unwrap();
            let Some(next) = next else {
                assert_eq!(self.model.range(hole.end.0..).count(), 0);
                assert_eq!(self.store.calls.done, 0);
                break;
            };
            assert!(next.len() == lblks.len() && next.end > hole.end);
            let moved = range(hole.end.0, next.end.0);
            self.move_blocks(moved, Shift::Left(lblks.len()));
            self.check_but_for(seam, cost, nodes);
            (hole, steps) = (next, steps + 1);
        }
        let (cost, nodes) = (Cost::change(self.store.depth()), self.store.blocks.len());
        self.store.step(|tree| tree.join(lblks.start)).unwrap();
        self.check(cost, nodes);
        steps
    }

    /// A hole comes before some block; returns how many steps that took.
    fn open(&mut self, longest: u32) -> u32 {
        let lblks = self.range(longest);
        let (at, by) = (lblks.start, lblks.len());
        let (cost, nodes) = (Cost::change(self.store.depth()), self.store.blocks.len());
        self.store.step(|tree| tree.split(at)).unwrap();
        self.check_but_for(Some(at), cost, nodes);
        let (mut rest, mut steps) = (LblkRange::all_from(at), 0);
        loop {
            let (cost, nodes) = (Cost::shift(self.store.depth()), self.store.blocks.len());
            let next = self.store.step(|tree| tree.shift_right(rest, by)).unwrap();
            let Some(next) = next else {
                assert_eq!(self.model.range(at.0..rest.end.0).count(), 0);
                assert_eq!(self.store.calls.done, 0);
                break;
            };
            assert!(next.start == at && next.end < rest.end);
            self.move_blocks(range(next.end.0, rest.end.0), Shift::Right(by));
            self.check_but_for(Some(at), cost, nodes);
            (rest, steps) = (next, steps + 1);
        }
        self.check(cost, self.store.blocks.len());
        steps
    }

    fn remove(&mut self, longest: u32) {
        let lblks = self.range(longest);
        let most = Blocks((1 + self.below(2 * longest)).into());
        self.remove_all(lblks, most);
    }

    fn remove_all(&mut self, lblks: LblkRange, most: Blocks) {
        let mut end = lblks.end;
        loop {
            let (cost, nodes) = (Cost::remove(self.store.depth()), self.store.blocks.len());
            let removed = self.store.step(|tree| tree.remove(lblks, most)).unwrap();
            if let Some(removed) = removed {
                let gone = removed.lblks();
                assert!(lblks.start <= gone.start && gone.end <= end && gone.len() <= most);
                end = gone.start;
                for lblk in gone.start.0..gone.end.0 {
                    let block = (removed.pblk(Lblk(lblk)).unwrap().0, removed.state());
                    assert_eq!(self.model.remove(&lblk), Some(block));
                }
            }
            self.check(cost, nodes);
            if removed.is_none() {
                assert_eq!(self.model.range(lblks.start.0..lblks.end.0).count(), 0);
                break;
            }
        }
    }
}

#[test]
fn small_trees_are_what_the_model_says() {
    let mut depths = [0; 6];
    for seed in 0..200 {
        let (len, steps) = [(4, 50), (300, 100), (6000, 900)][seed as usize % 3];
        let mut file = File::new(seed, len);
        for round in 0..6 {
            // Now it grows, now it shrinks.
            let (removes, longest) = [(1, 20), (6, len / 4)][round % 2];
            for _ in 0..steps / [1, 4][round % 2] {
                match file.below(16 + removes) {
                    0..8 => file.insert(4),
                    8..16 => file.convert(12),
                    _ => file.remove(longest),
                }
            }
        }
        depths[usize::from(file.deepest)] += 1;
    }
    println!("deepest: {depths:?}");
    assert!(depths[0] > 5 && depths[1] > 20 && depths[2] > 20);
}

/// Every second block, in some order, makes as many extents as there can be.
fn scattered(file: &mut File, lblks: impl Iterator<Item = u32>) {
    for (n, lblk) in lblks.enumerate() {
        let pblk = HOME + u64::from(lblk);
        let one = extent(&file.store.volume, lblk, lblk + 1, pblk, UNWRITTEN);
        let (cost, nodes) = (Cost::change(file.store.depth()), file.store.blocks.len());
        file.store.step(|tree| tree.insert(one)).unwrap();
        file.model.insert(lblk, (pblk, UNWRITTEN));
        if n % 97 == 0 {
            file.check(cost, nodes);
        }
    }
}

#[test]
fn deep_trees_are_what_the_model_says() {
    let len = 40_000;
    for (seed, depth) in [(0, 2), (1, 3), (2, 3)] {
        let mut file = File::new(seed, len);
        match seed {
            // Appended: each leaf is full but the last.
            0 => {
                scattered(&mut file, (0..len).step_by(2));
                let leaves = file.store.leaves();
                assert!(leaves[..leaves.len() - 1]
                    .iter()
                    .all(|leaf| leaf.len() == 84));
            }
            // From the end to the beginning, and from the middle: each leaf is half full.
            1 => scattered(&mut file, (0..len).step_by(2).rev()),
            _ => {
                let half = len / 2;
                scattered(
                    &mut file,
                    (0..half).step_by(2).chain((half..len).step_by(2).rev()),
                );
            }
        }
        assert_eq!(file.store.depth(), depth);
        for _ in 0..150 {
            file.insert(3);
            file.convert(9);
            file.remove(9);
        }
        for end in [len, len / 3, len / 50, 40] {
            // As truncation does it.
            while let Some(removed) = {
                let all = range(end / 2, Lblk::END.0);
                let (cost, nodes) = (Cost::remove(file.store.depth()), file.store.blocks.len());
                let removed = file.store.step(|tree| tree.remove(all, ALL)).unwrap();
                for lblk in removed
                    .iter()
                    .flat_map(|e| e.lblks().start.0..e.lblks().end.0)
                {
                    file.model.remove(&lblk).unwrap();
                }
                if file.below(200) == 0 {
                    file.check(cost, nodes);
                }
                removed
            } {
                assert!(removed.start() > Pblk(0));
            }
        }
        assert!(file.model.len() <= 20 && file.store.depth() <= 1);
        while file
            .store
            .step(|tree| tree.remove(range(0, len), ALL))
            .unwrap()
            .is_some()
        {}
        assert_eq!(file.store.depth(), 0);
        assert!(file.store.blocks.is_empty());
    }
}

#[test]
fn what_moves_is_what_the_model_says() {
    let (mut longest, mut depths) = (0, [0; 6]);
    for seed in 0..36 {
        let (len, steps) = [(4, 60), (300, 100), (6000, 500)][seed as usize % 3];
        let mut file = File::new(seed, len);
        for round in 0..6 {
            for _ in 0..steps {
                match file.below(24) {
                    0..9 => file.insert(4),
                    9..14 => file.convert(12),
                    14..16 => file.remove(4),
                    16..20 if round % 2 == 1 => longest = file.collapse(20).max(longest),
                    20..24 if round % 2 == 1 => longest = file.open(20).max(longest),
                    _ => file.insert(2),
                }
            }
        }
        depths[usize::from(file.deepest)] += 1;
    }
    println!("leaves moved: {longest}, deepest: {depths:?}");
    assert!(longest > 15 && depths[1] > 10 && depths[2] > 5);
}

/// What is inserted and collapsed again is as it was, but for where leaves begin.
#[test]
fn back_again_is_the_same() {
    for seed in 0..100 {
        let mut file = File::new(seed, [50, 500][seed as usize % 2]);
        for _ in 0..300 {
            file.insert(9);
        }
        let before = file.store.extents();
        let lblks = file.range(30);
        file.store.step(|tree| tree.split(lblks.start)).unwrap();
        let mut rest = LblkRange::all_from(lblks.start);
        while let Some(next) = file
            .store
            .step(|tree| tree.shift_right(rest, lblks.len()))
            .unwrap()
        {
            rest = next;
        }
        assert!(file.store.extents().iter().all(|extent| {
            let has = extent.lblks();
            has.end <= lblks.start || lblks.end <= has.start
        }));
        let mut hole = lblks;
        while let Some(next) = file.store.step(|tree| tree.shift_left(hole)).unwrap() {
            hole = next;
        }
        let is_split = file.store.extents().len() - before.len();
        assert!(is_split <= 1);
        file.store.step(|tree| tree.join(lblks.start)).unwrap();
        let is_between_leaves = file
            .store
            .leaves()
            .iter()
            .any(|leaf| leaf.first().is_some_and(|e| e.lblks().start == lblks.start));
        assert!(file.store.extents() == before || is_between_leaves);
    }
}
