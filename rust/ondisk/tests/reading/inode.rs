// SPDX-License-Identifier: GPL-2.0

//! Inodes.

use crate::support::{
    corrupt,
    damage,
    damaged,
    extent_record,
    extent_root,
    get_u32,
    index_record,
    inode_bytes,
    no_flipped_bit_goes_unnoticed,
    parse_inode,
    put,
    seal_inode,
    volume,
    volume_with,
    volume_without,
    volume_without_checksums, //
};
use ondisk::{
    extent::{
        Lookup,
        Node,
        ROOT_LEN, //
    },
    inode::{
        Content,
        Device,
        Flags,
        Time,
        Type, //
    },
    Compat,
    Error,
    Incompat,
    Inode,
    Lblk,
    Pblk,
    RoCompat,
    Structure,
    Superblock,
    Unsupported, //
};

const STRUCTURE: Structure = Structure::Inode;
const INO: u32 = 20;

/// Parses the inode of a volume after `change`, its checksum put right.
fn changed(volume: &Superblock, change: impl FnOnce(&mut [u8])) -> Result<Inode, Error> {
    let mut bytes = inode_bytes(volume.inode_size().into());
    change(&mut bytes);
    seal_inode(volume, INO, &mut bytes);
    parse_inode(volume, INO, &bytes).map(|inode| inode.expect("the inode should be in use"))
}

fn with<const N: usize>(offset: usize, field: [u8; N]) -> Result<Inode, Error> {
    changed(&volume(), |bytes| put(bytes, offset, field))
}

/// The default volume with inodes of that size.
fn volume_of(inode_size: u16) -> Superblock {
    volume_with(|bytes| put(bytes, 0x58, inode_size.to_le_bytes())).unwrap()
}

#[test]
fn an_inode_is_read_as_it_was_made() {
    let inode = changed(&volume(), |bytes| {
        put(bytes, 0x00, 0o104751_u16.to_le_bytes());
        put(bytes, 0x02, 0x1111_u16.to_le_bytes());
        put(bytes, 0x14, 0x2222_2222_u32.to_le_bytes());
        put(bytes, 0x18, 0x3333_u16.to_le_bytes());
        put(bytes, 0x1a, 0x4444_u16.to_le_bytes());
        put(bytes, 0x24, 0x5555_5555_u32.to_le_bytes());
        put(bytes, 0x68, 0x66_u32.to_le_bytes());
        put(bytes, 0x78, 0x7777_u16.to_le_bytes());
        put(bytes, 0x7a, 0x8888_u16.to_le_bytes());
        put(bytes, 0x98, 0x9999_u32.to_le_bytes());
        put(bytes, 0x9c, 0xaaaa_u32.to_le_bytes());
    })
    .unwrap();
    assert_eq!(inode.ino().get(), INO);
    assert_eq!(inode.file_type(), Type::Regular);
    assert_eq!(inode.permissions(), 0o4751);
    assert_eq!(inode.uid(), 0x7777_1111);
    assert_eq!(inode.gid(), 0x8888_3333);
    assert_eq!(inode.size(), 12_000);
    assert_eq!(inode.sectors(), 24);
    assert_eq!(inode.links(), 0x4444);
    assert_eq!(inode.flags().bits(), 0x8_0000);
    assert_eq!(inode.generation(), crate::support::GENERATION);
    assert_eq!(inode.version(), 0x9999_5555_5555);
    assert_eq!(inode.projid(), 0xaaaa);
    assert_eq!(inode.dtime(), 0x2222_2222);
    assert_eq!(inode.xattr_block(), Some(Pblk(0x66)));
    let volume = volume();
    let root = inode.extents(&volume).unwrap();
    assert!(matches!(root.lookup(Lblk(2)), Lookup::Extent(_)));
    assert!(matches!(root.lookup(Lblk(3)), Lookup::Hole(_)));
}

