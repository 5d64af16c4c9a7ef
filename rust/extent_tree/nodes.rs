// SPDX-License-Identifier: GPL-2.0

//! Where the nodes of a tree are kept, and what can go wrong with them.
//!
//! a block: read → access granted → changed; or read → freed
//! a new block: created → filled, or given back
//!
//! Each arrow takes the value on its left, so that a block without access cannot be changed, and one
//! that was changed or freed is not used again.
//!
//! C header: [include/linux/jbd2.h](srctree/include/linux/jbd2.h)

use crate::ondisk::{
    self,
    extent::ROOT_LEN,
    Crc32c,
    Pblk, //
};

/// Where the nodes of one file's tree are kept: in the kernel, the buffers of an open handle.
///
/// Nobody else reads or changes the tree meanwhile. The bytes of a block that was read stay what
/// they are until it is changed here.
///
/// Implementers account for the blocks that they allocate and free, in `i_blocks` and quotas: each
/// created and not given back is one more, each freed one less.
pub trait Nodes {
    /// Why something cannot be done.
    type Error;
    /// Who computes checksums.
    type Crc: Crc32c;
    /// A block with a node.
    type Block: AsRef<[u8]>;
    /// A block with a node that may be changed.
    type Access: AsRef<[u8]>;
    /// A block that is not in the tree yet.
    type New;

    /// The root, which is in the inode.
    fn root(&self) -> [u8; ROOT_LEN];

    /// Reads a block; what is in it is checked by the caller.
    ///
    /// # Errors
    ///
    /// When it cannot be read, or is not the file's to have.
    fn read(&mut self, pblk: Pblk) -> core::result::Result<Self::Block, Self::Error>;

    /// Gets access to change a block (`jbd2_journal_get_write_access`). One that is not changed after
    /// all is dropped.
    ///
    /// # Errors
    ///
    /// When there is no memory, or no journal any more.
    fn access(&mut self, block: Self::Block) -> core::result::Result<Self::Access, Self::Error>;

    /// Allocates a block (`jbd2_journal_get_create_access`). What is in it does not matter.
    ///
    /// # Errors
    ///
    /// Those of [`access`](Self::access); when the volume is full.
    fn create(&mut self) -> core::result::Result<Self::New, Self::Error>;

    /// Where a new block is.
    fn pblk(new: &Self::New) -> Pblk;

    /// Gives a new block back that was not filled.
    fn cancel(&mut self, new: Self::New);

    /// Fills a new block by `fill`, which gets as many bytes as a block has, and marks it dirty
    /// (`jbd2_journal_dirty_metadata`).
    ///
    /// # Errors
    ///
    /// When the journal is aborted.
    fn fill<T>(
        &mut self,
        new: Self::New,
        fill: impl FnOnce(&mut [u8]) -> T,
    ) -> core::result::Result<T, Self::Error>;

    /// Changes a block by `change`, and marks it dirty (`jbd2_journal_dirty_metadata`).
    ///
    /// # Errors
    ///
    /// When the journal is aborted.
    fn change<T>(
        &mut self,
        block: Self::Access,
        change: impl FnOnce(&mut [u8]) -> T,
    ) -> core::result::Result<T, Self::Error>;

    /// Changes the root. The caller of the whole step has access to the inode's block.
    ///
    /// # Errors
    ///
    /// When the journal is aborted.
    fn set_root(&mut self, root: &[u8; ROOT_LEN]) -> core::result::Result<(), Self::Error>;

    /// Frees a block that is no longer in the tree; replaying the journal must not bring back what
    /// is in it (`jbd2_journal_revoke`, or `jbd2_journal_forget`).
    ///
    /// # Errors
    ///
    /// When the journal is aborted, or where free blocks are noted is not in order. Then it belongs
    /// to nobody.
    fn free(&mut self, block: Self::Block) -> core::result::Result<(), Self::Error>;
}

/// A [`core::result::Result`] of a step of a tree with such nodes.
pub type Result<T, N> = core::result::Result<T, Error<<N as Nodes>::Error>>;

/// Why a tree was not changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error<E> {
    /// What [`Nodes`] say.
    Nodes(E),
    /// A node is not what the format allows.
    Format {
        /// Its block, unless it is the root.
        pblk: Option<Pblk>,
        /// What is wrong.
        error: ondisk::Error,
    },
    /// There are blocks already where some were to be inserted.
    Occupied,
    /// The tree would have more levels than the format allows.
    TooDeep,
    /// A node is not what it was when it was checked, or a new block is not on the volume: what the
    /// implementer of [`Nodes`] has to prevent.
    Inconsistent,
}

impl<E> From<E> for Error<E> {
    fn from(error: E) -> Self {
        Self::Nodes(error)
    }
}
