// SPDX-License-Identifier: GPL-2.0

//! Sorting, in place and without recursion.
//!
//! Rust's own sort panics when it is told nonsense about the order, and objtool does not know that
//! it may.
//!
//! C header: [include/linux/sort.h](srctree/include/linux/sort.h)

use crate::bindings;
use ::kernel::prelude::*;
use core::cmp::Ordering;

/// Sorts values by what `key` says of each; equal ones in any order.
///
/// # Context
///
/// May sleep, if there are many.
pub(crate) fn sort_by_key<T: Copy, K: Ord>(values: &mut [T], key: fn(&T) -> K) {
    // SAFETY: As many values as the slice has; to exchange the bytes of two is to exchange them,
    // since they are `Copy`. `compare` gets pointers to two of them, and that to `key`.
    unsafe {
        bindings::sort_r_nonatomic(
            values.as_mut_ptr().cast(),
            values.len(),
            size_of::<T>(),
            Some(compare::<T, K>),
            None,
            (&raw const key).cast(),
        )
    };
}

/// # Safety
///
/// `a` and `b` point to values of type `T`, `key` to a function as that of [`sort_by_key`].
unsafe extern "C" fn compare<T, K: Ord>(
    a: *const c_void,
    b: *const c_void,
    key: *const c_void,
) -> c_int {
    // SAFETY: By the contract of this function.
    let key = unsafe { *key.cast::<fn(&T) -> K>() };
    // SAFETY: By the contract of this function.
    let (a, b) = unsafe { (&*a.cast(), &*b.cast()) };
    match key(a).cmp(&key(b)) {
        Ordering::Less => -1,
        Ordering::Equal => 0,
        Ordering::Greater => 1,
    }
}
