// SPDX-License-Identifier: GPL-2.0

//! Reading into the page cache.

use super::{
    ops,
    verifier,
    Operations, //
};
use crate::{
    bindings,
    kernel::{
        address_space::Readahead,
        folio,
        inode::Inode,
        integrity, //
    },
};
use core::marker::PhantomData;

struct ReadTable<U>(PhantomData<U>);

impl<U: Operations> ReadTable<U> {
    /// For reads into the page cache that are verified.
    const VERIFIED_READ: bindings::iomap_read_ops = bindings::iomap_read_ops {
        read_folio_range: Some(bindings::iomap_bio_read_folio_range),
        submit_read: Some(Self::submit_read),
        bio_set: &raw mut bindings::iomap_ioend_bioset,
    };

    fn read_ops(inode: &Inode<U::FileSystem>) -> *const bindings::iomap_read_ops {
        if verifier::<U>(inode).is_some() {
            &Self::VERIFIED_READ
        } else {
            &raw const bindings::iomap_bio_read_ops
        }
    }

    /// # Safety
    ///
    /// Called by iomap only, through `VERIFIED_READ`: `iter` is of an inode of type `U::FileSystem`,
    /// and `ctx` has a complete bio that is to be submitted.
    unsafe extern "C" fn submit_read(
        iter: *const bindings::iomap_iter,
        ctx: *mut bindings::iomap_read_folio_ctx,
    ) {
        // SAFETY: Valid by the contract of this function.
        let inode = unsafe { (*iter).inode };
        // SAFETY: By the contract of this function; the caller has a reference.
        let verifier = verifier::<U>(unsafe { Inode::from_raw(inode) });
        // SAFETY: Valid by the contract of this function.
        let bio = unsafe { (*ctx).read_ctx }.cast();
        // SAFETY: As above.
        let pos = unsafe { (*ctx).read_ctx_file_offset };
        let Some(verifier) = verifier else {
            // `U` says so now, and said otherwise before: nobody verifies then, as without tables.
            // SAFETY: C's own table, constant.
            if let Some(submit_read) = unsafe { bindings::iomap_bio_read_ops.submit_read } {
                // SAFETY: As the function wants it, by the contract of this one.
                unsafe { submit_read(iter, ctx) };
            }
            return;
        };
        // SAFETY: A bio from the set in `VERIFIED_READ`. The inode's pages are locked until the
        // read has ended, and the verifier outlives all inodes.
        unsafe { verifier.attach(inode, bio, pos, 0) };
        // SAFETY: As the function wants it, by the contract of this one; `end_io` fits the ioend.
        unsafe { bindings::iomap_bio_submit_read_endio(iter, ctx, Some(integrity::end_io)) };
    }
}

/// Reads a folio: what there are no data for becomes zeroes, as does what is behind the end of the
/// file. The rest comes from the device; until it has come the folio stays locked.
pub(crate) fn read_folio<U: Operations>(
    folio: folio::Locked<'_, U::FileSystem>,
) -> folio::BeingRead<'_, U::FileSystem> {
    let reading = folio.into_being_read();
    let mut ctx = bindings::iomap_read_folio_ctx {
        ops: ReadTable::<U>::read_ops(reading.inode()),
        cur_folio: reading.as_ptr(),
        ..pin_init::zeroed()
    };
    // SAFETY: The folio is locked, in the page cache of an inode of the type that the table is for,
    // and C ends that lock.
    unsafe { bindings::iomap_read_folio(ops::<U>(), &mut ctx, core::ptr::null_mut()) };
    reading
}

/// Reads the folios that somebody will probably want next.
pub(crate) fn readahead<U: Operations>(rac: Readahead<'_, U::FileSystem>) {
    let mut ctx = bindings::iomap_read_folio_ctx {
        ops: ReadTable::<U>::read_ops(rac.inode()),
        rac: rac.as_ptr(),
        ..pin_init::zeroed()
    };
    // SAFETY: Folios of an inode of the type that the table is for, by the invariants of
    // `Readahead`.
    unsafe { bindings::iomap_readahead(ops::<U>(), &mut ctx, core::ptr::null_mut()) };
}
