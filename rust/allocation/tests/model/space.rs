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
                assert_eq!(space.room(who), free.saturating_sub(least));
                let result = space.reserve(n, who);
                if n + least <= free || n == 0 {
                    assert_eq!(result, Ok(()));
                    free -= n;
                    reserved += n;
                } else {
                    let commit_helps = n + least <= free + freed;
                    assert_eq!(result, Err(NoSpace { commit_helps }));
                    refused += 1;
                    helped += u32::from(commit_helps);
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

/// Half of what is kept for nodes is for what was written before.
#[test]
fn writes_stop_before_the_nodes_do() {
    let kept = Kept {
        root: 50,
        essential: 10,
    };
    let mut space = Space::new(100, kept);
    space.reserve(90, Who::Root).unwrap();
    space.take(90).unwrap();
    for left in (0..10).rev() {
        assert_eq!(space.check_nodes().is_ok(), left >= 4, "{left}");
        space.reserve(1, Who::Essential).unwrap();
    }
    space.cancel(10).unwrap();
    space.reserve(10, Who::Essential).unwrap();
    let refused = |commit_helps| Err(NoSpace { commit_helps });
    space.release(4);
    assert_eq!(space.check_nodes(), refused(false));
    space.release(1);
    assert_eq!(space.check_nodes(), refused(true));
    space.commit(5).unwrap();
    assert_eq!(space.check_nodes(), Ok(()));
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
                    Err(NoSpace { commit_helps: true }) => space.commit(volume.commit()).unwrap(),
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
