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
    dax::DaxAddr,
    folio,
    inode::Inode,
    integrity::{
        self,
        Verifier, //
    },
    kiocb,
    ret,
    super_block::SuperBlock,
    vfs::FileSystemType, //
};
use crate::bindings;
use ::kernel::{
    error::to_result,
    page::PAGE_SIZE,
    prelude::*, //
};
use core::{
    marker::PhantomData,
    ptr::NonNull, //
};

/// What a mapping is wanted for.
#[derive(Clone, Copy)]
pub(crate) struct Flags(u32);

impl Flags {
    /// To change what is there.
    pub(crate) const WRITE: Self = Self(bindings::IOMAP_WRITE);
    /// By one who would rather be refused (`EAGAIN`) than wait.
    pub(crate) const NOWAIT: Self = Self(bindings::IOMAP_NOWAIT);
    /// For access to the memory that the data are in.
    pub(crate) const DAX: Self = Self(bindings::IOMAP_DAX);
    /// To be mapped into a program: all of the bytes that are asked for, at once, or none of them.
    pub(crate) const FAULT: Self = Self(bindings::IOMAP_FAULT);

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
            let flags = Flags(flags);
            let mapping = U::iomap_begin(inode, pos, len, flags)?;
            // C warns of such a mapping, and goes on with it.
            let skipped = pos.checked_sub(mapping.pos).ok_or(EIO)?;
            if skipped < mapping.len {
                Self::to_raw(inode, &mapping, flags)
            } else {
                Err(EIO)
            }
        };
        ret::int(mapping().map(|mapping| {
            // SAFETY: Valid for writes by the contract of this function.
            unsafe { iomap.write(mapping) }
        }))
    }

    fn to_raw(
        inode: &Inode<U::FileSystem>,
        mapping: &Mapping<'_>,
        flags: Flags,
    ) -> Result<bindings::iomap> {
        let (kind, addr) = match mapping.kind {
            Kind::Hole => (bindings::IOMAP_HOLE, None),
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

    /// What verifies the reads of an inode of this table's type.
    fn verifier(inode: &Inode<U::FileSystem>) -> Option<&Verifier> {
        // The tags are read all the same then, and nobody looks at them.
        if cfg!(stablefs_control = "skip_read_verify") {
            return None;
        }
        U::verifier(inode.sb())
    }

    /// For reads into the page cache that are verified.
    const VERIFIED_READ: bindings::iomap_read_ops = bindings::iomap_read_ops {
        read_folio_range: Some(bindings::iomap_bio_read_folio_range),
        submit_read: Some(Self::submit_read),
        bio_set: &raw mut bindings::iomap_ioend_bioset,
    };

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

    fn read_ops(inode: &Inode<U::FileSystem>) -> *const bindings::iomap_read_ops {
        if Self::verifier(inode).is_some() {
            &Self::VERIFIED_READ
        } else {
            &raw const bindings::iomap_bio_read_ops
        }
    }

    fn dio_ops(inode: &Inode<U::FileSystem>) -> *const bindings::iomap_dio_ops {
        if Self::verifier(inode).is_some() {
            &Self::VERIFIED_DIRECT
        } else {
            &Self::DIRECT
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
        let verifier = Self::verifier(unsafe { Inode::from_raw(inode) });
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
        let verifier = Self::verifier(unsafe { Inode::from_raw(inode) });
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

/// The table, for use within `rust/kernel`.
pub(super) const fn ops<U: Operations>() -> *const bindings::iomap_ops {
    &OperationsTable::<U>::TABLE
}

/// Reads a folio: what there are no data for becomes zeroes, as does what is behind the end of the
/// file. The rest comes from the device; until it has come the folio stays locked.
pub(crate) fn read_folio<U: Operations>(
    folio: folio::Locked<'_, U::FileSystem>,
) -> folio::BeingRead<'_, U::FileSystem> {
    let reading = folio.into_being_read();
    let mut ctx = bindings::iomap_read_folio_ctx {
        ops: OperationsTable::<U>::read_ops(reading.inode()),
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
        ops: OperationsTable::<U>::read_ops(rac.inode()),
        rac: rac.as_ptr(),
        ..pin_init::zeroed()
    };
    // SAFETY: Folios of an inode of the type that the table is for, by the invariants of
    // `Readahead`.
    unsafe { bindings::iomap_readahead(ops::<U>(), &mut ctx, core::ptr::null_mut()) };
}

/// Reads to where the read wants it, without the page cache.
///
/// With `bounce`, the device reads to memory of its own, and what was verified is copied. That is
/// for reads that are verified, and does nothing to others.
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
    bounce: bool,
) -> Result<usize> {
    let inode = read.inode();
    let dops = OperationsTable::<U>::dio_ops(inode);
    let flags = if bounce && OperationsTable::<U>::verifier(inode).is_some() {
        bindings::IOMAP_DIO_BOUNCE
    } else {
        0
    };
    read.read(|iocb, to| {
        // SAFETY: Both are valid and not shared. The tables fit the inode, and `dops` each other:
        // those that bounce reads end them in a task.
        unsafe {
            bindings::iomap_dio_rw(iocb, to, ops::<U>(), dops, flags, core::ptr::null_mut(), 0)
        }
    })
}

/// Tells a caller of `FIEMAP` where the data of the file are.
///
/// # Errors
///
/// What the system call shall return.
///
/// # Context
///
/// Sleeps.
pub(crate) fn fiemap<U: Operations>(inode: &Inode<U::FileSystem>, fieinfo: Fiemap<'_>) -> Result {
    // SAFETY: An inode of the type that the table is for; the information is valid and not shared.
    let err = unsafe {
        bindings::iomap_fiemap(
            inode.as_ptr(),
            fieinfo.info.as_ptr(),
            fieinfo.start,
            fieinfo.len,
            ops::<U>(),
        )
    };
    to_result(err)
}

/// What a caller of `FIEMAP` wants to know.
///
/// # Invariants
///
/// The information is valid, and the caller's alone, for `'a`.
pub(crate) struct Fiemap<'a> {
    info: NonNull<bindings::fiemap_extent_info>,
    start: u64,
    len: u64,
    _info: PhantomData<&'a mut ()>,
}

/// What is in one place.
pub(crate) struct OnlyExtent {
    /// Where it begins.
    pub(crate) addr: BdevAddr,
    /// How many bytes it has.
    pub(crate) len: u64,
    /// Whether it is a part of the inode.
    pub(crate) is_inline: bool,
}

impl Fiemap<'_> {
    /// # Safety
    ///
    /// `info` has to be as the type wants it, for the lifetime of the value.
    pub(super) unsafe fn from_raw(
        info: *mut bindings::fiemap_extent_info,
        start: u64,
        len: u64,
    ) -> Self {
        Self {
            // SAFETY: Valid by the contract of this function.
            info: unsafe { NonNull::new_unchecked(info) },
            start,
            len,
            _info: PhantomData,
        }
    }

    /// Takes note of the wish that the map be read ahead, which needs no doing.
    pub(crate) fn ignore_cache(&mut self) {
        self.take_flag(bindings::FIEMAP_FLAG_CACHE);
    }

    /// Whether it is the extended attributes that are asked for. To be asked once.
    pub(crate) fn take_xattr(&mut self) -> bool {
        self.take_flag(bindings::FIEMAP_FLAG_XATTR)
    }

    fn take_flag(&mut self, flag: u32) -> bool {
        // SAFETY: Valid and not shared by the type invariants.
        unsafe { bindings::fiemap_take_flag(self.info.as_ptr(), flag) }
    }

    /// Tells of all that there is: nothing, or `len` bytes at `addr`, which are a part of the inode
    /// if `is_inline` says so.
    ///
    /// # Errors
    ///
    /// `EBADR` if the caller gave flags that are not known; `EINVAL`; `EFAULT`.
    pub(crate) fn fill_only_extent<T: FileSystemType>(
        mut self,
        inode: &Inode<T>,
        extent: Option<OnlyExtent>,
    ) -> Result {
        let (inode, info) = (inode.as_ptr(), self.info.as_ptr());
        // SAFETY: Both are valid, and the information is not shared, by the type invariants.
        to_result(unsafe { bindings::fiemap_prep(inode, info, self.start, &mut self.len, 0) })?;
        let Some(extent) = extent.filter(|extent| self.start < extent.len) else {
            return Ok(());
        };
        let flags = if extent.is_inline {
            bindings::FIEMAP_EXTENT_LAST | bindings::FIEMAP_EXTENT_DATA_INLINE
        } else {
            bindings::FIEMAP_EXTENT_LAST
        };
        // SAFETY: The information is valid and not shared by the type invariants.
        let err =
            unsafe { bindings::fiemap_fill_next_extent(info, 0, extent.addr.0, extent.len, flags) };
        // 1 says that there is no room for more.
        to_result(err.min(0))
    }
}

