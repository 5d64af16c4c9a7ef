// SPDX-License-Identifier: GPL-2.0

//! The superblock of a real volume, taken apart, changed field by field, and damaged at random.
//!
//! `default.superblock` is the one of a volume with the features that `mke2fs` 1.47 gives by
//! default. Made, and to be made again, by:
//!
//! ```sh
//! truncate -s 64M image
//! E2FSPROGS_FAKE_TIME=1700000000 mke2fs -q -t ext4 -b 4096 -N 16384 \
//!     -U 01234567-89ab-cdef-0123-456789abcdef -E hash_seed=fedcba98-7654-3210-fedc-ba9876543210 \
//!     -O none,has_journal,ext_attr,resize_inode,dir_index,orphan_file,filetype,extent,64bit \
//!     -O flex_bg,metadata_csum,metadata_csum_seed,sparse_super,large_file,huge_file \
//!     -O dir_nlink,extra_isize image
//! dd if=image of=default.superblock bs=1024 skip=1 count=1
//! ```

use damage::{
    Crc,
    Numbers, //
};
use ondisk::{
    Compat,
    Crc32c,
    Error,
    Incompat,
    RoCompat,
    State,
    Structure,
    Superblock,
    Unsupported, //
};

/// A superblock as bytes.
type Bytes = [u8; Superblock::LEN];

const DEFAULT: &Bytes = include_bytes!("default.superblock");

/// Puts the checksum right.
fn seal(bytes: &mut Bytes) {
    let sum = Crc::crc32c(!0, &bytes[..0x3fc]);
    bytes[0x3fc..].copy_from_slice(&sum.to_le_bytes());
}

fn parse(bytes: &Bytes) -> Result<Superblock, Error> {
    Superblock::parse::<Crc>(bytes)
}

/// Parses the default superblock after `change`, its checksum put right.
fn changed(change: impl FnOnce(&mut Bytes)) -> Result<Superblock, Error> {
    let mut bytes = *DEFAULT;
    change(&mut bytes);
    seal(&mut bytes);
    parse(&bytes)
}

/// Parses the default superblock with other bytes at `offset`.
fn with<const N: usize>(offset: usize, field: [u8; N]) -> Result<Superblock, Error> {
    changed(|bytes| put(bytes, offset, field))
}

fn put<const N: usize>(bytes: &mut Bytes, offset: usize, field: [u8; N]) {
    bytes[offset..offset + N].copy_from_slice(&field);
}

fn corrupt<T>(field: &'static str, value: u64) -> Result<T, Error> {
    Err(Error::Corrupt {
        structure: Structure::Superblock,
        field,
        value,
    })
}

#[test]
fn the_default_volume_is_read_as_it_was_made() {
    let volume = parse(DEFAULT).unwrap();
    assert_eq!(volume.block_size().bytes().get(), 4096);
    assert_eq!(volume.blocks_count().0, 16384);
    assert_eq!(volume.first_data_block().0, 0);
    assert_eq!(volume.blocks_per_group().get(), 32768);
    assert_eq!(volume.groups_count().get(), 1);
    assert_eq!(volume.inodes_per_group().get(), 16384);
    assert_eq!(volume.inodes_count(), 16384);
    assert_eq!(volume.first_ino(), 11);
    assert_eq!(volume.inode_size(), 256);
    assert_eq!(volume.desc_size(), 64);
    assert_eq!(volume.len(), 64 << 20);
    assert_eq!(volume.uuid()[..4], [0x01, 0x23, 0x45, 0x67]);
    assert_eq!(volume.checksum_seed(), Crc::crc32c(!0, &volume.uuid()));
    assert!(volume.state().contains(State::VALID));
    assert!(!volume.state().contains(State::ERROR));

    let features = volume.features();
    assert_eq!(features.compat, Compat::SUPPORTED);
    assert_eq!(
        features.incompat.bits() | Incompat::RECOVER.bits(),
        Incompat::SUPPORTED.bits()
    );
    assert_eq!(
        features.ro_compat.bits() | RoCompat::ORPHAN_PRESENT.bits(),
        RoCompat::SUPPORTED.bits()
    );
}

