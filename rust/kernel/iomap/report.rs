// SPDX-License-Identifier: GPL-2.0

//! Telling where the data of a file are.

use super::{
    ops,
    Operations, //
};
use crate::{
    bindings,
    kernel::{
        buffer::BdevAddr,
        inode::Inode,
        ret,
        vfs::FileSystemType, //
    },
};
use ::kernel::{
    error::to_result,
    prelude::*, //
};
use core::{
    marker::PhantomData,
    ptr::NonNull, //
};

/// Tells a caller of `FIEMAP` where the data of the file are.
///
/// # Errors
///
/// What the system call shall return.
///
/// # Context
///
/// Sleeps.
pub(crate) fn fiemap<U: Operations>(inode: &Inode<U::FileSystem>, fieinfo: Fiemap<'_>) -> Result {
    // SAFETY: An inode of the type that the table is for; the information is valid and not shared.
    let err = unsafe {
        bindings::iomap_fiemap(
            inode.as_ptr(),
            fieinfo.info.as_ptr(),
            fieinfo.start,
            fieinfo.len,
            ops::<U>(),
        )
    };
    to_result(err)
}

/// What a caller of `FIEMAP` wants to know.
///
/// # Invariants
///
/// The information is valid, and the caller's alone, for `'a`.
pub(crate) struct Fiemap<'a> {
    info: NonNull<bindings::fiemap_extent_info>,
    start: u64,
    len: u64,
    _info: PhantomData<&'a mut ()>,
}

/// What is in one place.
pub(crate) struct OnlyExtent {
    /// Where it begins.
    pub(crate) addr: BdevAddr,
    /// How many bytes it has.
    pub(crate) len: u64,
    /// Whether it is a part of the inode.
    pub(crate) is_inline: bool,
}

impl Fiemap<'_> {
    /// # Safety
    ///
    /// `info` has to be as the type wants it, for the lifetime of the value.
    pub(in crate::kernel) unsafe fn from_raw(
        info: *mut bindings::fiemap_extent_info,
        start: u64,
        len: u64,
    ) -> Self {
        Self {
            // SAFETY: Valid by the contract of this function.
            info: unsafe { NonNull::new_unchecked(info) },
            start,
            len,
            _info: PhantomData,
        }
    }

    /// Takes note of the wish that the map be read ahead, which needs no doing.
    pub(crate) fn ignore_cache(&mut self) {
        self.take_flag(bindings::FIEMAP_FLAG_CACHE);
    }

    /// Whether it is the extended attributes that are asked for. To be asked once.
    pub(crate) fn take_xattr(&mut self) -> bool {
        self.take_flag(bindings::FIEMAP_FLAG_XATTR)
    }

    fn take_flag(&mut self, flag: u32) -> bool {
        // SAFETY: Valid and not shared by the type invariants.
        unsafe { bindings::fiemap_take_flag(self.info.as_ptr(), flag) }
    }

    /// Tells of all that there is: nothing, or `len` bytes at `addr`, which are a part of the inode
    /// if `is_inline` says so.
    ///
    /// # Errors
    ///
    /// `EBADR` if the caller gave flags that are not known; `EINVAL`; `EFAULT`.
    pub(crate) fn fill_only_extent<T: FileSystemType>(
        mut self,
        inode: &Inode<T>,
        extent: Option<OnlyExtent>,
    ) -> Result {
        let (inode, info) = (inode.as_ptr(), self.info.as_ptr());
        // SAFETY: Both are valid, and the information is not shared, by the type invariants.
        to_result(unsafe { bindings::fiemap_prep(inode, info, self.start, &mut self.len, 0) })?;
        let Some(extent) = extent.filter(|extent| self.start < extent.len) else {
            return Ok(());
        };
        let flags = if extent.is_inline {
            bindings::FIEMAP_EXTENT_LAST | bindings::FIEMAP_EXTENT_DATA_INLINE
        } else {
            bindings::FIEMAP_EXTENT_LAST
        };
        // SAFETY: The information is valid and not shared by the type invariants.
        let err =
            unsafe { bindings::fiemap_fill_next_extent(info, 0, extent.addr.0, extent.len, flags) };
        // 1 says that there is no room for more.
        to_result(err.min(0))
    }
}

/// The block of the device in which block `block` of a file is; 0 if it has none.
///
/// # Context
///
/// Sleeps.
pub(crate) fn bmap<U: Operations>(inode: &Inode<U::FileSystem>, block: u64) -> u64 {
    // SAFETY: An inode of the type that the table is for.
    unsafe { bindings::iomap_bmap(inode.i_mapping(), block, ops::<U>()) }
}

/// The first position from `pos` on that belongs to a hole.
///
/// # Errors
///
/// `ENXIO` if the file ends before.
pub(crate) fn seek_hole<U: Operations>(inode: &Inode<U::FileSystem>, pos: i64) -> Result<i64> {
    // SAFETY: An inode of the type that the table is for.
    let pos = unsafe { bindings::iomap_seek_hole(inode.as_ptr(), pos, ops::<U>()) };
    ret::to_loff_t(pos)
}

/// The first position from `pos` on that belongs to data.
///
/// Where an unwritten extent ends within a folio that has data farther on, C says that they begin with
/// the end of the extent. So what is found behind a hole is looked at from there, too.
///
/// # Errors
///
/// `ENXIO` if there is none before the end of the file.
pub(crate) fn seek_data<U: Operations>(inode: &Inode<U::FileSystem>, pos: i64) -> Result<i64> {
    let mut from = pos;
    loop {
        // SAFETY: An inode of the type that the table is for.
        let data = unsafe { bindings::iomap_seek_data(inode.as_ptr(), from, ops::<U>()) };
        let data = ret::to_loff_t(data)?;
        if data == from {
            return Ok(data);
        }
        from = data;
    }
}
