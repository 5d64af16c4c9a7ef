// SPDX-License-Identifier: GPL-2.0

//! Lists with room for something of each level of a tree.

use crate::ondisk::extent::MAX_DEPTH;

/// Levels below the root, and one.
#[expect(clippy::as_conversions, reason = "the only conversion in constants")]
const ROOM: usize = MAX_DEPTH as usize + 1;

/// A few values.
pub(super) struct List<T> {
    values: [Option<T>; ROOM],
    len: usize,
}

impl<T> List<T> {
    /// None. A constant, as what a function returns is on the stack twice, and it is large.
    pub(super) const NEW: Self = Self {
        values: [const { None }; ROOM],
        len: 0,
    };

    /// Adds a value at the end, if there is room.
    pub(super) fn push(&mut self, value: T) -> Option<()> {
        *self.values.get_mut(self.len)? = Some(value);
        self.len = self.len.saturating_add(1);
        Some(())
    }

    /// Takes the last one away.
    pub(super) fn pop(&mut self) -> Option<T> {
        self.len = self.len.checked_sub(1)?;
        self.values.get_mut(self.len)?.take()
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Takes all of them away, in order, one at a time: they are large, and not to be moved twice.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = T> + '_ {
        self.len = 0;
        self.values.iter_mut().filter_map(Option::take)
    }
}
