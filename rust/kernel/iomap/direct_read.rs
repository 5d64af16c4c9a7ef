// SPDX-License-Identifier: GPL-2.0

//! Reading without the page cache.

use super::{
    ops,
    verifier,
    Operations, //
};
use crate::{
    bindings,
    kernel::{
        inode::Inode,
        integrity,
        kiocb, //
    },
    protocol::direct::Target,
};
use ::kernel::{
    error::to_result,
    prelude::*, //
};
use core::marker::PhantomData;

/// A direct read that failed.
pub(crate) struct FailedRead<'a, T> {
    /// Of which file.
    pub(crate) inode: &'a Inode<T>,
    /// From where.
    pub(crate) pos: u64,
    /// How many bytes, as far as they were asked of the device before the failure.
    pub(crate) len: u64,
    /// What went wrong.
    pub(crate) error: Error,
    /// Whether the device had memory to itself to read to, so that nobody else can have changed what
    /// it read.
    pub(crate) bounced: bool,
}

struct DirectTable<U>(PhantomData<U>);

impl<U: Operations> DirectTable<U> {
    /// For direct reads.
    const DIRECT: bindings::iomap_dio_ops = bindings::iomap_dio_ops {
        end_io: Some(Self::end_io),
        ..pin_init::zeroed()
    };

    /// For direct reads that are verified.
    const VERIFIED_DIRECT: bindings::iomap_dio_ops = bindings::iomap_dio_ops {
        end_io: Some(Self::end_io),
        submit_io: Some(Self::submit_io),
        bio_set: &raw mut bindings::iomap_ioend_bioset,
    };

    fn dio_ops(inode: &Inode<U::FileSystem>) -> *const bindings::iomap_dio_ops {
        if verifier::<U>(inode).is_some() {
            &Self::VERIFIED_DIRECT
        } else {
            &Self::DIRECT
        }
    }

    /// # Safety
    ///
    /// Called by iomap only, through `VERIFIED_DIRECT`: `iter` is of an inode of type
    /// `U::FileSystem`, and `bio` is complete and to be submitted.
    unsafe extern "C" fn submit_io(
        iter: *const bindings::iomap_iter,
        bio: *mut bindings::bio,
        pos: i64,
    ) {
        // SAFETY: Valid by the contract of this function.
        let inode = unsafe { (*iter).inode };
        // SAFETY: By the contract of this function; the file has a reference.
        let verifier = verifier::<U>(unsafe { Inode::from_raw(inode) });
        if let Some(verifier) = verifier {
            // CAST: less than 2^16.
            let flags = bindings::IOMAP_IOEND_DIRECT as u16;
            // SAFETY: A bio from the set in `VERIFIED_DIRECT`. The file is open until the read has
            // ended, and the verifier outlives all inodes.
            unsafe { verifier.attach(inode, bio, pos, flags) };
            // SAFETY: The bio is ours to submit; `end_io` fits the ioend. Without one, the bio ends
            // as C has set it up.
            unsafe { (*bio).bi_end_io = Some(integrity::end_io) };
        }
        // SAFETY: As above.
        unsafe { bindings::submit_bio(bio) };
    }

    /// # Safety
    ///
    /// Called by iomap only: `iocb` is of an open file of type `U::FileSystem`.
    unsafe extern "C" fn end_io(
        iocb: *mut bindings::kiocb,
        size: isize,
        error: c_int,
        flags: c_uint,
    ) -> c_int {
        let Err(error) = to_result(error) else {
            return 0;
        };
        // SAFETY: Valid by the contract of this function.
        let file = unsafe { (*iocb).ki_filp };
        // SAFETY: Valid: the file has a reference until the read has ended.
        let inode = unsafe { (*file).f_inode };
        // SAFETY: Valid by the contract of this function.
        let pos = unsafe { (*iocb).ki_pos };
        let failed = FailedRead {
            // SAFETY: By the contract of this function; the file has a reference.
            inode: unsafe { Inode::from_raw(inode) },
            pos: u64::try_from(pos).unwrap_or(0),
            len: u64::try_from(size).unwrap_or(0),
            error,
            bounced: flags & bindings::IOMAP_DIO_BOUNCE != 0,
        };
        U::end_io(&failed).to_errno()
    }
}

/// Reads to where the read wants it, without the page cache.
///
/// To [`Target::Private`], the device reads to memory of its own, and what was verified is copied. That
/// is for reads that are verified; others are read in place.
///
/// # Errors
///
/// What [`Operations::end_io`] returns; `EIOCBQUEUED` if the read ends later; `EINVAL` if it is not
/// aligned as `statx()` says.
///
/// # Context
///
/// Sleeps.
pub(crate) fn dio_rw<U: Operations>(
    read: &mut kiocb::Locked<'_, U::FileSystem>,
    target: Target,
) -> Result<usize> {
    let inode = read.inode();
    let dops = DirectTable::<U>::dio_ops(inode);
    let flags = match target {
        Target::Private if verifier::<U>(inode).is_some() => bindings::IOMAP_DIO_BOUNCE,
        Target::Private | Target::InPlace => 0,
    };
    read.read(|iocb, to| {
        // SAFETY: Both are valid and not shared. The tables fit the inode, and `dops` each other:
        // those that bounce reads end them in a task.
        unsafe {
            bindings::iomap_dio_rw(iocb, to, ops::<U>(), dops, flags, core::ptr::null_mut(), 0)
        }
    })
}
