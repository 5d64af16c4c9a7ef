// SPDX-License-Identifier: GPL-2.0

//! Extent trees.

use crate::support::{
    corrupt,
    damage,
    damaged,
    directory,
    extent_node,
    extent_record,
    extent_root,
    index_record,
    inode_seed,
    no_flipped_bit_goes_unnoticed,
    put,
    seal_extent_node,
    volume,
    volume_without_checksums,
    GENERATION, //
};
use damage::{
    Crc,
    Numbers, //
};
use ondisk::{
    extent::{
        Child,
        Extent,
        Lookup,
        Node,
        State,
        MAX_DEPTH, //
    },
    Block,
    Blocks,
    Error,
    Lblk,
    LblkRange,
    Pblk,
    Seed,
    Structure,
    Superblock, //
};

const STRUCTURE: Structure = Structure::ExtentNode;
/// Entries of a node that fills a block.
const MAX: u16 = 340;
const INO: u32 = 20;

fn range(start: u32, end: u32) -> LblkRange {
    LblkRange {
        start: Lblk(start),
        end: Lblk(end),
    }
}

fn root<'a>(volume: &Superblock, bytes: &'a [u8; 60]) -> Result<Node<'a>, Error> {
    Node::root(volume, bytes)
}

/// What the root with those entries is refused with.
fn refused(depth: u16, records: &[[u8; 12]]) -> Error {
    let bytes = extent_root(depth, records);
    let node = root(&volume(), &bytes);
    node.expect_err("the root should be refused")
}

fn seed(volume: &Superblock) -> Seed {
    directory(volume, INO, 1, 0).seed()
}

/// The child that the only entry of a root of that depth leads to.
fn child(volume: &Superblock, depth: u16, lblk: u32) -> Child {
    let bytes = extent_root(depth, &[index_record(lblk, 200)]);
    match root(volume, &bytes).unwrap().lookup(Lblk(lblk)) {
        Lookup::Child(child) => child,
        other => panic!("{other:?}"),
    }
}

/// Parses a node below a root of depth `depth`, whose entry begins with `lblk`.
fn parse(volume: &Superblock, depth: u16, lblk: u32, bytes: &[u8]) -> Result<(), Error> {
    let block = Block::new(bytes).unwrap();
    let child = child(volume, depth, lblk);
    Node::child::<Crc>(volume, seed(volume), child, block).map(|_| ())
}

fn sealed(volume: &Superblock, mut bytes: Vec<u8>) -> Vec<u8> {
    seal_extent_node(inode_seed(volume, INO, GENERATION), &mut bytes);
    bytes
}

#[test]
fn a_root_tells_extents_from_holes() {
    let volume = volume();
    let bytes = extent_root(
        0,
        &[
            extent_record(2, 3, 100),
            extent_record(5, 0x8000 + 4, 300),
            extent_record(20, 0x8000, 1000),
        ],
    );
    // The last of them is the longest that can be written.
    let large = crate::support::volume_with(|bytes| {
        put(bytes, 0x04, (4 * 32768_u32).to_le_bytes());
        put(bytes, 0x00, (4 * 16384_u32).to_le_bytes());
    })
    .unwrap();
    assert_eq!(
        root(&volume, &bytes).unwrap_err(),
        corrupt::<()>(STRUCTURE, "ee_start", 1000).unwrap_err()
    );
    let node = root(&large, &bytes).unwrap();
    assert_eq!(node.depth(), 0);
    assert_eq!(node.lblks(), range(0, u32::MAX));

    let extent = |lblk| match node.lookup(Lblk(lblk)) {
        Lookup::Extent(extent) => extent,
        other => panic!("{other:?}"),
    };
    for lblk in 2..5 {
        let found = extent(lblk);
        assert_eq!(found.lblks(), range(2, 5));
        assert_eq!(found.len(), Blocks(3));
        assert_eq!(found.state(), State::Written);
        assert_eq!(found.pblk(Lblk(lblk)), Some(Pblk(98 + u64::from(lblk))));
        assert_eq!(found.pblk(Lblk(5)), None);
        assert_eq!(found.pblk(Lblk(1)), None);
    }
    assert_eq!(extent(5).state(), State::Unwritten);
    assert_eq!(extent(8).lblks(), range(5, 9));
    assert_eq!(extent(20).state(), State::Written);
    assert_eq!(extent(20 + 32767).len(), Blocks(32768));

    let hole = |lblk| node.lookup(Lblk(lblk));
    assert_eq!(hole(0), Lookup::Hole(range(0, 2)));
    assert_eq!(hole(1), Lookup::Hole(range(0, 2)));
    assert_eq!(hole(9), Lookup::Hole(range(9, 20)));
    assert_eq!(hole(19), Lookup::Hole(range(9, 20)));
    let end = 20 + 32768;
    assert_eq!(hole(end), Lookup::Hole(range(end, u32::MAX)));
    assert_eq!(hole(u32::MAX), Lookup::Hole(range(end, u32::MAX)));
}

