// SPDX-License-Identifier: GPL-2.0

//! Nodes of extent trees.

use crate::support::{
    get_u16,
    volume,
    volume_without_checksums, //
};
use damage::{
    Crc,
    Numbers, //
};
use ondisk::{
    extent::{
        block_max,
        Child,
        Entries,
        Extent,
        Node,
        State,
        ROOT_MAX, //
    },
    Block,
    Blocks,
    Lblk,
    LblkRange,
    Pblk,
    Seed,
    Superblock, //
};

const ALL: LblkRange = LblkRange {
    start: Lblk(0),
    end: Lblk::END,
};

pub fn range(start: u32, len: u32) -> LblkRange {
    LblkRange {
        start: Lblk(start),
        end: Lblk(start + len),
    }
}

/// Up to `count` extents in order, the first at `start` or later.
pub fn some_extents(
    volume: &Superblock,
    numbers: &mut Numbers,
    start: u32,
    count: usize,
) -> Vec<Extent> {
    let mut lblk = start;
    (0..count)
        .map_while(|_| {
            let gap = numbers.below(1 << numbers.clone().below(20)) as u32;
            let len = 1 + numbers.below(1 << numbers.clone().below(14)) as u32;
            let pblk = 1 + numbers.below(16384 - len as usize) as u64;
            let state = numbers.pick(&[State::Written, State::Unwritten]);
            let start = lblk.checked_add(gap)?;
            lblk = start.checked_add(len)?;
            Extent::new(volume, range(start, len), Pblk(pblk), state)
        })
        .collect()
}

pub fn extents(node: &Node<'_>) -> Vec<Extent> {
    match node {
        Node::Leaf(leaf) => leaf.extents().collect(),
        Node::Inner(_) => panic!("{node:?}"),
    }
}

fn children(node: &Node<'_>) -> Vec<Child> {
    match node {
        Node::Inner(inner) => inner.children().collect(),
        Node::Leaf(_) => panic!("{node:?}"),
    }
}

#[test]
fn roots_are_read_back() {
    let volume = volume();
    for seed in 0..20_000 {
        let numbers = &mut Numbers(seed);
        let count = numbers.below(5);
        let expected = some_extents(&volume, numbers, 0, count);
        let root = Entries::Extents(&expected).root(&volume).unwrap();
        assert_eq!(get_u16(&root, 4), ROOT_MAX);
        assert_eq!(extents(&Node::root(&volume, &root).unwrap()), expected);
    }
}

#[test]
fn leaves_are_read_back() {
    for volume in [volume(), volume_without_checksums()] {
        let file = Seed::of_volume(&volume);
        for seed in 0..5_000 {
            let numbers = &mut Numbers(seed);
            let len = numbers.pick(&[1024, 2048, 4096]);
            let max = usize::from(block_max(len).unwrap());
            let count = 1 + numbers.below(max);
            let expected = some_extents(&volume, numbers, 0, count);
            let lblks = LblkRange {
                start: expected[0].lblks().start,
                end: Lblk::END,
            };
            let child = Child::new(&volume, Pblk(77), 0, lblks).unwrap();
            let mut block = vec![0xff; len];
            Entries::Extents(&expected)
                .block::<Crc>(&volume, file, child, &mut block)
                .unwrap();
            let block = Block::new(&block).unwrap();
            let node = Node::child::<Crc>(&volume, file, child, block).unwrap();
            assert_eq!(extents(&node), expected, "seed {seed}");
        }
    }
}

