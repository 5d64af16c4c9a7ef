// SPDX-License-Identifier: GPL-2.0

//! Volumes made by e2fsprogs, walked through with nothing but `ondisk`: what is read is what went
//! in, is what `ext4-view` reads, and a damaged volume never does worse than be refused. The tests
//! need `mke2fs`, `e2fsck` and `debugfs` in the path, and are ignored unless asked for:
//! `cargo test -- --include-ignored`.

#[path = "../common/image.rs"]
mod image;
mod source;

mod changed;
mod damaged;
mod encoded;
mod fuzzed;
mod reading;
