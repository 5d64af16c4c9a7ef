// SPDX-License-Identifier: GPL-2.0

//! Attributes that somebody wants an inode to have: asked for → permitted → copied.
//!
//! C: [fs/attr.c](srctree/fs/attr.c)

use super::{
    Inode,
    Locked, //
};
use crate::{
    bindings,
    kernel::{
        locks::{
            Held,
            InodeExclusive, //
        },
        mnt_idmapping::Idmap,
        vfs::FileSystemType, //
    },
};
use ::kernel::{
    error::to_result,
    prelude::*, //
};
use core::{
    marker::PhantomData,
    ptr::NonNull, //
};

/// A change of attributes that is asked for, as C's `struct iattr`.
///
/// # Invariants
///
/// For `'a`, the change is valid and the caller's alone, and the dentry is valid and has an inode of
/// type `T`, whose `i_rwsem` this thread holds exclusively.
pub(crate) struct Iattr<'a, T> {
    attr: NonNull<bindings::iattr>,
    idmap: Idmap<'a>,
    dentry: NonNull<bindings::dentry>,
    _caller: PhantomData<&'a mut Inode<T>>,
}

impl<'a, T: FileSystemType> Iattr<'a, T> {
    /// # Safety
    ///
    /// `attr` and `dentry` have to be as the type wants them, for `'a`.
    pub(super) unsafe fn from_raw(
        attr: *mut bindings::iattr,
        idmap: Idmap<'a>,
        dentry: *mut bindings::dentry,
    ) -> Self {
        // INVARIANT: By the contract of this function.
        Self {
            // SAFETY: Valid by the contract of this function.
            attr: unsafe { NonNull::new_unchecked(attr) },
            idmap,
            // SAFETY: Valid by the contract of this function.
            dentry: unsafe { NonNull::new_unchecked(dentry) },
            _caller: PhantomData,
        }
    }
}
impl<'a, T: FileSystemType> Iattr<'a, T> {
    /// The inode.
    pub(crate) fn inode(&self) -> Locked<'a, T> {
        // SAFETY: By the type invariants; the dentry has a reference.
        let inode = unsafe { Inode::from_raw(bindings::d_inode(self.dentry.as_ptr())) };
        // SAFETY: By the type invariants.
        unsafe { Locked::new(inode) }
    }

    /// Whether the task may do all that: to be asked first.
    ///
    /// # Errors
    ///
    /// `EPERM`; `EFBIG`, `EINVAL` or `ETXTBSY` for a size that the file cannot get; what removing
    /// capabilities from the file says.
    ///
    /// # Context
    ///
    /// Sleeps; may change extended attributes of the inode.
    pub(crate) fn setattr_prepare(self) -> Result<Prepared<'a, T>> {
        // SAFETY: All are valid, and locked as C wants it, by the type invariants.
        to_result(unsafe {
            bindings::setattr_prepare(
                self.idmap.as_ptr(),
                self.dentry.as_ptr(),
                self.attr.as_ptr(),
            )
        })?;
        Ok(Prepared(self))
    }
}

/// A change of attributes that is permitted.
pub(crate) struct Prepared<'a, T>(Iattr<'a, T>);

impl<'a, T: FileSystemType> Prepared<'a, T> {
    /// The inode.
    pub(crate) fn inode(&self) -> Locked<'a, T> {
        self.0.inode()
    }

    /// The lock of the inode.
    pub(crate) fn inode_lock(&self) -> Held<'a, InodeExclusive<'a, T>> {
        // SAFETY: Held for `'a`, by the type invariants of `Iattr`.
        unsafe { InodeExclusive::held(self.inode().inode()) }
    }

    /// How many bytes the file is to have, less than 2^63, if that is asked for: at most
    /// `s_maxbytes`, or fewer than it has.
    pub(crate) fn size(&self) -> Option<u64> {
        // SAFETY: Valid by the type invariants.
        let size = unsafe { (*self.0.attr.as_ptr()).ia_size };
        self.has(bindings::ATTR_SIZE)
            .then(|| u64::try_from(size).unwrap_or(0))
    }

    /// Makes the inode have what is asked for, but for the size.
    pub(crate) fn setattr_copy(&self) {
        let Iattr { attr, idmap, .. } = &self.0;
        // SAFETY: All are valid, and the inode locked, by the type invariants.
        unsafe {
            bindings::setattr_copy(idmap.as_ptr(), self.0.inode().as_ptr(), attr.as_ptr());
        }
    }

    /// If the mode is to change, changes the access control list, which has a part of the mode in it,
    /// by the filesystem's `set_acl()`: to be done last.
    ///
    /// # Errors
    ///
    /// `ENOMEM`; what `get_inode_acl()` and `set_acl()` say.
    ///
    /// # Context
    ///
    /// As those two.
    pub(crate) fn posix_acl_chmod(&self) -> Result {
        if !self.has(bindings::ATTR_MODE) {
            return Ok(());
        }
        let Iattr { idmap, dentry, .. } = &self.0;
        // SAFETY: Valid by the type invariants; nobody else writes the mode.
        let mode = unsafe { (*self.0.inode().as_ptr()).i_mode };
        // SAFETY: All are valid, and the inode locked, by the type invariants.
        to_result(unsafe { bindings::posix_acl_chmod(idmap.as_ptr(), dentry.as_ptr(), mode) })
    }

    fn has(&self, what: u32) -> bool {
        // SAFETY: Valid by the type invariants.
        unsafe { (*self.0.attr.as_ptr()).ia_valid & what != 0 }
    }
}
