// SPDX-License-Identifier: GPL-2.0

//! A volume in memory on which everything is done block by block, beside what the crate finds.

mod bitmap;
mod growth;
mod held;
mod inodes;
mod search;
mod space;
mod volume;
