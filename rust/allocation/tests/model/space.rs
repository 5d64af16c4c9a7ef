// SPDX-License-Identifier: GPL-2.0

//! Promises that are kept: what was reserved can be taken, to the last block.

use crate::volume::{
    len,
    File,
    Volume,
    SMALL, //
};
use allocation::{
    Kept,
    NoSpace,
    Promised,
    Space,
    Who, //
};
use damage::Numbers;

#[test]
fn blocks_are_counted_once() {
    let mut numbers = Numbers(11);
    let kept = Kept {
        root: 50,
        essential: 10,
    };
    let mut space = Space::new(1000, kept);
    // Free, reserved, in use, freed.
    let (mut free, mut reserved, mut used, mut freed) = (1000_u64, 0_u64, 0_u64, 0_u64);
    let (mut refused, mut helped) = (0, 0);
    for _ in 0..20_000 {
        let n = numbers.next() % numbers.pick(&[3, 30, 300]);
        match numbers.below(7) {
            4 => {
                // They are reserved already, all of them or not.
                assert_eq!(space.room(Who::Holder), reserved);
                assert_eq!(space.reserve(n, Who::Holder).is_ok(), n <= reserved);
            }
            5 => {
                let n = n.min(used);
                let who = numbers.pick(&[Who::User, Who::Essential, Who::Holder]);
                space.give_back(n, who);
                used -= n;
                match who {
                    Who::Holder => reserved += n,
                    _ => free += n,
                }
            }
            0 | 1 => {
                let (who, least) =
                    numbers.pick(&[(Who::User, 60), (Who::Root, 10), (Who::Essential, 0)]);
                // Besides the blocks, there are nodes for them, and for those that are reserved.
                let room = |free: u64| {
                    let root = if who == Who::User { 50 } else { 0 };
                    let nodes = free.saturating_sub(root + 5 + reserved);
                    let fits = |n: &u64| n + cost(*n) <= nodes;
                    let most = (0..=1000).take_while(fits).last().unwrap_or(0);
                    most.min(free.saturating_sub(least))
                };
                let found = space.room(who);
                if who == Who::Essential {
                    assert_eq!(found, free);
                } else {
                    assert!(found <= room(free) && found + 34 > room(free), "{found}");
                }
                match space.reserve(n, who) {
                    Ok(()) => {
                        assert!(n <= found);
                        free -= n;
                        reserved += n;
                    }
                    Err(error) => {
                        assert!(n > found);
                        let most = if who == Who::Essential {
                            free + freed
                        } else {
                            room(free + freed)
                        };
                        assert!(!error.commit_helps || n <= most);
                        assert!(!error.writing_helps || reserved > 0);
                        refused += 1;
                        helped += u32::from(error.commit_helps);
                    }
                }
            }
            2 => {
                assert_eq!(space.take(n).is_some(), n <= reserved);
                if n <= reserved {
                    reserved -= n;
                    used += n;
                }
            }
            3 => {
                assert_eq!(space.cancel(n).is_some(), n <= reserved);
                if n <= reserved {
                    reserved -= n;
                    free += n;
                }
            }
            _ => {
                let n = n.min(used);
                space.release(n);
                used -= n;
                freed += n;
                let n = numbers.next() % 40;
                assert_eq!(space.commit(n).is_some(), n <= freed);
                if n <= freed {
                    freed -= n;
                    free += n;
                }
            }
        }
        assert_eq!((space.reserved(), space.free()), (reserved, free + freed));
        assert_eq!(free + reserved + used + freed, 1000);
    }
    assert!(refused > 100 && helped > 20, "{refused} {helped}");
}

/// Nodes that a run of blocks needs, at most.
fn cost(n: u64) -> u64 {
    n.min(2 + n / 32)
}

/// Half of what is kept for nodes is never promised; a commit helps, and to write what is pending.
#[test]
fn writes_stop_before_the_nodes_do() {
    let kept = Kept {
        root: 50,
        essential: 10,
    };
    let mut space = Space::new(100, kept);
    space.reserve(90, Who::Essential).unwrap();
    space.take(90).unwrap();
    // Ten are left, of which five can be promised, one by one.
    for promised in 0..10 {
        let result = space.promise(1);
        assert_eq!(result.is_ok(), promised < 5, "{promised}");
    }
    let refused = |commit_helps, writing_helps| {
        Err(NoSpace {
            commit_helps,
            writing_helps,
        })
    };
    assert_eq!(space.promise(1), refused(false, true));
    assert_eq!(space.check_nodes(0), Ok(()));
    space.release(1);
    assert_eq!(space.promise(1), refused(true, true));
    space.settle(5);
    assert_eq!(space.promise(64), Ok(()));
    space.settle(64);
    space.reserve(5, Who::Essential).unwrap();
    space.take(5).unwrap();
    assert_eq!(space.promise(1), refused(true, false));
    space.commit(1).unwrap();
    assert_eq!(space.promise(1), Ok(()));
}

