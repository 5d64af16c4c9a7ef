// SPDX-License-Identifier: GPL-2.0

//! Blocks of names.

use crate::support::{
    corrupt,
    damage,
    damaged,
    dir_block,
    directory,
    inode_seed,
    no_flipped_bit_goes_unnoticed,
    put,
    put_entry,
    seal_dir_block,
    volume,
    volume_without,
    volume_without_checksums,
    GENERATION, //
};
use damage::{
    Crc,
    Numbers, //
};
use ondisk::{
    dir::Leaf,
    inode::Type,
    Block,
    Error,
    Incompat,
    Lblk,
    Structure,
    Superblock, //
};

const STRUCTURE: Structure = Structure::Directory;
const INO: u32 = 20;

/// What the tests look at: position, inode, type, name.
type Seen = (usize, u32, Option<Type>, Vec<u8>);

fn read(volume: &Superblock, lblk: u32, bytes: &[u8]) -> Result<Vec<Seen>, Error> {
    let dir = directory(volume, INO, 2, 0);
    let block = Block::new(bytes).unwrap();
    let leaf = Leaf::parse::<Crc>(volume, &dir, Lblk(lblk), block)?;
    let entries = leaf.entries().collect::<Result<Vec<_>, _>>()?;
    for entry in &entries {
        assert_eq!(
            leaf.find(entry.name()).unwrap(),
            first(&entries, entry.name())
        );
    }
    Ok(entries
        .iter()
        .map(|entry| {
            let ino = entry.ino().get();
            (entry.pos(), ino, entry.file_type(), entry.name().to_vec())
        })
        .collect())
}

fn first<'a>(entries: &[ondisk::dir::Entry<'a>], name: &[u8]) -> Option<ondisk::dir::Entry<'a>> {
    entries.iter().find(|entry| entry.name() == name).copied()
}

fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
    seal_dir_block(inode_seed(&volume(), INO, GENERATION), &mut bytes);
    bytes
}

/// Reads block `lblk` of the default volume, its checksum put right.
fn read_sealed(lblk: u32, bytes: Vec<u8>) -> Result<Vec<Seen>, Error> {
    read(&volume(), lblk, &sealed(bytes))
}

const DOTS: [(u32, u8, &[u8]); 2] = [(INO, 2, b"."), (2, 2, b"..")];

fn first_block() -> Vec<u8> {
    let names = [DOTS[0], DOTS[1], (30, 1, b"file"), (31, 7, b"a link")];
    dir_block(4096, true, &names)
}

/// A block that is not the first, of one name and what follows.
fn later_block(name: &[u8]) -> Vec<u8> {
    dir_block(4096, true, &[(30, 1, name), (31, 1, b"next")])
}

#[test]
fn names_are_read_in_order() {
    let seen = read_sealed(0, first_block()).unwrap();
    let expected = [
        (0, INO, Some(Type::Directory), b".".to_vec()),
        (12, 2, Some(Type::Directory), b"..".to_vec()),
        (24, 30, Some(Type::Regular), b"file".to_vec()),
        (36, 31, Some(Type::Symlink), b"a link".to_vec()),
    ];
    assert_eq!(seen, expected);
}

#[test]
fn unused_entries_are_passed_over() {
    let names: [(u32, u8, &[u8]); 4] = [
        (0, 1, b"gone"),
        (30, 1, b"here"),
        (0, 0, b""),
        (0, 9, b"a/b"),
    ];
    let seen = read_sealed(1, dir_block(4096, true, &names)).unwrap();
    assert_eq!(seen, [(12, 30, Some(Type::Regular), b"here".to_vec())]);

    // What is left of a block when all of its names are gone.
    assert_eq!(
        read_sealed(1, dir_block(4096, true, &[(0, 0, b"")])),
        Ok(vec![])
    );
}

