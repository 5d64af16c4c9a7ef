// SPDX-License-Identifier: GPL-2.0

//! Inodes, and their operations.
//!
//! new (locked) → filled (unlocked) → evicted
//!
//! An inode that is new is nobody else's. One that the disk has is filled as it was read, and dropping
//! it unfilled fails the `iget`, for those, too, who wait for it. One that is being made is filled
//! before it has a name, and dropping it discards it ([`Created`]).
//!
//! C header: [include/linux/fs.h](srctree/include/linux/fs.h)

mod attr;
mod iget;
mod kind;
mod locked;
mod new;
mod operations;
mod state;

pub(crate) use attr::{
    Iattr,
    Prepared, //
};
pub(crate) use iget::{
    Got,
    Params, //
};
pub(crate) use kind::{
    Kind,
    Special, //
};
pub(crate) use locked::Locked;
pub(crate) use new::{
    Created,
    NewParams,
    Tmpfile,
    Unnumbered, //
};
pub(crate) use operations::{
    Node,
    Operations,
    Ops,
    RenameFlags, //
};
pub(crate) use state::{
    Attributes,
    Flags, //
};

use super::{
    super_block::SuperBlock,
    vfs::{
        FileSystem,
        FileSystemType, //
    },
};
use crate::bindings;
use ::kernel::{
    prelude::*,
    str::CString,
    sync::{
        aref::AlwaysRefCounted,
        atomic::{
            Acquire,
            Atomic,
            Full, //
        },
    },
    types::Opaque, //
};
use core::{
    cell::UnsafeCell,
    marker::PhantomData,
    mem::MaybeUninit,
    ptr::NonNull, //
};

/// An inode of a volume of type `T`.
///
/// # Invariants
///
/// The inode is the first part of a [`Slot<T>`] that is filled, belongs to a [`SuperBlock<T>`], and
/// has a reference as long as there is one to `self`.
#[repr(transparent)]
pub(crate) struct Inode<T>(Opaque<bindings::inode>, PhantomData<T>);

// SAFETY: The data are `Send` and `Sync`; the rest is read as C reads it.
unsafe impl<T: FileSystemType> Send for Inode<T> {}
// SAFETY: As above.
unsafe impl<T: FileSystemType> Sync for Inode<T> {}

// SAFETY: `ihold()` and `iput()` count references, and every inode has that count.
unsafe impl<T: FileSystemType> AlwaysRefCounted for Inode<T> {
    fn inc_ref(&self) {
        // SAFETY: There is a reference already, by the type invariants.
        unsafe { bindings::ihold(self.as_ptr()) };
    }

    unsafe fn dec_ref(obj: NonNull<Self>) {
        // SAFETY: The caller gives back a reference.
        unsafe { bindings::iput(obj.as_ptr().cast()) };
    }
}

/// What the slab has for each inode.
#[repr(C)]
struct Slot<T: FileSystemType> {
    inode: Opaque<bindings::inode>,
    filled: MaybeFilled<T>,
}

/// What a new inode lacks.
struct Filled<T: FileSystemType> {
    data: T::Inode,
    link: Link,
}

/// What a slot has for an inode, once that is filled.
///
/// # Invariants
///
/// With the flag set the value is initialised, and pinned; otherwise it is not.
struct MaybeFilled<T: FileSystemType> {
    is_filled: UnsafeCell<bool>,
    value: UnsafeCell<MaybeUninit<Filled<T>>>,
}

impl<T: FileSystemType> MaybeFilled<T> {
    const fn new() -> Self {
        Self {
            is_filled: UnsafeCell::new(false),
            value: UnsafeCell::new(MaybeUninit::uninit()),
        }
    }

