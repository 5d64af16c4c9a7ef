// SPDX-License-Identifier: GPL-2.0

//! Mount options: a table of names → what each means.
//!
//! The table is a `static` that C reads; what a row, or a word that is its value, means is any
//! value of the filesystem's own type. So no row can be without a meaning, and no number of a row
//! is seen outside of this file.
//!
//! C header: [include/linux/fs_parser.h](srctree/include/linux/fs_parser.h)

use crate::bindings;
use ::kernel::{
    error::to_result,
    prelude::*,
    str::as_char_ptr_in_const_context, //
};
use core::{
    marker::PhantomData,
    mem::MaybeUninit,
    ptr::NonNull, //
};

/// A row of a [`Table`].
#[derive(Clone, Copy)]
pub(crate) struct Spec<T: 'static> {
    name: &'static CStr,
    meaning: Meaning<T>,
}

#[derive(Clone, Copy)]
enum Meaning<T: 'static> {
    /// Of the name alone.
    Flag(T),
    /// Of each word that the option can have for a value.
    Words(*const bindings::constant_table, &'static [T]),
}

impl<T: Copy> Spec<T> {
    /// An option without a value, as C's `fsparam_flag()`.
    pub(crate) const fn flag(name: &'static CStr, meaning: T) -> Self {
        Self {
            name,
            meaning: Meaning::Flag(meaning),
        }
    }

    /// An option whose value is one of some words, as C's `fsparam_enum()`.
    pub(crate) const fn words<const N: usize>(
        name: &'static CStr,
        words: &'static Words<T, N>,
    ) -> Self {
        Self {
            name,
            meaning: Meaning::Words((&raw const *words).cast(), &words.meanings),
        }
    }
}

/// Words that are values of an option, as C's array of `struct constant_table`.
///
/// # Invariants
///
/// The value of row `n`, which come first, is `n`; `end` follows them, and is empty.
#[repr(C)]
pub(crate) struct Words<T, const N: usize> {
    rows: [bindings::constant_table; N],
    end: bindings::constant_table,
    meanings: [T; N],
}

// SAFETY: Constant; the pointers are to static strings.
unsafe impl<T: Sync, const N: usize> Sync for Words<T, N> {}

impl<T: Copy, const N: usize> Words<T, N> {
    /// The words, and what each means.
    pub(crate) const fn new(words: [(&'static CStr, T); N]) -> Self {
        const END: bindings::constant_table = pin_init::zeroed();
        let mut rows = [END; N];
        let mut meanings = [words[0].1; N];
        let mut n = 0;
        while n < N {
            rows[n].name = as_char_ptr_in_const_context(words[n].0);
            // CAST: fewer than 2^31.
            rows[n].value = n as c_int;
            meanings[n] = words[n].1;
            n += 1;
        }
        // INVARIANT: Just made so.
        Self {
            rows,
            end: END,
            meanings,
        }
    }
}

/// The options that there are, as C's array of `struct fs_parameter_spec`.
///
/// # Invariants
///
/// Row `n` has the number `n` and its meaning in `meanings[n]`; `end` follows the rows, and is
/// empty. What the rows point to is static.
#[repr(C)]
pub(crate) struct Table<T: 'static, const N: usize> {
    rows: [bindings::fs_parameter_spec; N],
    end: bindings::fs_parameter_spec,
    meanings: [Meaning<T>; N],
}

// SAFETY: Constant, and so is what the pointers are to.
unsafe impl<T: Sync, const N: usize> Sync for Table<T, N> {}

impl<T: Copy, const N: usize> Table<T, N> {
    /// A table of these options.
    pub(crate) const fn new(specs: [Spec<T>; N]) -> Self {
        assert!(N <= u8::MAX as usize, "the number of a row is an u8");
        const END: bindings::fs_parameter_spec = pin_init::zeroed();
        let mut rows = [END; N];
        let mut meanings = [specs[0].meaning; N];
        let mut n = 0;
        while n < N {
            rows[n].name = as_char_ptr_in_const_context(specs[n].name);
            // CAST: at most 255, see above.
            rows[n].opt = n as u8;
            if let Meaning::Words(words, _) = specs[n].meaning {
                rows[n].type_ = Some(bindings::fs_param_is_enum);
                rows[n].data = words.cast();
            }
            meanings[n] = specs[n].meaning;
            n += 1;
        }
        // INVARIANT: Just made so; `Spec` has but static pointers.
        Self {
            rows,
            end: END,
            meanings,
        }
    }
}

/// An option that a mounter gives: a name, perhaps with a value.
///
/// # Invariants
///
/// Both are valid, and no other thread looks at them, for `'a`.
pub(crate) struct Parameter<'a> {
    log: NonNull<bindings::p_log>,
    param: NonNull<bindings::fs_parameter>,
    _call: PhantomData<&'a mut ()>,
}

impl Parameter<'_> {
    /// # Safety
    ///
    /// `log` and `param` have to be as the type wants them, as long as the value lives.
    pub(super) unsafe fn from_raw(
        log: NonNull<bindings::p_log>,
        param: NonNull<bindings::fs_parameter>,
    ) -> Self {
        // INVARIANT: By the contract of this function.
        Self {
            log,
            param,
            _call: PhantomData,
        }
    }

    /// What it means. A mounter who gives a value that does not fit is told so by C.
    ///
    /// # Errors
    ///
    /// `ENOPARAM` if the name is none of the table's, for the VFS to tell the mounter; `EINVAL` for
    /// a value that does not fit.
    pub(crate) fn parse<T: Copy, const N: usize>(self, table: &'static Table<T, N>) -> Result<T> {
        let mut result = MaybeUninit::<bindings::fs_parse_result>::zeroed();
        // SAFETY: The log and the parameter are valid by the type invariants. The table is static,
        // and ends with an empty row, by its own.
        let row = unsafe {
            bindings::__fs_parse(
                self.log.as_ptr(),
                (&raw const table.rows).cast(),
                self.param.as_ptr(),
                result.as_mut_ptr(),
            )
        };
        to_result(row)?;
        let row = usize::try_from(row).map_err(|_| EINVAL)?;
        match table.meanings.get(row).ok_or(EINVAL)? {
            Meaning::Flag(meaning) => Ok(*meaning),
            Meaning::Words(_, meanings) => {
                // SAFETY: All bits were 0 before C wrote to it, and are a value then.
                let result = unsafe { result.assume_init() };
                // SAFETY: Any bits are an integer; `fs_param_is_enum()` has set these.
                let word = unsafe { *result.__bindgen_anon_1.uint_32.as_ref() };
                let word = usize::try_from(word).map_err(|_| EINVAL)?;
                meanings.get(word).copied().ok_or(EINVAL)
            }
        }
    }
}
