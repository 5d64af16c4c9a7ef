// SPDX-License-Identifier: GPL-2.0

//! The bound beside trees that grow as badly as the rules allow.

extern crate std;

use super::{
    Plan,
    Shape,
    MAX_DEPTH, //
};
use crate::ondisk::extent::ROOT_MAX;
use damage::Numbers;
use std::{
    vec,
    vec::Vec, //
};

const ROOT: usize = ROOT_MAX as usize;

/// A node: what is below, or, in a leaf, how many entries it has.
#[derive(Clone)]
enum Node {
    Leaf(usize),
    Inner(Vec<Node>),
}

impl Node {
    fn len(&self) -> usize {
        match self {
            Self::Leaf(n) => *n,
            Self::Inner(below) => below.len(),
        }
    }

    fn split_off(&mut self, at: usize) -> Self {
        match self {
            Self::Leaf(n) => {
                let rest = *n - at;
                *n = at;
                Self::Leaf(rest)
            }
            Self::Inner(below) => Self::Inner(below.split_off(at)),
        }
    }

    fn put(&mut self, at: usize, new: Option<Self>) {
        match (self, new) {
            (Self::Leaf(n), None) => *n += 1,
            (Self::Inner(below), Some(new)) => below.insert(at, new),
            _ => unreachable!(),
        }
    }
}

/// A tree of which all that matters is how full its nodes are.
struct Tree {
    root: Node,
    room: usize,
    depth: u16,
    /// Nodes that were made.
    made: u64,
}

impl Tree {
    /// A tree with nodes that have between `fill` entries and all they have room for.
    fn new(room: usize, depth: u16, fill: impl Fn() -> usize + Copy) -> Self {
        fn node(entries: usize, depth: u16, fill: impl Fn() -> usize + Copy) -> Node {
            match depth {
                0 => Node::Leaf(entries),
                _ => Node::Inner(
                    (0..entries)
                        .map(|_| node(fill(), depth - 1, fill))
                        .collect(),
                ),
            }
        }
        let entries = fill().min(ROOT);
        Self {
            root: node(entries, depth, fill),
            room,
            depth,
            made: 0,
        }
    }

    /// Puts an entry into the leaf that `choose` leads to: it is shown a node, and says below which
    /// of its entries to go on, or, of a leaf, before which to put it.
    fn insert(&mut self, mut choose: impl FnMut(&Node) -> usize) {
        let (room, mut made) = (self.room, 0);
        if self.root.len() == ROOT {
            // Only if it is needed; found out by trying.
            let mut copy = self.root.clone();
            let mut path = vec![];
            let over = insert(&mut copy, room, true, &mut made, &mut |node| {
                let at = choose(node);
                path.push(at);
                at
            });
            match over {
                None if copy.len() <= ROOT => self.root = copy,
                _ => {
                    // The root's entries move to a new node.
                    made = 1;
                    self.depth += 1;
                    let old = std::mem::replace(&mut self.root, Node::Inner(vec![]));
                    self.root.put(0, Some(old));
                    let mut path = path.into_iter();
                    let mut is_root = true;
                    insert(&mut self.root, room, true, &mut made, &mut |_| {
                        if std::mem::take(&mut is_root) {
                            return 0;
                        }
                        path.next().unwrap()
                    });
                }
            }
        } else {
            insert(&mut self.root, room, true, &mut made, &mut choose);
        }
        self.made += made;
        assert!(self.root.len() <= ROOT && self.depth <= MAX_DEPTH);
    }

    /// Takes an entry out, and nodes that are empty then.
    fn remove(&mut self, choose: &mut impl FnMut(&Node) -> usize) {
        fn remove(node: &mut Node, choose: &mut impl FnMut(&Node) -> usize) {
            let at = choose(node);
            match node {
                Node::Leaf(n) => *n = n.saturating_sub(1),
                Node::Inner(below) => {
                    let at = at.min(below.len() - 1);
                    remove(&mut below[at], choose);
                    if below[at].len() == 0 {
                        below.remove(at);
                    }
                }
            }
        }
        remove(&mut self.root, choose);
        if self.root.len() == 0 {
            self.root = Node::Leaf(0);
            self.depth = 0;
        }
    }
}

/// Puts an entry below a node. A root is not split here, but may have one entry too many then.
/// Gives what a split leaves for the level above.
fn insert(
    node: &mut Node,
    room: usize,
    is_root: bool,
    made: &mut u64,
    choose: &mut impl FnMut(&Node) -> usize,
) -> Option<Node> {
    insert_last(node, room, is_root, true, made, choose)
}

