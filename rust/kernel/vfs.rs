// SPDX-License-Identifier: GPL-2.0

//! Filesystem types and superblocks.
//!
//! A filesystem type: declared → registered → unregistered, on drop of the [`Registration`].
//!
//! C header: [include/linux/fs.h](srctree/include/linux/fs.h), manual:
//! [Documentation/filesystems/vfs.rst](srctree/Documentation/filesystems/vfs.rst)

use super::{
    fs_context,
    ret, //
};
use crate::bindings;
use ::kernel::{
    error::to_result,
    prelude::*,
    str::as_char_ptr_in_const_context,
    types::Opaque, //
};
use core::{
    marker::PhantomData,
    num::NonZeroU32,
    ptr::NonNull, //
};

/// A filesystem that lives on a block device, as C's `struct file_system_type`.
pub(crate) trait FileSystemType: 'static {
    /// What `mount -t` calls it.
    const NAME: &'static CStr;

    /// Prepares a context for a mount.
    ///
    /// # Errors
    ///
    /// What `fsopen()` or `mount()` shall return.
    fn init_fs_context<'a>(fc: fs_context::New<'a>) -> Result<fs_context::Initialised<'a>>;
}

/// The declaration of a filesystem type, which is a `static`: lockdep takes no keys from memory
/// that can be freed.
#[repr(transparent)]
pub(crate) struct FileSystem<T>(Opaque<bindings::file_system_type>, PhantomData<T>);

// SAFETY: C changes the inner value under its own locks only, Rust never.
unsafe impl<T> Sync for FileSystem<T> {}

impl<T: FileSystemType> FileSystem<T> {
    /// Declares the type `T`, of which a mount, and an attempt at one, holds `module` in memory.
    pub(crate) const fn new(module: &'static ThisModule) -> Self {
        let table = bindings::file_system_type {
            name: as_char_ptr_in_const_context(T::NAME),
            // CAST: one bit, the lowest.
            fs_flags: bindings::FS_REQUIRES_DEV as c_int,
            init_fs_context: Some(Self::init_fs_context),
            kill_sb: Some(bindings::kill_block_super),
            owner: module.as_ptr(),
            ..pin_init::zeroed()
        };
        Self(Opaque::new(table), PhantomData)
    }

    /// Makes the type known, so that volumes of it can be mounted from now on: the last thing to
    /// do when a module is loaded.
    ///
    /// # Errors
    ///
    /// `EBUSY` if there is a type of this name.
    pub(crate) fn register(&'static self) -> Result<Registration> {
        // SAFETY: The type is a complete one that is never freed nor moved. C checks whether it is
        // registered already.
        to_result(unsafe { bindings::register_filesystem(self.0.get()) })?;
        // INVARIANT: It has just been registered.
        Ok(Registration(&self.0))
    }

    /// # Safety
    ///
    /// Called by the VFS only: `fc` is new, and known to nobody else until this function returns.
    unsafe extern "C" fn init_fs_context(fc: *mut ::kernel::bindings::fs_context) -> c_int {
        // SAFETY: The VFS has checked its allocation.
        let fc = unsafe { NonNull::new_unchecked(fc) };
        // SAFETY: By the contract of this function, for the length of this call. The cast is from
        // the kernel crate's declaration of the C type, which lacks the fields, to ours.
        let fc = unsafe { fs_context::New::from_raw(fc.cast()) };
        ret::int(T::init_fs_context(fc))
    }
}

/// A filesystem type that can be mounted. Dropping it ends that.
///
/// # Invariants
///
/// The type is registered, and no other value unregisters it.
#[must_use = "the filesystem is unregistered when this is dropped"]
pub(crate) struct Registration(&'static Opaque<bindings::file_system_type>);

// SAFETY: The C functions that register and unregister may be called from any thread.
unsafe impl Send for Registration {}
// SAFETY: Nothing can be done with a shared reference.
unsafe impl Sync for Registration {}

impl Drop for Registration {
    fn drop(&mut self) {
        // SAFETY: Registered by the type invariants. The only error is that it is not.
        unsafe { bindings::unregister_filesystem(self.0.get()) };
    }
}

/// A superblock that is being filled: it has its block device, and nobody has seen it yet.
///
/// # Invariants
///
/// The superblock is valid, has an open block device, and `s_umount` is held exclusively, for `'a`.
pub(crate) struct NewSuperBlock<'a>(NonNull<bindings::super_block>, PhantomData<&'a mut ()>);

impl NewSuperBlock<'_> {
    /// # Safety
    ///
    /// For the lifetime of the value, `sb` has to be valid, new, with its block device open and
    /// `s_umount` held exclusively, as `setup_bdev_super()` leaves it.
    pub(super) unsafe fn from_raw(sb: NonNull<bindings::super_block>) -> Self {
        // INVARIANT: By the contract of this function.
        Self(sb, PhantomData)
    }

    /// The superblock, for use within `rust/kernel`.
    pub(super) fn as_ptr(&self) -> *mut bindings::super_block {
        self.0.as_ptr()
    }

    /// The name of the filesystem type, valid as long as `self`.
    pub(super) fn type_name(&self) -> *const c_char {
        // SAFETY: Valid by the type invariants.
        let s_type = unsafe { (*self.as_ptr()).s_type };
        // SAFETY: The superblock has a reference on the module that the type is in.
        unsafe { (*s_type).name }
    }

    /// The name of the block device, valid as long as `self`.
    pub(super) fn id(&self) -> *const c_char {
        // SAFETY: Valid by the type invariants.
        unsafe { (&raw const (*self.as_ptr()).s_id).cast() }
    }

    /// Whether it is to be mounted read-only.
    pub(crate) fn sb_rdonly(&self) -> bool {
        // SAFETY: Valid by the type invariants.
        let s_flags = unsafe { (*self.as_ptr()).s_flags };
        s_flags & bindings::SB_RDONLY != 0
    }

    /// Bytes of the block device.
    pub(crate) fn bdev_nr_bytes(&self) -> u64 {
        // SAFETY: Valid by the type invariants.
        let bdev = unsafe { (*self.as_ptr()).s_bdev };
        // SAFETY: Open by the type invariants.
        let bytes = unsafe { bindings::bdev_nr_bytes(bdev) };
        // CAST: sectors of a device times 512 are never negative.
        bytes as u64
    }

    /// Sets the block size to `size` bytes, or to the device's own if that is larger, and returns
    /// it. What was read with another block size is gone, so nothing of it may be borrowed.
    ///
    /// # Errors
    ///
    /// `EINVAL` if the VFS cannot have such blocks, because they are larger than a page.
    pub(crate) fn sb_min_blocksize(&mut self, size: usize) -> Result<NonZeroU32> {
        let size = c_int::try_from(size).map_err(|_| EINVAL)?;
        // SAFETY: Valid, and not shared, by the type invariants.
        let set = unsafe { bindings::sb_min_blocksize(self.as_ptr(), size) };
        // On failure C returns 0 and leaves the block size as it was.
        u32::try_from(set)
            .ok()
            .and_then(NonZeroU32::new)
            .ok_or(EINVAL)
    }

    /// The block size, in bytes. There is none as long as none has been set that the device can
    /// have: `setup_bdev_super()` tries, and does not say whether it could.
    pub(crate) fn block_size(&self) -> Option<NonZeroU32> {
        // SAFETY: Valid by the type invariants.
        let s_blocksize = unsafe { (*self.as_ptr()).s_blocksize };
        u32::try_from(s_blocksize).ok().and_then(NonZeroU32::new)
    }
}
