// SPDX-License-Identifier: GPL-2.0

//! Inodes.

use crate::support::{
    extent_record,
    extent_root,
    ino,
    parse_inode,
    put,
    volume_with,
    volume_without, //
};
use damage::{
    Crc,
    Numbers, //
};
use ondisk::{
    inode::{
        make_room,
        Content,
        Device,
        Fields,
        Flags,
        Target,
        Time,
        Type, //
    },
    Incompat,
    Pblk,
    RoCompat,
    Superblock, //
};

const TYPES: [Type; 7] = [
    Type::Regular,
    Type::Directory,
    Type::CharDevice,
    Type::BlockDevice,
    Type::Fifo,
    Type::Socket,
    Type::Symlink,
];

/// Where the fields end that there is room for.
#[derive(Clone, Copy)]
struct Room(usize);

impl Room {
    fn for_field(self, end: usize) -> bool {
        self.0 >= end
    }
}

/// A number of up to that many bits, small ones as often as large ones.
fn some(numbers: &mut Numbers, bits: usize) -> u64 {
    let shift = 64 - 1 - numbers.below(bits);
    numbers.next() >> shift
}

fn time(numbers: &mut Numbers, has_extra: bool) -> Time {
    let sec = i64::from(numbers.next() as i32);
    if has_extra {
        Time {
            sec: sec + ((numbers.below(4) as i64) << 32),
            nsec: numbers.below(1_000_000_000) as u32,
        }
    } else {
        Time { sec, nsec: 0 }
    }
}

fn some_fields(volume: &Superblock, numbers: &mut Numbers, room: Room) -> Fields {
    let file_type = numbers.pick(&TYPES);
    let root = extent_root(0, &[extent_record(0, 3, 100)]);
    let xattr_block = (numbers.below(2) == 0).then_some(Pblk(1 + numbers.below(16000) as u64));
    let block = u64::from(volume.block_size().bytes().get());
    let mut flags = Flags::from_bits(0);
    for flag in [Flags::SYNC, Flags::NODUMP, Flags::NOATIME, Flags::DAX] {
        if numbers.below(4) == 0 {
            flags = flags.with(flag);
        }
    }
    let huge_file = volume.features().ro_compat.contains(RoCompat::HUGE_FILE);
    let mut sectors = some(numbers, if huge_file { 48 } else { 32 });
    if huge_file && numbers.below(4) == 0 {
        flags = flags.with(Flags::HUGE_FILE);
        sectors *= block / 512;
    }
    let device = Device {
        major: some(numbers, 12) as u32,
        minor: some(numbers, 20) as u32,
    };
    let (size, content) = match file_type {
        Type::Regular => (some(numbers, 44), Content::Extents(root)),
        Type::Directory => ((1 + some(numbers, 10)) * block, Content::Extents(root)),
        Type::Symlink if numbers.below(2) == 0 => {
            let len = 1 + numbers.below(59);
            let target: Vec<_> = (0..len).map(|_| numbers.next() as u8 | 1).collect();
            sectors = xattr_block.map_or(0, |_| block / 512);
            flags = flags.without(Flags::HUGE_FILE);
            (len as u64, Content::Target(Target::short(&target).unwrap()))
        }
        Type::Symlink => {
            // With a block more than that of the attributes.
            sectors = 8 * block / 512;
            (60 + some(numbers, 9), Content::Extents(root))
        }
        Type::CharDevice | Type::BlockDevice => (0, Content::Device(device)),
        Type::Fifo | Type::Socket => (0, Content::Nothing),
    };
    if matches!(content, Content::Extents(_)) {
        flags = flags.with(Flags::EXTENTS);
    }
    Fields {
        file_type,
        permissions: numbers.below(0o10000) as u16,
        uid: some(numbers, 32) as u32,
        gid: some(numbers, 32) as u32,
        size,
        sectors,
        links: 1 + numbers.below(65535) as u16,
        flags,
        generation: some(numbers, 32) as u32,
        version: some(numbers, if room.for_field(0x9c) { 64 } else { 32 }),
        projid: if room.for_field(0xa0) {
            some(numbers, 32) as u32
        } else {
            0
        },
        atime: time(numbers, room.for_field(0x90)),
        ctime: time(numbers, room.for_field(0x88)),
        mtime: time(numbers, room.for_field(0x8c)),
        crtime: room
            .for_field(0x94)
            .then(|| time(numbers, room.for_field(0x98))),
        dtime: some(numbers, 32) as u32,
        xattr_block,
        content,
    }
}