#[test]
fn no_flipped_bit_of_an_inode_goes_unnoticed() {
    for (inode_size, extra_isize) in [(128, 0), (256, 32), (256, 4), (1024, 32), (1024, 28)] {
        let volume = volume_of(inode_size);
        let mut bytes = inode_bytes(inode_size.into());
        if extra_isize > 0 {
            put(&mut bytes, 0x80, [extra_isize, 0]);
        }
        seal_inode(&volume, INO, &mut bytes);
        no_flipped_bit_goes_unnoticed(&bytes, |bytes| parse_inode(&volume, INO, bytes).is_ok());
    }
}

#[test]
fn half_of_the_checksum_is_enough_where_there_is_no_room_for_more() {
    // Not even for the field that says how much room there is; or it says that there is none.
    let volume = volume_of(128);
    assert!(changed(&volume, |_| ()).is_ok());
    let inode = changed(&volume_of(256), |bytes| put(bytes, 0x80, [0, 0]));
    assert!(inode.is_ok());
}

#[test]
fn checksums_are_of_one_inode_in_one_generation() {
    let volume = volume();
    let mut bytes = inode_bytes(256);
    seal_inode(&volume, INO + 1, &mut bytes);
    assert!(matches!(
        parse_inode(&volume, INO, &bytes),
        Err(Error::BadChecksum {
            structure: STRUCTURE,
            ..
        })
    ));
    let without = volume_without_checksums();
    assert!(parse_inode(&without, INO, &bytes).is_ok());

    let seed = |ino, generation: u32| {
        let mut bytes = inode_bytes(256);
        put(&mut bytes, 0x64, generation.to_le_bytes());
        seal_inode(&volume, ino, &mut bytes);
        parse_inode(&volume, ino, &bytes).unwrap().unwrap().seed()
    };
    assert_eq!(seed(20, 1), seed(20, 1));
    assert_ne!(seed(20, 1), seed(21, 1));
    assert_ne!(seed(20, 1), seed(20, 2));
}

#[test]
fn what_is_not_in_use_need_not_have_a_checksum() {
    let volume = volume();
    assert_eq!(parse_inode(&volume, INO, &[0; 256]), Ok(None));
    let deleted = with(0x1a, [0, 0]).unwrap();
    assert_eq!(deleted.links(), 0);
}

#[test]
fn the_bytes_are_those_of_one_inode() {
    let parsed = parse_inode(&volume(), INO, &inode_bytes(128));
    assert_eq!(parsed, corrupt(STRUCTURE, "s_inode_size", 128));
}

#[test]
fn newer_fields_end_inside_the_inode() {
    let bytes = inode_bytes(256);
    for extra_isize in [1_u16, 2, 31, 33, 132, 0x8000, u16::MAX] {
        let mut bytes = bytes.clone();
        put(&mut bytes, 0x80, extra_isize.to_le_bytes());
        assert_eq!(
            parse_inode(&volume(), INO, &bytes),
            corrupt(STRUCTURE, "i_extra_isize", extra_isize.into())
        );
    }
    assert!(with(0x80, 128_u16.to_le_bytes()).is_ok());
}

#[test]
fn newer_fields_are_there_as_far_as_there_is_room() {
    let full = |extra_isize: u8| {
        changed(&volume(), |bytes| {
            put(bytes, 0x80, [extra_isize, 0]);
            for offset in (0x84..0xa0).step_by(4) {
                put(bytes, offset, 4_u32.to_le_bytes());
            }
        })
        .unwrap()
    };
    let one = Time { sec: 0, nsec: 1 };
    let none = Time { sec: 0, nsec: 0 };
    let times = |inode: Inode| [inode.ctime(), inode.mtime(), inode.atime()];
    assert_eq!(times(full(0)), [none, none, none]);
    assert_eq!(times(full(4)), [none, none, none]);
    assert_eq!(times(full(8)), [one, none, none]);
    assert_eq!(times(full(12)), [one, one, none]);
    assert_eq!(times(full(16)), [one, one, one]);
    assert_eq!(full(16).crtime(), None);
    assert_eq!(full(20).crtime(), Some(Time { sec: 4, nsec: 0 }));
    assert_eq!(full(24).crtime(), Some(Time { sec: 4, nsec: 1 }));
    assert_eq!(full(24).version(), 0);
    assert_eq!(full(28).version(), 4 << 32);
    assert_eq!(full(28).projid(), 0);
    assert_eq!(full(32).projid(), 4);
}

