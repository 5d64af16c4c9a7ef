// SPDX-License-Identifier: GPL-2.0

//! Inodes that are made: [`Unnumbered`] → [`Numbered`] → [`Created`] → one that has a name, or an
//! open file.
//!
//! Nobody else looks at the inode on the way. Dropping it discards it:
//!
//! * as long as it has no data, [`evict_inode`] is not called. Who took a number for it gives that
//!   back, in the handle that took it.
//! * Once it has data ([`Created`]), it loses its names, and [`evict_inode`] is called as for a file
//!   whose last name is gone: that gives back the number, and all blocks. In case there is a crash
//!   before, it has to be put on the list of orphans in the handle that made it; and it has to be
//!   dropped when that handle has ended, for eviction wants its own.
//!
//! [`evict_inode`]: crate::kernel::super_block::Operations::evict_inode
//!
//! C header: [include/linux/fs.h](srctree/include/linux/fs.h)

use super::{
    kind::{
        fill,
        Kind, //
    },
    Flags, Inode, Locked, Time,
};
use crate::{
    bindings,
    kernel::{
        dentry::{
            Instantiated,
            Negative, //
        },
        mnt_idmapping::Idmap,
        posix_acl::{
            Initial,
            PosixAcl,
            Type, //
        },
        super_block::SuperBlock,
        vfs::FileSystemType, //
    },
};
use ::kernel::{
    error::to_result,
    prelude::*, //
};
use core::{
    marker::PhantomData,
    mem::ManuallyDrop,
    ops::Deref,
    ptr::NonNull, //
};

impl<T: FileSystemType> SuperBlock<T> {
    /// A new inode for directory `dir`, with an owner, a group, a mode, the times of now, one name,
    /// and the access control lists that it inherits: `new_inode()`, `inode_init_owner()` and
    /// `posix_acl_create()`. Of the lower 12 bits of its mode, `permissions`, the lists take some
    /// away, or the umask does; a directory inherits `S_ISGID`.
    ///
    /// # Errors
    ///
    /// `ENOMEM`; what reading the directory's default list says.
    ///
    /// # Context
    ///
    /// Sleeps, also in memory reclaim: not inside a handle.
    pub(crate) fn new_inode(
        &self,
        idmap: Idmap<'_>,
        dir: &Inode<T>,
        kind: Kind<T>,
        permissions: u16,
    ) -> Result<Unnumbered<'_, T>> {
        // SAFETY: Valid by the type invariants.
        let inode = unsafe { bindings::new_inode(self.as_ptr()) };
        // INVARIANT: From `alloc_inode()` of this superblock, not hashed, and with a reference that is
        // handed over.
        let inode = Unhashed(NonNull::new(inode).ok_or(ENOMEM)?, PhantomData);
        let (this, mode) = (inode.0.as_ptr(), kind.mode(permissions));
        // SAFETY: All are valid; nobody else looks at the inode by the type invariants.
        unsafe { bindings::inode_init_owner(idmap.as_ptr(), this, dir.as_ptr(), mode) };
        // SAFETY: As above.
        let time = Time::from_timespec64(unsafe { bindings::simple_inode_init_ts(this) });
        let (mut default, mut access) = (core::ptr::null_mut(), core::ptr::null_mut());
        // SAFETY: As above.
        let i_mode = unsafe { &raw mut (*this).i_mode };
        // SAFETY: As above: the mode is ours. C writes two references, or null, which are handed over.
        to_result(unsafe {
            bindings::posix_acl_create(dir.as_ptr(), i_mode, &mut default, &mut access)
        })?;
        Ok(Unnumbered {
            inode,
            kind,
            time,
            acls: Initial {
                // SAFETY: As C says above.
                default: unsafe { PosixAcl::from_raw(default) },
                // SAFETY: As C says above.
                access: unsafe { PosixAcl::from_raw(access) },
            },
        })
    }
}

/// # Invariants
///
/// The inode is that of a [`Slot<T>`](super::Slot) that is not filled, of a live superblock, not
/// hashed; nobody else looks at it; the value owns a reference.
struct Unhashed<'a, T>(NonNull<bindings::inode>, PhantomData<&'a SuperBlock<T>>);

impl<T> Drop for Unhashed<'_, T> {
    fn drop(&mut self) {
        // SAFETY: The reference is given back. C keeps no inode in memory that is not hashed.
        unsafe { bindings::iput(self.0.as_ptr()) };
    }
}

/// # Invariants
///
/// The inode is that of a [`Slot<T>`](super::Slot) of a live superblock, hashed and locked (`I_NEW`)
/// by this thread, so that nobody else looks at it; the value owns a reference.
struct Hashed<'a, T>(NonNull<bindings::inode>, PhantomData<&'a SuperBlock<T>>);

