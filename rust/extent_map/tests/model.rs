// SPDX-License-Identifier: GPL-2.0

//! The map of a file beside the file itself, a block at a time.

mod common;

use common::{
    extent,
    range,
    Chunks,
    Numbers, //
};
use extent_map::{
    cover,
    gap,
    lookup,
    sweep,
    Chunk,
    Extent,
    Mapping,
    Record,
    State,
    Swept,
    MAX_RECORDS, //
};
use ondisk::{
    Lblk,
    LblkRange,
    Pblk, //
};

/// A file: where each of its blocks is, its extents, and the leaves of its tree.
struct File {
    blocks: Vec<Option<(u64, State)>>,
    extents: Vec<Extent>,
    /// What each leaf tells of.
    leaves: Vec<LblkRange>,
}

impl File {
    fn new(numbers: &mut Numbers) -> Self {
        let len = 20 + numbers.below(1500);
        let mut extents = Vec::new();
        let mut leaves = Vec::new();
        let (mut lblk, mut pblk, mut leaf) = (0, 100, 0);
        while lblk < len {
            if numbers.below(3) == 0 {
                lblk += 1 + numbers.below(7);
            }
            if lblk >= len {
                break;
            }
            if numbers.below(2) == 0 {
                pblk += u64::from(1 + numbers.below(9));
            }
            let end = len.min(lblk + 1 + numbers.below(4));
            let state = match numbers.below(4) {
                0 => State::Unwritten,
                _ => State::Written,
            };
            if numbers.below(40) == 0 && lblk > leaf {
                leaves.push(range(leaf, lblk));
                leaf = lblk;
            }
            extents.push(extent(lblk, end, pblk, state));
            pblk += u64::from(end - lblk);
            lblk = end;
        }
        leaves.push(range(leaf, len));
        let mut blocks = vec![None; len as usize];
        for extent in &extents {
            for lblk in extent.lblks().start.0..extent.lblks().end.0 {
                blocks[lblk as usize] = Some((extent.pblk(Lblk(lblk)).unwrap().0, extent.state()));
            }
        }
        Self {
            blocks,
            extents,
            leaves,
        }
    }

    fn leaf_of(&self, lblk: u32) -> LblkRange {
        *self
            .leaves
            .iter()
            .find(|leaf| leaf.contains(Lblk(lblk)))
            .unwrap()
    }

    /// That a mapping is what the file says, block by block.
    fn check(&self, mapping: Mapping) {
        let lblks = mapping.lblks();
        assert!(lblks.start < lblks.end);
        for lblk in lblks.start.0..lblks.end.0 {
            let told = match mapping {
                Mapping::Hole(_) => None,
                Mapping::Reserved(_) => panic!("block {lblk} is reserved"),
                Mapping::Extent(extent) => {
                    Some((extent.pblk(Lblk(lblk)).unwrap().0, extent.state()))
                }
            };
            assert_eq!(told, self.blocks[lblk as usize], "block {lblk}");
        }
    }

    /// Whether block `lblk` goes on where the one before it ends.
    fn goes_on(&self, lblk: u32) -> bool {
        match (self.blocks[lblk as usize - 1], self.blocks[lblk as usize]) {
            (None, None) => true,
            (Some((before, state)), Some((here, also))) => before + 1 == here && state == also,
            _ => false,
        }
    }
}

/// Reads the leaf that tells of a block, as the filesystem does.
fn load(chunks: &mut Chunks, file: &File, lblk: u32, most: usize) -> LblkRange {
    let leaf = file.leaf_of(lblk);
    let gap = gap(chunks, Lblk(lblk), leaf);
    assert!(gap.contains(Lblk(lblk)) && leaf.start <= gap.start && gap.end <= leaf.end);
    let in_leaf = file
        .extents
        .iter()
        .copied()
        .filter(|extent| leaf.contains(extent.lblks().start));
    let records: Vec<Record> = cover(gap, in_leaf).map(Record::from).collect();
    for records in records.chunks(most) {
        let chunk = Chunk::new(records.iter().copied().collect());
        assert!(chunks.0.insert(chunk.lblks().start.0, chunk).is_none());
    }
    gap
}

