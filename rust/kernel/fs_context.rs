// SPDX-License-Identifier: GPL-2.0

//! The context in which a superblock is made, from `fsopen()` or `mount()` to the root of a volume.
//!
//! new → initialised (has operations) → get_tree → tree (has a root)
//!
//! The VFS lends its `fs_context` to each callback in turn, and takes a callback's success for a
//! promise about it. Here the promise is a value that only the keeping of it makes: [`Initialised`],
//! [`Tree`]. Their lifetime is that of one call, so one from elsewhere does not fit.
//!
//! C header: [include/linux/fs_context.h](srctree/include/linux/fs_context.h), manual:
//! [Documentation/filesystems/mount_api.rst](srctree/Documentation/filesystems/mount_api.rst)

use super::{
    ret,
    super_block::{
        self,
        NewSuperBlock,
        Rooted, //
    },
    vfs::FileSystemType, //
};
use crate::bindings;
use ::kernel::{
    error::to_result,
    prelude::*, //
};
use core::{
    fmt,
    marker::PhantomData,
    ptr::NonNull, //
};

/// Ties a value to one call: the lifetime can be made neither longer nor shorter.
type Call<'a> = PhantomData<fn(&'a ()) -> &'a ()>;

/// What a context does, as C's `struct fs_context_operations`.
///
/// Options other than those that every filesystem has are refused by name, by the VFS.
pub(crate) trait Operations: 'static {
    /// Makes or finds the superblock and its root.
    ///
    /// # Errors
    ///
    /// What `mount()` or `fsconfig(FSCONFIG_CMD_CREATE)` shall return.
    fn get_tree<'a>(fc: GetTree<'a>) -> Result<Tree<'a>>;
}

/// Fills a new superblock; C hands the function to `get_tree_bdev()`.
pub(crate) trait FillSuper: FileSystemType {
    /// Reads the volume on the superblock's device and gives the superblock its root.
    ///
    /// # Errors
    ///
    /// What `mount()` shall return. The VFS gives the superblock up, and the device back.
    ///
    /// # Context
    ///
    /// May sleep. `s_umount` of the superblock is held exclusively.
    fn fill_super<'a>(sb: NewSuperBlock<'a, Self>, fc: &FsContext<'_>) -> Result<Rooted<'a>>;
}

/// A context without operations, in `init_fs_context()`.
///
/// # Invariants
///
/// The context is valid, and no other thread looks at it, for `'a`.
pub(crate) struct New<'a>(NonNull<bindings::fs_context>, Call<'a>);

/// Proof that the context has operations.
#[must_use = "init_fs_context() has to return it"]
pub(crate) struct Initialised<'a>(Call<'a>);

impl<'a> New<'a> {
    /// # Safety
    ///
    /// For `'a`, `fc` has to be valid and the caller's alone.
    pub(super) unsafe fn from_raw(fc: NonNull<bindings::fs_context>) -> Self {
        // INVARIANT: By the contract of this function.
        Self(fc, PhantomData)
    }

    /// Gives the context its operations.
    pub(crate) fn set_ops<T: Operations>(self) -> Initialised<'a> {
        // SAFETY: Valid and not shared by the type invariants.
        unsafe { (*self.0.as_ptr()).ops = &OperationsTable::<T>::TABLE };
        Initialised(PhantomData)
    }
}

/// A context that wants a superblock, in `get_tree()`.
///
/// # Invariants
///
/// The context is valid, has no root, and no other thread looks at it, for `'a`.
pub(crate) struct GetTree<'a>(NonNull<bindings::fs_context>, Call<'a>);

/// Proof that the context has a root.
#[must_use = "get_tree() has to return it"]
pub(crate) struct Tree<'a>(Call<'a>);

