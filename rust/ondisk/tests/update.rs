// SPDX-License-Identifier: GPL-2.0

//! Superblocks are changed where they are to be changed, and nowhere else.

use damage::{
    Crc,
    Numbers, //
};
use ondisk::{
    Cause,
    Compat,
    Crc32c,
    Error,
    ErrorRecord,
    Free,
    Incident,
    Incidents,
    Incompat,
    Pblk,
    RoCompat,
    State,
    Structure,
    Superblock,
    Update, //
};

/// A superblock as bytes.
type Bytes = [u8; Superblock::LEN];

const DEFAULT: &Bytes = include_bytes!("default.superblock");

const MAX_TIME: u64 = (1 << 40) - 1;

fn put<const N: usize>(bytes: &mut Bytes, offset: usize, field: [u8; N]) {
    bytes[offset..offset + N].copy_from_slice(&field);
}

fn get_u32(bytes: &Bytes, offset: usize) -> u32 {
    u32::from_le_bytes(bytes[offset..offset + 4].try_into().unwrap())
}

/// The default superblock after `change`, its checksum put right if it has one.
fn superblock(change: impl FnOnce(&mut Bytes)) -> Bytes {
    let mut bytes = *DEFAULT;
    change(&mut bytes);
    if get_u32(&bytes, 0x64) & RoCompat::METADATA_CSUM.bits() != 0 {
        let sum = Crc::crc32c(!0, &bytes[..0x3fc]);
        put(&mut bytes, 0x3fc, sum.to_le_bytes());
    }
    bytes
}

/// Where bytes differ.
fn changes(before: &Bytes, after: &Bytes) -> Vec<usize> {
    (0..before.len())
        .filter(|n| before[*n] != after[*n])
        .collect()
}

#[test]
fn no_change_changes_nothing() {
    let mut bytes = *DEFAULT;
    let volume = Update::default().apply::<Crc>(&mut bytes).unwrap();
    assert_eq!(bytes, *DEFAULT);
    assert_eq!(volume, Superblock::parse::<Crc>(DEFAULT).unwrap());
}

#[test]
fn after_recovery_only_the_flag_and_the_checksum_differ() {
    let before = superblock(|bytes| bytes[0x60] |= Incompat::RECOVER.bits() as u8);
    let mut after = before;
    let update = Update {
        needs_recovery: Some(false),
        ..Update::default()
    };
    let volume = update.apply::<Crc>(&mut after).unwrap();
    assert_eq!(volume, Superblock::parse::<Crc>(DEFAULT).unwrap());
    assert_eq!(after, *DEFAULT);
    assert_eq!(changes(&before, &after), [0x60, 0x3fc, 0x3fd, 0x3fe, 0x3ff]);
}

#[test]
fn without_checksums_none_is_written() {
    let before = superblock(|bytes| {
        let ro_compat = get_u32(bytes, 0x64) & !RoCompat::METADATA_CSUM.bits();
        put(bytes, 0x64, ro_compat.to_le_bytes());
        let incompat = get_u32(bytes, 0x60) & !Incompat::CSUM_SEED.bits();
        put(bytes, 0x60, incompat.to_le_bytes());
        put(bytes, 0x3fc, [0; 4]);
    });
    let mut after = before;
    let update = Update {
        error: true,
        ..Update::default()
    };
    let volume = update.apply::<Crc>(&mut after).unwrap();
    assert!(volume.state().contains(State::ERROR));
    assert_eq!(changes(&before, &after), [0x3a]);
}

#[test]
fn what_cannot_be_read_stays_as_it_is() {
    let refused = |before: Bytes, update: Update| {
        let mut after = before;
        let error = update.apply::<Crc>(&mut after).unwrap_err();
        assert_eq!(after, before);
        error
    };
    // Before: a wrong checksum is not put right.
    let mut damaged = *DEFAULT;
    damaged[0x200] ^= 1;
    assert!(matches!(
        refused(damaged, Update::default()),
        Error::BadChecksum {
            structure: Structure::Superblock,
            ..
        }
    ));
    // Afterwards: what is not there cannot be replayed.
    let unjournaled = superblock(|bytes| {
        let compat = get_u32(bytes, 0x5c) & !Compat::HAS_JOURNAL.bits();
        put(bytes, 0x5c, compat.to_le_bytes());
    });
    let update = Update {
        needs_recovery: Some(true),
        ..Update::default()
    };
    assert!(matches!(
        refused(unjournaled, update),
        Error::Corrupt {
            field: "s_feature_incompat",
            ..
        }
    ));
}

