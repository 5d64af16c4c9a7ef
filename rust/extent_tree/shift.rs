// SPDX-License-Identifier: GPL-2.0

//! Extents that move within the file, a leaf at a time.
//!
//! a hole → it is behind the extents of the next leaf → … → behind all of them
//!
//! all extents, the last of them first: of one leaf, more to the right → …; there is a hole before them

use super::{
    splice::Splice,
    Error,
    Nodes,
    Result,
    Tree, //
};
use crate::ondisk::{
    extent::{
        Child,
        Few,
        Leaf,
        NodeMut, //
    },
    Blocks,
    Lblk,
    LblkRange,
    Shift, //
};
use core::ops::Range;

/// Some extents of a leaf, which follow each other, that move.
pub(super) struct Moved {
    at: Range<usize>,
    shift: Shift,
}

impl Moved {
    /// The block of the file that the leaf begins with then.
    pub(super) fn start_after(&self, leaf: Child) -> Option<Lblk> {
        let start = leaf.lblks().start;
        if self.at.start > 0 {
            Some(start)
        } else {
            start.shifted(self.shift)
        }
    }

    /// Does it to the leaf.
    pub(super) fn apply(&self, leaf: &mut NodeMut<'_>) -> Option<()> {
        leaf.shift(self.at.clone(), self.shift)
    }
}

