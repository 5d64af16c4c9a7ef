// SPDX-License-Identifier: GPL-2.0

//! Structures as bytes: templates, checksums put right, damage.

use damage::{
    Crc,
    Numbers, //
};
use ondisk::{
    extent,
    Crc32c,
    Error,
    Ino,
    Inode,
    Structure,
    Superblock, //
};

/// The superblock of a volume with default features; how it was made stands in
/// `tests/superblock.rs`. 16,384 blocks of 4 KiB in one group, 16,384 inodes of 256 bytes.
pub const DEFAULT: &[u8; Superblock::LEN] = include_bytes!("../default.superblock");

/// The default volume.
pub fn volume() -> Superblock {
    Superblock::parse::<Crc>(DEFAULT).unwrap()
}

/// The default volume after `change`.
pub fn volume_with(change: impl FnOnce(&mut [u8])) -> Result<Superblock, Error> {
    let mut bytes = *DEFAULT;
    change(&mut bytes);
    let sum = Crc::crc32c(!0, &bytes[..0x3fc]);
    put(&mut bytes, 0x3fc, sum.to_le_bytes());
    Superblock::parse::<Crc>(&bytes)
}

/// The default volume without some features of the words at `offset` in the superblock.
pub fn volume_without(offset: usize, features: u32) -> Superblock {
    volume_with(|bytes| {
        let bits = get_u32(bytes, offset) & !features;
        put(bytes, offset, bits.to_le_bytes());
    })
    .unwrap()
}

/// The default volume without `metadata_csum`, and without the seed for it.
pub fn volume_without_checksums() -> Superblock {
    volume_with(|bytes| {
        let ro_compat = get_u32(bytes, 0x64) & !ondisk::RoCompat::METADATA_CSUM.bits();
        put(bytes, 0x64, ro_compat.to_le_bytes());
        let incompat = get_u32(bytes, 0x60) & !ondisk::Incompat::CSUM_SEED.bits();
        put(bytes, 0x60, incompat.to_le_bytes());
    })
    .unwrap()
}

pub fn put<const N: usize>(bytes: &mut [u8], offset: usize, field: [u8; N]) {
    bytes[offset..offset + N].copy_from_slice(&field);
}

pub fn get_u16(bytes: &[u8], offset: usize) -> u16 {
    u16::from_le_bytes(bytes[offset..offset + 2].try_into().unwrap())
}

pub fn get_u32(bytes: &[u8], offset: usize) -> u32 {
    u32::from_le_bytes(bytes[offset..offset + 4].try_into().unwrap())
}

/// CRC-32C of several parts of a structure.
pub fn crc(seed: u32, parts: &[&[u8]]) -> u32 {
    parts.iter().fold(seed, |crc, part| Crc::crc32c(crc, part))
}

pub fn corrupt<T>(structure: Structure, field: &'static str, value: u64) -> Result<T, Error> {
    Err(Error::Corrupt {
        structure,
        field,
        value,
    })
}

/// What the checksums of an inode's blocks begin with.
pub fn inode_seed(volume: &Superblock, ino: u32, generation: u32) -> u32 {
    crc(
        volume.checksum_seed(),
        &[&ino.to_le_bytes(), &generation.to_le_bytes()],
    )
}

pub const GENERATION: u32 = 0x6e0d_1234;

/// A regular file of 3 blocks, in one extent, in an inode of `len` bytes.
pub fn inode_bytes(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    put(&mut bytes, 0x00, 0o100644_u16.to_le_bytes());
    put(&mut bytes, 0x04, 12_000_u32.to_le_bytes());
    put(&mut bytes, 0x1a, 1_u16.to_le_bytes());
    put(&mut bytes, 0x1c, 24_u32.to_le_bytes());
    put(&mut bytes, 0x20, 0x8_0000_u32.to_le_bytes());
    bytes[0x28..0x64].copy_from_slice(&extent_node(60, 0, 4, &[extent_record(0, 3, 100)]));
    put(&mut bytes, 0x64, GENERATION.to_le_bytes());
    if len > 128 {
        put(&mut bytes, 0x80, 32_u16.to_le_bytes());
    }
    bytes
}

/// Puts the checksum of an inode right, if there is room for it where it says.
pub fn seal_inode(volume: &Superblock, ino: u32, bytes: &mut [u8]) {
    let long = bytes.len() > 128 && get_u16(bytes, 0x80) >= 4;
    put(bytes, 0x7c, [0; 2]);
    if long {
        put(bytes, 0x82, [0; 2]);
    }
    let sum = crc(inode_seed(volume, ino, get_u32(bytes, 0x64)), &[bytes]);
    put(bytes, 0x7c, (sum as u16).to_le_bytes());
    if long {
        put(bytes, 0x82, ((sum >> 16) as u16).to_le_bytes());
    }
}

pub fn parse_inode(volume: &Superblock, ino: u32, bytes: &[u8]) -> Result<Option<Inode>, Error> {
    Inode::parse::<Crc>(volume, volume.ino(ino).unwrap(), bytes)
}

/// A directory of `blocks` blocks with that number and [`GENERATION`].
pub fn directory(volume: &Superblock, ino: u32, blocks: u32, flags: u32) -> Inode {
    let mut bytes = inode_bytes(volume.inode_size().into());
    put(&mut bytes, 0x00, 0o40755_u16.to_le_bytes());
    let len = blocks * volume.block_size().bytes().get();
    put(&mut bytes, 0x04, len.to_le_bytes());
    put(&mut bytes, 0x20, (0x8_0000 | flags).to_le_bytes());
    seal_inode(volume, ino, &mut bytes);
    parse_inode(volume, ino, &bytes).unwrap().unwrap()
}