fn insert_last(
    node: &mut Node,
    room: usize,
    is_root: bool,
    is_last: bool,
    made: &mut u64,
    choose: &mut impl FnMut(&Node) -> usize,
) -> Option<Node> {
    let at = choose(node).min(node.len() - usize::from(matches!(node, Node::Inner(_))));
    let (at, new) = match node {
        Node::Leaf(_) => (at, None),
        Node::Inner(below) => {
            let is_last = is_last && at + 1 == below.len();
            let new = insert_last(&mut below[at], room, false, is_last, made, choose)?;
            (at + 1, Some(new))
        }
    };
    if is_root || node.len() < room {
        node.put(at, new);
        return None;
    }
    *made += 1;
    if is_last && at == node.len() {
        return Some(match new {
            None => Node::Leaf(1),
            Some(new) => Node::Inner(vec![new]),
        });
    }
    let half = node.len().div_ceil(2);
    let mut upper = node.split_off(half);
    if at <= half {
        node.put(at, new);
    } else {
        upper.put(at - half, new);
    }
    Some(upper)
}

/// How an adversary chooses where the next entry goes.
#[derive(Clone, Copy, Debug)]
enum Way {
    Anywhere,
    Last,
    /// The same leaf again and again.
    Near(usize),
    /// Where nodes are full.
    Full,
    /// Between the last entry of what is full, and the end.
    FullOrLast,
}

fn choose(way: Way, room: usize, node: &Node, numbers: &mut Numbers) -> usize {
    let anywhere = |numbers: &mut Numbers| numbers.below(node.len() + 1);
    let full = |numbers: &mut Numbers| match node {
        Node::Leaf(n) => numbers.below(*n + 1),
        Node::Inner(below) => {
            let fullest = below
                .iter()
                .map(|node| fullness(node, room))
                .max()
                .unwrap_or(0);
            let best: Vec<_> = (0..below.len())
                .filter(|at| fullness(&below[*at], room) == fullest)
                .collect();
            numbers.pick(&best)
        }
    };
    match way {
        Way::Anywhere => anywhere(numbers),
        Way::Last => node.len(),
        Way::Near(at) => at % (node.len() + 1),
        Way::Full => full(numbers),
        Way::FullOrLast if numbers.below(3) == 0 => node.len(),
        Way::FullOrLast => full(numbers),
    }
}

/// How many nodes one entry would split below, at most.
fn fullness(node: &Node, room: usize) -> usize {
    let below = match node {
        Node::Leaf(_) => 0,
        Node::Inner(below) => below
            .iter()
            .map(|node| fullness(node, room))
            .max()
            .unwrap_or(0),
    };
    match node.len() >= room {
        true => below + 1,
        // A level that is not full takes in what comes from below.
        false => below,
    }
}

const WAYS: [Way; 7] = [
    Way::Anywhere,
    Way::Last,
    Way::Near(0),
    Way::Near(1),
    Way::Near(2),
    Way::Full,
    Way::FullOrLast,
];

#[test]
fn no_order_of_entries_makes_more_nodes() {
    let mut numbers = Numbers(1);
    // How often the bound was just reached: one that is far too large has another fault.
    let mut reached = 0;
    for room in [5_usize, 6, 7, 8, 11, 20] {
        let shape = Shape::with_room(ROOT as u64, room as u64).unwrap();
        for depth in 0..=3 {
            if room.pow(depth.into()) > 600 {
                continue;
            }
            for way in WAYS {
                for _ in 0..20 {
                    let mut tree = Tree::new(room, depth, || room);
                    for n in 1..=120 {
                        let before = tree.made;
                        tree.insert(|node| choose(way, room, node, &mut numbers));
                        if tree.depth >= MAX_DEPTH {
                            break;
                        }
                        let bound = shape.nodes(n, depth);
                        assert!(
                            tree.made <= bound,
                            "room {room} depth {depth} {way:?}: entry {n} made {}, bound {bound}",
                            tree.made
                        );
                        reached += u64::from(tree.made == bound && tree.made > before);
                    }
                }
            }
        }
    }
    assert!(reached > 1000, "reached {reached} times");
}

#[test]
fn more_entries_and_deeper_trees_never_need_less() {
    for room in [5, 6, 84, 340] {
        let shape = Shape::with_room(4, room).unwrap();
        for depth in 0..=MAX_DEPTH {
            assert_eq!(shape.nodes(0, depth), 0);
            for n in 0..3000 {
                let nodes = shape.nodes(n, depth);
                assert!(nodes <= shape.nodes(n + 1, depth));
                assert!(
                    depth == MAX_DEPTH || nodes <= shape.nodes(n, depth + 1),
                    "{room} {depth} {n}"
                );
            }
        }
    }
    // All of the longest file, in single blocks.
    let shape = Shape::with_room(4, 340).unwrap();
    assert!(shape.nodes(u32::MAX.into(), 0) < u64::from(u32::MAX) / 160);
}

