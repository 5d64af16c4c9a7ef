// SPDX-License-Identifier: GPL-2.0

//! No step touches more blocks than is said, and some step touches as many; random steps are in the
//! property test.

use crate::{
    extent,
    failure::{
        full,
        thin, //
    },
    range,
    store::{
        volume,
        Store,
        Told, //
    },
    ALL, //
    WRITTEN,
};
use extent_tree::{
    Cost,
    Error,
    Tree, //
};
use ondisk::{
    extent::{
        Child,
        Entries,
        Node,
        MAX_DEPTH, //
    },
    Blocks,
    Lblk,
    LblkRange,
    Pblk, //
};

/// A [full] tree below a node with two entries, which is the only one below the root; and where an
/// extent begins in the leaf that the full nodes lead to.
fn narrow(depth: u16) -> (Store, u32) {
    let (mut store, starts) = full(depth - 1);
    let first = if depth > 1 { 1004 } else { starts[2] };
    while store
        .step(|tree| tree.remove(range(0, first), ALL))
        .unwrap()
        .is_some()
    {}
    let volume = store.volume.clone();
    let lblks = range(first, Lblk::END.0);
    let child = Child::new(&volume, Pblk(900_000), depth - 1, lblks).unwrap();
    let root = store.root;
    match Node::root(&volume, &root).unwrap() {
        Node::Leaf(leaf) => {
            let extents: Vec<_> = leaf.extents().collect();
            store.put(child, Entries::Extents(&extents));
        }
        Node::Inner(inner) => {
            let children: Vec<_> = inner.children().collect();
            store.put(child, Entries::Children(&children));
        }
    }
    store.root = Entries::Children(&[child]).root(&volume).unwrap();
    store.leaves();
    (store, starts[starts.len() / 2])
}

/// A root with two ways down without branches, with one extent at the end of each.
fn two_ways(depth: u16) -> Store {
    let mut store = Store::new(&volume(true), 1_000_000);
    let mut pblk = 2000;
    let mut thin = |start, end| thin(&mut store, &mut pblk, depth - 1, start, end);
    let children = [thin(0, 1000), thin(1000, Lblk::END.0)];
    store.root = Entries::Children(&children).root(&store.volume).unwrap();
    store.leaves();
    store
}

/// A root with one way down without branches, and one extent at its end.
fn one_way(depth: u16) -> Store {
    let mut store = Store::new(&volume(true), 1_000_000);
    let child = thin(&mut store, &mut 2000, depth - 1, 1000, Lblk::END.0);
    store.root = Entries::Children(&[child]).root(&store.volume).unwrap();
    store.leaves();
    store
}

/// What a step touches.
fn touched<T>(
    store: &Store,
    step: impl Fn(&mut Tree<'_, Store>) -> Result<T, Error<Told>>,
) -> Cost {
    let mut store = store.clone();
    store.step(step).unwrap();
    store.leaves();
    store.calls.cost()
}

/// The most of each kind.
fn most(costs: &[Cost]) -> Cost {
    costs.iter().fold(Cost::default(), |most, cost| Cost {
        changed: most.changed.max(cost.changed),
        created: most.created.max(cost.created),
        freed: most.freed.max(cost.freed),
    })
}

#[test]
fn what_is_said_is_what_it_costs() {
    for depth in 0..=MAX_DEPTH {
        let mut inserts = vec![];
        let mut converts = vec![];
        let mut removes = vec![];
        let mut shifts = vec![];
        // Every node on the path is split; at the greatest depth there is room in the root for that.
        let (mut store, starts) = full(depth);
        if depth == MAX_DEPTH {
            store.step(|tree| tree.remove(range(0, 1001), ALL)).unwrap();
        }
        let start = starts[starts.len() / 2];
        let hole = extent(&store.volume, start + 3, start + 4, 7, WRITTEN);
        let middle = range(start + 1, start + 2);
        inserts.push(touched(&store, |tree| tree.insert(hole)));
        converts.push(touched(&store, |tree| tree.convert(middle, WRITTEN)));
        removes.push(touched(&store, |tree| tree.remove(middle, ALL)));
        inserts.push(touched(&store, |tree| tree.split(Lblk(start + 1))));
        if depth > 0 {
            // All nodes on the path begin with the leaf that moves; and so below a node that fits then.
            let behind = LblkRange::all_from(Lblk(1000));
            for store in [two_ways(depth), one_way(depth)] {
                shifts.push(touched(&store, |tree| tree.shift_right(behind, Blocks(1))));
                shifts.push(touched(&store, |tree| tree.shift_left(range(998, 999))));
            }
            // The same below a node that fits into the root then.
            let (store, start) = narrow(depth);
            let hole = extent(&store.volume, start + 3, start + 4, 7, WRITTEN);
            let middle = range(start + 1, start + 2);
            inserts.push(touched(&store, |tree| tree.insert(hole)));
            converts.push(touched(&store, |tree| tree.convert(middle, WRITTEN)));
            // One of two ways down, where the other one then begins with a node that fits.
            let store = two_ways(depth);
            removes.push(touched(&store, |tree| tree.remove(range(0, 3), ALL)));
        }
        assert_eq!(most(&inserts), Cost::change(depth), "depth {depth}");
        assert_eq!(most(&converts), Cost::change(depth), "depth {depth}");
        assert_eq!(most(&removes), Cost::remove(depth), "depth {depth}");
        if depth > 0 {
            assert_eq!(most(&shifts), Cost::shift(depth), "depth {depth}");
        }
    }
}
