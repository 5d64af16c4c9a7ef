// SPDX-License-Identifier: GPL-2.0

//! Trees of hashes that grow.

use crate::{
    directory::{
        Added,
        Directory,
        INO, //
    },
    name,
    number,
    support::{
        directory,
        get_u32,
        ino,
        put,
        volume,
        volume_with,
        volume_without,
        volume_without_checksums, //
    },
    TYPES, //
};
use damage::{
    Crc,
    Numbers, //
};
use ondisk::{
    dir::{
        DirBlock,
        LeafMut,
        NewEntry,
        Slot, //
    },
    hash::{
        Chars,
        Hasher,
        Version, //
    },
    htree::{
        self,
        Cost,
        Layout, //
    },
    inode::Type,
    Compat,
    Lblk,
    Superblock, //
};
use std::collections::BTreeMap;

/// A volume with that hash, with checksums or without.
fn volume_of(hash_version: u8, unsigned: bool, checksums: bool) -> Superblock {
    volume_with(|bytes| {
        bytes[0xfc] = hash_version;
        put(bytes, 0x160, [1 + u8::from(unsigned), 0, 0, 0]);
        if !checksums {
            let ro_compat = get_u32(bytes, 0x64) & !ondisk::RoCompat::METADATA_CSUM.bits();
            put(bytes, 0x64, ro_compat.to_le_bytes());
            let incompat = get_u32(bytes, 0x60) & !ondisk::Incompat::CSUM_SEED.bits();
            put(bytes, 0x60, incompat.to_le_bytes());
        }
    })
    .unwrap()
}

/// Adds, takes out and changes names; `weight` in 8 are added.
fn run(
    dir: &mut Directory<'_>,
    numbers: &mut Numbers,
    steps: usize,
    max: usize,
    weight: usize,
) -> BTreeMap<Added, u32> {
    let mut seen = BTreeMap::new();
    for step in 0..steps {
        let (new, number, file_type) = (name(numbers, max), number(numbers), numbers.pick(&TYPES));
        let old = dir
            .names
            .range(new.clone()..)
            .next()
            .or(dir.names.first_key_value());
        let old = old.map(|(name, _)| name.clone());
        match (numbers.below(8), old) {
            (what, Some(old)) if what >= weight => match numbers.below(3) {
                0 => dir.replace(&old, number, file_type),
                _ => dir.remove(&old),
            },
            _ if dir.names.contains_key(&new) => dir.remove(&new),
            _ => *seen.entry(dir.add(&new, number, file_type)).or_insert(0) += 1,
        }
        if step % 97 == 0 {
            dir.set_parent(number);
            dir.check();
        }
    }
    dir.check();
    seen
}

#[test]
fn every_hash_and_length_of_names_makes_a_sound_tree() {
    let mut seen = BTreeMap::new();
    for (n, (version, unsigned)) in [
        (0, false),
        (0, true),
        (1, false),
        (1, true),
        (2, false),
        (2, true),
    ]
    .into_iter()
    .enumerate()
    {
        for checksums in [true, false] {
            let volume = volume_of(version, unsigned, checksums);
            for (max, steps) in [(12, 1500), (60, 1000), (255, 800)] {
                let numbers = &mut Numbers(n as u64 * 1000 + max as u64);
                let mut dir = Directory::new(&volume, 1024);
                let counts = run(&mut dir, numbers, steps, max, 6);
                let versions = [Version::Legacy, Version::HalfMd4, Version::Tea];
                let chars = [Chars::Signed, Chars::Unsigned][usize::from(unsigned)];
                let seed = volume.settings().hash_seed();
                let hasher = Hasher::new(versions[usize::from(version)], chars, seed);
                assert_eq!(dir.root().hasher(), hasher);
                for (added, count) in counts {
                    *seen.entry(added).or_insert(0) += count;
                }
            }
        }
    }
    println!("{seen:?}");
    assert_eq!(seen[&Added::Indexed], 36);
    assert!(seen[&Added::LeafSplit] > 500);
}