impl<N: Nodes> Tree<'_, N> {
    /// Moves the extents that the next leaf has behind a hole to the beginning of that, and returns the hole
    /// as it is then, as long as before and behind them; none if there are no extents behind it.
    ///
    /// ```
    /// # use extent_tree::{Nodes, Result, Tree};
    /// # use ondisk::LblkRange;
    /// fn close<N: Nodes>(tree: &mut Tree<'_, N>, mut hole: LblkRange) -> Result<(), N> {
    ///     while let Some(next) = tree.shift_left(hole)? {
    ///         hole = next;
    ///     }
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Occupied`](Error::Occupied) if it is no hole. The tree is as it was, except after an error from a
    /// [change](super).
    pub fn shift_left(&mut self, hole: LblkRange) -> Result<Option<LblkRange>, N> {
        let shift = Shift::Left(hole.len());
        let mut from = hole.start;
        // A leaf that has none behind the hole tells where the next one begins, which has.
        while from < Lblk::END {
            let (path, found) = self.walk(from, |_, leaf, leaf_lblks| {
                let at = leaf.position(hole.start);
                if ends_behind(&leaf, at, hole.start) {
                    return Err(Error::Occupied);
                }
                let end = leaf.position(Lblk::END);
                let ends = leaf
                    .get(at)
                    .zip(end.checked_sub(1).and_then(|n| leaf.get(n)));
                let Some((first, last)) = ends else {
                    return Ok(Err(leaf_lblks.end));
                };
                if first.lblks().start < hole.end {
                    return Err(Error::Occupied);
                }
                let end_after = last.lblks().end.shifted(shift);
                let next = LblkRange {
                    start: end_after.ok_or(Error::Inconsistent)?,
                    end: last.lblks().end,
                };
                let moved = Moved { at: at..end, shift };
                Ok(Ok((moved, next)))
            })?;
            match found {
                Err(end) => from = end,
                Ok((moved, next)) => {
                    self.move_extents(path, moved)?;
                    return Ok(Some(next));
                }
            }
        }
        Ok(None)
    }

    /// Moves the extents that begin in `lblks` and are in the last leaf that has such `by` blocks to the right,
    /// and returns what the others begin in; none if there were none. No extent goes on over the beginning
    /// of `lblks` ([`split`](Self::split)), nor over the end.
    ///
    /// ```
    /// # use extent_tree::{Nodes, Result, Tree};
    /// # use ondisk::{Blocks, Lblk, LblkRange};
    /// fn open<N: Nodes>(tree: &mut Tree<'_, N>, at: Lblk, by: Blocks) -> Result<(), N> {
    ///     tree.split(at)?;
    ///     let mut lblks = LblkRange::all_from(at);
    ///     while let Some(rest) = tree.shift_right(lblks, by)? {
    ///         lblks = rest;
    ///     }
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Occupied`](Error::Occupied) if an extent does go on there, or if they had to end behind where a file
    /// can, or where another extent begins. The tree is as it was, except after an error from a [change](super).
    pub fn shift_right(&mut self, lblks: LblkRange, by: Blocks) -> Result<Option<LblkRange>, N> {
        let Some(last) = lblks.end.0.checked_sub(1).map(Lblk) else {
            return Ok(None);
        };
        let shift = Shift::Right(by);
        let (path, found) = self.walk(last, |_, leaf, leaf_lblks| {
            let at = behind(&leaf, lblks.start);
            if ends_behind(&leaf, at, lblks.start) {
                return Err(Error::Occupied);
            }
            let end = leaf.position(last);
            let ends = leaf
                .get(at)
                .zip(end.checked_sub(1).and_then(|n| leaf.get(n)));
            let Some((first, last)) = ends.filter(|_| at < end) else {
                return Ok(None);
            };
            let next = leaf.get(end);
            let next = next.map_or(leaf_lblks.end, |next| next.lblks().start);
            let fits = last
                .shifted(shift)
                .is_some_and(|last| last.lblks().end <= next);
            if !fits || last.lblks().end > lblks.end {
                return Err(Error::Occupied);
            }
            let rest = LblkRange {
                end: first.lblks().start,
                ..lblks
            };
            let moved = Moved { at: at..end, shift };
            Ok(Some((moved, rest)))
        })?;
        let Some((moved, rest)) = found else {
            return Ok(None);
        };
        self.move_extents(path, moved)?;
        Ok(Some(rest))
    }

    /// Has an extent begin with block `at`, if one has it and the block before.
    ///
    /// # Errors
    ///
    /// [`TooDeep`](Error::TooDeep), as there is one more. The tree is as it was, except after an error from a
    /// [change](super).
    pub fn split(&mut self, at: Lblk) -> Result<(), N> {
        let (path, splice) = self.walk(at, |this, leaf, _| {
            let n = behind(&leaf, at).checked_sub(1);
            let Some((n, extent)) = n.and_then(|n| Some((n, leaf.get(n)?))) else {
                return Ok(None);
            };
            let LblkRange { start, end } = extent.lblks();
            if end <= at {
                return Ok(None);
            }
            let [head, tail] = [LblkRange { start, end: at }, LblkRange { start: at, end }]
                .map(|lblks| this.part(&extent, lblks, extent.state()));
            let both = head.zip(tail).ok_or(Error::Inconsistent)?;
            Ok(Some(Splice {
                at: n..n.saturating_add(1),
                with: Few::extents(&[both.0, both.1]).ok_or(Error::Inconsistent)?,
            }))
        })?;
        match splice {
            Some(splice) => self.change(path, splice),
            None => Ok(()),
        }
    }

    /// Makes the extent that ends before block `at` and the one that begins with it one, if they are in the same
    /// leaf and go on from one to the other.
    ///
    /// # Errors
    ///
    /// What reading says. The tree is as it was, except after an error from a [change](super).
    pub fn join(&mut self, at: Lblk) -> Result<(), N> {
        let (path, splice) = self.walk(at, |this, leaf, _| {
            let n = behind(&leaf, at);
            let before = n.checked_sub(1).and_then(|n| Some((n, leaf.get(n)?)));
            let Some(((start, before), after)) = before.zip(leaf.get(n)) else {
                return Ok(None);
            };
            let Some(joined) = this.joined(&before, &after) else {
                return Ok(None);
            };
            Ok(Some(Splice {
                at: start..n.saturating_add(1),
                with: Few::extents(&[joined]).ok_or(Error::Inconsistent)?,
            }))
        })?;
        match splice {
            Some(splice) => self.change(path, splice),
            None => Ok(()),
        }
    }
}

/// How many extents of a leaf begin before a block.
fn behind(leaf: &Leaf<'_>, lblk: Lblk) -> usize {
    lblk.0
        .checked_sub(1)
        .map_or(0, |before| leaf.position(Lblk(before)))
}

/// Whether the extent before number `at` goes on behind the beginning of a block.
fn ends_behind(leaf: &Leaf<'_>, at: usize, lblk: Lblk) -> bool {
    at.checked_sub(1)
        .and_then(|n| leaf.get(n))
        .is_some_and(|before| before.lblks().end > lblk)
}
