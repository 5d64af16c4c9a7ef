// SPDX-License-Identifier: GPL-2.0

//! What inodes do.
//!
//! C header: [include/linux/fs.h](srctree/include/linux/fs.h), manual:
//! [Documentation/filesystems/vfs.rst](srctree/Documentation/filesystems/vfs.rst)

use super::{
    super::{
        dentry::{
            Dentry,
            Unhashed, //
        },
        fileattr::FileKattr,
        iomap::Fiemap,
        posix_acl::{
            self,
            PosixAcl, //
        },
        ret,
        stat::Kstat,
        vfs::FileSystemType,
        xattr, //
    },
    Inode,
};
use crate::bindings;
use ::kernel::{
    prelude::*,
    str::CString, //
};
use core::marker::PhantomData;

/// Operations on inodes, as C's `struct inode_operations`.
#[vtable]
pub(crate) trait Operations: Sized + 'static {
    /// The filesystem whose inodes these are.
    type FileSystem: FileSystemType;

    /// Finds the name of `dentry` in directory `dir`, and makes it known: positive or negative.
    ///
    /// # Errors
    ///
    /// What the system call shall return.
    ///
    /// # Context
    ///
    /// The directory's `i_rwsem` is held, at least shared.
    fn lookup(
        _dir: &Inode<Self::FileSystem>,
        _dentry: Unhashed<'_, Self::FileSystem>,
    ) -> Result<Option<Dentry<Self::FileSystem>>> {
        Err(ENOTDIR)
    }

    /// The target of a symbolic link. It is kept for as long as the inode is in memory, so that
    /// this is called until it has succeeded, and hardly ever after that.
    ///
    /// # Errors
    ///
    /// What the system call shall return.
    ///
    /// # Context
    ///
    /// No lock is held.
    fn get_link(_inode: &Inode<Self::FileSystem>) -> Result<CString> {
        Err(EINVAL)
    }

    /// Tells what is known of the inode.
    ///
    /// # Errors
    ///
    /// What the system call shall return.
    ///
    /// # Context
    ///
    /// No lock is held.
    fn getattr(inode: &Inode<Self::FileSystem>, stat: &mut Kstat<'_>) -> Result {
        stat.generic_fillattr(inode);
        Ok(())
    }

    /// Gives the names of the inode's extended attributes, each with its prefix and a zero.
    ///
    /// # Errors
    ///
    /// `ERANGE` if they are too long for the buffer; else what the system call shall return.
    ///
    /// # Context
    ///
    /// The inode's `i_rwsem` may be held or not.
    fn listxattr(_inode: &Inode<Self::FileSystem>, _names: &mut xattr::Buffer<'_>) -> Result {
        Ok(())
    }

    /// An access control list of the inode, if it has one. The VFS keeps it.
    ///
    /// # Errors
    ///
    /// What the system call shall return: access is denied.
    ///
    /// # Context
    ///
    /// The inode's `i_rwsem` may be held or not.
    fn get_inode_acl(
        _inode: &Inode<Self::FileSystem>,
        _acl_type: posix_acl::Type,
    ) -> Result<Option<PosixAcl>> {
        Ok(None)
    }

    /// Tells the flags of the file, and its project.
    ///
    /// # Errors
    ///
    /// What the system call shall return.
    ///
    /// # Context
    ///
    /// The inode's `i_rwsem` may be held or not.
    fn fileattr_get(_inode: &Inode<Self::FileSystem>, _fa: &mut FileKattr<'_>) -> Result {
        Err(ENOTTY)
    }

    /// Tells a caller of `FIEMAP` where the data of the file are.
    ///
    /// # Errors
    ///
    /// What the system call shall return.
    fn fiemap(_inode: &Inode<Self::FileSystem>, _fieinfo: Fiemap<'_>) -> Result {
        Err(ENOTTY)
    }
}

/// The table of the operations of an inode.
pub(crate) struct Ops<T>(*const bindings::inode_operations, PhantomData<T>);

impl<T: FileSystemType> Ops<T> {
    /// Those of `U`.
    pub(crate) const fn new<U: Operations<FileSystem = T>>() -> Self {
        Self(&OperationsTable::<U>::TABLE, PhantomData)
    }

    /// The table, which is static.
    pub(super) fn as_ptr(&self) -> *const bindings::inode_operations {
        self.0
    }
}

struct OperationsTable<U>(PhantomData<U>);

impl<U: Operations> OperationsTable<U> {
    const TABLE: bindings::inode_operations = bindings::inode_operations {
        lookup: if U::HAS_LOOKUP {
            Some(Self::lookup)
        } else {
            None
        },
        get_link: if U::HAS_GET_LINK {
            Some(Self::get_link)
        } else {
            None
        },
        getattr: if U::HAS_GETATTR {
            Some(Self::getattr)
        } else {
            None
        },
        listxattr: if U::HAS_LISTXATTR {
            Some(Self::listxattr)
        } else {
            None
        },
        get_inode_acl: if U::HAS_GET_INODE_ACL {
            Some(Self::get_inode_acl)
        } else {
            None
        },
        fileattr_get: if U::HAS_FILEATTR_GET {
            Some(Self::fileattr_get)
        } else {
            None
        },
        fiemap: if U::HAS_FIEMAP {
            Some(Self::fiemap)
        } else {
            None
        },
        ..pin_init::zeroed()
    };