impl<T> Drop for Hashed<'_, T> {
    fn drop(&mut self) {
        // SAFETY: Valid, and nobody else changes the number, by the type invariants.
        unsafe { bindings::clear_nlink(self.0.as_ptr()) };
        // Until it is gone, C tells those who look for it that it is being made.
        // SAFETY: New and locked by the type invariants; the reference is given back. C keeps no inode
        // in memory that has no names.
        unsafe { bindings::discard_new_inode(self.0.as_ptr()) };
    }
}

/// A new inode without a number.
#[must_use = "dropping it discards the inode"]
pub(crate) struct Unnumbered<'a, T> {
    inode: Unhashed<'a, T>,
    kind: Kind<T>,
    time: Time,
    acls: Initial,
}

impl<'a, T: FileSystemType> Unnumbered<'a, T> {
    /// Gives it a number, which nobody else may have taken, and tells others that it is being made.
    ///
    /// # Errors
    ///
    /// `EBUSY` if an inode in memory has the number: then it was not free.
    ///
    /// # Context
    ///
    /// Sleeps, and waits for an inode of that number that is being evicted.
    pub(crate) fn insert_inode_locked(self, ino: u32) -> Result<Numbered<'a, T>> {
        let inode = self.inode.0;
        // SAFETY: Valid, and nobody else looks at it, by the type invariants.
        unsafe { (*inode.as_ptr()).i_ino = ino.into() };
        // SAFETY: As above.
        to_result(unsafe { bindings::insert_inode_locked(inode.as_ptr()) })?;
        let _ = ManuallyDrop::new(self.inode);
        Ok(Numbered {
            // INVARIANT: Hashed and locked just now; the reference is handed over.
            inode: Hashed(inode, PhantomData),
            kind: self.kind,
            time: self.time,
            acls: self.acls,
        })
    }
}

/// A new inode with a number and without data.
#[must_use = "dropping it discards the inode"]
pub(crate) struct Numbered<'a, T> {
    inode: Hashed<'a, T>,
    kind: Kind<T>,
    time: Time,
    acls: Initial,
}

/// What the VFS wants to know of a new inode.
pub(crate) struct NewParams {
    /// Names that it will have.
    pub(crate) nlink: u32,
    /// Bytes; less than 2^63.
    pub(crate) size: u64,
    /// What tells it from others that had its number before.
    pub(crate) generation: u32,
    /// What its flags mean to the VFS.
    pub(crate) flags: Flags,
}

impl<'a, T: FileSystemType> Numbered<'a, T> {
    /// When it was made, which all its times are.
    pub(crate) fn time(&self) -> Time {
        self.time
    }

    /// Gives it its data and operations. From here on it is the business of
    /// [`evict_inode`](crate::kernel::super_block::Operations::evict_inode) to give its number back.
    pub(crate) fn fill(self, params: &NewParams, data: impl PinInit<T::Inode>) -> Created<'a, T> {
        let inode = self.inode.0.as_ptr();
        // SAFETY: Valid, and nobody else looks at it, by the type invariants; and so below.
        unsafe { (*inode).i_generation = params.generation };
        // SAFETY: As above.
        unsafe { (*inode).i_flags = params.flags.bits() };
        // SAFETY: As above.
        unsafe { (*inode).i_size = i64::try_from(params.size).unwrap_or(i64::MAX) };
        // SAFETY: As above.
        unsafe { bindings::set_nlink(inode, params.nlink) };
        // SAFETY: As above; of this kind since it was made.
        let mode = unsafe { (*inode).i_mode };
        // SAFETY: As above; it is filled once, as `self` is gone then.
        unsafe { fill(inode, self.kind, mode, data) };
        let created = Created {
            inode: self.inode,
            acls: self.acls,
        };
        let Initial { default, access } = &created.acls;
        created
            .locked()
            .set_cached_acl(Type::Default, default.as_ref());
        created
            .locked()
            .set_cached_acl(Type::Access, access.as_ref());
        created
    }
}

/// A new inode that has its data, and neither a name nor an open file.
///
/// # Invariants
///
/// The inode is an [`Inode<T>`].
#[must_use = "dropping it discards the inode"]
pub(crate) struct Created<'a, T> {
    inode: Hashed<'a, T>,
    acls: Initial,
}

impl<T: FileSystemType> Deref for Created<'_, T> {
    type Target = Inode<T>;

    fn deref(&self) -> &Inode<T> {
        // SAFETY: By the type invariants, as long as `self`.
        unsafe { Inode::from_raw(self.inode.0.as_ptr()) }
    }
}

