// SPDX-License-Identifier: GPL-2.0

//! Blocks that huge pages are to map: those of a file that is accessed in memory.
//!
//! The blocks of a file lie *straight* if they are in the places of a huge page that the file has them in. A file that
//! does not goes on as it is up to its next huge page, for which blocks are looked for that do. No window is longer
//! than up to where the last of its huge pages ends, so that the next one begins with what is looked for.

use super::Geometry;
use crate::ondisk::{
    Blocks,
    Lblk,
    Pblk, //
};
use core::num::NonZeroU64;

/// How many blocks to take for a file, and how many more it is to have before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// How many to take, at most.
    pub n: Blocks,
    /// How many more.
    pub ahead: Blocks,
    /// Whether they may be those of a window that begins where the file ends.
    pub in_window: bool,
}

impl Cut {
    /// Of `n` blocks for a file from its block `lblk` on, and `ahead` more, those up to where a huge page of the file begins:
    /// the next one if the file goes on at `goal`, and does not lie straight; else the last one, as far as that is ahead.
    pub fn new(
        geometry: Geometry<'_>,
        goal: Option<Pblk>,
        lblk: Lblk,
        n: Blocks,
        ahead: Blocks,
    ) -> Self {
        let huge = NonZeroU64::from(geometry.huge());
        let in_page = u64::from(lblk.0) % huge;
        let is_crooked = goal.is_some_and(|pblk| !is_straight(geometry, lblk, pblk));
        // OVERFLOW: a remainder; blocks of a file, and a few more.
        let all = n.0.saturating_add(ahead.0);
        let all = if in_page != 0 && is_crooked {
            all.min(huge.get().saturating_sub(in_page))
        } else {
            let crossed = in_page.saturating_add(all) % huge;
            let up_to_page = all.saturating_sub(crossed);
            if up_to_page < n.0 {
                all
            } else {
                up_to_page
            }
        };
        let n = n.0.min(all);
        Self {
            n: Blocks(n),
            ahead: Blocks(all.saturating_sub(n)),
            in_window: in_page != 0 || !is_crooked,
        }
    }
}

/// Whether block `lblk` of a file begins a huge page of it.
pub fn begins_page(geometry: Geometry<'_>, lblk: Lblk) -> bool {
    u64::from(lblk.0) % NonZeroU64::from(geometry.huge()) == 0
}

/// Whether `pblk` has the place in a huge page that `lblk` has.
pub fn is_straight(geometry: Geometry<'_>, lblk: Lblk, pblk: Pblk) -> bool {
    let huge = NonZeroU64::from(geometry.huge());
    u64::from(lblk.0) % huge == pblk.0 % huge
}
