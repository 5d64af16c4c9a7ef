// SPDX-License-Identifier: GPL-2.0

//! Extents whose blocks get another state: unwritten → written, when data has been written to them;
//! written → unwritten, when they are to be read as zeroes.

use super::{
    remove::around,
    splice::Splice,
    Error,
    Nodes,
    Result,
    Tree, //
};
use crate::ondisk::{
    extent::{
        Extent,
        Few,
        Leaf,
        State, //
    },
    Lblk,
    LblkRange, //
};

/// What [`Tree::convert`] has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Converted {
    /// The block before which all are done.
    pub next: Lblk,
    /// The blocks that got the state, if any did.
    pub extent: Option<Extent>,
}

impl<N: Nodes> Tree<'_, N> {
    /// Gives blocks of the first extent that has some in `lblks`, but not in that state, this state;
    /// holes stay what they are. Where it stops before the end, the rest takes another call, which
    /// can have another handle:
    ///
    /// ```
    /// # use extent_tree::{Nodes, Result, Tree};
    /// # use ondisk::{extent::State, LblkRange};
    /// fn written<N: Nodes>(
    ///     tree: &mut Tree<'_, N>,
    ///     mut lblks: LblkRange,
    /// ) -> Result<(), N> {
    ///     while lblks.start < lblks.end {
    ///         lblks.start = tree.convert(lblks, State::Written)?.next;
    ///     }
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// [`TooDeep`](Error::TooDeep), as an extent can become three. The tree is as it was, except
    /// after an error from a [change](super).
    pub fn convert(&mut self, lblks: LblkRange, state: State) -> Result<Converted, N> {
        let nothing = |next| Converted { next, extent: None };
        if lblks.start >= lblks.end {
            return Ok(nothing(lblks.end));
        }
        let (path, found) = self.walk(lblks.start, |this, leaf, leaf_lblks| {
            let Some((at, extent)) = find(&leaf, lblks, state) else {
                return Ok(Err(lblks.end.min(leaf_lblks.end)));
            };
            let (splice, part) = this
                .converted(&leaf, at, &extent, lblks, state)
                .ok_or(Error::Inconsistent)?;
            Ok(Ok((splice, part)))
        })?;
        match found {
            Err(end) => Ok(nothing(end)),
            Ok((splice, part)) => {
                self.change(path, splice)?;
                Ok(Converted {
                    next: part.lblks().end,
                    extent: Some(part),
                })
            }
        }
    }

    /// What becomes of a leaf when what its extent `at` has in `lblks` gets another state, and what
    /// part of it does.
    fn converted(
        &self,
        leaf: &Leaf<'_>,
        at: usize,
        extent: &Extent,
        mut lblks: LblkRange,
        state: State,
    ) -> Option<(Splice, Extent)> {
        // An unwritten extent cannot be as long as a written one.
        let start = lblks.start.max(extent.lblks().start);
        let longest = start.checked_add(state.max_len());
        lblks.end = longest.map_or(lblks.end, |longest| longest.min(lblks.end));

        let part = self.part(extent, lblks, state)?;
        let mut middle = part;
        let [head, tail] =
            around(extent, &part).map(|lblks| self.part(extent, lblks, extent.state()));
        let mut splice = at..at.checked_add(1)?;
        if head.is_none() {
            let before = at.checked_sub(1).and_then(|n| leaf.get(n));
            if let Some(longer) = before.and_then(|before| self.joined(&before, &middle)) {
                splice.start = splice.start.saturating_sub(1);
                middle = longer;
            }
        }
        if tail.is_none() {
            let after = leaf.get(splice.end);
            if let Some(longer) = after.and_then(|after| self.joined(&middle, &after)) {
                splice.end = splice.end.saturating_add(1);
                middle = longer;
            }
        }
        let with = match (head, tail) {
            (Some(head), Some(tail)) => Few::extents(&[head, middle, tail]),
            (Some(head), None) => Few::extents(&[head, middle]),
            (None, Some(tail)) => Few::extents(&[middle, tail]),
            (None, None) => Few::extents(&[middle]),
        }?;
        Some((Splice { at: splice, with }, part))
    }
}

/// The first extent of a leaf that has blocks in `lblks`, but not in that state.
fn find(leaf: &Leaf<'_>, lblks: LblkRange, state: State) -> Option<(usize, Extent)> {
    let mut n = leaf.position(lblks.start).saturating_sub(1);
    loop {
        let extent = leaf.get(n)?;
        if extent.lblks().start >= lblks.end {
            return None;
        }
        if extent.lblks().end > lblks.start && extent.state() != state {
            return Some((n, extent));
        }
        n = n.checked_add(1)?;
    }
}
