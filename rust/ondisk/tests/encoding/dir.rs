// SPDX-License-Identifier: GPL-2.0

//! Blocks of names.

use crate::support::{
    directory,
    ino,
    volume,
    volume_without,
    volume_without_checksums, //
};
use damage::{
    Crc,
    Numbers, //
};
use ondisk::{
    dir::{
        encode,
        room,
        Leaf,
        NewEntry,
        NAME_LEN, //
    },
    inode::Type,
    Block,
    Incompat,
    Lblk,
    Superblock, //
};

const TYPES: [Type; 7] = [
    Type::Regular,
    Type::Directory,
    Type::CharDevice,
    Type::BlockDevice,
    Type::Fifo,
    Type::Socket,
    Type::Symlink,
];

/// A name, its inode, its type.
type Name = (Vec<u8>, u32, Type);

fn name(numbers: &mut Numbers) -> Name {
    let len = 1 + numbers
        .below(1 << numbers.clone().below(9))
        .min(NAME_LEN - 1);
    let mut name: Vec<_> = (0..len).map(|_| numbers.next() as u8).collect();
    for byte in &mut name {
        if [0, b'/', b'.'].contains(byte) {
            *byte = b'x';
        }
    }
    let ino = 11 + numbers.below(16384 - 10) as u32;
    (name, ino, numbers.pick(&TYPES))
}

fn with_entries<R>(
    volume: &Superblock,
    names: &[Name],
    then: impl FnOnce(&[NewEntry<'_>]) -> R,
) -> R {
    let entries = names.iter().map(|(name, number, file_type)| NewEntry {
        ino: ino(volume, *number),
        file_type: *file_type,
        name,
    });
    then(&entries.collect::<Vec<_>>())
}

#[test]
fn names_are_read_back() {
    let untyped = volume_without(0x60, Incompat::FILETYPE.bits());
    for (volume, has_types) in [
        (volume(), true),
        (volume_without_checksums(), true),
        (untyped, false),
    ] {
        let dir = directory(&volume, 20, 8, 0);
        for seed in 0..5_000 {
            let numbers = &mut Numbers(seed);
            let len = numbers.pick(&[1024, 2048, 4096]);
            let lblk = Lblk(numbers.below(3) as u32);
            let mut names = vec![];
            if lblk == Lblk(0) {
                names.push((b".".to_vec(), 20, Type::Directory));
                names.push((b"..".to_vec(), 2, Type::Directory));
            }
            let mut left = room(&dir, len).unwrap() - 24;
            for _ in 0..numbers.below(1 << numbers.clone().below(9)) {
                let name = name(numbers);
                let min_len = (8 + name.0.len()).next_multiple_of(4);
                match left.checked_sub(min_len) {
                    Some(rest) => left = rest,
                    None => break,
                }
                names.push(name);
            }

            let mut block = vec![0xff; len];
            with_entries(&volume, &names, |entries| {
                encode::<Crc>(&volume, &dir, lblk, entries, &mut block).unwrap();
            });
            let block = Block::new(&block).unwrap();
            let leaf = Leaf::parse::<Crc>(&volume, &dir, lblk, block).unwrap();
            let found: Vec<_> = leaf.entries().map(Result::unwrap).collect();
            assert_eq!(found.len(), names.len(), "seed {seed}");
            for (found, (name, number, file_type)) in found.iter().zip(&names) {
                assert_eq!(found.name(), name);
                assert_eq!(found.ino().get(), *number);
                assert_eq!(found.file_type(), has_types.then_some(*file_type));
            }
        }
    }
}

#[test]
fn what_is_no_block_of_names_is_not_encoded() {
    let volume = volume();
    let dir = directory(&volume, 20, 8, 0);
    let encoded = |lblk: u32, len: usize, names: &[(&[u8], u32)]| {
        let names: Vec<_> = names
            .iter()
            .map(|(name, number)| (name.to_vec(), *number, Type::Regular))
            .collect();
        with_entries(&volume, &names, |entries| {
            encode::<Crc>(&volume, &dir, Lblk(lblk), entries, &mut vec![0; len]).is_some()
        })
    };
    assert!(encoded(1, 1024, &[]));
    assert!(encoded(1, 1024, &[(b"name", 11)]));
    assert!(encoded(0, 1024, &[(b".", 20), (b"..", 2)]));
    // The first block begins with the directory, and no other does.
    assert!(!encoded(0, 1024, &[]));
    assert!(!encoded(0, 1024, &[(b".", 20)]));
    assert!(!encoded(0, 1024, &[(b".", 21), (b"..", 2)]));
    assert!(!encoded(0, 1024, &[(b"name", 11)]));
    assert!(!encoded(1, 1024, &[(b".", 20), (b"..", 2)]));
    // Names and inodes that there cannot be.
    assert!(!encoded(1, 1024, &[(b"", 11)]));
    assert!(!encoded(1, 1024, &[(b"a/b", 11)]));
    assert!(!encoded(1, 1024, &[(b"a\0b", 11)]));
    assert!(!encoded(1, 1024, &[(b"name", 10)]));
    assert!(encoded(1, 1024, &[(&[b'n'; 255], 11)]));
    assert!(!encoded(1, 1024, &[(&[b'n'; 256], 11)]));
    // 3 times 252 and 256 are all that 1,012 bytes hold, and no block is so long.
    let names = |last: usize| {
        let long = |len: usize| vec![b'n'; len - 8];
        [long(252), long(252), long(252), long(last)]
    };
    for (last, fits) in [(256, true), (260, false)] {
        let names = names(last);
        let names: Vec<_> = names.iter().map(|name| (name.as_slice(), 11)).collect();
        assert_eq!(encoded(1, 1024, &names), fits);
    }
    assert!(!encoded(1, 1000, &[]));
    assert!(!encoded(1, 8, &[]));
}
