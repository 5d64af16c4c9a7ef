// SPDX-License-Identifier: GPL-2.0

//! The bitmap of a group: bytes → words of 64 bits → runs of clear bits; bits set and cleared.
//!
//! Bit `n` is bit `n % 8` of byte `n / 8`. A bit that is set is in use.
//!
//! Format: [Documentation/filesystems/ext4/bitmaps.rst](srctree/Documentation/filesystems/ext4/bitmaps.rst).

use super::Run;
use core::ops::{
    Deref,
    DerefMut, //
};

/// Bits of a word.
const WORD: u32 = u64::BITS;

/// A private copy of the bitmap of a group, which others may not change meanwhile. `B` holds it.
///
/// # Invariants
///
/// There are bytes for all of its `len` bits.
#[derive(Clone, Copy, Debug)]
pub struct Bitmap<B> {
    bytes: B,
    len: u32,
}

/// A bit that is not what it has to be: something was allocated twice, or freed twice, or lies
/// beyond the end of the group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrongBit(pub u32);

impl<B: Deref<Target = [u8]>> Bitmap<B> {
    /// The bitmap of a group that has `len` blocks, or inodes; what its bytes say beyond does not
    /// matter. Nothing if they are too few.
    pub fn new(bytes: B, len: u32) -> Option<Self> {
        let enough = usize::try_from(len.div_ceil(8)).is_ok_and(|needed| needed <= bytes.len());
        // INVARIANT: As just seen.
        enough.then_some(Self { bytes, len })
    }

    /// How many bits have a meaning.
    #[allow(clippy::len_without_is_empty, reason = "a group is never empty")]
    pub fn len(&self) -> u32 {
        self.len
    }

    /// Whether a bit is set; those beyond the end of the group count as set.
    pub fn is_set(&self, bit: u32) -> bool {
        self.word(bit / WORD).wrapping_shr(bit % WORD) & 1 == 1
    }

    /// The first clear bit at or behind `bit`.
    pub fn next_clear(&self, bit: u32) -> Option<u32> {
        let next = self.next(bit, u64::MAX);
        (next < self.len).then_some(next)
    }

    /// The first set bit at or behind `bit`, or where the group ends.
    pub fn next_set(&self, bit: u32) -> u32 {
        self.next(bit, 0)
    }

    /// The last set bit before `bit`.
    fn last_set_before(&self, bit: u32) -> Option<u32> {
        let bit = bit.min(self.len);
        let mut n = bit / WORD;
        let below = !u64::MAX.wrapping_shl(bit % WORD);
        let mut word = self.word(n) & below;
        while word == 0 {
            n = n.checked_sub(1)?;
            word = self.word(n);
        }
        // OVERFLOW: a bit of the bitmap.
        n.saturating_mul(WORD).checked_add(word.ilog2())
    }

    /// The runs of clear bits, in order, each as long as it is.
    pub fn runs(&self) -> Runs<'_, B> {
        Runs {
            bitmap: self,
            n: 0,
            clear: !self.word(0),
        }
    }

    /// How many bits are clear.
    pub fn count_clear(&self) -> u32 {
        (0..self.len.div_ceil(WORD))
            .map(|n| self.word(n).count_zeros())
            .fold(0, u32::saturating_add)
    }

    /// The clear bits around some that are clear, themselves included: what freeing them has made.
    pub fn around(&self, run: Run) -> Run {
        let before = self.last_set_before(run.start);
        Run {
            start: before.map_or(0, |bit| bit.saturating_add(1)),
            end: self.next_set(run.end),
        }
    }

    /// The first bit at or behind `bit` that is set in the word exclusive-or `flip`, or the end.
    fn next(&self, bit: u32, flip: u64) -> u32 {
        let mut n = bit / WORD;
        let mut mask = u64::MAX.wrapping_shl(bit % WORD);
        loop {
            // OVERFLOW: a number of 32 bits, divided, and multiplied again.
            let start = n.saturating_mul(WORD);
            if start >= self.len {
                return self.len;
            }
            let word = (self.word(n) ^ flip) & mask;
            if word != 0 {
                return start.saturating_add(word.trailing_zeros()).min(self.len);
            }
            mask = u64::MAX;
            // OVERFLOW: less than the length.
            n = n.saturating_add(1);
        }
    }

    /// Bits `64 * n` and on, those beyond the end set.
    fn word(&self, n: u32) -> u64 {
        // OVERFLOW: the callers' `n` is a number of 32 bits divided by 64.
        let start = n.saturating_mul(WORD);
        let Some(rest) = self.len.checked_sub(start) else {
            return u64::MAX;
        };
        let bytes = usize::try_from(start / 8).ok();
        let bytes = bytes.and_then(|at| self.bytes.get(at..)).unwrap_or(&[]);
        let word = match bytes.first_chunk() {
            Some(chunk) => u64::from_le_bytes(*chunk),
            None => {
                let mut chunk = [u8::MAX; 8];
                for (to, from) in chunk.iter_mut().zip(bytes) {
                    *to = *from;
                }
                u64::from_le_bytes(chunk)
            }
        };
        match u64::MAX.checked_shl(rest) {
            Some(beyond) => word | beyond,
            None => word,
        }
    }
}

