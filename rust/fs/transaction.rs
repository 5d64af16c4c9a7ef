// SPDX-License-Identifier: GPL-2.0

//! Changes of metadata: a handle of the journal → blocks, each with the right to change it → changed
//! → stopped.
//!
//! Whoever changes something asks first for all that can fail: room in the volume, blocks to be read,
//! the right to change them. What comes after that cannot but succeed, or the journal has been given
//! up. So no change is left half done, which the journal would commit as it is.
//!
//! A block is changed in a private copy: what the journal has is the device's, which user space can map
//! and write to.

use super::{
    metadata::{
        self,
        At, //
    },
    promise,
    SuperBlock, //
};
use crate::{
    kernel::{
        buffer::{
            BdevAddr,
            Buffer, //
        },
        jbd2::{
            Access,
            Credits,
            Handle,
            Tid, //
        },
    },
    ondisk::{
        Block,
        InBlock,
        Ino,
        Pblk,
        PblkRange, //
    },
};
use ::kernel::prelude::*;

/// A handle, and the volume that it is for.
pub(super) struct Transaction<'a> {
    sb: &'a SuperBlock,
    handle: Handle<'a>,
}

impl<'a> Transaction<'a> {
    /// Starts a handle, or counts on the one that this task has started.
    ///
    /// # Errors
    ///
    /// `EROFS` for a volume that is not written, or whose journal has been given up; `ENOSPC` for more
    /// than the journal holds; `ENOMEM`.
    ///
    /// # Context
    ///
    /// Sleeps. Folio locks may be held; what a holder of a handle waits for may not: see
    /// [`locks`](super::locks).
    pub(super) fn start(sb: &'a SuperBlock, credits: Credits) -> Result<Self> {
        let is_open = || sb.volume().is_open();
        let journal = sb.journal().filter(|_| is_open()).ok_or(EROFS)?;
        let handle = journal.start(credits)?;
        // Closing keeps handles waiting.
        if !is_open() {
            return Err(EROFS);
        }
        Ok(Self { sb, handle })
    }

