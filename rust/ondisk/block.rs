// SPDX-License-Identifier: GPL-2.0

//! The bytes of one block of the volume.

use super::BlockSize;
use core::ops::Deref;

/// The bytes of one block.
///
/// # Invariants
///
/// As many as a [`BlockSize`] has.
///
/// ```
/// # use ondisk::Block;
/// assert!(Block::new(&[0; 1024]).is_some());
/// assert!(Block::new(&[0; 1000]).is_none());
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Block<'a>(&'a [u8]);

impl<'a> Block<'a> {
    /// A block, if there are as many bytes as one has.
    pub fn new(bytes: &'a [u8]) -> Option<Self> {
        let sizes = (0..=BlockSize::MAX_LOG).filter_map(BlockSize::from_log);
        sizes
            .map(BlockSize::len)
            .any(|len| len == bytes.len())
            .then_some(Self(bytes))
    }

    /// The bytes, for as long as they live.
    pub(super) fn bytes(self) -> &'a [u8] {
        self.0
    }
}

impl Deref for Block<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.0
    }
}
