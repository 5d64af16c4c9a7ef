// SPDX-License-Identifier: GPL-2.0

//! Files that grow at the same time, a little at a time.

use crate::volume::{
    File,
    Volume,
    LARGE, //
};
use allocation::ahead;
use damage::Numbers;
use ondisk::Blocks;

/// Blocks of the largest window: 8 MiB.
const LARGEST: u64 = 2048;

/// Files of one directory that grow in turn, four blocks and less at a time, to `len` blocks each.
fn grow(volume: &mut Volume, files: usize, len: u64, windows: bool) -> Vec<File> {
    let mut numbers = Numbers(7);
    let mut files: Vec<_> = (0..files as u32)
        .map(|n| File::new(volume.geometry.volume().ino(100 + n).unwrap()))
        .collect();
    while files.iter().any(|file| file.len() < len) {
        for file in &mut files {
            let n = (1 + numbers.next() % 4).min(len - file.len());
            if n > 0 {
                assert!(volume.append(file, n, windows).is_some());
            }
        }
    }
    for file in &mut files {
        file.window.close(&mut volume.held, file.ino);
    }
    assert!(volume.held.0.is_empty());
    files
}

fn most_extents(files: &[File]) -> usize {
    files.iter().map(|file| file.extents.len()).max().unwrap()
}

#[test]
fn files_that_grow_together_have_few_extents() {
    // 40 MiB each. Windows double up to 8 MiB; each may begin somewhere else.
    let len = 5 * LARGEST;
    let bound = 8 + len.div_ceil(LARGEST) as usize;
    for files in [2, 8, 30] {
        let mut volume = Volume::new(LARGE, |_, _| false);
        let grown = grow(&mut volume, files, len, true);
        assert!(most_extents(&grown) <= bound, "{}", most_extents(&grown));

        let mut volume = Volume::new(LARGE, |_, _| false);
        let grown = grow(&mut volume, files, len, false);
        assert!(
            most_extents(&grown) > 20 * bound,
            "{}",
            most_extents(&grown)
        );
    }
}

/// Of the whole huge pages of a file, how many are so on the volume.
fn huge_pages(file: &File) -> usize {
    let blocks: Vec<_> = file
        .extents
        .iter()
        .flat_map(|blocks| blocks.start.0..blocks.end.0)
        .collect();
    let is_huge = |page: &&[u64]| page[0] % 512 == 0 && page.last() == Some(&(page[0] + 511));
    blocks.chunks_exact(512).filter(is_huge).count()
}

#[test]
fn what_is_accessed_in_memory_comes_to_be_huge_pages() {
    let len = 5 * LARGEST;
    for n in [1, 2, 8] {
        let mut volume = Volume::new(LARGE, |_, bit| bit % 32768 < 77);
        let mut numbers = Numbers(9);
        let ino = |n| volume.geometry.volume().ino(n).unwrap();
        let mut files: Vec<_> = (0..n).map(|n| File::new(ino(100 + n))).collect();
        let mut other = File::new(ino(99));
        files.iter_mut().for_each(|file| file.huge = true);
        while files.iter().any(|file| file.len() < len) {
            for file in &mut files {
                let n = (1 + numbers.next() % 700).min(len - file.len());
                if n > 0 {
                    volume.append(file, n, true).unwrap();
                }
            }
            volume.append(&mut other, 1, false).unwrap();
        }
        for file in &files {
            let pages = len as usize / 512;
            // The first one begins before anybody can know how large the file will be.
            assert!(huge_pages(file) >= pages - 2, "{n}: {}", huge_pages(file));
        }
    }
}

#[test]
fn on_an_old_volume_windows_help_as_well() {
    // A third of the blocks is free, in holes of 4 to 400 blocks.
    let aged = || {
        let mut numbers = Numbers(8);
        let (mut left, mut used) = (0, false);
        Volume::new(LARGE, move |_, _| {
            if left == 0 {
                used = !used;
                left = (4 + numbers.below(397)) * (1 + usize::from(used));
            }
            left -= 1;
            used
        })
    };
    let (files, len) = (8, 2000);
    let with = grow(&mut aged(), files, len, true);
    let without = grow(&mut aged(), files, len, false);
    let (with, without) = (most_extents(&with), most_extents(&without));
    // Holes of the size of a window are used up before larger ones.
    assert!(with as u64 <= 2 + len / 40, "{with}");
    assert!(without > 5 * with, "{without} {with}");
}

#[test]
fn small_files_lie_side_by_side() {
    let mut volume = Volume::new(LARGE, |_, _| false);
    let mut next = None;
    for n in 0..200 {
        let mut file = File::new(volume.geometry.volume().ino(100 + n).unwrap());
        let blocks = volume.append(&mut file, 3, true).unwrap();
        file.window.close(&mut volume.held, file.ino);
        assert!(
            next.is_none_or(|next| blocks.start == next),
            "{n} {blocks:?}"
        );
        next = Some(blocks.end);
    }
}

#[test]
fn windows_grow_with_the_file() {
    for (log, blocks, expected) in [
        (2, 0, 16),
        (2, 16, 16),
        (2, 17, 32),
        (2, 1000, 1024),
        (2, 1025, 2048),
        (2, 1 << 30, 2048),
        (2, u64::MAX, 2048),
        (0, 0, 64),
        (0, 5000, 8192),
    ] {
        let form = crate::volume::Form {
            log_block_size: log,
            blocks: 2000,
            per_group: 1024,
            ..crate::volume::SMALL
        };
        let size = crate::volume::superblock(form).block_size();
        assert_eq!(ahead(size, Blocks(blocks)), Blocks(expected));
    }
}
