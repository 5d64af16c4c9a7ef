// SPDX-License-Identifier: GPL-2.0

//! What a search finds, beside one that looks at every block of every group.

use crate::volume::{
    len,
    superblock,
    try_superblock,
    File,
    Form,
    Volume,
    LARGE,
    MIDDLE,
    SMALL, //
};
use allocation::{
    Geometry,
    Goal,
    Place,
    Request,
    Summary,
    Why,
    PROBES, //
};
use damage::Numbers;
use ondisk::{
    group::Flags,
    Blocks,
    GroupNumber,
    Lblk,
    Pblk,
    PblkRange, //
};

/// Some ranges that are held, of all kinds; small ones and large ones.
fn hold_some(volume: &mut Volume, numbers: &mut Numbers) {
    let blocks_count = volume.geometry.volume().blocks_count().0;
    for n in 0..20 {
        let start = numbers.next() % blocks_count;
        let longest = numbers.pick(&[1, 10, 700]);
        let mut end = start;
        let in_group = |pblk| volume.geometry.place(Pblk(pblk)).map(|place| place.group);
        while end - start <= longest
            && volume.is_free(Pblk(end))
            && in_group(end) == in_group(start)
        {
            end += 1;
        }
        let why = match n % 3 {
            0 => Why::Claimed,
            1 => Why::Window(volume.geometry.volume().ino(12 + n).unwrap()),
            _ => Why::Freed(1),
        };
        if start < end {
            let (start, end) = (Pblk(start), Pblk(end));
            volume.hold(PblkRange { start, end }, why);
        }
    }
}

/// What can be taken of a group: bit by bit.
fn free_bits(volume: &Volume, group: GroupNumber, seize: bool) -> Vec<bool> {
    let blocks = volume.geometry.volume().group_blocks(group);
    let bitmap = volume.bitmap(group);
    let mut free: Vec<_> = (0..bitmap.len()).map(|bit| !bitmap.is_set(bit)).collect();
    for (end, (start, why)) in &volume.held.0 {
        if !(seize && matches!(why, Why::Window(_))) {
            for pblk in start.0.max(blocks.start.0)..(*end).min(blocks.end.0) {
                free[(pblk - blocks.start.0) as usize] = false;
            }
        }
    }
    free
}

/// The numbers of all groups in the order in which they are looked into.
fn order(volume: &Volume, group: GroupNumber) -> Vec<u32> {
    let count = volume.geometry.volume().groups_count().get();
    let per_flex = volume.geometry.volume().settings().groups_per_flex().get();
    let group = group.get();
    let flex = |number: u32| number / per_flex;
    let mut order: Vec<u32> = (group..count)
        .filter(|other| flex(*other) == flex(group))
        .collect();
    order.extend((0..group).filter(|other| flex(*other) == flex(group)));
    order.extend((0..count).filter(|other| flex(*other) > flex(group)));
    order.extend((0..count).filter(|other| flex(*other) < flex(group)));
    order
}

/// The best run of a group: the shortest that is long enough, preferably behind the goal.
fn best(
    volume: &Volume,
    group: GroupNumber,
    from: usize,
    least: usize,
    align: Option<Lblk>,
    seize: bool,
) -> Option<(u64, u64)> {
    let free = free_bits(volume, group, seize);
    let base = volume.geometry.volume().group_blocks(group).start.0;
    let huge = u64::from(volume.geometry.huge().get());
    let is_aligned = |bit: usize| match align {
        Some(lblk) => (base + bit as u64) % huge == u64::from(lblk.0) % huge,
        None => true,
    };
    let candidate = |start: usize, before: usize| {
        let first = (start..free.len())
            .take_while(|bit| free[*bit])
            .find(|bit| is_aligned(*bit))?;
        let room = free[first..].iter().take_while(|free| **free).count();
        (room >= least && start < before).then_some((room, first))
    };
    let begins = |bit: &usize| free[*bit] && (*bit == 0 || !free[*bit - 1]);
    let mut behind: Vec<_> = (from..free.len())
        .filter(|bit| begins(bit) || *bit == from)
        .filter_map(|bit| candidate(bit, free.len()))
        .collect();
    if behind.is_empty() {
        behind = (0..from)
            .filter(begins)
            .filter_map(|bit| candidate(bit, from))
            .collect();
    }
    let (room, first) = behind.into_iter().min()?;
    Some((base + first as u64, room as u64))
}

