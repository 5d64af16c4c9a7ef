// SPDX-License-Identifier: GPL-2.0

//! Extended attributes.

use crate::support::{
    corrupt,
    crc,
    damage,
    damaged,
    get_u32,
    inode_bytes,
    no_flipped_bit_goes_unnoticed,
    parse_inode,
    put,
    seal_inode,
    volume,
    volume_without_checksums, //
};
use damage::{
    Crc,
    Numbers, //
};
use ondisk::{
    xattr::{
        Prefix,
        Xattrs, //
    },
    Block,
    Error,
    Pblk,
    Structure,
    Superblock, //
};

const INO: u32 = 20;
const PBLK: Pblk = Pblk(500);

/// An attribute: the number of its prefix, the rest of its name, its value.
type Attribute = (u8, Vec<u8>, Vec<u8>);

fn some() -> Vec<Attribute> {
    vec![
        (1, b"comment".to_vec(), b"short".to_vec()),
        (
            6,
            b"selinux".to_vec(),
            b"system_u:object_r:etc_t:s0\0".to_vec(),
        ),
        (1, b"empty".to_vec(), vec![]),
        (2, vec![], vec![1, 0, 0, 0]),
    ]
}

/// The hash of an attribute, whose value ends with the zeroes that fill it up.
fn hash(name: &[u8], value: &[u8], signed: bool) -> u32 {
    let hash = name.iter().fold(0_u32, |hash, byte| {
        let byte = if signed {
            *byte as i8 as u32
        } else {
            u32::from(*byte)
        };
        (hash << 5) ^ (hash >> 27) ^ byte
    });
    value.chunks(4).fold(hash, |hash, word| {
        let mut padded = [0; 4];
        padded[..word.len()].copy_from_slice(word);
        (hash << 16) ^ (hash >> 16) ^ u32::from_le_bytes(padded)
    })
}

/// Attributes with names from `start` on, and values from the end backwards.
fn put_attributes(area: &mut [u8], start: usize, attributes: &[Attribute], hashes: bool) {
    let (mut pos, mut end) = (start, area.len());
    for (index, name, value) in attributes {
        end -= value.len().next_multiple_of(4);
        area[end..end + value.len()].copy_from_slice(value);
        let offset = if value.is_empty() { 0 } else { end };
        put(area, pos, [name.len() as u8, *index]);
        put(area, pos + 2, (offset as u16).to_le_bytes());
        put(area, pos + 8, (value.len() as u32).to_le_bytes());
        let hash = if hashes { hash(name, value, false) } else { 0 };
        put(area, pos + 12, hash.to_le_bytes());
        area[pos + 16..pos + 16 + name.len()].copy_from_slice(name);
        pos += (16 + name.len()).next_multiple_of(4);
    }
    assert!(pos + 4 <= end, "no room");
}

/// A block with attributes, without the value of its checksum.
fn block(len: usize, attributes: &[Attribute]) -> Vec<u8> {
    let mut bytes = vec![0; len];
    put(&mut bytes, 0x00, 0xea02_0000_u32.to_le_bytes());
    put(&mut bytes, 0x04, 1_u32.to_le_bytes());
    put(&mut bytes, 0x08, 1_u32.to_le_bytes());
    put_attributes(&mut bytes, 32, attributes, true);
    bytes
}

fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
    put(&mut bytes, 0x10, [0; 4]);
    let sum = crc(volume().checksum_seed(), &[&PBLK.0.to_le_bytes(), &bytes]);
    put(&mut bytes, 0x10, sum.to_le_bytes());
    bytes
}

fn read_block(volume: &Superblock, bytes: &[u8]) -> Result<Vec<Attribute>, Error> {
    let block = Block::new(bytes).unwrap();
    Xattrs::in_block::<Crc>(volume, PBLK, block).map(|xattrs| seen(&xattrs))
}

/// Reads a block of the default volume after `change`, its checksum put right.
fn changed(change: impl FnOnce(&mut [u8])) -> Result<Vec<Attribute>, Error> {
    let mut bytes = block(4096, &some());
    change(&mut bytes);
    read_block(&volume(), &sealed(bytes))
}

/// An inode with `area` after its newer fields.
fn read_inode(area: &[u8]) -> Result<Option<Vec<Attribute>>, Error> {
    let mut bytes = inode_bytes(256);
    bytes[160..160 + area.len()].copy_from_slice(area);
    seal_inode(&volume(), INO, &mut bytes);
    let inode = parse_inode(&volume(), INO, &bytes).unwrap().unwrap();
    let xattrs = Xattrs::in_inode(&inode, &bytes)?;
    Ok(xattrs.map(|xattrs| seen(&xattrs)))
}

