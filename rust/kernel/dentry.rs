// SPDX-License-Identifier: GPL-2.0

//! Names in directories.
//!
//! * being looked up: [`Unhashed`] → spliced;
//! * being made: [`Negative`] → [`Instantiated`];
//! * being taken away: [`Victim`];
//! * being moved: [`Moved`], to a [`Target`].
//!
//! All but the first are of a directory whose `i_rwsem` is held exclusively.
//!
//! C header: [include/linux/dcache.h](srctree/include/linux/dcache.h)

use super::{
    inode::{
        Inode,
        Locked, //
    },
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
        // SAFETY: By the type invariants: names do not change while the directory is locked.
        unsafe { name(self.0) }
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

/// # Safety
///
/// `dentry` has to be valid, and the `i_rwsem` of its directory held, for `'a`.
unsafe fn name<'a>(dentry: NonNull<bindings::dentry>) -> &'a [u8] {
    // SAFETY: Valid by the contract of this function; the name does not change while the directory is
    // locked.
    let name = unsafe { bindings::dentry_name(dentry.as_ptr()) };
    // SAFETY: As above.
    let len = unsafe { bindings::dentry_name_len(dentry.as_ptr()) };
    // SAFETY: As above: so many bytes, which live as long as the dentry has the name.
    unsafe { core::slice::from_raw_parts(name, len) }
}

/// A name that no file has, and one is to get.
///
/// # Invariants
///
/// The dentry is valid, without an inode, of a volume of type `T`, and this thread holds the
/// `i_rwsem` of its directory exclusively, for `'a`.
pub(crate) struct Negative<'a, T>(
    NonNull<bindings::dentry>,
    PhantomData<fn(&'a ()) -> &'a ()>,
    PhantomData<T>,
);

/// The proof that a method has given a file to the name, or the open file, that it was called with:
/// what the VFS does next takes that for granted.
///
/// The lifetime is that of one call, so one from elsewhere does not fit.
#[must_use = "the method has to return it"]
pub(crate) struct Instantiated<'a>(PhantomData<fn(&'a ()) -> &'a ()>);

impl Instantiated<'_> {
    /// For `rust/kernel`, where it has become true.
    pub(super) fn new() -> Self {
        Self(PhantomData)
    }
}

impl<'a, T: FileSystemType> Negative<'a, T> {
    /// # Safety
    ///
    /// `dentry` has to be as the type wants it, for `'a`.
    pub(super) unsafe fn from_raw(dentry: *mut bindings::dentry) -> Self {
        // SAFETY: Valid by the contract of this function.
        let dentry = unsafe { NonNull::new_unchecked(dentry) };
        // INVARIANT: By the contract of this function.
        Self(dentry, PhantomData, PhantomData)
    }

    /// The dentry, for use within `rust/kernel`.
    pub(super) fn as_ptr(&self) -> *mut bindings::dentry {
        self.0.as_ptr()
    }

    /// The name.
    pub(crate) fn name(&self) -> &[u8] {
        // SAFETY: By the type invariants.
        unsafe { name(self.0) }
    }

    /// Whether it is on the volume of `inode`.
    pub(super) fn is_beside(&self, inode: &Inode<T>) -> bool {
        // SAFETY: Valid by the type invariants; constant.
        inode.sb().as_ptr() == unsafe { (*self.as_ptr()).d_sb }
    }

    /// Makes it one more name of a file that has been in use before.
    ///
    /// # Errors
    ///
    /// `EXDEV` for an inode of another volume; `EPERM` for a directory, which has one name only.
    pub(crate) fn d_instantiate(self, inode: ARef<Inode<T>>) -> Result<Instantiated<'a>> {
        if !self.is_beside(&inode) {
            return Err(EXDEV);
        }
        if inode.is_dir() {
            return Err(EPERM);
        }
        let inode = ARef::into_raw(inode);
        // SAFETY: Negative, and not looked up by others, by the type invariants; C takes over the
        // reference.
        unsafe { bindings::d_instantiate(self.as_ptr(), inode.as_ref().as_ptr()) };
        Ok(Instantiated::new())
    }
}

/// A name that is to be taken away, or given to another file.
///
/// # Invariants
///
/// The dentry is valid, has an inode, of a volume of type `T`, and this thread holds the `i_rwsem` of
/// its directory and of its inode exclusively, for `'a`.
pub(crate) struct Victim<'a, T>(NonNull<bindings::dentry>, PhantomData<&'a Inode<T>>);

impl<'a, T: FileSystemType> Victim<'a, T> {
    /// # Safety
    ///
    /// `dentry` has to be as the type wants it, for `'a`.
    pub(super) unsafe fn from_raw(dentry: *mut bindings::dentry) -> Self {
        // SAFETY: Valid by the contract of this function.
        let dentry = unsafe { NonNull::new_unchecked(dentry) };
        // INVARIANT: By the contract of this function.
        Self(dentry, PhantomData)
    }

    /// The name.
    pub(crate) fn name(&self) -> &[u8] {
        // SAFETY: By the type invariants.
        unsafe { name(self.0) }
    }

    /// The file that has it.
    pub(crate) fn inode(&self) -> Locked<'a, T> {
        // SAFETY: By the type invariants; the dentry has a reference.
        let inode = unsafe { Inode::from_raw(bindings::d_inode(self.0.as_ptr())) };
        // SAFETY: By the type invariants.
        unsafe { Locked::new(inode) }
    }
}

/// A name that a file has and is to give up for another.
///
/// # Invariants
///
/// The dentry is valid, has an inode, of a volume of type `T`, and this thread holds the `i_rwsem` of
/// its directory exclusively, for `'a`.
pub(crate) struct Moved<'a, T>(NonNull<bindings::dentry>, PhantomData<&'a Inode<T>>);

impl<'a, T: FileSystemType> Moved<'a, T> {
    /// # Safety
    ///
    /// `dentry` has to be as the type wants it, for `'a`.
    pub(super) unsafe fn from_raw(dentry: *mut bindings::dentry) -> Self {
        // SAFETY: Valid by the contract of this function.
        let dentry = unsafe { NonNull::new_unchecked(dentry) };
        // INVARIANT: By the contract of this function.
        Self(dentry, PhantomData)
    }

    /// The name.
    pub(crate) fn name(&self) -> &[u8] {
        // SAFETY: By the type invariants.
        unsafe { name(self.0) }
    }

    /// The file that has it. A directory that stays in the one it is in is not locked.
    pub(crate) fn inode(&self) -> &'a Inode<T> {
        // SAFETY: By the type invariants; the dentry has a reference.
        unsafe { Inode::from_raw(bindings::d_inode(self.0.as_ptr())) }
    }
}

/// What a file that is being renamed meets.
pub(crate) enum Target<'a, T> {
    /// A name that no file has.
    Free(Negative<'a, T>),
    /// One whose file loses it.
    Replaced(Victim<'a, T>),
    /// One whose file is to get the other name for it (`RENAME_EXCHANGE`).
    Exchanged(Moved<'a, T>),
}
