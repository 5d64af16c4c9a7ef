// SPDX-License-Identifier: GPL-2.0

//! Where the data of a file are, and what the kernel does with that knowledge.
//!
//! The filesystem answers one question, [`Operations::iomap_begin`], with a value. All of reading,
//! seeking and reporting is C's, in the functions here.
//!
//! Those who write ask more, each a question of their own: into the page cache
//! ([`WriteOperations`](write::WriteOperations)), from there to the device
//! ([`WritebackOperations`](writeback::WritebackOperations)), and past the page cache
//! ([`DirectWriteOperations`](direct_write::DirectWriteOperations)).
//!
//! C header: [include/linux/iomap.h](srctree/include/linux/iomap.h), manual:
//! [Documentation/filesystems/iomap/](srctree/Documentation/filesystems/iomap/index.rst)

mod direct_read;
pub(crate) mod direct_write;
pub(super) mod ioend;
mod read;
mod report;
pub(crate) mod write;
pub(crate) mod writeback;

pub(crate) use self::{
    direct_read::{
        dio_rw,
        FailedRead, //
    },
    read::{
        read_folio,
        readahead, //
    },
    report::{
        bmap,
        fiemap,
        seek_data,
        seek_hole,
        Fiemap,
        OnlyExtent, //
    },
};

use super::{
    buffer::BdevAddr,
    control::Control,
    dax::DaxAddr,
    inode::Inode,
    integrity::Verifier,
    ret,
    super_block::SuperBlock,
    vfs::FileSystemType, //
};
use crate::bindings;
use ::kernel::{
    page::PAGE_SIZE,
    prelude::*, //
};
use core::marker::PhantomData;

/// What a mapping is wanted for.
#[derive(Clone, Copy)]
pub(crate) struct Flags(u32);

impl Flags {
    /// By none of these.
    pub(crate) const NONE: Self = Self(0);
    /// To change what is there.
    pub(crate) const WRITE: Self = Self(bindings::IOMAP_WRITE);
    /// For a store to a mapping.
    pub(crate) const FAULT: Self = Self(bindings::IOMAP_FAULT);
    /// To leave out the page cache.
    pub(crate) const DIRECT: Self = Self(bindings::IOMAP_DIRECT);
    /// By one who would rather be refused (`EAGAIN`) than wait.
    pub(crate) const NOWAIT: Self = Self(bindings::IOMAP_NOWAIT);
    /// For access to the memory that the data are in.
    pub(crate) const DAX: Self = Self(bindings::IOMAP_DAX);

    /// Whether all of `flags` are set.
    pub(crate) const fn contains(self, flags: Self) -> bool {
        self.0 & flags.0 == flags.0
    }
}

/// What there is at a position of a file, and how far that goes.
#[derive(Clone, Copy)]
pub(crate) struct Mapping<'a> {
    /// Where it begins.
    pub(crate) pos: u64,
    /// And how many bytes it has; not 0.
    pub(crate) len: u64,
    /// What it is.
    pub(crate) kind: Kind<'a>,
}

/// What there is in a part of a file.
#[derive(Clone, Copy)]
pub(crate) enum Kind<'a> {
    /// Nothing, which reads as zeroes.
    Hole,
    /// A promise that there will be room (delayed allocation): the data are in the page cache only.
    Delalloc,
    /// Room, which reads as zeroes until it is written to.
    Unwritten(Addr<'a>),
    /// Data.
    Written(Addr<'a>),
}

/// Where something is.
#[derive(Clone, Copy)]
pub(crate) enum Addr<'a> {
    /// On the block device of the volume.
    Bdev(BdevAddr),
    /// In memory: for [`Flags::DAX`], and only for it.
    Dax(DaxAddr<'a>),
}

/// What a writer finds, or has been given.
#[derive(Clone, Copy)]
pub(crate) struct WriteMapping<'a> {
    /// What there is.
    pub(crate) mapping: Mapping<'a>,
    /// Whether it was reserved or allocated for this writer, all of it: of a reservation, what it
    /// does not use is taken back; of written blocks, what it does not write to becomes zeroes.
    pub(crate) is_new: bool,
    /// Whether the journal has to be written for the data to be found, so that it does not do to
    /// write just them for `O_DSYNC`. That may be for what is changed at the end of the write only.
    pub(crate) is_dirty: bool,
    /// Tells this mapping from one after a change: a number of the filesystem's choice.
    pub(crate) validity_cookie: u64,
}

/// Operations on mappings, as C's `struct iomap_ops`.
pub(crate) trait Operations: Sized + 'static {
    /// The filesystem whose files these are.
    type FileSystem: FileSystemType;

    /// What there is at `pos`; of interest are `len` bytes, but to know of more does no harm.
    ///
    /// Asked with [`Flags::FAULT`], memory that the `len` bytes are in is to be told for one place in
    /// one file only, for as long as C knows that page of the file: until
    /// [`break_layout`](super::dax::break_layout) has succeeded, or the inode is evicted. C relies on
    /// it. Told of a second place it warns, goes on, and overwrites which file the page is of; whoever
    /// gives up the page then finds the counts of it wrong, or a file that is gone. The types do not
    /// see to that: who may have which block is the filesystem's business.
    ///
    /// # Errors
    ///
    /// What the system call shall return. A mapping without `pos`, or of another device than was
    /// asked for, becomes `EIO`.
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
    ) -> Result<Mapping<'_>>;

    /// What verifies the reads of a volume. Without it, the block layer does what can be done.
    fn verifier(sb: &SuperBlock<Self::FileSystem>) -> Option<&Verifier>;

    /// A direct read has failed; called once for each. Returns what the system call shall return.
    ///
    /// # Context
    ///
    /// May sleep.
    fn end_io(read: &FailedRead<'_, Self::FileSystem>) -> Error;
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
        let ask = |inode: &Inode<U::FileSystem>, pos, len, flags| {
            let mapping = U::iomap_begin(inode, pos, len, flags)?;
            to_raw::<U>(inode, pos, &mapping, flags)
        };
        // SAFETY: By the contract of this function.
        unsafe { iomap_begin(inode, pos, len, flags, iomap, ask) }
    }
}

