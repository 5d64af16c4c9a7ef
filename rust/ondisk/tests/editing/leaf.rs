// SPDX-License-Identifier: GPL-2.0

//! One block of names.

use crate::{
    name,
    number,
    support::{
        corrupt,
        damage,
        damaged,
        dir_block,
        directory,
        get_u16,
        get_u32,
        ino,
        inode_seed,
        put,
        seal_dir_block,
        volume,
        volume_without,
        volume_without_checksums,
        GENERATION, //
    },
    TYPES, //
};
use damage::{
    Crc,
    Numbers, //
};
use ondisk::{
    dir::{
        room,
        Leaf,
        LeafMut,
        NewEntry, //
    },
    inode::Type,
    Block,
    Error,
    Incompat,
    Inode,
    Lblk,
    Structure,
    Superblock, //
};
use std::collections::BTreeMap;

const INO: u32 = 20;

/// A block beside the names that it should have.
struct Model<'a> {
    volume: &'a Superblock,
    dir: Inode,
    lblk: Lblk,
    bytes: Vec<u8>,
    names: BTreeMap<Vec<u8>, (u32, Type)>,
}

impl<'a> Model<'a> {
    fn new(volume: &'a Superblock, len: usize, lblk: u32) -> Self {
        let dots: [(u32, u8, &[u8]); 2] = [(INO, 2, b"."), (2, 2, b"..")];
        let has_types = volume.features().incompat.contains(Incompat::FILETYPE);
        let names: Vec<_> = match lblk {
            0 => dots
                .map(|(ino, number, name)| (ino, number * u8::from(has_types), name))
                .into(),
            _ => vec![(0, 0, &b""[..])],
        };
        let dir = directory(volume, INO, 8, 0);
        let checksum = room(&dir, len) != Some(len);
        let mut bytes = dir_block(len, checksum, &names);
        if checksum {
            seal_dir_block(inode_seed(volume, INO, GENERATION), &mut bytes);
        }
        Self {
            volume,
            dir,
            lblk: Lblk(lblk),
            bytes,
            names: BTreeMap::new(),
        }
    }

    fn change<R>(&mut self, change: impl FnOnce(&mut LeafMut<'_>) -> R) -> R {
        let (dir, lblk) = (&self.dir, self.lblk);
        let leaf = LeafMut::check::<Crc>(self.volume, dir, lblk, &mut self.bytes);
        change(&mut leaf.unwrap())
    }

    fn leaf(&self) -> Leaf<'_> {
        let block = Block::new(&self.bytes).unwrap();
        Leaf::parse::<Crc>(self.volume, &self.dir, self.lblk, block).unwrap()
    }

    /// Bytes to spare: the most behind one name, and all.
    fn spare(&self) -> (usize, usize) {
        let (mut most, mut all, mut pos) = (0, 0, 0);
        while pos < room(&self.dir, self.bytes.len()).unwrap() {
            let len = usize::from(get_u16(&self.bytes, pos + 4));
            let needed = (8 + usize::from(self.bytes[pos + 6])).next_multiple_of(4);
            let spare = match get_u32(&self.bytes, pos) {
                0 => len,
                _ => len - needed,
            };
            most = most.max(spare);
            all += spare;
            pos += len;
        }
        (most, all)
    }

    fn check(&self) {
        let leaf = self.leaf();
        let has_types = self.volume.features().incompat.contains(Incompat::FILETYPE);
        let mut expected = self.names.clone();
        let entries = leaf.entries().map(Result::unwrap);
        for (n, entry) in entries.enumerate() {
            if self.lblk == Lblk(0) && n < 2 {
                assert_eq!(entry.name(), [&b"."[..], b".."][n]);
                continue;
            }
            let (number, file_type) = expected.remove(entry.name()).expect("a name that is gone");
            assert_eq!(entry.ino().get(), number);
            assert_eq!(entry.file_type(), has_types.then_some(file_type));
        }
        assert_eq!(expected, BTreeMap::new());
        assert_eq!(leaf.is_empty(), Ok(self.names.is_empty()));
    }
}

