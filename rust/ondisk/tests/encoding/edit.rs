// SPDX-License-Identifier: GPL-2.0

//! Nodes of extent trees that change in place, beside the same nodes encoded anew.

use crate::{
    extent::{
        extents,
        range,
        some_extents, //
    },
    support::{
        volume,
        volume_without_checksums, //
    },
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
        Few,
        Node,
        NodeMut,
        Run,
        State,
        ROOT_LEN, //
    },
    Block,
    Lblk,
    LblkRange,
    Pblk,
    Seed,
    Superblock, //
};

const PBLK: Pblk = Pblk(77);

/// A child that is a leaf with these extents, of which there have to be some.
fn leaf_child(volume: &Superblock, extents: &[Extent]) -> Child {
    let lblks = LblkRange {
        start: extents[0].lblks().start,
        end: Lblk::END,
    };
    Child::new(volume, PBLK, 0, lblks).unwrap()
}

fn leaf(volume: &Superblock, seed: Seed, extents: &[Extent], len: usize) -> Vec<u8> {
    let mut block = vec![0xff; len];
    let child = leaf_child(volume, extents);
    Entries::Extents(extents)
        .block::<Crc>(volume, seed, child, &mut block)
        .unwrap();
    block
}

#[test]
fn a_spliced_leaf_is_the_one_encoded_anew() {
    for volume in [volume(), volume_without_checksums()] {
        let seed = Seed::of_volume(&volume);
        for run in 0..5_000 {
            let numbers = &mut Numbers(run);
            let len = numbers.pick(&[1024, 2048]);
            let max = usize::from(block_max(len).unwrap());
            let count = 1 + numbers.below(max);
            let mut list = some_extents(&volume, numbers, 1, count);
            let mut block = leaf(&volume, seed, &list, len);
            for _ in 0..5 {
                let start = numbers.below(list.len() + 1);
                let end = start + numbers.below(list.len() - start + 1).min(numbers.below(6));
                // What one of them, or the hole before it, can become.
                let with: Vec<Extent> = match list.get(start) {
                    Some(extent) if end > start => {
                        let lblks = extent.lblks();
                        let middle = lblks.start.0 + (lblks.end.0 - lblks.start.0) / 2;
                        [(lblks.start.0, middle), (middle, lblks.end.0)]
                            .map(|(start, end)| {
                                Extent::new(
                                    &volume,
                                    range(start, end - start),
                                    Pblk(500),
                                    State::Written,
                                )
                            })
                            .into_iter()
                            .take(numbers.below(3))
                            .flatten()
                            .collect()
                    }
                    _ => vec![],
                };
                let mut next = list.clone();
                next.splice(start..end, with.iter().copied());
                let mut node = NodeMut::block(&mut block).unwrap();
                let done = node.splice(start..end, Few::extents(&with).unwrap().run());
                assert_eq!(
                    node.len(),
                    if done.is_some() {
                        next.len()
                    } else {
                        list.len()
                    }
                );
                node.seal::<Crc>(seed).unwrap();
                assert_eq!(done.is_some(), next.len() <= max, "run {run}");
                if done.is_some() {
                    list = next;
                }
                if list.is_empty() {
                    break;
                }
                assert!(block == leaf(&volume, seed, &list, len), "run {run}");
            }
        }
    }
}

#[test]
fn a_new_node_takes_a_part_of_another() {
    let volume = volume();
    let seed = Seed::of_volume(&volume);
    let numbers = &mut Numbers(3);
    let list = some_extents(&volume, numbers, 0, 40);
    let old = leaf(&volume, seed, &list, 1024);
    let child = leaf_child(&volume, &list);
    let node = Node::child::<Crc>(&volume, seed, child, Block::new(&old).unwrap()).unwrap();
    assert_eq!((node.run().len(), node.max()), (40, 84));
    assert_eq!(node.run().start(7), Some(list[7].lblks().start));
    assert_eq!(node.run().start(40), None);

    // The same without checking all of it again.
    assert_eq!(Run::of_block(&old).unwrap().len(), 40);

    let mut new = vec![0xff; 1024];
    let mut made = NodeMut::new_block(&mut new, 0).unwrap();
    assert!(made.is_empty());
    made.splice(0..0, node.run().slice(25..40).unwrap())
        .unwrap();
    made.seal::<Crc>(seed).unwrap();
    assert!(new == leaf(&volume, seed, &list[25..], 1024));

    let mut root = [0xff; ROOT_LEN];
    let mut made = NodeMut::new_root(&mut root, 0).unwrap();
    assert!(made.splice(0..0, node.run().slice(0..5).unwrap()).is_none());
    made.splice(0..0, node.run().slice(0..4).unwrap()).unwrap();
    assert_eq!(Run::of_root(&root).unwrap().len(), 4);
    assert_eq!(root, Entries::Extents(&list[..4]).root(&volume).unwrap());
    assert_eq!(extents(&Node::root(&volume, &root).unwrap()), list[..4]);
}

