// SPDX-License-Identifier: GPL-2.0

//! Errors of a volume, for those who watch it with fanotify (`FAN_FS_ERROR`).
//!
//! C header: [include/linux/fserror.h](srctree/include/linux/fserror.h)

use super::{
    inode::Inode,
    super_block::SuperBlock,
    vfs::FileSystemType, //
};
use crate::bindings;
use ::kernel::{
    prelude::*,
    sync::rcu, //
};
use core::ptr::NonNull;

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

/// Reports that metadata of inode `ino` are broken. The inode is named only
/// if it is in memory, and filled; a volume that is not mounted yet, or no more, is not watched.
///
/// # Context
///
/// May sleep, but does not call back into a filesystem.
pub(crate) fn report_metadata<T: FileSystemType>(sb: &SuperBlock<T>, ino: u32, error: Error) {
    if !sb.is_active() {
        return;
    }
    let inode = grab(sb, ino).map_or(core::ptr::null_mut(), NonNull::as_ptr);
    // SAFETY: The superblock is valid by the type invariants, and so is the inode, if there is one:
    // it is of this superblock. The error is below 0, as every `Error`.
    unsafe {
        bindings::fserror_report(
            sb.as_ptr(),
            inode,
            bindings::fserror_type_FSERR_METADATA,
            0,
            0,
            error.to_errno(),
            bindings::GFP_NOFS,
        )
    };
    // SAFETY: Null, or the reference from `grab`. If it is the last one, the inode stays in memory:
    // it has a name, and the volume is mounted.
    unsafe { bindings::iput(inode) };
}

/// A reference to an inode that is in memory, and filled.
fn grab<T: FileSystemType>(sb: &SuperBlock<T>, ino: u32) -> Option<NonNull<bindings::inode>> {
    let _guard = rcu::read_lock();
    // SAFETY: The superblock is valid by the type invariants; this is a read-side critical section.
    let inode = unsafe { bindings::find_inode_by_ino_rcu(sb.as_ptr(), ino.into()) };
    let inode = NonNull::new(inode)?;
    // SAFETY: Valid until the critical section ends.
    let state = unsafe { bindings::inode_state_read_once(inode.as_ptr()) };
    if state & bindings::inode_state_flags_enum_I_NEW != 0 {
        return None;
    }
    // SAFETY: As above; not being filled, as it is not new.
    unsafe { Inode::<T>::from_raw_filled(inode.as_ptr()) }?;
    // SAFETY: As above.
    NonNull::new(unsafe { bindings::igrab(inode.as_ptr()) })
}
