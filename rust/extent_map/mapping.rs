// SPDX-License-Identifier: GPL-2.0

//! Mappings: holes and extents of a file, cut and joined.

use crate::ondisk::{
    extent,
    Blocks,
    Lblk,
    LblkRange,
    Pblk, //
};

/// What the blocks of an extent hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The file's data.
    Written,
    /// Nothing of the file's: they are allocated, and read as zeroes.
    Unwritten,
}

/// Blocks of a file that follow each other on the volume too; as many as there are, where an extent
/// on the disk has 2^15 at most.
///
/// # Invariants
///
/// Not empty. Its blocks on the volume have numbers of 48 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    lblks: LblkRange,
    start: Pblk,
    state: State,
}

impl From<extent::Extent> for Extent {
    fn from(extent: extent::Extent) -> Self {
        Self {
            lblks: extent.lblks(),
            start: extent.start(),
            state: match extent.state() {
                extent::State::Written => State::Written,
                extent::State::Unwritten => State::Unwritten,
            },
        }
    }
}

impl Extent {
    /// Blocks `lblks` of a file, at `start` and behind it; `None` if that is none, or has numbers
    /// on the volume that do not fit into the 48 bits of the format.
    pub fn new(lblks: LblkRange, start: Pblk, state: State) -> Option<Self> {
        let extent = Self {
            lblks,
            start,
            state,
        };
        let end = start.checked_add(extent.len())?;
        (lblks.start < lblks.end && end.0 < 1 << 48).then_some(extent)
    }

    /// The same blocks again, from their parts.
    pub(super) fn from_parts(lblks: LblkRange, start: Pblk, state: State) -> Self {
        // INVARIANT: By the caller, who had an extent of these blocks.
        Self {
            lblks,
            start,
            state,
        }
    }

    /// Which blocks of the file.
    pub fn lblks(&self) -> LblkRange {
        self.lblks
    }

    /// Where the first of them is on the volume.
    pub fn start(&self) -> Pblk {
        self.start
    }

    /// How many.
    pub fn len(&self) -> Blocks {
        self.lblks.len()
    }

    /// What they hold.
    pub fn state(&self) -> State {
        self.state
    }

    /// Where a block of the file is on the volume, if it is one of these.
    pub fn pblk(&self, lblk: Lblk) -> Option<Pblk> {
        if !self.lblks.contains(lblk) {
            return None;
        }
        self.start.checked_add(lblk.checked_sub(self.lblks.start)?)
    }
}

/// What is known of some blocks of a file, never of none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mapping {
    /// They are nowhere, and read as zeroes.
    Hole(LblkRange),
    /// As far as the disk knows, a hole. There is room on the volume for them, but no place yet: the
    /// data are in the page cache only (delayed allocation).
    Reserved(LblkRange),
    /// They are on the volume.
    Extent(Extent),
}

impl Mapping {
    /// The blocks of the file that it tells of.
    pub fn lblks(&self) -> LblkRange {
        match self {
            Self::Hole(lblks) | Self::Reserved(lblks) => *lblks,
            Self::Extent(extent) => extent.lblks,
        }
    }

    /// What it tells of the blocks in `range`, if of any.
    pub fn clip(self, range: LblkRange) -> Option<Self> {
        let lblks = LblkRange {
            start: self.lblks().start.max(range.start),
            end: self.lblks().end.min(range.end),
        };
        if lblks.start >= lblks.end {
            return None;
        }
        Some(match self {
            Self::Hole(_) => Self::Hole(lblks),
            Self::Reserved(_) => Self::Reserved(lblks),
            Self::Extent(extent) => {
                let start = extent.pblk(lblks.start)?;
                Self::Extent(Extent::from_parts(lblks, start, extent.state))
            }
        })
    }

    /// How many of the blocks in `range` it says are reserved.
    pub(super) fn reserved(self, range: LblkRange) -> Blocks {
        match self.clip(range) {
            Some(Self::Reserved(lblks)) => lblks.len(),
            _ => Blocks(0),
        }
    }

    /// Both as one, if the other goes on where this ends: in the file, and on the volume.
    pub(super) fn join(self, next: Self) -> Option<Self> {
        if self.lblks().end != next.lblks().start {
            return None;
        }
        let lblks = LblkRange {
            start: self.lblks().start,
            end: next.lblks().end,
        };
        match (self, next) {
            (Self::Hole(_), Self::Hole(_)) => Some(Self::Hole(lblks)),
            (Self::Reserved(_), Self::Reserved(_)) => Some(Self::Reserved(lblks)),
            (Self::Extent(extent), Self::Extent(next))
                if extent.state == next.state
                    && extent.start.checked_add(extent.len()) == Some(next.start) =>
            {
                Some(Self::Extent(Extent::from_parts(
                    lblks,
                    extent.start,
                    extent.state,
                )))
            }
            _ => None,
        }
    }

    /// Whether the tree on the disk, or the journal's copy of it, says the same, so that it may be
    /// forgotten.
    pub(super) fn is_in_tree(self) -> bool {
        match self {
            Self::Hole(_) => true,
            Self::Reserved(_) => false,
            Self::Extent(extent) => match extent.state {
                State::Written | State::Unwritten => true,
            },
        }
    }
}
