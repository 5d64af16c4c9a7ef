// SPDX-License-Identifier: GPL-2.0

//! What the superblock says beside the layout.

use crate::support::{
    corrupt,
    get_u32,
    put,
    volume,
    volume_with,
    volume_without, //
};
use ondisk::{
    hash,
    Compat,
    DefaultMountOptions,
    Error,
    Errors,
    Incompat,
    Ino,
    Structure,
    Superblock,
    Unsupported, //
};

fn with<const N: usize>(offset: usize, field: [u8; N]) -> Result<Superblock, Error> {
    volume_with(|bytes| put(bytes, offset, field))
}

#[test]
fn the_default_volume_is_read_as_it_was_made() {
    let volume = volume();
    let settings = volume.settings();
    assert_eq!(settings.journal(), Some(Ino::JOURNAL));
    assert_eq!(settings.orphan_file().map(Ino::get), Some(12));
    assert_eq!(settings.last_orphan(), None);
    assert_eq!(settings.errors(), Errors::Continue);
    assert_eq!(settings.volume_name(), b"");
    assert_eq!(settings.reserved_blocks(), 16384 / 20);
    assert!((1..16384).contains(&settings.free_clusters()));
    assert_eq!(settings.free_inodes(), 16384 - 12);
    // Of 16,384 blocks: the 1,024 of the inode table, the journal and the descriptors.
    assert!((1025..8192).contains(&settings.overhead_clusters()));
    assert_eq!(settings.mounted(), 0);
    assert_eq!(settings.written(), 1_700_000_000);
    let seed = [0x98ba_dcfe, 0x1032_5476, 0x98ba_dcfe, 0x1032_5476];
    assert_eq!(settings.hash_seed(), seed);
    assert_eq!(settings.hash_chars(), hash::Chars::Signed);
    assert_eq!(settings.def_hash_version(), Some(hash::Version::HalfMd4));
    let options = settings.default_mount_options();
    assert!(options.contains(DefaultMountOptions::ACL));
    assert!(options.contains(DefaultMountOptions::USER_XATTR));
    assert_eq!(settings.groups_per_flex().get(), 16);
}

#[test]
fn flex_groups_are_powers_of_two() {
    let groups = |volume: Superblock| volume.settings().groups_per_flex().get();
    let with_log = |log: u8| groups(with(0x174, [log]).unwrap());
    assert_eq!([0, 4, 31].map(with_log), [1, 16, 1 << 31]);
    assert_eq!([32, 255].map(with_log), [1, 1]);
    assert_eq!(groups(volume_without(0x60, Incompat::FLEX_BG.bits())), 1);
}

#[test]
fn counts_have_64_bits() {
    let volume = volume_with(|bytes| {
        put(bytes, 0x08, 5_u32.to_le_bytes());
        put(bytes, 0x0c, 6_u32.to_le_bytes());
        put(bytes, 0x154, 7_u32.to_le_bytes());
        put(bytes, 0x158, 8_u32.to_le_bytes());
    });
    let volume = volume.unwrap();
    assert_eq!(volume.settings().reserved_blocks(), (7 << 32) + 5);
    assert_eq!(volume.settings().free_clusters(), (8 << 32) + 6);
}

#[test]
fn reserved_blocks_are_for_a_user_and_a_group() {
    let volume = volume_with(|bytes| {
        put(bytes, 0x50, 1000_u16.to_le_bytes());
        put(bytes, 0x52, 0xfffe_u16.to_le_bytes());
    });
    let volume = volume.unwrap();
    assert_eq!(volume.settings().reserved_uid(), 1000);
    assert_eq!(volume.settings().reserved_gid(), 0xfffe);
}

#[test]
fn times_have_40_bits() {
    let volume = volume_with(|bytes| {
        put(bytes, 0x2c, 1_u32.to_le_bytes());
        put(bytes, 0x30, 2_u32.to_le_bytes());
        put(bytes, 0x274, [3, 4]);
    });
    let volume = volume.unwrap();
    assert_eq!(volume.settings().mounted(), (4 << 32) + 1);
    assert_eq!(volume.settings().written(), (3 << 32) + 2);
}

