// SPDX-License-Identifier: GPL-2.0

//! The context in which a superblock is made, from `fsopen()` or `mount()` to the root of a volume.
//!
//! new → initialised (has operations) → options given → get_tree → tree (has a root)
//!
//! new → initialised → options given → reconfigure, of a superblock that is there
//!
//! The VFS lends its `fs_context` to each callback in turn, and takes a callback's success for a
//! promise about it. Here the promise is a value that only the keeping of it makes: [`Initialised`],
//! [`Tree`]. Their lifetime is that of one call, so one from elsewhere does not fit.
//!
//! C header: [include/linux/fs_context.h](srctree/include/linux/fs_context.h), manual:
//! [Documentation/filesystems/mount_api.rst](srctree/Documentation/filesystems/mount_api.rst)

use super::{
    fs_parser::Parameter,
    ret,
    super_block::{
        self,
        NewSuperBlock,
        Rooted,
        SuperBlock, //
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
    ops::Deref,
    ptr::NonNull, //
};

/// Ties a value to one call: the lifetime can be made neither longer nor shorter.
type Call<'a> = PhantomData<fn(&'a ()) -> &'a ()>;

/// What a context does, as C's `struct fs_context_operations`.
pub(crate) trait Operations: FileSystemType {
    /// What a context carries: the options that were given so far.
    type Context: Send + 'static;

    /// Takes one more option. Those that every filesystem has, such as `ro`, do not come here.
    ///
    /// # Errors
    ///
    /// `ENOPARAM` for an option that is not known, of which the VFS tells the mounter; others for
    /// `mount()` or `fsconfig()` to return.
    fn parse_param(context: &mut Self::Context, parameter: Parameter<'_>) -> Result;

    /// Makes or finds the superblock and its root.
    ///
    /// # Errors
    ///
    /// What `mount()` or `fsconfig(FSCONFIG_CMD_CREATE)` shall return.
    fn get_tree<'a>(fc: GetTree<'a, Self>) -> Result<Tree<'a>>;

    /// Changes the options of a superblock, as `mount -o remount` asks for.
    ///
    /// # Errors
    ///
    /// What `mount()` or `fsconfig(FSCONFIG_CMD_RECONFIGURE)` shall return. Nothing may have been
    /// changed then.
    ///
    /// # Context
    ///
    /// May sleep. `s_umount` of the superblock is held exclusively.
    fn reconfigure(fc: &Reconfigure<'_, Self>) -> Result;
}

/// Fills a new superblock; C hands the function to `get_tree_bdev()`.
pub(crate) trait FillSuper: Operations {
    /// Reads the volume on the superblock's device and gives the superblock its root.
    ///
    /// # Errors
    ///
    /// What `mount()` shall return. The VFS gives the superblock up, and the device back.
    ///
    /// # Context
    ///
    /// May sleep. `s_umount` of the superblock is held exclusively.
    fn fill_super<'a>(
        sb: NewSuperBlock<'a, Self>,
        fc: &FsContext<'_, Self>,
    ) -> Result<Rooted<'a, Self>>;
}

/// A context without operations, in `init_fs_context()`.
///
/// # Invariants
///
/// The context is valid, for the type `T`, and no other thread looks at it, for `'a`.
pub(crate) struct New<'a, T>(NonNull<bindings::fs_context>, Call<'a>, PhantomData<T>);

/// Proof that the context has operations.
#[must_use = "init_fs_context() has to return it"]
pub(crate) struct Initialised<'a>(Call<'a>);

impl<'a, T: FileSystemType> New<'a, T> {
    /// # Safety
    ///
    /// For `'a`, `fc` has to be valid, made for the type `T`, and the caller's alone.
    pub(super) unsafe fn from_raw(fc: NonNull<bindings::fs_context>) -> Self {
        // INVARIANT: By the contract of this function.
        Self(fc, PhantomData, PhantomData)
    }

    /// Gives the context its operations, and what it carries.
    pub(crate) fn set_ops(self, context: KBox<T::Context>) -> Initialised<'a>
    where
        T: Operations,
    {
        // SAFETY: Valid and not shared by the type invariants; and so below. The operation `free`
        // takes the box back.
        unsafe { (*self.0.as_ptr()).fs_private = KBox::into_raw(context).cast() };
        // SAFETY: As above.
        unsafe { (*self.0.as_ptr()).ops = &OperationsTable::<T>::TABLE };
        Initialised(PhantomData)
    }
}

