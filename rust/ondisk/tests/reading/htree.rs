// SPDX-License-Identifier: GPL-2.0

//! Trees of hashes.

use crate::support::{
    corrupt,
    crc,
    damage,
    damaged,
    directory,
    get_u16,
    inode_seed,
    no_flipped_bit_goes_unnoticed,
    put,
    put_entry,
    volume,
    volume_with,
    volume_without_checksums,
    GENERATION, //
};
use damage::Crc;
use ondisk::{
    hash::{
        Hash,
        Hasher,
        Version, //
    },
    htree::{
        Below,
        Child,
        Index,
        Root, //
    },
    Block,
    Error,
    Lblk,
    Structure,
    Superblock,
    Unsupported, //
};

const STRUCTURE: Structure = Structure::HashTree;
const INO: u32 = 20;
/// Blocks of the directory.
const BLOCKS: u32 = 100;
/// The flag of indexed directories.
const INDEX: u32 = 0x1000;

/// A root with those entries, without the value of its checksum.
fn root_block(len: usize, checksum: bool, levels: u8, entries: &[(u32, u32)]) -> Vec<u8> {
    let mut bytes = vec![0; len];
    put_entry(&mut bytes, 0, INO, 12, 2, b".");
    put_entry(&mut bytes, 12, 2, len as u16 - 12, 2, b"..");
    put(&mut bytes, 0x1c, [1, 8, levels, 0]);
    put_entries(&mut bytes, 32, checksum, entries);
    bytes
}

fn node_block(len: usize, checksum: bool, entries: &[(u32, u32)]) -> Vec<u8> {
    let mut bytes = vec![0; len];
    put_entry(&mut bytes, 0, 0, len as u16, 0, b"");
    put_entries(&mut bytes, 8, checksum, entries);
    bytes
}

fn put_entries(bytes: &mut [u8], pos: usize, checksum: bool, entries: &[(u32, u32)]) {
    for (n, (hash, block)) in entries.iter().enumerate() {
        put(bytes, pos + 8 * n, hash.to_le_bytes());
        put(bytes, pos + 8 * n + 4, block.to_le_bytes());
    }
    let limit = (bytes.len() - pos - if checksum { 8 } else { 0 }) / 8;
    put(bytes, pos, (limit as u16).to_le_bytes());
    put(bytes, pos + 2, (entries.len() as u16).to_le_bytes());
}

/// Puts the checksum right of a block whose entries begin at `pos`.
fn sealed(mut bytes: Vec<u8>, pos: usize) -> Vec<u8> {
    let end = bytes.len() - 8;
    let used = pos + 8 * usize::from(get_u16(&bytes, pos + 2));
    let seed = inode_seed(&volume(), INO, GENERATION);
    let sum = crc(
        seed,
        &[&bytes[..used.min(end)], &bytes[end..end + 4], &[0; 4]],
    );
    put(&mut bytes, end + 4, sum.to_le_bytes());
    bytes
}

fn parse<'a>(volume: &Superblock, bytes: &'a [u8]) -> Result<Root<'a>, Error> {
    let dir = directory(volume, INO, BLOCKS, INDEX);
    Root::parse::<Crc>(volume, &dir, Block::new(bytes).unwrap())
}

/// Parses a node below the root, on a volume with those blocks.
fn parse_below<'a>(volume: &Superblock, bytes: &'a [u8]) -> Result<Index<'a>, Error> {
    let dir = directory(volume, INO, BLOCKS, INDEX);
    Index::below::<Crc>(volume, &dir, below(), Block::new(bytes).unwrap())
}

/// The place of a node below the root.
fn below() -> Below {
    let bytes = sealed(root_block(4096, true, 1, &[(0, 7)]), 32);
    match parse(&volume(), &bytes).unwrap().index().first().child() {
        Child::Node(below) => below,
        leaf => panic!("{leaf:?}"),
    }
}

fn hash(major: u32) -> Hash {
    Hash { major, minor: 0 }
}

const ENTRIES: [(u32, u32); 4] = [(0, 3), (0x1000, 4), (0x2001, 5), (0x4000, 6)];