    /// The volume.
    pub(super) fn sb(&self) -> &'a SuperBlock {
        self.sb
    }

    /// Which transaction it is.
    pub(super) fn tid(&self) -> Result<Tid> {
        self.handle.tid()
    }

    /// What it may still do.
    pub(super) fn credits_left(&self) -> Credits {
        self.handle.credits_left()
    }

    /// Has the task wait for the commit when it stops the handle.
    pub(super) fn set_sync(&mut self) {
        self.handle.set_sync();
    }

    /// A block of metadata, with the right to change it, which `ino` says is its own.
    ///
    /// # Errors
    ///
    /// What reading it says, and asking the journal.
    ///
    /// # Context
    ///
    /// Sleeps. What protects the block is held, and is until it has been [written](Edit::write).
    pub(super) fn edit(&self, ino: Ino, pblk: Pblk) -> Result<Edit<'_>> {
        let block = PblkRange::one(pblk).ok_or(EINVAL)?;
        self.sb.check_blocks(ino, block)?;
        self.edit_own(At::block(ino, pblk), pblk)
    }

    /// As [`edit`](Self::edit), of a block of the format itself.
    pub(super) fn edit_own(&self, at: At, pblk: Pblk) -> Result<Edit<'_>> {
        let place = InBlock {
            pblk,
            start: 0,
            len: self.sb.volume().block_size().bytes().get(),
        };
        self.edit_part(at, place)
    }

    /// A part of a block of metadata, with the right to change it: others may change other parts.
    ///
    /// # Errors
    ///
    /// Those of [`edit`](Self::edit).
    ///
    /// # Context
    ///
    /// Sleeps. What protects that part is held, and is until it has been [written](Edit::write).
    pub(super) fn edit_part(&self, at: At, place: InBlock) -> Result<Edit<'_>> {
        let addr = metadata::addr(self.sb.volume(), place.pblk, place.start)?;
        let len = usize::try_from(place.len).map_err(|_| EINVAL)?;
        let buffer = Buffer::sb_bread(self.sb, addr)
            .map_err(|error| metadata::unreadable(self.sb, at, error))?;
        let bytes = buffer.to_vec(addr, len)?;
        let access = self.handle.get_write_access(buffer)?;
        Ok(Edit {
            access,
            addr,
            bytes,
        })
    }

    /// Makes a block that nobody has one of metadata.
    ///
    /// # Errors
    ///
    /// `EROFS` if the journal has been given up; `ENOMEM`, `EIO`.
    ///
    /// # Context
    ///
    /// Sleeps.
    pub(super) fn create(&self, pblk: Pblk, bytes: &[u8]) -> Result {
        let addr = metadata::addr(self.sb.volume(), pblk, 0)?;
        self.handle.create(self.sb, addr, bytes)
    }

    /// Has a block of metadata be nobody's: the journal is not to write it any more.
    ///
    /// # Errors
    ///
    /// Those of [`create`](Self::create).
    ///
    /// # Context
    ///
    /// Sleeps.
    pub(super) fn revoke(&self, pblk: Pblk) -> Result {
        let addr = metadata::addr(self.sb.volume(), pblk, 0)?;
        self.handle.revoke(self.sb, addr)
    }

    /// Gives the journal up, because something was left half done.
    ///
    /// # Context
    ///
    /// Sleeps.
    pub(super) fn abort(&self, error: Error) {
        if let Some(journal) = self.sb.journal() {
            journal.abort(error);
        }
    }

    /// Asks for the right to change a block, to be asked for again with [`edit_part`](Self::edit_part),
    /// which cannot fail for want of memory then.
    ///
    /// # Errors
    ///
    /// Those of [`edit`](Self::edit).
    pub(super) fn prepare(&self, at: At, place: InBlock) -> Result {
        let addr = metadata::addr(self.sb.volume(), place.pblk, place.start)?;
        let buffer = Buffer::sb_bread(self.sb, addr)
            .map_err(|error| metadata::unreadable(self.sb, at, error))?;
        self.handle.get_write_access(buffer).map(drop)
    }

    /// Stops the handle.
    ///
    /// # Errors
    ///
    /// `EIO` if the journal has been given up: what was done is lost.
    pub(super) fn stop(self) -> Result {
        self.handle.stop()
    }
}

/// A block of metadata, or a part of one, in a private copy that can be changed.
pub(super) struct Edit<'t> {
    access: Access<'t, 't>,
    addr: BdevAddr,
    bytes: KVec<u8>,
}

impl AsRef<[u8]> for Edit<'_> {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Edit<'_> {
    /// What it holds.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The same, as a block.
    pub(super) fn block(&self) -> Result<Block<'_>> {
        Block::new(&self.bytes).ok_or(EINVAL)
    }

    /// What it shall hold.
    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    /// Has it hold that, once the transaction is committed, and in memory at once.
    ///
    /// # Errors
    ///
    /// `EROFS` if the journal has been given up.
    ///
    /// # Context
    ///
    /// May sleep.
    pub(super) fn write(mut self) -> Result {
        self.access.write(self.addr, &self.bytes)
    }
}

/// Tries again, if blocks were lacking, once what is dirty is written and those that have been freed are
/// free. `ENOSPC` is also said of what neither can help: of inodes, of attributes that are too large, of an
/// index that is full.
///
/// # Context
///
/// Sleeps. No folio is locked, and no handle started, but by `change`, which has done nothing if it fails.
pub(super) fn with_room<T>(sb: &SuperBlock, change: impl Fn() -> Result<T>) -> Result<T> {
    let before = sb.volume().shortages();
    let done = change();
    // Those of others count, too: then a commit is in vain.
    let lacks_blocks = || sb.volume().shortages() != before;
    match done {
        Err(error) if error == ENOSPC && lacks_blocks() && promise::make_room(sb) => change(),
        done => done,
    }
}

/// What a format that had been checked has not taken: not the disk's fault, but this program's.
pub(super) fn bug(sb: &SuperBlock, at: At, what: &str) -> Error {
    metadata::corrupt(sb, at, format_args!("{what} (a bug in stablefs)"))
}