    /// The value, if there is one.
    ///
    /// # Safety
    ///
    /// Nobody may change it now.
    unsafe fn get(&self) -> Option<&Filled<T>> {
        // SAFETY: Nobody changes it, by the contract of this function; and so below.
        let is_filled = unsafe { *self.is_filled.get() };
        // SAFETY: As above.
        let value = unsafe { &*self.value.get() };
        // SAFETY: Initialised by the type invariants.
        is_filled.then(|| unsafe { value.assume_init_ref() })
    }

    /// Initialises the value.
    ///
    /// # Safety
    ///
    /// There must be none, nobody else may look at it now, and it must not move until it is cleared.
    unsafe fn init(&self, data: impl PinInit<T::Inode>, link: Link) {
        let value = self.value.get().cast::<Filled<T>>();
        // SAFETY: Valid for writes, not initialised, and not shared, by the contract of this function.
        unsafe { (&raw mut (*value).link).write(link) };
        // SAFETY: As above; pinned by the contract of this function.
        let result = unsafe { data.__pinned_init(&raw mut (*value).data) };
        match result {
            Ok(()) => (),
            Err(never) => match never {},
        }
        // INVARIANT: Initialised just now.
        // SAFETY: Not shared, by the contract of this function.
        unsafe { *self.is_filled.get() = true };
    }

    /// Drops the value, if there is one.
    ///
    /// # Safety
    ///
    /// Nobody else may look at it now.
    unsafe fn clear(&self) {
        // SAFETY: Not shared, by the contract of this function; and so below.
        if unsafe { self.is_filled.get().replace(false) } {
            // SAFETY: Initialised by the type invariants, and not used again.
            unsafe { (*self.value.get()).assume_init_drop() };
        }
    }
}

/// The target of a symbolic link, from the time that it is known: `i_link` points to it.
///
/// # Invariants
///
/// The pointer is null, or to a `KBox` that is this value's own; it is set once.
struct Link(Atomic<*mut CString>);

impl Link {
    fn new() -> Self {
        Self(Atomic::new(core::ptr::null_mut()))
    }

    fn get(&self) -> Option<&CStr> {
        let target = NonNull::new(self.0.load(Acquire))?;
        // SAFETY: A box by the type invariants, which is dropped only with `self`.
        Some(unsafe { target.as_ref() })
    }

    /// Sets it, unless another thread was faster.
    fn set_once(&self, target: KBox<CString>) {
        let target = KBox::into_raw(target);
        if self.0.cmpxchg(core::ptr::null_mut(), target, Full).is_err() {
            // SAFETY: Made from a box just now, and known to nobody.
            drop(unsafe { KBox::from_raw(target) });
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        let target = self.0.load(Acquire);
        if !target.is_null() {
            // SAFETY: A box of our own by the type invariants.
            drop(unsafe { KBox::from_raw(target) });
        }
    }
}

/// When something happened.
#[derive(Clone, Copy)]
pub(crate) struct Time {
    /// Seconds since 1970.
    pub(crate) sec: i64,
    /// And nanoseconds, fewer than 10^9.
    pub(crate) nsec: u32,
}

impl<T: FileSystemType> Inode<T> {
    /// # Safety
    ///
    /// `inode` has to be as the type wants it, for `'a`.
    pub(super) unsafe fn from_raw<'a>(inode: *mut bindings::inode) -> &'a Self {
        // SAFETY: By the contract of this function; the layout is that of the C type.
        unsafe { &*inode.cast() }
    }

    /// # Safety
    ///
    /// `inode` has to be one from [`alloc_inode`] that is not being filled, for `'a`.
    pub(super) unsafe fn from_raw_filled<'a>(inode: *mut bindings::inode) -> Option<&'a Self> {
        let slot = inode.cast::<Slot<T>>();
        // SAFETY: The slot is valid, and nobody changes `filled` now, by the contract of this
        // function.
        let filled = unsafe { &(*slot).filled };
        // SAFETY: As above.
        unsafe { filled.get() }?;
        // SAFETY: Filled, and valid by the contract of this function.
        Some(unsafe { Self::from_raw(inode) })
    }