#[test]
fn an_empty_root_is_one_hole() {
    let bytes = extent_root(0, &[]);
    let volume = volume();
    let node = root(&volume, &bytes).unwrap();
    assert_eq!(node.lookup(Lblk(7)), Lookup::Hole(range(0, u32::MAX)));
}

#[test]
fn an_inner_root_leads_to_children_or_knows_the_hole_before() {
    let volume = volume();
    let bytes = extent_root(2, &[index_record(10, 200), index_record(50, 300)]);
    let node = root(&volume, &bytes).unwrap();
    assert_eq!(node.depth(), 2);
    let Node::Inner(inner) = node else {
        panic!("{node:?}");
    };
    let children: Vec<_> = inner.children().collect();
    let seen: Vec<_> = children
        .iter()
        .map(|child| (child.pblk().0, child.depth(), child.lblks()))
        .collect();
    assert_eq!(
        seen,
        [(200, 1, range(10, 50)), (300, 1, range(50, u32::MAX))]
    );

    assert_eq!(node.lookup(Lblk(9)), Lookup::Hole(range(0, 10)));
    assert_eq!(node.lookup(Lblk(10)), Lookup::Child(children[0]));
    assert_eq!(node.lookup(Lblk(49)), Lookup::Child(children[0]));
    assert_eq!(node.lookup(Lblk(50)), Lookup::Child(children[1]));
    assert_eq!(node.lookup(Lblk(u32::MAX)), Lookup::Child(children[1]));
}

#[test]
fn impossible_heads_are_named_with_their_value() {
    let volume = volume();
    let with = |offset, value: u16| {
        let mut bytes = extent_root(1, &[index_record(0, 200)]);
        put(&mut bytes, offset, value.to_le_bytes());
        root(&volume, &bytes).map(|_| ())
    };
    for value in [0, 0x0af3, 0xf30b] {
        assert_eq!(with(0, value), corrupt(STRUCTURE, "eh_magic", value.into()));
    }
    for value in [0, 2, 5, u16::MAX] {
        assert_eq!(
            with(2, value),
            match value {
                // The second entry is all zeroes.
                2 => corrupt(STRUCTURE, "ei_block", 0),
                _ => corrupt(STRUCTURE, "eh_entries", value.into()),
            }
        );
    }
    for value in [0, 5, u16::MAX] {
        assert_eq!(with(4, value), corrupt(STRUCTURE, "eh_max", value.into()));
    }
    for value in [MAX_DEPTH + 1, u16::MAX] {
        assert_eq!(with(6, value), corrupt(STRUCTURE, "eh_depth", value.into()));
    }
    assert_eq!(with(6, MAX_DEPTH), Ok(()));
}

#[test]
fn impossible_extents_are_named_with_their_value() {
    let refused = |records: &[[u8; 12]]| Err::<(), _>(refused(0, records));
    // Empty; over the end of files; beyond, before and around the ends of the volume.
    let one = |lblk, len, pblk| refused(&[extent_record(lblk, len, pblk)]);
    assert_eq!(one(0, 0, 100), corrupt(STRUCTURE, "ee_len", 0));
    assert_eq!(one(u32::MAX, 1, 100), corrupt(STRUCTURE, "ee_len", 1));
    assert_eq!(
        one(u32::MAX - 9, 0x8000 + 10, 100),
        corrupt(STRUCTURE, "ee_len", 0x8000 + 10)
    );
    assert_eq!(one(0, 1, 0), corrupt(STRUCTURE, "ee_start", 0));
    assert_eq!(one(0, 1, 16384), corrupt(STRUCTURE, "ee_start", 16384));
    assert_eq!(one(0, 2, 16383), corrupt(STRUCTURE, "ee_start", 16383));
    let high = (1 << 47) + 100;
    assert_eq!(one(0, 1, high), corrupt(STRUCTURE, "ee_start", high));
    // Out of order, twice the same, overlapping by a block.
    let two = |first, len, second| {
        refused(&[
            extent_record(first, len, 100),
            extent_record(second, 1, 200),
        ])
    };
    for (first, len, second) in [(9, 1, 0), (9, 1, 9), (9, 3, 11), (9, 0x8003, 11)] {
        assert_eq!(
            two(first, len, second),
            corrupt(STRUCTURE, "ee_block", second.into())
        );
    }
}

