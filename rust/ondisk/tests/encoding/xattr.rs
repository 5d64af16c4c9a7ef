// SPDX-License-Identifier: GPL-2.0

//! Extended attributes.

use crate::support::{
    inode_bytes,
    parse_inode,
    put,
    seal_inode,
    volume,
    volume_with,
    volume_without_checksums, //
};
use damage::{
    Crc,
    Numbers, //
};
use ondisk::{
    xattr::{
        encode_in_block,
        encode_in_inode,
        Prefix,
        Xattr,
        Xattrs, //
    },
    Block,
    Pblk, //
};
use std::num::NonZeroU32;

const PREFIXES: [Prefix; 4] = [
    Prefix::USER,
    Prefix::TRUSTED,
    Prefix::SECURITY,
    Prefix::SYSTEM,
];

/// Prefix, name, value.
type Attribute = (Prefix, Vec<u8>, Vec<u8>);

/// Attributes in the order of a block that need up to `room` bytes, with the four that end them.
fn some_attributes(numbers: &mut Numbers, room: usize) -> Vec<Attribute> {
    let mut all: Vec<Attribute> = vec![];
    let mut left = room - 4;
    for _ in 0..numbers.below(12) {
        let mut bytes =
            |len: usize| -> Vec<u8> { (0..len).map(|_| numbers.next() as u8).collect() };
        let mut name = bytes(1 << (left % 7));
        name.iter_mut().for_each(|byte| *byte = (*byte).max(1));
        let value = bytes(left % 61);
        let prefix = numbers.pick(&PREFIXES);
        let len = 16 + name.len().next_multiple_of(4) + value.len().next_multiple_of(4);
        let is_twice = all
            .iter()
            .any(|other| (other.0, &other.1) == (prefix, &name));
        if len > left || is_twice {
            break;
        }
        left -= len;
        all.push((prefix, name, value));
    }
    // By the number of the prefix, which is that of `PREFIXES`.
    let number = |prefix| PREFIXES.iter().position(|other| *other == prefix);
    all.sort_by_key(|(prefix, name, _)| (number(*prefix), name.len(), name.clone()));
    all
}

fn as_xattrs(attributes: &[Attribute]) -> Vec<Xattr<'_>> {
    attributes
        .iter()
        .map(|(prefix, name, value)| Xattr::new(*prefix, name, value).unwrap())
        .collect()
}

#[test]
fn blocks_are_read_back() {
    for volume in [volume(), volume_without_checksums()] {
        for seed in 0..5_000 {
            let numbers = &mut Numbers(seed);
            let len = numbers.pick(&[1024, 2048, 4096]);
            let room = 64 + numbers.below(len - 32 - 64);
            let attributes = some_attributes(numbers, room);
            let xattrs = as_xattrs(&attributes);
            let mut block = vec![0xff; len];
            let inodes = NonZeroU32::new(1 + numbers.below(1024) as u32).unwrap();
            encode_in_block::<Crc>(&volume, Pblk(77), inodes, &xattrs, &mut block).unwrap();
            let read = Block::new(&block).unwrap();
            let read = Xattrs::in_block::<Crc>(&volume, Pblk(77), read).unwrap();
            assert_eq!(read.iter().collect::<Vec<_>>(), xattrs, "seed {seed}");
            assert_eq!(block[4..8], inodes.get().to_le_bytes());
        }
    }
}

#[test]
fn areas_of_inodes_are_read_back() {
    for len in [256_usize, 512, 1024] {
        let volume = volume_with(|bytes| put(bytes, 0x58, (len as u16).to_le_bytes())).unwrap();
        let mut bytes = inode_bytes(len);
        seal_inode(&volume, 20, &mut bytes);
        let inode = parse_inode(&volume, 20, &bytes).unwrap().unwrap();
        for seed in 0..5_000 {
            let numbers = &mut Numbers(seed);
            let attributes = some_attributes(numbers, len - 160 - 4);
            let xattrs = as_xattrs(&attributes);
            let before = bytes.clone();
            bytes[160..].fill(0xff);
            encode_in_inode(&inode, &xattrs, &mut bytes).unwrap();
            let read = Xattrs::in_inode(&inode, &bytes).unwrap();
            let read: Vec<_> = read.iter().flat_map(|xattrs| xattrs.iter()).collect();
            assert_eq!(read, xattrs, "seed {seed}");
            assert_eq!(bytes[..160], before[..160]);
        }
    }
}

#[test]
fn what_has_no_room_is_not_encoded() {
    let volume = volume();
    let value = [7; 1024];
    let encoded = |len: usize, attributes: &[(&[u8], usize)]| {
        let xattrs: Vec<_> = attributes
            .iter()
            .map(|(name, len)| Xattr::new(Prefix::USER, name, &value[..*len]).unwrap())
            .collect();
        let block = &mut vec![0; len];
        encode_in_block::<Crc>(&volume, Pblk(77), NonZeroU32::MIN, &xattrs, block).is_some()
    };
    assert!(encoded(1024, &[]));
    // 32 for the head, 20 for the entry, 4 for the end.
    assert!(encoded(1024, &[(b"a", 968)]));
    assert!(!encoded(1024, &[(b"a", 969)]));
    assert!(encoded(1024, &[(b"a", 5), (b"b", 5), (b"aa", 5)]));
    // Out of order, and twice.
    assert!(!encoded(1024, &[(b"aa", 5), (b"b", 5)]));
    assert!(!encoded(1024, &[(b"b", 5), (b"a", 5)]));
    assert!(!encoded(1024, &[(b"a", 5), (b"a", 5)]));
    assert!(!encoded(1000, &[]));
    assert!(!encoded(16, &[]));

    assert!(Xattr::new(Prefix::USER, b"a\0b", b"").is_none());
    assert!(Xattr::new(Prefix::USER, &[b'n'; 256], b"").is_none());

    let mut bytes = inode_bytes(256);
    seal_inode(&volume, 20, &mut bytes);
    let inode = parse_inode(&volume, 20, &bytes).unwrap().unwrap();
    let mut encoded = |len: usize| {
        let xattr = Xattr::new(Prefix::USER, b"name", &value[..len]).unwrap();
        encode_in_inode(&inode, &[xattr], &mut bytes).is_some()
    };
    // 96 bytes: 4 for the head, 20 for the entry, 4 for the end.
    assert!(encoded(68));
    assert!(!encoded(69));

    let volume = volume_with(|bytes| put(bytes, 0x58, 128_u16.to_le_bytes())).unwrap();
    let mut bytes = inode_bytes(128);
    seal_inode(&volume, 20, &mut bytes);
    let inode = parse_inode(&volume, 20, &bytes).unwrap().unwrap();
    let xattr = Xattr::new(Prefix::USER, b"name", b"").unwrap();
    assert!(encode_in_inode(&inode, &[], &mut bytes).is_some());
    assert!(encode_in_inode(&inode, &[xattr], &mut bytes).is_none());
}
