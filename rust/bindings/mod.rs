// SPDX-License-Identifier: GPL-2.0

//! C declarations: those of the kernel's own `bindings` crate, and beside them those of the
//! headers named in `bindings.h` and of the shims in `shims.c`.
//!
//! A type that the kernel's crate knows only by name, such as `fs_context`, is hidden by the full
//! one here. The two are different types to Rust, so a C function of the kernel's crate may want a
//! pointer cast. For `rust/kernel` only.

// What bindgen writes, and that only a part of it is in use, is not ours to judge.
#![allow(
    clippy::all,
    clippy::cast_lossless,
    clippy::ptr_as_ptr,
    clippy::ref_as_ptr,
    clippy::undocumented_unsafe_blocks,
    dead_code,
    improper_ctypes,
    missing_docs,
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    unnameable_types,
    unreachable_pub,
    unsafe_op_in_unsafe_fn
)]

use ::pin_init::{
    MaybeZeroable,
    Zeroable, //
};

pub(crate) use ::kernel::{
    bindings::*,
    ffi, //
};

// SAFETY: A transparent wrapper of its storage.
unsafe impl<Storage: Zeroable> Zeroable for __BindgenBitfieldUnit<Storage> {}

include!(concat!(
    env!("STABLEFS_OBJ"),
    "/rust/bindings/bindings_generated.rs"
));
include!(concat!(
    env!("STABLEFS_OBJ"),
    "/rust/bindings/shims_generated.rs"
));

/// Sizes as the compiler of the C code sees them.
mod layout {
    include!(concat!(
        env!("STABLEFS_OBJ"),
        "/rust/bindings/layout_generated.rs"
    ));
}

/// Stops the build where Rust and C differ in the size of a type.
macro_rules! same_size {
    ($($name:ident)*) => { $(
        const _: () = assert!(
            size_of::<$name>() == layout::$name,
            concat!("struct ", stringify!($name), " has another size in C than in Rust"),
        );
    )* };
}

same_size! {
    buffer_head
    file_system_type
    fs_context
    fs_context_operations
    inode
    iomap_ioend
    iomap_writepage_ctx
    journal_s
    super_block
}
