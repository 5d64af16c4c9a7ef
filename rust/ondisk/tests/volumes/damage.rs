// SPDX-License-Identifier: GPL-2.0

//! Damaged volumes are refused, or read to the end without a panic.

use crate::{
    image::DEFAULT,
    numbers::Numbers,
    source::Source,
    walker::{
        Result,
        Volume,
        Wrong, //
    },
};
use ondisk::{
    inode::{
        Content,
        Type, //
    },
    Ino, //
};
use std::{
    collections::BTreeSet,
    fs,
    hash::{
        DefaultHasher,
        Hash,
        Hasher, //
    },
    panic, //
};

/// How many damaged volumes each test looks at.
const RUNS: u64 = 5_000;

/// What debugfs adds: attributes in an inode and in a block, and a preallocated file.
fn commands() -> String {
    let long = "v".repeat(300);
    format!("ea_set one user.comment remark\nea_set big user.long {long}\nfallocate empty 3 9\n")
}

/// Goes through all that can be reached from the root, and sums it up in a number.
fn walk(volume: &Volume<'_>) -> Result<u64> {
    let mut sum = DefaultHasher::new();
    let mut seen = BTreeSet::from([Ino::ROOT]);
    let mut dirs = vec![Ino::ROOT];
    while let Some(ino) = dirs.pop() {
        let dir = volume.inode(ino)?;
        let names = volume.names(&dir)?;
        assert!(names.len() < 100_000);
        for (n, (name, ino, file_type)) in names.into_iter().enumerate() {
            (&name, ino, format!("{file_type:?}")).hash(&mut sum);
            // Each takes a way through the tree.
            if n % 16 == 0 {
                volume.find(&dir, &name)?.hash(&mut sum);
            }
            if !seen.insert(ino) {
                continue;
            }
            let inode = volume.inode(ino)?;
            format!("{inode:?}").hash(&mut sum);
            volume.xattrs(ino)?.hash(&mut sum);
            if matches!(inode.content(), Content::Extents(_) | Content::BlockMap) {
                format!("{:?}", volume.extents(&inode)?).hash(&mut sum);
            }
            match inode.file_type() {
                Type::Directory => dirs.push(ino),
                Type::Symlink => volume.target(&inode)?.hash(&mut sum),
                _ => (),
            }
        }
    }
    Ok(sum.finish())
}

/// Walks a volume whose metadata `damage` changes again and again. Gives how often that did not
/// matter, changed what was read, and was refused.
fn walk_damaged(
    features: &str,
    damage: impl Fn(&mut Numbers, &mut [u8]) + panic::RefUnwindSafe,
) -> [u64; 3] {
    let source = Source::new(&format!("damage-{}", features.len()), 900, 400);
    // The same in every run, but for times.
    let hash_seed = "hash_seed=fedcba98-7654-3210-fedc-ba9876543210";
    let uuid = "01234567-89ab-cdef-0123-456789abcdef";
    let sizes = ["-b", "1024", "-I", "256", "-N", "128"];
    let options = [&["-O", features, "-U", uuid, "-E", hash_seed], &sizes[..]].concat();
    let image = source.image(8 << 20, &options, &commands());
    let mut bytes = fs::read(&image.0).unwrap();
    let whole = Volume::open(&bytes).unwrap();
    let sum = walk(&whole).unwrap();
    let metadata: Vec<_> = whole.metadata.borrow().iter().copied().collect();
    assert!(metadata.len() > 150);

    let mut counts = [0; 3];
    for seed in 0..RUNS {
        let mut numbers = Numbers(seed);
        let (start, len) = metadata[numbers.below(metadata.len())];
        let before = bytes[start..start + len].to_vec();
        damage(&mut numbers, &mut bytes[start..start + len]);
        let result = panic::catch_unwind(|| Volume::open(&bytes).and_then(|v| walk(&v)));
        bytes[start..start + len].copy_from_slice(&before);
        match result {
            Ok(Ok(again)) if again == sum => counts[0] += 1,
            Ok(Ok(_)) => counts[1] += 1,
            Ok(Err(Wrong::Format(error))) => {
                assert!(!error.to_string().is_empty());
                counts[2] += 1;
            }
            Ok(Err(_)) => counts[2] += 1,
            Err(_) => panic!("seed {seed}"),
        }
    }
    counts
}

#[test]
#[ignore = "needs mke2fs, e2fsck and debugfs"]
fn volumes_without_checksums_are_refused_or_read_to_the_end() {
    let features = "none,extent,dir_index,filetype,ext_attr,large_file,extra_isize";
    let [same, other, refused] = walk_damaged(features, |numbers, bytes| {
        for _ in 0..=numbers.below(3) {
            // Fields are at multiples of 2; most that matter come early.
            let most = bytes.len() >> numbers.below(5);
            let pos = numbers.below(most.max(2)) & !1;
            let value = match numbers.below(4) {
                0 => [0, 0],
                1 => [0xff, 0xff],
                2 => [bytes[pos] ^ (1 << numbers.below(8)), bytes[pos + 1]],
                _ => (numbers.next() as u16).to_le_bytes(),
            };
            bytes[pos..pos + 2].copy_from_slice(&value);
        }
    });
    println!("{same} same, {other} other, {refused} refused");
    // Otherwise this tests little.
    assert!(same > RUNS / 50 && other > RUNS / 50 && refused > RUNS / 50);
}

#[test]
#[ignore = "needs mke2fs, e2fsck and debugfs"]
fn with_checksums_no_flipped_bit_changes_what_is_read() {
    let [same, other, refused] = walk_damaged(DEFAULT, |numbers, bytes| {
        bytes[numbers.below(bytes.len())] ^= 1 << numbers.below(8);
    });
    println!("{same} same, {refused} refused");
    assert_eq!(other, 0);
    assert!(refused > RUNS / 2);
}