    /// # Safety
    ///
    /// Called by the VFS only: `inode` is a symbolic link of type `U::FileSystem`; without `dentry`
    /// this may not sleep, and the inode is protected by RCU alone.
    unsafe extern "C" fn get_link(
        dentry: *mut bindings::dentry,
        inode: *mut bindings::inode,
        _done: *mut bindings::delayed_call,
    ) -> *const c_char {
        // SAFETY: By the contract of this function; what it points to is freed after a grace period.
        let link = &unsafe { Inode::<U::FileSystem>::from_raw(inode) }
            .filled()
            .link;
        if link.get().is_none() {
            if dentry.is_null() {
                return ECHILD.to_ptr();
            }
            // SAFETY: By the contract of this function; the dentry has a reference.
            let target = U::get_link(unsafe { Inode::from_raw(inode) });
            match target.and_then(|target| Ok(KBox::new(target, GFP_KERNEL)?)) {
                Ok(target) => link.set_once(target),
                Err(error) => return error.to_ptr(),
            }
        }
        let Some(target) = link.get() else {
            return EIO.to_ptr();
        };
        // SAFETY: The inode is valid by the contract of this function; the string does not change
        // from now on, and is freed with the slot, after a grace period.
        unsafe { bindings::inode_set_link(inode, target.as_char_ptr().cast_mut()) };
        target.as_char_ptr()
    }

    /// # Safety
    ///
    /// Called by the VFS only: `path` is that of an inode of type `U::FileSystem`, `idmap` that of
    /// its mount, and `stat` the caller's alone.
    unsafe extern "C" fn getattr(
        idmap: *mut bindings::mnt_idmap,
        path: *const bindings::path,
        stat: *mut bindings::kstat,
        request_mask: u32,
        _query_flags: c_uint,
    ) -> c_int {
        // SAFETY: By the contract of this function.
        let dentry = unsafe { (*path).dentry };
        // SAFETY: The path has a reference on the dentry, and that one on its inode.
        let inode = unsafe { Inode::from_raw(bindings::d_inode(dentry)) };
        // SAFETY: By the contract of this function.
        let mut stat = unsafe { Kstat::from_raw(stat, idmap, request_mask) };
        ret::int(U::getattr(inode, &mut stat))
    }

    /// # Safety
    ///
    /// Called by the VFS only: `dentry` has an inode of type `U::FileSystem`, and `list` is null or
    /// the caller's alone, with `size` bytes.
    unsafe extern "C" fn listxattr(
        dentry: *mut bindings::dentry,
        list: *mut c_char,
        size: usize,
    ) -> isize {
        // SAFETY: By the contract of this function; the dentry has a reference.
        let inode = unsafe { Inode::from_raw(bindings::d_inode(dentry)) };
        // SAFETY: By the contract of this function.
        let mut names = unsafe { xattr::Buffer::from_raw(list.cast(), size) };
        ret::ssize_t(U::listxattr(inode, &mut names).map(|()| names.len()))
    }

    /// # Safety
    ///
    /// Called by the VFS only: `inode` is one of type `U::FileSystem`; with `rcu` this may not sleep,
    /// and the inode is protected by RCU alone.
    unsafe extern "C" fn get_inode_acl(
        inode: *mut bindings::inode,
        acl_type: c_int,
        rcu: bool,
    ) -> *mut ::kernel::bindings::posix_acl {
        if rcu {
            return ECHILD.to_ptr();
        }
        let Some(acl_type) = posix_acl::Type::from_raw(acl_type) else {
            return EINVAL.to_ptr();
        };
        // SAFETY: By the contract of this function; the caller has a reference.
        let inode = unsafe { Inode::from_raw(inode) };
        let acl = U::get_inode_acl(inode, acl_type)
            .map(|acl| acl.map_or(core::ptr::null_mut(), PosixAcl::into_raw));
        // The cast is to the kernel crate's declaration of the C type, which lacks the fields.
        ret::pointer(acl).cast()
    }

    /// # Safety
    ///
    /// Called by the VFS only: `dentry` has an inode of type `U::FileSystem`, and `fa` is the
    /// caller's alone.
    unsafe extern "C" fn fileattr_get(
        dentry: *mut bindings::dentry,
        fa: *mut ::kernel::bindings::file_kattr,
    ) -> c_int {
        // SAFETY: By the contract of this function; the dentry has a reference.
        let inode = unsafe { Inode::from_raw(bindings::d_inode(dentry)) };
        // SAFETY: By the contract of this function. The cast is from the kernel crate's declaration
        // of the C type, which lacks the fields, to ours.
        let mut fa = unsafe { FileKattr::from_raw(fa.cast()) };
        ret::int(U::fileattr_get(inode, &mut fa))
    }

    /// # Safety
    ///
    /// Called by the VFS only: `inode` is of type `U::FileSystem`, and `fieinfo` the caller's alone.
    unsafe extern "C" fn fiemap(
        inode: *mut bindings::inode,
        fieinfo: *mut bindings::fiemap_extent_info,
        start: u64,
        len: u64,
    ) -> c_int {
        // SAFETY: By the contract of this function; bad inodes have other operations.
        let inode = unsafe { Inode::from_raw(inode) };
        // SAFETY: By the contract of this function.
        let fieinfo = unsafe { Fiemap::from_raw(fieinfo, start, len) };
        ret::int(U::fiemap(inode, fieinfo))
    }

    /// # Safety
    ///
    /// Called by the VFS only: `dir` is an inode of type `U::FileSystem`, whose `i_rwsem` is held at
    /// least shared, and `dentry` a new one of it.
    unsafe extern "C" fn lookup(
        dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
        _flags: c_uint,
    ) -> *mut bindings::dentry {
        // SAFETY: By the contract of this function; bad inodes have other operations.
        let dir = unsafe { Inode::from_raw(dir) };
        // SAFETY: By the contract of this function.
        let dentry = unsafe { Unhashed::from_raw(dentry) };
        ret::pointer(U::lookup(dir, dentry).map(|dentry| match dentry {
            Some(dentry) => dentry.into_raw(),
            None => core::ptr::null_mut(),
        }))
    }
}