impl<T: FileSystemType> Created<'_, T> {
    /// It, for those who change it.
    pub(crate) fn locked(&self) -> Locked<'_, T> {
        // SAFETY: Nobody else looks at it by the type invariants.
        unsafe { Locked::new(self) }
    }

    /// The access control lists that it inherited, which have to be written. The VFS has them.
    pub(crate) fn acls(&self) -> &Initial {
        &self.acls
    }

    /// Has the security modules label it, in directory `dir` and with a name if it gets one; `set` is
    /// called with each attribute that they want it to have, its name being without `security.`, and
    /// the value.
    ///
    /// # Errors
    ///
    /// What `set` returns, though `EOPNOTSUPP` counts for none; what the modules say.
    pub(crate) fn security_inode_init_security<F>(
        &self,
        dir: &Inode<T>,
        dentry: Option<&Negative<'_, T>>,
        mut set: F,
    ) -> Result
    where
        F: FnMut(&CStr, &[u8]) -> Result,
    {
        let qstr = dentry.map_or(core::ptr::null(), |dentry| {
            // SAFETY: Valid by the type invariants, and its name stays.
            unsafe { bindings::dentry_d_name(dentry.as_ptr()) }
        });
        // SAFETY: All are valid; `set` is what `initxattrs` wants, and lives until C returns.
        to_result(unsafe {
            bindings::security_inode_init_security(
                self.as_ptr(),
                dir.as_ptr(),
                qstr,
                Some(initxattrs::<F>),
                (&raw mut set).cast(),
            )
        })
    }

    /// Gives it the name, and lets all others see it.
    ///
    /// # Errors
    ///
    /// `EXDEV` for a name on another volume, and the inode is discarded.
    pub(crate) fn d_instantiate_new<'b>(self, dentry: Negative<'b, T>) -> Result<Instantiated<'b>> {
        if !dentry.is_beside(&self) {
            return Err(EXDEV);
        }
        let inode = ManuallyDrop::new(self.inode).0;
        // SAFETY: The dentry is negative, and the inode is new, locked and filled, by the type
        // invariants; C takes over the reference.
        unsafe { bindings::d_instantiate_new(dentry.as_ptr(), inode.as_ptr()) };
        Ok(Instantiated::new())
    }

    /// Makes it that of the open file, without names, and lets all others see it. It has to be on the
    /// list of orphans by then.
    ///
    /// # Errors
    ///
    /// `EXDEV` for a file on another volume, and the inode is discarded.
    pub(crate) fn d_tmpfile<'b>(self, file: Tmpfile<'b, T>) -> Result<Instantiated<'b>> {
        // SAFETY: Valid by the type invariants.
        let dentry = unsafe { bindings::file_path_dentry(file.0.as_ptr()) };
        // SAFETY: Valid as the file is; constant.
        if self.sb().as_ptr() != unsafe { (*dentry).d_sb } {
            return Err(EXDEV);
        }
        self.locked().clear_nlink();
        let inode = ManuallyDrop::new(self.inode).0.as_ptr();
        // SAFETY: The file's dentry is negative, has no name and is known to nobody else, by the type
        // invariants.
        unsafe { bindings::d_mark_tmpfile(file.0.as_ptr(), inode) };
        // SAFETY: As above; the inode is new, locked and filled by the type invariants; C takes over
        // the reference.
        unsafe { bindings::d_instantiate_new(dentry, inode) };
        Ok(Instantiated::new())
    }
}

/// Hands attributes from the security modules to a closure.
///
/// # Safety
///
/// Called by `security_inode_init_security()` only: `data` is an `F` that nobody else uses, and
/// `xattrs` ends with an attribute that has no name.
unsafe extern "C" fn initxattrs<F>(
    _inode: *mut bindings::inode,
    xattrs: *const bindings::xattr,
    data: *mut c_void,
) -> c_int
where
    F: FnMut(&CStr, &[u8]) -> Result,
{
    // SAFETY: By the contract of this function.
    let set = unsafe { &mut *data.cast::<F>() };
    let mut next = xattrs;
    loop {
        // SAFETY: Not beyond the last, by the contract of this function.
        let xattr = unsafe { &*next };
        if xattr.name.is_null() {
            return 0;
        }
        // SAFETY: A string by the contract of this function.
        let name = unsafe { CStr::from_char_ptr(xattr.name) };
        let value: &[u8] = if xattr.value.is_null() {
            &[]
        } else {
            // SAFETY: So many bytes, by the contract of this function, which do not change.
            unsafe { core::slice::from_raw_parts(xattr.value.cast(), xattr.value_len) }
        };
        if let Err(error) = set(name, value) {
            return error.to_errno();
        }
        // SAFETY: The last one is still to come.
        next = unsafe { next.add(1) };
    }
}

/// A file that is being opened, and gets an inode without a name (`O_TMPFILE`).
///
/// # Invariants
///
/// The file is valid for `'a`, and has a dentry that nobody else knows, on a volume of type `T`,
/// without an inode.
pub(crate) struct Tmpfile<'a, T>(
    NonNull<bindings::file>,
    PhantomData<fn(&'a ()) -> &'a ()>,
    PhantomData<T>,
);

impl<T: FileSystemType> Tmpfile<'_, T> {
    /// # Safety
    ///
    /// `file` has to be as the type wants it, for the lifetime of the value.
    pub(super) unsafe fn from_raw(file: *mut bindings::file) -> Self {
        // SAFETY: Valid by the contract of this function.
        let file = unsafe { NonNull::new_unchecked(file) };
        // INVARIANT: By the contract of this function.
        Self(file, PhantomData, PhantomData)
    }
}
