// SPDX-License-Identifier: GPL-2.0

//! The log of the writes to a device, as the kernel's target `log-writes` keeps it, and what a device holds when its
//! power fails: all that was flushed, and of the rest anything.
//!
//! C source: [drivers/md/dm-log-writes.c](srctree/drivers/md/dm-log-writes.c)

use std::ops::Range;

use anyhow::{ensure, Context, Result};

use crate::seed::Bytes;

/// `WRITE_LOG_MAGIC`
const MAGIC: u64 = 0x6a_7366_7773_6872;
/// `WRITE_LOG_VERSION`
const VERSION: u64 = 1;
/// `LOG_FLUSH_FLAG`, `LOG_FUA_FLAG`, `LOG_DISCARD_FLAG`, `LOG_MARK_FLAG`
const FLUSH: u64 = 1;
const FUA: u64 = 2;
const DISCARD: u64 = 4;
const MARK: u64 = 8;

/// The whole log.
pub struct WriteLog {
    bytes: Vec<u8>,
    sector: usize,
    entries: Vec<Entry>,
}

/// One write, flush or mark.
struct Entry {
    /// Byte on the device.
    pos: usize,
    flags: u64,
    /// Where in the log the data is.
    data: Range<usize>,
    /// Bytes that are discarded.
    discarded: usize,
}

impl WriteLog {
    /// Reads the log in `bytes`.
    ///
    /// # Errors
    /// It is none, or damaged.
    pub fn parse(bytes: Vec<u8>) -> Result<Self> {
        let word = |pos: usize| -> Result<u64> {
            let word = bytes.get(pos..pos + 8).context("the log ends early")?;
            Ok(u64::from_le_bytes(word.try_into()?))
        };
        ensure!(word(0)? == MAGIC && word(8)? == VERSION, "no log of writes");
        let (count, sector) = (word(16)?, (word(24)? & 0xffff_ffff) as usize);
        let mut entries = Vec::new();
        let mut at = sector;
        for _ in 0..count {
            let (pos, len) = (word(at)? as usize * sector, word(at + 8)? as usize * sector);
            let (flags, data_len) = (word(at + 16)?, word(at + 24)? as usize);
            let data = match flags {
                _ if flags & MARK != 0 => at + 32..at + 32 + data_len,
                _ if flags & DISCARD != 0 => at..at,
                _ => at + sector..at + sector + len,
            };
            ensure!(data.end <= bytes.len(), "the log ends early");
            at += sector;
            if flags & (MARK | DISCARD) == 0 {
                at += len;
            }
            entries.push(Entry {
                pos,
                flags,
                data,
                discarded: if flags & DISCARD != 0 { len } else { 0 },
            });
        }
        Ok(Self {
            bytes,
            sector,
            entries,
        })
    }

