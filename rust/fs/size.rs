// SPDX-License-Identifier: GPL-2.0

//! Files become longer or shorter.
//!
//! longer: zeroes up to the end of the block with the old end → the size, on the disk and in memory
//!
//! shorter: zeroes from the new end to the end of its block → on the device → noted as an orphan, and
//! the size → page cache removed → blocks freed → noted no more
//!
//! A crash leaves the file with one size or the other; the next mount frees what blocks are left.
//! What lies between the end of a file and that of its block is zeroes on the disk, as nobody may
//! find there what was cut off; but others may have written the volume, so it is written again when
//! the file becomes longer.

use super::{
    blocks,
    dax,
    delalloc,
    extents::{
        self,
        Steps, //
    },
    inode,
    map::{
        self,
        Mapping, //
    },
    memory::with_memory,
    orphan,
    promise,
    transaction::{
        with_room,
        Transaction, //
    },
    writing,
    zeroes::{
        truncate_page,
        zero_range, //
    },
    Inode,
    Stablefs, //
};
use crate::{
    kernel::{
        errno,
        inode::Prepared,
        locks::{
            InodeExclusive,
            InvalidateExclusive, //
        },
        truncate::ByteRange, //
    },
    ondisk::{
        extent::State,
        inode::Content,
        Blocks,
        Lblk,
        LblkRange, //
    },
};
use ::kernel::prelude::*;
use core::cmp::Ordering;

/// Changes the size of a file, with the other attributes.
///
/// # Errors
///
/// What the system call shall return. The file has its old size then, unless only freeing blocks has
/// failed; but what is behind the new end in its block may be zeroes, as these have to be on the device first.
///
/// # Context
///
/// Sleeps.
pub(super) fn setattr(attr: &Prepared<'_, Stablefs>, size: u64) -> Result {
    let lock = attr.inode_lock();
    let inode = lock.inode();
    writing::check_data(inode)?;
    if matches!(inode.disk().content(), Content::BlockMap) {
        return Err(errno::eopnotsupp());
    }
    let old = inode.i_size_read();
    let mut pages = lock.inode_dio_wait().filemap_invalidate_lock();
    if size <= old {
        pages = dax::break_layout(pages, size, u64::MAX)?;
    }
    let zeroed = if size > old {
        zero_behind_end(&pages, size)?
    } else {
        size < old && truncate_page(&pages, size)?
    };
    if size != old {
        write_before(inode, size.min(old), zeroed)?;
    }
    // What fallocate() promised behind the end stays if that moves towards it.
    let cuts = size < old || size == old && has_blocks_behind(inode, size)?;

    let credits = inode::CREDITS.and(orphan::CREDITS);
    let transaction = Transaction::start(inode.sb(), credits)?;
    inode::prepare(&transaction, inode)?;
    if cuts {
        orphan::add(&transaction, inode)?;
    }
    if size != old {
        let now = inode.inode_set_ctime_current();
        attr.inode().inode_set_mtime(now);
        inode.inode_inc_iversion();
    }
    attr.setattr_copy();
    inode::update(&transaction, inode, |fields| {
        if size != old {
            // Together, as whoever records data that were written looks at both.
            fields.size = size;
            attr.inode().i_size_write(size);
        }
    })
    .inspect_err(|error| transaction.abort(*error))?;
    transaction.stop()?;

    match size.cmp(&old) {
        Ordering::Greater => lock.pagecache_isize_extended(old, size)?,
        Ordering::Less => {
            pages.truncate_setsize(size)?;
            if size == 0 {
                inode.set_replaced();
            }
            let start = blocks::behind(inode, size)?;
            delalloc::release(inode, LblkRange::all_from(start));
            promise::clean(inode);
        }
        Ordering::Equal => (),
    }
    if cuts {
        orphan::finish_cut(inode)?;
    }
    Ok(())
}

/// Has the file be zeroes from its end to `to`, where it will end, and returns whether any had to be
/// written.
///
/// # Errors
///
/// What the system call shall return.
///
/// # Context
///
/// Sleeps, and locks folios. No handle is started.
pub(super) fn zero_behind_end(pages: &InvalidateExclusive<'_, Stablefs>, to: u64) -> Result<bool> {
    let inode = pages.inode();
    let end = inode.i_size_read();
    let tail = blocks::pos(inode, blocks::behind(inode, end)?).min(to);
    let zeroed = match tail
        .checked_sub(end)
        .and_then(|len| ByteRange::new(end, len))
    {
        Some(tail) => zero_range(pages, tail)?,
        None => false,
    };
    let behind = LblkRange {
        start: blocks::behind(inode, end)?,
        end: blocks::behind(inode, to)?,
    };
    make_unwritten(inode, behind)?;
    Ok(zeroed)
}

