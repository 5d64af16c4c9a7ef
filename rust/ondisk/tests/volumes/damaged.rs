// SPDX-License-Identifier: GPL-2.0

//! Damaged volumes are refused, or read to the end: without a panic, and in bounded time and
//! memory, as [`Volume`] reads only so much.

use crate::{
    image::DEFAULT,
    source::{
        Source,
        PLAIN, //
    },
};
use damage::{
    walk::{
        Volume,
        Wrong, //
    },
    Checksums,
    Damage,
    Image, //
};
use ondisk::Error;
use std::{
    collections::BTreeSet,
    fs,
    mem::discriminant,
    panic,
    time::{
        Duration,
        Instant, //
    }, //
};

/// How many damaged volumes each test looks at.
const RUNS: u64 = 5_000;

/// How often damage of some kind did not matter, changed what was read, or was refused.
#[derive(Debug, Default)]
struct Counts {
    same: u64,
    other: u64,
    refused: u64,
    /// Fields that were the reason to refuse.
    fields: usize,
}

/// The bytes of a volume with those features that has all kinds of structures.
fn volume(name: &str, features: &str) -> Vec<u8> {
    let source = Source::new(name, 900, 400);
    // The same in every run, but for times.
    let hash_seed = "hash_seed=fedcba98-7654-3210-fedc-ba9876543210";
    let uuid = "01234567-89ab-cdef-0123-456789abcdef";
    let sizes = ["-b", "1024", "-I", "256", "-N", "128"];
    let options = [&["-O", features, "-U", uuid, "-E", hash_seed], &sizes[..]].concat();
    let file = source.image(8 << 20, &options, &source.extras());
    let bytes = fs::read(&file.0).unwrap();

    let structures = Image::open(&bytes).unwrap().structures().to_vec();
    let kinds = structures.chunk_by(|a, b| discriminant(&a.kind) == discriminant(&b.kind));
    assert_eq!(kinds.count(), 10);
    assert!(structures.len() > 150);
    bytes
}

/// Walks a volume that `damage` damages again and again.
fn walk_damaged(
    whole: &[u8],
    runs: u64,
    damage: impl Fn(&Image<'_>, u64) -> Damage + panic::RefUnwindSafe,
) -> Counts {
    let image = Image::open(whole).unwrap();
    let sum = Volume::open(whole).unwrap().walk().unwrap();

    let mut bytes = whole.to_vec();
    let mut counts = Counts::default();
    let mut longest = (Duration::ZERO, String::new());
    let mut fields = BTreeSet::new();
    for seed in 0..runs {
        let damage = damage(&image, seed);
        let undo = damage.apply(&mut bytes);
        let start = Instant::now();
        let result = panic::catch_unwind(|| Volume::open(&bytes).and_then(|v| v.walk()));
        if start.elapsed() > longest.0 {
            longest = (start.elapsed(), damage.what.clone());
        }
        undo.apply(&mut bytes);
        match result {
            Ok(Ok(again)) if again == sum => counts.same += 1,
            Ok(Ok(_)) => counts.other += 1,
            Ok(Err(wrong)) => {
                assert!(wrong != Wrong::Endless, "seed {seed}: {}", damage.what);
                if let Wrong::Format(Error::Corrupt {
                    structure, field, ..
                }) = wrong
                {
                    fields.insert(format!("{structure}: {field}"));
                }
                counts.refused += 1;
            }
            Err(_) => panic!("seed {seed}: {}", damage.what),
        }
    }
    assert!(bytes == whole);
    counts.fields = fields.len();
    println!("{counts:?}");
    println!("longest: {:?} for {}", longest.0, longest.1);
    counts
}

#[test]
#[ignore = "needs mke2fs, e2fsck and debugfs"]
fn with_right_checksums_damage_is_refused_or_read_to_the_end() {
    let whole = volume("repaired", DEFAULT);
    let counts = walk_damaged(&whole, RUNS, |image, seed| {
        image.damage(seed, Checksums::Repaired)
    });
    // Otherwise this tests little.
    assert!(counts.other > RUNS / 20 && counts.refused > RUNS / 4 && counts.fields > 60);
}

#[test]
#[ignore = "needs mke2fs, e2fsck and debugfs"]
fn without_checksums_damage_is_refused_or_read_to_the_end() {
    let whole = volume("plain", PLAIN);
    let counts = walk_damaged(&whole, RUNS / 2, |image, seed| {
        image.damage(seed, Checksums::Left)
    });
    assert!(counts.other > RUNS / 40 && counts.refused > RUNS / 8 && counts.fields > 50);
}

#[test]
#[ignore = "needs mke2fs, e2fsck and debugfs"]
fn with_wrong_checksums_nothing_else_is_read() {
    let whole = volume("wrong", DEFAULT);
    let counts = walk_damaged(&whole, RUNS, |image, seed| match seed % 4 {
        0 => image.damage(seed, Checksums::Left),
        _ => image.flip(seed),
    });
    assert_eq!(counts.other, 0);
    assert!(counts.refused > RUNS / 2);
}

#[test]
#[ignore = "needs mke2fs, e2fsck and debugfs"]
fn right_checksums_are_those_that_e2fsprogs_computes() {
    for (name, features) in [("sealed", DEFAULT), ("unsealed", PLAIN)] {
        let bytes = volume(name, features);
        let image = Image::open(&bytes).unwrap();
        for structure in image.structures() {
            let mut sealed = image.bytes(structure).to_vec();
            let patches = image.seal(structure, &mut sealed);
            assert_eq!(sealed, image.bytes(structure), "{structure:?}");
            for patch in patches {
                let there = &bytes[patch.pos as usize..][..patch.bytes.len()];
                assert_eq!(there, patch.bytes, "{structure:?}");
            }
        }
    }
}

#[test]
#[ignore = "needs mke2fs, e2fsck and debugfs"]
fn damage_is_the_same_for_a_seed_and_can_be_undone() {
    let whole = volume("seeds", DEFAULT);
    let image = Image::open(&whole).unwrap();
    let mut bytes = whole.clone();
    for seed in 0..500 {
        let damage = image.damage(seed, Checksums::Repaired);
        assert_eq!(damage, image.damage(seed, Checksums::Repaired));
        let undo = damage.apply(&mut bytes);
        undo.apply(&mut bytes);
        assert!(bytes == whole, "{}", damage.what);
    }
}