#[test]
fn the_longest_file_ends_with_the_last_number() {
    let bytes = extent_root(0, &[extent_record(u32::MAX - 1, 1, 100)]);
    let volume = volume();
    let node = root(&volume, &bytes).unwrap();
    let last = u32::MAX - 1;
    assert!(matches!(node.lookup(Lblk(last)), Lookup::Extent(_)));
    assert_eq!(node.lookup(Lblk(0)), Lookup::Hole(range(0, last)));
}

#[test]
fn impossible_indexes_are_named_with_their_value() {
    let refused = |records: &[[u8; 12]]| Err::<(), _>(refused(1, records));
    for pblk in [0, 16384, 1 << 47] {
        assert_eq!(
            refused(&[index_record(0, pblk)]),
            corrupt(STRUCTURE, "ei_leaf", pblk)
        );
    }
    for (first, second) in [(9, 9), (9, 8), (9, 0)] {
        assert_eq!(
            refused(&[index_record(first, 200), index_record(second, 300)]),
            corrupt(STRUCTURE, "ei_block", second.into())
        );
    }
    assert_eq!(
        refused(&[index_record(u32::MAX, 200)]),
        corrupt(STRUCTURE, "ei_block", u32::MAX.into())
    );
    assert_eq!(refused(&[]), corrupt(STRUCTURE, "eh_entries", 0));
}

#[test]
fn nodes_begin_where_their_parent_says_and_stay_inside() {
    let volume = volume();
    let leaf = |records: &[_]| sealed(&volume, extent_node(4096, 0, MAX, records));
    assert_eq!(
        parse(&volume, 1, 7, &leaf(&[extent_record(7, 1, 100)])),
        Ok(())
    );
    for lblk in [6, 8] {
        assert_eq!(
            parse(&volume, 1, 7, &leaf(&[extent_record(lblk, 1, 100)])),
            corrupt(STRUCTURE, "ee_block", lblk.into())
        );
    }
    // What splitting a node can leave behind.
    assert_eq!(parse(&volume, 1, 7, &leaf(&[])), Ok(()));

    let inner = |records: &[_]| sealed(&volume, extent_node(4096, 1, MAX, records));
    assert_eq!(
        parse(&volume, 2, 7, &inner(&[index_record(7, 300)])),
        Ok(())
    );
    for lblk in [6, 8] {
        assert_eq!(
            parse(&volume, 2, 7, &inner(&[index_record(lblk, 300)])),
            corrupt(STRUCTURE, "ei_block", lblk.into())
        );
    }

    // The second entry of the root begins with 10: the first child has to end before.
    let bytes = extent_root(1, &[index_record(0, 200), index_record(10, 300)]);
    let Lookup::Child(first) = root(&volume, &bytes).unwrap().lookup(Lblk(0)) else {
        panic!("no child");
    };
    let parse = |len| {
        let bytes = leaf(&[extent_record(0, len, 100)]);
        let block = Block::new(&bytes).unwrap();
        Node::child::<Crc>(&volume, seed(&volume), first, block).map(|node| node.lblks())
    };
    assert_eq!(parse(10), Ok(range(0, 10)));
    assert_eq!(parse(11), corrupt(STRUCTURE, "ee_len", 11));
}

