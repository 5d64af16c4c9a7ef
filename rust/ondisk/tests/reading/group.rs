// SPDX-License-Identifier: GPL-2.0

//! Group descriptors.

use crate::support::{
    corrupt,
    crc,
    damage,
    damaged,
    get_u32,
    ino,
    no_flipped_bit_goes_unnoticed,
    put,
    volume,
    volume_with,
    volume_without_checksums, //
};
use damage::Crc;
use ondisk::{
    group::{
        Descriptor,
        Flags, //
    },
    Error,
    InBlock,
    Incompat,
    Pblk,
    PblkRange,
    Structure,
    Superblock, //
};

const STRUCTURE: Structure = Structure::GroupDescriptor;

/// Descriptor 0 of the default volume, without checksum: an inode table of 1,024 blocks.
fn template() -> [u8; 64] {
    let mut bytes = [0; 64];
    put(&mut bytes, 0x00, 10_u32.to_le_bytes());
    put(&mut bytes, 0x04, 11_u32.to_le_bytes());
    put(&mut bytes, 0x08, 12_u32.to_le_bytes());
    put(&mut bytes, 0x0c, 4000_u16.to_le_bytes());
    put(&mut bytes, 0x0e, 16000_u16.to_le_bytes());
    put(&mut bytes, 0x10, 3_u16.to_le_bytes());
    put(&mut bytes, 0x12, 4_u16.to_le_bytes());
    put(&mut bytes, 0x1c, 15000_u16.to_le_bytes());
    bytes
}

fn seal(volume: &Superblock, group: u32, bytes: &mut [u8]) {
    put(bytes, 0x1e, [0; 2]);
    let sum = crc(volume.checksum_seed(), &[&group.to_le_bytes(), bytes]);
    put(bytes, 0x1e, (sum as u16).to_le_bytes());
}

fn parse(volume: &Superblock, bytes: &[u8]) -> Result<Descriptor, Error> {
    Descriptor::parse::<Crc>(volume, volume.group(0).unwrap(), bytes)
}

fn changed(volume: &Superblock, change: impl FnOnce(&mut [u8])) -> Result<Descriptor, Error> {
    let mut bytes = template();
    change(&mut bytes);
    seal(volume, 0, &mut bytes);
    parse(volume, &bytes)
}

fn with<const N: usize>(offset: usize, field: [u8; N]) -> Result<Descriptor, Error> {
    changed(&volume(), |bytes| put(bytes, offset, field))
}

#[test]
fn a_descriptor_is_read_as_it_was_made() {
    let volume = volume();
    let group = changed(&volume, |_| ()).unwrap();
    assert_eq!(group.group().get(), 0);
    assert_eq!(group.block_bitmap(), Pblk(10));
    assert_eq!(group.inode_bitmap(), Pblk(11));
    let table = PblkRange {
        start: Pblk(12),
        end: Pblk(12 + 1024),
    };
    assert_eq!(group.inode_table(), table);
    assert_eq!(group.free_clusters(), 4000);
    assert_eq!(group.free_inodes(), 16000);
    assert_eq!(group.used_dirs(), 3);
    assert_eq!(group.itable_unused(), 15000);
    assert!(group.flags().contains(Flags::INODE_ZEROED));
    assert!(!group.flags().contains(Flags::BLOCK_UNINIT));

    let place = |n| group.inode_place(&volume, ino(&volume, n)).unwrap();
    let expected = |pblk, start| InBlock {
        pblk: Pblk(pblk),
        start,
        len: 256,
    };
    assert_eq!(place(1), expected(12, 0));
    assert_eq!(place(2), expected(12, 256));
    assert_eq!(place(17), expected(13, 0));
    assert_eq!(place(16384), expected(12 + 1023, 15 * 256));
}

#[test]
fn no_flipped_bit_of_a_descriptor_goes_unnoticed() {
    let volume = volume();
    let mut bytes = template();
    seal(&volume, 0, &mut bytes);
    no_flipped_bit_goes_unnoticed(&bytes, |bytes| parse(&volume, bytes).is_ok());
}