#[test]
fn times_go_from_1901_to_2446() {
    let fields = [
        (
            0x0c,
            0x84,
            "i_ctime_extra",
            Inode::ctime as fn(&Inode) -> Time,
        ),
        (0x10, 0x88, "i_mtime_extra", Inode::mtime),
        (0x08, 0x8c, "i_atime_extra", Inode::atime),
        (0x90, 0x94, "i_crtime_extra", |inode| {
            inode.crtime().unwrap()
        }),
    ];
    for (base, extra, field, time) in fields {
        let at = |sec: u32, more: u32| {
            changed(&volume(), |bytes| {
                put(bytes, base, sec.to_le_bytes());
                put(bytes, extra, more.to_le_bytes());
            })
        };
        let seconds = |sec, more| time(&at(sec, more).unwrap()).sec;
        assert_eq!(seconds(0x8000_0000, 0), -0x8000_0000);
        assert_eq!(seconds(u32::MAX, 0), -1);
        assert_eq!(seconds(0x7fff_ffff, 0), 0x7fff_ffff);
        assert_eq!(seconds(0x8000_0000, 1), 0x8000_0000);
        assert_eq!(seconds(0x7fff_ffff, 1), 0x1_7fff_ffff);
        assert_eq!(seconds(0x7fff_ffff, 3), 0x3_7fff_ffff);
        let last = 999_999_999;
        assert_eq!(time(&at(0, (last << 2) | 2).unwrap()).nsec, last);
        assert_eq!(
            at(0, (last + 1) << 2),
            corrupt(STRUCTURE, field, u64::from(last + 1) << 2)
        );
    }
    // 128 bytes have no room for more than 32 bits.
    let short = changed(&volume_of(128), |bytes| put(bytes, 0x08, [0xff; 4]));
    assert_eq!(short.unwrap().atime(), Time { sec: -1, nsec: 0 });
}

#[test]
fn types_are_those_of_the_mode() {
    let file_type = |mode: u16| with(0x00, mode.to_le_bytes()).map(|inode| inode.file_type());
    for kind in 0..16_u16 {
        let mode = (kind << 12) | 0o644;
        let expected = match kind {
            0o01 => Ok(Type::Fifo),
            0o02 => Ok(Type::CharDevice),
            // 12,000 bytes are not whole blocks, and too many for a link.
            0o04 | 0o12 => corrupt(STRUCTURE, "i_size", 12_000),
            0o06 => Ok(Type::BlockDevice),
            0o10 => Ok(Type::Regular),
            0o14 => Ok(Type::Socket),
            _ => corrupt(STRUCTURE, "i_mode", mode.into()),
        };
        assert_eq!(file_type(mode), expected);
    }
}

#[test]
fn flags_that_would_change_the_meaning_are_refused() {
    for bit in 0..32 {
        let flags = (1_u32 << bit) | Flags::EXTENTS.bits();
        let refused = [11, 21, 28, 30].contains(&bit);
        let expected = if refused {
            corrupt(STRUCTURE, "i_flags", flags.into())
        } else {
            Ok(flags)
        };
        let parsed = with(0x20, flags.to_le_bytes()).map(|inode| inode.flags().bits());
        assert_eq!(parsed, expected);
    }
}

