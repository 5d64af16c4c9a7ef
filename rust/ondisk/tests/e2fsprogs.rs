// SPDX-License-Identifier: GPL-2.0

//! The same volumes and the same words for them as e2fsprogs. The tests need `mke2fs`,
//! `dumpe2fs` and `e2fsck` in the path, and are ignored unless asked for: `cargo test -- --include-ignored`.

#[path = "common/image.rs"]
mod image;

use damage::Crc;
use image::{
    Image,
    DEFAULT, //
};
use ondisk::{
    Compat,
    Incompat,
    RoCompat,
    Superblock,
    Update, //
};
use std::{
    collections::HashMap,
    fs::File,
    os::unix::fs::FileExt,
    process::Command, //
};

impl Image {
    fn superblock(&self) -> [u8; Superblock::LEN] {
        let mut bytes = [0; Superblock::LEN];
        let file = File::open(&self.0).unwrap();
        file.read_exact_at(&mut bytes, Superblock::POS).unwrap();
        bytes
    }

    fn put(&self, offset: u64, field: &[u8]) {
        let file = File::options().write(true).open(&self.0).unwrap();
        file.write_all_at(field, Superblock::POS + offset).unwrap();
    }

    /// What `dumpe2fs` says, by the words before the colon.
    fn dumpe2fs(&self) -> HashMap<String, String> {
        let output = Command::new("dumpe2fs")
            .args(["-f", "-h"])
            .env("TZ", "UTC")
            .arg(&self.0)
            .output()
            .unwrap();
        String::from_utf8(output.stdout)
            .unwrap()
            .lines()
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.into(), value.trim().into()))
            .collect()
    }
}

#[test]
#[ignore = "needs mke2fs and dumpe2fs"]
fn volumes_are_read_as_dumpe2fs_reads_them() {
    let volumes: [(u64, &[&str]); 10] = [
        (64 << 20, &["-O", DEFAULT]),
        (64 << 20, &["-O", DEFAULT, "-b", "1024"]),
        (64 << 20, &["-O", DEFAULT, "-b", "2048", "-I", "1024"]),
        (3 << 30, &["-O", DEFAULT, "-b", "4096", "-I", "128"]),
        (1 << 30, &["-O", DEFAULT, "-b", "4096", "-g", "8192"]),
        (10 << 40, &["-O", DEFAULT, "-b", "4096", "-T", "largefile4"]),
        (70 << 20, &["-O", "none,extent,filetype", "-b", "1024"]),
        (100 << 20, &["-O", "none,has_journal,extent,metadata_csum"]),
        (64 << 20, &["-O", "none,extent,bigalloc", "-b", "1024"]),
        (64 << 20, &["-O", "none,extent,bigalloc", "-C", "65536"]),
    ];
    for (len, options) in volumes {
        let image = Image::new("volume", len, options);
        let volume = Superblock::parse::<Crc>(&image.superblock()).unwrap();
        let dump = image.dumpe2fs();
        let number = |name: &str| -> u64 { dump[name].parse().unwrap() };

        let block_size = volume.block_size().bytes().get();
        assert_eq!(u64::from(block_size), number("Block size"), "{options:?}");
        assert_eq!(volume.blocks_count().0, number("Block count"));
        assert_eq!(volume.first_data_block().0, number("First block"));
        assert_eq!(
            u64::from(volume.blocks_per_group().get()),
            number("Blocks per group")
        );
        assert_eq!(
            u64::from(volume.inodes_per_group().get()),
            number("Inodes per group")
        );
        assert_eq!(u64::from(volume.inodes_count()), number("Inode count"));
        assert_eq!(u64::from(volume.inode_size()), number("Inode size"));
        assert_eq!(u64::from(volume.first_ino()), number("First inode"));
        let desc_size = dump
            .get("Group descriptor size")
            .map_or("32", String::as_str);
        assert_eq!(volume.desc_size().to_string(), desc_size);
        let reserved = dump.get("Reserved GDT blocks").map_or("0", String::as_str);
        assert_eq!(volume.reserved_gdt_blocks().to_string(), reserved);
        if let Some(seed) = dump.get("Checksum seed") {
            assert_eq!(format!("{:#010x}", volume.checksum_seed()), *seed);
        }

        let features = volume.features();
        let mut ours: Vec<_> = [
            features.compat.to_string(),
            features.ro_compat.to_string(),
            features.incompat.to_string(),
        ]
        .iter()
        .flat_map(|word| word.split(' ').map(String::from).collect::<Vec<_>>())
        .filter(|name| !name.is_empty())
        .collect();
        let mut theirs: Vec<_> = dump["Filesystem features"].split(' ').collect();
        ours.sort_unstable();
        theirs.sort_unstable();
        assert_eq!(ours, theirs);
    }
}

#[test]
#[ignore = "needs mke2fs, dumpe2fs and e2fsck"]
fn an_updated_superblock_is_read_by_e2fsprogs() {
    let apply = |image: &Image, update: Update| {
        let mut bytes = image.superblock();
        update.apply::<Crc>(&mut bytes).unwrap();
        image.put(0, &bytes);
    };
    for features in [DEFAULT, "none,has_journal,extent,filetype,large_file"] {
        let image = Image::new("update", 32 << 20, &["-O", features]);
        for needs_recovery in [true, false] {
            let update = Update {
                needs_recovery: Some(needs_recovery),
                ..Update::default()
            };
            apply(&image, update);
        }
        let e2fsck = Command::new("e2fsck").arg("-fn").arg(&image.0).output();
        assert!(e2fsck.unwrap().status.success());

        let update = Update {
            needs_recovery: Some(true),
            error: true,
            mounted: Some(1_700_000_001),
            written: Some(1_700_000_002),
            ..Update::default()
        };
        apply(&image, update);
        let dump = image.dumpe2fs();
        assert!(dump["Filesystem features"].contains("needs_recovery"));
        assert_eq!(dump["Filesystem state"], "clean with errors");
        assert_eq!(dump["Mount count"], "1");
        assert_eq!(dump["Last mount time"], "Tue Nov 14 22:13:21 2023");
        assert_eq!(dump["Last write time"], "Tue Nov 14 22:13:22 2023");
    }
}

#[test]
#[ignore = "needs mke2fs and dumpe2fs"]
fn every_feature_has_the_name_that_dumpe2fs_prints() {
    let image = Image::new("names", 8 << 20, &["-O", "none", "-b", "1024"]);
    // A size of group descriptors, without which dumpe2fs is silent about `64bit`.
    image.put(0xfe, &64_u16.to_le_bytes());
    let printed = |offset, bits: u32| {
        image.put(offset, &bits.to_le_bytes());
        let mut dump = image.dumpe2fs();
        image.put(offset, &[0; 4]);
        dump.remove("Filesystem features")
            .expect("dumpe2fs should read whatever the features")
    };
    for bit in 0..u32::BITS {
        let bits = 1 << bit;
        assert_eq!(Compat::from_bits(bits).to_string(), printed(0x5c, bits));
        assert_eq!(RoCompat::from_bits(bits).to_string(), printed(0x64, bits));
        assert_eq!(Incompat::from_bits(bits).to_string(), printed(0x60, bits));
    }
}
