// SPDX-License-Identifier: GPL-2.0

//! Where the data of a file are, and what the kernel does with that knowledge.
//!
//! The filesystem answers one question, [`Operations::iomap_begin`], with a value. All of reading,
//! seeking and reporting is C's, in the functions here.
//!
//! C header: [include/linux/iomap.h](srctree/include/linux/iomap.h), manual:
//! [Documentation/filesystems/iomap/](srctree/Documentation/filesystems/iomap/index.rst)

use super::{
    address_space::Readahead,
    buffer::BdevAddr,
    folio,
    inode::Inode,
    ret,
    vfs::FileSystemType, //
};
use crate::bindings;
use ::kernel::prelude::*;
use core::marker::PhantomData;

/// What a mapping is wanted for.
#[derive(Clone, Copy)]
pub(crate) struct Flags(u32);

impl Flags {
    /// To change what is there.
    pub(crate) const WRITE: Self = Self(bindings::IOMAP_WRITE);
    /// By one who would rather be refused (`EAGAIN`) than wait.
    pub(crate) const NOWAIT: Self = Self(bindings::IOMAP_NOWAIT);

    /// Whether all of `flags` are set.
    pub(crate) const fn contains(self, flags: Self) -> bool {
        self.0 & flags.0 == flags.0
    }
}

/// What there is at a position of a file, and how far that goes.
#[derive(Clone, Copy)]
pub(crate) struct Mapping {
    /// Where it begins.
    pub(crate) pos: u64,
    /// And how many bytes it has; not 0.
    pub(crate) len: u64,
    /// What it is.
    pub(crate) kind: Kind,
}

/// What there is in a part of a file.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    /// Nothing, which reads as zeroes.
    Hole,
    /// Room, which reads as zeroes until it is written to.
    Unwritten(BdevAddr),
    /// Data.
    Written(BdevAddr),
}

/// Operations on mappings, as C's `struct iomap_ops`.
pub(crate) trait Operations: Sized + 'static {
    /// The filesystem whose files these are.
    type FileSystem: FileSystemType;

    /// What there is at `pos`; of interest are `len` bytes, but to know of more does no harm.
    ///
    /// # Errors
    ///
    /// What the system call shall return. A mapping without `pos` becomes `EIO`.
    ///
    /// # Context
    ///
    /// May sleep, unless [`Flags::NOWAIT`] is set. To read into the page cache, a folio is locked,
    /// so that no memory may be allocated in a way that waits for other folios of the file.
    fn iomap_begin(
        inode: &Inode<Self::FileSystem>,
        pos: u64,
        len: u64,
        flags: Flags,
    ) -> Result<Mapping>;
}

struct OperationsTable<U>(PhantomData<U>);

impl<U: Operations> OperationsTable<U> {
    const TABLE: bindings::iomap_ops = bindings::iomap_ops {
        iomap_begin: Some(Self::iomap_begin),
        ..pin_init::zeroed()
    };

    /// # Safety
    ///
    /// Called by iomap only: `inode` is of type `U::FileSystem` and has a reference, `iomap` is the
    /// caller's alone.
    unsafe extern "C" fn iomap_begin(
        inode: *mut bindings::inode,
        pos: i64,
        len: i64,
        flags: c_uint,
        iomap: *mut bindings::iomap,
        _srcmap: *mut bindings::iomap,
    ) -> c_int {
        // SAFETY: By the contract of this function.
        let inode = unsafe { Inode::<U::FileSystem>::from_raw(inode) };
        let mapping = || {
            let pos = u64::try_from(pos).map_err(|_| EINVAL)?;
            let len = u64::try_from(len).map_err(|_| EINVAL)?;
            let mapping = U::iomap_begin(inode, pos, len, Flags(flags))?;
            // C warns of such a mapping, and goes on with it.
            let skipped = pos.checked_sub(mapping.pos).ok_or(EIO)?;
            if skipped < mapping.len {
                to_raw(inode, &mapping)
            } else {
                Err(EIO)
            }
        };
        ret::int(mapping().map(|mapping| {
            // SAFETY: Valid for writes by the contract of this function.
            unsafe { iomap.write(mapping) }
        }))
    }
}

