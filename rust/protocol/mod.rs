// SPDX-License-Identifier: GPL-2.0

//! The promises of stablefs as types: each step of a protocol consumes the one before it, so that a
//! wrong order does not compile.
//!
//! | module | what it keeps in order | who is to take the steps |
//! | --- | --- | --- |
//! | [`writeback`] | a dirty folio, on its way to the device | `fs/writeback.rs` |
//! | [`fault`] | a store to a page that is mapped for reading | `fs/fault.rs` |
//! | [`folio`] | a locked folio whose bytes are about to change | the fault; C, for `write` and truncate |
//! | [`direct`] | reads and writes without the page cache | `fs/dio.rs` |
//! | [`initialise`] | blocks that become a file's | `fs/extents.rs` |
//!
//! Nothing here knows the kernel. What a step does is a method of a small trait, implemented by
//! `rust/kernel`; a method is as much as C does in one call, or between two of its callbacks. Whoever
//! has a bare value that implements one of these traits can begin a protocol with it, and so has to
//! be what the trait says. That is `rust/kernel`, which makes such values where C says so. The states
//! keep the value to themselves: `rust/fs` can go on, or drop it.
//!
//! What a type cannot see is another CPU that stores, a pin, or a page-table entry. `tests/model` runs
//! this code against all of these, in every order, and without any step of it.

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

pub mod direct;
pub mod fault;
pub mod folio;
pub mod initialise;
pub mod writeback;