#[test]
fn a_root_is_read_as_it_was_made() {
    let volume = volume();
    let bytes = sealed(root_block(4096, true, 0, &ENTRIES), 32);
    let root = parse(&volume, &bytes).unwrap();
    assert_eq!(root.parent().get(), 2);
    let settings = volume.settings();
    assert_eq!(
        root.hasher(),
        Hasher::new(
            Version::HalfMd4,
            settings.hash_chars(),
            settings.hash_seed()
        )
    );
    let entries: Vec<_> = root
        .index()
        .entries()
        .map(|entry| (entry.hash(), entry.child()))
        .collect();
    let leaf = |lblk| Child::Leaf(Lblk(lblk));
    let expected = [
        (0, leaf(3)),
        (0x1000, leaf(4)),
        (0x2000, leaf(5)),
        (0x4000, leaf(6)),
    ];
    assert_eq!(entries, expected);
}

#[test]
fn hashes_lead_to_the_last_entry_that_is_not_above_them() {
    let bytes = sealed(root_block(4096, true, 0, &ENTRIES), 32);
    let index = parse(&volume(), &bytes).unwrap().index();
    let lblk = |major| match index.find(hash(major)).child() {
        Child::Leaf(lblk) => lblk.0,
        node => panic!("{node:?}"),
    };
    for (major, expected) in [
        (0, 3),
        (0xffe, 3),
        (0x1000, 4),
        // Begins in the leaf before that which only continues it.
        (0x2000, 4),
        (0x2002, 5),
        (0x3ffe, 5),
        (0x4000, 6),
        (0xffff_fffc, 6),
    ] {
        assert_eq!(lblk(major), expected, "{major:#x}");
    }
}

#[test]
fn the_next_entry_continues_a_hash_if_it_says_so() {
    let bytes = sealed(root_block(4096, true, 0, &ENTRIES), 32);
    let index = parse(&volume(), &bytes).unwrap().index();
    let continues = |major| {
        let next = index.after(index.find(hash(major)));
        next.is_some_and(|next| next.continues(hash(major)))
    };
    assert!(continues(0x2000));
    for major in [0, 0xffe, 0x1000, 0x1ffe, 0x2002, 0x3ffe, 0x4000] {
        assert!(!continues(major), "{major:#x}");
    }
    let last = index.find(hash(0x4000));
    assert_eq!(index.after(last), None);
}

#[test]
fn lookups_agree_with_going_through_the_list() {
    for count in [1, 2, 3, 122, 123] {
        let entries: Vec<_> = (0..count).map(|n| (n * 6, 1 + n % 90)).collect();
        let bytes = sealed(root_block(1024, true, 0, &entries), 32);
        let volume = volume();
        // 1 KiB blocks would need another volume; the tree only asks for the block's own length.
        let index = parse(&volume, &bytes).unwrap().index();
        for major in (0..count * 6 + 4).step_by(2) {
            let expected = entries
                .iter()
                .rev()
                .find(|(hash, _)| *hash <= major)
                .unwrap();
            let found = index.find(hash(major));
            assert_eq!(found.hash(), expected.0);
            assert_eq!(found.child(), Child::Leaf(Lblk(expected.1)));
        }
    }
}

#[test]
fn levels_fall_with_each_step() {
    let volume = volume();
    let bytes = sealed(root_block(4096, true, 1, &[(0, 7), (0x100, 8)]), 32);
    let root = parse(&volume, &bytes).unwrap();
    let Child::Node(below) = root.index().find(hash(0x100)).child() else {
        panic!("no node");
    };
    assert_eq!(below.lblk(), Lblk(8));

    let bytes = sealed(node_block(4096, true, &[(0, 9), (0x200, 10)]), 8);
    let index = parse_below(&volume, &bytes).unwrap();
    assert_eq!(index.find(hash(0x200)).child(), Child::Leaf(Lblk(10)));
    assert_eq!(index.first().child(), Child::Leaf(Lblk(9)));
}