#[test]
fn larger_blocks_are_split_as_well() {
    let volume = volume();
    for len in [2048, 4096] {
        let mut dir = Directory::new(&volume, len);
        let counts = run(&mut dir, &mut Numbers(len as u64), 3000, 100, 7);
        println!("{counts:?}");
        assert!(counts[&Added::LeafSplit] > 20);
    }
}

#[test]
fn directories_shrink_and_grow_again() {
    let volume = volume();
    let numbers = &mut Numbers(3);
    let mut dir = Directory::new(&volume, 1024);
    for _ in 0..3 {
        run(&mut dir, numbers, 900, 120, 7);
        run(&mut dir, numbers, 900, 120, 1);
    }
    let names: Vec<_> = dir.names.keys().cloned().collect();
    for name in names {
        dir.remove(&name);
    }
    dir.check();
    let blocks = dir.blocks.len();
    for n in 0..blocks {
        dir.add(format!("name {n}").as_bytes(), 30, Type::Regular);
    }
    // There is room in the leaves that became empty.
    assert_eq!(dir.blocks.len(), blocks);
}

#[test]
fn a_tree_grows_until_it_is_full() {
    let volume = volume();
    let numbers = &mut Numbers(5);
    let mut dir = Directory::new(&volume, 1024);
    let mut seen = BTreeMap::new();
    loop {
        let mut new = name(numbers, 255);
        new.resize(255, b'n');
        if dir.names.contains_key(&new) {
            continue;
        }
        let added = dir.add(&new, number(numbers), Type::Regular);
        *seen.entry(added).or_insert(0) += 1;
        match added {
            Added::Full => break,
            Added::NodeSplit if seen[&added] % 20 > 0 => (),
            Added::LeafSplit | Added::InPlace => (),
            _ => dir.check(),
        }
    }
    println!(
        "{seen:?}, {} blocks, {} names",
        dir.blocks.len(),
        dir.names.len()
    );
    dir.check();
    assert_eq!((seen[&Added::Indexed], seen[&Added::Deepened]), (1, 1));
    // A root that is full is one above 123 nodes.
    assert_eq!(seen[&Added::NodeSplit], 122);
    assert_eq!(dir.root().index().entries().count(), 123);

    // Names still go where there is room.
    let names: Vec<_> = dir.names.keys().take(300).cloned().collect();
    for name in &names {
        dir.remove(name);
    }
    for name in names.iter().rev() {
        let added = dir.add(name, 30, Type::Regular);
        assert!([Added::InPlace, Added::LeafSplit].contains(&added));
    }
    dir.check();
}

/// What follows 200 times `n` in names of one legacy hash.
const COLLIDING: [&[u8; 6]; 24] = [
    b"stable", b"eGzDOr", b"j25ObM", b"lhUnOD", b"oIjo47", b"qVXTim", b"rbTn8V", b"xzCBzX",
    b"xHFYFC", b"zHGH5D", b"1zhfrn", b"1Mwf87", b"8RKAtv", b"90EZig", b"AD7dni", b"DU3doi",
    b"E7Wi4E", b"Gp6WBi", b"IACrTV", b"JcGR0h", b"Nm5Yli", b"OPsHos", b"PxWSsf", b"PUZJOW",
];

#[test]
fn names_of_one_hash_go_on_in_the_next_leaf() {
    let volume = volume_of(0, false, true);
    let colliding = COLLIDING.map(|end| [&[b'n'; 200][..], end].concat());
    let settings = volume.settings();
    let hasher = Hasher::new(Version::Legacy, settings.hash_chars(), settings.hash_seed());
    let hash = hasher.hash(&colliding[0]);
    assert!(colliding.iter().all(|name| hasher.hash(name) == hash));

    // Only they, and they among others, of which some are of almost that hash.
    for (seed, others) in [(0, 0), (1, 40), (2, 400), (3, 1500)] {
        let numbers = &mut Numbers(seed);
        let mut dir = Directory::new(&volume, 1024);
        let mut names: Vec<_> = colliding.to_vec();
        names.extend((0..others).map(|_| name(numbers, 255)));
        for n in (1..names.len()).rev() {
            names.swap(n, numbers.below(n + 1));
        }
        names.sort_by_key(|name| dir.names.contains_key(name));
        for name in &names {
            if !dir.names.contains_key(name) {
                assert_ne!(dir.add(name, 30, Type::Regular), Added::Full);
            }
        }
        dir.check();
        for name in &colliding {
            dir.replace(name, 31, Type::Symlink);
            dir.remove(name);
            dir.check();
            dir.add(name, 32, Type::Fifo);
        }
        dir.check();
        run(&mut dir, numbers, 500, 255, 5);
    }
}

