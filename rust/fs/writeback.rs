// SPDX-License-Identifier: GPL-2.0

//! Data on their way to the device, and what the disk says of them.
//!
//! in the page cache, and [room](delalloc) for it → blocks for it → written to the device → the blocks are the file's data, and
//! the file is at least so large
//!
//! The disk does not know of data before the device has them: until then their blocks read as
//! zeroes, and what is behind the size that the disk has is not the file's. So a crash shows nothing
//! that the blocks had before.

use super::{
    balloc,
    blocks,
    delalloc,
    extents::{
        self,
        Steps, //
    },
    inode,
    iomap::{
        self,
        Operations, //
    },
    map,
    memory::with_memory,
    promise,
    transaction::Transaction,
    Inode,
    Stablefs,
    SuperBlock, //
};
use crate::{
    kernel::{
        iomap::writeback::{
            Added,
            Completions,
            Ioend,
            WritebackOperations,
            WritebackRange, //
        },
        log, //
    },
    ondisk::{
        extent::State,
        Lblk,
        LblkRange, //
    },
};
use ::kernel::prelude::*;

impl WritebackOperations for Operations {
    fn completions(sb: &SuperBlock) -> &Completions<Self> {
        sb.volume().completions()
    }

    fn writeback_range(range: WritebackRange<'_, Self>) -> Result<Added> {
        let (inode, pos, end) = (range.inode(), range.pos(), range.folio_end());
        let add = || {
            let mapped = if range.cached() == Some(map::cookie(inode)) {
                range.map_as_before()?
            } else {
                let mapping = with_memory(|| iomap::find(inode, pos))?;
                range.map(&mapping)?
            };
            let is_unwritten = mapped.is_unwritten();
            let added = mapped.add_to_ioend()?;
            if is_unwritten {
                let lblks = blocks::around(inode, pos, pos.saturating_add(added.len()))?;
                promise::submit(inode, lblks.len());
            }
            Ok(added)
        };
        add().inspect_err(|error| {
            // The data are lost, as whoever waits for them is told: these, and what else of the folio
            // comes after them.
            let end = end.min(blocks::pos(inode, Lblk::END));
            report_loss(inode, pos, end, *error);
            if let Ok(lblks) = blocks::around(inode, pos, end) {
                delalloc::release(inode, lblks);
            }
        })
    }

    fn needs_end_io(ioend: &Ioend<'_, Stablefs>) -> bool {
        ioend.pos.saturating_add(ioend.len) > ioend.inode.disk().size()
    }

    fn end_io(ioend: &Ioend<'_, Stablefs>, result: Result) -> Result {
        if !ioend.unwritten && !Self::needs_end_io(ioend) {
            // One that was written only because pages are dropped after it.
            return result;
        }
        let (inode, pos) = (ioend.inode, ioend.pos);
        let end = pos.saturating_add(ioend.len);
        let data = Data {
            pos,
            len: ioend.len,
            unwritten: ioend.unwritten,
            extends: false,
        };
        let recorded = result.and_then(|()| {
            record(inode, &data).inspect_err(|error| report_loss(inode, pos, end, *error))
        });
        if let Ok(lblks) = blocks::around(inode, pos, end) {
            if ioend.unwritten {
                promise::end(inode, lblks.len());
            }
        }
        recorded
    }
}

/// Has the log say that data are lost for a reason that is not the device's.
fn report_loss(inode: &Inode, pos: u64, end: u64, error: Error) {
    let (number, errno) = (inode.ino().get(), error.to_errno());
    log::err(
        inode.sb(),
        format_args!("inode {number}: data from byte {pos} to {end} are lost: error {errno}"),
    );
}

/// Data that the device has.
pub(super) struct Data {
    /// Where in the file they begin.
    pub(super) pos: u64,
    /// How many bytes.
    pub(super) len: u64,
    /// Whether some of their blocks are unwritten.
    pub(super) unwritten: bool,
    /// Whether the file ends with them afterwards, which nobody else changes meanwhile. Otherwise it
    /// ends where its inode says.
    pub(super) extends: bool,
}

/// Has the disk know of data.
///
/// # Errors
///
/// What changing the tree says, or the journal. Of what comes first the disk knows, perhaps.
///
/// # Context
///
/// Sleeps. No handle is started, and no folio locked.
pub(super) fn record(inode: &Inode, data: &Data) -> Result {
    let end = data.pos.saturating_add(data.len);
    let mut lblks = blocks::around(inode, data.pos, end)?;
    while lblks.start < lblks.end {
        let step = || with_memory(|| record_some(inode, data, lblks));
        lblks.start = match step() {
            Err(error) if error == ENOSPC => {
                // A node of the tree was to be split.
                balloc::make_room(inode.sb());
                step()?
            }
            next => next?,
        };
    }
    Ok(())
}

/// Does what [`record`] does for the beginning of `lblks`, and returns the block before which that is
/// done.
fn record_some(inode: &Inode, data: &Data, lblks: LblkRange) -> Result<Lblk> {
    let credits = if data.unwritten {
        Steps::of(inode).convert()
    } else {
        inode::CREDITS
    };
    let transaction = Transaction::start(inode.sb(), credits)?;
    let next = if data.unwritten {
        extents::convert(&transaction, inode, lblks, State::Written)?
    } else {
        lblks.end
    };
    // In the transaction of its last block: written ones behind the end are an error.
    let end = blocks::pos(inode, next).min(data.pos.saturating_add(data.len));
    if end > inode.disk().size() {
        let enlarged = inode::update(&transaction, inode, |fields| {
            // The file may have become shorter; that waits for this to end.
            let size = if data.extends {
                end
            } else {
                end.min(inode.i_size_read())
            };
            fields.size = fields.size.max(size);
        });
        enlarged.inspect_err(|error| transaction.abort(*error))?;
    }
    transaction.stop()?;
    Ok(next)
}
