// SPDX-License-Identifier: GPL-2.0

//! Claims beside the volume, a block at a time.

use extent_map::{
    claim,
    Claim,
    Extent,
    Ledger,
    Outcome,
    State,
    Taken, //
};
use ondisk::{
    Ino,
    Lblk,
    LblkRange,
    Pblk,
    PblkRange, //
};
use std::collections::BTreeMap;

/// A small generator: SplitMix64.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }
}

struct Node;

#[derive(Clone, Default)]
struct Tree(BTreeMap<u64, Claim>);

impl Ledger for Tree {
    type Node = Node;

    fn at_or_before(&self, pblk: Pblk) -> Option<Claim> {
        Some(*self.0.range(..=pblk.0).next_back()?.1)
    }

    fn at_or_behind(&self, pblk: Pblk) -> Option<Claim> {
        Some(*self.0.range(pblk.0..).next()?.1)
    }

    fn insert(&mut self, claim: Claim, Node: Node) {
        let replaced = self.0.insert(claim.pblks().start.0, claim);
        assert_eq!(replaced, None);
    }

    fn remove(&mut self, claim: Claim) -> Option<Node> {
        self.0.remove(&claim.pblks().start.0).map(|removed| {
            assert_eq!(removed, claim);
            Node
        })
    }
}

impl Tree {
    /// Claims as the filesystem does: with a spare node only when that is asked for.
    fn claim(&mut self, wanted: Claim) -> Outcome {
        let before = self.0.clone();
        match claim(self, wanted, &mut None) {
            Outcome::NoNode => {
                assert_eq!(self.0, before);
                let mut spare = Some(Node);
                let outcome = claim(self, wanted, &mut spare);
                assert!(outcome == Outcome::Claimed && spare.is_none());
                assert_eq!(self.0.len(), before.len() + 1);
                outcome
            }
            outcome => outcome,
        }
    }
}

const INOS: [Ino; 3] = [Ino::ROOT, Ino::RESIZE, Ino::JOURNAL];
const BLOCKS: u64 = 200;

fn range(start: u64, end: u64) -> PblkRange {
    PblkRange {
        start: Pblk(start),
        end: Pblk(end),
    }
}

fn wanted(ino: Ino, lblk: u32, pblks: PblkRange) -> Claim {
    Claim::new(ino, Lblk(lblk), pblks).unwrap()
}

/// Who has each block of a volume, and where in the file.
type Volume = Vec<Option<(Ino, u32)>>;

fn check(tree: &Tree, volume: &Volume) {
    let mut told: Volume = vec![None; volume.len()];
    let mut last: Option<Claim> = None;
    for claim in tree.0.values().copied() {
        let pblks = claim.pblks();
        assert!(pblks.start < pblks.end);
        if let Some(last) = last {
            assert!(last.pblks().end <= pblks.start);
            let end = Pblk(last.pblks().end.0 - 1);
            let goes_on = last.pblks().end == pblks.start
                && last.ino() == claim.ino()
                && last.lblk(end).unwrap().0 + 1 == claim.lblk(pblks.start).unwrap().0;
            assert!(!goes_on, "two claims that could be one");
        }
        for pblk in pblks.start.0..pblks.end.0 {
            told[pblk as usize] = Some((claim.ino(), claim.lblk(Pblk(pblk)).unwrap().0));
        }
        last = Some(claim);
    }
    assert_eq!(&told, volume);
}

#[test]
fn a_block_is_claimed_for_one_place() {
    for seed in 0..400 {
        let mut numbers = Numbers(seed);
        let mut tree = Tree::default();
        let mut volume: Volume = vec![None; BLOCKS as usize];
        let mut refused = 0;
        for _ in 0..150 {
            let file = numbers.below(3);
            let ino = INOS[file as usize];
            if numbers.below(20) == 0 {
                tree.0.retain(|_, claim| claim.ino() != ino);
                volume
                    .iter_mut()
                    .filter(|block| block.is_some_and(|(of, _)| of == ino))
                    .for_each(|block| *block = None);
                check(&tree, &volume);
                continue;
            }
            let most = [1, 4, 60][numbers.below(3) as usize];
            let n = 1 + numbers.below(most);
            // Files keep to parts of the volume, so that not all is quarrel.
            let start = match numbers.below(3) {
                0 => numbers.below(BLOCKS),
                _ => BLOCKS / 3 * file + numbers.below(30),
            };
            let start = start.min(BLOCKS - n);
            // Where the file's blocks are, or, now and then, are not.
            let far = if numbers.below(8) == 0 { 300 } else { 0 };
            let pblks = range(start, start + n);
            let place = |pblk: u64| (ino, (pblk + far) as u32);
            let outcome = tree.claim(wanted(ino, place(start).1, pblks));
            let taken = (start..start + n)
                .find(|pblk| volume[*pblk as usize].is_some_and(|has| has != place(*pblk)));
            match taken {
                Some(pblk) => {
                    let Outcome::Taken(Taken { pblk: at, by }) = outcome else {
                        panic!("seed {seed}: {outcome:?}, not that {pblk} is taken");
                    };
                    assert_eq!(at, Pblk(pblk), "seed {seed}");
                    let has = (by.ino(), by.lblk(at).unwrap().0);
                    assert_eq!(Some(has), volume[pblk as usize]);
                    refused += 1;
                }
                None => {
                    assert_eq!(outcome, Outcome::Claimed, "seed {seed}");
                    for pblk in start..start + n {
                        volume[pblk as usize] = Some(place(pblk));
                    }
                }
            }
            check(&tree, &volume);
        }
        assert!((10..140).contains(&refused), "seed {seed}: {refused}");
    }
}