    /// Bytes in a sector of the device.
    pub fn sector(&self) -> u32 {
        self.sector as u32
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The points up to which all is on the device for certain: behind each flush and each write that does not wait for
    /// one. A point is a number of entries.
    pub fn points(&self) -> Vec<usize> {
        let sure = |entry: &Entry| entry.flags & (FLUSH | FUA) != 0;
        let entries = (1..).zip(&self.entries);
        entries
            .filter(|(_, entry)| sure(entry))
            .map(|(point, _)| point)
            .collect()
    }

    /// The marks among the first `point` entries.
    pub fn marks(&self, point: usize) -> impl Iterator<Item = &str> {
        let marks = self.entries[..point]
            .iter()
            .filter(|entry| entry.flags & MARK != 0);
        marks.filter_map(|entry| std::str::from_utf8(&self.bytes[entry.data.clone()]).ok())
    }

    /// Carries out all entries from `from` to `to` on `image`.
    pub fn apply(&self, image: &mut [u8], from: usize, to: usize) {
        for entry in &self.entries[from..to] {
            self.apply_one(image, entry);
        }
    }

    /// Carries out on `image`, which holds what the first `flushed` entries say, what a device may have done of those up
    /// to `to` when its power fails.
    pub fn apply_some(&self, image: &mut [u8], flushed: usize, to: usize, random: &mut Bytes) {
        for entry in &self.entries[flushed..to] {
            if entry.flags & FUA != 0 || random.one_in(2) {
                self.apply_one(image, entry);
            }
        }
    }

    /// How many of the first `to` entries are on the device for certain, because of a flush behind them.
    pub fn flushed(&self, to: usize) -> usize {
        let flush = self.entries[..to]
            .iter()
            .rposition(|entry| entry.flags & FLUSH != 0);
        flush.unwrap_or(0)
    }

    fn apply_one(&self, image: &mut [u8], entry: &Entry) {
        if entry.flags & MARK != 0 {
            return;
        }
        let data = &self.bytes[entry.data.clone()];
        if let Some(target) = image.get_mut(entry.pos..entry.pos + data.len()) {
            target.copy_from_slice(data);
        }
        if let Some(target) = image.get_mut(entry.pos..entry.pos + entry.discarded) {
            target.fill(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECTOR: usize = 512;

    /// A log of entries: sector, flags, and bytes of a mark, or one sector of data filled with one byte.
    fn log(entries: &[(u64, u64, &[u8])]) -> Vec<u8> {
        let sector = |words: &[u64], rest: &[u8]| {
            let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
            bytes.extend(rest);
            bytes.resize(SECTOR, 0);
            bytes
        };
        let mut bytes = sector(&[MAGIC, VERSION, entries.len() as u64, SECTOR as u64], b"");
        for (pos, flags, data) in entries {
            if flags & MARK != 0 {
                bytes.extend(sector(&[0, 0, *flags, data.len() as u64], data));
                continue;
            }
            bytes.extend(sector(&[*pos, data.len() as u64, *flags, 0], b""));
            for &byte in *data {
                bytes.extend([byte; SECTOR]);
            }
        }
        bytes
    }

    fn firsts(image: &[u8]) -> Vec<u8> {
        image.iter().step_by(SECTOR).copied().collect()
    }

    #[test]
    fn entries_are_carried_out_in_order() {
        let log = WriteLog::parse(log(&[
            (1, 0, &[1, 2]),
            (2, 0, &[3]),
            (0, FLUSH, &[]),
            (0, MARK, b"here"),
            (0, FUA, &[4]),
        ]))
        .unwrap();
        let mut image = vec![0; 4 * SECTOR];
        log.apply(&mut image, 0, 3);
        assert_eq!(firsts(&image), [0, 1, 3, 0]);
        log.apply(&mut image, 3, log.len());
        assert_eq!(firsts(&image), [4, 1, 3, 0]);
        assert_eq!(log.points(), [3, 5]);
        assert_eq!(log.marks(3).count(), 0);
        assert_eq!(log.marks(5).collect::<Vec<_>>(), ["here"]);
    }

    #[test]
    fn only_what_was_flushed_is_certain() {
        let log = WriteLog::parse(log(&[
            (0, 0, &[1]),
            (0, FLUSH, &[]),
            (1, 0, &[2]),
            (2, FUA, &[3]),
        ]))
        .unwrap();
        assert_eq!((log.flushed(4), log.flushed(1)), (1, 0));
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..20 {
            let mut image = vec![0; 4 * SECTOR];
            log.apply(&mut image, 0, log.flushed(4));
            log.apply_some(&mut image, log.flushed(4), 4, &mut Bytes::new(seed, 0));
            seen.insert(firsts(&image));
        }
        let seen: Vec<_> = seen.into_iter().collect();
        assert_eq!(seen, [[1, 0, 3, 0], [1, 2, 3, 0]]);
    }

    #[test]
    fn damaged_logs_are_refused() {
        let good = log(&[(1, 0, &[1])]);
        assert!(WriteLog::parse(good[..good.len() - 1].to_vec()).is_err());
        assert!(WriteLog::parse(vec![0; 512]).is_err());
    }
}
