// SPDX-License-Identifier: GPL-2.0

//! Inodes taken until none is left, and where those of a tree of directories end up.

use crate::volume::{
    Form,
    Volume,
    SMALL, //
};
use allocation::{
    find_inode,
    usage,
    Bitmap,
    InodeSearch,
    Kind,
    Run,
    Sum, //
};
use damage::Numbers;
use ondisk::{
    group::Flags,
    GroupNumber,
    Ino, //
};
use std::collections::BTreeSet;

/// Eight flex groups of four groups.
const FORM: Form = Form {
    blocks: 1 + 32 * 512,
    ..SMALL
};

/// A volume, and the inode bitmaps of its groups.
struct Inodes {
    volume: Volume,
    bitmaps: Vec<Vec<u8>>,
    /// Groups whose inode bitmap cannot be read.
    broken: BTreeSet<u32>,
}

impl Inodes {
    fn new() -> Self {
        let mut volume = Volume::new(FORM, |_, _| false);
        for usage in &mut volume.usages {
            usage.flags = Flags::INODE_UNINIT.with(Flags::BLOCK_UNINIT);
        }
        for (summary, usage) in volume.summaries.iter_mut().zip(&volume.usages) {
            summary.update(usage);
        }
        Self {
            bitmaps: vec![vec![0xaa; 1024]; volume.bitmaps.len()],
            volume,
            broken: BTreeSet::new(),
        }
    }

    fn total(&self) -> Sum {
        self.volume
            .summaries
            .iter()
            .copied()
            .fold(Sum::default(), Sum::with)
    }

    fn group_of(&self, ino: Ino) -> u32 {
        self.volume.geometry.volume().group_of(ino).get()
    }

    fn ino(&self, number: u32) -> Ino {
        self.volume.geometry.volume().ino(number).unwrap()
    }

    fn take(&mut self, parent: Ino, kind: Kind) -> Option<Ino> {
        let geometry = self.volume.geometry;
        let per_group = geometry.volume().inodes_per_group().get();
        let mut search = InodeSearch::new(geometry, parent, kind, self.total());
        let mut tries = 0;
        loop {
            tries += 1;
            assert!(tries < 4 * self.bitmaps.len());
            let group: GroupNumber =
                search.next(|group| self.volume.summaries[group.get() as usize])?;
            let n = group.get() as usize;
            if self.broken.contains(&group.get()) {
                continue;
            }
            let usage = self.volume.usages[n];
            let mut bitmap = Bitmap::new(&mut self.bitmaps[n][..], per_group).unwrap();
            if usage.flags.contains(Flags::INODE_UNINIT) {
                bitmap.initialise(std::iter::empty());
            }
            let Some(ino) = find_inode(geometry, group, &bitmap) else {
                continue;
            };
            assert_eq!(geometry.volume().group_of(ino), group);
            let bit = geometry.volume().index_in_group(ino);
            let run = Run {
                start: bit,
                end: bit + 1,
            };
            assert_eq!(bitmap.set(run), Ok(()));
            let is_dir = kind != Kind::Other;
            let usage = usage::without_inode(geometry, &usage, ino, is_dir).unwrap();
            let flags = Flags::INODE_UNINIT.with(Flags::BLOCK_UNINIT);
            assert_eq!(usage.flags, usage.flags.without(flags));
            let used = (0..per_group)
                .rev()
                .find(|bit| bitmap.is_set(*bit))
                .unwrap()
                + 1;
            assert!(usage.itable_unused <= per_group - used);
            self.volume.usages[n] = usage;
            self.volume.summaries[n].update(&usage);
            return Some(ino);
        }
    }

    fn give_back(&mut self, ino: Ino, was_dir: bool) {
        let n = self.group_of(ino) as usize;
        let per_group = self.volume.geometry.volume().inodes_per_group().get();
        let bit = self.volume.geometry.volume().index_in_group(ino);
        let mut bitmap = Bitmap::new(&mut self.bitmaps[n][..], per_group).unwrap();
        let run = Run {
            start: bit,
            end: bit + 1,
        };
        assert_eq!(bitmap.clear(run), Ok(()));
        self.volume.usages[n] = usage::with_inode(&self.volume.usages[n], was_dir).unwrap();
        self.volume.summaries[n].update(&self.volume.usages[n]);
    }
}