#[test]
fn names_come_and_go_as_in_a_map() {
    let untyped = volume_without(0x60, Incompat::FILETYPE.bits());
    let volumes = [volume(), volume_without_checksums(), untyped];
    let (mut added, mut packed, mut full) = (0, 0, 0);
    for seed in 0..600 {
        let numbers = &mut Numbers(seed);
        let volume = &volumes[numbers.below(3)];
        let len = numbers.pick(&[1024, 2048, 4096]);
        let mut model = Model::new(volume, len, numbers.below(2) as u32);
        let max = numbers.pick(&[8, 30, 255]);
        for _ in 0..300 {
            let known: Vec<_> = model.names.keys().cloned().collect();
            let old = (!known.is_empty()).then(|| known[numbers.below(known.len())].clone());
            let (new, number) = (name(numbers, max), number(numbers));
            let file_type = numbers.pick(&TYPES);
            let before = model.bytes.clone();
            let entry = |name| NewEntry {
                ino: ino(volume, number),
                file_type,
                name,
            };
            let done = match (numbers.below(7), old) {
                (0, Some(old)) => {
                    assert_eq!(
                        model.change(|leaf| leaf.replace::<Crc>(&entry(&old))),
                        Some(())
                    );
                    model.names.insert(old, (number, file_type));
                    true
                }
                (1 | 2, Some(old)) => {
                    assert_eq!(model.change(|leaf| leaf.remove::<Crc>(&old)), Some(()));
                    model.names.remove(&old);
                    // What somebody deleted is not to be read from the disk.
                    let left = model.bytes.windows(old.len()).any(|part| part == old);
                    let elsewhere = |name: &Vec<u8>| name.windows(old.len()).any(|p| p == old);
                    assert!(!left || old.len() < 8 || model.names.keys().any(elsewhere));
                    true
                }
                _ if model.names.contains_key(&new) => {
                    assert_eq!(model.change(|leaf| leaf.remove::<Crc>(&new)), Some(()));
                    model.names.remove(&new);
                    true
                }
                (what, _) => {
                    let needed = (8 + new.len()).next_multiple_of(4);
                    let (most, all) = model.spare();
                    let (may_pack, entry) = (what > 4, entry(&new));
                    let has_room = model.leaf().has_room(&entry).unwrap();
                    let done = model.change(|leaf| match may_pack {
                        true => leaf.insert_packed::<Crc>(&entry),
                        false => leaf.insert::<Crc>(&entry),
                    });
                    let fits = needed <= if may_pack { all } else { most };
                    assert_eq!(done.is_some(), fits, "seed {seed}");
                    assert_eq!(has_room, needed <= most);
                    added += u32::from(fits);
                    packed += u32::from(fits && !has_room);
                    full += u32::from(!fits);
                    if fits {
                        model.names.insert(new, (number, file_type));
                    }
                    fits
                }
            };
            assert!(done || model.bytes == before);
            model.check();
        }
    }
    println!("{added} added, {packed} of them packed, {full} without room");
    assert!(added > 10_000 && packed > 500 && full > 1_000);
}

#[test]
fn what_cannot_be_done_changes_nothing() {
    let volume = volume();
    let mut model = Model::new(&volume, 1024, 0);
    let entry = |number: u32, file_type, name| NewEntry {
        ino: ino(&volume, number),
        file_type,
        name,
    };
    let file = |name| entry(30, Type::Regular, name);
    assert!(model
        .change(|leaf| leaf.insert::<Crc>(&file(b"name")))
        .is_some());
    let before = model.bytes.clone();
    for wrong in [&b""[..], b".", b"..", b"a/b", b"a\0", &[b'n'; 256]] {
        let inserted = model.change(|leaf| leaf.insert::<Crc>(&file(wrong)));
        assert_eq!(inserted, None, "{wrong:?}");
        let inserted = model.change(|leaf| leaf.insert_packed::<Crc>(&file(wrong)));
        assert_eq!(inserted, None);
    }
    let reserved = entry(10, Type::Regular, b"other");
    assert_eq!(model.change(|leaf| leaf.insert::<Crc>(&reserved)), None);
    let reserved = entry(10, Type::Regular, b"name");
    assert_eq!(model.change(|leaf| leaf.replace::<Crc>(&reserved)), None);
    assert_eq!(
        model.change(|leaf| leaf.replace::<Crc>(&file(b"other"))),
        None
    );
    let directory = entry(30, Type::Directory, b".");
    assert_eq!(model.change(|leaf| leaf.replace::<Crc>(&directory)), None);
    assert_eq!(model.change(|leaf| leaf.replace::<Crc>(&file(b".."))), None);
    for name in [&b"."[..], b"..", b"other", b""] {
        assert_eq!(model.change(|leaf| leaf.remove::<Crc>(name)), None);
    }
    assert_eq!(model.bytes, before);

    let above = entry(40, Type::Directory, b"..");
    assert!(model.change(|leaf| leaf.replace::<Crc>(&above)).is_some());
    let parent = model.leaf().find(b"..").unwrap().unwrap();
    assert_eq!(
        (parent.ino().get(), model.leaf().is_empty()),
        (40, Ok(false))
    );
}

