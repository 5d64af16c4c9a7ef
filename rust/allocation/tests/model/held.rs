// SPDX-License-Identifier: GPL-2.0

//! Held ranges beside a reason for each block.

use crate::volume::{
    superblock,
    Spare,
    Tree,
    SMALL, //
};
use allocation::{
    hold,
    overlap,
    seize,
    sweep,
    unclaim,
    Held,
    Ranges,
    Why,
    Window, //
};
use damage::Numbers;
use ondisk::{
    Blocks,
    Pblk,
    PblkRange, //
};

const LEN: usize = 60;

fn range(start: usize, end: usize) -> PblkRange {
    PblkRange {
        start: Pblk(start as u64),
        end: Pblk(end as u64),
    }
}

fn reasons(tree: &Tree) -> Vec<Option<Why>> {
    let mut blocks = vec![None; LEN];
    for (end, (start, why)) in &tree.0 {
        for block in &mut blocks[start.0 as usize..*end as usize] {
            assert_eq!(block.replace(*why), None);
        }
    }
    blocks
}

#[test]
fn what_is_freed_from_the_end_is_one_range() {
    let mut tree = Tree::default();
    for (start, end, tid) in [
        (80, 90, 1),
        (70, 80, 1),
        (60, 70, 2),
        (50, 60, 2),
        (30, 49, 2),
    ] {
        let why = Why::Freed(tid);
        let blocks = range(start, end);
        assert_eq!(hold(&mut tree, Held { blocks, why }, Spare), Ok(()));
    }
    assert_eq!(tree.0.len(), 3);
}

#[test]
fn every_block_is_held_for_one_reason() {
    let mut numbers = Numbers(3);
    let volume = superblock(SMALL);
    let inos = [12, 13, 14].map(|number| volume.ino(number).unwrap());
    let mut tree = Tree::default();
    let mut model: Vec<Option<Why>> = vec![None; LEN];
    let mut windows = [(); 3].map(|_| Window::default());
    let mut tid = u32::MAX - 20;
    let (mut claims, mut released, mut refused) = (0, 0, 0);
    for _ in 0..20_000 {
        let start = numbers.below(LEN - 1);
        let end = (start + 1 + numbers.below(8)).min(LEN);
        let blocks = range(start, end);
        let which = numbers.below(3);
        let (ino, window) = (inos[which], &mut windows[which]);
        match numbers.below(8) {
            0..3 => {
                let why = match numbers.below(3) {
                    0 => Why::Claimed,
                    _ => Why::Freed(tid),
                };
                let first = model[start..end].iter().position(Option::is_some);
                let result = hold(&mut tree, Held { blocks, why }, Spare);
                match first {
                    None => model[start..end].fill(Some(why)),
                    Some(_) => refused += 1,
                }
                assert_eq!(result.is_err(), first.is_some());
                if let Err(held) = result {
                    assert!(held.blocks.overlaps(blocks));
                    assert_eq!(model[held.blocks.start.0 as usize], Some(held.why));
                }
            }
            3 => {
                seize(&mut tree, blocks);
                // A window goes as a whole.
                let mut gone = vec![];
                for block in &model[start..end] {
                    gone.extend(block.filter(|why| matches!(why, Why::Window(_))));
                }
                for block in &mut model {
                    *block = block.filter(|why| !gone.contains(why));
                }
            }
            4 => {
                window.close(&mut tree, ino);
                for block in &mut model {
                    *block = block.filter(|why| *why != Why::Window(ino));
                }
                if model[start..end].iter().all(Option::is_none) {
                    assert_eq!(window.open(&mut tree, ino, blocks, Spare), Ok(()));
                    model[start..end].fill(Some(Why::Window(ino)));
                } else {
                    assert!(window.open(&mut tree, ino, blocks, Spare).is_err());
                }
            }
            5 => {
                let front = model.iter().position(|why| *why == Some(Why::Window(ino)));
                let goal = match front {
                    Some(front) if numbers.below(4) > 0 => front,
                    _ => start,
                };
                let n = 1 + numbers.below(8);
                let claimed =
                    window.claim(&mut tree, ino, Pblk(goal as u64), Blocks(n as u64), Spare);
                let expected = (front == Some(goal)).then(|| {
                    let own = model[goal..].iter();
                    let own = own.take_while(|why| **why == Some(Why::Window(ino)));
                    range(goal, goal + own.count().min(n))
                });
                assert_eq!(claimed, expected);
                if let Some(blocks) = claimed {
                    model[blocks.start.0 as usize..blocks.end.0 as usize].fill(Some(Why::Claimed));
                    claims += 1;
                }
            }
            6 => {
                let held = tree.first_behind(Pblk(start as u64));
                let blocks = held.map_or(blocks, |held| held.blocks);
                let is_claim = held.is_some_and(|held| held.why == Why::Claimed);
                assert_eq!(unclaim(&mut tree, blocks), is_claim);
                if is_claim {
                    model[blocks.start.0 as usize..blocks.end.0 as usize].fill(None);
                }
            }
            _ => {
                let committed = tid.wrapping_sub(numbers.below(3) as u32);
                tid = tid.wrapping_add(1);
                let (mut pblk, mut n) = (Pblk(0), 0);
                while let Some(swept) = sweep(&mut tree, pblk, committed) {
                    assert!(swept.next > pblk);
                    pblk = swept.next;
                    n += swept.freed.map_or(0, |n| n.0);
                }
                for block in &mut model {
                    if let Some(Why::Freed(freed)) = block {
                        if committed.wrapping_sub(*freed) as i32 >= 0 {
                            *block = None;
                            n -= 1;
                            released += 1;
                        }
                    }
                }
                assert_eq!(n, 0);
            }
        }
        assert_eq!(reasons(&tree), model);
        let first = model[start..end].iter().flatten().next();
        assert_eq!(overlap(&tree, blocks).map(|held| held.why), first.copied());
    }
    assert!(
        claims > 200 && released > 2000 && refused > 1000,
        "{claims} {released} {refused}"
    );
}
