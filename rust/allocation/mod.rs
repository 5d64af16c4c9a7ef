// SPDX-License-Identifier: GPL-2.0

//! Which blocks and inodes to take, as values.
//!
//! room [promised](Space) → [searched](Search) for from group to group → claimed, as others may
//! search at the same time → set in the bitmap, and the descriptor [changed](usage)
//!
//! [`Bitmap`] is what a group's block says; [`Ranges`] are what is free there, and still not to be
//! taken; a [`Summary`] says of each group whether it is worth a look. A [`Window`] keeps blocks
//! before a growing file free for it.
//!
//! Nothing here reads, locks, allocates or frees: memory is lent, and a search says which bitmap it
//! wants to see next. Volumes with `bigalloc` are not written, so they have no [`Geometry`].

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

mod bitmap;
mod geometry;
mod held;
pub mod huge;
mod inodes;
mod probe;
mod promised;
mod search;
mod space;
mod summary;
pub mod usage;
mod window;

pub use bitmap::{
    Bitmap,
    Runs,
    WrongBit, //
};
pub use geometry::{
    Geometry,
    Groups,
    Place,
    Run, //
};
pub use held::{
    hold,
    overlap,
    seize,
    sweep,
    unclaim,
    Held,
    Ranges,
    Swept,
    Why, //
};
pub use inodes::{
    find_inode,
    InodeSearch,
    Kind, //
};
pub use probe::{
    Look,
    Probe, //
};
pub use promised::Promised;
pub use search::{
    Goal,
    Request,
    Search,
    PROBES, //
};
pub use space::{
    Kept,
    NoSpace,
    Space,
    Trial,
    Who, //
};
pub use summary::{
    Sum,
    Summary, //
};
pub use window::{
    ahead,
    Window, //
};