fn expected(volume: &Volume, request: &Request) -> Option<PblkRange> {
    let geometry = volume.geometry;
    let (Goal::At(pblk) | Goal::Near(pblk)) = request.goal;
    let goal = geometry.place(pblk);
    let exact = matches!(request.goal, Goal::At(_))
        .then_some(goal)
        .flatten();
    let n = request
        .n
        .0
        .min(geometry.volume().blocks_per_group().get().into());
    let take = |start: u64, room: u64| {
        let end = Pblk(start + room.min(n));
        let start = Pblk(start);
        Some(PblkRange { start, end })
    };
    let huge = u64::from(geometry.huge().get());
    let room = exact.map_or(0, |place| {
        let free = free_bits(volume, place.group, false);
        let room = free[place.bit as usize..]
            .iter()
            .take_while(|free| **free)
            .count();
        match volume.broken.contains(&place.group.get()) {
            true => 0,
            false => room as u64,
        }
    });
    let begins_page = request.huge && n >= huge && u64::from(request.lblk.0) % huge == 0;
    let is_straight = pblk.0 % huge == u64::from(request.lblk.0) % huge;
    let at_once = match begins_page {
        true => is_straight && room >= huge,
        false => room > 0,
    };
    if at_once {
        return take(pblk.0, room);
    }
    let goal = goal.unwrap_or(Place {
        group: geometry.volume().group(0).unwrap(),
        bit: 0,
    });

    let halves = || std::iter::successors(Some(n), |n| Some(n / 2)).take_while(|n| *n > 0);
    let mut passes = vec![];
    passes.extend(
        halves()
            .filter(|n| *n >= huge)
            .map(|n| (n, true, true, false)),
    );
    for n in halves() {
        if n < huge {
            passes.push((n, false, false, false));
        }
        passes.push((n, false, true, false));
    }
    passes.push((1, false, true, true));
    for (least, align, uninit, seize) in passes {
        if !align && room > 0 {
            return take(pblk.0, room);
        }
        for number in order(volume, goal.group) {
            let group = geometry.volume().group(number).unwrap();
            let flags = volume.usages[number as usize].flags;
            if !uninit && group != goal.group && flags.contains(Flags::BLOCK_UNINIT)
                || volume.broken.contains(&number)
            {
                continue;
            }
            let from = if group == goal.group { goal.bit } else { 0 };
            let align = align.then_some(request.lblk);
            let found = best(volume, group, from as usize, least as usize, align, seize);
            if let Some((start, room)) = found {
                return take(start, room);
            }
        }
    }
    None
}

#[test]
fn the_best_run_is_found() {
    let mut numbers = Numbers(4);
    let (mut none, mut aligned, mut exact) = (0, 0, 0);
    for round in 0..60 {
        let form = [SMALL, MIDDLE][round % 2];
        // So few groups that no pass leaves any out.
        let form = Form {
            blocks: form.blocks.min(1 + PROBES * form.per_group),
            ..form
        };
        let mut volume = Volume::random(form, &mut numbers);
        if round % 10 == 0 {
            // Full, but for what is held.
            volume = Volume::new(form, |_, _| numbers.below(900) > 0);
        }
        hold_some(&mut volume, &mut numbers);
        let group = numbers.below(volume.bitmaps.len());
        volume.broken.insert(group as u32);
        for n in 0..volume.bitmaps.len() {
            if numbers.below(3) == 0 {
                volume.usages[n].flags = Flags::BLOCK_UNINIT;
                volume.summaries[n].update(&volume.usages[n]);
            }
        }
        for _ in 0..40 {
            let pblk = Pblk(numbers.next() % (u64::from(form.blocks) + 10));
            let longest = numbers.pick(&[1, 10, 600, 3000]);
            let request = Request {
                goal: match numbers.below(2) {
                    0 => Goal::At(pblk),
                    _ => Goal::Near(pblk),
                },
                lblk: Lblk(numbers.pick(&[512, 1, 7]) * numbers.below(6) as u32),
                n: Blocks(1 + numbers.next() % longest),
                huge: numbers.below(2) == 0,
            };
            let found = volume.search(&request);
            assert_eq!(
                found,
                expected(&volume, &request),
                "round {round}: {request:?}"
            );
            if let Some(blocks) = found {
                let huge = u64::from(volume.geometry.huge().get());
                let is_aligned = blocks.start.0 % huge == u64::from(request.lblk.0) % huge;
                aligned += u32::from(is_aligned && len(blocks) >= huge);
                exact += u32::from(request.goal == Goal::At(blocks.start));
            }
            none += u32::from(found.is_none());
            let seized = found.filter(|blocks| !volume.is_free(blocks.start));
            if seized.is_some() {
                break;
            }
            if let Some(blocks) = found {
                volume.hold(blocks, Why::Claimed);
                if numbers.below(2) == 0 {
                    volume.set(blocks);
                }
            }
        }
    }
    assert!(
        none > 0 && aligned > 40 && exact > 100,
        "{none} {aligned} {exact}"
    );
}