fn area(attributes: &[Attribute], hashes: bool) -> Vec<u8> {
    let mut area = vec![0; 96];
    put(&mut area, 0, 0xea02_0000_u32.to_le_bytes());
    put_attributes(&mut area[4..], 0, attributes, hashes);
    area
}

fn seen(xattrs: &Xattrs<'_>) -> Vec<Attribute> {
    for xattr in xattrs {
        let first = xattrs
            .iter()
            .find(|other| other.prefix() == xattr.prefix() && other.name() == xattr.name());
        let value = xattrs.get(xattr.prefix(), xattr.name());
        assert_eq!(value, first.map(|xattr| xattr.value()));
    }
    let number = |prefix: Prefix| {
        let known = [
            (Prefix::USER, 1),
            (Prefix::POSIX_ACL_ACCESS, 2),
            (Prefix::POSIX_ACL_DEFAULT, 3),
            (Prefix::TRUSTED, 4),
            (Prefix::SECURITY, 6),
            (Prefix::SYSTEM, 7),
            (Prefix::RICHACL, 8),
            (Prefix::HURD, 10),
        ];
        known
            .iter()
            .find(|(known, _)| *known == prefix)
            .map_or(0, |known| known.1)
    };
    xattrs
        .iter()
        .map(|xattr| {
            let name = xattr.name().to_vec();
            (number(xattr.prefix()), name, xattr.value().to_vec())
        })
        .collect()
}

#[test]
fn attributes_are_read_from_blocks() {
    let volume = volume();
    for len in [1024, 2048, 4096] {
        let bytes = sealed(block(len, &some()));
        assert_eq!(read_block(&volume, &bytes), Ok(some()));
        let xattrs = Xattrs::in_block::<Crc>(&volume, PBLK, Block::new(&bytes).unwrap()).unwrap();
        let get = |prefix, name: &[u8]| xattrs.get(prefix, name);
        assert_eq!(get(Prefix::USER, b"comment"), Some(b"short".as_slice()));
        assert_eq!(get(Prefix::USER, b"empty"), Some([].as_slice()));
        assert_eq!(get(Prefix::SECURITY, b"comment"), None);
        assert_eq!(get(Prefix::USER, b"commen"), None);
    }
    assert_eq!(read_block(&volume, &sealed(block(4096, &[]))), Ok(vec![]));
}

#[test]
fn attributes_are_read_from_inodes() {
    let some = &some()[2..];
    for hashes in [false, true] {
        assert_eq!(read_inode(&area(some, hashes)), Ok(Some(some.to_vec())));
    }
    assert_eq!(read_inode(&area(&[], false)), Ok(Some(vec![])));
}

#[test]
fn inodes_without_the_magic_number_have_no_attributes() {
    assert_eq!(read_inode(&[]), Ok(None));
    assert_eq!(read_inode(&[0xff; 96]), Ok(None));

    let parsed = |extra_isize: u16, magic_at: usize| {
        let mut bytes = inode_bytes(256);
        put(&mut bytes, 0x80, extra_isize.to_le_bytes());
        put(&mut bytes, magic_at, 0xea02_0000_u32.to_le_bytes());
        seal_inode(&volume(), INO, &mut bytes);
        let inode = parse_inode(&volume(), INO, &bytes).unwrap().unwrap();
        Xattrs::in_inode(&inode, &bytes).map(|xattrs| xattrs.is_some())
    };
    assert_eq!(parsed(120, 248), Ok(true));
    // No room for the end of the list.
    assert_eq!(parsed(124, 252), Ok(false));
    assert_eq!(parsed(128, 252), Ok(false));
    // Room that was not taken when the inode was made.
    assert_eq!(parsed(0, 0x84), Ok(false));
}