/// Asks what there is at `pos`, and tells C.
///
/// # Safety
///
/// As C calls `iomap_begin` of a table: `inode` has to be of type `T` and have a reference until this
/// returns, `iomap` to be the caller's alone.
pub(super) unsafe fn iomap_begin<T: FileSystemType>(
    inode: *mut bindings::inode,
    pos: i64,
    len: i64,
    flags: c_uint,
    iomap: *mut bindings::iomap,
    ask: impl FnOnce(&Inode<T>, u64, u64, Flags) -> Result<bindings::iomap>,
) -> c_int {
    // SAFETY: By the contract of this function.
    let inode = unsafe { Inode::from_raw(inode) };
    let answer = || {
        let pos = u64::try_from(pos).map_err(|_| EINVAL)?;
        let len = u64::try_from(len).map_err(|_| EINVAL)?;
        ask(inode, pos, len, Flags(flags))
    };
    ret::int(answer().map(|mapping| {
        // SAFETY: Valid for writes by the contract of this function.
        unsafe { iomap.write(mapping) }
    }))
}

/// A mapping of what is at `pos` as C wants it.
pub(super) fn to_raw<U: Operations>(
    inode: &Inode<U::FileSystem>,
    pos: u64,
    mapping: &Mapping<'_>,
    flags: Flags,
) -> Result<bindings::iomap> {
    // C warns of such a mapping, and goes on with it.
    let skipped = pos.checked_sub(mapping.pos).ok_or(EIO)?;
    if skipped >= mapping.len {
        return Err(EIO);
    }
    let (kind, addr) = match mapping.kind {
        Kind::Hole => (bindings::IOMAP_HOLE, None),
        Kind::Delalloc => (bindings::IOMAP_DELALLOC, None),
        Kind::Unwritten(addr) => (bindings::IOMAP_UNWRITTEN, Some(addr)),
        Kind::Written(addr) => (bindings::IOMAP_MAPPED, Some(addr)),
    };
    let mut iomap = bindings::iomap {
        // CAST: one of the kinds above, all less than 2^16.
        type_: kind as u16,
        offset: i64::try_from(mapping.pos).map_err(|_| EIO)?,
        length: mapping.len,
        // CAST: all bits of C's macro are set, which bindgen takes for an `int`.
        addr: bindings::IOMAP_NULL_ADDR as u64,
        ..pin_init::zeroed()
    };
    match (addr, flags.contains(Flags::DAX)) {
        (None, _) => {}
        (Some(Addr::Bdev(addr)), false) => iomap.addr = addr.0,
        (Some(Addr::Dax(addr)), true) => {
            // CAST: to a type of as many bits.
            if mapping.pos % PAGE_SIZE as u64 != 0 {
                return Err(EIO);
            }
            iomap.addr = addr.get(mapping.len).ok_or(EIO)?;
            iomap.dax_dev = addr.device().as_ptr();
        }
        (Some(_), _) => return Err(EIO),
    }
    if !flags.contains(Flags::DAX) {
        let sb = inode.sb();
        iomap.bdev = sb.bdev();
        if U::verifier(sb).is_some() {
            // CAST: less than 2^16.
            iomap.flags = bindings::IOMAP_F_INTEGRITY as u16;
        }
    }
    Ok(iomap)
}

/// As [`to_raw`], for a writer.
pub(super) fn to_raw_for_write<U: Operations>(
    inode: &Inode<U::FileSystem>,
    pos: u64,
    mapping: &WriteMapping<'_>,
    flags: Flags,
) -> Result<bindings::iomap> {
    let is_nowhere = match mapping.mapping.kind {
        Kind::Hole => true,
        Kind::Delalloc => flags.contains(Flags::DIRECT),
        // The memory would have to be zeroed first.
        Kind::Unwritten(_) => flags.contains(Flags::DAX),
        Kind::Written(_) => false,
    };
    // C warns, or loses what is written there.
    if is_nowhere && flags.contains(Flags::WRITE) {
        return Err(EIO);
    }
    let mut iomap = to_raw::<U>(inode, pos, &mapping.mapping, flags)?;
    let mut set = |is_set, flag: u32| {
        if is_set {
            // CAST: less than 2^16.
            iomap.flags |= flag as u16;
        }
    };
    set(mapping.is_new, bindings::IOMAP_F_NEW);
    set(mapping.is_dirty, bindings::IOMAP_F_DIRTY);
    iomap.validity_cookie = mapping.validity_cookie;
    Ok(iomap)
}

/// What verifies the reads of an inode.
fn verifier<U: Operations>(inode: &Inode<U::FileSystem>) -> Option<&Verifier> {
    // The tags are read all the same then, and nobody looks at them.
    if Control::SkipReadVerify.is_on() {
        return None;
    }
    U::verifier(inode.sb())
}

/// The table, for use within `rust/kernel`.
pub(super) const fn ops<U: Operations>() -> *const bindings::iomap_ops {
    &OperationsTable::<U>::TABLE
}
