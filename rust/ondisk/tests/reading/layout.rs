// SPDX-License-Identifier: GPL-2.0

//! Where things lie.

use crate::support::{
    corrupt,
    get_u32,
    ino,
    put,
    volume,
    volume_with,
    volume_without, //
};
use ondisk::{
    Compat,
    InBlock,
    Ino,
    Pblk,
    PblkRange,
    RoCompat,
    Structure,
    Superblock, //
};

/// A volume of 1 KiB blocks with 100 groups of 8,192 blocks and 2,048 inodes, the last short.
fn small_blocks() -> Superblock {
    volume_with(|bytes| {
        put(bytes, 0x00, (100 * 2048_u32).to_le_bytes());
        put(bytes, 0x04, (99 * 8192 + 101_u32).to_le_bytes());
        put(bytes, 0x14, 1_u32.to_le_bytes());
        put(bytes, 0x18, 0_u32.to_le_bytes());
        put(bytes, 0x1c, 0_u32.to_le_bytes());
        put(bytes, 0x20, 8192_u32.to_le_bytes());
        put(bytes, 0x24, 8192_u32.to_le_bytes());
        put(bytes, 0x28, 2048_u32.to_le_bytes());
        put(bytes, 0xce, 0_u16.to_le_bytes());
    })
    .unwrap()
}

fn range(start: u64, end: u64) -> PblkRange {
    PblkRange {
        start: Pblk(start),
        end: Pblk(end),
    }
}

#[test]
fn inode_numbers_are_those_of_the_volume() {
    let volume = volume();
    assert_eq!(volume.ino(0), None);
    assert_eq!(volume.ino(2), Some(Ino::ROOT));
    assert_eq!(volume.ino(5), Some(Ino::BOOT_LOADER));
    assert_eq!(volume.ino(7), Some(Ino::RESIZE));
    assert_eq!(volume.ino(8), Some(Ino::JOURNAL));
    assert_eq!(volume.ino(16384).unwrap().get(), 16384);
    assert_eq!(volume.ino(16385), None);

    let orphan_file = volume.settings().orphan_file().unwrap().get();
    let ordinary = (1..=16384).filter(|n| volume.is_ordinary(ino(&volume, *n)));
    let expected = [2].into_iter().chain(11..=16384);
    assert!(ordinary.eq(expected.filter(|n| *n != orphan_file)));
}

#[test]
fn inodes_are_counted_through_the_groups() {
    let volume = small_blocks();
    for (number, group, index) in [
        (1, 0, 0),
        (2048, 0, 2047),
        (2049, 1, 0),
        (204_800, 99, 2047),
    ] {
        let ino = ino(&volume, number);
        assert_eq!(volume.group_of(ino).get(), group);
        assert_eq!(volume.index_in_group(ino), index);
    }
}

#[test]
fn groups_follow_each_other_to_the_end_of_the_volume() {
    let volume = small_blocks();
    let blocks = |n| volume.group_blocks(volume.group(n).unwrap());
    assert_eq!(blocks(0), range(1, 8193));
    assert_eq!(blocks(1), range(8193, 16385));
    assert_eq!(blocks(99), range(99 * 8192 + 1, 99 * 8192 + 101));
    assert_eq!(volume.clusters(blocks(99)), 100);
    assert_eq!(volume.clusters_per_group(), 8192);
    assert_eq!(volume.group(100), None);
    assert!(volume.groups().map(|group| group.get()).eq(0..100));
    assert_eq!(volume.inode_table_len().0, 512);
}

#[test]
fn superblocks_are_copied_into_some_groups() {
    let copies = |volume: &Superblock| -> Vec<_> {
        let groups = volume.groups().filter(|group| volume.has_super(*group));
        groups.map(|group| group.get()).collect()
    };
    assert_eq!(copies(&small_blocks()), [0, 1, 3, 5, 7, 9, 25, 27, 49, 81]);

    let everywhere = volume_without(0x64, RoCompat::SPARSE_SUPER.bits());
    assert!(everywhere.groups().all(|group| everywhere.has_super(group)));

    let two = volume_with(|bytes| {
        let compat = get_u32(bytes, 0x5c) | Compat::SPARSE_SUPER2.bits();
        put(bytes, 0x5c, compat.to_le_bytes());
        put(bytes, 0x00, (100 * 16_u32).to_le_bytes());
        put(bytes, 0x04, (100 * 32768_u32).to_le_bytes());
        put(bytes, 0x28, 16_u32.to_le_bytes());
        put(bytes, 0x24c, 1_u32.to_le_bytes());
        put(bytes, 0x250, 99_u32.to_le_bytes());
    });
    assert_eq!(copies(&two.unwrap()), [0, 1, 99]);
}

#[test]
fn descriptors_follow_the_superblock() {
    let place = |pblk, start| InBlock {
        pblk: Pblk(pblk),
        start,
        len: 64,
    };
    let volume = volume();
    assert_eq!(volume.superblock_block(), Pblk(0));
    assert_eq!(volume.descriptor_blocks().unwrap(), range(1, 2));

    // 16 descriptors a block.
    let volume = small_blocks();
    let descriptor = |n| volume.descriptor_place(volume.group(n).unwrap()).unwrap();
    assert_eq!(volume.superblock_block(), Pblk(1));
    assert_eq!(volume.descriptor_blocks().unwrap(), range(2, 9));
    assert_eq!(descriptor(0), place(2, 0));
    assert_eq!(descriptor(15), place(2, 15 * 64));
    assert_eq!(descriptor(16), place(3, 0));
    assert_eq!(descriptor(99), place(8, 3 * 64));
}

#[test]
fn descriptors_do_not_reach_beyond_the_volume() {
    // One block after the superblock's, or none.
    let volume = |blocks: u32| {
        volume_with(|bytes| {
            put(bytes, 0x04, blocks.to_le_bytes());
        })
        .unwrap()
    };
    assert!(volume(2).descriptor_blocks().is_ok());
    assert_eq!(
        volume(1).descriptor_blocks(),
        corrupt(Structure::Superblock, "s_blocks_count", 1)
    );
}

#[test]
fn blocks_are_held_after_the_superblock_and_to_the_end() {
    let volume = volume();
    assert!(volume.holds(range(1, 2)));
    assert!(volume.holds(range(1, 16384)));
    assert!(!volume.holds(range(0, 2)));
    assert!(!volume.holds(range(16383, 16385)));
    assert!(!volume.holds(range(16384, 16384)));
    assert!(!volume.holds(range(7, 7)));
    assert!(!volume.holds(range(8, 7)));
    assert!(!small_blocks().holds(range(1, 2)));
}
