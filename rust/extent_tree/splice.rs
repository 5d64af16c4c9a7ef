// SPDX-License-Identifier: GPL-2.0

//! What becomes of the entries of one node.

use crate::ondisk::{
    extent::{
        Few,
        NodeMut,
        Run, //
    },
    Lblk, //
};
use core::ops::Range;

/// Some entries, which follow each other, are replaced by a few others.
pub(super) struct Splice {
    /// Those that go.
    pub(super) at: Range<usize>,
    /// Those that come.
    pub(super) with: Few,
}

impl Splice {
    /// How many entries there are then.
    pub(super) fn len_after(&self, run: Run<'_>) -> Option<usize> {
        run.len()
            .checked_sub(self.at.len())?
            .checked_add(self.with.run().len())
    }

    /// The block of the file that they begin with then; none if there are no entries.
    pub(super) fn start_after(&self, run: Run<'_>) -> Option<Lblk> {
        if self.at.start > 0 {
            return run.start(0);
        }
        self.with.run().start(0).or_else(|| run.start(self.at.end))
    }

    /// The same of what follows the first `n` entries, if it changes none of these.
    pub(super) fn behind(&self, n: usize) -> Option<Self> {
        Some(Self {
            at: self.at.start.checked_sub(n)?..self.at.end.checked_sub(n)?,
            with: self.with,
        })
    }

    /// Does it to a node.
    pub(super) fn apply(&self, node: &mut NodeMut<'_>) -> Option<()> {
        node.splice(self.at.clone(), self.with.run())
    }

    /// Gives a node what would become of `run`, behind what it has.
    pub(super) fn copy(&self, run: Run<'_>, node: &mut NodeMut<'_>) -> Option<()> {
        append(node, run.slice(0..self.at.start)?)?;
        append(node, self.with.run())?;
        append(node, run.slice(self.at.end..run.len())?)
    }
}

/// Gives a node more entries, behind those that it has.
pub(super) fn append(node: &mut NodeMut<'_>, run: Run<'_>) -> Option<()> {
    let end = node.len();
    node.splice(end..end, run)
}
