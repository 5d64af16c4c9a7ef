// SPDX-License-Identifier: GPL-2.0

//! Checksums as they have to be for what a structure holds, whatever that is.
//!
//! Computed from the description of the format and not by `ondisk`, so that one is a test of the
//! other.

use crate::{
    fields::{
        get,
        put,
        xattr_hashes, //
    },
    image::{
        Image,
        Kind,
        Patch,
        Structure, //
    },
};
use ondisk::{
    Crc32c,
    RoCompat,
    Superblock, //
};

/// Puts the checksum of a structure right where there is room for it, and gives what else has to
/// be written for that: the checksum of a bitmap is in the descriptor of its group.
pub(crate) fn seal<C: Crc32c>(
    image: &Image<'_>,
    structure: &Structure,
    bytes: &mut [u8],
) -> Vec<Patch> {
    let ro_compat = image.superblock.features().ro_compat;
    if !ro_compat.contains(RoCompat::METADATA_CSUM) {
        return vec![];
    }
    match structure.kind {
        Kind::Superblock => {
            let sum = C::crc32c(!0, &bytes[..0x3fc]);
            put(bytes, 0x3fc, 4, sum);
        }
        Kind::Descriptor(group) => descriptor::<C>(&image.superblock, group, bytes),
        Kind::BlockBitmap(group) | Kind::InodeBitmap(group) => {
            return bitmap::<C>(image, structure.kind, group, bytes);
        }
        Kind::Inode(ino) => inode::<C>(&image.superblock, ino, bytes),
        Kind::ExtentNode(ino) => {
            let end = 12 + 12 * get(bytes, 4, 2) as usize;
            if end + 4 <= bytes.len() {
                let sum = crc::<C>(inode_seed::<C>(image, ino), &[&bytes[..end]]);
                put(bytes, end, 4, sum);
            }
        }
        Kind::DirLeaf(ino) => {
            let end = bytes.len() - 12;
            let sum = crc::<C>(inode_seed::<C>(image, ino), &[&bytes[..end]]);
            put(bytes, end + 8, 4, sum);
        }
        Kind::HashRoot(ino) => hashes::<C>(inode_seed::<C>(image, ino), 0x20, bytes),
        Kind::HashNode(ino) => hashes::<C>(inode_seed::<C>(image, ino), 0x08, bytes),
        Kind::XattrBlock => {
            let block_len = image.superblock.block_size().bytes().get() as usize;
            let pblk = (structure.pos / block_len) as u64;
            let seed = image.superblock.checksum_seed();
            put(bytes, 0x10, 4, 0);
            let sum = crc::<C>(seed, &[&pblk.to_le_bytes(), bytes]);
            put(bytes, 0x10, 4, sum);
        }
    }
    vec![]
}

/// Takes the hashes of attributes away. 0 stands for none, and is right whatever the value.
pub(crate) fn forget_hashes(kind: Kind, bytes: &mut [u8]) {
    for pos in xattr_hashes(kind, bytes) {
        if pos + 4 <= bytes.len() {
            put(bytes, pos, 4, 0);
        }
    }
}

fn crc<C: Crc32c>(seed: u32, parts: &[&[u8]]) -> u32 {
    parts.iter().fold(seed, |crc, part| C::crc32c(crc, part))
}

fn descriptor<C: Crc32c>(superblock: &Superblock, group: u32, bytes: &mut [u8]) {
    put(bytes, 0x1e, 2, 0);
    let sum = crc::<C>(superblock.checksum_seed(), &[&group.to_le_bytes(), bytes]);
    put(bytes, 0x1e, 2, sum);
}

/// The descriptor of the bitmap's group, with another checksum of the bitmap.
fn bitmap<C: Crc32c>(image: &Image<'_>, kind: Kind, group: u32, bitmap: &[u8]) -> Vec<Patch> {
    let superblock = &image.superblock;
    let (bits, lo, hi) = match kind {
        Kind::BlockBitmap(_) => (superblock.clusters_per_group(), 0x18, 0x38),
        _ => (superblock.inodes_per_group().get(), 0x1a, 0x3a),
    };
    let place = image
        .structures
        .iter()
        .find(|s| s.kind == Kind::Descriptor(group));
    // A bitmap is only found by its descriptor.
    let Some(place) = place else {
        return vec![];
    };
    let mut bytes = image.bytes(place).to_vec();
    let sum = crc::<C>(superblock.checksum_seed(), &[&bitmap[..bits as usize / 8]]);
    put(&mut bytes, lo, 2, sum);
    if bytes.len() > hi {
        put(&mut bytes, hi, 2, sum >> 16);
    }
    descriptor::<C>(superblock, group, &mut bytes);
    vec![Patch {
        pos: place.pos as u64,
        bytes,
    }]
}

fn inode<C: Crc32c>(superblock: &Superblock, ino: u32, bytes: &mut [u8]) {
    let has_hi = bytes.len() > 128 && get(bytes, 0x80, 2) >= 4;
    put(bytes, 0x7c, 2, 0);
    if has_hi {
        put(bytes, 0x82, 2, 0);
    }
    let generation = get(bytes, 0x64, 4).to_le_bytes();
    let seed = superblock.checksum_seed();
    let sum = crc::<C>(seed, &[&ino.to_le_bytes(), &generation, bytes]);
    put(bytes, 0x7c, 2, sum);
    if has_hi {
        put(bytes, 0x82, 2, sum >> 16);
    }
}

/// What the checksums of an inode's blocks begin with.
fn inode_seed<C: Crc32c>(image: &Image<'_>, ino: u32) -> u32 {
    let place = image.structures.iter().find(|s| s.kind == Kind::Inode(ino));
    let generation = place.map_or(0, |place| get(image.bytes(place), 0x64, 4));
    let seed = image.superblock.checksum_seed();
    crc::<C>(seed, &[&ino.to_le_bytes(), &generation.to_le_bytes()])
}

/// Entries with hashes, as many as they say they are if there is room for so many.
fn hashes<C: Crc32c>(seed: u32, start: usize, bytes: &mut [u8]) {
    let tail = bytes.len() - 8;
    let count = get(bytes, start + 2, 2) as usize;
    let end = (start + 8 * count).min(tail);
    let sum = crc::<C>(seed, &[&bytes[..end], &bytes[tail..tail + 4], &[0; 4]]);
    put(bytes, tail + 4, 4, sum);
}