#[test]
fn only_a_journal_can_be_replayed() {
    let recover = |journal: bool| {
        volume_with(|bytes| {
            let incompat = get_u32(bytes, 0x60) | Incompat::RECOVER.bits();
            put(bytes, 0x60, incompat.to_le_bytes());
            let without = if journal {
                0
            } else {
                Compat::HAS_JOURNAL.bits()
            };
            let compat = get_u32(bytes, 0x5c) & !without;
            put(bytes, 0x5c, compat.to_le_bytes());
        })
    };
    assert!(recover(true).is_ok());
    assert_eq!(
        recover(false),
        corrupt(
            Structure::Superblock,
            "s_feature_incompat",
            Incompat::SUPPORTED.bits().into()
        )
    );
}

#[test]
fn names_end_with_a_zero_or_with_the_field() {
    let named = |name: &[u8; 16]| with(0x78, *name).unwrap().settings().volume_name().to_vec();
    assert_eq!(named(b"data\0\0\0\0\0\0\0\0\0\0\0\0"), b"data");
    assert_eq!(named(b"sixteen letters!"), b"sixteen letters!");
}

#[test]
fn errors_are_continued_panicked_or_stopped_at() {
    let errors = |number: u16| {
        with(0x3c, number.to_le_bytes())
            .unwrap()
            .settings()
            .errors()
    };
    assert_eq!(errors(0), Errors::RemountRo);
    assert_eq!(errors(1), Errors::Continue);
    assert_eq!(errors(2), Errors::RemountRo);
    assert_eq!(errors(3), Errors::Panic);
    assert_eq!(errors(4), Errors::RemountRo);
}

#[test]
fn characters_are_unsigned_where_the_volume_says_so() {
    let chars = |flags: u32| {
        let volume = with(0x160, flags.to_le_bytes()).unwrap();
        volume.settings().hash_chars()
    };
    assert_eq!(chars(0), hash::Chars::Signed);
    assert_eq!(chars(1), hash::Chars::Signed);
    assert_eq!(chars(2), hash::Chars::Unsigned);
    assert_eq!(chars(6), hash::Chars::Unsigned);
}

#[test]
fn a_journal_is_an_inode_or_unsupported() {
    let structure = Structure::Superblock;
    let journal = |inum: u32, dev: u32| {
        let volume = volume_with(|bytes| {
            put(bytes, 0xe0, inum.to_le_bytes());
            put(bytes, 0xe4, dev.to_le_bytes());
        });
        volume.map(|volume| volume.settings().journal().map(Ino::get))
    };
    assert_eq!(journal(9, 0), Ok(Some(9)));
    assert_eq!(journal(0, 0), corrupt(structure, "s_journal_inum", 0));
    assert_eq!(
        journal(16385, 0),
        corrupt(structure, "s_journal_inum", 16385)
    );
    assert_eq!(
        journal(8, 0x801),
        corrupt(structure, "s_journal_dev", 0x801)
    );
    assert_eq!(
        journal(0, 0x801),
        Err(Error::Unsupported(Unsupported::JournalDevice(0x801)))
    );

    let without = volume_without(0x5c, Compat::HAS_JOURNAL.bits());
    assert_eq!(without.settings().journal(), None);
}

#[test]
fn orphans_are_inodes_of_the_volume() {
    let structure = Structure::Superblock;
    let last = |number: u32| with(0xe8, number.to_le_bytes());
    let volume = last(16384).unwrap();
    assert_eq!(volume.settings().last_orphan().map(Ino::get), Some(16384));
    assert_eq!(last(16385), corrupt(structure, "s_last_orphan", 16385));

    let file = |number: u32| with(0x280, number.to_le_bytes());
    assert_eq!(file(0), corrupt(structure, "s_orphan_file_inum", 0));
    assert_eq!(file(16385), corrupt(structure, "s_orphan_file_inum", 16385));

    let volume = volume_with(|bytes| {
        let compat = get_u32(bytes, 0x5c) & !Compat::ORPHAN_FILE.bits();
        put(bytes, 0x5c, compat.to_le_bytes());
        put(bytes, 0x280, u32::MAX.to_le_bytes());
    });
    assert_eq!(volume.unwrap().settings().orphan_file(), None);
}

#[test]
fn volumes_of_other_systems_are_unsupported() {
    let error = with(0x48, 1_u32.to_le_bytes()).unwrap_err();
    assert_eq!(error, Error::Unsupported(Unsupported::CreatorOs(1)));
    assert_eq!(error.to_string(), "unsupported creator OS: 1");
}
