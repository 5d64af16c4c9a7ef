// SPDX-License-Identifier: GPL-2.0

//! Direct reads.
//!
//! On a device with protection information, what was read is verified where it lies: in memory that
//! its owner, or another device, may be writing to. So a mismatch is believed only of memory that
//! was the device's alone:
//!
//! read in place → verified, or mismatch → read to private memory → verified and copied, or `EIO`
//!
//! A read that ends after the call cannot be read twice, and goes to private memory at once.

use super::{
    iomap,
    read_error,
    Stablefs, //
};
use crate::kernel::{
    self,
    errno,
    iomap::{
        FailedRead,
        Operations as _, //
    },
    kiocb, //
};
use ::kernel::prelude::*;

/// Reads without the page cache.
///
/// # Errors
///
/// What the system call shall return; nothing was read then.
///
/// # Context
///
/// Sleeps.
pub(super) fn read(read: kiocb::Read<'_, Stablefs>) -> Result<usize> {
    let file = read.file();
    let bounce = !read.is_sync();
    let mut read = read.lock_shared()?;
    file.file_accessed();
    match kernel::iomap::dio_rw::<iomap::Operations>(&mut read, bounce) {
        // Only `end_io` below says that.
        Err(error) if error == errno::eilseq() => {
            kernel::iomap::dio_rw::<iomap::Operations>(&mut read, true)
        }
        result => result,
    }
}

/// A direct read has failed. `EILSEQ` says that it has to be read again, to private memory.
pub(super) fn end_io(read: &FailedRead<'_, Stablefs>) -> Error {
    let verified = iomap::Operations::verifier(read.inode.sb()).is_some();
    if verified && !read.bounced && read.error == errno::eilseq() {
        return read.error;
    }
    read_error::report(read.inode, read.pos, read.len, read.error)
}