#[test]
fn every_inode_is_taken_once_and_no_reserved_one() {
    let mut numbers = Numbers(9);
    let mut inodes = Inodes::new();
    let per_group = FORM.inodes_per_group;
    let mut taken = BTreeSet::new();
    let mut dirs = vec![Ino::ROOT];
    let mut freed = 0;
    let mut free =
        |inodes: &mut Inodes, taken: &mut BTreeSet<(u32, bool)>, numbers: &mut Numbers| {
            let at = numbers.below(taken.len());
            let (number, was_dir) = *taken.iter().nth(at).unwrap();
            if !was_dir {
                taken.remove(&(number, was_dir));
                let ino = inodes.ino(number);
                inodes.give_back(ino, was_dir);
                freed += 1;
            }
        };
    loop {
        let parent = numbers.pick(&dirs);
        let kind = match numbers.below(8) {
            0 if parent == Ino::ROOT => Kind::TopDirectory(numbers.next() as u32),
            0 | 1 => Kind::Directory,
            _ => Kind::Other,
        };
        let Some(ino) = inodes.take(parent, kind) else {
            break;
        };
        assert!(ino.get() >= 11);
        let is_dir = kind != Kind::Other;
        assert!(!taken.contains(&(ino.get(), !is_dir)) && taken.insert((ino.get(), is_dir)));
        if is_dir {
            dirs.push(ino);
        }
        if numbers.below(3) == 0 {
            free(&mut inodes, &mut taken, &mut numbers);
        }
    }
    assert_eq!(taken.len() as u32, 32 * per_group - 10);
    assert!(freed > 300, "{freed}");
    // Ten are reserved, of which the descriptor here did not know.
    assert_eq!(inodes.total().free_inodes, 10);
    assert_eq!(inodes.total().used_dirs as usize, dirs.len() - 1);
    assert!(inodes
        .volume
        .usages
        .iter()
        .all(|usage| usage.itable_unused == 0));
}

#[test]
fn directories_of_the_top_level_are_spread() {
    let mut numbers = Numbers(10);
    let mut inodes = Inodes::new();
    let mut flexes = [0; 8];
    let mut kinds = BTreeSet::new();
    for n in 0..40 {
        let random = numbers.next() as u32;
        let ino = inodes.take(Ino::ROOT, Kind::TopDirectory(random)).unwrap();
        flexes[inodes.group_of(ino) as usize / 4] += 1;
        kinds.insert(inodes.group_of(ino));
        if n % 8 == 7 {
            assert_eq!(flexes, [(n + 1) / 8; 8]);
        }
    }
    // The inodes of a flex group are taken from its beginning.
    assert!(kinds.iter().all(|group| group % 4 == 0));

    // Where others have been, fewer inodes are free: a flex group below the average gets none.
    let crowded = inodes.ino(1 + 4 * 4 * FORM.inodes_per_group);
    for _ in 0..100 {
        inodes.take(crowded, Kind::Other).unwrap();
    }
    for _ in 0..14 {
        let random = numbers.next() as u32;
        let ino = inodes.take(Ino::ROOT, Kind::TopDirectory(random)).unwrap();
        assert_ne!(inodes.group_of(ino) / 4, 4);
    }
}

#[test]
fn other_directories_stay_with_their_parent_until_it_is_crowded() {
    let mut inodes = Inodes::new();
    let parent = inodes.ino(1 + 9 * FORM.inodes_per_group);
    let mut flexes = vec![];
    let mut groups = vec![];
    for _ in 0..40 {
        let ino = inodes.take(parent, Kind::Directory).unwrap();
        groups.push(inodes.group_of(ino));
        flexes.push(inodes.group_of(ino) / 4);
    }
    assert_eq!(groups[0], 9);
    // A sixteenth of 256 inodes beside the average, then the next flex group.
    let own = flexes.iter().filter(|flex| **flex == 2).count();
    assert!((16..=20).contains(&own), "{flexes:?}");
    assert!(flexes[..16].iter().all(|flex| *flex == 2));
    assert!(
        flexes.iter().all(|flex| [2, 3, 4].contains(flex)),
        "{flexes:?}"
    );
}

