// SPDX-License-Identifier: GPL-2.0

//! Who reads a directory.
//!
//! C header: [include/linux/fs.h](srctree/include/linux/fs.h)

use crate::bindings;
use ::kernel::prelude::*;
use core::{
    marker::PhantomData,
    ptr::NonNull, //
};

/// A reader of a directory, as C's `struct dir_context`.
///
/// # Invariants
///
/// The context is valid, and the caller's alone, for `'a`.
pub(crate) struct DirContext<'a>(NonNull<bindings::dir_context>, PhantomData<&'a mut ()>);

/// What an entry of a directory is, as far as the directory says.
#[derive(Clone, Copy)]
pub(crate) enum EntryType {
    /// Nothing is said.
    Unknown,
    /// A named pipe.
    Fifo,
    /// A character device.
    CharDevice,
    /// A directory.
    Directory,
    /// A block device.
    BlockDevice,
    /// A regular file.
    Regular,
    /// A symbolic link.
    Symlink,
    /// A socket.
    Socket,
}

impl DirContext<'_> {
    /// # Safety
    ///
    /// `ctx` has to be as the type wants it, for the lifetime of the value.
    pub(super) unsafe fn from_raw(ctx: *mut bindings::dir_context) -> Self {
        // SAFETY: Valid by the contract of this function.
        Self(unsafe { NonNull::new_unchecked(ctx) }, PhantomData)
    }

    /// Where to go on; what it means is the filesystem's. Never negative.
    pub(crate) fn pos(&self) -> u64 {
        // SAFETY: Valid by the type invariants.
        let pos = unsafe { (*self.0.as_ptr()).pos };
        u64::try_from(pos).unwrap_or(0)
    }

    /// Sets where to go on the next time; less than 2^63.
    pub(crate) fn set_pos(&mut self, pos: u64) {
        let pos = i64::try_from(pos).unwrap_or(i64::MAX);
        // SAFETY: Valid and not shared by the type invariants.
        unsafe { (*self.0.as_ptr()).pos = pos };
    }

    /// Gives an entry, the position of which has been set. Returns whether it was taken; if not,
    /// no more is wanted now.
    #[must_use = "an entry that was not taken has to be given again"]
    pub(crate) fn emit(&mut self, name: &[u8], ino: u32, entry_type: EntryType) -> bool {
        let entry_type = match entry_type {
            EntryType::Unknown => bindings::DT_UNKNOWN,
            EntryType::Fifo => bindings::DT_FIFO,
            EntryType::CharDevice => bindings::DT_CHR,
            EntryType::Directory => bindings::DT_DIR,
            EntryType::BlockDevice => bindings::DT_BLK,
            EntryType::Regular => bindings::DT_REG,
            EntryType::Symlink => bindings::DT_LNK,
            EntryType::Socket => bindings::DT_SOCK,
        };
        let Ok(len) = c_int::try_from(name.len()) else {
            return false;
        };
        // SAFETY: Valid by the type invariants; the name is as long as it says.
        unsafe {
            bindings::dir_emit(
                self.0.as_ptr(),
                name.as_ptr().cast(),
                len,
                ino.into(),
                entry_type,
            )
        }
    }
}
