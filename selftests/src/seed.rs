// SPDX-License-Identifier: GPL-2.0

//! The seed of a run, and the reproducible bytes made from it.

use std::env;
use std::fs::File;
use std::io::Read;

use anyhow::{Context, Result};

/// Seed from the environment's `SEED` (decimal, or hexadecimal after `0x`), else a new one.
///
/// # Errors
/// `SEED` is not a number, or there is no `/dev/urandom`.
pub fn from_env() -> Result<u64> {
    match env::var("SEED") {
        Ok(text) => parse(&text).with_context(|| format!("SEED={text} is not a number")),
        Err(_) => {
            let mut bytes = [0; 4];
            File::open("/dev/urandom")
                .and_then(|mut f| f.read_exact(&mut bytes))
                .context("/dev/urandom")?;
            Ok(u32::from_le_bytes(bytes).into())
        }
    }
}

fn parse(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}

/// Bytes that look random and are the same for the same seed and `stream` (SplitMix64).
pub struct Bytes {
    state: u64,
}

impl Bytes {
    /// Stream `stream` of `seed`: give each file or buffer a stream of its own.
    pub fn new(seed: u64, stream: u64) -> Self {
        let mut bytes = Self { state: seed };
        bytes.state = bytes.word() ^ stream.wrapping_mul(0xd6e8_feb8_6659_fd93);
        bytes
    }

    /// The next `len` bytes.
    pub fn take(&mut self, len: usize) -> Vec<u8> {
        let mut out = Vec::with_capacity(len.next_multiple_of(8));
        while out.len() < len {
            out.extend_from_slice(&self.word().to_le_bytes());
        }
        out.truncate(len);
        out
    }

    /// The next 64 bits.
    pub fn word(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, 0 if that is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        match bound {
            0 => 0,
            _ => self.word() % bound,
        }
    }

    /// True one time in `n`.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// One of `items`; none if there are none.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        let index = self.below(items.len() as u64);
        items.get(usize::try_from(index).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_seed_same_bytes() {
        assert_eq!(Bytes::new(7, 1).take(100), Bytes::new(7, 1).take(100));
    }

    #[test]
    fn streams_and_seeds_differ() {
        let first = Bytes::new(7, 1).take(32);
        assert_ne!(first, Bytes::new(7, 2).take(32));
        assert_ne!(first, Bytes::new(8, 1).take(32));
        assert_eq!(Bytes::new(7, 1).take(13), first[..13]);
    }

    #[test]
    fn choices_are_within_bounds() {
        let mut random = Bytes::new(7, 1);
        assert_eq!((random.below(0), random.below(1)), (0, 0));
        assert!((0..100).all(|_| random.below(3) < 3));
        assert_eq!(random.pick::<u8>(&[]), None);
        let mut seen: Vec<_> = (0..100).filter_map(|_| random.pick(&[1, 2, 3])).collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen, [&1, &2, &3]);
    }

    #[test]
    fn both_notations_are_read() {
        assert_eq!(
            (parse("0x51c3"), parse("20931"), parse("x")),
            (Some(0x51c3), Some(20931), None)
        );
    }
}