impl<B: DerefMut<Target = [u8]>> Bitmap<B> {
    /// Sets bits.
    ///
    /// # Errors
    ///
    /// The first of them that was set before, or that the group has not; then none is changed.
    pub fn set(&mut self, run: Run) -> Result<(), WrongBit> {
        let set = self.next_set(run.start);
        if set < run.end {
            return Err(WrongBit(set));
        }
        self.apply(run, |byte, mask| *byte |= mask);
        Ok(())
    }

    /// Clears bits.
    ///
    /// # Errors
    ///
    /// The first of them that was clear before, or that the group has not; then none is changed.
    pub fn clear(&mut self, run: Run) -> Result<(), WrongBit> {
        let clear = self.next_clear(run.start).unwrap_or(self.len);
        if clear < run.end {
            return Err(WrongBit(clear));
        }
        self.apply(run, |byte, mask| *byte &= !mask);
        Ok(())
    }

    /// Makes it the bitmap of a group in which only `used` is in use, and nothing beyond its end
    /// free. What of `used` is beyond the end is left out.
    pub fn initialise(&mut self, used: impl Iterator<Item = Run>) {
        self.bytes.fill(0);
        for run in used {
            let end = run.end.min(self.len);
            self.apply(Run { end, ..run }, |byte, mask| *byte |= mask);
        }
        let end = u32::try_from(self.bytes.len().saturating_mul(8)).unwrap_or(u32::MAX);
        let beyond = Run {
            start: self.len,
            end,
        };
        self.apply(beyond, |byte, mask| *byte |= mask);
    }

    /// Calls `change` with each byte that has some of the bits, and a mask of those.
    fn apply(&mut self, run: Run, change: impl Fn(&mut u8, u8)) {
        if run.is_empty() {
            return;
        }
        let (first, last) = (run.start / 8, run.end.div_ceil(8));
        let bytes = usize::try_from(first)
            .ok()
            .zip(usize::try_from(last).ok())
            .and_then(|(first, last)| self.bytes.get_mut(first..last))
            .unwrap_or(&mut []);
        for (byte, n) in bytes.iter_mut().zip(first..) {
            // OVERFLOW: bits of the bitmap.
            let start = n.saturating_mul(8);
            let skipped = run.start.saturating_sub(start);
            let cut = start.saturating_add(8).saturating_sub(run.end);
            // Both are less than 8, as the byte has one of the bits.
            let mask = u8::MAX.wrapping_shl(skipped) & u8::MAX.wrapping_shr(cut);
            change(byte, mask);
        }
    }
}

/// The runs of [`Bitmap::runs`].
#[derive(Debug)]
pub struct Runs<'a, B> {
    bitmap: &'a Bitmap<B>,
    /// The word that has the next of them, perhaps.
    n: u32,
    /// Bits of it that are clear, and in no run so far.
    clear: u64,
}

impl<B: Deref<Target = [u8]>> Runs<'_, B> {
    /// Goes on to the next word; gives where it begins, or nothing at the end of the group.
    fn advance(&mut self) -> Option<u32> {
        // OVERFLOW: less than the length.
        self.n = self.n.saturating_add(1);
        let start = self.n.saturating_mul(WORD);
        self.clear = !self.bitmap.word(self.n);
        (start < self.bitmap.len).then_some(start)
    }
}

impl<B: Deref<Target = [u8]>> Iterator for Runs<'_, B> {
    type Item = Run;

    fn next(&mut self) -> Option<Run> {
        // OVERFLOW: bits of the bitmap, all of them.
        let mut at = self.n.saturating_mul(WORD);
        while self.clear == 0 {
            at = self.advance()?;
        }
        let skipped = self.clear.trailing_zeros();
        let start = at.saturating_add(skipped);
        // Where it ends in this word, or in one that follows.
        let mut end = skipped.saturating_add(self.clear.wrapping_shr(skipped).trailing_ones());
        while end == WORD {
            let Some(next) = self.advance() else {
                let end = self.bitmap.len;
                return Some(Run { start, end });
            };
            at = next;
            end = self.clear.trailing_ones();
        }
        self.clear &= u64::MAX.wrapping_shl(end);
        let end = at.saturating_add(end);
        Some(Run { start, end })
    }
}
