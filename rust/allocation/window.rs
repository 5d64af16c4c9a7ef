// SPDX-License-Identifier: GPL-2.0

//! Windows: free blocks that a growing file has before it, so that others grow elsewhere.
//!
//! none → open → used up, closed, or [seized](super::seize) by others: none
//!
//! A file that is appended to asks for [`ahead`] more blocks than it needs. They are the window, and
//! stay free on the disk. What is appended next is taken from its front, and lies where the file
//! ends. The window is closed when nobody can write to the file any more.
//!
//! The [`Ranges`] have the window; its inode only remembers where it ends, and looks whether it is
//! still there.

use super::{
    hold,
    Held,
    Ranges,
    Why, //
};
use crate::ondisk::{
    BlockSize,
    Blocks,
    Ino,
    Pblk,
    PblkRange, //
};

/// The smallest window, in bytes.
const MIN_LEN: u64 = 64 << 10;
/// The largest window, in bytes.
const MAX_LEN: u64 = 8 << 20;

/// How many blocks a file that has `blocks` of them asks for beyond what it needs: as many again,
/// in a power of two between 64 KiB and 8 MiB.
pub fn ahead(block_size: BlockSize, blocks: Blocks) -> Blocks {
    let block_len = core::num::NonZeroU64::from(block_size.bytes());
    let len = blocks.bytes(block_size).unwrap_or(MAX_LEN);
    // Now small enough to have a next power of two.
    let len = len.clamp(MIN_LEN, MAX_LEN).next_power_of_two();
    Blocks(len / block_len)
}

/// What an inode knows of its window.
#[derive(Debug, Default)]
pub struct Window {
    /// Where it ends, which is its name among the ranges.
    end: Option<Pblk>,
}

impl Window {
    /// A block of the window, if one was opened: its group has it among its ranges.
    pub fn pblk(&self) -> Option<Pblk> {
        self.end?.0.checked_sub(1).map(Pblk)
    }

    /// Claims up to `n` blocks that begin with `goal`, where the file ends, if that is where the
    /// window of this file, `ino`, begins.
    pub fn claim<R: Ranges>(
        &mut self,
        ranges: &mut R,
        ino: Ino,
        goal: Pblk,
        n: Blocks,
        spare: R::Spare,
    ) -> Option<PblkRange> {
        let window = self.find(ranges, ino)?;
        if window.start != goal || n == Blocks(0) {
            return None;
        }
        let end = goal.checked_add(n)?.min(window.end);
        let blocks = PblkRange { start: goal, end };
        let spare = if end < window.end {
            ranges.set_start(window.end, end);
            spare
        } else {
            self.end = None;
            ranges.remove(window.end)?
        };
        let why = Why::Claimed;
        // They were the window's, so nobody else's.
        hold(ranges, Held { blocks, why }, spare).ok()?;
        Some(blocks)
    }

    /// Opens a window of `blocks`, which are free. The one before is closed already: it may be
    /// under another lock.
    ///
    /// # Errors
    ///
    /// What has some of them.
    pub fn open<R: Ranges>(
        &mut self,
        ranges: &mut R,
        ino: Ino,
        blocks: PblkRange,
        spare: R::Spare,
    ) -> Result<(), Held> {
        let why = Why::Window(ino);
        hold(ranges, Held { blocks, why }, spare)?;
        self.end = Some(blocks.end);
        Ok(())
    }

    /// Gives back what remains.
    pub fn close<R: Ranges>(&mut self, ranges: &mut R, ino: Ino) {
        if let Some(blocks) = self.find(ranges, ino) {
            ranges.remove(blocks.end);
        }
        self.end = None;
    }

    /// Where it is, unless others took it.
    fn find(&mut self, ranges: &impl Ranges, ino: Ino) -> Option<PblkRange> {
        let last = self.pblk()?;
        let held = ranges.first_behind(last);
        let held = held.filter(|held| Some(held.blocks.end) == self.end);
        let held = held.filter(|held| held.why == Why::Window(ino));
        if held.is_none() {
            self.end = None;
        }
        Some(held?.blocks)
    }
}