#[test]
fn depth_falls_with_each_step() {
    let volume = volume();
    let node = |depth| match depth {
        0 => extent_node(4096, 0, MAX, &[extent_record(0, 1, 100)]),
        _ => extent_node(4096, depth, MAX, &[index_record(0, 200)]),
    };
    for above in 1..=MAX_DEPTH {
        for depth in 0..=MAX_DEPTH {
            let result = parse(&volume, above, 0, &sealed(&volume, node(depth)));
            assert_eq!(result.is_ok(), depth + 1 == above);
            if depth + 1 != above {
                assert_eq!(result, corrupt(STRUCTURE, "eh_depth", depth.into()));
            }
        }
    }
}

#[test]
fn the_checksum_follows_the_last_entry_that_there_is_room_for() {
    let volume = volume();
    for (len, most) in [(1024, 84), (2048, 169), (4096, MAX)] {
        for max in [2, most] {
            let records = [extent_record(0, 1, 100), extent_record(5, 2, 200)];
            let bytes = sealed(&volume, extent_node(len, 0, max, &records));
            assert_eq!(parse(&volume, 1, 0, &bytes), Ok(()));
            let end = 12 + 12 * usize::from(max);
            no_flipped_bit_goes_unnoticed(&bytes[..end + 4], |start| {
                let mut bytes = bytes.clone();
                bytes[..end + 4].copy_from_slice(start);
                parse(&volume, 1, 0, &bytes).is_ok()
            });
        }
        let bytes = sealed(&volume, extent_node(len, 0, most + 1, &[]));
        assert_eq!(
            parse(&volume, 1, 0, &bytes),
            corrupt(STRUCTURE, "eh_max", u64::from(most) + 1)
        );
    }

    let other = {
        let mut bytes = extent_node(4096, 0, MAX, &[extent_record(0, 1, 100)]);
        seal_extent_node(inode_seed(&volume, INO + 1, GENERATION), &mut bytes);
        bytes
    };
    assert!(matches!(
        parse(&volume, 1, 0, &other),
        Err(Error::BadChecksum {
            structure: STRUCTURE,
            ..
        })
    ));
    assert_eq!(parse(&volume_without_checksums(), 1, 0, &other), Ok(()));
}

/// Extents in order, some next to each other, and the bytes of a leaf with them.
fn some_extents(numbers: &mut Numbers, most: usize) -> Vec<(u32, u16, u64)> {
    let mut end = 0;
    let count = numbers.below(most + 1);
    (0..count)
        .map(|_| {
            let gap = [0, 0, 1, 7, 1000][numbers.below(5)];
            let len = 1 + numbers.below(50) as u32;
            let unwritten = [0, 0x8000][numbers.below(2)];
            let start = end + gap;
            end = start + len;
            let pblk = 1 + numbers.below(16384 - 60) as u64;
            (start, len as u16 | unwritten, pblk)
        })
        .collect()
}

#[test]
fn lookups_agree_with_going_through_the_list() {
    let volume = volume();
    for seed in 0..300 {
        let mut numbers = Numbers(seed);
        let extents = some_extents(&mut numbers, usize::from(MAX));
        let records: Vec<_> = extents
            .iter()
            .map(|(lblk, len, pblk)| extent_record(*lblk, *len, *pblk))
            .collect();
        let first = extents.first().map_or(0, |extent| extent.0);
        let bytes = sealed(&volume, extent_node(4096, 0, MAX, &records));
        let child = child(&volume, 1, first);
        let block = Block::new(&bytes).unwrap();
        let node = Node::child::<Crc>(&volume, self::seed(&volume), child, block).unwrap();

        let Node::Leaf(leaf) = node else {
            panic!("{node:?}");
        };
        let read: Vec<_> = leaf.extents().map(as_encoded).collect();
        assert_eq!(read, extents);

        let ends = extents
            .iter()
            .flat_map(|(lblk, len, _)| [*lblk, lblk + u32::from(len & 0x7fff)]);
        for near in ends.chain([first, u32::MAX - 1]) {
            for lblk in [near.saturating_sub(1).max(first), near, near + 1] {
                let found = extents.iter().find(|(start, len, _)| {
                    (*start..start + u32::from(len & 0x7fff)).contains(&lblk)
                });
                match (node.lookup(Lblk(lblk)), found) {
                    (Lookup::Extent(extent), Some(found)) => {
                        assert_eq!(as_encoded(extent), *found);
                    }
                    (Lookup::Hole(hole), None) => {
                        let before = extents.iter().rev().find(|extent| extent.0 <= lblk);
                        let after = extents.iter().find(|extent| extent.0 > lblk);
                        let start =
                            before.map_or(first, |(lblk, len, _)| lblk + u32::from(len & 0x7fff));
                        assert_eq!(hole, range(start, after.map_or(u32::MAX, |e| e.0)));
                    }
                    (lookup, found) => panic!("seed {seed}: {lookup:?} {found:?}"),
                }
            }
        }
    }
}