#[test]
fn names_are_found_by_all_their_bytes() {
    let volume = volume();
    let dir = directory(&volume, INO, 1, 0);
    let names: [(u32, u8, &[u8]); 3] = [(30, 1, b"ab"), (31, 1, b"abc"), (32, 1, &[b'x'; 255])];
    let bytes = sealed(dir_block(4096, true, &names));
    let block = Block::new(&bytes).unwrap();
    let leaf = Leaf::parse::<Crc>(&volume, &dir, Lblk(1), block).unwrap();
    let find = |name: &[u8]| leaf.find(name).unwrap().map(|entry| entry.ino().get());
    assert_eq!(find(b"ab"), Some(30));
    assert_eq!(find(b"abc"), Some(31));
    assert_eq!(find(&[b'x'; 255]), Some(32));
    for name in [b"".as_slice(), b"a", b"abcd", b"AB", &[b'x'; 254]] {
        assert_eq!(find(name), None);
    }
}

#[test]
fn errors_after_a_name_do_not_hide_it() {
    let volume = volume();
    let dir = directory(&volume, INO, 1, 0);
    let mut bytes = later_block(b"good");
    put(&mut bytes, 12 + 4, 7_u16.to_le_bytes());
    let bytes = sealed(bytes);
    let block = Block::new(&bytes).unwrap();
    let leaf = Leaf::parse::<Crc>(&volume, &dir, Lblk(1), block).unwrap();
    assert!(leaf.find(b"good").unwrap().is_some());
    assert_eq!(
        leaf.find(b"next").map(|_| ()),
        corrupt(STRUCTURE, "rec_len", 7)
    );
    // One error, and then no more.
    let all: Vec<_> = leaf.entries().collect();
    assert!(all.len() == 2 && all[0].is_ok() && all[1].is_err());
}

#[test]
fn types_are_those_of_the_format() {
    let read_type = |number| {
        let bytes = dir_block(4096, true, &[(30, number, b"name")]);
        read_sealed(1, bytes).map(|seen| seen[0].2)
    };
    assert_eq!(read_type(0), Ok(None));
    let types = [
        Type::Regular,
        Type::Directory,
        Type::CharDevice,
        Type::BlockDevice,
        Type::Fifo,
        Type::Socket,
        Type::Symlink,
    ];
    for (number, expected) in (1..).zip(types) {
        assert_eq!(read_type(number), Ok(Some(expected)));
    }
    for number in [8, 0x10, 0xde, 0xff] {
        assert_eq!(
            read_type(number),
            corrupt(STRUCTURE, "file_type", number.into())
        );
    }
}

#[test]
fn without_the_feature_there_are_no_types() {
    let volume = volume_without(0x60, Incompat::FILETYPE.bits());
    let read = |number| {
        let bytes = dir_block(4096, true, &[(30, number, b"name")]);
        read(&volume, 1, &sealed(bytes)).map(|seen| seen[0].2)
    };
    assert_eq!(read(0), Ok(None));
    assert_eq!(read(1), corrupt(STRUCTURE, "name_len", 1));
}

#[test]
fn impossible_lengths_are_named_with_their_value() {
    let with_len = |rec_len: u16| {
        let mut bytes = later_block(b"four");
        put(&mut bytes, 4, rec_len.to_le_bytes());
        read_sealed(1, bytes).map(|_| ())
    };
    assert_eq!(with_len(12), Ok(()));
    // Too short, no multiple of 4, over the end, too near to it; and the length of the block, in
    // which there is a checksum too.
    for rec_len in [1, 4, 8, 13, 14, 4088, 4096, 0x7ffc, 4080, 4076, 0, u16::MAX] {
        assert_eq!(
            with_len(rec_len),
            corrupt(STRUCTURE, "rec_len", rec_len.into()),
            "{rec_len}"
        );
    }
    assert_eq!(with_len(4084), Ok(()));

    // Longer than its entry, or than the block.
    for name_len in [5, 255] {
        let mut bytes = later_block(b"four");
        bytes[6] = name_len;
        assert_eq!(
            read_sealed(1, bytes),
            corrupt(STRUCTURE, "name_len", name_len.into())
        );
    }
    assert_eq!(
        read_sealed(1, dir_block(4096, true, &[(30, 1, b"")])),
        corrupt(STRUCTURE, "name_len", 0)
    );
}

