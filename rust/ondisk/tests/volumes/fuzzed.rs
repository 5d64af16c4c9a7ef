// SPDX-License-Identifier: GPL-2.0

//! The targets of `rust/fuzz`, with mutated structures of volumes that e2fsprogs made.

use crate::{
    image::DEFAULT,
    source::{
        Source,
        PLAIN, //
    },
};
use damage::{
    fuzz::{
        self,
        Target,
        TARGETS, //
    },
    Image,
    Numbers, //
};
use std::{
    fs,
    panic,
    path::Path, //
};

/// How many inputs each target gets; walking a whole volume takes longer.
const RUNS: u64 = 100_000;
const VOLUME_RUNS: u64 = 5_000;

/// Inputs from volumes of all shapes.
fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let old = "none,extent,dir_index,ext_attr,metadata_csum,sparse_super";
    let mut seeds = vec![];
    for (features, block, inode, len) in [
        (DEFAULT, "1024", "256", 8 << 20),
        (DEFAULT, "4096", "1024", 8 << 20),
        (old, "2048", "128", 8 << 20),
        // What the target for whole volumes takes.
        (PLAIN, "1024", "256", 2 << 20),
    ] {
        let source = Source::new("fuzzed", 150, 90);
        let options = ["-O", features, "-b", block, "-I", inode, "-N", "64"];
        let file = source.image(len, &options, &source.extras());
        let bytes = fs::read(&file.0).unwrap();
        seeds.extend(fuzz::seeds(&Image::open(&bytes).unwrap()));
    }
    seeds
}

#[test]
#[ignore = "needs mke2fs, e2fsck and debugfs"]
fn mutated_structures_are_values_or_errors() {
    let seeds = seeds();
    for Target { name, run } in TARGETS {
        let seeds = seeds.iter().filter(|(target, _)| *target == name);
        let seeds: Vec<_> = seeds.map(|(_, seed)| seed.as_slice()).collect();
        // Not every inode has attributes, and not every name leads to a tree.
        assert!(
            seeds.iter().any(|seed| run(seed)),
            "{name}: no seed is accepted"
        );

        let runs = if name == "volume" { VOLUME_RUNS } else { RUNS };
        let (mut accepted, mut refused) = (0, 0);
        for seed in 0..runs {
            let input = fuzz::mutate(&seeds, &mut Numbers(seed));
            match panic::catch_unwind(|| run(&input)) {
                Ok(true) => accepted += 1,
                Ok(false) => refused += 1,
                Err(_) => panic!("{name}: seed {seed}"),
            }
        }
        println!(
            "{name}: {} seeds, {accepted} accepted, {refused} refused",
            seeds.len()
        );
        // Otherwise this tests little.
        assert!(accepted > runs / 50 && refused > runs / 50, "{name}");
    }
}

#[test]
fn cargo_fuzz_knows_every_target() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz");
    let manifest = fs::read_to_string(fuzz.join("Cargo.toml")).unwrap();
    let bins = manifest.split("[[bin]]\nname = \"").skip(1);
    let bins = bins.map(|bin| bin.split('"').next().unwrap());
    assert!(bins.eq(TARGETS.iter().map(|target| target.name)));
    for Target { name, .. } in TARGETS {
        let source = fuzz.join(format!("fuzz_targets/{name}.rs"));
        let source = fs::read_to_string(source).unwrap();
        assert!(source.contains(&format!("damage::fuzz::{name}(data)")));
    }
}