/// A context that wants a superblock, in `get_tree()`.
///
/// # Invariants
///
/// The context is valid, has the operations of `T` and no root, and no other thread looks at it,
/// for `'a`.
pub(crate) struct GetTree<'a, T>(NonNull<bindings::fs_context>, Call<'a>, PhantomData<T>);

/// Proof that the context has a root.
#[must_use = "get_tree() has to return it"]
pub(crate) struct Tree<'a>(Call<'a>);

impl<'a, T: FillSuper> GetTree<'a, T> {
    /// Opens the block device that the context names as its source, and finds the superblock that
    /// is on it already or has `T` fill a new one.
    ///
    /// # Errors
    ///
    /// Those of [`FillSuper::fill_super`] and of the opening of a device.
    pub(crate) fn get_tree_bdev(self) -> Result<Tree<'a>> {
        // SAFETY: The context is valid, has no root and is not shared by the type invariants. The
        // C function hands `fill_super` a superblock as that function's contract wants it.
        let err = unsafe { bindings::get_tree_bdev(self.0.as_ptr(), Some(fill_super::<T>)) };
        to_result(err)?;
        Ok(Tree(PhantomData))
    }
}

/// A context whose superblock is being filled, or reconfigured.
///
/// # Invariants
///
/// The context is valid, has the operations of `T`, and no other thread looks at it, for `'a`.
/// `fs_private` is a `KBox<T::Context>`.
pub(crate) struct FsContext<'a, T>(NonNull<bindings::fs_context>, Call<'a>, PhantomData<T>);

impl<T: Operations> FsContext<'_, T> {
    /// What the context carries.
    pub(crate) fn context(&self) -> &T::Context {
        // SAFETY: Valid by the type invariants.
        let context = unsafe { (*self.0.as_ptr()).fs_private };
        // SAFETY: A box by the type invariants, which nobody changes as long as `self`.
        unsafe { &*context.cast() }
    }

    /// Whether the mounter is but trying, and does not want to read of it in the log.
    pub(crate) fn is_silent(&self) -> bool {
        self.sb_flags() & bindings::SB_SILENT != 0
    }

    fn sb_flags(&self) -> c_ulong {
        // SAFETY: Valid and not shared by the type invariants.
        let sb_flags = unsafe { (*self.0.as_ptr()).sb_flags };
        // CAST: to a type of at least as many bits.
        sb_flags as c_ulong
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

/// A context for a superblock that is there, in `reconfigure()`.
///
/// # Invariants
///
/// The context has a root, of a superblock of type `T`, whose `s_umount` is held exclusively.
pub(crate) struct Reconfigure<'a, T>(FsContext<'a, T>);

impl<'a, T> Deref for Reconfigure<'a, T> {
    type Target = FsContext<'a, T>;

    fn deref(&self) -> &FsContext<'a, T> {
        &self.0
    }
}

impl<T: Operations> Reconfigure<'_, T> {
    /// The superblock.
    pub(crate) fn sb(&self) -> &SuperBlock<T> {
        // SAFETY: The context is valid, and has a root, by the type invariants.
        let root = unsafe { (*self.0 .0.as_ptr()).root };
        // SAFETY: The context has a reference on the root, and that on its superblock.
        let sb = unsafe { (*root).d_sb };
        // SAFETY: Of type `T` by the type invariants, and filled, as it has a root.
        unsafe { SuperBlock::from_raw(sb) }
    }

    /// Whether the superblock is read-only, and shall no longer be.
    pub(crate) fn wants_write(&self) -> bool {
        // SAFETY: Valid and not shared by the type invariants.
        let mask = unsafe { (*self.0 .0.as_ptr()).sb_flags_mask };
        // CAST: to a type of at least as many bits.
        mask as c_ulong & !self.sb_flags() & bindings::SB_RDONLY != 0 && self.sb().sb_rdonly()
    }

    /// Whether the superblock shall be read-only from now on, and is not.
    pub(crate) fn wants_read_only(&self) -> bool {
        // SAFETY: Valid and not shared by the type invariants.
        let mask = unsafe { (*self.0 .0.as_ptr()).sb_flags_mask };
        // CAST: to a type of at least as many bits.
        mask as c_ulong & self.sb_flags() & bindings::SB_RDONLY != 0 && !self.sb().sb_rdonly()
    }

    /// Whether the superblock will be read-only even if that is refused, and while files are written
    /// to: the machine is to be stopped.
    pub(crate) fn is_forced(&self) -> bool {
        self.sb_flags() & bindings::SB_FORCE != 0
    }

    /// Has everything that is dirty written to the device, and `sync_fs()` called.
    ///
    /// # Errors
    ///
    /// What was not written, and why.
    ///
    /// # Context
    ///
    /// Sleeps.
    pub(crate) fn sync_filesystem(&self) -> Result {
        // SAFETY: `s_umount` is held exclusively by the type invariants.
        to_result(unsafe { bindings::sync_filesystem(self.sb().as_ptr()) })
    }

    /// Has the VFS ask for access control lists, or not.
    pub(crate) fn set_posix_acl(&self, is_on: bool) {
        // SAFETY: `s_umount` is held exclusively by the type invariants.
        unsafe { super_block::set_posix_acl(self.sb().as_ptr(), is_on) };
    }
}