#[test]
fn a_length_of_0_or_65535_is_that_of_the_block() {
    let volume = volume_without_checksums();
    for len in [1024, 2048, 4096] {
        for rec_len in [0, u16::MAX, len as u16] {
            let mut bytes = vec![0; len];
            put_entry(&mut bytes, 0, 30, rec_len, 1, b"alone");
            let seen = read(&volume, 1, &bytes).unwrap();
            assert_eq!(seen, [(0, 30, Some(Type::Regular), b"alone".to_vec())]);
        }
    }
}

#[test]
fn inodes_are_those_that_can_have_a_name() {
    for number in [1, 3, 8, 10, 16385, u32::MAX] {
        assert_eq!(
            read_sealed(1, dir_block(4096, true, &[(number, 1, b"name")])),
            corrupt(STRUCTURE, "inode", number.into())
        );
    }
    for number in [2, 11, 16384] {
        assert!(read_sealed(1, dir_block(4096, true, &[(number, 1, b"name")])).is_ok());
    }
}

#[test]
fn names_have_neither_slash_nor_zero() {
    for name in [b"/".as_slice(), b"a/b", b"\0", b"ab\0"] {
        let mut first = [0; 8];
        first[..name.len()].copy_from_slice(name);
        assert_eq!(
            read_sealed(1, later_block(name)),
            corrupt(STRUCTURE, "name", u64::from_be_bytes(first))
        );
    }
}

#[test]
fn the_first_block_begins_with_the_directory_and_the_one_above() {
    let read = |names: &[(u32, u8, &[u8])]| {
        read_sealed(0, dir_block(4096, true, names)).map(|seen| seen.len())
    };
    let name = (30, 1, b"name".as_slice());
    assert_eq!(read(&[DOTS[0], DOTS[1]]), Ok(2));
    assert_eq!(read(&[DOTS[0], DOTS[1], name]), Ok(3));

    let text = |name: &[u8]| {
        let mut first = [0; 8];
        first[..name.len()].copy_from_slice(name);
        corrupt(STRUCTURE, "name", u64::from_be_bytes(first))
    };
    assert_eq!(read(&[name, DOTS[1]]), text(b"name"));
    assert_eq!(read(&[DOTS[1], DOTS[0]]), text(b".."));
    assert_eq!(read(&[DOTS[0], name]), text(b"name"));
    assert_eq!(read(&[(0, 2, b"."), DOTS[1]]), text(b"."));
    assert_eq!(read(&[DOTS[0], (0, 2, b"..")]), text(b".."));
    assert_eq!(read(&[DOTS[0], DOTS[1], DOTS[0]]), text(b"."));
    assert_eq!(read(&[DOTS[0], DOTS[1], DOTS[1], name]), text(b".."));
    assert_eq!(
        read(&[(INO + 1, 2, b"."), DOTS[1]]),
        corrupt(STRUCTURE, "inode", u64::from(INO) + 1)
    );
    assert_eq!(read(&[DOTS[0]]), corrupt(STRUCTURE, "rec_len", 4084));

    // And no other block has such names.
    let later = |names: &[(u32, u8, &[u8])]| {
        read_sealed(1, dir_block(4096, true, names)).map(|seen| seen.len())
    };
    assert_eq!(later(&DOTS), text(b"."));
    assert_eq!(later(&[name, DOTS[1]]), text(b".."));
}