/// The block of the device in which block `block` of a file is; 0 if it has none.
///
/// # Context
///
/// Sleeps.
pub(crate) fn bmap<U: Operations>(inode: &Inode<U::FileSystem>, block: u64) -> u64 {
    // SAFETY: An inode of the type that the table is for.
    unsafe { bindings::iomap_bmap(inode.i_mapping(), block, ops::<U>()) }
}

/// The first position from `pos` on that belongs to a hole.
///
/// # Errors
///
/// `ENXIO` if the file ends before.
pub(crate) fn seek_hole<U: Operations>(inode: &Inode<U::FileSystem>, pos: i64) -> Result<i64> {
    // SAFETY: An inode of the type that the table is for.
    let pos = unsafe { bindings::iomap_seek_hole(inode.as_ptr(), pos, ops::<U>()) };
    ret::to_loff_t(pos)
}

/// The first position from `pos` on that belongs to data.
///
/// # Errors
///
/// `ENXIO` if there is none before the end of the file.
pub(crate) fn seek_data<U: Operations>(inode: &Inode<U::FileSystem>, pos: i64) -> Result<i64> {
    // SAFETY: An inode of the type that the table is for.
    let pos = unsafe { bindings::iomap_seek_data(inode.as_ptr(), pos, ops::<U>()) };
    ret::to_loff_t(pos)
}
