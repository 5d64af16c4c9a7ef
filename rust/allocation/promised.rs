// SPDX-License-Identifier: GPL-2.0

//! What is [promised](super::Space::promise) to one file.
//!
//! dirty → submitted to the device → data of the file

/// Blocks of a file that are unwritten, and for which the page cache has data.
///
/// Some are counted more than once, when they are written to again; none is left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Promised {
    /// Those that are to be submitted.
    dirty: u64,
    /// Those that were, and are not recorded as data yet.
    submitted: u64,
}

impl Promised {
    /// All of them.
    pub fn all(&self) -> u64 {
        self.dirty.saturating_add(self.submitted)
    }

    /// Counts `n` blocks that are written to, when the page cache has room for `cached` already. Returns how
    /// many more are counted than there can be, which are not any more.
    pub fn write(&mut self, n: u64, cached: u64) -> u64 {
        // OVERFLOW: blocks of page caches, here as below.
        let all = self.dirty.saturating_add(n);
        self.dirty = all.min(cached.saturating_add(n));
        all.saturating_sub(self.dirty)
    }

    /// Counts blocks that were reserved, and are allocated now.
    pub fn owe(&mut self, n: u64) {
        self.dirty = self.dirty.saturating_add(n);
    }

    /// Counts no more `n` of those that are dirty, or as many as there are. Returns how many.
    pub fn cancel(&mut self, n: u64) -> u64 {
        let n = n.min(self.dirty);
        self.dirty = self.dirty.saturating_sub(n);
        n
    }

    /// Notes that `n` of them were submitted. Returns how many had not been counted.
    pub fn submit(&mut self, n: u64) -> u64 {
        self.submitted = self.submitted.saturating_add(n);
        n.saturating_sub(self.cancel(n))
    }

    /// Notes that `n` of those that were submitted are data, or have failed. Returns how many are not
    /// counted any more.
    pub fn end(&mut self, n: u64) -> u64 {
        let n = n.min(self.submitted);
        self.submitted = self.submitted.saturating_sub(n);
        n
    }

    /// Notes that nothing is dirty. Returns how many are not counted any more.
    pub fn clean(&mut self) -> u64 {
        core::mem::take(&mut self.dirty)
    }
}
