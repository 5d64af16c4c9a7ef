// SPDX-License-Identifier: GPL-2.0

//! Whatever fails before the first change leaves no trace.

use crate::{
    extent,
    range,
    store::{
        volume,
        Store,
        Told, //
    },
    ALL, //
    UNWRITTEN,
    WRITTEN,
};
use damage::Numbers;
use extent_tree::{
    Error,
    Tree, //
};
use ondisk::{
    extent::{
        Child,
        Entries,
        MAX_DEPTH, //
    },
    Blocks,
    Lblk,
    LblkRange,
    Pblk, //
};

/// A tree all nodes of which are full on the way to one leaf, and the blocks that the extents in that
/// leaf begin with: each has 3 blocks, and a hole behind it. All other leaves have one extent.
pub(crate) fn full(depth: u16) -> (Store, Vec<u32>) {
    let mut store = Store::new(&volume(true), 1_000_000);
    let volume = store.volume.clone();
    let mut pblk = 2000;
    let mut above = None;
    let (mut start, mut end) = (1000, Lblk::END.0);
    for level in (0..depth).rev() {
        let count = if above.is_none() { 4 } else { 84 };
        // The path goes through the middle of each node; the others have two blocks each.
        let (before, behind) = (count / 2, count - count / 2 - 1);
        let path = range(start + 2 * before, end - 2 * behind);
        let mut children = vec![];
        for n in 0..before {
            let first = start + 2 * n;
            children.push(thin(&mut store, &mut pblk, level, first, first + 2));
        }
        pblk += 1;
        children.push(Child::new(&volume, Pblk(pblk), level, path).unwrap());
        for n in 0..behind {
            let first = path.end.0 + 2 * n;
            children.push(thin(&mut store, &mut pblk, level, first, first + 2));
        }
        put(&mut store, above, Entries::Children(&children));
        above = Some(children[before as usize]);
        (start, end) = (path.start.0, path.end.0);
    }
    let count = if above.is_none() { 4 } else { 84 };
    let starts: Vec<_> = (0..count).map(|n| start + 4 * n).collect();
    let extents: Vec<_> = starts
        .iter()
        .map(|start| extent(&volume, *start, start + 3, 1 << 32, UNWRITTEN))
        .collect();
    put(&mut store, above, Entries::Extents(&extents));
    store.leaves();
    (store, starts)
}

/// A node of a level, and one on each below it, with one block in the leaf.
pub(crate) fn thin(store: &mut Store, pblk: &mut u64, level: u16, start: u32, end: u32) -> Child {
    *pblk += 1;
    let child = Child::new(&store.volume, Pblk(*pblk), level, range(start, end)).unwrap();
    if level == 0 {
        let one = extent(&store.volume, start, start + 1, 1 << 33, UNWRITTEN);
        store.put(child, Entries::Extents(&[one]));
    } else {
        let below = thin(store, pblk, level - 1, start, end);
        store.put(child, Entries::Children(&[below]));
    }
    child
}

/// Puts a node into its block, or into the root.
fn put(store: &mut Store, child: Option<Child>, entries: Entries<'_>) {
    match child {
        None => store.root = entries.root(&store.volume).unwrap(),
        Some(child) => store.put(child, entries),
    }
}