#[test]
fn a_directory_is_indexed_if_it_has_one_block_and_the_volume_says_so() {
    let indexed = volume();
    let plain = volume_without(0x5c, Compat::DIR_INDEX.bits());
    let one = directory(&indexed, INO, 1, 0);
    assert!(matches!(Layout::of(&indexed, &one), Layout::OneBlock(_)));
    let two = directory(&indexed, INO, 2, 0);
    assert_eq!(Layout::of(&indexed, &two), Layout::Linear);
    let tree = directory(&indexed, INO, 3, 0x1000);
    assert_eq!(Layout::of(&indexed, &tree), Layout::Indexed);
    assert_eq!(Layout::of(&plain, &one), Layout::Linear);
    let siphash = volume_of(6, false, true);
    assert_eq!(Layout::of(&siphash, &one), Layout::Linear);
    let cost = Layout::Indexed.cost();
    assert_eq!(cost, Cost { old: 3, new: 2 });

    let mut dir = Directory::new(&plain, 1024);
    let counts = run(&mut dir, &mut Numbers(9), 1500, 100, 6);
    assert!(counts[&Added::Appended] > 20);
    assert!(!counts.contains_key(&Added::Indexed));
}

#[test]
fn an_entry_for_the_directory_that_is_too_long_becomes_right() {
    for volume in [volume(), volume_without_checksums()] {
        let mut dir = Directory::new(&volume, 1024).with_long_dot();
        dir.check();
        let counts = run(&mut dir, &mut Numbers(2), 100, 100, 8);
        assert_eq!(counts[&Added::Indexed], 1);
    }
}

#[test]
fn a_block_whose_names_fit_is_not_split() {
    let volume = volume();
    let dir = Directory::new(&volume, 1024);
    let Layout::OneBlock(hasher) = Layout::of(&volume, &dir.inode) else {
        panic!("more than one block");
    };
    let entry = NewEntry {
        ino: ino(&volume, 30),
        file_type: Type::Regular,
        name: b"name",
    };
    let mut bytes = dir.blocks[0].clone();
    let mut leaves = [vec![0; 1024], vec![0; 1024]];
    let [lower, upper] = &mut leaves;
    let leaf = LeafMut::check::<Crc>(&volume, &dir.inode, Lblk(0), &mut bytes).unwrap();
    let leaves = [(1, lower), (2, upper)].map(|(lblk, bytes)| DirBlock {
        lblk: Lblk(lblk),
        bytes,
    });
    let mut scratch = [Slot::default(); Slot::MAX];
    let done = htree::index::<Crc>(leaf, &hasher, &entry, leaves, &mut scratch);
    assert_eq!(done, None);
    assert_eq!(bytes, dir.blocks[0]);
}

#[test]
fn only_blocks_that_were_asked_for_are_taken() {
    let volume = volume();
    let numbers = &mut Numbers(4);
    let mut dir = Directory::new(&volume, 1024);
    let mut new = vec![];
    // The first name for which a leaf has to be split, and nothing else.
    while dir.blocks.len() < 10 || dir.add(&new, 30, Type::Regular) != Added::LeafSplit {
        if dir.blocks.len() < 10 && !new.is_empty() && !dir.names.contains_key(&new) {
            dir.add(&new, 30, Type::Regular);
        }
        new = name(numbers, 255);
        new.resize(255, b'n');
    }
    let end = dir.blocks.len() as u32;
    let way = dir.names.keys().next().unwrap().clone();
    let full = [b"x", &way[..254]].concat();
    let lblk = |n| Some(Lblk(n));
    for wrong in [
        [lblk(0), None],
        [lblk(1 << 28), None],
        [lblk(end), lblk(end + 1)],
        [lblk(end), lblk(end)],
    ] {
        assert!(!dir.check_wrong_blocks(&full, wrong), "{wrong:?}");
    }
}
