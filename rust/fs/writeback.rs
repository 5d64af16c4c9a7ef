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
        iomap::{
            writeback::{
                Added,
                Completions,
                Ended,
                Io,
                Ioend,
                Ioends,
                MappedRange,
                WritebackOperations,
                WritebackRange, //
            },
            Kind,
            Mapping,
            WriteMapping, //
        },
        log, //
    },
    ondisk::{
        extent::State,
        Blocks,
        Lblk,
        LblkRange, //
    },
    protocol::writeback::{
        Finished,
        Gathered,
        UnderWriteback, //
    },
};
use ::kernel::prelude::*;

impl WritebackOperations for Operations {
    fn completions(sb: &SuperBlock) -> &Completions<Self> {
        sb.volume().completions()
    }

    fn writeback_range<'a>(
        range: UnderWriteback<WritebackRange<'a, Self>>,
        ioends: &mut Ioends<'a, Self>,
    ) -> Result<Added> {
        let at = range.get();
        let (inode, pos, end) = (at.inode(), at.pos(), at.folio_end());
        let written = range
            .map(map_range)
            .and_then(|mapped| write(mapped, ioends));
        written.inspect_err(|error| {
            // The data are lost, as whoever waits for them is told: these, and what else of the folio
            // comes after them.
            let end = end.min(blocks::pos(inode, Lblk::END));
            report_loss(inode, pos, end, *error);
            if let Ok(lblks) = blocks::around(inode, pos, end) {
                delalloc::release(inode, lblks);
            }
        })
    }

    fn copies(inode: &Inode, is_pinned: bool) {
        let counters = inode.sb().volume().counters();
        if is_pinned {
            counters.copied_pinned();
        } else {
            counters.copied_referenced();
        }
    }

    fn writeback_submit(io: Gathered<Io<'_, Self>>) -> Result {
        io.seal().submit()
    }

    fn needs_end_io(ioend: &Ioend<'_, Stablefs>) -> bool {
        ioend.pos.saturating_add(ioend.len) > ioend.inode.disk().size()
    }

    fn end_io(ioend: &Ioend<'_, Stablefs>, result: Result) -> Result {
        let (inode, pos) = (ioend.inode, ioend.pos);
        let end = pos.saturating_add(ioend.len);
        if let (Err(error), true) = (result, ioend.is_copy) {
            // Of others C tells.
            report_loss(inode, pos, end, error);
        }
        if !ioend.unwritten && !Self::needs_end_io(ioend) {
            // A copy; or pages are dropped after it was written; or it is audited.
            return result;
        }
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

    fn ended(io: Finished<Ended<'_, Self>>) {
        io.record().end_writeback();
    }
}

/// Finds out where to write a range, after it has been allocated if it was reserved.
fn map_range(range: WritebackRange<'_, Operations>) -> Result<MappedRange<'_, Operations>> {
    if range.cached() == Some(map::cookie(range.inode())) {
        return range.map_as_before();
    }
    let mapping = with_memory(|| find(&range))?;
    range.map(&mapping)
}

/// Finds a range as [`iomap::find`] does. A hole has something in it if a device has stored to the
/// folio, by way of a pin, after it was punched.
fn find<'a>(range: &WritebackRange<'a, Operations>) -> Result<WriteMapping<'a>> {
    let (inode, pos) = (range.inode(), range.pos());
    let found = iomap::find(inode, pos)?;
    let Mapping { pos: hole, len, .. } = found.mapping;
    let end = hole.saturating_add(len).min(range.end());
    if !matches!(found.mapping.kind, Kind::Hole) || range.is_zero(end) {
        return Ok(found);
    }
    iomap::fill(inode, blocks::around(inode, pos, end)?)?;
    iomap::find(inode, pos)
}

/// Writes as much of a range as is in one piece on the device.
fn write<'a>(
    range: UnderWriteback<MappedRange<'a, Operations>>,
    ioends: &mut Ioends<'a, Operations>,
) -> Result<Added> {
    let at = range.get();
    let (inode, pos) = (at.inode(), at.pos());
    let n =
        |len| -> Result<Blocks> { Ok(blocks::around(inode, pos, pos.saturating_add(len))?.len()) };
    let unwritten = if at.is_unwritten() {
        n(at.len())?
    } else {
        Blocks(0)
    };
    if unwritten > Blocks(0) {
        // Before it is submitted, as it may end at once.
        promise::submit(inode, unwritten);
    }
    let added = range.write_to(ioends);
    if unwritten > Blocks(0) {
        let submitted = added.as_ref().map_or(Ok(Blocks(0)), |added| n(added.len()));
        let rest = unwritten.0.saturating_sub(submitted?.0);
        promise::end(inode, Blocks(rest));
    }
    added
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