#[test]
fn directories_are_whole_blocks_and_perhaps_indexed() {
    let directory = |volume: &Superblock, size: u32, links: u16, flags: u32| {
        changed(volume, |bytes| {
            put(bytes, 0x00, 0o40755_u16.to_le_bytes());
            put(bytes, 0x04, size.to_le_bytes());
            put(bytes, 0x1a, links.to_le_bytes());
            put(bytes, 0x20, flags.to_le_bytes());
            // Not theirs.
            put(bytes, 0x6c, u32::MAX.to_le_bytes());
        })
    };
    let default = volume();
    let size = |size, links| directory(&default, size, links, 0x8_0000).map(|inode| inode.size());
    assert_eq!(size(4096, 2), Ok(4096));
    assert_eq!(size(0xffff_f000, 2), Ok(0xffff_f000));
    assert_eq!(size(0, 0), Ok(0));
    for bytes in [0, 1, 1024, 4095, u32::MAX] {
        let expected = corrupt(STRUCTURE, "i_size", bytes.into());
        assert_eq!(size(bytes, 2), expected);
    }

    let indexed = |volume: &Superblock, flags| {
        directory(volume, 4096, 2, flags).map(|inode| inode.is_indexed(volume))
    };
    assert_eq!(indexed(&default, 0x8_1000), Ok(true));
    assert_eq!(indexed(&default, 0x8_0000), Ok(false));
    let unindexed = volume_without(0x5c, Compat::DIR_INDEX.bits());
    assert_eq!(
        indexed(&unindexed, 0x8_1000),
        corrupt(STRUCTURE, "i_flags", 0x8_1000)
    );
    let regular = with(0x20, 0x8_1000_u32.to_le_bytes()).unwrap();
    assert!(!regular.is_indexed(&default));
}

#[test]
fn sizes_end_with_the_last_block_that_has_a_number() {
    let size = |size: u64| {
        changed(&volume(), |bytes| {
            put(bytes, 0x04, (size as u32).to_le_bytes());
            put(bytes, 0x6c, ((size >> 32) as u32).to_le_bytes());
        })
        .map(|inode| inode.size())
    };
    let most = u64::from(u32::MAX) * 4096;
    assert_eq!(size(most), Ok(most));
    assert_eq!(size(1 << 33), Ok(1 << 33));
    for size_in_bytes in [most + 1, 1 << 63, u64::MAX] {
        assert_eq!(
            size(size_in_bytes),
            corrupt(STRUCTURE, "i_size", size_in_bytes)
        );
    }
}

#[test]
fn space_is_counted_in_sectors_or_in_blocks() {
    let sectors = |volume: &Superblock, flags: u32| {
        changed(volume, |bytes| {
            put(bytes, 0x1c, 16_u32.to_le_bytes());
            put(bytes, 0x20, (0x8_0000 | flags).to_le_bytes());
            put(bytes, 0x74, 3_u16.to_le_bytes());
        })
        .unwrap()
        .sectors()
    };
    assert_eq!(sectors(&volume(), 0), (3 << 32) + 16);
    assert_eq!(sectors(&volume(), 0x4_0000), ((3 << 32) + 16) * 8);
    let without = volume_without(0x64, RoCompat::HUGE_FILE.bits());
    assert_eq!(sectors(&without, 0), 16);
    assert_eq!(sectors(&without, 0x4_0000), 16);
}

#[test]
fn attribute_blocks_are_inside_the_volume() {
    let block = |lo: u32, hi: u16| {
        changed(&volume(), |bytes| {
            put(bytes, 0x68, lo.to_le_bytes());
            put(bytes, 0x76, hi.to_le_bytes());
        })
        .map(|inode| inode.xattr_block())
    };
    assert_eq!(block(0, 0), Ok(None));
    assert_eq!(block(16383, 0), Ok(Some(Pblk(16383))));
    assert_eq!(block(16384, 0), corrupt(STRUCTURE, "i_file_acl", 16384));
    assert_eq!(
        block(100, 1),
        corrupt(STRUCTURE, "i_file_acl", (1 << 32) + 100)
    );

    let volume = volume_without(0x60, Incompat::BIT64.bits());
    let narrow = changed(&volume, |bytes| {
        put(bytes, 0x68, 100_u32.to_le_bytes());
        put(bytes, 0x76, 1_u16.to_le_bytes());
    });
    assert_eq!(narrow.unwrap().xattr_block(), Some(Pblk(100)));
}