struct OperationsTable<T>(PhantomData<T>);

impl<T: Operations> OperationsTable<T> {
    const TABLE: bindings::fs_context_operations = bindings::fs_context_operations {
        free: Some(Self::free),
        parse_param: Some(Self::parse_param),
        get_tree: Some(Self::get_tree),
        reconfigure: Some(Self::reconfigure),
        ..pin_init::zeroed()
    };

    /// # Safety
    ///
    /// Called by the VFS only: nobody else uses `fc` any more, whose operations these are.
    unsafe extern "C" fn free(fc: *mut bindings::fs_context) {
        // SAFETY: Valid by the contract of this function.
        let context = unsafe { (*fc).fs_private };
        // SAFETY: As above.
        unsafe { (*fc).fs_private = core::ptr::null_mut() };
        if !context.is_null() {
            // SAFETY: `New::set_ops` left a box here, and nobody has taken it since.
            drop(unsafe { KBox::<T::Context>::from_raw(context.cast()) });
        }
    }

    /// # Safety
    ///
    /// Called by the VFS only: `fc` is valid, has these operations, and is under its `uapi_mutex`
    /// or not yet known to anyone, until this function returns; `param` is valid as long.
    unsafe extern "C" fn parse_param(
        fc: *mut bindings::fs_context,
        param: *mut bindings::fs_parameter,
    ) -> c_int {
        // SAFETY: Valid by the contract of this function.
        let context = unsafe { (*fc).fs_private };
        // SAFETY: `New::set_ops` left a box here, and by the contract of this function nobody else
        // looks at it now.
        let context = unsafe { &mut *context.cast::<T::Context>() };
        // SAFETY: Inside of a valid context.
        let log = unsafe { NonNull::new_unchecked(&raw mut (*fc).log) };
        // SAFETY: By the contract of this function.
        let param = unsafe { NonNull::new_unchecked(param) };
        // SAFETY: By the contract of this function, for the length of this call.
        let parameter = unsafe { Parameter::from_raw(log, param) };
        ret::int(T::parse_param(context, parameter))
    }

    /// # Safety
    ///
    /// Called by the VFS only: `fc` is valid, without a root, and under its `uapi_mutex` or not
    /// yet known to anyone, until this function returns.
    unsafe extern "C" fn get_tree(fc: *mut bindings::fs_context) -> c_int {
        // SAFETY: The VFS calls through the context, which is not null then.
        let fc = unsafe { NonNull::new_unchecked(fc) };
        // INVARIANT: By the contract of this function, for the length of this call.
        ret::int(T::get_tree(GetTree(fc, PhantomData, PhantomData)))
    }

    /// # Safety
    ///
    /// Called by the VFS only: `fc` is valid, has these operations and the root of a superblock of
    /// type `T`, whose `s_umount` is held exclusively; it is under its `uapi_mutex` or not known to
    /// anyone, until this function returns.
    unsafe extern "C" fn reconfigure(fc: *mut bindings::fs_context) -> c_int {
        // SAFETY: By the contract of this function.
        let fc = unsafe { NonNull::new_unchecked(fc) };
        // INVARIANT: By the contract of this function, for the length of this call.
        let fc = Reconfigure(FsContext(fc, PhantomData, PhantomData));
        let result = T::reconfigure(&fc);
        // mount() lets a remount change this flag, and has it cleared unless it is given; whether
        // inodes count their changes is the volume's to say.
        let i_version = fc.sb().s_flags() & bindings::SB_I_VERSION;
        // CAST: one of the lower bits.
        // SAFETY: Valid and not shared by the type invariants.
        unsafe { (*fc.0 .0.as_ptr()).sb_flags |= i_version as c_uint };
        ret::int(result)
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
    let fc = FsContext(fc, PhantomData, PhantomData);
    // SAFETY: By the contract of this function, for the length of this call.
    unsafe { super_block::fill(sb, |sb| T::fill_super(sb, &fc)) }
}
