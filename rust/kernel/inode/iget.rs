// SPDX-License-Identifier: GPL-2.0

//! Inodes that the disk has, as they come into memory: new (locked) → filled (unlocked).
//!
//! C header: [include/linux/fs.h](srctree/include/linux/fs.h)

use super::{
    kind::{
        fill,
        Kind, //
    },
    Attributes, Flags, Inode,
};
use crate::{
    bindings,
    kernel::{
        super_block::SuperBlock,
        vfs::FileSystemType, //
    },
};
use ::kernel::{
    prelude::*,
    sync::aref::ARef, //
};
use core::{
    marker::PhantomData,
    mem::ManuallyDrop,
    ptr::NonNull, //
};

/// What the VFS wants to know of an inode.
pub(crate) struct Params<T> {
    /// What it is.
    pub(crate) kind: Kind<T>,
    /// What can be asked for later. Its size is less than 2^63; of its version, the uppermost bit is
    /// lost.
    pub(crate) attributes: Attributes,
    /// What tells it from others that had its number before.
    pub(crate) generation: u32,
    /// What its flags mean to the VFS.
    pub(crate) flags: Flags,
}

/// What `iget_locked()` found.
pub(crate) enum Got<'a, T: FileSystemType> {
    /// It is in memory.
    Old(ARef<Inode<T>>),
    /// It has to be filled.
    New(NewInode<'a, T>),
}

impl<T: FileSystemType> Got<'_, T> {
    /// # Safety
    ///
    /// The caller hands over a reference to an inode from [`alloc_inode`](super::alloc_inode), which has to be new and
    /// locked by the caller, or not locked.
    pub(in crate::kernel) unsafe fn from_raw(inode: NonNull<bindings::inode>) -> Result<Self> {
        // SAFETY: The inode is valid by the contract of this function.
        if unsafe { bindings::inode_state_read_once(inode.as_ptr()) }
            & bindings::inode_state_flags_enum_I_NEW
            != 0
        {
            // INVARIANT: Only the thread that the inode is locked by sees it new here.
            return Ok(Self::New(NewInode(inode, PhantomData)));
        }
        // SAFETY: Not being filled, by the contract of this function; the reference is ours.
        if unsafe { Inode::<T>::from_raw_filled(inode.as_ptr()) }.is_none() {
            // SAFETY: The reference is given back.
            unsafe { bindings::iput(inode.as_ptr()) };
            return Err(EIO);
        }
        // SAFETY: As the type wants it, and with a reference that is handed over.
        Ok(Self::Old(unsafe { ARef::from_raw(inode.cast()) }))
    }
}

/// An inode that lacks everything but its number.
///
/// # Invariants
///
/// The inode is that of a [`Slot<T>`](super::Slot), of a live superblock, locked (`I_NEW`) by this thread; the
/// value owns a reference.
#[must_use = "dropping it fails the iget"]
pub(crate) struct NewInode<'a, T: FileSystemType>(
    NonNull<bindings::inode>,
    PhantomData<&'a SuperBlock<T>>,
);

impl<T: FileSystemType> NewInode<'_, T> {
    /// Fills it, and lets all others see it.
    pub(crate) fn fill(self, params: Params<T>, data: impl PinInit<T::Inode>) -> ARef<Inode<T>> {
        let this = ManuallyDrop::new(self);
        let inode = this.0.as_ptr();
        let attributes = &params.attributes;
        let mode = params.kind.mode(attributes.permissions);

        // SAFETY: Valid and locked by the type invariants, so that nobody else looks at it; and so
        // below.
        unsafe { (*inode).i_generation = params.generation };
        // SAFETY: As above.
        unsafe { (*inode).i_flags = params.flags.bits() };
        // SAFETY: As above.
        unsafe { (*inode).i_size = i64::try_from(attributes.size).unwrap_or(i64::MAX) };
        // SAFETY: As above.
        unsafe { (*inode).i_blocks = attributes.blocks };
        // SAFETY: As above.
        unsafe { bindings::i_uid_write(inode, attributes.uid) };
        // SAFETY: As above.
        unsafe { bindings::i_gid_write(inode, attributes.gid) };
        // SAFETY: As above.
        unsafe { bindings::set_nlink(inode, attributes.nlink) };
        // SAFETY: As above.
        unsafe { bindings::inode_set_atime(inode, attributes.atime.sec, attributes.atime.nsec) };
        // SAFETY: As above.
        unsafe { bindings::inode_set_mtime(inode, attributes.mtime.sec, attributes.mtime.nsec) };
        // SAFETY: As above.
        unsafe { bindings::inode_set_ctime(inode, attributes.ctime.sec, attributes.ctime.nsec) };

        // SAFETY: As above.
        unsafe { bindings::inode_set_iversion_queried(inode, attributes.version) };

        // SAFETY: As above.
        unsafe { fill(inode, params.kind, mode, data) };
        // SAFETY: Locked by the type invariants.
        unsafe { bindings::unlock_new_inode(inode) };
        // INVARIANT: Filled just now.
        // SAFETY: The reference is handed over.
        unsafe { ARef::from_raw(this.0.cast()) }
    }
}

impl<T: FileSystemType> Drop for NewInode<'_, T> {
    fn drop(&mut self) {
        // SAFETY: New and locked by the type invariants; the reference is given back.
        unsafe { bindings::iget_failed(self.0.as_ptr()) };
    }
}