/// A symbolic link of that size in its inode, with as many sectors and that attribute block.
fn symlink(size: u32, target: &[u8], sectors: u32, acl: u32) -> Result<Inode, Error> {
    changed(&volume(), |bytes| {
        put(bytes, 0x00, 0o120777_u16.to_le_bytes());
        put(bytes, 0x04, size.to_le_bytes());
        put(bytes, 0x1c, sectors.to_le_bytes());
        put(bytes, 0x20, [0; 4]);
        put(bytes, 0x28, [0; ROOT_LEN]);
        bytes[0x28..0x28 + target.len()].copy_from_slice(target);
        put(bytes, 0x68, acl.to_le_bytes());
    })
}

#[test]
fn short_links_are_in_the_inode() {
    let target = |inode: Inode| match inode.content() {
        Content::Target(target) => target.bytes().to_vec(),
        other => panic!("{other:?}"),
    };
    assert_eq!(target(symlink(1, b"a", 0, 0).unwrap()), b"a");
    assert_eq!(target(symlink(59, &[b'x'; 59], 0, 0).unwrap()), [b'x'; 59]);
    // The only block is that of the attributes.
    assert_eq!(target(symlink(3, b"a/b", 8, 100).unwrap()), b"a/b");

    for (size, bytes) in [
        (0, b"".as_slice()),
        (2, b"a"),
        (2, b"abc"),
        (3, b"a\0b"),
        (60, &[b'x'; 60]),
        (5000, b"a"),
    ] {
        assert_eq!(
            symlink(size, bytes, 0, 0),
            corrupt(STRUCTURE, "i_size", size.into())
        );
    }
}

#[test]
fn long_links_are_in_a_block() {
    let long = |size: u32, flags: u32, sectors: u32| {
        changed(&volume(), |bytes| {
            put(bytes, 0x00, 0o120777_u16.to_le_bytes());
            put(bytes, 0x04, size.to_le_bytes());
            put(bytes, 0x1c, sectors.to_le_bytes());
            put(bytes, 0x20, flags.to_le_bytes());
        })
    };
    let inode = long(60, 0x8_0000, 8).unwrap();
    assert!(matches!(inode.content(), Content::Extents(_)));
    assert_eq!(long(4095, 0x8_0000, 8).unwrap().size(), 4095);
    assert_eq!(long(4096, 0x8_0000, 8), corrupt(STRUCTURE, "i_size", 4096));
    for flags in [0x8_0010, 0x8_0020] {
        assert_eq!(
            long(60, flags, 8),
            corrupt(STRUCTURE, "i_flags", flags.into())
        );
    }
}

#[test]
fn links_and_directories_may_be_empty_while_they_are_deleted() {
    let inode = changed(&volume(), |bytes| {
        put(bytes, 0x00, 0o120777_u16.to_le_bytes());
        put(bytes, 0x04, 0_u32.to_le_bytes());
        put(bytes, 0x1a, 0_u16.to_le_bytes());
    });
    assert_eq!(inode.unwrap().content(), &Content::Nothing);
}

#[test]
fn devices_have_numbers_of_two_kinds() {
    let device = |old: u32, new: u32| {
        let inode = changed(&volume(), |bytes| {
            put(bytes, 0x00, 0o60600_u16.to_le_bytes());
            put(bytes, 0x28, [0; ROOT_LEN]);
            put(bytes, 0x28, old.to_le_bytes());
            put(bytes, 0x2c, new.to_le_bytes());
        });
        *inode.unwrap().content()
    };
    let expected = |major, minor| Content::Device(Device { major, minor });
    assert_eq!(device(0x0801, 0), expected(8, 1));
    assert_eq!(device(0xffff, 0), expected(255, 255));
    assert_eq!(device(0, 0x0001_0300), expected(259, 0));
    assert_eq!(device(0, 0xffff_ffff), expected(4095, 0xf_ffff));
    assert_eq!(device(0, 0x1230_0845), expected(8, 0x1_2345));
}

#[test]
fn pipes_and_sockets_have_no_content() {
    for mode in [0o10600_u16, 0o140600] {
        let inode = with(0x00, mode.to_le_bytes()).unwrap();
        assert_eq!(inode.content(), &Content::Nothing);
        assert!(inode.extents(&volume()).is_err());
    }
}

