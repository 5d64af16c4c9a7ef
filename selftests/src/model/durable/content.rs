// SPDX-License-Identifier: GPL-2.0

//! What steps write: each sector and each attribute says by itself which file it is of, and which step made it.

use crate::seed::Bytes;

/// Bytes in the unit in which a file is written, and that a disk writes whole or not at all.
pub(super) const SECTOR: usize = 512;
/// Bytes that processors store, and persistent memory takes, whole or not at all.
const WORD: usize = 8;
/// Longest value of an attribute, in bytes: one is in the inode, all together are in a block.
const ATTRIBUTE: u64 = 250;
/// At the beginning of each sector that was ever written.
const MAGIC: u64 = 0x57ab_1ef5_5ec7_0123;
/// The file of what lies on the volume before it is made.
const STALE: u32 = u32::MAX;

/// How a device whose power fails takes a sector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// Whole or not at all: a disk.
    Sectors,
    /// As words, each whole or not at all: memory.
    Words,
}

/// Sector `number` of file `id`, as step `version` writes it; 0 for zeroes.
pub(super) fn sector(id: u32, number: u32, version: u32) -> [u8; SECTOR] {
    let mut bytes = [0; SECTOR];
    if version == 0 {
        return bytes;
    }
    let words = [
        MAGIC,
        (u64::from(id) << 32) | u64::from(number),
        u64::from(version),
        !MAGIC,
    ];
    for (place, word) in bytes.chunks_mut(WORD).zip(words.iter().cycle()) {
        place.copy_from_slice(&word.to_le_bytes());
    }
    bytes
}

/// The version that a sector says that it is.
pub(super) fn version(found: &[u8]) -> u32 {
    let word = found.get(2 * WORD..3 * WORD);
    let word = word.and_then(|word| word.try_into().ok());
    word.map_or(0, u64::from_le_bytes) as u32
}

/// Whether `found` is one of the `possible` sectors, or made of words of them.
pub(super) fn is_one_of(found: &[u8], possible: &[[u8; SECTOR]], takes: Takes) -> bool {
    match takes {
        Takes::Sectors => possible
            .iter()
            .any(|sector| found == &sector[..found.len()]),
        Takes::Words => (0..)
            .step_by(WORD)
            .zip(found.chunks(WORD))
            .all(|(at, word)| {
                let mut words = possible.iter().map(|sector| &sector[at..at + word.len()]);
                words.any(|possible| possible == word)
            }),
    }
}

/// What is in a sector, for people.
pub(super) fn describe(found: &[u8]) -> String {
    let word = |n: usize| {
        let word = found.get(n * WORD..(n + 1) * WORD)?;
        Some(u64::from_le_bytes(word.try_into().ok()?))
    };
    match (word(0), word(1), word(2)) {
        _ if found.iter().all(|&byte| byte == 0) => "zeroes".to_owned(),
        (Some(MAGIC), Some(place), Some(version)) => {
            let (id, number) = ((place >> 32) as u32, place as u32);
            let whole = sector(id, number, version as u32)[..found.len()] == *found;
            let torn = if whole { "" } else { ", in part" };
            match id {
                STALE => "what was on the device before the volume".to_owned(),
                id => format!("sector {number} of file {id} as of step {version}{torn}"),
            }
        }
        _ => format!("{:02x?}...", &found[..found.len().min(16)]),
    }
}

/// `sectors` sectors that were never written to any file, to be on the device before the volume is.
pub fn stale(sectors: u32) -> Vec<u8> {
    (0..sectors).flat_map(|n| sector(STALE, n, 1)).collect()
}

/// The name of attribute `number`.
pub(super) fn attribute_name(number: u32) -> String {
    format!("user.attribute{number}")
}

/// The value that step `version` gives to attribute `number` of file `id`.
pub(super) fn attribute(id: u32, number: u32, version: u32) -> Vec<u8> {
    let mut bytes = Bytes::new(
        (u64::from(id) << 32) | u64::from(version),
        u64::from(number),
    );
    let len = 1 + bytes.below(ATTRIBUTE);
    bytes.take(len as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_sector_is_one_of_words_only() {
        let possible = [sector(1, 2, 3), sector(1, 2, 4), sector(1, 2, 0)];
        let mut torn = possible[0];
        torn[16..24].copy_from_slice(&possible[1][16..24]);
        assert!(!is_one_of(&torn, &possible, Takes::Sectors));
        assert!(is_one_of(&torn, &possible, Takes::Words));
        torn[17] ^= 1;
        assert!(!is_one_of(&torn, &possible, Takes::Words));
        for whole in &possible {
            assert!(is_one_of(whole, &possible, Takes::Sectors));
            assert!(is_one_of(&whole[..5], &possible, Takes::Words));
        }
        let stale: [u8; SECTOR] = stale(1).try_into().unwrap();
        assert!(!is_one_of(&stale, &possible, Takes::Words));
        assert!(describe(&stale).contains("before the volume"));
    }
}