impl<'a> GetTree<'a> {
    /// Opens the block device that the context names as its source, and finds the superblock that
    /// is on it already or has `T` fill a new one.
    ///
    /// # Errors
    ///
    /// Those of [`FillSuper::fill_super`] and of the opening of a device.
    pub(crate) fn get_tree_bdev<T: FillSuper>(self) -> Result<Tree<'a>> {
        // SAFETY: The context is valid, has no root and is not shared by the type invariants. The
        // C function hands `fill_super` a superblock as that function's contract wants it.
        let err = unsafe { bindings::get_tree_bdev(self.0.as_ptr(), Some(fill_super::<T>)) };
        to_result(err)?;
        Ok(Tree(PhantomData))
    }
}

/// A context whose superblock is being filled.
///
/// # Invariants
///
/// The context is valid, and no other thread looks at it, for `'a`.
pub(crate) struct FsContext<'a>(NonNull<bindings::fs_context>, Call<'a>);

impl FsContext<'_> {
    /// Whether the mounter is but trying, and does not want to read of it in the log.
    pub(crate) fn is_silent(&self) -> bool {
        // SAFETY: Valid and not shared by the type invariants.
        let sb_flags = unsafe { (*self.0.as_ptr()).sb_flags };
        // CAST: to a type of at least as many bits.
        sb_flags as c_ulong & bindings::SB_SILENT != 0
    }

    /// Leaves an error message for the mounter to read from the context, as `mount` does.
    ///
    /// In the kernel's log nothing appears, not even when nobody can read the context: then there
    /// is no message.
    pub(crate) fn errorfc(&self, message: fmt::Arguments<'_>) {
        // SAFETY: Valid and not shared by the type invariants.
        let log = unsafe { (*self.0.as_ptr()).log };
        // Only a context made by `fsopen()` has a log. Without one, C prints to the kernel's.
        if log.log.is_null() {
            return;
        }
        // SAFETY: The log and its prefix live as long as the context. `%pA` takes the
        // address of a `fmt::Arguments`, which this function owns.
        unsafe {
            bindings::logfc(
                log.log,
                log.prefix,
                b'e',
                c"%pA".as_char_ptr(),
                (&raw const message).cast::<c_void>(),
            )
        };
    }
}

struct OperationsTable<T>(PhantomData<T>);

impl<T: Operations> OperationsTable<T> {
    const TABLE: bindings::fs_context_operations = bindings::fs_context_operations {
        get_tree: Some(Self::get_tree),
        ..pin_init::zeroed()
    };

    /// # Safety
    ///
    /// Called by the VFS only: `fc` is valid, without a root, and under its `uapi_mutex` or not
    /// yet known to anyone, until this function returns.
    unsafe extern "C" fn get_tree(fc: *mut bindings::fs_context) -> c_int {
        // SAFETY: The VFS calls through the context, which is not null then.
        let fc = unsafe { NonNull::new_unchecked(fc) };
        // INVARIANT: By the contract of this function, for the length of this call.
        ret::int(T::get_tree(GetTree(fc, PhantomData)))
    }
}

/// # Safety
///
/// Called by `get_tree_bdev()` only, with the context it was given: `sb` is new, has its block
/// device, and `s_umount` is held until this function returns.
unsafe extern "C" fn fill_super<T: FillSuper>(
    sb: *mut bindings::super_block,
    fc: *mut bindings::fs_context,
) -> c_int {
    // SAFETY: `get_tree_bdev()` has checked that it has got a superblock.
    let sb = unsafe { NonNull::new_unchecked(sb) };
    // SAFETY: `get_tree_bdev()` passes the context that `GetTree::get_tree_bdev` gave it.
    let fc = unsafe { NonNull::new_unchecked(fc) };
    // INVARIANT: The `GetTree` that lends the context to `get_tree_bdev()` outlives this call.
    let fc = FsContext(fc, PhantomData);
    // SAFETY: By the contract of this function, for the length of this call.
    unsafe { super_block::fill(sb, |sb| T::fill_super(sb, &fc)) }
}