#[test]
fn children_are_replaced_too() {
    let volume = volume();
    let child = |start, len, depth| {
        Child::new(
            &volume,
            Pblk(100 + u64::from(start)),
            depth,
            range(start, len),
        )
        .unwrap()
    };
    let old = [child(0, 10, 1), child(10, 10, 1), child(20, 10, 1)];
    let mut root = Entries::Children(&old).root(&volume).unwrap();
    let mut node = NodeMut::root(&mut root).unwrap();
    let few = Few::children(&[child(11, 4, 1), child(15, 5, 1)]).unwrap();
    node.splice(1..2, few.run()).unwrap();
    let new = [
        child(0, 11, 1),
        child(11, 4, 1),
        child(15, 5, 1),
        child(20, 10, 1),
    ];
    assert_eq!(root, Entries::Children(&new).root(&volume).unwrap());
}

#[test]
fn what_is_no_node_is_not_made() {
    let volume = volume();
    let extent =
        |start, len| Extent::new(&volume, range(start, len), Pblk(100), State::Written).unwrap();
    let before = Entries::Extents(&[extent(0, 5), extent(10, 5), extent(20, 5)])
        .root(&volume)
        .unwrap();
    let splice = |start: usize, end: usize, with: Few| {
        let mut root = before;
        let done = NodeMut::root(&mut root)
            .unwrap()
            .splice(start..end, with.run());
        assert_eq!(done.is_some(), root != before, "{start}..{end}");
        done
    };
    let few = |list: &[Extent]| Few::extents(list).unwrap();
    assert!(splice(1, 1, few(&[extent(5, 5)])).is_some());
    // Overlaps what is before it, what is behind it, itself, or is out of order.
    assert!(splice(1, 1, few(&[extent(4, 5)])).is_none());
    assert!(splice(1, 1, few(&[extent(5, 6)])).is_none());
    assert!(splice(1, 2, few(&[extent(10, 5), extent(14, 2)])).is_none());
    assert!(splice(0, 0, few(&[extent(50, 1)])).is_none());
    // Too many, not there, the wrong way round, of another kind.
    assert!(splice(1, 1, few(&[extent(5, 1), extent(7, 1)])).is_none());
    assert!(splice(3, 4, Few::NONE).is_none());
    assert!(splice(2, 1, few(&[extent(12, 1)])).is_none());
    // As an extent it would have 3 blocks, and fit.
    let child = Child::new(&volume, Pblk(3), 0, range(5, 1)).unwrap();
    assert!(splice(1, 1, Few::children(&[child]).unwrap()).is_none());
    assert!(Few::extents(&[0, 1, 2, 3].map(|start| extent(start, 1))).is_none());

    // Too deep, too small, and nothing that was a node before.
    assert!(NodeMut::new_root(&mut [0; ROOT_LEN], 5).is_some());
    assert!(NodeMut::new_root(&mut [0; ROOT_LEN], 6).is_none());
    assert!(NodeMut::new_block(&mut [0; 1024], 4).is_some());
    assert!(NodeMut::new_block(&mut [0; 1024], 5).is_none());
    assert!(NodeMut::new_block(&mut [0; 10], 0).is_none());
    assert!(NodeMut::root(&mut [0; ROOT_LEN]).is_none());
    assert!(NodeMut::block(&mut [0; 10]).is_none());
    let mut full = before;
    full[2] = 5;
    assert!(NodeMut::root(&mut full).is_none());
}