#[test]
fn files_are_in_their_parents_group_and_then_with_their_siblings() {
    let mut inodes = Inodes::new();
    let parents = [6, 7].map(|n| inodes.ino(1 + n * FORM.inodes_per_group));
    let per_flex = 4 * FORM.inodes_per_group;
    let first: Vec<_> = (0..64)
        .map(|_| inodes.take(parents[0], Kind::Other).unwrap())
        .collect();
    assert!(first.iter().all(|ino| inodes.group_of(*ino) == 6));
    for _ in 64..per_flex {
        let ino = inodes.take(parents[0], Kind::Other).unwrap();
        assert_eq!(inodes.group_of(ino) / 4, 1);
    }
    // The flex group is full: the files of each directory go somewhere of their own.
    let groups = parents.map(|parent| {
        let groups: BTreeSet<_> = (0..30)
            .map(|_| {
                let ino = inodes.take(parent, Kind::Other).unwrap();
                inodes.group_of(ino)
            })
            .collect();
        assert_eq!(groups.len(), 1);
        groups
    });
    assert_ne!(groups[0], groups[1]);
}

#[test]
fn groups_without_blocks_are_last_for_files() {
    let mut inodes = Inodes::new();
    for n in (0..32).filter(|n| *n != 21) {
        inodes.volume.usages[n].free_clusters = 0;
        let usage = inodes.volume.usages[n];
        inodes.volume.summaries[n].update(&usage);
    }
    // The search comes to group 21 from where the parent's group and number lead: after steps of 1,
    // 2, 4, ...
    let parent = inodes.ino(1 + 5 * FORM.inodes_per_group);
    let hash = (5 + parent.get()) % 32;
    assert!(
        [1, 3, 7, 15, 31]
            .iter()
            .any(|step| (hash + step) % 32 == 21),
        "{hash}"
    );
    let ino = inodes.take(parent, Kind::Other).unwrap();
    assert_eq!(inodes.group_of(ino), 21);
    // Without any blocks, the parent's group is as good as others.
    inodes.volume.usages[21].free_clusters = 0;
    let usage = inodes.volume.usages[21];
    inodes.volume.summaries[21].update(&usage);
    let ino = inodes.take(parent, Kind::Other).unwrap();
    assert_eq!(inodes.group_of(ino), 5);
}

#[test]
fn a_bitmap_that_cannot_be_read_hides_no_other() {
    let mut inodes = Inodes::new();
    inodes.broken = (0..32).filter(|n| *n != 17).collect();
    for kind in [Kind::TopDirectory(3), Kind::Directory, Kind::Other] {
        let ino = inodes.take(Ino::ROOT, kind).unwrap();
        assert_eq!(inodes.group_of(ino), 17);
    }
    inodes.broken.insert(17);
    for kind in [Kind::TopDirectory(3), Kind::Directory, Kind::Other] {
        assert_eq!(inodes.take(Ino::ROOT, kind), None);
    }
}

#[test]
fn counts_that_cannot_be_are_none() {
    let inodes = Inodes::new();
    let geometry = inodes.volume.geometry;
    let usage = ondisk::group::Usage {
        free_clusters: 5,
        free_inodes: 0,
        used_dirs: 0,
        itable_unused: 0,
        flags: Flags::BLOCK_UNINIT,
    };
    assert_eq!(usage::without_blocks(&usage, 6), None);
    let taken = usage::without_blocks(&usage, 5).unwrap();
    assert_eq!(taken.free_clusters, 0);
    assert!(!taken.flags.contains(Flags::BLOCK_UNINIT));
    assert_eq!(
        usage::without_inode(geometry, &usage, inodes.ino(20), false),
        None
    );
    assert_eq!(usage::with_inode(&usage, true), None);
    assert_eq!(usage::with_inode(&usage, false).unwrap().free_inodes, 1);
    // An inode below those that were never used says nothing new of them; one above does.
    let unused = ondisk::group::Usage {
        free_inodes: 9,
        itable_unused: 40,
        ..usage
    };
    let after = |number| usage::without_inode(geometry, &unused, inodes.ino(number), true).unwrap();
    assert_eq!(
        [after(24), after(25)].map(|usage| usage.itable_unused),
        [40, 39]
    );
    // Of a group without bitmap all were never used, whatever the count says.
    let unused = ondisk::group::Usage {
        itable_unused: 0,
        flags: Flags::INODE_UNINIT,
        ..unused
    };
    let after = usage::without_inode(geometry, &unused, inodes.ino(11), false).unwrap();
    assert_eq!(after.itable_unused, 64 - 11);
}