    /// The inode, for use within `rust/kernel`.
    pub(super) fn as_ptr(&self) -> *mut bindings::inode {
        self.0.get()
    }

    /// What the filesystem keeps for the inode.
    pub(crate) fn data(&self) -> &T::Inode {
        &self.filled().data
    }

    fn filled(&self) -> &Filled<T> {
        let slot = (&raw const *self).cast::<Slot<T>>();
        // SAFETY: Part of a slot by the type invariants, which nobody changes once it is filled.
        let filled = unsafe { &(*slot).filled };
        // SAFETY: As above.
        match unsafe { filled.get() } {
            Some(filled) => filled,
            // SAFETY: Filled by the type invariants.
            None => unsafe { core::hint::unreachable_unchecked() },
        }
    }

    /// The superblock of its volume, which outlives all inodes.
    pub(crate) fn sb(&self) -> &SuperBlock<T> {
        // SAFETY: Valid by the type invariants; constant.
        let sb = unsafe { (*self.as_ptr()).i_sb };
        // SAFETY: The superblock of a filled inode is a filled one of its type.
        unsafe { SuperBlock::from_raw(sb) }
    }

    /// Its pages, valid as long as `self`.
    pub(super) fn i_mapping(&self) -> *mut bindings::address_space {
        // SAFETY: Valid by the type invariants; constant.
        unsafe { (*self.as_ptr()).i_mapping }
    }

    /// Whether there is no page of it in memory, and no entry for one. Others may change that at any
    /// time.
    pub(crate) fn mapping_empty(&self) -> bool {
        // SAFETY: Its pages, valid by the type invariants. C looks without a lock, too.
        unsafe { bindings::mapping_empty(self.i_mapping()) }
    }

    /// Whether a program has it mapped. Others may change that at any time.
    pub(crate) fn mapping_mapped(&self) -> bool {
        // SAFETY: Its pages, valid by the type invariants. C looks without a lock, too.
        unsafe { bindings::mapping_mapped(self.i_mapping()) }
    }

    /// Bytes of the file.
    pub(crate) fn i_size_read(&self) -> u64 {
        // SAFETY: Valid by the type invariants.
        let size = unsafe { bindings::i_size_read(self.as_ptr()) };
        // CAST: never negative.
        size as u64
    }

    /// Whether somebody has it open to be written just now.
    pub(crate) fn is_open_for_write(&self) -> bool {
        // SAFETY: Valid by the type invariants.
        unsafe { bindings::inode_is_open_for_write(self.as_ptr()) }
    }

    /// By how many it is open to be written just now; less than none while it is executed.
    pub(crate) fn writers(&self) -> i32 {
        // SAFETY: Valid by the type invariants.
        unsafe { bindings::inode_writers(self.as_ptr()) }
    }

    /// Whether it is a regular file.
    pub(crate) fn is_regular(&self) -> bool {
        self.is(bindings::S_IFREG)
    }

    /// Whether it is a directory.
    pub(crate) fn is_dir(&self) -> bool {
        self.is(bindings::S_IFDIR)
    }

    fn is(&self, kind: u32) -> bool {
        // SAFETY: Valid by the type invariants; what kind of a file it is never changes.
        let mode = unsafe { (*self.as_ptr()).i_mode };
        u32::from(mode) & bindings::S_IFMT == kind
    }

    /// Has the inode be forgotten, with its names, as soon as nobody uses it.
    pub(crate) fn d_mark_dontcache(&self) {
        // SAFETY: Valid by the type invariants.
        unsafe { bindings::d_mark_dontcache(self.as_ptr()) };
    }

    /// Whether that was asked for.
    pub(crate) fn is_dontcache(&self) -> bool {
        // SAFETY: Valid by the type invariants; C reads that without a lock, too.
        unsafe { bindings::inode_is_dontcache(self.as_ptr()) }
    }

