// SPDX-License-Identifier: GPL-2.0

//! Shrinkers: what gives memory back when there is little.
//!
//! registered → freed, on drop
//!
//! C header: [include/linux/shrinker.h](srctree/include/linux/shrinker.h)

use super::super_block::OnDevice;
use crate::bindings;
use ::kernel::prelude::*;
use core::{
    ops::Deref,
    ptr::NonNull, //
};

/// What can be made smaller.
pub(crate) trait Operations: Send + Sync + 'static {
    /// How many objects could be freed: a guess, which costs little.
    ///
    /// # Context
    ///
    /// As [`scan_objects`](Self::scan_objects).
    fn count_objects(&self) -> usize;

    /// Looks at about `nr_to_scan` objects, and frees those that are idle.
    ///
    /// # Context
    ///
    /// Memory reclaim: whoever allocates memory may be here, with any lock that may be held then.
    /// Takes spinlocks that are held over no allocation, and does not allocate. Others may be here
    /// at the same time.
    fn scan_objects(&self, nr_to_scan: usize) -> Scanned;
}

/// What became of the objects that a scan looked at.
#[derive(Clone, Copy, Default)]
pub(crate) struct Scanned {
    /// How many it looked at.
    pub(crate) scanned: usize,
    /// How many of them are gone.
    pub(crate) freed: usize,
}

/// A shrinker that memory reclaim calls, with what it shrinks. Dropping it ends that, and waits for
/// calls that are under way.
///
/// # Invariants
///
/// The shrinker is registered, nobody else frees it, and its private data are `data`.
pub(crate) struct Registration<T: Operations> {
    shrinker: NonNull<bindings::shrinker>,
    data: Pin<KBox<T>>,
}

// SAFETY: The data are `Send`, and a shrinker may be freed by any thread.
unsafe impl<T: Operations> Send for Registration<T> {}
// SAFETY: A shared reference gives the data only, which are `Sync`.
unsafe impl<T: Operations> Sync for Registration<T> {}

impl<T: Operations> Registration<T> {
    /// Registers a shrinker called `name`, of a volume.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    ///
    /// # Context
    ///
    /// Sleeps.
    pub(crate) fn new(name: &'static CStr, sb: &OnDevice, data: Pin<KBox<T>>) -> Result<Self> {
        // SAFETY: The format wants two strings. C copies what it makes of them.
        let shrinker = unsafe {
            bindings::shrinker_alloc(0, c"%s:%s".as_char_ptr(), name.as_char_ptr(), sb.id())
        };
        let shrinker = NonNull::new(shrinker).ok_or(ENOMEM)?;
        let ptr = shrinker.as_ptr();
        // SAFETY: Allocated just now, and nobody else's before it is registered; and so below.
        unsafe { (*ptr).count_objects = Some(Self::count_objects) };
        // SAFETY: As above.
        unsafe { (*ptr).scan_objects = Some(Self::scan_objects) };
        // SAFETY: As above.
        unsafe { (*ptr).private_data = (&raw const *data).cast_mut().cast() };
        // INVARIANT: The data are in a box of their own, and stay there as they are pinned.
        // SAFETY: It has its callbacks, and the data that they want.
        unsafe { bindings::shrinker_register(ptr) };
        Ok(Self { shrinker, data })
    }

    /// # Safety
    ///
    /// `shrinker` is that of a `Self`, which is not dropped before this call returns.
    unsafe fn data<'a>(shrinker: *mut bindings::shrinker) -> &'a T {
        // SAFETY: Valid by the contract of this function; constant once registered.
        let data = unsafe { (*shrinker).private_data };
        // SAFETY: By the type invariants and the contract of this function.
        unsafe { &*data.cast() }
    }

    /// # Safety
    ///
    /// Called by memory reclaim only, with the shrinker of a `Self`: `shrinker_free()`, in its
    /// drop, waits for this call.
    unsafe extern "C" fn count_objects(
        shrinker: *mut bindings::shrinker,
        _sc: *mut bindings::shrink_control,
    ) -> c_ulong {
        // SAFETY: By the contract of this function.
        let data = unsafe { Self::data(shrinker) };
        // The values that C takes for something else are more than any count.
        data.count_objects()
    }

    /// # Safety
    ///
    /// As [`count_objects`](Self::count_objects), and `sc` is the caller's.
    unsafe extern "C" fn scan_objects(
        shrinker: *mut bindings::shrinker,
        sc: *mut bindings::shrink_control,
    ) -> c_ulong {
        // SAFETY: By the contract of this function.
        let data = unsafe { Self::data(shrinker) };
        // SAFETY: By the contract of this function.
        let sc = unsafe { &mut *sc };
        let Scanned { scanned, freed } = data.scan_objects(sc.nr_to_scan);
        if scanned == 0 {
            // C would ask again and again for as long as there seems to be something.
            // CAST: C means the largest number.
            return bindings::SHRINK_STOP as usize;
        }
        sc.nr_scanned = scanned;
        freed
    }
}

impl<T: Operations> Deref for Registration<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.data
    }
}

impl<T: Operations> Drop for Registration<T> {
    fn drop(&mut self) {
        // The data are dropped after this, when no callback uses them any more.
        // SAFETY: Registered by the type invariants, and not used after this.
        unsafe { bindings::shrinker_free(self.shrinker.as_ptr()) };
    }
}