fn to_raw<T: FileSystemType>(inode: &Inode<T>, mapping: &Mapping) -> Result<bindings::iomap> {
    let (kind, addr) = match mapping.kind {
        Kind::Hole => (bindings::IOMAP_HOLE, None),
        Kind::Unwritten(addr) => (bindings::IOMAP_UNWRITTEN, Some(addr)),
        Kind::Written(addr) => (bindings::IOMAP_MAPPED, Some(addr)),
    };
    Ok(bindings::iomap {
        // CAST: one of the kinds above, all less than 2^16.
        type_: kind as u16,
        offset: i64::try_from(mapping.pos).map_err(|_| EIO)?,
        length: mapping.len,
        // CAST: all bits of C's macro are set, which bindgen takes for an `int`.
        addr: addr.map_or(bindings::IOMAP_NULL_ADDR as u64, |addr| addr.0),
        bdev: inode.sb().bdev(),
        ..pin_init::zeroed()
    })
}

/// Reads a folio: what there are no data for becomes zeroes, as does what is behind the end of the
/// file. The rest comes from the device; until it has come the folio stays locked.
pub(crate) fn read_folio<U: Operations>(
    folio: folio::Locked<'_, U::FileSystem>,
) -> folio::BeingRead<'_> {
    let mut ctx = bindings::iomap_read_folio_ctx {
        ops: &raw const bindings::iomap_bio_read_ops,
        cur_folio: folio.into_raw(),
        ..pin_init::zeroed()
    };
    // SAFETY: The folio is locked, in the page cache of an inode of the type that the table is for,
    // and C ends that lock.
    unsafe {
        bindings::iomap_read_folio(
            &OperationsTable::<U>::TABLE,
            &mut ctx,
            core::ptr::null_mut(),
        )
    };
    // SAFETY: As just said.
    unsafe { folio::BeingRead::new() }
}

/// Reads the folios that somebody will probably want next.
pub(crate) fn readahead<U: Operations>(rac: Readahead<'_, U::FileSystem>) {
    let mut ctx = bindings::iomap_read_folio_ctx {
        ops: &raw const bindings::iomap_bio_read_ops,
        rac: rac.as_ptr(),
        ..pin_init::zeroed()
    };
    // SAFETY: Folios of an inode of the type that the table is for, by the invariants of
    // `Readahead`.
    unsafe {
        bindings::iomap_readahead(
            &OperationsTable::<U>::TABLE,
            &mut ctx,
            core::ptr::null_mut(),
        )
    };
}

/// The block of the device in which block `block` of a file is; 0 if it has none.
///
/// # Context
///
/// Sleeps.
pub(crate) fn bmap<U: Operations>(inode: &Inode<U::FileSystem>, block: u64) -> u64 {
    // SAFETY: An inode of the type that the table is for.
    unsafe { bindings::iomap_bmap(inode.i_mapping(), block, &OperationsTable::<U>::TABLE) }
}

/// The first position from `pos` on that belongs to a hole.
///
/// # Errors
///
/// `ENXIO` if the file ends before.
pub(crate) fn seek_hole<U: Operations>(inode: &Inode<U::FileSystem>, pos: i64) -> Result<i64> {
    // SAFETY: An inode of the type that the table is for.
    let pos =
        unsafe { bindings::iomap_seek_hole(inode.as_ptr(), pos, &OperationsTable::<U>::TABLE) };
    ret::to_loff_t(pos)
}

/// The first position from `pos` on that belongs to data.
///
/// # Errors
///
/// `ENXIO` if there is none before the end of the file.
pub(crate) fn seek_data<U: Operations>(inode: &Inode<U::FileSystem>, pos: i64) -> Result<i64> {
    // SAFETY: An inode of the type that the table is for.
    let pos =
        unsafe { bindings::iomap_seek_data(inode.as_ptr(), pos, &OperationsTable::<U>::TABLE) };
    ret::to_loff_t(pos)
}
