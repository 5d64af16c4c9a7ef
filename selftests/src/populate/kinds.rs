// SPDX-License-Identifier: GPL-2.0

//! A file of every type.

use std::fs::{self, File};
use std::os::unix::fs::symlink;

use anyhow::{Context, Result};
use rustix::fs::{makedev, mknodat, FileType, Mode, CWD};

use super::Place;
use crate::seed::Bytes;

/// Major and minor numbers: the smallest, the largest that the old form of two bytes holds, the first that it does not,
/// the largest of all.
const NUMBERS: &[(u32, u32)] = &[
    (0, 0),
    (1, 3),
    (8, 255),
    (255, 255),
    (8, 256),
    (256, 0),
    (4095, 0xf_ffff),
];
/// Lengths of symbolic links beyond the 64 shortest: up to 59 they lie in the inode. ext4 takes no longer ones than a
/// block.
const LONG_LINKS: &[usize] = &[255, 256, 1000, 1023, 1024, 2047, 2048, 4000, 4094, 4095];

pub(super) fn all(place: &Place<'_>) -> Result<()> {
    let make = |name: &str, kind: FileType, mode: u32, numbers: (u32, u32)| {
        let path = place.path(name);
        let dev = makedev(numbers.0, numbers.1);
        mknodat(CWD, &path, kind, Mode::from_raw_mode(mode), dev)
            .with_context(|| path.display().to_string())
    };
    make("fifo", FileType::Fifo, 0o640, (0, 0))?;
    make("socket", FileType::Socket, 0o777, (0, 0))?;
    make("empty", FileType::RegularFile, 0o400, (0, 0))?;
    for &numbers in NUMBERS {
        let (major, minor) = numbers;
        let name = |kind: &str| format!("{kind} {major} {minor}");
        make(&name("char"), FileType::CharacterDevice, 0o600, numbers)?;
        make(&name("block"), FileType::BlockDevice, 0o660, numbers)?;
    }
    fs::create_dir(place.path("directory"))?;
    File::create_new(place.path("directory/file"))?;

    let mut random = Bytes::new(place.seed, 0x11);
    let long = LONG_LINKS.iter().copied();
    for len in (1..=64).chain(long.filter(|&len| (len as u64) < place.block)) {
        let target: String = random
            .take(len)
            .iter()
            .map(|byte| char::from(b'!' + byte % 90))
            .collect();
        symlink(target, place.path(&format!("link {len}")))
            .with_context(|| format!("symbolic link of {len} bytes"))?;
    }
    Ok(())
}