/// Does what [`zero_behind_end`] does, and has the device have the zeroes, where the file had other bytes: the disk may say that
/// these are the file's as soon as it has data behind them.
///
/// # Errors
///
/// Those of [`zero_behind_end`], and of [`write_before`].
///
/// # Context
///
/// As of [`zero_behind_end`].
pub(super) fn write_zeroes_behind_end(
    pages: &InvalidateExclusive<'_, Stablefs>,
    to: u64,
) -> Result {
    let inode = pages.inode();
    let end = inode.i_size_read();
    if !zero_behind_end(pages, to)? {
        return Ok(());
    }
    let lblk = blocks::at(inode, end)?;
    // Others become the file's when all of them are written.
    let is_written = matches!(
        map::lookup(inode, lblk)?.mapping,
        Mapping::Extent(extent) if extent.state() == map::State::Written
    );
    match ByteRange::new(blocks::pos(inode, lblk), blocks::len(inode)) {
        Some(block) if is_written => inode.filemap_write_and_wait_range(block),
        _ => Ok(()),
    }
}

/// Has blocks that the file has read as zeroes.
///
/// # Errors
///
/// What changing the tree says, or the journal. Some are zeroes then, perhaps.
///
/// # Context
///
/// Sleeps. No handle is started. The page cache has nothing of these blocks, nor can it.
pub(super) fn make_unwritten(inode: &Inode, mut lblks: LblkRange) -> Result {
    while lblks.start < lblks.end {
        lblks.start = match map::lookup(inode, lblks.start)?.mapping {
            Mapping::Extent(extent) if extent.state() == map::State::Written => {
                let allocator = inode.sb().volume().allocator();
                promise::with_room(inode, promise::PAUSES, || allocator.check_nodes(Blocks(1)))?;
                let step = || {
                    let transaction = Transaction::start(inode.sb(), Steps::of(inode).convert())?;
                    let done = extents::convert(&transaction, inode, lblks, State::Unwritten)?;
                    transaction.stop().and(Ok(done))
                };
                with_room(inode.sb(), || with_memory(step))?
            }
            mapping => mapping.lblks().end,
        };
    }
    Ok(())
}

/// Frees the blocks of `lblks`, also such as are but reserved.
///
/// # Errors
///
/// What changing the tree says, or the journal. Some are free then, perhaps.
///
/// # Context
///
/// Sleeps. No handle is started. The page cache has nothing of these blocks, nor can it.
pub(super) fn free(inode: &Inode, lblks: LblkRange) -> Result {
    if !lblks.is_empty() {
        delalloc::release(inode, lblks);
    }
    extents::remove_all(inode, lblks)
}

/// What a file has, or has reserved, between its end and that of something that allocates there.
pub(super) struct LastBlock {
    /// The block behind the last one of that; else that behind the end of the file.
    last: Lblk,
    /// Where what allocates ends.
    end: Lblk,
}

impl LastBlock {
    /// That of a file, before something is allocated behind its end up to `end`. What it has behind that
    /// may be much, and is of no interest.
    ///
    /// # Errors
    ///
    /// What reading the tree says; `EFBIG`.
    ///
    /// # Context
    ///
    /// Sleeps.
    pub(super) fn of(lock: &InodeExclusive<'_, Stablefs>, end: u64) -> Result<Self> {
        let inode = lock.inode();
        let end = blocks::behind(inode, end)?;
        let mut lblk = blocks::behind(inode, inode.i_size_read())?;
        let mut last = lblk;
        while lblk < end {
            let mapping = map::lookup(inode, lblk)?.mapping;
            lblk = mapping.lblks().end;
            if !matches!(mapping, Mapping::Hole(_)) {
                last = lblk;
            }
        }
        Ok(Self { last, end })
    }

    /// Frees what has been allocated behind that and the end of the file, for a write that did not get
    /// there. What the file had before may have been promised.
    ///
    /// That is not worth an error: they are no data, and the file can still be cut.
    ///
    /// # Context
    ///
    /// Sleeps. No handle is started.
    pub(super) fn trim(self, lock: &InodeExclusive<'_, Stablefs>) {
        let inode = lock.inode();
        let trim = || {
            let start = blocks::behind(inode, inode.i_size_read())?.max(self.last);
            let end = self.end;
            free(inode, LblkRange { start, end })
        };
        let _ = trim();
    }
}

/// Has the device have what is dirty before `end`, as far as the disk does not know of it yet; and
/// with `zeroed`, what is dirty of the block with `end`.
///
/// # Errors
///
/// That of a write that failed since somebody was last told.
///
/// # Context
///
/// Sleeps, and locks folios. No handle is started.
pub(super) fn write_before(inode: &Inode, end: u64, zeroed: bool) -> Result {
    let mut start = inode.disk().size();
    if zeroed {
        start = start.min(blocks::pos(inode, blocks::at(inode, end)?));
    }
    match end
        .checked_sub(start)
        .and_then(|len| ByteRange::new(start, len))
    {
        Some(range) => inode.filemap_write_and_wait_range(range),
        None => Ok(()),
    }
}

fn has_blocks_behind(inode: &Inode, end: u64) -> Result<bool> {
    let lblk = blocks::behind(inode, end)?;
    if lblk >= Lblk::END {
        return Ok(false);
    }
    Ok(match map::lookup(inode, lblk)?.mapping {
        Mapping::Hole(hole) => hole.end < Lblk::END,
        _ => true,
    })
}