#[test]
fn every_prefix_is_a_number() {
    for (prefix, text) in [
        (Prefix::USER, "user."),
        (Prefix::POSIX_ACL_ACCESS, "system.posix_acl_access"),
        (Prefix::POSIX_ACL_DEFAULT, "system.posix_acl_default"),
        (Prefix::TRUSTED, "trusted."),
        (Prefix::SECURITY, "security."),
        (Prefix::SYSTEM, "system."),
        (Prefix::RICHACL, "system.richacl"),
        (Prefix::HURD, "gnu."),
    ] {
        assert_eq!(prefix.text(), Some(text));
        assert_eq!(
            Prefix::split(text.as_bytes()),
            Some((prefix, b"".as_slice()))
        );
        let longer = [text.as_bytes(), b"x"].concat();
        let expected = match text.strip_prefix("system.") {
            Some(rest) if !rest.is_empty() => (Prefix::SYSTEM, [rest.as_bytes(), b"x"].concat()),
            _ => (prefix, b"x".to_vec()),
        };
        let (found, rest) = Prefix::split(&longer).unwrap();
        assert_eq!((found, rest.to_vec()), expected);
    }
    for name in ["", "user", "users.x", "os2.x", ".user."] {
        assert_eq!(Prefix::split(name.as_bytes()), None);
    }
    // Of a name that belongs to another implementation.
    let bytes = sealed(block(4096, &[(5, b"lov".to_vec(), vec![])]));
    let block = Block::new(&bytes).unwrap();
    let xattrs = Xattrs::in_block::<Crc>(&volume(), PBLK, block).unwrap();
    assert_eq!(xattrs.iter().next().unwrap().prefix().text(), None);
}

