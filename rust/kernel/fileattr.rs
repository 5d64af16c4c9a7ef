// SPDX-License-Identifier: GPL-2.0

//! What the ioctls of `lsattr`, `chattr` and of projects say of a file.
//!
//! C header: [include/linux/fileattr.h](srctree/include/linux/fileattr.h)

use crate::bindings;
use core::{
    marker::PhantomData,
    ptr::NonNull, //
};

/// An answer that is being written, as C's `struct file_kattr`.
///
/// # Invariants
///
/// The structure is valid, and the caller's alone, for `'a`.
pub(crate) struct FileKattr<'a>(NonNull<bindings::file_kattr>, PhantomData<&'a mut ()>);

impl FileKattr<'_> {
    /// # Safety
    ///
    /// `fa` has to be as the type wants it, for the lifetime of the value.
    pub(super) unsafe fn from_raw(fa: *mut bindings::file_kattr) -> Self {
        // SAFETY: Valid by the contract of this function.
        Self(unsafe { NonNull::new_unchecked(fa) }, PhantomData)
    }

    /// Tells the flags (`FS_*_FL`), and what `FS_XFLAG_*` there are for them.
    pub(crate) fn fill_flags(&mut self, flags: u32) {
        // SAFETY: Valid and not shared by the type invariants.
        unsafe { bindings::fileattr_fill_flags(self.0.as_ptr(), flags) };
    }

    /// Tells the project that the file counts against.
    pub(crate) fn set_projid(&mut self, projid: u32) {
        // SAFETY: As above.
        unsafe { self.0.as_mut() }.fsx_projid = projid;
    }
}

/// What a program wants them to say, checked by the VFS against what they say now.
#[derive(Clone, Copy)]
pub(crate) struct Wanted {
    /// The flags (`FS_*_FL`).
    pub(crate) flags: u32,
    /// The project that the file counts against.
    pub(crate) projid: u32,
}

impl Wanted {
    /// # Safety
    ///
    /// `fa` has to be valid.
    pub(super) unsafe fn from_raw(fa: *const bindings::file_kattr) -> Self {
        // SAFETY: By the contract of this function.
        let fa = unsafe { &*fa };
        Self {
            flags: fa.flags,
            projid: fa.fsx_projid,
        }
    }
}