/// Volumes with inodes of that many bytes.
fn volumes(len: u16) -> [Superblock; 4] {
    let with_len = |volume: Superblock| {
        let features = volume.features();
        volume_with(|bytes| {
            put(bytes, 0x58, len.to_le_bytes());
            put(bytes, 0x5c, features.compat.bits().to_le_bytes());
            put(bytes, 0x60, features.incompat.bits().to_le_bytes());
            put(bytes, 0x64, features.ro_compat.bits().to_le_bytes());
        })
        .unwrap()
    };
    [
        with_len(crate::support::volume()),
        with_len(volume_without(0x64, RoCompat::HUGE_FILE.bits())),
        with_len(volume_without(0x60, Incompat::BIT64.bits())),
        with_len(crate::support::volume_without_checksums()),
    ]
}

#[test]
fn whatever_is_encoded_is_read_back() {
    for (len, extra) in [
        (128, 0),
        (256, 0),
        (256, 4),
        (256, 24),
        (256, 28),
        (256, 32),
        (512, 32),
        (1024, 96),
    ] {
        let room = Room(128 + usize::from(extra));
        for volume in volumes(len) {
            for seed in 0..2_000 {
                let numbers = &mut Numbers(seed);
                let fields = some_fields(&volume, numbers, room);
                let number = ino(&volume, 11 + numbers.below(1000) as u32);
                let mut bytes = vec![0xff; len.into()];
                let new = fields
                    .encode_new::<Crc>(&volume, number, extra, &mut bytes)
                    .unwrap_or_else(|| panic!("seed {seed}, {len} bytes: {fields:?}"));
                assert_eq!(new.fields(), fields);
                assert_eq!(new.ino(), number);
                assert_eq!(parse_inode(&volume, number.get(), &bytes), Ok(Some(new)));

                // And over another one, of which the rest stays.
                let kept = [
                    0x70..0x74,
                    0x7e..0x80,
                    (128 + usize::from(extra)).max(160)..len.into(),
                ];
                for range in &kept {
                    for byte in bytes.get_mut(range.clone()).unwrap_or_default() {
                        *byte = numbers.next() as u8;
                    }
                }
                let before = bytes.clone();
                let fields = some_fields(&volume, numbers, room);
                let new = fields.encode::<Crc>(&volume, number, &mut bytes).unwrap();
                assert_eq!(new.fields(), fields);
                assert_eq!(parse_inode(&volume, number.get(), &bytes), Ok(Some(new)));
                for range in kept {
                    assert_eq!(bytes.get(range.clone()), before.get(range));
                }
            }
        }
    }
}

#[test]
fn values_without_room_are_not_encoded() {
    let [volume, no_huge_file, ..] = volumes(128);
    let regular = Fields {
        file_type: Type::Regular,
        ..some_fields(&volume, &mut Numbers(3), Room(128))
    };
    let regular = Fields {
        content: Content::Extents(extent_root(0, &[])),
        flags: Flags::EXTENTS,
        size: 5,
        sectors: 8,
        ..regular
    };
    let encoded = |volume: &Superblock, fields: Fields| {
        let number = ino(volume, 20);
        let bytes = &mut vec![0; volume.inode_size().into()];
        fields.encode_new::<Crc>(volume, number, 0, bytes).is_some()
    };
    assert!(encoded(&volume, regular));
    let time = |sec, nsec| Time { sec, nsec };
    for wrong in [
        Fields {
            permissions: 0o10000,
            ..regular
        },
        Fields {
            size: 1 << 44,
            ..regular
        },
        Fields {
            sectors: 1 << 48,
            ..regular
        },
        Fields {
            sectors: 9,
            flags: regular.flags.with(Flags::HUGE_FILE),
            ..regular
        },
        Fields {
            version: 1 << 32,
            ..regular
        },
        Fields {
            projid: 1,
            ..regular
        },
        Fields {
            atime: time(1 << 31, 0),
            ..regular
        },
        Fields {
            ctime: time(-(1 << 31) - 1, 0),
            ..regular
        },
        Fields {
            mtime: time(0, 1),
            ..regular
        },
        Fields {
            mtime: time(0, 1_000_000_000),
            ..regular
        },
        Fields {
            crtime: Some(time(0, 0)),
            ..regular
        },
        Fields {
            xattr_block: Some(Pblk(0)),
            ..regular
        },
        Fields {
            xattr_block: Some(Pblk(16384)),
            ..regular
        },
        Fields {
            xattr_block: Some(Pblk(1 << 48)),
            ..regular
        },
        Fields {
            content: Content::Nothing,
            ..regular
        },
        Fields {
            flags: regular.flags.with(Flags::INLINE_DATA),
            ..regular
        },
        Fields {
            file_type: Type::Directory,
            ..regular
        },
        Fields {
            file_type: Type::Symlink,
            size: 0,
            ..regular
        },
        Fields {
            file_type: Type::CharDevice,
            ..regular
        },
    ] {
        assert!(!encoded(&volume, wrong), "{wrong:?}");
    }
    let many = Fields {
        sectors: 1 << 32,
        ..regular
    };
    assert!(encoded(&volume, many));
    assert!(!encoded(&no_huge_file, many));

    // With room for the newer fields, they are there.
    let [volume, ..] = volumes(256);
    let number = ino(&volume, 20);
    let bytes = &mut vec![0; 256];
    let mut encode = |fields: Fields, extra| {
        fields
            .encode_new::<Crc>(&volume, number, extra, bytes)
            .is_some()
    };
    let born = Fields {
        crtime: Some(time(0, 0)),
        ..regular
    };
    assert!(encode(born, 32));
    assert!(!encode(regular, 32));
    assert!(!encode(born, 16));
    assert!(!encode(born, 30));
    assert!(!encode(born, 132));
}

