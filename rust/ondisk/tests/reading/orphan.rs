// SPDX-License-Identifier: GPL-2.0

//! Blocks of the orphan file.

use crate::support::{
    corrupt,
    get_u32,
    put,
    volume,
    volume_without_checksums, //
};
use damage::Crc;
use ondisk::{
    orphan::{
        self,
        OrphanBlock, //
    },
    Block,
    Crc32c,
    Error,
    Pblk,
    Seed,
    Structure,
    Superblock, //
};

const STRUCTURE: Structure = Structure::OrphanBlock;
const PBLK: Pblk = Pblk(0x1234_5678_9abc);

/// A block of 1 KiB with its checksum.
fn block(change: impl FnOnce(&mut [u8])) -> [u8; 1024] {
    let mut bytes = [0; 1024];
    put(&mut bytes, 1016, 0x0b10_ca04_u32.to_le_bytes());
    change(&mut bytes);
    let sum = Crc::crc32c(volume().checksum_seed(), &PBLK.0.to_le_bytes());
    let sum = Crc::crc32c(sum, &bytes[..1016]);
    put(&mut bytes, 1020, sum.to_le_bytes());
    bytes
}

fn is_empty(volume: &Superblock, bytes: &[u8]) -> Result<bool, Error> {
    let block = Block::new(bytes).unwrap();
    OrphanBlock::parse::<Crc>(Seed::of_volume(volume), PBLK, block).map(|block| block.is_empty())
}

#[test]
fn a_block_of_zeroes_is_empty() {
    assert_eq!(is_empty(&volume(), &block(|_| ())), Ok(true));
    let last = block(|bytes| put(bytes, 1012, 12_u32.to_le_bytes()));
    assert_eq!(is_empty(&volume(), &last), Ok(false));
    let first = block(|bytes| put(bytes, 0, 12_u32.to_le_bytes()));
    assert_eq!(is_empty(&volume(), &first), Ok(false));
}

#[test]
fn damage_is_seen() {
    let mut damaged = block(|_| ());
    damaged[0] ^= 1;
    assert!(matches!(
        is_empty(&volume(), &damaged),
        Err(Error::BadChecksum {
            structure: STRUCTURE,
            stored,
            ..
        }) if stored == get_u32(&damaged, 1020)
    ));
    assert_eq!(is_empty(&volume_without_checksums(), &damaged), Ok(false));
    let other = block(|bytes| put(bytes, 1016, [1, 0, 0, 0]));
    assert_eq!(
        is_empty(&volume(), &other),
        corrupt(STRUCTURE, "ob_magic", 1)
    );
}

#[test]
fn what_is_put_is_found_and_taken_away_again() {
    let volume = volume();
    let seed = Seed::of_volume(&volume);
    let empty = block(|_| ());
    let mut bytes = empty;
    let parse = |bytes: &[u8; 1024]| {
        let copy = *bytes;
        let block = OrphanBlock::parse::<Crc>(seed, PBLK, Block::new(&copy).unwrap()).unwrap();
        (block.vacant(), block.numbers().collect::<Vec<_>>())
    };
    let inos = [12, 13, 14].map(|n| volume.ino(n).unwrap());
    for ino in inos {
        let slot = parse(&bytes).0.unwrap();
        orphan::set::<Crc>(seed, PBLK, slot, Some(ino), &mut bytes).unwrap();
    }
    let (_, found) = parse(&bytes);
    let numbers: Vec<_> = found.iter().map(|(_, number)| *number).collect();
    assert_eq!(numbers, [12, 13, 14]);
    let (middle, _) = found[1];
    orphan::set::<Crc>(seed, PBLK, middle, None, &mut bytes).unwrap();
    let (vacant, left) = parse(&bytes);
    assert_eq!(vacant, Some(middle));
    assert_eq!(left, [found[0], found[2]]);
    for (slot, _) in left {
        orphan::set::<Crc>(seed, PBLK, slot, None, &mut bytes).unwrap();
    }
    assert_eq!(bytes, empty);
}

#[test]
fn a_block_takes_as_many_as_fit_before_its_end() {
    let volume = volume();
    let seed = Seed::of_volume(&volume);
    let mut bytes = block(|_| ());
    let mut count = 0;
    loop {
        let copy = bytes;
        let block = OrphanBlock::parse::<Crc>(seed, PBLK, Block::new(&copy).unwrap()).unwrap();
        let Some(slot) = block.vacant() else {
            break;
        };
        orphan::set::<Crc>(seed, PBLK, slot, volume.ino(12), &mut bytes).unwrap();
        count += 1;
    }
    assert_eq!(count, (1024 - 8) / 4);
    assert!(!is_empty(&volume, &bytes).unwrap());
}