/// Sweeps over some chunks from `hand` on, and says where it stopped.
fn shrink(chunks: &mut Chunks, known: &mut [bool], hand: Lblk, count: u32) -> Lblk {
    let mut hand = hand;
    for _ in 0..count {
        let Some(Swept {
            next,
            removed,
            records,
        }) = sweep(chunks, hand)
        else {
            return Lblk(0);
        };
        assert!(next > hand && records > 0);
        if let Some(chunk) = removed {
            assert_eq!(chunk.len(), records);
            let lblks = chunk.lblks();
            known[lblks.start.0 as usize..lblks.end.0 as usize].fill(false);
        }
        hand = next;
    }
    hand
}

#[test]
fn the_map_never_says_anything_else_than_the_file() {
    for seed in 0..300 {
        let mut numbers = Numbers(seed);
        let file = File::new(&mut numbers);
        let len = file.blocks.len() as u32;
        let most = [1, 3, 20, MAX_RECORDS][numbers.below(4) as usize];
        let mut chunks = Chunks::default();
        let mut known = vec![false; len as usize];
        let mut hand = Lblk(0);
        for _ in 0..200 {
            let lblk = numbers.below(len);
            let found = lookup(&chunks, Lblk(lblk));
            assert_eq!(
                found.is_some(),
                known[lblk as usize],
                "seed {seed}, block {lblk}"
            );
            match found {
                Some(mapping) => {
                    assert!(mapping.lblks().contains(Lblk(lblk)));
                    file.check(mapping);
                    assert!((mapping.lblks().start.0..mapping.lblks().end.0)
                        .all(|lblk| known[lblk as usize]));
                }
                None if numbers.below(4) == 0 => {
                    let count = numbers.below(12);
                    hand = shrink(&mut chunks, &mut known, hand, count);
                }
                None => {
                    let learnt = load(&mut chunks, &file, lblk, most);
                    assert!(known[learnt.start.0 as usize..learnt.end.0 as usize]
                        .iter()
                        .all(|known| !known));
                    known[learnt.start.0 as usize..learnt.end.0 as usize].fill(true);
                }
            }
        }
    }
}

#[test]
fn mappings_go_as_far_as_they_can() {
    for seed in 0..100 {
        let mut numbers = Numbers(seed);
        let file = File::new(&mut numbers);
        let mut chunks = Chunks::default();
        let mut lblk = 0;
        let len = file.blocks.len() as u32;
        while lblk < len {
            if lookup(&chunks, Lblk(lblk)).is_none() {
                load(&mut chunks, &file, lblk, MAX_RECORDS);
            }
            lblk = lookup(&chunks, Lblk(lblk)).unwrap().lblks().end.0;
        }
        // All is known now. A mapping may begin in the middle only where a chunk does, but goes on
        // into the chunks that follow.
        for lblk in 0..len {
            let lblks = lookup(&chunks, Lblk(lblk)).unwrap().lblks();
            assert!(
                lblks.end.0 == len || !file.goes_on(lblks.end.0),
                "seed {seed}, block {lblk}"
            );
            let begins_a_chunk = chunks.0.contains_key(&lblks.start.0);
            assert!(lblks.start.0 == 0 || begins_a_chunk || !file.goes_on(lblks.start.0));
        }
    }
}

#[test]
fn what_is_used_survives_one_sweep() {
    let mut chunks = Chunks::default();
    let extents = [
        extent(0, 4, 10, State::Written),
        extent(6, 8, 90, State::Written),
    ];
    for part in [range(0, 5), range(5, 9)] {
        let records = cover(part, extents.iter().copied())
            .map(Record::from)
            .collect();
        chunks.0.insert(part.start.0, Chunk::new(records));
    }
    let mut removed = || {
        let mut hand = Lblk(0);
        let mut count = 0;
        while let Some(swept) = sweep(&mut chunks, hand) {
            count += usize::from(swept.removed.is_some());
            hand = swept.next;
        }
        // Somebody wants the second one.
        let _ = lookup(&chunks, Lblk(7));
        count
    };
    // Just read, and so used.
    assert_eq!(removed(), 0);
    assert_eq!(removed(), 1);
    assert_eq!(removed(), 0);
    assert!(lookup(&chunks, Lblk(0)).is_none());
    assert!(lookup(&chunks, Lblk(7)).is_some());
}

