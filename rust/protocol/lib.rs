// SPDX-License-Identifier: GPL-2.0

//! The promises as types: `rust/protocol` of stablefs as a crate of its own, so that it is
//! model-checked on the host. The module compiles the same files as `crate::protocol`.

#![no_std]
#![forbid(unsafe_code)]
#![warn(missing_docs, unreachable_pub)]

#[path = "mod.rs"]
mod protocol;

pub use protocol::*;

/// The orders that do not compile.
#[cfg(doctest)]
#[doc = include_str!("orders.md")]
struct Orders;