/// There is room for several things if each of them can be had after the others, and a commit or writing helps if
/// it can be had then.
#[test]
fn a_trial_is_what_comes_of_it() {
    let mut numbers = Numbers(17);
    let (mut found, mut refused, mut committed, mut written) = (0, 0, 0, 0);
    for _ in 0..20_000 {
        let kept = Kept {
            root: numbers.next() % 20,
            essential: numbers.next() % 40,
        };
        let mut space = Space::new(400 + numbers.next() % 400, kept);
        space.reserve(100, Who::Essential).unwrap();
        space.take(100).unwrap();
        let reserved = numbers.next() % 40;
        let _ = space.reserve(reserved, Who::Essential);
        space.owe(numbers.next() % 40);
        space.release(numbers.next() % 100);

        let who = numbers.pick(&[Who::User, Who::Root]);
        let parts: Vec<(bool, u64)> = (0..1 + numbers.below(6))
            .map(|_| (numbers.below(2) == 0, 1 + numbers.next() % 120))
            .collect();
        let mut trial = space.trial();
        for (is_hole, n) in &parts {
            match is_hole {
                true => trial.reserve(*n, who),
                false => trial.promise(*n),
            }
        }
        let can = |mut space: Space| {
            parts.iter().all(|(is_hole, n)| match is_hole {
                true => space.reserve(*n, who).is_ok(),
                false => space.promise(*n).is_ok(),
            })
        };
        let mut later = space;
        later.commit(space.freed()).unwrap();
        let after_commit = can(later);
        later.take(later.reserved()).unwrap();
        later.settle(later.pending());
        let after_writing = space.pending() > 0 && can(later);
        let expected = match can(space) {
            true => Ok(()),
            false => Err(NoSpace {
                commit_helps: after_commit,
                writing_helps: after_writing,
            }),
        };
        assert_eq!(trial.result(), expected, "{space:?} {parts:?}");
        match expected {
            Ok(()) => found += 1,
            Err(NoSpace { commit_helps, .. }) if commit_helps => committed += 1,
            Err(NoSpace { writing_helps, .. }) if writing_helps => written += 1,
            Err(_) => refused += 1,
        }
    }
    let least = found.min(refused).min(committed).min(written);
    assert!(least > 50, "{found} {refused} {committed} {written}");
}

/// What is submitted is counted, also if nobody knew that it was dirty.
#[test]
fn submitted_blocks_are_not_forgotten() {
    let mut promised = Promised::default();
    assert_eq!(promised.write(5, 0), 0);
    // Again: there is room for five in the page cache, and these three.
    assert_eq!((promised.write(3, 5), promised.write(3, 5)), (0, 3));
    assert_eq!(promised.submit(2), 0);
    assert_eq!((promised.clean(), promised.all()), (6, 2));
    assert_eq!(promised.submit(4), 4);
    assert_eq!((promised.end(3), promised.all()), (3, 3));
    assert_eq!((promised.end(9), promised.all()), (3, 0));
}

/// A run of blocks that were accepted, and what it may still need.
struct Accepted {
    /// Dirty ones, of which some are reserved only.
    dirty: u64,
    reserved: u64,
    submitted: u64,
    nodes: u64,
}