/// Whether the summaries hide nothing.
fn check_summaries(volume: &Volume) {
    for group in volume.geometry.volume().groups() {
        let summary = volume.summaries[group.get() as usize];
        let bitmap = volume.bitmap(group);
        assert_eq!(summary.free_blocks(), bitmap.count_clear());
        let longest = bitmap.runs().map(|run| run.len()).max();
        assert!(summary.longest() >= longest.unwrap_or(0));
        assert!(summary.longest() <= summary.free_blocks());
    }
}

#[test]
fn every_block_can_be_had_and_comes_back() {
    let mut numbers = Numbers(5);
    for form in [SMALL, MIDDLE] {
        let mut volume = Volume::random(form, &mut numbers);
        let before = volume.bitmaps.clone();
        let free = volume.free();
        let mut files: Vec<_> = (0..20)
            .map(|n| File::new(volume.geometry.volume().ino(12 + 30 * n).unwrap()))
            .collect();
        // Until nobody gets anything.
        let mut steps = 0_u32;
        loop {
            let file = numbers.below(files.len());
            let n = 1 + numbers.next() % 40;
            let is_full = volume.free() == 0;
            let got = volume.append(&mut files[file], n, true);
            assert!(got.is_none_or(|blocks| len(blocks) <= n));
            assert_eq!(got.is_none(), is_full);
            if got.is_none() {
                break;
            }
            steps += 1;
            if steps % 64 == 0 {
                check_summaries(&volume);
            }
        }
        assert_eq!(files.iter().map(File::len).sum::<u64>(), free);
        assert!(volume.held.0.is_empty());

        // In pieces, as files are cut; other files take what is committed.
        let mut pieces: Vec<_> = files.iter().flat_map(|file| file.extents.clone()).collect();
        while !pieces.is_empty() {
            let at = numbers.below(pieces.len());
            let piece = &mut pieces[at];
            let start = Pblk(piece.start.0 + numbers.next() % len(*piece));
            let cut = PblkRange { start, ..*piece };
            piece.end = start;
            if len(*piece) == 0 {
                pieces.swap_remove(at);
            }
            // A group at a time: an extent may go on in the next.
            let mut blocks = cut;
            while blocks.start < blocks.end {
                let group = volume.geometry.place(blocks.start).unwrap().group;
                let end = volume
                    .geometry
                    .volume()
                    .group_blocks(group)
                    .end
                    .min(blocks.end);
                volume.clear(PblkRange { end, ..blocks });
                blocks.start = end;
            }
            let request = Request {
                goal: Goal::At(start),
                lblk: Lblk(0),
                n: Blocks(3),
                huge: false,
            };
            let committed = volume.free()
                > volume
                    .held
                    .0
                    .iter()
                    .map(|(end, (start, _))| end - start.0)
                    .sum();
            assert_eq!(volume.search(&request).is_some(), committed);
            if numbers.below(20) == 0 {
                volume.commit();
                assert!(volume.held.0.is_empty());
                assert!(volume
                    .search(&request)
                    .is_some_and(|blocks| blocks.start == start));
            }
            check_summaries(&volume);
        }
        volume.commit();
        assert_eq!(volume.bitmaps, before);
        assert_eq!(volume.free(), free);
    }
}

