// SPDX-License-Identifier: GPL-2.0

//! Mappings in little memory.

use super::{
    Extent,
    Mapping,
    State, //
};
use crate::ondisk::{
    Lblk,
    LblkRange,
    Pblk, //
};

/// A mapping as it is kept: a file may have millions.
#[derive(Clone, Copy, Debug)]
pub struct Record {
    start: Lblk,
    end: Lblk,
    /// The lower bits of the number of the first block on the volume; 0 without one, as the others.
    pblk_lo: u32,
    /// The upper bits: the disk has 16 for them.
    pblk_hi: u16,
    kind: Kind,
}

const _: () = assert!(size_of::<Record>() == 16);

/// What of a mapping its range and place leave out.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Hole,
    Reserved,
    Extent(State),
}

impl From<Mapping> for Record {
    fn from(mapping: Mapping) -> Self {
        let LblkRange { start, end } = mapping.lblks();
        let (pblk, kind) = match mapping {
            Mapping::Hole(_) => (0, Kind::Hole),
            Mapping::Reserved(_) => (0, Kind::Reserved),
            Mapping::Extent(extent) => (extent.start().0, Kind::Extent(extent.state())),
        };
        Self {
            start,
            end,
            // CAST: 32 bits are left.
            pblk_lo: u32::try_from(pblk & u64::from(u32::MAX)).unwrap_or(u32::MAX),
            // CAST: 48 bits, by the invariants of an extent.
            pblk_hi: u16::try_from(pblk.wrapping_shr(u32::BITS)).unwrap_or(u16::MAX),
            kind,
        }
    }
}

impl Record {
    /// The first block of the file that it tells of.
    pub fn start(&self) -> Lblk {
        self.start
    }

    /// As it was before.
    pub fn mapping(&self) -> Mapping {
        let lblks = LblkRange {
            start: self.start,
            end: self.end,
        };
        match self.kind {
            Kind::Hole => Mapping::Hole(lblks),
            Kind::Reserved => Mapping::Reserved(lblks),
            Kind::Extent(state) => {
                let hi = u64::from(self.pblk_hi).wrapping_shl(u32::BITS);
                let start = Pblk(hi | u64::from(self.pblk_lo));
                Mapping::Extent(Extent::from_parts(lblks, start, state))
            }
        }
    }
}
