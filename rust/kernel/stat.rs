// SPDX-License-Identifier: GPL-2.0

//! What `stat()` and `statx()` say of a file.
//!
//! C header: [include/linux/stat.h](srctree/include/linux/stat.h)

use super::{
    inode::{
        Inode,
        Time, //
    },
    vfs::FileSystemType, //
};
use crate::bindings;
use core::{
    marker::PhantomData,
    ops::BitOr,
    ptr::NonNull, //
};

/// Fields that are told only when asked for (`STATX_*`).
#[derive(Clone, Copy)]
pub(crate) struct Fields(u32);

impl Fields {
    /// When the file was made.
    pub(crate) const BTIME: Self = Self(bindings::STATX_BTIME);
    /// How direct I/O has to be aligned.
    pub(crate) const DIOALIGN: Self = Self(bindings::STATX_DIOALIGN);
    /// Which writes are atomic.
    pub(crate) const WRITE_ATOMIC: Self = Self(bindings::STATX_WRITE_ATOMIC);
}

/// Properties that a file has or lacks (`STATX_ATTR_*`).
#[derive(Clone, Copy, Default)]
pub(crate) struct Attributes(u64);

impl Attributes {
    /// Data are stored compressed.
    pub(crate) const COMPRESSED: Self = Self(bindings::STATX_ATTR_COMPRESSED as u64);
    /// Nothing may be changed.
    pub(crate) const IMMUTABLE: Self = Self(bindings::STATX_ATTR_IMMUTABLE as u64);
    /// Data may only be appended.
    pub(crate) const APPEND: Self = Self(bindings::STATX_ATTR_APPEND as u64);
    /// To be left out of backups.
    pub(crate) const NODUMP: Self = Self(bindings::STATX_ATTR_NODUMP as u64);
    /// Contents are encrypted.
    pub(crate) const ENCRYPTED: Self = Self(bindings::STATX_ATTR_ENCRYPTED as u64);
    /// Contents are protected by `fs-verity`.
    pub(crate) const VERITY: Self = Self(bindings::STATX_ATTR_VERITY as u64);
}

impl BitOr for Attributes {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// An answer that is being written, as C's `struct kstat`.
///
/// # Invariants
///
/// The structure is valid, and the caller's alone; so is the map of ids; both for `'a`.
pub(crate) struct Kstat<'a> {
    stat: NonNull<bindings::kstat>,
    idmap: *mut bindings::mnt_idmap,
    request_mask: u32,
    _caller: PhantomData<&'a mut ()>,
}

impl Kstat<'_> {
    /// # Safety
    ///
    /// `stat` and `idmap` have to be as the type wants them, for the lifetime of the value.
    pub(super) unsafe fn from_raw(
        stat: *mut bindings::kstat,
        idmap: *mut bindings::mnt_idmap,
        request_mask: u32,
    ) -> Self {
        Self {
            // SAFETY: Valid by the contract of this function.
            stat: unsafe { NonNull::new_unchecked(stat) },
            idmap,
            request_mask,
            _caller: PhantomData,
        }
    }

    /// Whether `fields` are asked for.
    pub(crate) fn requests(&self, fields: Fields) -> bool {
        self.request_mask & fields.0 != 0
    }

    /// Writes what the VFS itself knows of the inode: the basic fields.
    pub(crate) fn generic_fillattr<T: FileSystemType>(&mut self, inode: &Inode<T>) {
        // SAFETY: Valid by the type invariants, as the inode is.
        unsafe {
            bindings::generic_fillattr(
                self.idmap,
                self.request_mask,
                inode.as_ptr(),
                self.stat.as_ptr(),
            )
        };
    }

    /// Tells of `n` sectors of 512 bytes more than the inode says it has.
    pub(crate) fn add_blocks(&mut self, n: u64) {
        let stat = self.get();
        stat.blocks = stat.blocks.saturating_add(n);
    }

    /// Tells when the file was made.
    pub(crate) fn set_btime(&mut self, btime: Time) {
        let stat = self.get();
        stat.result_mask |= Fields::BTIME.0;
        stat.btime.tv_sec = btime.sec;
        // CAST: less than 10^9.
        stat.btime.tv_nsec = btime.nsec as isize;
    }

    /// Tells how many bytes memory, and places in the file, have to be aligned to for direct I/O; 0
    /// where there is none.
    pub(crate) fn set_dioalign(&mut self, mem: u32, offset: u32) {
        let stat = self.get();
        stat.result_mask |= Fields::DIOALIGN.0;
        stat.dio_mem_align = mem;
        stat.dio_offset_align = offset;
    }

    /// Tells that no write is atomic.
    pub(crate) fn set_no_atomic_writes(&mut self) {
        // SAFETY: Valid and not shared by the type invariants.
        unsafe { bindings::generic_fill_statx_atomic_writes(self.stat.as_ptr(), 0, 0, 0) };
    }

    /// Tells that the file has those of the properties `known` which are `set`, and lacks the
    /// others.
    pub(crate) fn set_attributes(&mut self, known: Attributes, set: Attributes) {
        let stat = self.get();
        stat.attributes_mask |= known.0;
        stat.attributes |= set.0 & known.0;
    }

    fn get(&mut self) -> &mut bindings::kstat {
        // SAFETY: Valid and not shared by the type invariants.
        unsafe { self.stat.as_mut() }
    }
}