#[test]
fn nothing_is_taken_from_a_group_that_cannot_be_read() {
    let mut volume = Volume::new(SMALL, |_, _| false);
    volume.broken.extend([0, 3, 20]);
    let mut file = File::new(volume.geometry.volume().ino(12).unwrap());
    while volume.append(&mut file, 50, true).is_some() {}
    for group in volume.geometry.volume().groups() {
        let left = volume.usages[group.get() as usize].free_clusters;
        if volume.broken.contains(&group.get()) {
            assert_eq!(left, volume.geometry.len(group));
            let summary = &mut volume.summaries[group.get() as usize];
            assert_eq!(*summary, Summary::BAD);
            // Nor is it after what was the group's came back.
            summary.update(&volume.usages[group.get() as usize]);
            summary.freed(100);
            assert_eq!((summary.longest(), summary.free_inodes()), (0, 0));
        } else {
            assert_eq!(left, 0);
        }
    }
}

#[test]
fn bitmaps_are_not_read_in_vain_for_ever() {
    // Every other block is free, and nobody knows it yet.
    let form = Form {
        blocks: 1 + 400 * 512,
        ..SMALL
    };
    let mut volume = Volume::new(form, |_, bit| bit % 2 == 0);
    let request = |n| Request {
        goal: Goal::Near(Pblk(1)),
        lblk: Lblk(0),
        n: Blocks(n),
        huge: false,
    };
    assert_eq!(volume.search(&request(256)).map(len), Some(1));
    // Groups of two passes for each length down to two blocks, and one for a single block.
    let looks = volume.looks.len() as u32;
    assert!(looks <= 2 * 8 * PROBES + 1, "{looks}");
    // Those are known now, and soon all are.
    for _ in 0..2 {
        assert!(volume.search(&request(256)).is_some());
    }
    volume.looks.clear();
    assert_eq!(volume.search(&request(256)).map(len), Some(1));
    assert_eq!(volume.looks.len(), 1);

    // The last of all groups has the only two that follow each other.
    let mut bitmap = volume.bitmaps[399].clone();
    bitmap[10] &= !0b100;
    volume.bitmaps[399] = bitmap;
    volume.usages[399].free_clusters += 1;
    volume.summaries[399].update(&volume.usages[399]);
    volume.summaries[399].freed(3);
    volume.looks.clear();
    assert_eq!(volume.search(&request(256)).map(len), Some(3));
    assert_eq!(volume.looks.len(), 1);
}

#[test]
fn long_requests_get_huge_pages() {
    // Of 2,048 blocks, one stretch is long but crooked, another shorter and straight.
    let mut volume = Volume::new(MIDDLE, |group, bit| match group.get() {
        2 => !(100..1600).contains(&bit),
        5 => !(500..1100).contains(&bit),
        _ => true,
    });
    let mut search = |lblk, n| {
        let found = volume.search(&Request {
            goal: Goal::Near(Pblk(0)),
            lblk: Lblk(lblk),
            n: Blocks(n),
            huge: false,
        });
        found.map(|blocks| (blocks.start.0, len(blocks))).unwrap()
    };
    // Huge pages have 512 blocks.
    assert_eq!(search(0, 2000), (2 * 2048 + 512, 1088));
    assert_eq!(search(512, 1024), (2 * 2048 + 512, 1024));
    assert_eq!(search(512, 512), (2 * 2048 + 512, 512));
    // The file's block 100 is not at the beginning of one, and so are its blocks on the volume.
    assert_eq!(search(100, 1000), (2 * 2048 + 100, 1000));
    // Short ones go where they leave no smaller rest.
    assert_eq!(search(0, 511), (2 * 2048 + 100, 511));
    assert_eq!(search(0, 1), (2 * 2048 + 100, 1));
}