#[test]
fn impossible_fields_of_a_root_are_named_with_their_value() {
    let volume = volume();
    let with = |offset: usize, value: &[u8]| {
        let mut bytes = root_block(4096, true, 0, &ENTRIES);
        bytes[offset..offset + value.len()].copy_from_slice(value);
        parse(&volume, &sealed(bytes, 32)).map(|_| ())
    };
    assert_eq!(with(0x1f, &[2]), Ok(()));
    let cases: [(usize, &[u8], &'static str, u64); 18] = [
        (0x00, &[21], "dot.inode", 21),
        (0x04, &[16], "dot.rec_len", 16),
        (0x06, &[2], "dot_name", 0x2e00_0000),
        (0x08, b"x", "dot_name", 0x7800_0000),
        (0x0c, &[0], "dotdot.inode", 0),
        (0x0c, &[0xff; 4], "dotdot.inode", 0xffff_ffff),
        (0x10, &[0, 0], "dotdot.rec_len", 0),
        (0x10, &[0xf0, 0x0f], "dotdot.rec_len", 0x0ff0),
        (0x12, &[1], "dotdot_name", 0x2e2e_0000),
        (0x14, b".x", "dotdot_name", 0x2e78_0000),
        (0x18, &[1], "reserved_zero", 1),
        (0x1c, &[3], "hash_version", 3),
        (0x1c, &[7], "hash_version", 7),
        (0x1d, &[7], "info_length", 7),
        (0x1e, &[2], "indirect_levels", 2),
        (0x1e, &[255], "indirect_levels", 255),
        (0x1f, &[1], "unused_flags", 1),
        (0x22, &[0, 0], "count", 0),
    ];
    for (offset, value, field, number) in cases {
        assert_eq!(with(offset, value), corrupt(STRUCTURE, field, number));
    }
    let siphash = with(0x1c, &[6]).unwrap_err();
    assert_eq!(siphash, Error::Unsupported(Unsupported::HashVersion(6)));
    assert_eq!(
        siphash.to_string(),
        "unsupported hash of directories: siphash"
    );
}

#[test]
fn every_hash_that_needs_no_key_is_supported() {
    let versions = [Version::Legacy, Version::HalfMd4, Version::Tea];
    for (number, version) in (0..).zip(versions) {
        for unsigned in [false, true] {
            let volume = volume_with(|bytes| {
                put(bytes, 0x160, [1 + u8::from(unsigned), 0, 0, 0]);
            })
            .unwrap();
            let mut bytes = root_block(4096, true, 0, &ENTRIES);
            bytes[0x1c] = number;
            let settings = volume.settings();
            let expected = Hasher::new(version, settings.hash_chars(), settings.hash_seed());
            let bytes = sealed(bytes, 32);
            assert_eq!(parse(&volume, &bytes).unwrap().hasher(), expected);
        }
    }
}

#[test]
fn impossible_entries_are_named_with_their_value() {
    let volume = volume();
    let with = |entries: &[_]| {
        let bytes = sealed(root_block(4096, true, 0, entries), 32);
        parse(&volume, &bytes).map(|_| ())
    };
    // Bits of a block's number that mean nothing yet; hashes that continue twice.
    assert_eq!(with(&[(0, 0xf000_0003)]), Ok(()));
    assert_eq!(with(&[(0, 3), (5, 4), (5, 5), (6, 6)]), Ok(()));
    assert_eq!(with(&[(0, 99)]), Ok(()));
    for block in [0, 100, 0xf000_0000, u32::MAX] {
        assert_eq!(
            with(&[(0, block)]),
            corrupt(STRUCTURE, "block", block.into())
        );
        assert_eq!(
            with(&[(0, 1), (2, block)]),
            corrupt(STRUCTURE, "block", block.into())
        );
    }
    assert_eq!(
        with(&[(0, 3), (8, 4), (6, 5)]),
        corrupt(STRUCTURE, "hash", 6)
    );

    let limit = |pos: usize, limit: u16, count: u16| {
        let mut bytes = match pos {
            32 => root_block(4096, true, 0, &ENTRIES),
            _ => node_block(4096, true, &ENTRIES),
        };
        put(&mut bytes, pos, limit.to_le_bytes());
        put(&mut bytes, pos + 2, count.to_le_bytes());
        let bytes = sealed(bytes, pos);
        match pos {
            32 => parse(&volume, &bytes).map(|_| ()),
            _ => parse_below(&volume, &bytes).map(|_| ()),
        }
    };
    for (pos, right) in [(32, 507), (8, 510)] {
        assert_eq!(limit(pos, right, 4), Ok(()));
        for wrong in [0, right - 1, right + 1, u16::MAX] {
            assert_eq!(
                limit(pos, wrong, 4),
                corrupt(STRUCTURE, "limit", wrong.into())
            );
        }
        for count in [0, right + 1, u16::MAX] {
            assert_eq!(
                limit(pos, right, count),
                corrupt(STRUCTURE, "count", count.into())
            );
        }
    }
}

#[test]
fn blocks_of_names_are_no_nodes() {
    let volume = volume();
    let with = |offset: usize, value: &[u8]| {
        let mut bytes = node_block(4096, true, &ENTRIES);
        bytes[offset..offset + value.len()].copy_from_slice(value);
        parse_below(&volume, &sealed(bytes, 8)).map(|_| ())
    };
    assert_eq!(with(0, &[30]), corrupt(STRUCTURE, "fake.inode", 30));
    assert_eq!(with(4, &[12, 0]), corrupt(STRUCTURE, "fake.rec_len", 12));
    assert_eq!(with(6, &[4]), corrupt(STRUCTURE, "fake.name_len", 4));
}

#[test]
fn checksums_are_of_the_entries_that_are_used() {
    let volume = volume();
    for len in [1024, 2048, 4096] {
        for (pos, bytes) in [
            (32, root_block(len, true, 0, &ENTRIES)),
            (8, node_block(len, true, &ENTRIES)),
        ] {
            let bytes = sealed(bytes, pos);
            let used = pos + 8 * ENTRIES.len();
            let parts = [&bytes[..used], &bytes[len - 8..]].concat();
            no_flipped_bit_goes_unnoticed(&parts, |parts| {
                let mut bytes = bytes.clone();
                let (start, end) = parts.split_at(used);
                bytes[..used].copy_from_slice(start);
                bytes[len - 8..].copy_from_slice(end);
                match pos {
                    32 => parse(&volume, &bytes).is_ok(),
                    // Of the unused entry at the start only the type means nothing.
                    _ => parse_below(&volume, &bytes).is_ok(),
                }
            });
        }
    }
    let without = volume_without_checksums();
    assert!(parse(&without, &root_block(4096, false, 0, &ENTRIES)).is_ok());
    assert!(parse_below(&without, &node_block(4096, false, &ENTRIES)).is_ok());
    assert!(parse(&without, &root_block(4096, true, 0, &ENTRIES)).is_err());
}

#[test]
fn damaged_nodes_are_refused_or_keep_the_invariants() {
    let volume = volume();
    let dir = directory(&volume, INO, BLOCKS, INDEX);
    let below = below();
    damaged(40_000, |numbers| {
        let count = 1 + numbers.below(20) as u32;
        let entries: Vec<_> = (0..count).map(|n| (n * 8, 1 + n)).collect();
        let is_root = numbers.below(2) == 0;
        let (pos, mut bytes) = match is_root {
            true => (32, root_block(1024, true, numbers.below(2) as u8, &entries)),
            false => (8, node_block(1024, true, &entries)),
        };
        let fields: Vec<_> = (0..pos + 8 * entries.len()).step_by(4).collect();
        damage(numbers, &mut bytes, &fields);
        if numbers.below(16) > 0 {
            bytes = sealed(bytes, pos);
        }
        let block = Block::new(&bytes).unwrap();
        let index = match is_root {
            true => Root::parse::<Crc>(&volume, &dir, block).map(|root| root.index()),
            false => Index::below::<Crc>(&volume, &dir, below, block),
        };
        let Ok(index) = index else {
            return false;
        };
        let mut least = 0;
        for entry in index.entries() {
            assert!(entry.hash() >= least);
            least = entry.hash();
            let lblk = match entry.child() {
                Child::Leaf(lblk) => lblk,
                Child::Node(below) => {
                    assert!(is_root);
                    below.lblk()
                }
            };
            assert!((1..BLOCKS).contains(&lblk.0));
        }
        for major in [0, 2, 80, 0xffff_fffc] {
            assert!(index.find(hash(major)).hash() <= major);
        }
        true
    });
}
