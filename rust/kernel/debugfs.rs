// SPDX-License-Identifier: GPL-2.0

//! Numbers of a volume that can be read below `/sys/kernel/debug`, in
//! `<filesystem type>/<name of the block device>/`.
//!
//! The directory of the type is there as long as the module ([`TypeDir`]), that of a volume as long as
//! its numbers ([`Shown`]). Nobody needs these directories: where debugfs makes none, there is none.
//!
//! `kernel::debugfs` is not used, as its file operations, which name no owner, would be in this
//! module, and are looked at when a file is closed: perhaps after the module has gone. Those that C has
//! for plain numbers are in the kernel.
//!
//! C header: [include/linux/debugfs.h](srctree/include/linux/debugfs.h)

use super::super_block::OnDevice;
use crate::bindings;
use ::kernel::{
    prelude::*,
    sync::atomic::Atomic, //
};
use core::ops::Deref;

/// A directory in debugfs, removed with all in it when the value is dropped.
///
/// # Invariants
///
/// A directory that nobody else removes, or an error of C.
struct Dir(*mut bindings::dentry);

// SAFETY: The functions that use the pointer may be called from any thread.
unsafe impl Send for Dir {}
// SAFETY: As above.
unsafe impl Sync for Dir {}

impl Drop for Dir {
    fn drop(&mut self) {
        // SAFETY: By the type invariants. C waits for who is reading a file, and lets nobody begin.
        unsafe { bindings::debugfs_remove(self.0) };
    }
}

/// The directory for all volumes of a filesystem type.
#[must_use = "it is removed when this is dropped"]
pub(crate) struct TypeDir {
    _dir: Dir,
}

impl TypeDir {
    /// Makes the directory, if it can be made, for volumes of the type that `mount` calls `name`.
    ///
    /// # Context
    ///
    /// Sleeps.
    pub(crate) fn new(name: &CStr) -> Self {
        // SAFETY: C copies the name. Without a parent the directory is one below the root.
        let dir =
            unsafe { bindings::debugfs_create_dir(name.as_char_ptr(), core::ptr::null_mut()) };
        // INVARIANT: Made just now, or an error.
        Self { _dir: Dir(dir) }
    }
}

/// Numbers that can be shown.
pub(crate) trait Numbers: Send + Sync + 'static {
    /// The number of each file, and the file's name.
    const FILES: &'static [File<Self>];
}

/// A file with a number.
pub(crate) struct File<T: ?Sized> {
    /// Its name.
    pub(crate) name: &'static CStr,
    /// Its number.
    pub(crate) number: fn(&T) -> &Atomic<u64>,
}

/// Numbers of a volume, shown as long as they are there.
pub(crate) struct Shown<T> {
    // Dropped first.
    _dir: Option<Dir>,
    numbers: KBox<T>,
}

impl<T: Numbers> Shown<T> {
    /// Makes a directory for `numbers`, if it can be made, with a file for each that all may read.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, for the numbers themselves.
    ///
    /// # Context
    ///
    /// Sleeps.
    pub(crate) fn new(sb: &OnDevice, numbers: T) -> Result<Self> {
        let numbers = KBox::new(numbers, GFP_KERNEL)?;
        let dir = volume_dir(sb);
        if let Some(dir) = &dir {
            for File { name, number } in T::FILES {
                // SAFETY: The directory is one, or an error, by its invariants. C copies the name. The
                // number is in memory that does not move, until `self` is dropped, which removes the
                // file before: also if the number were not in `numbers`, as it is borrowed from there.
                // C reads it as a whole.
                unsafe {
                    bindings::debugfs_create_u64(
                        name.as_char_ptr(),
                        0o444,
                        dir.0,
                        number(&numbers).as_ptr(),
                    )
                };
            }
        }
        Ok(Self { _dir: dir, numbers })
    }
}

impl<T> Deref for Shown<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.numbers
    }
}

/// Makes the directory of a volume.
fn volume_dir(sb: &OnDevice) -> Option<Dir> {
    let root = core::ptr::null_mut();
    // SAFETY: The name is valid as long as `sb`.
    let parent = unsafe { bindings::debugfs_lookup(sb.type_name(), root) };
    if parent.is_null() {
        return None;
    }
    // SAFETY: As above; C copies the name. The parent is a directory, or C says so of it.
    let dir = unsafe { bindings::debugfs_create_dir(sb.id(), parent) };
    // SAFETY: The reference is that which C got for us.
    unsafe { bindings::dput(parent) };
    // INVARIANT: Made just now, or an error.
    Some(Dir(dir))
}