#[test]
fn blocks_end_with_their_checksum() {
    let volume = volume();
    for bytes in [first_block(), dir_block(4096, true, &[(0, 0, b"")])] {
        let lblk = u32::from(bytes[0] == 0);
        no_flipped_bit_goes_unnoticed(&sealed(bytes), |bytes| read(&volume, lblk, bytes).is_ok());
    }
    for (offset, field) in [
        (4084, "det_reserved_zero1"),
        (4088, "det_rec_len"),
        (4090, "det_reserved_zero2"),
        (4091, "det_reserved_ft"),
    ] {
        let mut bytes = first_block();
        bytes[offset] ^= 1;
        let value = match field {
            "det_rec_len" => 13,
            "det_reserved_ft" => 0xdf,
            _ => 1,
        };
        assert_eq!(read_sealed(0, bytes), corrupt(STRUCTURE, field, value));
    }
    let bytes = sealed(first_block());
    let dir = directory(&volume, INO + 1, 1, 0);
    let block = Block::new(&bytes).unwrap();
    assert!(matches!(
        Leaf::parse::<Crc>(&volume, &dir, Lblk(0), block),
        Err(Error::BadChecksum {
            structure: STRUCTURE,
            ..
        })
    ));
}

#[test]
fn without_checksums_names_go_to_the_end() {
    let volume = volume_without_checksums();
    let bytes = dir_block(4096, false, &[(30, 1, b"one"), (31, 1, b"two")]);
    assert_eq!(read(&volume, 1, &bytes).unwrap().len(), 2);
    // As it was left by a driver that knew checksums.
    let bytes = dir_block(4096, true, &[(30, 1, b"one")]);
    assert_eq!(read(&volume, 1, &bytes).unwrap().len(), 1);
}

/// Names of all lengths, of which some are unused.
fn some_names(numbers: &mut Numbers) -> Vec<(u32, u8, Vec<u8>)> {
    let mut left = 900;
    let mut names = vec![];
    loop {
        let len = match numbers.below(4) {
            0 => 1 + numbers.below(255),
            _ => 1 + numbers.below(12),
        };
        let Some(rest) = usize::checked_sub(left, 8 + len + 4) else {
            return names;
        };
        left = rest;
        let name: Vec<u8> = (0..len)
            .map(|_| [b'a', b'.', 0xff][numbers.below(3)])
            .collect();
        if [b".".as_slice(), b".."].contains(&&*name) {
            continue;
        }
        let ino = [0, 11, 4711, 16384][numbers.below(4)];
        names.push((ino, numbers.below(8) as u8, name));
    }
}

#[test]
fn whatever_is_written_is_read() {
    for seed in 0..1000 {
        let names = some_names(&mut Numbers(seed));
        let borrowed: Vec<_> = names
            .iter()
            .map(|(i, t, n)| (*i, *t, n.as_slice()))
            .collect();
        let seen = read_sealed(1, dir_block(1024, true, &borrowed)).unwrap();
        let read: Vec<_> = seen
            .iter()
            .map(|(_, ino, _, name)| (*ino, name.clone()))
            .collect();
        let used = names.iter().filter(|(ino, ..)| *ino != 0);
        assert!(used.map(|(ino, _, name)| (*ino, name.clone())).eq(read));
    }
}

#[test]
fn damaged_blocks_are_refused_or_keep_the_invariants() {
    let volume = volume();
    damaged(40_000, |numbers| {
        let names = some_names(numbers);
        let borrowed: Vec<_> = names
            .iter()
            .map(|(i, t, n)| (*i, *t, n.as_slice()))
            .collect();
        let mut bytes = dir_block(1024, true, &borrowed);
        let mut fields = vec![1012, 1016];
        let mut pos = 0;
        while pos < 1012 {
            fields.extend([pos, pos + 4, pos + 8]);
            pos += usize::from(crate::support::get_u16(&bytes, pos + 4));
        }
        damage(numbers, &mut bytes, &fields);
        if numbers.below(16) > 0 {
            bytes = sealed(bytes);
        }
        match read(&volume, 1, &bytes) {
            Ok(seen) => {
                let mut end = 0;
                for (pos, ino, _, name) in seen {
                    assert!(end <= pos && pos + 8 + name.len() <= 1012);
                    end = pos + 8 + name.len();
                    assert!(ino == 2 || (11..=16384).contains(&ino));
                    assert!(!name.is_empty() && !name.contains(&0) && !name.contains(&b'/'));
                }
                true
            }
            Err(error) => {
                assert!(!error.to_string().is_empty());
                false
            }
        }
    });
}
