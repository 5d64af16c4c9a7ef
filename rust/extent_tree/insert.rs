// SPDX-License-Identifier: GPL-2.0

//! New extents: a hole → an extent, or more of its neighbours.

use super::{
    splice::Splice,
    Error,
    Nodes,
    Result,
    Tree, //
};
use crate::ondisk::extent::{
    Extent,
    Few, //
};

impl<N: Nodes> Tree<'_, N> {
    /// Inserts an extent where the file has a hole. It becomes a part of the extents around it where
    /// it goes on from one to the other in the same leaf.
    ///
    /// # Errors
    ///
    /// [`Occupied`](Error::Occupied) if there is no such hole; [`TooDeep`](Error::TooDeep). The tree
    /// is as it was, except after an error from a [change](super).
    pub fn insert(&mut self, extent: Extent) -> Result<(), N> {
        let lblks = extent.lblks();
        let (path, splice) = self.walk(lblks.start, |this, leaf, leaf_lblks| {
            let at = leaf.position(lblks.start);
            let before = at.checked_sub(1).and_then(|n| leaf.get(n));
            let after = leaf.get(at);
            let end = after.map_or(leaf_lblks.end, |after| after.lblks().start);
            if lblks.end > end || before.is_some_and(|before| before.lblks().end > lblks.start) {
                return Err(Error::Occupied);
            }

            let mut splice = at..at;
            let mut joined = extent;
            if let Some(longer) = before.and_then(|before| this.joined(&before, &joined)) {
                splice.start = splice.start.saturating_sub(1);
                joined = longer;
            }
            if let Some(longer) = after.and_then(|after| this.joined(&joined, &after)) {
                splice.end = splice.end.saturating_add(1);
                joined = longer;
            }
            Ok(Splice {
                at: splice,
                with: Few::extents(&[joined]).ok_or(Error::Inconsistent)?,
            })
        })?;
        self.change(path, splice)
    }
}