#[test]
fn a_file_goes_on_where_huge_pages_map_it() {
    let mut volume = Volume::new(MIDDLE, |group, bit| match group.get() {
        2 => !(100..1600).contains(&bit),
        5 => !(512..1024).contains(&bit),
        _ => true,
    });
    let base = 2 * 2048;
    let mut search = |at, lblk, n| {
        let found = volume.search(&Request {
            goal: Goal::At(Pblk(at)),
            lblk: Lblk(lblk),
            n: Blocks(n),
            huge: true,
        });
        found.map(|blocks| (blocks.start.0, len(blocks))).unwrap()
    };
    // Straight, and all of a huge page.
    assert_eq!(search(base + 512, 512, 512), (base + 512, 512));
    // Straight, but there is not all of it; crooked.
    assert_eq!(search(base + 1536, 512, 512), (base + 512, 512));
    assert_eq!(search(base + 700, 512, 1000), (base + 1024 - 512, 1000));
    // Within a huge page, and for less than one, the file goes on where it ends.
    assert_eq!(search(base + 700, 100, 600), (base + 700, 600));
    assert_eq!(search(base + 700, 512, 100), (base + 700, 100));
    // As it does if nothing else is there.
    let mut volume = Volume::new(MIDDLE, |group, bit| {
        group.get() != 2 || !(100..1000).contains(&bit)
    });
    let found = volume.search(&Request {
        goal: Goal::At(Pblk(base + 110)),
        lblk: Lblk(1024),
        n: Blocks(512),
        huge: true,
    });
    assert_eq!(found.map(|blocks| blocks.start), Some(Pblk(base + 110)));
}

#[test]
fn short_requests_leave_unwritten_groups_alone() {
    let mut volume = Volume::new(LARGE, |group, bit| group.get() == 1 && bit % 100 < 50);
    for n in (0..volume.bitmaps.len()).filter(|n| *n != 1) {
        volume.usages[n].flags = Flags::BLOCK_UNINIT;
        volume.summaries[n].update(&volume.usages[n]);
    }
    let mut search = |group: u64, n| {
        let found = volume.search(&Request {
            goal: Goal::Near(Pblk(group * 32768)),
            lblk: Lblk(0),
            n: Blocks(n),
            huge: false,
        });
        volume
            .geometry
            .place(found.unwrap().start)
            .unwrap()
            .group
            .get()
    };
    assert_eq!(search(1, 60), 2);
    assert_eq!([search(1, 50), search(2, 50), search(9, 10)], [1, 2, 9]);
    assert_eq!(search(0, 512), 0);
}

#[test]
fn every_group_comes_once() {
    let mut numbers = Numbers(6);
    let many = Form {
        blocks: 1 + 100 * 512,
        ..SMALL
    };
    for form in [SMALL, MIDDLE, LARGE, many] {
        let mut volume = Volume::new(form, |_, _| true);
        for usage in &mut volume.usages {
            // What descriptors claim, bitmaps do not have.
            usage.free_clusters = 1;
        }
        volume.summaries = volume.usages.iter().map(Summary::new).collect();
        let group = numbers.below(volume.bitmaps.len()) as u32;
        let group = volume.geometry.volume().group(group).unwrap();
        let request = Request {
            goal: Goal::Near(volume.geometry.volume().group_blocks(group).start),
            lblk: Lblk(0),
            n: Blocks(1),
            huge: false,
        };
        assert_eq!(volume.search(&request), None);
        let looks: Vec<_> = volume.looks.iter().map(|group| group.get()).collect();
        let order = order(&volume, group);
        assert_eq!(looks[..order.len().min(16)], order[..order.len().min(16)]);
        let all: std::collections::BTreeSet<_> = looks.iter().collect();
        assert_eq!(all.len(), volume.bitmaps.len());
    }
}

#[test]
fn places_and_blocks_are_each_others_opposites() {
    for form in [SMALL, MIDDLE] {
        let geometry = Geometry::new(superblock(form)).unwrap();
        let first = u64::from(form.log_block_size == 0);
        assert!(first == 0 || geometry.place(Pblk(0)).is_none());
        assert!(geometry.place(Pblk(form.blocks.into())).is_none());
        for pblk in first..form.blocks.into() {
            let place = geometry.place(Pblk(pblk)).unwrap();
            assert!(place.bit < geometry.len(place.group));
            let end = Pblk(pblk + 1);
            let start = Pblk(pblk);
            let run = geometry.run(place.group, PblkRange { start, end });
            assert_eq!((run.start, run.len()), (place.bit, 1));
            assert_eq!(geometry.pblks(place.group, run), PblkRange { start, end });
        }
    }
}

#[test]
fn volumes_with_larger_clusters_have_no_geometry() {
    let form = Form {
        blocks: 65536,
        per_group: 32768,
        ..LARGE
    };
    assert!(Geometry::new(&try_superblock(form, 0).unwrap()).is_some());
    assert!(Geometry::new(&try_superblock(form, 4).unwrap()).is_none());
}