fn maybe<T>(numbers: &mut Numbers, value: T) -> Option<T> {
    (numbers.below(2) == 0).then_some(value)
}

/// A time, sometimes one that the format cannot hold.
fn time(numbers: &mut Numbers) -> u64 {
    numbers.next() >> numbers.below(64)
}

/// A superblock with other values wherever the format allows any.
fn random_superblock(numbers: &mut Numbers) -> Bytes {
    superblock(|bytes| {
        for range in [0x2c..0x38, 0x3a..0x48, 0x120..0x150, 0x178..0x24c] {
            bytes[range].fill_with(|| numbers.next() as u8);
        }
        bytes[0x274..0x27c].fill_with(|| numbers.next() as u8);
        bytes[0x2a0..0x3fc].fill_with(|| numbers.next() as u8);
        put(bytes, 0x38, 0xef53_u16.to_le_bytes());
        let recover = Incompat::RECOVER.bits() * (numbers.below(2) as u32);
        let incompat = get_u32(bytes, 0x60) | recover;
        put(bytes, 0x60, incompat.to_le_bytes());
        let orphans = RoCompat::ORPHAN_PRESENT.bits() * (numbers.below(2) as u32);
        let ro_compat = get_u32(bytes, 0x64) | orphans;
        put(bytes, 0x64, ro_compat.to_le_bytes());
    })
}

#[test]
fn whatever_is_changed_is_read_back() {
    for seed in 0..20_000 {
        let mut numbers = Numbers(seed);
        let before = random_superblock(&mut numbers);
        let (mounted, written) = (time(&mut numbers), time(&mut numbers));
        let (needs_recovery, orphan_present) = (numbers.below(2) == 0, numbers.below(2) == 0);
        let others = random_superblock(&mut numbers);
        let update = Update {
            needs_recovery: maybe(&mut numbers, needs_recovery),
            orphan_present: maybe(&mut numbers, orphan_present),
            error: numbers.below(2) == 0,
            error_record: maybe(&mut numbers, ErrorRecord::of(&others)),
            mounted: maybe(&mut numbers, mounted),
            written: maybe(&mut numbers, written),
            ..Update::default()
        };

        let old = Superblock::parse::<Crc>(&before).unwrap();
        let mut after = before;
        let new = update.apply::<Crc>(&mut after).unwrap();
        assert_eq!(Superblock::parse::<Crc>(&after), Ok(new.clone()));

        // What it says.
        let recover = |volume: &Superblock| volume.features().incompat.contains(Incompat::RECOVER);
        let expected = update.needs_recovery.unwrap_or(recover(&old));
        assert_eq!(recover(&new), expected, "seed {seed}");
        let orphans = |volume: &Superblock| {
            let ro_compat = volume.features().ro_compat;
            ro_compat.contains(RoCompat::ORPHAN_PRESENT)
        };
        let expected = update.orphan_present.unwrap_or(orphans(&old));
        assert_eq!(orphans(&new), expected, "seed {seed}");
        let expected = update.error || old.state().contains(State::ERROR);
        assert_eq!(new.state().contains(State::ERROR), expected);
        let (old, new) = (old.settings(), new.settings());
        let time = |time: u64| time.min(MAX_TIME);
        assert_eq!(new.mounted(), update.mounted.map_or(old.mounted(), time));
        assert_eq!(new.written(), update.written.map_or(old.written(), time));

        // And what it does not.
        let mut allowed: Vec<_> = (0x3fc..0x400).collect();
        if update.needs_recovery.is_some() {
            allowed.push(0x60);
        }
        if update.orphan_present.is_some() {
            allowed.push(0x66);
        }
        if update.error {
            allowed.push(0x3a);
        }
        let record = update.error_record.unwrap_or(ErrorRecord::of(&before));
        assert_eq!(ErrorRecord::of(&after), record, "seed {seed}");
        if update.error_record.is_some() {
            allowed.extend(0x194..0x200);
        }
        if update.mounted.is_some() {
            allowed.extend((0x2c..0x30).chain(0x34..0x36).chain([0x275]));
        }
        if update.written.is_some() {
            allowed.extend((0x30..0x34).chain([0x274]));
        }
        let changed = changes(&before, &after);
        assert!(changed.iter().all(|n| allowed.contains(n)), "seed {seed}");
    }
}