#[test]
fn the_usual_files_need_little() {
    let shape = Shape::with_room(4, 340).unwrap();
    // A new file: its extents leave the root.
    assert_eq!(shape.nodes(1, 0), 1);
    assert_eq!(shape.nodes(256, 0), 2);
    // Of some four hundred extents: each of its four leaves, the last twice, and the root.
    assert_eq!(shape.nodes(1, 1), 2);
    assert_eq!(shape.nodes(256, 1), 7);
}

/// A file's life: entries are announced, come into its tree or do not, and others leave it.
#[test]
fn what_is_kept_is_always_enough() {
    let mut numbers = Numbers(2);
    let mut spent = 0;
    for round in 0..400 {
        let room = numbers.pick(&[5, 6, 8, 20]);
        let shape = Shape::with_room(ROOT as u64, room as u64).unwrap();
        let full = numbers.below(2) == 0;
        let fill = if full { room } else { room / 2 + 1 };
        let mut tree = Tree::new(room, numbers.below(3) as u16, || fill);
        let mut plan = Plan::default();
        let mut pending = 0_u64;
        let removes = numbers.below(2) == 0;
        // Some keep to one way, and always have an entry to come.
        let only = (numbers.below(2) == 0).then(|| numbers.pick(&WAYS));
        let idle = numbers.below(2) as u64;
        for _ in 0..200 {
            let depth = tree.depth;
            match numbers.below(8) {
                0..2 => {
                    let entries = 1 + numbers.below(3) as u64;
                    plan = plan.announce(shape, depth, entries);
                    pending += entries;
                }
                2..5 if pending > idle => {
                    // Some are joined with others, and make no entry.
                    if numbers.below(5) > 0 {
                        let way = only.unwrap_or(numbers.pick(&WAYS));
                        let before = tree.made;
                        tree.insert(|node| choose(way, room, node, &mut numbers));
                        let made = tree.made - before;
                        plan.spend(made).unwrap_or_else(|| {
                            panic!("round {round}, {way:?}: {made} nodes, kept {}", plan.kept())
                        });
                        spent += made;
                    }
                    let kept = plan.kept();
                    let surplus = plan.settle(shape, tree.depth, 1).unwrap();
                    assert_eq!(plan.kept() + surplus, kept);
                    pending -= 1;
                }
                5..7 if removes => {
                    let afresh = plan.afresh(shape, depth);
                    let last = numbers.below(2) == 0;
                    for _ in 0..numbers.below(6) {
                        tree.remove(&mut |node| match last {
                            true => node.len(),
                            false => numbers.below(node.len() + 1),
                        });
                    }
                    plan = afresh;
                }
                _ => {}
            }
            if tree.depth >= MAX_DEPTH - 1 {
                break;
            }
            assert!(pending > 0 || plan.kept() == 0);
        }
        let kept = plan.kept();
        assert_eq!(plan.settle(shape, tree.depth, pending), Some(kept));
        assert_eq!(plan.kept(), 0);
    }
    assert!(spent > 1000, "spent {spent}");
}

/// What makes the last rule: a node that comes and goes with each entry.
#[test]
fn nodes_that_come_and_go_are_kept_for() {
    let shape = Shape::with_room(4, 20).unwrap();
    let run = |afresh: bool| {
        let mut tree = Tree::new(20, 1, || 20);
        // Of one entry it is never known when it comes.
        let mut plan = Plan::default().announce(shape, 1, 1);
        for _ in 0..20 {
            plan = plan.announce(shape, tree.depth, 1);
            let before = tree.made;
            tree.insert(Node::len);
            plan.spend(tree.made - before)?;
            plan.settle(shape, tree.depth, 1)?;
            let remade = plan.afresh(shape, tree.depth);
            tree.remove(&mut Node::len);
            if afresh {
                plan = remade;
            }
        }
        Some(())
    };
    assert_eq!(run(true), Some(()));
    assert_eq!(run(false), None);
}

#[test]
fn no_more_is_spent_or_settled_than_there_is() {
    let shape = Shape::with_room(4, 84).unwrap();
    let mut plan = Plan::default().announce(shape, 0, 2);
    assert_eq!(plan.kept(), 1);
    assert_eq!(plan.spend(2), None);
    assert_eq!(plan.settle(shape, 0, 3), None);
    assert_eq!(plan.settle(shape, 0, 1), Some(0));
    assert_eq!(plan.settle(shape, 0, 1), Some(1));
}