#[test]
fn files_without_extents_are_known_but_unsupported() {
    let inode = with(0x20, [0; 4]).unwrap();
    assert_eq!(inode.content(), &Content::BlockMap);
    let error = inode.extents(&volume()).map(|_| ()).unwrap_err();
    assert_eq!(error, Error::Unsupported(Unsupported::BlockMap));
    assert_eq!(error.to_string(), "unsupported file without extents");
}

#[test]
fn roots_of_trees_are_checked_with_the_inode() {
    let root = |bytes: [u8; ROOT_LEN]| with(0x28, bytes).map(|_| ());
    assert_eq!(
        root([0; ROOT_LEN]),
        corrupt(Structure::ExtentNode, "eh_magic", 0)
    );
    assert_eq!(
        root(extent_root(0, &[extent_record(0, 1, 16384)])),
        corrupt(Structure::ExtentNode, "ee_start", 16384)
    );
    assert_eq!(root(extent_root(5, &[index_record(0, 100)])), Ok(()));
}

#[test]
fn damaged_inodes_are_refused_or_keep_the_invariants() {
    const FIELDS: [usize; 14] = [
        0x00, 0x04, 0x1a, 0x1c, 0x20, 0x28, 0x2c, 0x34, 0x3c, 0x68, 0x6c, 0x74, 0x80, 0x84,
    ];
    let volume = volume();
    damaged(60_000, |numbers| {
        let mut bytes = inode_bytes(256);
        match numbers.below(4) {
            0 => {
                put(&mut bytes, 0x00, 0o120777_u16.to_le_bytes());
                put(&mut bytes, 0x04, 4_u32.to_le_bytes());
                put(&mut bytes, 0x1c, 0_u32.to_le_bytes());
                put(&mut bytes, 0x28, *b"away\0\0\0\0");
            }
            1 => {
                put(&mut bytes, 0x00, 0o40755_u16.to_le_bytes());
                put(&mut bytes, 0x04, 8192_u32.to_le_bytes());
            }
            2 => put(&mut bytes, 0x00, 0o20644_u16.to_le_bytes()),
            _ => (),
        }
        damage(numbers, &mut bytes, &FIELDS);
        if numbers.below(16) > 0 {
            if usize::from(crate::support::get_u16(&bytes, 0x80)) > 128 {
                return false;
            }
            seal_inode(&volume, INO, &mut bytes);
        }
        let inode = match parse_inode(&volume, INO, &bytes) {
            Ok(Some(inode)) => inode,
            Ok(None) => {
                assert_eq!(
                    (get_u32(&bytes, 0x00) as u16, bytes[0x1a], bytes[0x1b]),
                    (0, 0, 0)
                );
                return false;
            }
            Err(error) => {
                assert!(!error.to_string().is_empty());
                return false;
            }
        };
        check_invariants(&volume, &inode);
        true
    });
}

/// What the documentation of [`Inode`] promises.
fn check_invariants(volume: &Superblock, inode: &Inode) {
    assert!(inode.size() <= u64::from(u32::MAX) * 4096);
    match inode.file_type() {
        Type::Directory if inode.links() > 0 => {
            assert!(inode.size() > 0 && inode.size() % 4096 == 0);
        }
        Type::Symlink if inode.links() > 0 => assert!((1..4096).contains(&inode.size())),
        _ => (),
    }
    assert!(inode
        .xattr_block()
        .is_none_or(|pblk| (1..16384).contains(&pblk.0)));
    for time in [inode.atime(), inode.ctime(), inode.mtime()] {
        assert!(time.nsec < 1_000_000_000);
        assert!((-(1_i64 << 31)..1 << 34).contains(&time.sec));
    }
    match inode.content() {
        Content::Extents(root) => assert!(Node::root(volume, root).is_ok()),
        Content::Target(target) => {
            assert_eq!(target.bytes().len() as u64, inode.size());
            assert!(!target.bytes().is_empty() && !target.bytes().contains(&0));
        }
        Content::Device(device) => assert!(device.major < 1 << 12 && device.minor < 1 << 20),
        Content::BlockMap | Content::Nothing => (),
    }
    assert!(inode.flags().contains(Flags::EXTENTS) || inode.extents(volume).is_err());
}
