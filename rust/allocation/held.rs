// SPDX-License-Identifier: GPL-2.0

//! Free blocks that are not to be taken.
//!
//! free → claimed → set in the bitmap, or given up: free\
//! free → in the window of a growing file → claimed by that file, or given up: free\
//! set in the bitmap → cleared, freed in a transaction → that is committed: free
//!
//! The bitmap of a group and these ranges together say what can be taken, so one lock is for both:
//! bits are set in the critical section that gives up the claim on them, and cleared in the one that
//! notes them as freed. What is freed is not reused before the commit, as after a crash it would
//! belong to the old file and hold the new one's data.
//!
//! Ranges do not cross from group to group. A set of them is for as many groups as the implementer
//! of [`Ranges`] likes to have under one lock; a group of which nothing is held costs nothing.

use crate::ondisk::{
    Blocks,
    Ino,
    Pblk,
    PblkRange, //
};

/// Why blocks are not to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Somebody takes them just now.
    Claimed,
    /// They are for that file to grow into. Where nothing else is free, they can be had.
    Window(Ino),
    /// They were freed in the transaction with this number (`tid_t`), which is not yet committed.
    Freed(u32),
}

/// Blocks that are not to be taken: at least one, in one group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// The blocks.
    pub blocks: PblkRange,
    /// Why not.
    pub why: Why,
}

/// The held ranges of some groups, by where they end; no two have a block in common. Memory is the
/// implementer's, and lent as `Spare`, so that all of this can be done under a spinlock.
pub trait Ranges {
    /// Memory for a range.
    type Spare;

    /// The first range with an end behind `pblk`.
    fn first_behind(&self, pblk: Pblk) -> Option<Held>;

    /// Takes in a range.
    fn insert(&mut self, held: Held, spare: Self::Spare);

    /// Has the range that ends with `end` begin elsewhere.
    fn set_start(&mut self, end: Pblk, start: Pblk);

    /// Takes out the range that ends with `end`, if there is one.
    fn remove(&mut self, end: Pblk) -> Option<Self::Spare>;
}

/// The first range with some of `blocks`.
pub fn overlap(ranges: &impl Ranges, blocks: PblkRange) -> Option<Held> {
    ranges
        .first_behind(blocks.start)
        .filter(|held| held.blocks.overlaps(blocks))
}

/// Notes blocks as held. What a transaction frees directly before other blocks that it freed makes
/// one range with those, as files are cut from the end.
///
/// # Errors
///
/// A range that has some of them already; then nothing is changed.
pub fn hold<R: Ranges>(ranges: &mut R, held: Held, spare: R::Spare) -> Result<(), Held> {
    if let Some(other) = overlap(ranges, held.blocks) {
        return Err(other);
    }
    match ranges.first_behind(held.blocks.end) {
        Some(next)
            if matches!(held.why, Why::Freed(_))
                && next.why == held.why
                && next.blocks.start == held.blocks.end =>
        {
            ranges.set_start(next.blocks.end, held.blocks.start);
        }
        _ => ranges.insert(held, spare),
    }
    Ok(())
}

/// Gives up the windows that have some of `blocks`; their files find out when they want to grow.
pub fn seize<R: Ranges>(ranges: &mut R, blocks: PblkRange) {
    let mut pblk = blocks.start;
    while let Some(held) = ranges.first_behind(pblk) {
        if held.blocks.start >= blocks.end {
            break;
        }
        if matches!(held.why, Why::Window(_)) {
            ranges.remove(held.blocks.end);
        }
        pblk = held.blocks.end;
    }
}

/// Gives up a claim, of which no block was taken or all of them were: they are free, or their bits
/// set in the bitmap. Whether there was such a claim.
pub fn unclaim<R: Ranges>(ranges: &mut R, blocks: PblkRange) -> bool {
    let claim = Held {
        blocks,
        why: Why::Claimed,
    };
    overlap(ranges, blocks) == Some(claim) && ranges.remove(blocks.end).is_some()
}

/// A range that was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Swept {
    /// Where to look for the next.
    pub next: Pblk,
    /// How many blocks it had, if it was one of the commit's, and is held no more.
    pub freed: Option<Blocks>,
}

/// Looks at the first range that ends behind `pblk`, if there is one, and gives it up if it was
/// freed in transaction `tid`, which is committed, or in one before.
pub fn sweep<R: Ranges>(ranges: &mut R, pblk: Pblk, tid: u32) -> Option<Swept> {
    let held = ranges.first_behind(pblk)?;
    let is_committed = match held.why {
        // Numbers of transactions wrap around; those that are alive are close to each other.
        Why::Freed(freed) => tid.wrapping_sub(freed) < 1 << 31,
        Why::Claimed | Why::Window(_) => false,
    };
    let n = held.blocks.end.0.saturating_sub(held.blocks.start.0);
    if is_committed {
        ranges.remove(held.blocks.end);
    }
    Some(Swept {
        next: held.blocks.end,
        freed: is_committed.then_some(Blocks(n)),
    })
}
