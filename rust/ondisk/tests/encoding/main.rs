// SPDX-License-Identifier: GPL-2.0

//! What is encoded is read back, structure by structure, whatever the values; and what cannot be
//! read back is not encoded.

#[path = "../reading/support.rs"]
#[expect(dead_code, reason = "the tests of reading need more of it")]
mod support;

mod dir;
mod edit;
mod extent;
mod group;
mod inode;
mod xattr;
