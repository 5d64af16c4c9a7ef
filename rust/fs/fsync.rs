// SPDX-License-Identifier: GPL-2.0

//! What was written reaches the device for good: data → what is to be done once they are written →
//! the transaction with that is committed, or the device's cache is flushed.

use super::{
    writing,
    File,
    Inode, //
};
use crate::kernel::{
    control::Control,
    jbd2::Tid,
    truncate::ByteRange, //
};
use ::kernel::prelude::*;

/// Has the data in `range`, and what the disk has to say of the file, reach the device.
///
/// # Errors
///
/// That of data that did not reach it since this file was last told; `EIO` if the journal has been
/// given up.
///
/// # Context
///
/// Sleeps. `i_rwsem` may be held; no handle is started.
pub(super) fn fsync(file: &File, range: ByteRange) -> Result {
    sync(file, range, Inode::tid)
}

/// As [`fsync`], but of what the disk has to say of the file only what is needed to read the data.
pub(super) fn fdatasync(file: &File, range: ByteRange) -> Result {
    sync(file, range, Inode::data_tid)
}

/// Has the data in `range` written. On a frozen volume that is after the thaw.
fn write_data(file: &File, range: ByteRange) -> Result {
    let sb = file.inode().sb();
    loop {
        let before = sb.volume().not_written();
        file.file_write_and_wait_range(range)?;
        if sb.volume().not_written() == before {
            return Ok(());
        }
        drop(sb.sb_start_intwrite());
    }
}

fn sync(file: &File, range: ByteRange, tid: fn(&Inode) -> Option<Tid>) -> Result {
    let inode = file.inode();
    let sb = inode.sb();
    write_data(file, range)?;
    let Some(journal) = sb.journal().filter(|_| !sb.sb_rdonly()) else {
        // Nothing was written.
        return Ok(());
    };
    if writing::is_given_up(sb) {
        return Err(EIO);
    }
    if Control::SkipFsyncCommit.is_on() {
        return journal.flush_device();
    }
    match tid(inode) {
        Some(tid) => journal.complete_transaction(tid),
        // Not changed since the journal was loaded.
        None => journal.flush_device(),
    }
}