#[test]
fn holes_and_unknown_blocks_are_told_apart() {
    let extents = [
        extent(2, 4, 10, State::Written),
        extent(4, 6, 12, State::Written),
    ];
    let told: Vec<Mapping> = cover(range(0, 9), extents.iter().copied()).collect();
    let joined = Mapping::Extent(extent(2, 6, 10, State::Written));
    assert_eq!(
        told,
        [
            Mapping::Hole(range(0, 2)),
            joined,
            Mapping::Hole(range(6, 9))
        ]
    );

    let mut chunks = Chunks::default();
    chunks
        .0
        .insert(0, Chunk::new(told.into_iter().map(Record::from).collect()));
    assert_eq!(lookup(&chunks, Lblk(8)), Some(Mapping::Hole(range(6, 9))));
    assert_eq!(lookup(&chunks, Lblk(9)), None);
    assert_eq!(gap(&chunks, Lblk(9), range(0, 20)), range(9, 20));
}

#[test]
fn what_does_not_go_on_is_not_joined() {
    let tell = |second| -> Vec<Mapping> {
        let extents = [extent(0, 2, 10, State::Written), second];
        cover(range(0, 4), extents.into_iter()).collect()
    };
    assert_eq!(tell(extent(2, 4, 12, State::Written)).len(), 1);
    assert_eq!(tell(extent(2, 4, 13, State::Written)).len(), 2);
    assert_eq!(tell(extent(2, 4, 12, State::Unwritten)).len(), 2);
    assert_eq!(tell(extent(3, 4, 12, State::Written)).len(), 3);
}

#[test]
fn a_cover_is_cut_to_its_range() {
    let extents = [
        extent(0, 10, 100, State::Written),
        extent(20, 30, 200, State::Unwritten),
    ];
    let told: Vec<Mapping> = cover(range(5, 25), extents.into_iter()).collect();
    assert_eq!(
        told,
        [
            Mapping::Extent(extent(5, 10, 105, State::Written)),
            Mapping::Hole(range(10, 20)),
            Mapping::Extent(extent(20, 25, 200, State::Unwritten)),
        ]
    );
    assert_eq!(cover(range(5, 5), extents.into_iter()).count(), 0);
    let hole: Vec<Mapping> = cover(range(12, 14), extents.into_iter()).collect();
    assert_eq!(hole, [Mapping::Hole(range(12, 14))]);
}

#[test]
fn records_keep_all_of_a_mapping() {
    let far = (1 << 48) - 2;
    for mapping in [
        Mapping::Hole(range(0, u32::MAX)),
        Mapping::Reserved(range(3, 4)),
        Mapping::Extent(extent(7, 8, far, State::Unwritten)),
        Mapping::Extent(extent(u32::MAX - 1, u32::MAX, 1, State::Written)),
    ] {
        assert_eq!(Record::from(mapping).mapping(), mapping);
    }
}

#[test]
fn an_extent_has_blocks_and_numbers_for_them() {
    assert!(Extent::new(range(3, 3), Pblk(1), State::Written).is_none());
    assert!(Extent::new(range(3, 2), Pblk(1), State::Written).is_none());
    assert!(Extent::new(range(0, 2), Pblk((1 << 48) - 2), State::Written).is_none());
    assert!(Extent::new(range(0, 2), Pblk(u64::MAX - 1), State::Written).is_none());
    assert!(Extent::new(range(0, 2), Pblk((1 << 48) - 3), State::Written).is_some());
}
