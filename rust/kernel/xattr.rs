// SPDX-License-Identifier: GPL-2.0

//! Extended attributes.
//!
//! C header: [include/linux/xattr.h](srctree/include/linux/xattr.h)

use super::{
    errno,
    inode::{
        Inode,
        Locked, //
    },
    mnt_idmapping::Idmap,
    ret,
    vfs::FileSystemType, //
};
use crate::bindings;
use ::kernel::{
    prelude::*,
    str::as_char_ptr_in_const_context, //
};
use core::{
    marker::PhantomData,
    ptr::NonNull, //
};

/// Where a value, or a list of names, goes; or nowhere, when only its length is wanted.
///
/// # Invariants
///
/// There are `size` bytes at `start`, if there is one, for writing, the caller's alone, for `'a`;
/// `len` is at most `size` then.
pub(crate) struct Buffer<'a> {
    start: Option<NonNull<u8>>,
    size: usize,
    len: usize,
    _caller: PhantomData<&'a mut ()>,
}

impl Buffer<'_> {
    /// # Safety
    ///
    /// `start` has to be null, or valid for writes of `size` bytes by nobody else, for the lifetime
    /// of the value.
    pub(super) unsafe fn from_raw(start: *mut u8, size: usize) -> Self {
        // INVARIANT: By the contract of this function.
        Self {
            start: NonNull::new(start),
            size,
            len: 0,
            _caller: PhantomData,
        }
    }

    /// Adds bytes.
    ///
    /// # Errors
    ///
    /// `ERANGE` if there is no room for them.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result {
        let end = self.len.checked_add(bytes.len()).ok_or(ERANGE)?;
        if let Some(start) = self.start {
            if end > self.size {
                return Err(ERANGE);
            }
            // SAFETY: Inside the `size` bytes that there are by the type invariants.
            let to = unsafe { start.add(self.len) };
            // SAFETY: As above; memory that is the caller's alone is not that of `bytes`.
            unsafe { to.copy_from_nonoverlapping(NonNull::from(bytes).cast(), bytes.len()) };
        }
        self.len = end;
        Ok(())
    }

    /// Bytes that were added.
    pub(super) fn len(&self) -> usize {
        self.len
    }
}

/// Attributes whose names begin with one text, as C's `struct xattr_handler`.
///
/// Without a method to set them, C answers `EOPNOTSUPP` to who tries.
#[vtable]
pub(crate) trait Operations: Sized + 'static {
    /// The filesystem whose attributes these are.
    type FileSystem: FileSystemType;

    /// The text, with the dot that ends it.
    const PREFIX: &'static CStr;

    /// Gives the value of the attribute whose name goes on with `name`, which is not empty.
    ///
    /// # Errors
    ///
    /// `ENODATA` if there is none; `ERANGE` if it is too long for the buffer.
    ///
    /// # Context
    ///
    /// The inode's `i_rwsem` may be held or not.
    fn get(inode: &Inode<Self::FileSystem>, name: &CStr, value: &mut Buffer<'_>) -> Result;

    /// Gives the attribute whose name goes on with `name`, which is not empty, another value, or
    /// removes it if there is none; under the condition that `flags` say.
    ///
    /// # Errors
    ///
    /// `EEXIST` and `ENODATA`, as `flags` say; else what the system call shall return.
    fn set(
        _idmap: Idmap<'_>,
        _inode: Locked<'_, Self::FileSystem>,
        _name: &CStr,
        _value: Option<&[u8]>,
        _flags: SetFlags,
    ) -> Result {
        Err(errno::eopnotsupp())
    }
}

/// The condition under which an attribute is set. A program may give both, so that it is never met.
#[derive(Clone, Copy, Default)]
pub(crate) struct SetFlags {
    /// It has to be a new one, else `EEXIST` (`XATTR_CREATE`).
    pub(crate) create: bool,
    /// It has to be there already, else `ENODATA` (`XATTR_REPLACE`).
    pub(crate) replace: bool,
}

