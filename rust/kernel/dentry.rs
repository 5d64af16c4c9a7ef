// SPDX-License-Identifier: GPL-2.0

//! Names in directories.
//!
//! unhashed (being looked up) → spliced
//!
//! C header: [include/linux/dcache.h](srctree/include/linux/dcache.h)

use super::{
    inode::Inode,
    vfs::FileSystemType, //
};
use crate::bindings;
use ::kernel::{
    error::from_err_ptr,
    prelude::*,
    sync::aref::ARef, //
};
use core::{
    marker::PhantomData,
    mem::ManuallyDrop,
    ptr::NonNull, //
};

/// A name that is being looked up.
///
/// # Invariants
///
/// The dentry is valid, unhashed, without an inode, of a volume of type `T`, and the `i_rwsem` of
/// its directory is held, for `'a`.
pub(crate) struct Unhashed<'a, T>(
    NonNull<bindings::dentry>,
    PhantomData<&'a mut ()>,
    PhantomData<T>,
);

impl<T: FileSystemType> Unhashed<'_, T> {
    /// # Safety
    ///
    /// `dentry` has to be as the type wants it, for the lifetime of the value.
    pub(super) unsafe fn from_raw(dentry: *mut bindings::dentry) -> Self {
        // SAFETY: Valid by the contract of this function.
        let dentry = unsafe { NonNull::new_unchecked(dentry) };
        // INVARIANT: By the contract of this function.
        Self(dentry, PhantomData, PhantomData)
    }

    /// The name.
    pub(crate) fn name(&self) -> &[u8] {
        // SAFETY: Valid by the type invariants; the name does not change while the directory is
        // locked.
        let name = unsafe { bindings::dentry_name(self.0.as_ptr()) };
        // SAFETY: As above.
        let len = unsafe { bindings::dentry_name_len(self.0.as_ptr()) };
        // SAFETY: As above: so many bytes, which live as long as the dentry has the name.
        unsafe { core::slice::from_raw_parts(name, len) }
    }

    /// Makes it the name of `inode`, or one that no file has. If the inode is a directory that has
    /// a dentry already, that one is returned in its place.
    ///
    /// # Errors
    ///
    /// `ELOOP` for a directory that would be below itself; `EXDEV` for an inode of another volume;
    /// `EIO`, `ESTALE` and `ENOMEM`.
    pub(crate) fn d_splice_alias(self, inode: Option<ARef<Inode<T>>>) -> Result<Option<Dentry<T>>> {
        // SAFETY: Valid by the type invariants.
        let sb = unsafe { (*self.0.as_ptr()).d_sb };
        if inode
            .as_ref()
            .is_some_and(|inode| inode.sb().as_ptr() != sb)
        {
            return Err(EXDEV);
        }
        let inode = match inode {
            Some(inode) => ARef::into_raw(inode).as_ptr().cast(),
            None => core::ptr::null_mut(),
        };
        // SAFETY: The dentry is as the type wants it; C takes over the reference to the inode, even
        // when it fails.
        let dentry = from_err_ptr(unsafe { bindings::d_splice_alias(inode, self.0.as_ptr()) })?;
        // INVARIANT: C hands over a reference.
        Ok(NonNull::new(dentry).map(|dentry| Dentry(dentry, PhantomData)))
    }
}

/// A name in a directory of a volume of type `T`.
///
/// # Invariants
///
/// The dentry is valid, and this value has a reference on it.
pub(crate) struct Dentry<T>(NonNull<bindings::dentry>, PhantomData<T>);

impl<T> Dentry<T> {
    /// Hands the reference over.
    pub(super) fn into_raw(self) -> *mut bindings::dentry {
        ManuallyDrop::new(self).0.as_ptr()
    }
}

impl<T> Drop for Dentry<T> {
    fn drop(&mut self) {
        // SAFETY: The reference is given back.
        unsafe { bindings::dput(self.0.as_ptr()) };
    }
}
