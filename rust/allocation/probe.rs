// SPDX-License-Identifier: GPL-2.0

//! A look into one group: its bitmap, without what is held → runs → the one that fits best.

use super::{
    Bitmap,
    Geometry,
    Ranges,
    Run,
    Why, //
};
use crate::ondisk::{
    Blocks,
    GroupNumber,
    Lblk,
    Pblk,
    PblkRange, //
};
use core::{
    num::NonZeroU32,
    ops::Deref, //
};

/// What to look for in a group. See [`Search::next`](super::Search::next).
#[derive(Clone, Copy, Debug)]
pub struct Probe {
    pub(super) group: GroupNumber,
    /// The bit of the goal.
    pub(super) from: u32,
    /// How many blocks are taken, at most.
    pub(super) n: u32,
    pub(super) want: Want,
    /// Whether windows count as free.
    pub(super) seize: bool,
}

/// What is looked for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Want {
    /// At least `len` blocks that begin with the goal.
    At { len: u32 },
    /// A run of at least `len` blocks.
    Run { len: u32 },
    /// One of at least `len` blocks that has `lblk` where huge pages have it.
    Aligned { len: u32, lblk: Lblk },
}

/// What a look into a group has found.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct Look {
    /// Blocks to take, no more than wanted. Before they are claimed, windows among them are to be
    /// [seized](super::seize), which is nothing to do mostly.
    pub blocks: Option<PblkRange>,
    /// The longest run of clear bits, if all of the bitmap was looked at.
    pub longest: Option<u32>,
}

/// A run that would do.
#[derive(Clone, Copy)]
struct Fit {
    start: u32,
    /// Free blocks from `start` on.
    room: u32,
}

impl Probe {
    /// The group to look into.
    pub fn group(&self) -> GroupNumber {
        self.group
    }

    /// Looks into the group, whose lock the caller has: it protects `bitmap` and `held`.
    pub fn look<B: Deref<Target = [u8]>>(
        &self,
        geometry: Geometry<'_>,
        bitmap: &Bitmap<B>,
        held: &impl Ranges,
    ) -> Look {
        let pieces = |run| Pieces {
            geometry,
            group: self.group,
            run,
            held,
            seize: self.seize,
        };
        let (fit, longest) = match self.want {
            Want::At { len } => (self.at(bitmap, len, pieces), None),
            Want::Run { len } => self.best(bitmap, len, pieces, Some),
            Want::Aligned { len, lblk } => {
                let base = geometry.volume().group_blocks(self.group).start;
                let huge = geometry.huge();
                self.best(bitmap, len, pieces, |start| align(base, huge, lblk, start))
            }
        };
        Look {
            blocks: fit.map(|fit| {
                let run = Run {
                    start: fit.start,
                    // OVERFLOW: bits of the bitmap.
                    end: fit.start.saturating_add(fit.room.min(self.n)),
                };
                geometry.pblks(self.group, run)
            }),
            longest,
        }
    }

    /// What is free from the goal on.
    fn at<'a, B: Deref<Target = [u8]>, R: Ranges + 'a>(
        &self,
        bitmap: &Bitmap<B>,
        len: u32,
        pieces: impl Fn(Run) -> Pieces<'a, R>,
    ) -> Option<Fit> {
        let start = self.from;
        let end = bitmap.next_set(start);
        let first = pieces(Run { start, end }).next()?;
        let room = first.len();
        (first.start == start && room >= len).then_some(Fit { start, room })
    }

    /// The shortest run of at least `len` blocks from the first bit on that `align` gives for its
    /// start: one behind the goal, else one before. Then, how long the longest run is.
    fn best<'a, B: Deref<Target = [u8]>, R: Ranges + 'a>(
        &self,
        bitmap: &Bitmap<B>,
        len: u32,
        pieces: impl Fn(Run) -> Pieces<'a, R>,
        align: impl Fn(u32) -> Option<u32>,
    ) -> (Option<Fit>, Option<u32>) {
        let mut longest = 0;
        let (mut behind, mut before): (Option<Fit>, Option<Fit>) = (None, None);
        let consider = |best: &mut Option<Fit>, piece: Run| {
            let Some(start) = align(piece.start) else {
                return;
            };
            // Nothing, if the piece has no such bit.
            let room = piece.end.saturating_sub(start);
            if room >= len && best.is_none_or(|best| room < best.room) {
                *best = Some(Fit { start, room });
            }
        };
        for run in bitmap.runs() {
            longest = run.len().max(longest);
            if run.len() < len {
                continue;
            }
            for piece in pieces(run) {
                if piece.start < self.from {
                    consider(&mut before, piece);
                }
                let start = piece.start.max(self.from);
                consider(&mut behind, Run { start, ..piece });
            }
        }
        (behind.or(before), Some(longest))
    }
}

/// The first bit at or behind `start` whose block is in the place of a huge page that `lblk` has.
fn align(base: Pblk, huge: NonZeroU32, lblk: Lblk, start: u32) -> Option<u32> {
    let huge = core::num::NonZeroU64::from(huge);
    let place = base.checked_add(Blocks(start.into()))?.0 % huge;
    let wanted = u64::from(lblk.0) % huge;
    // OVERFLOW: both are less than a huge page.
    let skip = wanted.saturating_add(huge.get()).saturating_sub(place) % huge;
    start.checked_add(u32::try_from(skip).ok()?)
}

/// What is left of a run without the blocks that are held.
struct Pieces<'a, R> {
    geometry: Geometry<'a>,
    group: GroupNumber,
    /// What of it is still to be looked at.
    run: Run,
    held: &'a R,
    seize: bool,
}

impl<R: Ranges> Pieces<'_, R> {
    /// The first range of the rest of the run that is not to be taken.
    fn first_held(&self) -> Option<Run> {
        let blocks = self.geometry.pblks(self.group, self.run);
        let mut pblk = blocks.start;
        loop {
            let held = self.held.first_behind(pblk)?;
            if held.blocks.start >= blocks.end {
                return None;
            }
            if !(self.seize && matches!(held.why, Why::Window(_))) {
                return Some(self.geometry.run(self.group, held.blocks));
            }
            pblk = held.blocks.end;
        }
    }
}

impl<R: Ranges> Iterator for Pieces<'_, R> {
    type Item = Run;

    fn next(&mut self) -> Option<Run> {
        while !self.run.is_empty() {
            let start = self.run.start;
            let end = match self.first_held() {
                None => {
                    self.run.start = self.run.end;
                    self.run.end
                }
                Some(held) => {
                    self.run.start = held.end;
                    held.start
                }
            };
            if start < end {
                return Some(Run { start, end });
            }
        }
        None
    }
}