impl SetFlags {
    /// From C's `XATTR_*`.
    fn from_raw(flags: c_int) -> Self {
        // CAST: bits that mean no number.
        let has = |flag| flags as u32 & flag != 0;
        Self {
            create: has(bindings::XATTR_CREATE),
            replace: has(bindings::XATTR_REPLACE),
        }
    }
}

/// A table of those operations, or what ends a list of them.
#[repr(transparent)]
pub(crate) struct Handler<T>(*const bindings::xattr_handler, PhantomData<T>);

impl<T: FileSystemType> Handler<T> {
    /// Ends a list.
    pub(crate) const END: Self = Self(core::ptr::null(), PhantomData);

    /// Those of `U`.
    pub(crate) const fn new<U: Operations<FileSystem = T>>() -> Self {
        Self(&OperationsTable::<U>::TABLE, PhantomData)
    }
}

/// All handlers of a filesystem.
///
/// # Invariants
///
/// The last one is [`Handler::END`].
pub(crate) struct Handlers<T: 'static>(&'static [Handler<T>]);

impl<T> Handlers<T> {
    /// The list of them, in the order in which prefixes are tried; the last has to be
    /// [`Handler::END`].
    pub(crate) const fn new(handlers: &'static [Handler<T>]) -> Self {
        assert!(matches!(handlers.last(), Some(end) if end.0.is_null()));
        // INVARIANT: Checked just now, when the module is built.
        Self(handlers)
    }

    /// The list as C has it, static.
    pub(super) fn as_ptr(&self) -> *const *const bindings::xattr_handler {
        self.0.as_ptr().cast()
    }
}

struct OperationsTable<U>(PhantomData<U>);

impl<U: Operations> OperationsTable<U> {
    const TABLE: bindings::xattr_handler = bindings::xattr_handler {
        prefix: as_char_ptr_in_const_context(U::PREFIX),
        get: Some(Self::get),
        set: if U::HAS_SET { Some(Self::set) } else { None },
        ..pin_init::zeroed()
    };

    /// # Safety
    ///
    /// Called by the VFS only: `inode` is one of type `U::FileSystem`, `name` a string, and `buffer`
    /// null or the caller's alone, with `size` bytes.
    unsafe extern "C" fn get(
        _handler: *const bindings::xattr_handler,
        _dentry: *mut bindings::dentry,
        inode: *mut bindings::inode,
        name: *const c_char,
        buffer: *mut c_void,
        size: usize,
    ) -> c_int {
        // SAFETY: By the contract of this function.
        let inode = unsafe { Inode::from_raw(inode) };
        // SAFETY: By the contract of this function.
        let name = unsafe { CStr::from_char_ptr(name) };
        // SAFETY: By the contract of this function.
        let mut value = unsafe { Buffer::from_raw(buffer.cast(), size) };
        ret::len(U::get(inode, name, &mut value).map(|()| value.len()))
    }

    /// # Safety
    ///
    /// Called by the VFS only: `idmap` is that of the mount, `inode` one of type `U::FileSystem` whose
    /// `i_rwsem` is held exclusively, or that is new, `name` a string, and `value` null or `size`
    /// bytes that nobody else changes.
    unsafe extern "C" fn set(
        _handler: *const bindings::xattr_handler,
        idmap: *mut bindings::mnt_idmap,
        _dentry: *mut bindings::dentry,
        inode: *mut bindings::inode,
        name: *const c_char,
        value: *const c_void,
        size: usize,
        flags: c_int,
    ) -> c_int {
        // SAFETY: By the contract of this function.
        let idmap = unsafe { Idmap::from_raw(idmap) };
        // SAFETY: By the contract of this function.
        let inode = unsafe { Locked::new(Inode::from_raw(inode)) };
        // SAFETY: By the contract of this function.
        let name = unsafe { CStr::from_char_ptr(name) };
        let value = (!value.is_null()).then(|| {
            // SAFETY: By the contract of this function.
            unsafe { core::slice::from_raw_parts(value.cast(), size) }
        });
        ret::int(U::set(idmap, inode, name, value, SetFlags::from_raw(flags)))
    }
}
