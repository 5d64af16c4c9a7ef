// SPDX-License-Identifier: GPL-2.0

//! Group descriptors.

use crate::support::{
    put,
    volume,
    volume_without,
    volume_without_checksums, //
};
use damage::{
    Crc,
    Numbers, //
};
use ondisk::{
    group::{
        Bitmaps,
        Descriptor,
        Flags,
        Usage, //
    },
    GroupNumber,
    Incompat,
    RoCompat,
    Superblock, //
};

/// The descriptor of the only group, with any bytes where nothing has a meaning.
fn bytes(volume: &Superblock, numbers: &mut Numbers) -> Vec<u8> {
    let mut bytes = vec![0; volume.desc_size().into()];
    for reserved in [0x14..0x18, 0x34..0x38, 0x3c..0x40] {
        if let Some(reserved) = bytes.get_mut(reserved) {
            reserved.fill_with(|| numbers.next() as u8);
        }
    }
    put(&mut bytes, 0x0, 100_u32.to_le_bytes());
    put(&mut bytes, 0x4, 101_u32.to_le_bytes());
    put(&mut bytes, 0x8, 102_u32.to_le_bytes());
    bytes
}

/// The descriptor after its checksum was put right.
fn sealed(volume: &Superblock, bytes: &mut [u8]) -> Descriptor {
    put(bytes, 0x1e, [0; 2]);
    if has_checksums(volume) {
        let sum = crate::support::crc(volume.checksum_seed(), &[&[0; 4], bytes]);
        put(bytes, 0x1e, (sum as u16).to_le_bytes());
    }
    Descriptor::parse::<Crc>(volume, group(volume), bytes).unwrap()
}

fn has_checksums(volume: &Superblock) -> bool {
    let ro_compat = volume.features().ro_compat;
    ro_compat.contains(RoCompat::METADATA_CSUM)
}

fn group(volume: &Superblock) -> GroupNumber {
    volume.group(0).unwrap()
}

fn volumes() -> [Superblock; 3] {
    [
        volume(),
        volume_without(0x60, Incompat::BIT64.bits()),
        volume_without_checksums(),
    ]
}

#[test]
fn whatever_is_encoded_is_read_back() {
    for volume in volumes() {
        for seed in 0..10_000 {
            let numbers = &mut Numbers(seed);
            let mut bytes = bytes(&volume, numbers);
            let before = bytes.clone();
            let descriptor = sealed(&volume, &mut bytes);
            // Without checksums there is nothing that is not written.
            let has_sums = has_checksums(&volume);
            let mut flags = descriptor.usage().flags;
            for flag in [
                Flags::INODE_UNINIT,
                Flags::BLOCK_UNINIT,
                Flags::INODE_ZEROED,
            ] {
                if has_sums && numbers.below(2) == 0 {
                    flags = flags.with(flag);
                }
            }
            let usage = Usage {
                free_clusters: numbers.below(16385) as u32,
                free_inodes: numbers.below(16385) as u32,
                used_dirs: numbers.below(16385) as u32,
                itable_unused: if has_sums {
                    numbers.below(16385) as u32
                } else {
                    0
                },
                flags,
            };
            let bitmap: [Vec<u8>; 2] =
                [0, 1].map(|_| (0..4096).map(|_| numbers.next() as u8).collect());
            let [block, inode] = bitmap
                .each_ref()
                .map(|bitmap| (numbers.below(2) == 0).then_some(bitmap.as_slice()));
            let bitmaps = Bitmaps { block, inode };
            let after = descriptor
                .encode::<Crc>(&volume, &usage, &bitmaps, &mut bytes)
                .unwrap();
            let read = Descriptor::parse::<Crc>(&volume, group(&volume), &bytes);
            assert_eq!(read, Ok(after), "seed {seed}");
            assert_eq!(after.usage(), usage);
            assert_eq!(after.inode_table(), descriptor.inode_table());
            for (bitmap, result) in [
                (block, after.check_block_bitmap::<Crc>(&volume, &bitmap[0])),
                (inode, after.check_inode_bitmap::<Crc>(&volume, &bitmap[1])),
            ] {
                assert!(result.is_ok() || bitmap.is_none() && has_sums);
            }
            for reserved in [0x00..0x0c, 0x14..0x18, 0x34..0x38, 0x3c..0x40] {
                assert_eq!(bytes.get(reserved.clone()), before.get(reserved));
            }
        }
    }
}

#[test]
fn what_no_group_can_have_is_not_encoded() {
    for volume in volumes() {
        let mut bytes = bytes(&volume, &mut Numbers(1));
        let descriptor = sealed(&volume, &mut bytes);
        let usage = descriptor.usage();
        let before = bytes.clone();
        let refused = |usage: &Usage, bitmaps: &Bitmaps<'_>, bytes: &mut [u8]| {
            let before = bytes.to_vec();
            let result = descriptor.encode::<Crc>(&volume, usage, bitmaps, bytes);
            assert_eq!(bytes, before);
            assert_eq!(result, None);
        };
        let none = Bitmaps::default();
        for too_many in [16385, 0x1_0000, u32::MAX] {
            for wrong in [
                Usage {
                    free_clusters: too_many,
                    ..usage
                },
                Usage {
                    free_inodes: too_many,
                    ..usage
                },
                Usage {
                    used_dirs: too_many,
                    ..usage
                },
                Usage {
                    itable_unused: too_many,
                    ..usage
                },
            ] {
                refused(&wrong, &none, &mut bytes);
            }
        }
        let short = Bitmaps {
            block: Some(&[0; 100]),
            inode: None,
        };
        refused(&usage, &short, &mut bytes);
        refused(&usage, &none, &mut before[..16].to_vec());
        let mut other = before.clone();
        put(&mut other, 0x0, 99_u32.to_le_bytes());
        refused(&usage, &none, &mut other);
    }
}