pub fn ino(volume: &Superblock, number: u32) -> Ino {
    volume.ino(number).unwrap()
}

/// An entry of a leaf, with `ee_len` as on the disk.
pub fn extent_record(lblk: u32, ee_len: u16, pblk: u64) -> [u8; 12] {
    let mut record = [0; 12];
    put(&mut record, 0, lblk.to_le_bytes());
    put(&mut record, 4, ee_len.to_le_bytes());
    put(&mut record, 6, ((pblk >> 32) as u16).to_le_bytes());
    put(&mut record, 8, (pblk as u32).to_le_bytes());
    record
}

/// An entry of an inner node.
pub fn index_record(lblk: u32, pblk: u64) -> [u8; 12] {
    let mut record = [0; 12];
    put(&mut record, 0, lblk.to_le_bytes());
    put(&mut record, 4, (pblk as u32).to_le_bytes());
    put(&mut record, 8, ((pblk >> 32) as u16).to_le_bytes());
    record
}

/// A node of an extent tree, without checksum.
pub fn extent_node(len: usize, depth: u16, max: u16, records: &[[u8; 12]]) -> Vec<u8> {
    let mut bytes = vec![0; len];
    put(&mut bytes, 0, 0xf30a_u16.to_le_bytes());
    put(&mut bytes, 2, (records.len() as u16).to_le_bytes());
    put(&mut bytes, 4, max.to_le_bytes());
    put(&mut bytes, 6, depth.to_le_bytes());
    for (n, record) in records.iter().enumerate() {
        put(&mut bytes, 12 + 12 * n, *record);
    }
    bytes
}

/// Puts the checksum of a node right, if there is room for it where the node says.
pub fn seal_extent_node(seed: u32, bytes: &mut [u8]) {
    let end = 12 + 12 * usize::from(get_u16(bytes, 4));
    if end + 4 <= bytes.len() {
        let sum = crc(seed, &[&bytes[..end]]);
        put(bytes, end, sum.to_le_bytes());
    }
}

/// The root of a tree with those entries, as an array.
pub fn extent_root(depth: u16, records: &[[u8; 12]]) -> [u8; extent::ROOT_LEN] {
    extent_node(60, depth, 4, records).try_into().unwrap()
}

/// Changes some bytes, most of them around one of `fields`.
pub fn damage(numbers: &mut Numbers, bytes: &mut [u8], fields: &[usize]) {
    for _ in 0..=numbers.below(3) {
        let offset = match numbers.below(8) {
            0 => numbers.below(bytes.len()),
            _ => fields[numbers.below(fields.len())] + numbers.below(4),
        };
        let Some(byte) = bytes.get_mut(offset) else {
            continue;
        };
        *byte = match numbers.below(3) {
            0 => *byte ^ (1 << numbers.below(8)),
            1 => [0, 1, 2, 4, 8, 12, 0x10, 0x7f, 0x80, 0xff][numbers.below(10)],
            _ => numbers.next() as u8,
        };
    }
}

/// Runs `check` with many seeds; it says whether what it damaged was still accepted. Both answers
/// have to come often, or one half of the test tests nothing.
pub fn damaged(runs: u64, check: impl Fn(&mut Numbers) -> bool + std::panic::RefUnwindSafe) {
    let (mut accepted, mut refused) = (0, 0);
    for seed in 0..runs {
        match std::panic::catch_unwind(|| check(&mut Numbers(seed))) {
            Ok(true) => accepted += 1,
            Ok(false) => refused += 1,
            Err(_) => panic!("seed {seed}"),
        }
    }
    assert!(accepted > runs / 50, "{accepted} accepted");
    assert!(refused > runs / 50, "{refused} refused");
}

/// That `parse` notices each flipped bit of `bytes`.
pub fn no_flipped_bit_goes_unnoticed(bytes: &[u8], parse: impl Fn(&[u8]) -> bool) {
    assert!(parse(bytes));
    for bit in 0..8 * bytes.len() {
        let mut bytes = bytes.to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(!parse(&bytes), "bit {bit}");
    }
}

/// A block of names, each as short as can be, the last as long as the block. With the tail, but
/// not the value, of the checksum.
pub fn dir_block(len: usize, checksum: bool, names: &[(u32, u8, &[u8])]) -> Vec<u8> {
    let mut bytes = vec![0; len];
    let end = if checksum { len - 12 } else { len };
    let mut pos = 0;
    for (n, (ino, file_type, name)) in names.iter().enumerate() {
        let shortest = (8 + name.len()).next_multiple_of(4).max(12);
        let last = n + 1 == names.len();
        let rec_len = if last { end - pos } else { shortest };
        put_entry(&mut bytes, pos, *ino, rec_len as u16, *file_type, name);
        pos += rec_len;
    }
    if checksum {
        put_entry(&mut bytes, end, 0, 12, 0xde, b"");
    }
    bytes
}

pub fn put_entry(bytes: &mut [u8], pos: usize, ino: u32, rec_len: u16, file_type: u8, name: &[u8]) {
    put(bytes, pos, ino.to_le_bytes());
    put(bytes, pos + 4, rec_len.to_le_bytes());
    put(bytes, pos + 6, [name.len() as u8, file_type]);
    bytes[pos + 8..pos + 8 + name.len()].copy_from_slice(name);
}

/// Puts the checksum of a block of names right.
pub fn seal_dir_block(seed: u32, bytes: &mut [u8]) {
    let end = bytes.len() - 12;
    let sum = crc(seed, &[&bytes[..end]]);
    put(bytes, end + 8, sum.to_le_bytes());
}
