// SPDX-License-Identifier: GPL-2.0

//! Random operations on files, and in memory what must come of them.
//!
//! Each model is carried along by the operations that it does on the volume, and compares at any time, and after any
//! remount, what is there with what must be. The same seed does the same operations.

mod acl;
mod durable;
mod failing;
mod file;
mod history;
mod in_flight;
mod tree;
mod tree_check;
mod tree_ops;
mod unruly;

pub use durable::{stale, Progress, Takes, Task};
pub use file::{File, Start};
pub use in_flight::{Counts, InFlight};
pub use tree::Tree;
pub use unruly::{unruly, unruly_without_memory};
