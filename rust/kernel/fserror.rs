// SPDX-License-Identifier: GPL-2.0

//! Errors, told to programs that watch a filesystem (`FAN_FS_ERROR`).
//!
//! C header: [include/linux/fserror.h](srctree/include/linux/fserror.h)

use super::{
    inode::Inode,
    vfs::FileSystemType, //
};
use crate::bindings;

/// Tells that data of a file are lost, where nobody else does: iomap tells of its own reads.
///
/// # Context
///
/// May sleep.
pub(crate) fn report_data_lost<T: FileSystemType>(inode: &Inode<T>, pos: u64, len: u64) {
    let pos = i64::try_from(pos).unwrap_or(i64::MAX);
    // SAFETY: Valid as long as `inode`; what is done with it later has a reference of its own.
    unsafe { bindings::fserror_report_data_lost(inode.as_ptr(), pos, len) };
}