#[test]
fn what_goes_on_is_one_claim_whatever_comes_first() {
    for order in [[0, 1, 2], [2, 1, 0], [0, 2, 1], [2, 0, 1]] {
        let mut tree = Tree::default();
        for n in order {
            let pblks = range(50 + n, 51 + n);
            let outcome = tree.claim(wanted(Ino::ROOT, 7 + n as u32, pblks));
            assert_eq!(outcome, Outcome::Claimed);
        }
        let claims: Vec<_> = tree.0.into_values().collect();
        assert_eq!(claims, [wanted(Ino::ROOT, 7, range(50, 53))]);
    }
}

#[test]
fn a_claim_takes_in_all_that_it_covers() {
    let mut tree = Tree::default();
    for n in 0..20 {
        tree.claim(wanted(
            Ino::ROOT,
            2 * n,
            range(100 + 2 * u64::from(n), 101 + 2 * u64::from(n)),
        ));
    }
    assert_eq!(tree.0.len(), 20);
    let all = wanted(Ino::ROOT, 0, range(100, 140));
    // No node is needed, as some are given back.
    assert_eq!(claim(&mut tree, all, &mut None), Outcome::Claimed);
    let claims: Vec<_> = tree.0.values().copied().collect();
    assert_eq!(claims, [all]);
    // And what is claimed needs none, even at its ends.
    for pblks in [range(100, 101), range(139, 140), range(110, 120)] {
        let again = wanted(Ino::ROOT, (pblks.start.0 - 100) as u32, pblks);
        assert_eq!(claim(&mut tree, again, &mut None), Outcome::Claimed);
    }
}

#[test]
fn two_places_in_one_file_are_two() {
    let mut tree = Tree::default();
    let first = wanted(Ino::ROOT, 0, range(9, 10));
    assert_eq!(tree.claim(first), Outcome::Claimed);
    let taken = Taken {
        pblk: Pblk(9),
        by: first,
    };
    let second = wanted(Ino::ROOT, 1, range(9, 10));
    assert_eq!(tree.claim(second), Outcome::Taken(taken));
    let beside = wanted(Ino::ROOT, 1, range(10, 11));
    assert_eq!(tree.claim(beside), Outcome::Claimed);
    assert_eq!(first.lblk(Pblk(8)), None);
    assert_eq!(first.lblk(Pblk(10)), None);
}

#[test]
fn a_claim_has_blocks_that_a_file_can_have() {
    let new = |lblk, pblks| Claim::new(Ino::ROOT, Lblk(lblk), pblks);
    assert!(new(0, range(5, 5)).is_none());
    assert!(new(0, range(5, 4)).is_none());
    assert!(new(u32::MAX, range(5, 6)).is_none());
    assert!(new(u32::MAX - 1, range(5, 7)).is_none());
    let last = new(u32::MAX - 1, range(5, 6)).unwrap();
    assert_eq!(last.lblk(Pblk(5)), Some(Lblk(u32::MAX - 1)));
    // Far on in a file, and at the beginning of a volume.
    let far = new(1000, range(1, 3)).unwrap();
    assert_eq!(far.lblk(Pblk(2)), Some(Lblk(1001)));
    assert!(new(0, range(0, u64::MAX)).is_none());
}

#[test]
fn a_claim_of_an_extent_is_where_the_extent_is() {
    let lblks = |start, end| LblkRange {
        start: Lblk(start),
        end: Lblk(end),
    };
    let extent = Extent::new(lblks(100, 140), Pblk(7000), State::Written).unwrap();
    let of = |start, end| Claim::of(Ino::ROOT, &extent, lblks(start, end));
    assert_eq!(
        of(110, 111),
        Some(wanted(Ino::ROOT, 110, range(7010, 7011)))
    );
    // What the extent does not have is left out.
    let all = Some(wanted(Ino::ROOT, 100, range(7000, 7040)));
    assert_eq!(of(100, 140), all);
    assert_eq!(of(0, 512), all);
    assert_eq!(of(0, u32::MAX), all);
    assert_eq!(
        of(130, 512),
        Some(wanted(Ino::ROOT, 130, range(7030, 7040)))
    );
    assert_eq!(of(0, 101), Some(wanted(Ino::ROOT, 100, range(7000, 7001))));
    for (start, end) in [(0, 100), (140, 512), (110, 110), (120, 110)] {
        assert_eq!(of(start, end), None);
    }
}

/// As faults claim: in parts, of small pages and in any order.
#[test]
fn an_extent_needs_a_claim_for_each_part_at_most() {
    let lblks = LblkRange {
        start: Lblk(3),
        end: Lblk(203),
    };
    let extent = Extent::new(lblks, Pblk(9000), State::Written).unwrap();
    let mut tree = Tree::default();
    let mut numbers = Numbers(1);
    for _ in 0..2000 {
        let start = (3 + numbers.below(200) as u32) & !15;
        let part = LblkRange {
            start: Lblk(start),
            end: Lblk(start + 16),
        };
        let claimed = tree.claim(Claim::of(Ino::ROOT, &extent, part).unwrap());
        assert!(claimed == Outcome::Claimed && tree.0.len() <= 7);
    }
    let claims: Vec<_> = tree.0.into_values().collect();
    assert_eq!(claims, [wanted(Ino::ROOT, 3, range(9000, 9200))]);
}