#[test]
fn inner_nodes_are_read_back() {
    let volume = volume();
    let file = Seed::of_volume(&volume);
    for seed in 0..5_000 {
        let numbers = &mut Numbers(seed);
        let depth = 1 + numbers.below(4) as u16;
        let mut starts: Vec<_> = (0..1 + numbers.below(340))
            .map(|_| numbers.next() as u32 >> numbers.below(16))
            .collect();
        starts.sort_unstable();
        starts.dedup();
        starts.retain(|start| *start < u32::MAX);
        let ends = starts.iter().skip(1).copied().chain([u32::MAX]);
        let expected: Vec<_> = starts
            .iter()
            .zip(ends)
            .map(|(start, end)| {
                let pblk = Pblk(1 + numbers.below(16383) as u64);
                Child::new(&volume, pblk, depth - 1, range(*start, end - start)).unwrap()
            })
            .collect();
        let lblks = range(starts[0], u32::MAX - starts[0]);
        let child = Child::new(&volume, Pblk(77), depth, lblks).unwrap();
        let mut block = vec![0xff; 4096];
        Entries::Children(&expected)
            .block::<Crc>(&volume, file, child, &mut block)
            .unwrap();
        let block = Block::new(&block).unwrap();
        let node = Node::child::<Crc>(&volume, file, child, block).unwrap();
        assert_eq!(children(&node), expected, "seed {seed}");

        let few = &expected[..expected.len().min(4)];
        let root = Entries::Children(few).root(&volume).unwrap();
        let found = children(&Node::root(&volume, &root).unwrap());
        assert!(found
            .iter()
            .map(Child::pblk)
            .eq(few.iter().map(Child::pblk)));
        assert!(found.iter().all(|child| child.depth() == depth - 1));
    }
}

#[test]
fn what_is_no_node_is_not_encoded() {
    let volume = volume();
    let extent =
        |start, len| Extent::new(&volume, range(start, len), Pblk(100), State::Written).unwrap();
    let root = |extents: &[Extent]| Entries::Extents(extents).root(&volume);
    assert!(root(&[extent(0, 5), extent(5, 1)]).is_some());
    // Overlapping, out of order, too many.
    assert!(root(&[extent(0, 5), extent(4, 1)]).is_none());
    assert!(root(&[extent(5, 1), extent(0, 5)]).is_none());
    assert!(root(&[0, 1, 2, 3, 4].map(|start| extent(start, 1))).is_none());
    // No nodes at all, of different depths, and too deep.
    let child = |depth| Child::new(&volume, Pblk(100), depth, ALL);
    assert!(Entries::Children(&[]).root(&volume).is_none());
    let children = [child(0).unwrap(), child(1).unwrap()];
    assert!(Entries::Children(&children).root(&volume).is_none());
    assert!(Entries::Children(&[child(4).unwrap()])
        .root(&volume)
        .is_some());
    assert!(child(5).is_none());
    // Not what the child has to begin with, and too small a block.
    let seed = Seed::of_volume(&volume);
    let block = |len: usize, start, extents: &[Extent]| {
        let child = Child::new(&volume, Pblk(77), 0, range(start, 100)).unwrap();
        let entries = Entries::Extents(extents);
        entries.block::<Crc>(&volume, seed, child, &mut vec![0; len])
    };
    assert!(block(1024, 7, &[extent(7, 1)]).is_some());
    assert!(block(1024, 6, &[extent(7, 1)]).is_none());
    assert!(block(1024, 7, &[extent(7, 101)]).is_none());
    assert!(block(1000, 7, &[extent(7, 1)]).is_none());
    assert!(block(10, 7, &[extent(7, 1)]).is_none());
    let many: Vec<_> = (0..85).map(|n| extent(n, 1)).collect();
    assert!(block(1024, 0, &many[..84]).is_some());
    assert!(block(1024, 0, &many).is_none());
}

#[test]
fn extents_have_a_longest_length() {
    let volume = crate::support::volume_with(|bytes| {
        // 2^20 blocks in 32 groups of 512 inodes.
        crate::support::put(bytes, 0x04, (1_u32 << 20).to_le_bytes());
        crate::support::put(bytes, 0x28, 512_u32.to_le_bytes());
        crate::support::put(bytes, 0x00, (32 * 512_u32).to_le_bytes());
    })
    .unwrap();
    let new = |len, state| Extent::new(&volume, range(3, len), Pblk(9), state);
    for (state, max) in [(State::Written, 32768), (State::Unwritten, 32767)] {
        assert_eq!(state.max_len(), Blocks(max.into()));
        assert!(new(0, state).is_none());
        assert!(new(max + 1, state).is_none());
        let extent = new(max, state).unwrap();
        let root = Entries::Extents(&[extent]).root(&volume).unwrap();
        assert_eq!(extents(&Node::root(&volume, &root).unwrap()), [extent]);
    }
    let at = |pblk| Extent::new(&volume, range(0, 2), Pblk(pblk), State::Written);
    assert!(at((1 << 20) - 2).is_some());
    assert!(at((1 << 20) - 1).is_none());
    assert!(at(0).is_none());
    assert!(at(u64::MAX).is_none());
}