/// Whatever becomes of what was accepted, in whatever order: there are nodes for all of it.
#[test]
fn no_more_is_promised_than_can_be_kept() {
    let mut numbers = Numbers(13);
    for round in 0..200 {
        let essential = numbers.pick(&[0, 4, 60, 400]);
        let all = essential + numbers.next() % 3000;
        let kept = Kept { root: 0, essential };
        let mut space = Space::new(all, kept);
        let mut files: Vec<(Promised, Vec<Accepted>)> =
            (0..4).map(|_| (Promised::default(), Vec::new())).collect();
        let (mut accepted, mut refused) = (0, 0);
        for _ in 0..600 {
            let number = numbers.below(files.len());
            let (promised, runs) = &mut files[number];
            let cached: u64 = runs.iter().map(|run| run.dirty + run.submitted).sum();
            let n = 1 + numbers.next() % numbers.pick(&[1, 2, 40, 600]);
            match numbers.below(8) {
                // Unwritten blocks are written to, some of them again.
                0 | 1 => match space.promise(n) {
                    Ok(()) => {
                        accepted += 1;
                        space.settle(promised.write(n, cached));
                        match runs.last_mut() {
                            Some(run) if run.dirty >= n && numbers.below(2) == 0 => (),
                            _ => runs.push(Accepted {
                                dirty: n,
                                reserved: 0,
                                submitted: 0,
                                nodes: cost(n),
                            }),
                        }
                    }
                    Err(_) => refused += 1,
                },
                // A hole is.
                2 | 3 => match space.reserve(n, Who::User) {
                    Ok(()) => {
                        accepted += 1;
                        runs.push(Accepted {
                            dirty: n,
                            reserved: n,
                            submitted: 0,
                            nodes: cost(n),
                        });
                    }
                    Err(_) => refused += 1,
                },
                // Some of it is written back.
                4 | 5 if !runs.is_empty() => {
                    let at = numbers.below(runs.len());
                    let run = &mut runs[at];
                    space.owe(run.reserved);
                    promised.owe(run.reserved);
                    space.take(run.reserved).unwrap();
                    run.reserved = 0;
                    let n = n.min(run.dirty);
                    run.dirty -= n;
                    run.submitted += n;
                    space.owe(promised.submit(n));
                }
                // The device has some of it; nodes are taken, none or all that the blocks can need.
                6 if !runs.is_empty() => {
                    let at = numbers.below(runs.len());
                    let run = &mut runs[at];
                    let n = n.min(run.submitted);
                    let nodes = n.min(run.nodes) * (numbers.next() % 2);
                    space.reserve(nodes, Who::Essential).unwrap();
                    space.take(nodes).unwrap();
                    run.submitted -= n;
                    run.nodes -= nodes;
                    space.settle(promised.end(n));
                    if run.dirty + run.submitted == 0 {
                        runs.swap_remove(at);
                    } else {
                        run.nodes = run.nodes.min(run.dirty + run.submitted);
                    }
                }
                // What is dirty is cut off.
                7 if numbers.below(4) == 0 => {
                    for run in runs.iter_mut() {
                        space.cancel(run.reserved).unwrap();
                        (run.dirty, run.reserved) = (0, 0);
                    }
                    runs.retain(|run| run.submitted > 0);
                    for run in runs.iter_mut() {
                        run.nodes = run.nodes.min(run.submitted);
                    }
                    space.settle(promised.clean());
                }
                _ => (),
            }
            let runs = || files.iter().flat_map(|(_, runs)| runs);
            let nodes: u64 = runs().map(|run| run.nodes).sum();
            let room = space.room(Who::Essential);
            assert!(nodes <= room, "round {round}: {nodes} wanted of {room}");
            let unwritten = |run: &Accepted| run.dirty - run.reserved + run.submitted;
            let unwritten: u64 = runs().map(unwritten).sum();
            assert!(unwritten <= space.pending() - space.reserved());
        }
        assert!(accepted > 0 && refused > 0, "{accepted} {refused}");
        for (promised, runs) in files {
            for run in runs {
                space.cancel(run.reserved).unwrap();
            }
            space.settle(promised.all());
        }
        assert_eq!(space.pending(), 0);
    }
}

/// Files are written to until there is no room, then written back, in pieces: a search never comes back
/// without.
#[test]
fn writeback_finds_all_that_was_promised() {
    let mut numbers = Numbers(12);
    for round in 0..20 {
        let mut volume = Volume::random(SMALL, &mut numbers);
        let ino = |n: u32| volume.geometry.volume().ino(n).unwrap();
        // Each file with how many blocks are dirty.
        let mut files: Vec<_> = (0..6)
            .map(|n| (File::new(ino(12 + 100 * n)), 0_u64))
            .collect();
        let mut space = Space::new(volume.free(), Kept::default());
        let mut full = 0;
        while full < 5 {
            let (file, dirty) = {
                let at = numbers.below(files.len());
                &mut files[at]
            };
            if numbers.below(3) > 0 {
                let n = 1 + numbers.next() % 30;
                match space.reserve(n, Who::User) {
                    Ok(()) => *dirty += n,
                    Err(NoSpace {
                        commit_helps: true, ..
                    }) => space.commit(volume.commit()).unwrap(),
                    Err(_) => full += 1,
                }
                continue;
            }
            let n = *dirty * (1 + numbers.next() % 3) / 3;
            let mut left = n;
            while left > 0 {
                let blocks = volume.append(file, left, true);
                left -= len(blocks.unwrap_or_else(|| panic!("round {round}: no block for data")));
            }
            space.take(n).unwrap();
            *dirty -= n;
            // Now and then a file loses its last blocks.
            if numbers.below(2) == 0 {
                if let Some(last) = file.extents.pop() {
                    file.window.close(&mut volume.held, file.ino);
                    let mut blocks = last;
                    while blocks.start < blocks.end {
                        let group = volume.geometry.place(blocks.start).unwrap().group;
                        let end = volume.geometry.volume().group_blocks(group).end;
                        let end = end.min(blocks.end);
                        volume.clear(ondisk::PblkRange { end, ..blocks });
                        blocks.start = end;
                    }
                    space.release(len(last));
                }
            }
        }
        // The last of it.
        for (file, dirty) in &mut files {
            while *dirty > 0 {
                let n = len(volume.append(file, *dirty, true).unwrap());
                space.take(n).unwrap();
                *dirty -= n;
            }
        }
        assert_eq!(space.reserved(), 0);
        assert_eq!(space.free(), volume.free());
    }
}