#[test]
fn a_name_takes_the_first_place_that_is_long_enough() {
    let volume = volume();
    let mut model = Model::new(&volume, 1024, 1);
    let insert = |model: &mut Model<'_>, name: &[u8]| {
        let entry = NewEntry {
            ino: ino(&volume, 30),
            file_type: Type::Regular,
            name,
        };
        model.change(|leaf| leaf.insert::<Crc>(&entry)).unwrap();
        model.leaf().find(name).unwrap().unwrap().pos()
    };
    for (name, pos) in [(&b"a"[..], 0), (b"bb", 12), (b"eight by", 24), (b"d", 40)] {
        assert_eq!(insert(&mut model, name), pos);
    }
    // Behind another one, whose entry then has its place, too.
    model.change(|leaf| leaf.remove::<Crc>(b"bb")).unwrap();
    assert_eq!(insert(&mut model, b"eight by, again"), 52);
    assert_eq!(insert(&mut model, b"b"), 12);
    // The first, which nobody then has.
    model.change(|leaf| leaf.remove::<Crc>(b"a")).unwrap();
    model.change(|leaf| leaf.remove::<Crc>(b"b")).unwrap();
    assert_eq!(insert(&mut model, b"twelve bytes"), 0);
}

#[test]
fn no_name_comes_between_a_directory_and_the_one_above() {
    let volume = volume();
    let mut model = Model::new(&volume, 1024, 0);
    // Longer than it has to be.
    put(&mut model.bytes, 4, 40_u16.to_le_bytes());
    model.bytes.copy_within(12..40, 40);
    put(&mut model.bytes, 44, (1012_u16 - 40).to_le_bytes());
    seal_dir_block(inode_seed(&volume, INO, GENERATION), &mut model.bytes);
    model.check();
    let entry = NewEntry {
        ino: ino(&volume, 30),
        file_type: Type::Regular,
        name: b"name",
    };
    model.change(|leaf| leaf.insert::<Crc>(&entry)).unwrap();
    model.names.insert(b"name".to_vec(), (30, Type::Regular));
    model.check();
}

#[test]
fn only_sound_blocks_are_changed() {
    let volume = volume();
    let check = |model: &mut Model<'_>| {
        let (dir, lblk) = (&model.dir, model.lblk);
        LeafMut::check::<Crc>(&volume, dir, lblk, &mut model.bytes).map(|_| ())
    };
    // An entry behind which nobody looks for a name is checked, too.
    let mut model = Model::new(&volume, 1024, 1);
    for name in [b"name 1", b"name 2", b"name 3"] {
        let entry = NewEntry {
            ino: ino(&volume, 30),
            file_type: Type::Regular,
            name,
        };
        model.change(|leaf| leaf.insert::<Crc>(&entry)).unwrap();
    }
    let pos = model.leaf().find(b"name 3").unwrap().unwrap().pos();
    put(&mut model.bytes, pos, 5_u32.to_le_bytes());
    let result = check(&mut model);
    assert!(matches!(result, Err(Error::BadChecksum { .. })));
    seal_dir_block(inode_seed(&volume, INO, GENERATION), &mut model.bytes);
    assert_eq!(check(&mut model), corrupt(Structure::Directory, "inode", 5));
    model.bytes.truncate(1000);
    assert_eq!(
        check(&mut model),
        corrupt(Structure::Directory, "rec_len", 1000)
    );
}

#[test]
fn damaged_blocks_are_refused_or_stay_sound() {
    let volumes = [volume(), volume_without_checksums()];
    damaged(20_000, |numbers| {
        let volume = &volumes[numbers.below(2)];
        let mut model = Model::new(volume, 1024, numbers.below(2) as u32);
        let mut names = vec![];
        for _ in 0..numbers.below(12) {
            let name = name(numbers, 80);
            let entry = NewEntry {
                ino: ino(volume, number(numbers)),
                file_type: numbers.pick(&TYPES),
                name: &name,
            };
            model.change(|leaf| leaf.insert::<Crc>(&entry));
            names.push(name);
        }
        let fields: Vec<_> = (0..200).step_by(4).collect();
        damage(numbers, &mut model.bytes, &fields);
        if room(&model.dir, 1024) != Some(1024) {
            seal_dir_block(inode_seed(volume, INO, GENERATION), &mut model.bytes);
        }
        for _ in 0..6 {
            let new = name(numbers, 200);
            let entry = NewEntry {
                ino: ino(volume, number(numbers)),
                file_type: numbers.pick(&TYPES),
                name: &new,
            };
            let (dir, lblk) = (&model.dir, model.lblk);
            let leaf = LeafMut::check::<Crc>(volume, dir, lblk, &mut model.bytes);
            let Ok(mut leaf) = leaf else {
                return false;
            };
            match numbers.below(4) {
                0 => leaf.insert::<Crc>(&entry),
                1 => leaf.insert_packed::<Crc>(&entry),
                2 if !names.is_empty() => {
                    let name = &names[numbers.below(names.len())];
                    leaf.replace::<Crc>(&NewEntry { name, ..entry })
                }
                _ if !names.is_empty() => leaf.remove::<Crc>(&names[numbers.below(names.len())]),
                _ => None,
            };
            assert!(model.leaf().entries().all(|entry| entry.is_ok()));
        }
        true
    });
}