#[test]
fn without_the_magic_number_it_is_not_ext4() {
    assert_eq!(parse(&[0; 1024]), Err(Error::NotExt4 { magic: 0 }));
    assert_eq!(parse(&[0xff; 1024]), Err(Error::NotExt4 { magic: 0xffff }));
    let swapped = with(0x38, [0xef, 0x53]);
    assert_eq!(swapped, Err(Error::NotExt4 { magic: 0x53ef }));
}

#[test]
fn no_flipped_bit_goes_unnoticed() {
    for bit in 0..8 * Superblock::LEN {
        let mut bytes = *DEFAULT;
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(parse(&bytes).is_err(), "bit {bit}");
    }
}

#[test]
fn the_checksum_comes_before_features_and_fields() {
    let mut bytes = *DEFAULT;
    put(&mut bytes, 0x60, u32::MAX.to_le_bytes());
    put(&mut bytes, 0x18, u32::MAX.to_le_bytes());
    let stored = u32::from_le_bytes(DEFAULT[0x3fc..].try_into().unwrap());
    let computed = Crc::crc32c(!0, &bytes[..0x3fc]);
    assert_eq!(
        parse(&bytes),
        Err(Error::BadChecksum {
            structure: Structure::Superblock,
            stored,
            computed
        })
    );

    seal(&mut bytes);
    let unknown = Incompat::from_bits(u32::MAX).unsupported();
    assert_eq!(
        parse(&bytes),
        Err(Error::Unsupported(Unsupported::Incompat(unknown)))
    );
}

#[test]
fn unknown_incompat_features_are_named() {
    let bits = u32::from_le_bytes(DEFAULT[0x60..0x64].try_into().unwrap());
    let error = with(0x60, (bits | 0x8000_8000).to_le_bytes()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "unsupported features: inline_data FEATURE_I31"
    );
}

#[test]
fn values_are_shown_in_the_digits_that_they_are_known_by() {
    let shown = |structure, field, value| {
        Error::Corrupt {
            structure,
            field,
            value,
        }
        .to_string()
    };
    assert_eq!(
        with(0x54, 0x8000_0010_u32.to_le_bytes())
            .unwrap_err()
            .to_string(),
        "superblock is corrupt: s_first_ino is 2147483664"
    );
    assert_eq!(
        shown(Structure::Inode, "i_mode", 0o000_644),
        "inode is corrupt: i_mode is 0644"
    );
    assert_eq!(
        shown(Structure::Inode, "i_flags", 0x1008_0000),
        "inode is corrupt: i_flags is 0x10080000"
    );
    assert_eq!(
        shown(Structure::ExtentNode, "eh_magic", 0),
        "extent tree node is corrupt: eh_magic is 0x0"
    );
}

#[test]
fn unknown_ro_compat_features_are_left_to_the_mounter() {
    let bits = u32::from_le_bytes(DEFAULT[0x64..0x68].try_into().unwrap());
    let volume = with(0x64, (bits | 0x8100).to_le_bytes()).unwrap();
    let unknown = volume.features().ro_compat.unsupported();
    assert_eq!(unknown.to_string(), "quota verity");
}

#[test]
fn unknown_compat_features_are_ignored() {
    let volume = with(0x5c, u32::MAX.to_le_bytes()).unwrap();
    assert_eq!(volume.features().compat.bits(), u32::MAX);
}

#[test]
fn what_no_version_of_us_knows_is_unsupported_not_corrupt() {
    let unsupported = |what| Err(Error::Unsupported(what));
    assert_eq!(
        with(0x4c, 0_u32.to_le_bytes()),
        unsupported(Unsupported::Revision(0))
    );
    assert_eq!(
        with(0x4c, 2_u32.to_le_bytes()),
        unsupported(Unsupported::Revision(2))
    );
    assert_eq!(with(0x175, [2]), unsupported(Unsupported::ChecksumType(2)));
    assert_eq!(
        with(0x18, 3_u32.to_le_bytes()),
        unsupported(Unsupported::BlockSize(8192))
    );
    assert_eq!(
        with(0x18, 6_u32.to_le_bytes()),
        unsupported(Unsupported::BlockSize(65536))
    );
}

