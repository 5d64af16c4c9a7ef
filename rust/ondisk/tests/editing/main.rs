// SPDX-License-Identifier: GPL-2.0

//! Directories changed in place, beside a model of the names that they have: after each change the
//! parser takes every block, and a lookup finds every name.

mod directory;
mod leaf;
#[path = "../reading/support.rs"]
#[expect(dead_code, reason = "the tests of reading need more of it")]
mod support;
mod tree;

use damage::Numbers;
use ondisk::inode::Type;

const TYPES: [Type; 7] = [
    Type::Regular,
    Type::Directory,
    Type::CharDevice,
    Type::BlockDevice,
    Type::Fifo,
    Type::Socket,
    Type::Symlink,
];

/// A name of up to `max` bytes, any but those that no name has.
fn name(numbers: &mut Numbers, max: usize) -> Vec<u8> {
    let len = 1 + numbers.below(max);
    let mut name: Vec<_> = (0..len).map(|_| numbers.next() as u8).collect();
    for byte in &mut name {
        if [0, b'/', b'.'].contains(byte) {
            *byte = b'x';
        }
    }
    name
}

/// The number of an inode of the default volume that names can be of.
fn number(numbers: &mut Numbers) -> u32 {
    11 + numbers.below(16384 - 10) as u32
}
