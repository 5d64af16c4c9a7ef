// SPDX-License-Identifier: GPL-2.0

//! Extents that go, from the right to the left: extent → hole, or hole in the middle of it.

use super::{
    splice::Splice,
    Error,
    Nodes,
    Result,
    Tree, //
};
use crate::ondisk::{
    extent::{
        Extent,
        Few, //
    },
    Blocks,
    Lblk,
    LblkRange, //
};

impl<N: Nodes> Tree<'_, N> {
    /// Removes what the last extent that has blocks in `lblks` has there, or the last `most` blocks
    /// of that, and returns it; none if all of that is a hole. Its blocks are the caller's to free, in
    /// the same handle.
    ///
    /// Each call leaves a tree in good order; the next one can have another handle:
    ///
    /// ```
    /// # use extent_tree::{Nodes, Result, Tree};
    /// # use ondisk::{Blocks, LblkRange, PblkRange};
    /// fn punch<N: Nodes>(
    ///     tree: &mut Tree<'_, N>,
    ///     lblks: LblkRange,
    ///     free: impl Fn(PblkRange),
    /// ) -> Result<(), N> {
    ///     while let Some(removed) = tree.remove(lblks, Blocks(1 << 10))? {
    ///         free(removed.pblks());
    ///     }
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// [`TooDeep`](Error::TooDeep), as what is left of an extent can be two. The tree is as it was,
    /// except after an error from a [change](super).
    pub fn remove(&mut self, lblks: LblkRange, most: Blocks) -> Result<Option<Extent>, N> {
        let Some(last) = lblks.end.0.checked_sub(1).map(Lblk) else {
            return Ok(None);
        };
        let (path, found) = self.walk(last, |this, leaf, _| {
            let before = leaf.position(last).checked_sub(1);
            let Some((at, extent)) = before.and_then(|n| Some((n, leaf.get(n)?))) else {
                return Ok(None);
            };
            let state = extent.state();
            let end = lblks.end.min(extent.lblks().end);
            let start = end
                .0
                .saturating_sub(u32::try_from(most.0).unwrap_or(u32::MAX));
            let start = lblks.start.max(Lblk(start));
            let Some(removed) = this.part(&extent, LblkRange { start, end }, state) else {
                return Ok(None);
            };
            let [head, tail] =
                around(&extent, &removed).map(|lblks| this.part(&extent, lblks, state));
            let with = match (head, tail) {
                (Some(head), Some(tail)) => Few::extents(&[head, tail]),
                (Some(one), None) | (None, Some(one)) => Few::extents(&[one]),
                (None, None) => Some(Few::NONE),
            };
            let splice = Splice {
                at: at..at.saturating_add(1),
                with: with.ok_or(Error::Inconsistent)?,
            };
            Ok(Some((splice, removed)))
        })?;
        let Some((splice, removed)) = found else {
            return Ok(None);
        };
        self.change(path, splice)?;
        Ok(Some(removed))
    }
}

/// The blocks of an extent before and behind a part of it.
pub(super) fn around(extent: &Extent, part: &Extent) -> [LblkRange; 2] {
    let (whole, part) = (extent.lblks(), part.lblks());
    [
        LblkRange {
            start: whole.start,
            end: part.start,
        },
        LblkRange {
            start: part.end,
            end: whole.end,
        },
    ]
}