#[test]
fn impossible_fields_are_named_with_their_value() {
    let cases: [(usize, &'static str, &[u32]); 10] = [
        (0x00, "s_inodes_count", &[0, 16383, 16385, u32::MAX]),
        (0x04, "s_blocks_count", &[0]),
        (0x14, "s_first_data_block", &[1, 2, u32::MAX]),
        (0x18, "s_log_block_size", &[7, 32, u32::MAX]),
        (0x1c, "s_log_cluster_size", &[0, 1, 3, u32::MAX]),
        (0x20, "s_blocks_per_group", &[0, 32760, u32::MAX]),
        // 0, no multiple of 8, more than bits in a block.
        (0x24, "s_clusters_per_group", &[0, 32764, 32776, u32::MAX]),
        // 0, no multiple of 8, no multiple of the 16 inodes of a block, more than bits in one.
        (0x28, "s_inodes_per_group", &[0, 12, 24, 32776, u32::MAX]),
        (0x54, "s_first_ino", &[0, 10, 16385, u32::MAX]),
        (0x64, "s_feature_ro_compat", &[0]),
    ];
    for (offset, field, values) in cases {
        for value in values {
            assert_eq!(
                with(offset, value.to_le_bytes()),
                corrupt(field, u64::from(*value)),
                "{field} {value}"
            );
        }
    }

    // Group counts beyond 32 bits: both halves of the number are named and shown as one.
    for high in [0x8000, u32::MAX] {
        assert_eq!(
            with(0x150, high.to_le_bytes()),
            corrupt("s_blocks_count", (u64::from(high) << 32) + 16384)
        );
    }

    let cases: [(usize, &'static str, &[u16]); 3] = [
        (0x58, "s_inode_size", &[0, 64, 255, 257, 8192, u16::MAX]),
        (0xce, "s_reserved_gdt_blocks", &[1025, u16::MAX]),
        (0xfe, "s_desc_size", &[0, 32, 63, 96, 2048, u16::MAX]),
    ];
    for (offset, field, values) in cases {
        for value in values {
            assert_eq!(
                with(offset, value.to_le_bytes()),
                corrupt(field, u64::from(*value)),
                "{field} {value}"
            );
        }
    }
}

#[test]
fn clusters_are_larger_than_blocks_only_with_bigalloc() {
    let bits = u32::from_le_bytes(DEFAULT[0x64..0x68].try_into().unwrap());
    let volume = |log_cluster: u32, clusters: u32, blocks: u32| {
        changed(|bytes| {
            put(bytes, 0x1c, log_cluster.to_le_bytes());
            put(bytes, 0x20, blocks.to_le_bytes());
            put(bytes, 0x24, clusters.to_le_bytes());
            let bigalloc = RoCompat::BIGALLOC.bits();
            put(bytes, 0x64, (bits | bigalloc).to_le_bytes());
        })
    };
    let bigalloc = volume(6, 32768, 32768 << 4).unwrap();
    assert_eq!(bigalloc.blocks_per_group().get(), 32768 << 4);
    let features = bigalloc.features().ro_compat;
    assert_eq!(features.unsupported(), RoCompat::BIGALLOC);

    assert_eq!(
        volume(6, 32768, 32768),
        corrupt("s_blocks_per_group", 32768)
    );
    assert_eq!(volume(1, 32768, 32768), corrupt("s_log_cluster_size", 1));
    assert_eq!(volume(34, 32768, 0), corrupt("s_log_cluster_size", 34));
    assert_eq!(volume(33, 32768, 0), corrupt("s_blocks_per_group", 0));
}

#[test]
fn groups_are_counted_with_the_last_short_one() {
    // 1 KiB blocks, from block 1: 8193 blocks are one full group, one more begins the second.
    let volume = |blocks: u32, groups: u32| {
        changed(|bytes| {
            put(bytes, 0x00, (groups * 2048).to_le_bytes());
            put(bytes, 0x04, blocks.to_le_bytes());
            put(bytes, 0x14, 1_u32.to_le_bytes());
            put(bytes, 0x18, 0_u32.to_le_bytes());
            put(bytes, 0x1c, 0_u32.to_le_bytes());
            put(bytes, 0x20, 8192_u32.to_le_bytes());
            put(bytes, 0x24, 8192_u32.to_le_bytes());
            put(bytes, 0x28, 2048_u32.to_le_bytes());
            put(bytes, 0xce, 0_u16.to_le_bytes());
        })
    };
    assert_eq!(volume(8193, 1).unwrap().groups_count().get(), 1);
    assert_eq!(volume(8194, 2).unwrap().groups_count().get(), 2);
    assert_eq!(volume(8194, 1), corrupt("s_inodes_count", 2048));
    assert_eq!(volume(1, 1), corrupt("s_blocks_count", 1));
    assert_eq!(volume(0, 1), corrupt("s_blocks_count", 0));
}

#[test]
fn block_numbers_have_more_than_32_bits() {
    let volume = changed(|bytes| {
        put(bytes, 0x00, (0x2_0001_u32 * 16).to_le_bytes());
        put(bytes, 0x28, 16_u32.to_le_bytes());
        put(bytes, 0x150, 1_u32.to_le_bytes());
    })
    .unwrap();
    assert_eq!(volume.blocks_count().0, (1 << 32) + 16384);
    assert_eq!(volume.groups_count().get(), 0x2_0001);
    assert_eq!(volume.len(), (1 << 44) + (64 << 20));
}

#[test]
fn lengths_stay_below_2_to_the_63() {
    // Groups of 2^31 blocks of 2^12 bytes, as only `bigalloc` can have them.
    let bits = u32::from_le_bytes(DEFAULT[0x64..0x68].try_into().unwrap());
    let volume = |groups: u32| {
        changed(|bytes| {
            put(bytes, 0x00, (groups * 16).to_le_bytes());
            put(bytes, 0x04, 0_u32.to_le_bytes());
            put(bytes, 0x1c, 18_u32.to_le_bytes());
            put(bytes, 0x20, (1_u32 << 31).to_le_bytes());
            put(bytes, 0x28, 16_u32.to_le_bytes());
            let bigalloc = RoCompat::BIGALLOC.bits();
            put(bytes, 0x64, (bits | bigalloc).to_le_bytes());
            put(bytes, 0x150, (groups / 2).to_le_bytes());
        })
    };
    assert_eq!(volume(1 << 19).unwrap().len(), 1 << 62);
    assert_eq!(volume(1 << 20), corrupt("s_blocks_count", 1 << 51));
}

#[test]
fn the_state_is_that_of_the_volume() {
    let state = with(0x3a, [6, 0]).unwrap().state();
    assert!(state.contains(State::ERROR));
    assert!(!state.contains(State::VALID));
}

#[test]
fn desc_size_counts_only_with_64bit() {
    let bits = u32::from_le_bytes(DEFAULT[0x60..0x64].try_into().unwrap());
    let volume = changed(|bytes| {
        put(bytes, 0x60, (bits & !Incompat::BIT64.bits()).to_le_bytes());
        put(bytes, 0xfe, 999_u16.to_le_bytes());
    });
    assert_eq!(volume.unwrap().desc_size(), 32);
}

#[test]
fn the_checksum_seed_stands_in_the_superblock_or_comes_from_the_uuid() {
    let seed = with(0x270, 0x1234_5678_u32.to_le_bytes()).unwrap();
    assert_eq!(seed.checksum_seed(), 0x1234_5678);

    let bits = u32::from_le_bytes(DEFAULT[0x60..0x64].try_into().unwrap());
    let uuid = changed(|bytes| {
        let without = bits & !Incompat::CSUM_SEED.bits();
        put(bytes, 0x60, without.to_le_bytes());
        put(bytes, 0x270, 0x1234_5678_u32.to_le_bytes());
        put(bytes, 0x68, *b"0123456789abcdef");
    });
    let expected = Crc::crc32c(!0, b"0123456789abcdef");
    assert_eq!(uuid.unwrap().checksum_seed(), expected);
}

/// What the documentation of [`Superblock`] promises, computed another way.
fn check_invariants(volume: &Superblock) {
    let block = u64::from(volume.block_size().bytes().get());
    let blocks = u128::from(volume.blocks_count().0);
    let first = u128::from(volume.first_data_block().0);
    let per_group = u128::from(volume.blocks_per_group().get());
    let groups = u128::from(volume.groups_count().get());
    let inodes = u64::from(volume.inodes_per_group().get());
    let inode = u64::from(volume.inode_size());

    assert!([1024, 2048, 4096].contains(&block));
    let bigalloc = volume.features().ro_compat.contains(RoCompat::BIGALLOC);
    assert!(first == u128::from(block == 1024) || bigalloc && first == 0);
    assert!(first + (groups - 1) * per_group < blocks);
    assert!(first + groups * per_group >= blocks);
    assert!(per_group <= u128::from(8 * block) || bigalloc);
    assert_eq!(per_group % 8, 0);
    assert!(inodes <= 8 * block && inodes % 8 == 0);
    assert_eq!(groups * u128::from(inodes), volume.inodes_count().into());
    assert!(inode >= 128 && block % inode == 0 && inodes * inode % block == 0);
    assert!(volume.desc_size() >= 32 && block % u64::from(volume.desc_size()) == 0);
    assert!((11..=volume.inodes_count()).contains(&volume.first_ino()));
    assert_eq!(u128::from(volume.len()), blocks * u128::from(block));
    assert!(volume.len() < 1 << 63);
    assert!(volume.features().incompat.unsupported().is_empty());
}

#[test]
fn damaged_superblocks_are_refused_or_keep_the_invariants() {
    // Bytes of the fields that the parser reads, so that most of the damage is to these.
    const FIELDS: [usize; 19] = [
        0x00, 0x04, 0x14, 0x18, 0x1c, 0x20, 0x24, 0x28, 0x38, 0x4c, 0x54, 0x58, 0x5c, 0x60, 0x64,
        0xce, 0xfe, 0x150, 0x175,
    ];
    let (mut accepted, mut refused) = (0, 0);
    for seed in 0..200_000 {
        let mut numbers = Numbers(seed);
        let mut bytes = *DEFAULT;
        for _ in 0..=numbers.below(4) {
            let offset = match numbers.below(8) {
                0 => numbers.below(Superblock::LEN),
                _ => FIELDS[numbers.below(FIELDS.len())] + numbers.below(4),
            };
            bytes[offset] = match numbers.below(3) {
                0 => bytes[offset] ^ (1 << numbers.below(8)),
                1 => [0, 1, 8, 0x10, 0x7f, 0x80, 0xff][numbers.below(7)],
                _ => numbers.next() as u8,
            };
        }
        // One in 16 keeps its wrong checksum.
        if numbers.below(16) > 0 {
            seal(&mut bytes);
        }
        let result = std::panic::catch_unwind(|| match parse(&bytes) {
            Ok(volume) => {
                check_invariants(&volume);
                true
            }
            Err(error) => {
                assert!(!error.to_string().is_empty());
                false
            }
        });
        match result {
            Ok(true) => accepted += 1,
            Ok(false) => refused += 1,
            Err(_) => panic!("seed {seed}"),
        }
    }
    // Otherwise one of the two halves of this test tests nothing.
    assert!(accepted > 20_000, "{accepted} accepted");
    assert!(refused > 20_000, "{refused} refused");
}

#[test]
fn random_bytes_are_refused_or_keep_the_invariants() {
    let mut numbers = Numbers(1);
    for _ in 0..20_000 {
        let mut bytes: Bytes = std::array::from_fn(|_| numbers.next() as u8);
        // Past the first checks, or all of this would be a test of the magic number.
        put(&mut bytes, 0x38, 0xef53_u16.to_le_bytes());
        put(&mut bytes, 0x4c, 1_u32.to_le_bytes());
        put(&mut bytes, 0x18, [numbers.below(4) as u8, 0, 0, 0]);
        bytes[0x1c..0x20].copy_from_slice(&DEFAULT[0x18..0x1c]);
        put(&mut bytes, 0x60, Incompat::FILETYPE.bits().to_le_bytes());
        bytes[0x175] = 1;
        seal(&mut bytes);
        if let Ok(volume) = parse(&bytes) {
            check_invariants(&volume);
        }
    }
}