#[test]
fn descriptors_belong_to_one_group() {
    let volume = two_groups(true);
    let mut bytes = template();
    seal(&volume, 0, &mut bytes);
    assert!(parse(&volume, &bytes).is_ok());
    let other = Descriptor::parse::<Crc>(&volume, volume.group(1).unwrap(), &bytes);
    assert!(matches!(
        other,
        Err(Error::BadChecksum {
            structure: STRUCTURE,
            ..
        })
    ));

    let descriptor = parse(&volume, &bytes).unwrap();
    assert!(descriptor
        .inode_place(&volume, ino(&volume, 16384))
        .is_some());
    assert!(descriptor
        .inode_place(&volume, ino(&volume, 16385))
        .is_none());
}

#[test]
fn without_checksums_nothing_is_compared() {
    let volume = volume_without_checksums();
    assert!(parse(&volume, &template()).is_ok());
    let group = parse(&volume, &template()).unwrap();
    assert_eq!(group.check_block_bitmap::<Crc>(&volume, &[1; 4096]), Ok(()));
}

#[test]
fn impossible_fields_are_named_with_their_value() {
    // In the superblock, in the descriptors, at the end of the volume, beyond it.
    for (offset, field) in [(0x00, "bg_block_bitmap"), (0x04, "bg_inode_bitmap")] {
        for pblk in [0, 1, 16384, u32::MAX] {
            assert_eq!(
                with(offset, pblk.to_le_bytes()),
                corrupt(STRUCTURE, field, pblk.into())
            );
        }
    }
    for pblk in [0, 1, 16384 - 1023, u32::MAX] {
        assert_eq!(
            with(0x08, pblk.to_le_bytes()),
            corrupt(STRUCTURE, "bg_inode_table", pblk.into())
        );
    }
    assert!(with(0x08, (16384_u32 - 1024).to_le_bytes()).is_ok());
    // On each other.
    assert_eq!(
        with(0x04, 10_u32.to_le_bytes()),
        corrupt(STRUCTURE, "bg_inode_bitmap", 10)
    );
    for pblk in [9_u32, 10, 11] {
        assert_eq!(
            with(0x08, pblk.to_le_bytes()),
            corrupt(STRUCTURE, "bg_inode_table", pblk.into())
        );
    }
    for (offset, field) in [
        (0x20, "bg_block_bitmap"),
        (0x24, "bg_inode_bitmap"),
        (0x28, "bg_inode_table"),
    ] {
        let low = u64::from(get_u32(&template(), offset - 0x20));
        assert_eq!(
            with(offset, 1_u32.to_le_bytes()),
            corrupt(STRUCTURE, field, (1 << 32) + low)
        );
    }
    for (offset, field, value) in [
        (0x0c, "bg_free_blocks_count", 16385_u16),
        (0x0e, "bg_free_inodes_count", 16385),
        (0x10, "bg_used_dirs_count", 16385),
        (0x1c, "bg_itable_unused", 16385),
    ] {
        assert_eq!(
            with(offset, value.to_le_bytes()),
            corrupt(STRUCTURE, field, value.into())
        );
        assert!(with(offset, (value - 1).to_le_bytes()).is_ok());
    }
    for (offset, field, low) in [
        (0x2c, "bg_free_blocks_count", 4000),
        (0x2e, "bg_free_inodes_count", 16000),
        (0x30, "bg_used_dirs_count", 3),
        (0x32, "bg_itable_unused", 15000),
    ] {
        assert_eq!(
            with(offset, 1_u16.to_le_bytes()),
            corrupt(STRUCTURE, field, 0x1_0000 + low)
        );
    }
    assert_eq!(
        parse(&volume(), &template()[..32]),
        corrupt(STRUCTURE, "s_desc_size", 32)
    );
}

/// Two groups of 8,192 blocks.
fn two_groups(flex_bg: bool) -> Superblock {
    volume_with(|bytes| {
        put(bytes, 0x00, (2 * 16384_u32).to_le_bytes());
        put(bytes, 0x20, 8192_u32.to_le_bytes());
        put(bytes, 0x24, 8192_u32.to_le_bytes());
        put(bytes, 0xe8, 0_u32.to_le_bytes());
        if !flex_bg {
            let incompat = get_u32(bytes, 0x60) & !Incompat::FLEX_BG.bits();
            put(bytes, 0x60, incompat.to_le_bytes());
        }
    })
    .unwrap()
}

