// SPDX-License-Identifier: GPL-2.0

//! The superblock of the journal, which has the other byte order.

use crate::support::{
    corrupt,
    put,
    volume, //
};
use ondisk::{
    journal::Superblock,
    Error,
    JournalIncompat,
    Structure,
    Unsupported, //
};

const STRUCTURE: Structure = Structure::JournalSuperblock;

fn superblock(change: impl FnOnce(&mut [u8])) -> [u8; Superblock::LEN] {
    let mut bytes = [0; Superblock::LEN];
    put(&mut bytes, 0x00, 0xc03b_3998_u32.to_be_bytes());
    put(&mut bytes, 0x04, 4_u32.to_be_bytes());
    put(&mut bytes, 0x0c, 4096_u32.to_be_bytes());
    put(&mut bytes, 0x28, 0x11_u32.to_be_bytes());
    change(&mut bytes);
    bytes
}

fn parse(change: impl FnOnce(&mut [u8])) -> Result<Superblock, Error> {
    Superblock::parse(&volume(), &superblock(change))
}

#[test]
fn features_are_read() {
    let incompat = parse(|_| ()).unwrap().incompat();
    assert_eq!(
        incompat.to_string(),
        "journal_incompat_revoke journal_checksum_v3"
    );
    // The first version has no features, whatever stands there.
    let first = parse(|bytes| {
        put(bytes, 0x04, 3_u32.to_be_bytes());
        put(bytes, 0x28, [0xff; 4]);
    });
    assert!(first.unwrap().incompat().is_empty());
}

#[test]
fn broken_fields_are_named() {
    let little = parse(|bytes| put(bytes, 0, 0xc03b_3998_u32.to_le_bytes()));
    assert_eq!(little, corrupt(STRUCTURE, "h_magic", 0x9839_3bc0));
    let block_size = parse(|bytes| put(bytes, 0x0c, 1024_u32.to_be_bytes()));
    assert_eq!(block_size, corrupt(STRUCTURE, "s_blocksize", 1024));
    let commit_block = parse(|bytes| put(bytes, 0x04, 2_u32.to_be_bytes()));
    assert_eq!(commit_block, corrupt(STRUCTURE, "h_blocktype", 2));
}

#[test]
fn features_that_are_not_known_are_named() {
    let error = parse(|bytes| put(bytes, 0x28, 0x8000_0031_u32.to_be_bytes())).unwrap_err();
    let unknown = JournalIncompat::from_bits(0x8000_0020);
    assert_eq!(error, Error::Unsupported(Unsupported::Journal(unknown)));
    assert_eq!(
        error.to_string(),
        "unsupported features of the journal: fast_commit FEATURE_I31"
    );
}