fn as_encoded(extent: Extent) -> (u32, u16, u64) {
    let unwritten = match extent.state() {
        State::Written => 0,
        State::Unwritten => 0x8000,
    };
    let len = u16::try_from(extent.len().0).unwrap();
    (extent.lblks().start.0, len | unwritten, extent.start().0)
}

/// What the documentation of leaves and inner nodes promises.
fn check_invariants(node: &Node<'_>) {
    let LblkRange { start, end } = node.lblks();
    match node {
        Node::Leaf(leaf) => {
            let mut least = start;
            for extent in leaf.extents() {
                assert!(least <= extent.lblks().start);
                assert!(extent.lblks().start < extent.lblks().end);
                least = extent.lblks().end;
                assert!(extent.start().0 >= 1);
                assert!(extent.start().0 + extent.len().0 <= 16384);
            }
            assert!(least <= end);
        }
        Node::Inner(inner) => {
            let children: Vec<_> = inner.children().collect();
            assert!(!children.is_empty() && node.depth() <= MAX_DEPTH);
            let ends = children.iter().skip(1).map(|child| child.lblks().start);
            for (child, end) in children.iter().zip(ends.chain([end])) {
                assert!(start <= child.lblks().start && child.lblks().start < child.lblks().end);
                assert_eq!(child.lblks().end, end);
                assert_eq!(child.depth() + 1, node.depth());
                assert!((1..16384).contains(&child.pblk().0));
            }
        }
    }
    for lblk in [0, 1, 100, 5000, u32::MAX] {
        match node.lookup(Lblk(lblk)) {
            Lookup::Extent(extent) => assert!(extent.lblks().contains(Lblk(lblk))),
            Lookup::Hole(hole) => assert!(hole.start <= hole.end),
            Lookup::Child(child) => assert!(child.depth() < node.depth()),
        }
    }
}

#[test]
fn damaged_nodes_are_refused_or_keep_the_invariants() {
    let volume = volume();
    let seed = seed(&volume);
    damaged(40_000, |numbers| {
        let extents = some_extents(numbers, 12);
        let depth = numbers.below(3) as u16;
        let mut records: Vec<_> = extents
            .iter()
            .map(|(lblk, len, pblk)| match depth {
                0 => extent_record(*lblk, *len, *pblk),
                _ => index_record(*lblk, *pblk),
            })
            .collect();
        if depth > 0 && records.is_empty() {
            records.push(index_record(0, 100));
        }
        let first =
            u32::from_le_bytes(records.first().unwrap_or(&[0; 12])[..4].try_into().unwrap());
        let mut bytes = extent_node(1024, depth, 84, &records);
        let fields: Vec<_> = (0..12 * (records.len() + 1)).step_by(4).collect();
        damage(numbers, &mut bytes, &fields);
        if numbers.below(16) > 0 {
            bytes = sealed(&volume, bytes);
        }
        let block = Block::new(&bytes).unwrap();
        let child = child(&volume, depth + 1, first);
        match Node::child::<Crc>(&volume, seed, child, block) {
            Ok(node) => {
                assert_eq!(node.depth(), depth);
                check_invariants(&node);
                true
            }
            Err(error) => {
                assert!(!error.to_string().is_empty());
                false
            }
        }
    });
}

#[test]
fn damaged_roots_are_refused_or_keep_the_invariants() {
    let volume = volume();
    damaged(40_000, |numbers| {
        let mut bytes = match numbers.below(2) {
            0 => extent_root(
                0,
                &[extent_record(0, 5, 100), extent_record(9, 0x8009, 200)],
            ),
            _ => extent_root(2, &[index_record(0, 100), index_record(9, 200)]),
        };
        damage(numbers, &mut bytes, &[0, 2, 4, 6, 12, 16, 20, 24, 28, 32]);
        root(&volume, &bytes)
            .map(|node| check_invariants(&node))
            .is_ok()
    });
}
