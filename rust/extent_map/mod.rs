// SPDX-License-Identifier: GPL-2.0

//! What is known of where the blocks of a file are, as values.
//!
//! a block of the file: unknown → known (hole, reserved, unwritten, written) → changed → forgotten,
//! unknown
//!
//! What is known is a [`Mapping`], kept as a [`Record`] of 16 bytes. A hole that is known is a record
//! as an extent is; what no record tells of is unknown. [`cover`] makes records of a part of the
//! tree on the disk: joined where they go on, without a gap between them. A [`Chunk`] is a run of
//! such records; the chunks of a file are in a [`Directory`], whose memory and locks are its
//! implementer's. [`lookup`], [`gap`] and [`sweep`] are what is done with one, and [`set`],
//! [`reserve`] and [`release`] change what it tells; [`forget`] has it tell nothing of blocks that move.
//!
//! A [`Claim`] is the other way round: what file a block of the volume is mapped from. The claims of
//! a volume are in a [`Ledger`], kept by its implementer, and [`claim`](claim()) adds to them.
//!
//! Nothing here allocates or frees, and everything here is a bounded number of steps, so that it can
//! be done under a spinlock. What a change may need comes with it as a [`Spare`].

#![cfg_attr(
    not(test),
    deny(
        clippy::arithmetic_side_effects,
        clippy::as_conversions,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::unwrap_used
    )
)]

mod change;
mod chunk;
mod claim;
mod cover;
mod directory;
mod mapping;
mod record;

pub use change::{
    forget,
    release,
    reserve,
    set,
    Change,
    Error,
    Spare,
    SpareOf, //
};
pub use chunk::{
    Chunk,
    Records,
    MAX_RECORDS, //
};
pub use claim::{
    claim,
    disclaim,
    Claim,
    Ledger,
    Outcome,
    Taken, //
};
pub use cover::cover;
pub use directory::{
    gap,
    lookup,
    sweep,
    Directory,
    Swept, //
};
pub use mapping::{
    Extent,
    Mapping,
    State, //
};
pub use record::Record;
