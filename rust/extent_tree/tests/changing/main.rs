// SPDX-License-Identifier: GPL-2.0

//! Trees that are changed step by step, with all of them checked by `ondisk` after each step.

#[path = "../common/store.rs"]
mod store;

mod cost;
mod edges;
mod failure;
mod model;

use ondisk::{
    extent::{
        Extent,
        State, //
    },
    Blocks,
    Lblk,
    LblkRange,
    Pblk,
    Superblock, //
};

const WRITTEN: State = State::Written;
const UNWRITTEN: State = State::Unwritten;

/// However long an extent is.
const ALL: Blocks = Blocks(1 << 32);

fn range(start: u32, end: u32) -> LblkRange {
    LblkRange {
        start: Lblk(start),
        end: Lblk(end),
    }
}

fn extent(volume: &Superblock, start: u32, end: u32, pblk: u64, state: State) -> Extent {
    Extent::new(volume, range(start, end), Pblk(pblk), state).unwrap()
}