    /// Whether its data are accessed without the page cache.
    pub(crate) fn is_dax(&self) -> bool {
        // SAFETY: Valid by the type invariants; C reads the flags without a lock, too.
        let flags = unsafe { (&raw const (*self.as_ptr()).i_flags).read_volatile() };
        flags & bindings::S_DAX != 0
    }
}

/// The slab of the inodes of a filesystem type.
///
/// # Invariants
///
/// A valid slab of [`Slot<T>`], whose inodes are initialised once.
pub(super) struct Cache<T>(NonNull<bindings::kmem_cache>, PhantomData<T>);

impl<T: FileSystemType> Cache<T> {
    /// A new slab.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(super) fn new(name: &'static CStr) -> Result<Self> {
        const { assert!(size_of::<Slot<T>>() < 1 << 16) };
        // CAST: both are less than 2^16.
        // SAFETY: The name is static; `init_once` initialises what it is given.
        let cache = unsafe {
            bindings::inode_cache_create(
                name.as_char_ptr(),
                size_of::<Slot<T>>() as c_uint,
                align_of::<Slot<T>>() as c_uint,
                Some(init_once::<T>),
            )
        };
        // INVARIANT: C returns a valid slab, or null.
        NonNull::new(cache)
            .map(|cache| Self(cache, PhantomData))
            .ok_or(ENOMEM)
    }

    /// The slab, valid as long as `self`.
    pub(super) fn as_ptr(&self) -> *mut bindings::kmem_cache {
        self.0.as_ptr()
    }
}

impl<T> Drop for Cache<T> {
    fn drop(&mut self) {
        // Inodes are freed by RCU callbacks, which use the slab and code of this module.
        // SAFETY: May be called where one may sleep.
        unsafe { bindings::rcu_barrier() };
        // SAFETY: Valid by the type invariants; nothing of it is in use any more.
        unsafe { bindings::kmem_cache_destroy(self.0.as_ptr()) };
    }
}

/// # Safety
///
/// Called by the slab only, with the memory of a slot that nobody else knows.
unsafe extern "C" fn init_once<T: FileSystemType>(slot: *mut c_void) {
    let slot = slot.cast::<Slot<T>>();
    // SAFETY: The slot is valid for writes, by the contract of this function.
    unsafe { bindings::inode_init_once((&raw mut (*slot).inode).cast()) };
    // SAFETY: As above.
    unsafe { (&raw mut (*slot).filled).write(MaybeFilled::new()) };
}

/// # Safety
///
/// Called by the VFS only, with a superblock whose type is a registered [`FileSystem<T>`].
pub(super) unsafe extern "C" fn alloc_inode<T: FileSystemType>(
    sb: *mut bindings::super_block,
) -> *mut bindings::inode {
    // SAFETY: Valid by the contract of this function.
    let fs_type = unsafe { (*sb).s_type };
    // SAFETY: By the contract of this function.
    let cache = unsafe { FileSystem::<T>::inode_cache(fs_type) };
    // SAFETY: The superblock and the slab are valid. C initialises what is not kept from one use of
    // a slot to the next; `filled` is `None` in every slot that is free.
    unsafe { bindings::alloc_inode_sb(sb, cache) }.cast()
}

/// # Safety
///
/// Called by the VFS only, with an inode from [`alloc_inode::<T>`] after the grace period that
/// followed its last use.
pub(super) unsafe extern "C" fn free_inode<T: FileSystemType>(inode: *mut bindings::inode) {
    let slot = inode.cast::<Slot<T>>();
    // INVARIANT: A slot that is free is not filled.
    // SAFETY: Nobody else has the slot any more, by the contract of this function.
    unsafe { (*slot).filled.clear() };
    // The superblock, from which the slab could be learnt, may be gone; the memory knows its slab.
    // SAFETY: From a slab that `Cache::drop` keeps until this callback has ended.
    unsafe { bindings::kfree(inode.cast()) };
}