#[test]
fn what_is_cut_has_room() {
    for (len, extra) in [
        (128, 0),
        (256, 0),
        (256, 4),
        (256, 8),
        (256, 12),
        (256, 16),
        (256, 20),
        (256, 24),
        (256, 28),
        (256, 32),
        (512, 64),
    ] {
        let [volume, ..] = volumes(len);
        for seed in 0..500 {
            let numbers = &mut Numbers(seed);
            let number = ino(&volume, 20);
            let before = some_fields(&volume, numbers, Room(128 + usize::from(extra)));
            let mut bytes = vec![0; len.into()];
            before
                .encode_new::<Crc>(&volume, number, extra, &mut bytes)
                .unwrap();
            // What nobody has taken can be anything.
            let behind = if extra == 0 {
                130
            } else {
                160.max(128 + extra)
            };
            for byte in bytes.get_mut(behind.into()..).unwrap_or_default() {
                *byte = numbers.next() as u8;
            }
            let rest = bytes.get(behind.into()..).unwrap_or_default().to_vec();

            make_room(&mut bytes);
            let wanted = Fields {
                projid: before.projid,
                crtime: before.crtime,
                ..some_fields(&volume, numbers, Room(160))
            };
            let mut cut = wanted;
            cut.cut(&bytes);
            let new = cut
                .encode::<Crc>(&volume, number, &mut bytes)
                .unwrap_or_else(|| panic!("seed {seed}, {extra} of {len} bytes: {wanted:?}"));
            assert_eq!(new.fields(), cut);
            if extra == 0 && len > 128 {
                assert_eq!(new.xattr_pos(), 160);
                assert_eq!(bytes[160..], vec![0; usize::from(len) - 160]);
                assert_eq!(new.crtime(), Some(Time { sec: 0, nsec: 0 }));
            } else {
                assert_eq!(new.xattr_pos(), 128 + usize::from(extra));
                assert_eq!(bytes.get(behind.into()..).unwrap_or_default(), rest);
            }
            // Nothing goes for which there is room.
            let room = Room(new.xattr_pos());
            for (time, cut, end) in [
                (wanted.ctime, cut.ctime, 0x88),
                (wanted.mtime, cut.mtime, 0x8c),
                (wanted.atime, cut.atime, 0x90),
            ] {
                assert_eq!(time == cut, room.for_field(end) || is_short(time));
            }
            assert_eq!(
                wanted.version == cut.version,
                room.for_field(0x9c) || wanted.version < 1 << 32
            );
            assert_eq!(
                Fields {
                    ctime: cut.ctime,
                    mtime: cut.mtime,
                    atime: cut.atime,
                    version: cut.version,
                    crtime: cut.crtime,
                    ..wanted
                },
                cut
            );
        }
    }
}

/// Whether 32 bits have room for a time.
fn is_short(time: Time) -> bool {
    time.nsec == 0 && i32::try_from(time.sec).is_ok()
}

#[test]
fn the_first_and_the_last_second_are_read_back() {
    let [volume, ..] = volumes(256);
    let fields = some_fields(&volume, &mut Numbers(1), Room(160));
    let read = |sec: i64| {
        let time = Time {
            sec,
            nsec: 999_999_999,
        };
        let fields = Fields {
            mtime: time,
            ..fields
        };
        let bytes = &mut vec![0; 256];
        let inode = fields.encode_new::<Crc>(&volume, ino(&volume, 20), 32, bytes);
        inode.map(|inode| inode.mtime())
    };
    let first = -(1_i64 << 31);
    let last = (1_i64 << 34) - (1 << 31) - 1;
    for sec in [
        first,
        -1,
        0,
        (1 << 31) - 1,
        1 << 31,
        (1 << 32) - 1,
        1 << 32,
        last,
    ] {
        assert_eq!(
            read(sec),
            Some(Time {
                sec,
                nsec: 999_999_999
            })
        );
    }
    for sec in [first - 1, last + 1, i64::MIN, i64::MAX] {
        assert_eq!(read(sec), None);
    }
}
