// SPDX-License-Identifier: GPL-2.0

//! Claims: which file a block of the volume is mapped from, and where in the file it is.
//!
//! block: unclaimed → claimed for one place in one file → released, unclaimed
//!
//! Claims for the same file that go on in each other, in the file as on the volume, are one claim.

use super::Extent;
use crate::ondisk::{
    Ino,
    Lblk,
    LblkRange,
    Pblk,
    PblkRange, //
};

/// Blocks of the volume that one file has, in a row.
///
/// # Invariants
///
/// Not of no blocks. The file's blocks have numbers of 32 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    pblks: PblkRange,
    ino: Ino,
    /// What a block's number in the file lacks to that on the volume, modulo 2^64.
    delta: u64,
}

impl Claim {
    /// Blocks `pblks` for the file with inode `ino`, the first one for its block `lblk`; `None` if
    /// that is none, or if no file has so many.
    pub fn new(ino: Ino, lblk: Lblk, pblks: PblkRange) -> Option<Self> {
        let n = pblks.end.0.checked_sub(pblks.start.0)?;
        u64::from(lblk.0)
            .checked_add(n)
            .filter(|end| n > 0 && *end <= u64::from(Lblk::END.0))?;
        Some(Self {
            pblks,
            ino,
            delta: pblks.start.0.wrapping_sub(lblk.0.into()),
        })
    }

    /// What `extent`, of the file with inode `ino`, has of the blocks `lblks` of that file; `None` if
    /// that is none.
    pub fn of(ino: Ino, extent: &Extent, lblks: LblkRange) -> Option<Self> {
        let start = lblks.start.max(extent.lblks().start);
        let end = lblks.end.min(extent.lblks().end);
        let pblk = extent.pblk(start)?;
        let pblks = PblkRange {
            start: pblk,
            end: pblk.checked_add(end.checked_sub(start)?)?,
        };
        Self::new(ino, start, pblks)
    }

    /// The blocks.
    pub fn pblks(&self) -> PblkRange {
        self.pblks
    }

    /// The number of the file's inode.
    pub fn ino(&self) -> Ino {
        self.ino
    }

    /// Which block of the file is at `pblk`, if that is one of these.
    pub fn lblk(&self, pblk: Pblk) -> Option<Lblk> {
        if pblk < self.pblks.start || self.pblks.end <= pblk {
            return None;
        }
        u32::try_from(pblk.0.wrapping_sub(self.delta))
            .ok()
            .map(Lblk)
    }

    /// Whether a block that is in both is at one place in one file.
    fn agrees(&self, other: &Self) -> bool {
        self.ino == other.ino && self.delta == other.delta
    }
}

/// A block that another place has, in this file or in another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The block.
    pub pblk: Pblk,
    /// Who has it.
    pub by: Claim,
}

/// What came of a wish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All of the blocks are claimed, now or already before.
    Claimed,
    /// One of them is somebody else's. Nothing has changed.
    Taken(Taken),
    /// A spare node is needed. Nothing has changed.
    NoNode,
}

/// The claims on a volume. No two are for one block.
pub trait Ledger {
    /// Memory for one claim.
    type Node;

    /// The last claim that begins at or before `pblk`, if there is one.
    fn at_or_before(&self, pblk: Pblk) -> Option<Claim>;

    /// The first claim that begins at or behind `pblk`, if there is one.
    fn at_or_behind(&self, pblk: Pblk) -> Option<Claim>;

    /// Adds a claim, whose blocks no other has.
    fn insert(&mut self, claim: Claim, node: Self::Node);

    /// Takes a claim out, and gives its memory.
    fn remove(&mut self, claim: Claim) -> Option<Self::Node>;
}

/// Claims all that `wanted` says, or nothing. The node is taken from `spare` if one is needed.
///
/// What is claimed already takes one look into the claims; the rest, a few for each claim that
/// `wanted` meets.
pub fn claim<L: Ledger>(claims: &mut L, wanted: Claim, spare: &mut Option<L::Node>) -> Outcome {
    let pblks = wanted.pblks;
    let mut joined = wanted;
    let mut next = claims
        .at_or_before(pblks.start)
        .filter(|claim| pblks.start <= claim.pblks.end)
        .or_else(|| claims.at_or_behind(pblks.start));
    // One that begins where `wanted` ends may go on in it.
    while let Some(met) = next.filter(|claim| claim.pblks.start <= pblks.end) {
        if met.agrees(&wanted) {
            if met.pblks.covers(pblks) {
                return Outcome::Claimed;
            }
            joined.pblks.start = joined.pblks.start.min(met.pblks.start);
            joined.pblks.end = joined.pblks.end.max(met.pblks.end);
        } else if met.pblks.overlaps(pblks) {
            return Outcome::Taken(Taken {
                pblk: met.pblks.start.max(pblks.start),
                by: met,
            });
        }
        next = claims.at_or_behind(met.pblks.end);
    }
    replace(claims, joined, spare)
}

/// Releases what is claimed for the file with inode `ino` of `pblks`, up to one claim; what such a claim has around them
/// stays claimed. Returns whether there was one: then there may be more. If a claim has something on both sides, a node is
/// taken from `spare`; without one, the blocks behind are released, too.
pub fn disclaim<L: Ledger>(
    claims: &mut L,
    ino: Ino,
    pblks: PblkRange,
    spare: &mut Option<L::Node>,
) -> bool {
    let is_met = |claim: &Claim| claim.ino == ino && claim.pblks.overlaps(pblks);
    let mut met = claims.at_or_before(pblks.start).filter(is_met);
    let mut start = pblks.start;
    while met.is_none() {
        let Some(next) = claims
            .at_or_behind(start)
            .filter(|claim| claim.pblks.start < pblks.end)
        else {
            return false;
        };
        start = next.pblks.end;
        met = Some(next).filter(is_met);
    }
    let Some(claim) = met else {
        return false;
    };
    let mut node = claims.remove(claim);
    let before = PblkRange {
        start: claim.pblks.start,
        end: claim.pblks.end.min(pblks.start),
    };
    let behind = PblkRange {
        start: claim.pblks.start.max(pblks.end),
        end: claim.pblks.end,
    };
    for part in [before, behind] {
        if part.start < part.end {
            if let Some(node) = node.take().or_else(|| spare.take()) {
                let part = Claim {
                    pblks: part,
                    ..claim
                };
                claims.insert(part, node);
            }
        }
    }
    true
}

/// Puts a claim in the place of all those that are in it.
fn replace<L: Ledger>(claims: &mut L, joined: Claim, spare: &mut Option<L::Node>) -> Outcome {
    let mut node = None;
    while let Some(part) = claims
        .at_or_behind(joined.pblks.start)
        .filter(|claim| claim.pblks.start < joined.pblks.end)
    {
        node = claims.remove(part);
    }
    match node.or_else(|| spare.take()) {
        Some(node) => {
            claims.insert(joined, node);
            Outcome::Claimed
        }
        None => Outcome::NoNode,
    }
}
