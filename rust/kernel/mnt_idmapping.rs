// SPDX-License-Identifier: GPL-2.0

//! How a mount numbers users and groups.
//!
//! C header: [include/linux/mnt_idmapping.h](srctree/include/linux/mnt_idmapping.h)

use crate::bindings;
use core::{
    marker::PhantomData,
    ptr::NonNull, //
};

/// The map of a mount, as C's `struct mnt_idmap`: who asks through the mount is who on the volume.
///
/// # Invariants
///
/// The map is valid for `'a`.
#[derive(Clone, Copy)]
pub(crate) struct Idmap<'a>(NonNull<bindings::mnt_idmap>, PhantomData<&'a ()>);

impl Idmap<'_> {
    /// # Safety
    ///
    /// `idmap` has to be valid for the lifetime of the value.
    pub(super) unsafe fn from_raw(idmap: *mut bindings::mnt_idmap) -> Self {
        // SAFETY: Valid by the contract of this function.
        Self(unsafe { NonNull::new_unchecked(idmap) }, PhantomData)
    }

    /// The map, for use within `rust/kernel`.
    pub(super) fn as_ptr(self) -> *mut bindings::mnt_idmap {
        self.0.as_ptr()
    }
}