#[test]
fn only_with_flex_bg_does_metadata_lie_in_other_groups() {
    for flex_bg in [true, false] {
        let volume = two_groups(flex_bg);
        let place =
            |offset, pblk: u32| changed(&volume, |bytes| put(bytes, offset, pblk.to_le_bytes()));
        for (offset, last) in [(0x00, 8191), (0x04, 8191), (0x08, 8192 - 1024)] {
            assert!(place(offset, last).is_ok());
            assert_eq!(place(offset, last + 1).is_ok(), flex_bg);
        }
    }
}

#[test]
fn short_descriptors_have_no_upper_halves() {
    let volume = volume_with(|bytes| {
        let incompat = get_u32(bytes, 0x60) & !Incompat::BIT64.bits();
        put(bytes, 0x60, incompat.to_le_bytes());
    })
    .unwrap();
    let mut bytes = template();
    let bitmap = [0x5a; 4096];
    let sum = crc(volume.checksum_seed(), &[&bitmap]);
    put(&mut bytes, 0x18, (sum as u16).to_le_bytes());
    seal(&volume, 0, &mut bytes[..32]);
    no_flipped_bit_goes_unnoticed(&bytes[..32], |bytes| parse(&volume, bytes).is_ok());

    let group = parse(&volume, &bytes[..32]).unwrap();
    assert_eq!(group.check_block_bitmap::<Crc>(&volume, &bitmap), Ok(()));
    assert!(group
        .check_block_bitmap::<Crc>(&volume, &[0x5b; 4096])
        .is_err());
}

#[test]
fn bitmaps_are_covered_as_far_as_they_are_used() {
    // 16,384 inodes are half of what a bitmap could tell of, 32,768 clusters are all.
    let volume = volume();
    let bitmap: [u8; 4096] = std::array::from_fn(|i| i as u8);
    let blocks = crc(volume.checksum_seed(), &[&bitmap]);
    let inodes = crc(volume.checksum_seed(), &[&bitmap[..2048]]);
    let group = changed(&volume, |bytes| {
        put(bytes, 0x18, (blocks as u16).to_le_bytes());
        put(bytes, 0x38, ((blocks >> 16) as u16).to_le_bytes());
        put(bytes, 0x1a, (inodes as u16).to_le_bytes());
        put(bytes, 0x3a, ((inodes >> 16) as u16).to_le_bytes());
    })
    .unwrap();
    assert_eq!(group.check_block_bitmap::<Crc>(&volume, &bitmap), Ok(()));
    assert_eq!(group.check_inode_bitmap::<Crc>(&volume, &bitmap), Ok(()));
    assert_eq!(
        group.check_block_bitmap::<Crc>(&volume, &bitmap[..4095]),
        corrupt(Structure::BlockBitmap, "s_log_block_size", 4095)
    );

    let flipped = |at: usize| {
        let mut bitmap = bitmap;
        bitmap[at] ^= 1;
        (
            group.check_block_bitmap::<Crc>(&volume, &bitmap).is_ok(),
            group.check_inode_bitmap::<Crc>(&volume, &bitmap).is_ok(),
        )
    };
    assert_eq!(flipped(0), (false, false));
    assert_eq!(flipped(2047), (false, false));
    assert_eq!(flipped(2048), (false, true));
    assert_eq!(flipped(4095), (false, true));
}

#[test]
fn damaged_descriptors_are_refused_or_keep_the_invariants() {
    const FIELDS: [usize; 8] = [0x00, 0x04, 0x08, 0x0c, 0x10, 0x1c, 0x20, 0x2c];
    let volume = two_groups(false);
    damaged(50_000, |numbers| {
        let mut bytes = template();
        damage(numbers, &mut bytes, &FIELDS);
        if numbers.below(16) > 0 {
            seal(&volume, 0, &mut bytes);
        }
        let Ok(group) = parse(&volume, &bytes) else {
            return false;
        };
        let bitmaps = [group.block_bitmap().0, group.inode_bitmap().0];
        let table = group.inode_table().start.0..group.inode_table().end.0;
        assert_eq!(table.end - table.start, 1024);
        assert!(table.start >= 2 && table.end <= 8192);
        for bitmap in bitmaps {
            assert!((2..8192).contains(&bitmap) && !table.contains(&bitmap));
        }
        assert_ne!(bitmaps[0], bitmaps[1]);
        assert!(group.free_clusters() <= 8192 && group.free_inodes() <= 16384);
        assert!(group.used_dirs() <= 16384 && group.itable_unused() <= 16384);
        true
    });
}
