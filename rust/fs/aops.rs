// SPDX-License-Identifier: GPL-2.0

//! The pages of regular files, and of the symbolic links that are too long for an inode.
//!
//! One bad block fails a reader of its page, and nobody else. Folios are read ahead in bios of
//! megabytes, though, and a bio that fails, or does not match its protection information, takes all
//! its folios along; they may be large, too. So each failure is tried again in smaller pieces:
//!
//! 1. What was read ahead in vain stays in the page cache, not up to date, and no reader has seen an
//!    error yet.
//! 2. The reader who needs such a folio asks to have it read ([`Operations::read_folio`]). If it is
//!    large, it is removed from the page cache, its range is noted as [`Unreadable`], and the reader
//!    looks again.
//! 3. Nothing is read ahead where [`Unreadable`] is noted, so that the reader is given a page of the
//!    smallest size.
//! 4. That is read alone, and tells the truth: the error is the reader's, and goes to the log.
//!
//! Step 2 can happen once only for a folio, as the range that is noted grows and never shrinks.
//!
//! The log line is written in step 4 and not in `super_operations::report_error`, which hears of
//! every folio of a bio that failed in step 1. Watchers of `FAN_FS_ERROR` do get those.

use super::{
    iomap,
    promise,
    read_error,
    writing,
    Inode,
    Stablefs, //
};
use crate::kernel::{
    self,
    address_space::{
        self,
        Readahead,
        Writeback, //
    },
    folio,
    iomap::writeback::writepages, //
};
use ::kernel::{
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    },
};

/// Operations on pages.
struct Operations;

#[vtable]
impl address_space::Operations for Operations {
    type FileSystem = Stablefs;

    fn read_folio(folio: folio::Locked<'_, Stablefs>) -> Result<folio::Released<'_>> {
        // Read ahead in vain, then; or written to in part.
        if folio.is_large() && !folio.is_dirty_or_writeback() {
            let unreadable = folio.inode().unreadable();
            unreadable.note(folio.pos(), folio.len());
            return folio.remove();
        }
        let reading = kernel::iomap::read_folio::<iomap::Operations>(folio);
        // Whoever asked waits right after, so nobody waits longer for this.
        if reading.wait_has_failed() {
            read_error::report(reading.inode(), reading.pos(), reading.len(), EIO);
        }
        Ok(reading.release())
    }

    fn readahead(rac: Readahead<'_, Stablefs>) {
        if !rac.inode().unreadable().overlaps(rac.pos(), rac.len()) {
            kernel::iomap::readahead::<iomap::Operations>(rac);
        }
    }

    fn writepages(writeback: Writeback<'_, Stablefs>) -> Result {
        if writing::is_given_up(writeback.inode().sb()) {
            return Err(EROFS);
        }
        let inode = writeback.inode();
        let volume = inode.sb().volume();
        // What devices store to pinned pages is dirty on a volume that is frozen, or written no more, too.
        if !volume.is_open() {
            return Ok(());
        }
        let Some(_unfrozen) = inode.sb().sb_start_intwrite_trylock() else {
            volume.note_not_written();
            return Ok(());
        };
        if inode.is_dax() {
            let device = volume.dax().device().ok_or(EIO)?;
            return kernel::dax::writeback_mapping_range(&writeback, device);
        }
        let written = writepages::<iomap::Operations>(writeback);
        promise::clean(inode);
        written
    }

    fn bmap(inode: &Inode, block: u64) -> u64 {
        // Who makes a file one of swap space has `i_rwsem`; and a block is looked up once.
        kernel::iomap::bmap::<iomap::Operations>(inode, block)
    }
}

/// The part of a file in which folios could not be read ahead: all from the first such to the last.
pub(super) struct Unreadable {
    start: Atomic<u64>,
    end: Atomic<u64>,
}

impl Unreadable {
    /// Nothing.
    pub(super) fn new() -> Self {
        Self {
            start: Atomic::new(u64::MAX),
            end: Atomic::new(0),
        }
    }

    fn note(&self, pos: u64, len: u64) {
        update(&self.start, |start| start.min(pos));
        update(&self.end, |end| end.max(pos.saturating_add(len)));
    }

    /// Whether any of `len` bytes from `pos` on is in that part.
    ///
    /// Who asks while another notes may miss it, and reads ahead in vain once more.
    fn overlaps(&self, pos: u64, len: u64) -> bool {
        pos < self.end.load(Relaxed) && self.start.load(Relaxed) < pos.saturating_add(len)
    }
}

fn update(number: &Atomic<u64>, new: impl Fn(u64) -> u64) {
    let mut old = number.load(Relaxed);
    while let Err(other) = number.cmpxchg(old, new(old), Relaxed) {
        old = other;
    }
}

/// Operations on the pages of an inode.
pub(super) fn ops() -> address_space::Ops<Stablefs> {
    address_space::Ops::new::<Operations>()
}

/// Operations on the pages of an inode that does without a page cache.
pub(super) fn dax_ops() -> address_space::Ops<Stablefs> {
    address_space::Ops::new_dax::<Operations>()
}
