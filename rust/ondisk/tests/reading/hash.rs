// SPDX-License-Identifier: GPL-2.0

//! Hashes of names, as debugfs computes them.

use damage::Numbers;
use ondisk::hash::{
    Chars,
    Hash,
    Hasher,
    Version, //
};
use std::{
    env, fs,
    os::unix::ffi::OsStrExt,
    process::{
        self,
        Command, //
    },
};

/// The hash functions by the numbers that debugfs has for them.
const VERSIONS: [(u8, Version, Chars); 6] = [
    (0, Version::Legacy, Chars::Signed),
    (1, Version::HalfMd4, Chars::Signed),
    (2, Version::Tea, Chars::Signed),
    (3, Version::Legacy, Chars::Unsigned),
    (4, Version::HalfMd4, Chars::Unsigned),
    (5, Version::Tea, Chars::Unsigned),
];

/// 01234567-89ab-cdef-0123-456789abcdef
const SEED: [u32; 4] = [0x6745_2301, 0xefcd_ab89, 0x6745_2301, 0xefcd_ab89];

#[test]
fn hashes_are_those_of_debugfs() {
    // `debugfs -R 'dx_hash -h VERSION NAME'`
    let name = b"h\xe9\xfflo";
    let expected = [
        (0x64db_060e, 0),
        (0x14b9_39e0, 0x96d7_3a9c),
        (0x927e_2478, 0x7502_6a4c),
        (0x99b5_180e, 0),
        (0xa952_38bc, 0x9519_2fc6),
        (0x6b42_6a94, 0x8a37_d506),
    ];
    for ((_, version, chars), (major, minor)) in VERSIONS.into_iter().zip(expected) {
        let hash = Hasher::new(version, chars, [0; 4]).hash(name);
        assert_eq!(hash, Hash { major, minor }, "{version:?} {chars:?}");
    }

    // With a seed, and more than one round of words.
    let hasher = Hasher::new(Version::HalfMd4, Chars::Signed, SEED);
    let (major, minor) = (0xa26e_4a80, 0x97e5_b7f7);
    assert_eq!(hasher.hash(b"hello"), Hash { major, minor });
    let hasher = Hasher::new(Version::HalfMd4, Chars::Unsigned, SEED);
    let (major, minor) = (0x4e60_2538, 0xd29d_f347);
    let name = b"abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz";
    assert_eq!(hasher.hash(name), Hash { major, minor });
}

#[test]
fn hashes_are_even_and_none_is_the_end_of_a_directory() {
    let mut numbers = Numbers(5);
    for (_, version, chars) in VERSIONS {
        let hasher = Hasher::new(version, chars, SEED);
        for _ in 0..2000 {
            let name: Vec<u8> = (0..numbers.below(256))
                .map(|_| numbers.next() as u8)
                .collect();
            let hash = hasher.hash(&name);
            assert!(hash.major % 2 == 0 && hash.major < 0xffff_fffe);
        }
    }
}

#[test]
#[ignore = "needs debugfs"]
fn hashes_of_any_name_are_those_of_debugfs() {
    let mut numbers = Numbers(1);
    let mut names = vec![];
    for len in 1..=255 {
        // Neither a quote nor a blank nor what begins an option or a comment.
        let chars = |numbers: &mut Numbers| loop {
            match numbers.next() as u8 {
                byte @ (b'A'..=b'Z' | b'a'..=b'z' | 0x80..) => return byte,
                _ => continue,
            }
        };
        names.push((0..len).map(|_| chars(&mut numbers)).collect::<Vec<u8>>());
    }

    for (number, version, chars) in VERSIONS {
        for (option, seed) in [
            ("", [0; 4]),
            (" -s 01234567-89ab-cdef-0123-456789abcdef", SEED),
        ] {
            let mut commands = vec![];
            for name in &names {
                commands.extend(format!("dx_hash -h {number}{option} ").as_bytes());
                commands.extend(name);
                commands.push(b'\n');
            }
            let file = env::temp_dir().join(format!("stablefs-{}-hashes", process::id()));
            fs::write(&file, commands).unwrap();
            let output = Command::new("debugfs")
                .arg("-f")
                .arg(&file)
                .output()
                .unwrap();
            fs::remove_file(&file).unwrap();

            let hasher = Hasher::new(version, chars, seed);
            let lines = output.stdout.split(|byte| *byte == b'\n');
            let answers: Vec<_> = lines.filter(|line| line.starts_with(b"Hash of ")).collect();
            assert_eq!(answers.len(), names.len());
            for (name, answer) in names.iter().zip(answers) {
                let Hash { major, minor } = hasher.hash(name);
                // debugfs prints without leading zeroes.
                let expected = format!(" is 0x{major:x} (minor 0x{minor:x})");
                assert!(
                    answer.ends_with(expected.as_bytes()),
                    "{version:?} {chars:?} {:?}: {expected}",
                    std::ffi::OsStr::from_bytes(answer)
                );
            }
        }
    }
}
