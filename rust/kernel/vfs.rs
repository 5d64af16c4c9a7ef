// SPDX-License-Identifier: GPL-2.0

//! Filesystem types.
//!
//! declared → registered → unregistered, on drop of the [`Registration`].
//!
//! C header: [include/linux/fs.h](srctree/include/linux/fs.h), manual:
//! [Documentation/filesystems/vfs.rst](srctree/Documentation/filesystems/vfs.rst)

use super::{
    fs_context,
    inode,
    jbd2,
    ret,
    super_block, //
};
use crate::bindings;
use ::kernel::{
    error::to_result,
    prelude::*,
    str::as_char_ptr_in_const_context,
    sync::atomic::{
        Atomic,
        Relaxed, //
    },
    types::Opaque, //
};
use core::{
    marker::PhantomData,
    ptr::NonNull, //
};

/// A filesystem that lives on a block device, as C's `struct file_system_type`.
///
/// The type is what tells its superblocks, inodes and files from those of other filesystems, and
/// gives them their data.
pub(crate) trait FileSystemType: Sized + Send + Sync + 'static {
    /// What `mount -t` calls it.
    const NAME: &'static CStr;

    /// What a superblock carries from the time it is filled to its end (`s_fs_info`).
    type SuperBlock: Send + Sync;

    /// Where the blocks of its journal are.
    type Journal: jbd2::Map;

    /// What an inode carries, beside that which C's `struct inode` has.
    ///
    /// It is dropped in an RCU callback, which may not sleep.
    type Inode: Send + Sync;

    /// Prepares a context for a mount.
    ///
    /// # Errors
    ///
    /// What `fsopen()` or `mount()` shall return.
    fn init_fs_context<'a>(fc: fs_context::New<'a, Self>) -> Result<fs_context::Initialised<'a>>;
}

/// The declaration of a filesystem type, which is a `static`: lockdep takes no keys from memory
/// that can be freed.
#[repr(C)]
pub(crate) struct FileSystem<T> {
    /// First, so that C's pointer to it is one to all.
    fs_type: Opaque<bindings::file_system_type>,
    /// The slab of its inodes; null unless registered.
    inode_cache: Atomic<*mut bindings::kmem_cache>,
    _type: PhantomData<T>,
}

// SAFETY: C changes the inner value under its own locks only, Rust never.
unsafe impl<T> Sync for FileSystem<T> {}

impl<T: FileSystemType> FileSystem<T> {
    /// Declares the type `T`, of which a mount, and an attempt at one, holds `module` in memory.
    pub(crate) const fn new(module: &'static ThisModule) -> Self {
        let table = bindings::file_system_type {
            name: as_char_ptr_in_const_context(T::NAME),
            // CAST: some of the lowest bits.
            fs_flags: (bindings::FS_REQUIRES_DEV | bindings::FS_ALLOW_IDMAP | bindings::FS_MGTIME)
                as c_int,
            init_fs_context: Some(Self::init_fs_context),
            kill_sb: Some(super_block::kill_sb::<T>),
            owner: module.as_ptr(),
            ..pin_init::zeroed()
        };
        Self {
            fs_type: Opaque::new(table),
            inode_cache: Atomic::new(core::ptr::null_mut()),
            _type: PhantomData,
        }
    }

    /// Makes the type known, so that volumes of it can be mounted from now on: the last thing to
    /// do when a module is loaded.
    ///
    /// # Errors
    ///
    /// `EBUSY` if there is a type of this name; `ENOMEM`.
    pub(crate) fn register(&'static self) -> Result<Registration<T>> {
        // INVARIANT: The slab is there before the first mount can come.
        let cache = inode::Cache::new(T::NAME)?;
        let none = core::ptr::null_mut();
        self.inode_cache
            .cmpxchg(none, cache.as_ptr(), Relaxed)
            .map_err(|_| EBUSY)?;
        // SAFETY: The type is a complete one that is never freed nor moved.
        let err = unsafe { bindings::register_filesystem(self.fs_type.get()) };
        to_result(err).inspect_err(|_| self.inode_cache.store(none, Relaxed))?;
        // INVARIANT: It has just been registered.
        Ok(Registration {
            fs: self,
            _cache: cache,
        })
    }

    /// The slab of the inodes of a filesystem.
    ///
    /// # Safety
    ///
    /// `fs_type` has to be that of a value of this type which is registered.
    pub(super) unsafe fn inode_cache(
        fs_type: *const bindings::file_system_type,
    ) -> *mut bindings::kmem_cache {
        // SAFETY: `fs_type` is the first field of a `Self`, by the contract of this function.
        let this = unsafe { &*fs_type.cast::<Self>() };
        this.inode_cache.load(Relaxed)
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
pub(crate) struct Registration<T: 'static> {
    fs: &'static FileSystem<T>,
    /// Dropped after the type is unregistered: by then there is no superblock, hence no inode.
    _cache: inode::Cache<T>,
}

// SAFETY: The C functions that register and unregister may be called from any thread.
unsafe impl<T> Send for Registration<T> {}
// SAFETY: Nothing can be done with a shared reference.
unsafe impl<T> Sync for Registration<T> {}

impl<T> Drop for Registration<T> {
    fn drop(&mut self) {
        // SAFETY: Registered by the type invariants. The only error is that it is not.
        unsafe { bindings::unregister_filesystem(self.fs.fs_type.get()) };
        self.fs.inode_cache.store(core::ptr::null_mut(), Relaxed);
    }
}