#[test]
fn mounts_are_counted_to_the_most() {
    let count = |from: u16| {
        let mut bytes = superblock(|bytes| put(bytes, 0x34, from.to_le_bytes()));
        let update = Update {
            mounted: Some(0),
            ..Update::default()
        };
        update.apply::<Crc>(&mut bytes).unwrap();
        u16::from_le_bytes([bytes[0x34], bytes[0x35]])
    };
    assert_eq!(
        [0, 0xff, 0xfffe, 0xffff].map(count),
        [1, 0x100, 0xffff, 0xffff]
    );
}

#[test]
fn what_is_free_and_the_first_orphan_are_written() {
    let volume = Superblock::parse::<Crc>(DEFAULT).unwrap();
    let free = Free {
        clusters: volume.settings().free_clusters() - 1,
        inodes: volume.settings().free_inodes() - 1,
    };
    let mut bytes = *DEFAULT;
    let update = Update {
        free: Some(free),
        last_orphan: Some(volume.ino(12)),
        ..Update::default()
    };
    let after = update.apply::<Crc>(&mut bytes).unwrap();
    assert_eq!(after.settings().free_clusters(), free.clusters);
    assert_eq!(after.settings().free_inodes(), free.inodes);
    assert_eq!(after.settings().last_orphan(), volume.ino(12));
    let back = Update {
        free: Some(Free {
            clusters: volume.settings().free_clusters(),
            inodes: volume.settings().free_inodes(),
        }),
        last_orphan: Some(None),
        ..Update::default()
    };
    back.apply::<Crc>(&mut bytes).unwrap();
    assert_eq!(bytes, *DEFAULT);
}

fn incident(volume: &Superblock, number: u32) -> Incident {
    let mut text = [0; Incident::TEXT_LEN];
    text[..4].copy_from_slice(&number.to_le_bytes());
    Incident {
        time: 0x12_3456_7800 + u64::from(number),
        ino: volume.ino(number).unwrap(),
        pblk: Some(Pblk(0x1_0000_0000 + u64::from(number))),
        cause: Cause::Checksum,
        text,
    }
}

#[test]
fn of_errors_the_first_one_and_the_last_are_noted_and_all_are_counted() {
    let volume = Superblock::parse::<Crc>(DEFAULT).unwrap();
    let note = |bytes: &mut Bytes, incidents| {
        let update = Update {
            incidents: Some(incidents),
            ..Update::default()
        };
        let after = update.apply::<Crc>(bytes).unwrap();
        assert!(after.state().contains(State::ERROR));
    };
    let mut bytes = *DEFAULT;
    let three = Incidents::one(incident(&volume, 11))
        .with(incident(&volume, 12))
        .with(incident(&volume, 13));
    note(&mut bytes, three);
    assert_eq!(ErrorRecord::of(&bytes).count(), 3);
    note(&mut bytes, Incidents::one(incident(&volume, 14)));
    assert_eq!(ErrorRecord::of(&bytes).count(), 4);
    for (number, time, ino, line, block, text, others) in [
        (11, 0x198, 0x19c, 0x1c8, 0x1a0, 0x1a8, 0x278),
        (14, 0x1cc, 0x1d0, 0x1d4, 0x1d8, 0x1e0, 0x279),
    ] {
        assert_eq!(get_u32(&bytes, time), 0x3456_7800 + number);
        assert_eq!([bytes[others], bytes[others + 2]], [0x12, 4]);
        assert_eq!(get_u32(&bytes, ino), number);
        assert_eq!(get_u32(&bytes, line), 0);
        assert_eq!(
            [get_u32(&bytes, block), get_u32(&bytes, block + 4)],
            [number, 1]
        );
        assert_eq!(get_u32(&bytes, text), number);
        assert!(bytes[text + 4..text + 32].iter().all(|byte| *byte == 0));
    }
    let allowed = |n: &usize| {
        (0x194..0x200).contains(n) || (0x278..0x27c).contains(n) || *n == 0x3a || *n >= 0x3fc
    };
    assert!(changes(DEFAULT, &bytes).iter().all(allowed));

    assert_eq!(three.without(3), None);
    let left = three.without(2).unwrap();
    assert_eq!((left.count, left.last), (1, three.last));
    let mut bytes = superblock(|bytes| bytes[0x194..0x198].fill(0xff));
    note(&mut bytes, three);
    assert_eq!(ErrorRecord::of(&bytes).count(), u32::MAX);
}