#[test]
fn impossible_fields_are_named_with_their_value() {
    let structure = Structure::XattrBlock;
    let with = |offset: usize, value: &[u8]| {
        changed(|bytes| bytes[offset..offset + value.len()].copy_from_slice(value))
    };
    let cases: [(usize, &[u8], &'static str, u64); 12] = [
        (0x00, &[1], "h_magic", 0xea02_0001),
        (0x04, &[0], "h_refcount", 0),
        (0x08, &[0], "h_blocks", 0),
        (0x08, &[2], "h_blocks", 2),
        (0x22, &[0x20, 0], "e_value_offs", 0x20),
        // The values end with the block, and the first is the last.
        (0x22, &[0xf9, 0x0f], "e_value_size", 5),
        (0x22, &[0xff, 0xff], "e_value_size", 5),
        (0x24, &[30], "e_value_inum", 30),
        (0x28, &[9], "e_value_size", 9),
        (0x28, &[0xff; 4], "e_value_size", 0xffff_ffff),
        (0x2c, &[0xff; 4], "e_hash", 0xffff_ffff),
        (0x30, &[0], "e_name", 7),
    ];
    for (offset, value, field, number) in cases {
        assert_eq!(
            with(offset, value),
            corrupt(structure, field, number),
            "{offset:#x} {value:x?}"
        );
    }
}

#[test]
fn lists_of_names_end_inside() {
    // A name up to the very end, and one beyond.
    let structure = Structure::InodeXattrs;
    let mut area = vec![0xff; 96];
    put(&mut area, 0, 0xea02_0000_u32.to_le_bytes());
    put(&mut area, 4, [76, 1, 0, 0]);
    put(&mut area, 8, [0; 12]);
    area[20..].fill(b'x');
    assert_eq!(read_inode(&area), corrupt(structure, "e_name_len", 92));
    area[4] = 77;
    assert_eq!(read_inode(&area), corrupt(structure, "e_name_len", 77));
    area[4] = 72;
    area[92..].fill(0);
    let name = vec![b'x'; 72];
    assert_eq!(read_inode(&area), Ok(Some(vec![(1, name, vec![])])));
}

#[test]
fn values_do_not_overlap_names_or_each_other() {
    let structure = Structure::XattrBlock;
    let two = [
        (1, b"a".to_vec(), b"01234567".to_vec()),
        (1, b"b".to_vec(), b"01234567".to_vec()),
    ];
    let second_at = |pos: u16| {
        let mut bytes = block(4096, &two);
        put(&mut bytes, 32 + 20 + 2, pos.to_le_bytes());
        // Not to be refused for another reason.
        put(&mut bytes, 32 + 20 + 12, [0; 4]);
        read_block(&volume(), &sealed(bytes)).map(|_| ())
    };
    // Values from 4088 on, and 4080; names to 32 + 2 * 20, and their end.
    for pos in [76, 80, 4072, 4080] {
        assert_eq!(second_at(pos), Ok(()), "{pos}");
    }
    for pos in [32, 68, 75, 4081, 4088] {
        assert_eq!(
            second_at(pos),
            corrupt(structure, "e_value_offs", pos.into()),
            "{pos}"
        );
    }
}

#[test]
fn hashes_take_the_bytes_of_names_as_linux_does_and_did() {
    let attributes = [(1, b"\xe9t\xe9".to_vec(), b"x".to_vec())];
    for (hash, is_right) in [
        (hash(b"\xe9t\xe9", b"x", false), true),
        (hash(b"\xe9t\xe9", b"x", true), true),
        (hash(b"\xe9t\xe9", b"y", false), false),
        (0, true),
    ] {
        let mut bytes = block(4096, &attributes);
        put(&mut bytes, 32 + 12, hash.to_le_bytes());
        let read = read_block(&volume(), &sealed(bytes));
        assert_eq!(read.is_ok(), is_right);
    }
}

#[test]
fn blocks_have_a_checksum_of_their_place() {
    let volume = volume();
    let bytes = sealed(block(1024, &some()));
    no_flipped_bit_goes_unnoticed(&bytes, |bytes| read_block(&volume, bytes).is_ok());

    let block = Block::new(&bytes).unwrap();
    assert!(matches!(
        Xattrs::in_block::<Crc>(&volume, Pblk(501), block),
        Err(Error::BadChecksum {
            structure: Structure::XattrBlock,
            ..
        })
    ));
    let without = volume_without_checksums();
    assert!(Xattrs::in_block::<Crc>(&without, Pblk(501), block).is_ok());
}

fn some_attributes(numbers: &mut Numbers, room: usize) -> Vec<Attribute> {
    let mut left = room;
    let mut attributes = vec![];
    for _ in 0..numbers.below(12) {
        let bytes =
            |numbers: &mut Numbers, len| (0..len).map(|_| 1 + numbers.below(255) as u8).collect();
        let name_len = numbers.below(20);
        let value_len = numbers.below(40);
        let name: Vec<u8> = bytes(numbers, name_len);
        let value: Vec<u8> = bytes(numbers, value_len);
        let padded = name.len().next_multiple_of(4) + value.len().next_multiple_of(4);
        let Some(rest) = left.checked_sub(16 + padded) else {
            break;
        };
        left = rest;
        attributes.push(([1, 2, 3, 4, 6, 7, 8, 10][numbers.below(8)], name, value));
    }
    attributes
}

#[test]
fn whatever_is_written_is_read() {
    for seed in 0..2000 {
        let numbers = &mut Numbers(seed);
        let attributes = some_attributes(numbers, 1024 - 36);
        let bytes = sealed(block(1024, &attributes));
        assert_eq!(read_block(&volume(), &bytes), Ok(attributes));

        let attributes = some_attributes(numbers, 96 - 8);
        let hashes = numbers.below(2) == 0;
        let read = read_inode(&area(&attributes, hashes));
        assert_eq!(read, Ok(Some(attributes)));
    }
}

#[test]
fn damaged_attributes_are_refused_or_keep_the_invariants() {
    let volume = volume();
    damaged(40_000, |numbers| {
        let attributes = some_attributes(numbers, 1024 - 36);
        let mut bytes = block(1024, &attributes);
        let mut fields = vec![0, 4, 8];
        let mut pos = 32;
        while get_u32(&bytes, pos) != 0 {
            fields.extend([pos, pos + 2, pos + 4, pos + 8, pos + 12, pos + 16]);
            // Most hashes would tell of the damage before anything else does.
            if numbers.below(8) > 0 {
                put(&mut bytes, pos + 12, [0; 4]);
            }
            pos += (16 + usize::from(bytes[pos])).next_multiple_of(4);
        }
        damage(numbers, &mut bytes, &fields);
        if numbers.below(16) > 0 {
            bytes = sealed(bytes);
        }
        let block = Block::new(&bytes).unwrap();
        let Ok(xattrs) = Xattrs::in_block::<Crc>(&volume, PBLK, block) else {
            return false;
        };
        let place = |part: &[u8]| {
            let start = part.as_ptr() as usize - bytes.as_ptr() as usize;
            start..start + part.len()
        };
        let mut taken = vec![];
        for xattr in &xattrs {
            assert!(!xattr.name().contains(&0));
            let value = xattr.value();
            for place in [place(xattr.name()), place(value)] {
                assert!(place.end <= 1024 && (place.start >= 32 || place.is_empty()));
                if !place.is_empty() {
                    taken.push(place);
                }
            }
        }
        taken.sort_by_key(|place| place.start);
        assert!(taken.windows(2).all(|pair| pair[0].end <= pair[1].start));
        true
    });
}

#[test]
fn damaged_areas_of_inodes_are_refused_or_read() {
    damaged(20_000, |numbers| {
        let attributes = some_attributes(numbers, 96 - 8);
        let mut area = area(&attributes, false);
        damage(numbers, &mut area, &[0, 4, 6, 8, 12, 16, 20, 24]);
        read_inode(&area).is_ok()
    });
}
