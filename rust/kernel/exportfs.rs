// SPDX-License-Identifier: GPL-2.0

//! File handles, as NFS and `open_by_handle_at()` have them: the number of an inode of 32 bits, and
//! its generation; perhaps those of its directory.
//!
//! C header: [include/linux/exportfs.h](srctree/include/linux/exportfs.h), manual:
//! [Documentation/filesystems/nfs/exporting.rst](srctree/Documentation/filesystems/nfs/exporting.rst)

use super::{
    inode::Inode,
    ret,
    super_block::SuperBlock,
    vfs::FileSystemType, //
};
use crate::bindings;
use ::kernel::{
    prelude::*,
    sync::aref::ARef, //
};
use core::marker::PhantomData;

/// What finds files by their handles, as C's `struct export_operations`.
pub(crate) trait Operations: FileSystemType {
    /// The inode of that number, which comes from a program, or over the network.
    ///
    /// # Errors
    ///
    /// `ESTALE` if there is no such file, or another one has the number now.
    ///
    /// # Context
    ///
    /// Sleeps.
    fn get_inode(sb: &SuperBlock<Self>, ino: u64, generation: u32) -> Result<ARef<Inode<Self>>>;

    /// The directory that a directory is in.
    ///
    /// # Errors
    ///
    /// What the system call shall return.
    ///
    /// # Context
    ///
    /// The `i_rwsem` of the directory is held.
    fn get_parent(child: &Inode<Self>) -> Result<ARef<Inode<Self>>>;
}

/// The table of those operations.
pub(super) struct OperationsTable<T>(PhantomData<T>);

impl<T: Operations> OperationsTable<T> {
    pub(super) const TABLE: bindings::export_operations = bindings::export_operations {
        encode_fh: Some(bindings::generic_encode_ino32_fh),
        fh_to_dentry: Some(Self::fh_to_dentry),
        fh_to_parent: Some(Self::fh_to_parent),
        get_parent: Some(Self::get_parent),
        ..pin_init::zeroed()
    };

    /// # Safety
    ///
    /// Called by exportfs only: `sb` is a superblock of type `T`, and `fid` has `fh_len` words.
    unsafe extern "C" fn fh_to_dentry(
        sb: *mut bindings::super_block,
        fid: *mut bindings::fid,
        fh_len: c_int,
        fh_type: c_int,
    ) -> *mut bindings::dentry {
        // SAFETY: By the contract of this function, which is that of C's as well.
        unsafe { bindings::generic_fh_to_dentry(sb, fid, fh_len, fh_type, Some(Self::get_inode)) }
    }

    /// # Safety
    ///
    /// As [`fh_to_dentry`](Self::fh_to_dentry).
    unsafe extern "C" fn fh_to_parent(
        sb: *mut bindings::super_block,
        fid: *mut bindings::fid,
        fh_len: c_int,
        fh_type: c_int,
    ) -> *mut bindings::dentry {
        // SAFETY: By the contract of this function, which is that of C's as well.
        unsafe { bindings::generic_fh_to_parent(sb, fid, fh_len, fh_type, Some(Self::get_inode)) }
    }

    /// # Safety
    ///
    /// Called by the two functions above only, with their superblock.
    unsafe extern "C" fn get_inode(
        sb: *mut bindings::super_block,
        ino: u64,
        generation: u32,
    ) -> *mut bindings::inode {
        // SAFETY: A mounted superblock of type `T`, by the contract of this function.
        let sb = unsafe { SuperBlock::from_raw(sb) };
        // The caller takes over the reference.
        ret::pointer(T::get_inode(sb, ino, generation).map(into_raw))
    }

    /// # Safety
    ///
    /// Called by exportfs only: `child` is a directory of type `T`, whose `i_rwsem` is held.
    unsafe extern "C" fn get_parent(child: *mut bindings::dentry) -> *mut bindings::dentry {
        // SAFETY: By the contract of this function; the dentry has a reference.
        let child = unsafe { Inode::from_raw(bindings::d_inode(child)) };
        let parent = ret::pointer(T::get_parent(child).map(into_raw));
        // SAFETY: C takes over the reference, even when it fails; it hands an error on.
        unsafe { bindings::d_obtain_alias(parent) }
    }
}

fn into_raw<T: FileSystemType>(inode: ARef<Inode<T>>) -> *mut bindings::inode {
    ARef::into_raw(inode).as_ptr().cast()
}