/// Runs a step with each call that it makes failing in turn.
fn every_call_fails<T: std::fmt::Debug + PartialEq>(
    store: &Store,
    step: impl Fn(&mut Tree<'_, Store>) -> Result<T, Error<Told>>,
) {
    let before = store.contents();
    let mut whole = store.clone();
    whole.step(&step).unwrap();
    let calls = whole.calls.clone();
    for n in 0..calls.asked {
        let mut store = store.clone();
        store.fail_ask = Some(n);
        assert_eq!(store.step(&step), Err(Error::Nodes(Told)), "call {n}");
        assert!(store.contents() == before, "call {n} of {calls:?}");
        // And nothing is left behind that keeps it from being done afterwards.
        store.fail_ask = None;
        store.step(&step).unwrap();
        assert_eq!(store.extents(), whole.extents());
    }
    // No block at all, and too few.
    for have in 0..calls.created {
        let mut store = store.clone();
        store.free.truncate(have.into());
        let before = store.contents();
        assert_eq!(store.step(&step), Err(Error::Nodes(Told)));
        assert!(store.contents() == before);
    }
    // What fails later is told, and no worse.
    for n in 0..calls.done {
        let mut store = store.clone();
        store.fail_change = Some(n);
        assert_eq!(store.step(&step), Err(Error::Nodes(Told)), "change {n}");
    }
}

#[test]
fn failed_steps_leave_no_trace() {
    for depth in 0..MAX_DEPTH {
        let (store, starts) = full(depth);
        let start = starts[starts.len() / 2];
        let one = extent(&store.volume, start + 3, start + 4, 7, WRITTEN);
        every_call_fails(&store, |tree| tree.insert(one));
        every_call_fails(&store, |tree| {
            tree.convert(range(start + 1, start + 2), WRITTEN)
        });
        every_call_fails(&store, |tree| tree.remove(range(start + 1, start + 2), ALL));
        every_call_fails(&store, |tree| tree.remove(range(start, start + 2), ALL));
        every_call_fails(&store, |tree| tree.split(Lblk(start + 1)));
        // In the middle of the leaf, and the leaf behind it.
        every_call_fails(&store, |tree| tree.shift_left(range(start - 1, start)));
        every_call_fails(&store, |tree| {
            tree.shift_right(range(start, start + 4), Blocks(1))
        });
        every_call_fails(&store, |tree| {
            tree.shift_right(LblkRange::all_from(Lblk(start)), Blocks(1))
        });
        let last = starts[starts.len() - 1] + 3;
        every_call_fails(&store, |tree| tree.shift_left(range(last, last + 1)));
        // The last extent below one of the nodes of the root, and with it what is below.
        every_call_fails(&store, |tree| tree.remove(range(0, start - 1), ALL));
        let last = extent(&store.volume, Lblk::END.0 - 9, Lblk::END.0 - 8, 7, WRITTEN);
        every_call_fails(&store, |tree| tree.insert(last));
        if depth > 0 {
            every_call_fails(&store, |tree| tree.remove(range(0, 1_001), ALL));
        }
    }
}

#[test]
fn trees_do_not_get_too_deep() {
    let (mut store, starts) = full(MAX_DEPTH);
    let start = starts[starts.len() / 2];
    let before = store.contents();
    let one = extent(&store.volume, start + 3, start + 4, 7, WRITTEN);
    assert_eq!(store.step(|tree| tree.insert(one)), Err(Error::TooDeep));
    let middle = range(start + 1, start + 2);
    assert_eq!(
        store.step(|tree| tree.convert(middle, WRITTEN)),
        Err(Error::TooDeep)
    );
    assert_eq!(
        store.step(|tree| tree.remove(middle, ALL)),
        Err(Error::TooDeep)
    );
    assert!(store.contents() == before);
    // What needs no room is done.
    store
        .step(|tree| tree.convert(range(start, start + 3), WRITTEN))
        .unwrap();
    store
        .step(|tree| tree.remove(range(start, start + 3), ALL))
        .unwrap();
    store.step(|tree| tree.insert(one)).unwrap();
    store.leaves();
}

#[test]
fn a_broken_node_is_told_and_left() {
    for depth in 1..MAX_DEPTH {
        let (store, starts) = full(depth);
        let start = starts[starts.len() / 2];
        let middle = range(start + 1, start + 2);
        let mut broken = 0;
        for pblk in store.blocks.keys().copied().collect::<Vec<_>>() {
            let mut store = store.clone();
            store.blocks.get_mut(&pblk).unwrap()[100] ^= 1;
            let before = store.contents();
            match store.step(|tree| tree.remove(middle, ALL)) {
                Ok(removed) => assert!(removed.is_some()),
                Err(Error::Format { pblk: at, error }) => {
                    assert_eq!(at, Some(Pblk(pblk)));
                    assert!(matches!(error, ondisk::Error::BadChecksum { .. }));
                    assert!(store.contents() == before);
                    broken += 1;
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(broken, depth);
    }
}

#[test]
fn damaged_trees_are_changed_or_refused() {
    let (mut changed, mut refused) = (0, 0);
    for seed in 0..20_000 {
        let numbers = &mut Numbers(seed);
        let mut store = narrow_leaves(numbers);
        // One of the bytes that mean something, in the root or a block.
        let keys: Vec<_> = store.blocks.keys().copied().collect();
        let which = numbers.below(keys.len() + 1);
        let bytes = match keys.get(which) {
            Some(pblk) => &mut store.blocks.get_mut(pblk).unwrap()[..],
            None => &mut store.root[..],
        };
        let at = numbers.below(48);
        bytes[at] = numbers.pick(&[0, 1, 4, 5, 0x7f, 0xff, bytes[at] ^ 1]);

        let lblks = range(0, 1 + numbers.below(3000) as u32);
        let one = extent(&store.volume, 500, 501, 7, WRITTEN);
        let result = match numbers.below(6) {
            0 => store.step(|tree| tree.insert(one)),
            3 => store.step(|tree| tree.shift_left(range(3, 4))).map(|_| ()),
            4 => {
                let behind = LblkRange::all_from(Lblk(4));
                store
                    .step(|tree| tree.shift_right(behind, Blocks(1)))
                    .map(|_| ())
            }
            5 => store.step(|tree| tree.split(Lblk(5))),
            1 => store.step(|tree| tree.convert(lblks, WRITTEN)).map(|_| ()),
            _ => store.step(|tree| tree.remove(lblks, ALL)).map(|_| ()),
        };
        match result {
            Ok(()) => changed += 1,
            Err(Error::Inconsistent | Error::TooDeep) => panic!("seed {seed}: {result:?}"),
            Err(_) => {
                assert_eq!(store.calls.done, 0);
                refused += 1;
            }
        }
    }
    println!("{changed} changed, {refused} refused");
    assert!(changed > 2000 && refused > 2000);
}

/// A tree of two levels, without checksums, with some extents in each leaf.
fn narrow_leaves(numbers: &mut Numbers) -> Store {
    let mut store = Store::new(&volume(false), 1_000_000);
    let volume = store.volume.clone();
    let ends = [1000, 2000, Lblk::END.0];
    let mut children = vec![];
    for (n, end) in ends.into_iter().enumerate() {
        let start = 1000 * n as u32;
        let child = Child::new(&volume, Pblk(2000 + n as u64), 0, range(start, end)).unwrap();
        let extents: Vec<_> = (0..numbers.pick(&[1, 3, 84]))
            .map(|n| {
                extent(
                    &volume,
                    start + 4 * n,
                    start + 4 * n + 3,
                    1 << 32,
                    UNWRITTEN,
                )
            })
            .collect();
        store.put(child, Entries::Extents(&extents));
        children.push(child);
    }
    store.root = Entries::Children(&children).root(&volume).unwrap();
    store
}
