// SPDX-License-Identifier: GPL-2.0

//! Open files, and their operations.
//!
//! C header: [include/linux/fs.h](srctree/include/linux/fs.h)

mod write;

pub(crate) use self::write::{
    Fallocate,
    FallocateMode, //
};

use super::{
    dir::DirContext,
    inode::Inode,
    kiocb,
    ret,
    truncate::ByteRange,
    vfs::FileSystemType,
    vm, //
};
use crate::bindings;
use ::kernel::{
    error::to_result,
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    },
    types::Opaque,
    uaccess::UserPtr, //
};
use core::marker::PhantomData;

/// An open file of a volume of type `T`.
///
/// # Invariants
///
/// The file is valid, and of an [`Inode<T>`].
#[repr(transparent)]
pub(crate) struct File<T>(Opaque<bindings::file>, PhantomData<T>);

/// Where a seek goes from, or to, as `lseek()` has it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Whence(c_int);

impl Whence {
    /// To data.
    pub(crate) const SEEK_DATA: Self = Self::new(bindings::SEEK_DATA);
    /// To a hole.
    pub(crate) const SEEK_HOLE: Self = Self::new(bindings::SEEK_HOLE);

    const fn new(whence: u32) -> Self {
        // CAST: small numbers.
        Self(whence as c_int)
    }
}

impl<T: FileSystemType> File<T> {
    /// # Safety
    ///
    /// `file` has to be as the type wants it, for `'a`.
    pub(super) unsafe fn from_raw<'a>(file: *mut bindings::file) -> &'a Self {
        // SAFETY: By the contract of this function; the layout is that of the C type.
        unsafe { &*file.cast() }
    }

    /// The file, for use within `rust/kernel`.
    pub(super) fn as_ptr(&self) -> *mut bindings::file {
        self.0.get()
    }

    /// Its inode.
    pub(crate) fn inode(&self) -> &Inode<T> {
        // SAFETY: Valid by the type invariants; constant.
        let inode = unsafe { (*self.as_ptr()).f_inode };
        // SAFETY: By the type invariants; the file has a reference.
        unsafe { Inode::from_raw(inode) }
    }

    /// Whether positions in a directory have to fit into 32 bits, for the program or the NFS client
    /// that reads it.
    pub(crate) fn is_32bit_api(&self) -> bool {
        // SAFETY: Valid by the type invariants; constant but for bits that are not looked at.
        unsafe { bindings::file_is_32bit_api(self.as_ptr()) }
    }

    /// A number that a filesystem can keep for each open file; 0 at first.
    pub(crate) fn private_number(&self) -> usize {
        self.private().load(Relaxed)
    }

    /// Changes that number.
    pub(crate) fn set_private_number(&self, number: usize) {
        self.private().store(number, Relaxed);
    }

    fn private(&self) -> &Atomic<usize> {
        // SAFETY: Valid by the type invariants. No file of this module has other private data, and
        // C does not look at them.
        unsafe { Atomic::from_ptr((&raw mut (*self.as_ptr()).private_data).cast::<usize>()) }
    }

    /// Notes that the file has been read, unless the mount does not want it noted.
    pub(crate) fn file_accessed(&self) {
        // SAFETY: Valid by the type invariants.
        unsafe { bindings::file_accessed(self.as_ptr()) };
    }

    /// Moves the position to `pos`, and returns it.
    ///
    /// # Errors
    ///
    /// `EINVAL` beyond `maxsize`.
    pub(crate) fn vfs_setpos(&self, pos: i64, maxsize: i64) -> Result<i64> {
        // SAFETY: Valid by the type invariants.
        ret::to_loff_t(unsafe { bindings::vfs_setpos(self.as_ptr(), pos, maxsize) })
    }

    /// Moves the position within a file of which the end, for `SEEK_END`, is `eof`, to at most
    /// `maxsize`.
    ///
    /// # Errors
    ///
    /// `EINVAL`; `ENXIO`.
    pub(crate) fn generic_file_llseek_size(
        &self,
        pos: i64,
        whence: Whence,
        maxsize: i64,
        eof: i64,
    ) -> Result<i64> {
        // SAFETY: The file is valid by the type invariants.
        let pos = unsafe {
            bindings::generic_file_llseek_size(self.as_ptr(), pos, whence.0, maxsize, eof)
        };
        ret::to_loff_t(pos)
    }
}

/// Operations on files, as C's `struct file_operations`.
#[vtable]
pub(crate) trait Operations: Sized + 'static {
    /// The filesystem whose files these are.
    type FileSystem: FileSystemType;

    /// Gives the entries of a directory to `ctx`, from its position on, until it takes no more.
    ///
    /// # Errors
    ///
    /// What the system call shall return if nothing was given.
    ///
    /// # Context
    ///
    /// The directory's `i_rwsem` is held shared, and nobody else reads through this file.
    fn iterate_shared(_file: &File<Self::FileSystem>, _ctx: &mut DirContext<'_>) -> Result {
        Err(ENOTDIR)
    }

    /// Opens the file.
    ///
    /// # Errors
    ///
    /// What `open()` shall return.
    fn open(_file: Opening<'_, Self::FileSystem>) -> Result {
        Ok(())
    }

    /// Closes the file: neither a program nor a mapping has it any more.
    ///
    /// # Context
    ///
    /// May sleep. No lock is held.
    fn release(_file: &File<Self::FileSystem>) {}

    /// Reads from the position that the read has, on; how much, at most, its destination says.
    ///
    /// # Errors
    ///
    /// What the system call shall return; nothing was read then.
    fn read_iter(_read: kiocb::Read<'_, Self::FileSystem>) -> Result<usize> {
        Err(EINVAL)
    }

    /// Writes to the position that the write has, on; how much, at most, its source says.
    ///
    /// # Errors
    ///
    /// What the system call shall return; nothing was written then.
    ///
    /// # Context
    ///
    /// Sleeps. No lock is held; the volume cannot be frozen.
    fn write_iter(_write: kiocb::Write<'_, Self::FileSystem>) -> Result<usize> {
        Err(EINVAL)
    }

    /// Has what was written to `range` before reach the device for good, and what of the inode is
    /// needed to find it; with `datasync`, not the rest of the inode. Without this method, nothing
    /// is ever dirty.
    ///
    /// # Errors
    ///
    /// What `fsync()` shall return; also what has failed since it was last asked.
    ///
    /// # Context
    ///
    /// Sleeps. `i_rwsem` may be held, by a direct write for `O_SYNC`: it may not be taken.
    fn fsync(_file: &File<Self::FileSystem>, _range: ByteRange, _datasync: bool) -> Result {
        Ok(())
    }

    /// Changes where the file has room, or data.
    ///
    /// # Errors
    ///
    /// What `fallocate()` shall return.
    ///
    /// # Context
    ///
    /// Sleeps. No lock is held; the volume cannot be frozen.
    fn fallocate(_file: &File<Self::FileSystem>, _fallocate: &Fallocate) -> Result {
        Err(EINVAL)
    }

    /// Gives a mapping of the file its operations.
    ///
    /// # Errors
    ///
    /// What `mmap()` shall return.
    ///
    /// # Context
    ///
    /// The `mmap_lock` is held exclusively.
    fn mmap_prepare(_desc: vm::AreaDesc<'_, Self::FileSystem>) -> Result {
        Err(ENODEV)
    }

    /// Moves the position.
    ///
    /// # Errors
    ///
    /// What `lseek()` shall return.
    fn llseek(_file: &File<Self::FileSystem>, _pos: i64, _whence: Whence) -> Result<i64> {
        Err(ESPIPE)
    }

    /// Does what the number `cmd` says, unless the VFS did.
    ///
    /// # Errors
    ///
    /// `ENOTTY` if the number is not known; else what `ioctl()` shall return.
    ///
    /// # Context
    ///
    /// No lock is held.
    fn unlocked_ioctl(_file: &File<Self::FileSystem>, _cmd: u32, _arg: UserPtr) -> Result {
        Err(ENOTTY)
    }

    /// The same for a program of 32 bits.
    ///
    /// # Errors
    ///
    /// `ENOIOCTLCMD` if the number is not known; else what `ioctl()` shall return.
    ///
    /// # Context
    ///
    /// No lock is held.
    fn compat_ioctl(_file: &File<Self::FileSystem>, _cmd: u32, _arg: UserPtr) -> Result {
        Err(ENOIOCTLCMD)
    }
}

/// A file that is being opened.
///
/// # Invariants
///
/// As [`File`]; nobody else has the file yet.
pub(crate) struct Opening<'a, T>(&'a File<T>);

impl<T: FileSystemType> Opening<'_, T> {
    /// The inode.
    pub(crate) fn inode(&self) -> &Inode<T> {
        self.0.inode()
    }

    /// Refuses a file that is larger than the opener can handle.
    ///
    /// # Errors
    ///
    /// `EOVERFLOW`.
    pub(crate) fn generic_file_open(&self) -> Result {
        // SAFETY: Both are valid by the type invariants.
        let err = unsafe { bindings::generic_file_open(self.inode().as_ptr(), self.0.as_ptr()) };
        to_result(err)
    }

    /// Lets reads be asked for that do not wait: [`Operations::read_iter`] honours that.
    pub(crate) fn set_nowait(&mut self) {
        self.set_mode(bindings::FMODE_NOWAIT);
    }

    /// Lets the page cache be left out (`O_DIRECT`): [`Operations::read_iter`] honours that.
    pub(crate) fn set_can_odirect(&mut self) {
        self.set_mode(bindings::FMODE_CAN_ODIRECT);
    }

    fn set_mode(&mut self, mode: u32) {
        // SAFETY: Valid, and not known to anyone else, by the type invariants.
        unsafe { (*self.0.as_ptr()).f_mode |= mode };
    }
}

/// The table of the operations of a file.
pub(crate) struct Ops<T>(*const bindings::file_operations, PhantomData<T>);

impl<T: FileSystemType> Ops<T> {
    /// Those of `U`.
    pub(crate) const fn new<U: Operations<FileSystem = T>>() -> Self {
        Self(&OperationsTable::<U>::TABLE, PhantomData)
    }

    /// The table, static.
    pub(super) fn as_ptr(&self) -> *const bindings::file_operations {
        self.0
    }
}

struct OperationsTable<U>(PhantomData<U>);

impl<U: Operations> OperationsTable<U> {
    const TABLE: bindings::file_operations = bindings::file_operations {
        // `THIS_MODULE` of the type that the superblock holds keeps the table in memory.
        llseek: if U::HAS_LLSEEK {
            Some(Self::llseek)
        } else {
            None
        },
        read: if U::HAS_ITERATE_SHARED {
            Some(bindings::generic_read_dir)
        } else {
            None
        },
        unlocked_ioctl: if U::HAS_UNLOCKED_IOCTL {
            Some(Self::unlocked_ioctl)
        } else {
            None
        },
        compat_ioctl: if U::HAS_COMPAT_IOCTL {
            Some(Self::compat_ioctl)
        } else {
            None
        },
        iterate_shared: if U::HAS_ITERATE_SHARED {
            Some(Self::iterate_shared)
        } else {
            None
        },
        open: if U::HAS_OPEN { Some(Self::open) } else { None },
        release: if U::HAS_RELEASE {
            Some(Self::release)
        } else {
            None
        },
        read_iter: if U::HAS_READ_ITER {
            Some(Self::read_iter)
        } else {
            None
        },
        // C itself copies where there are no pages to splice: DAX, `O_DIRECT`.
        splice_read: if U::HAS_READ_ITER {
            Some(bindings::filemap_splice_read)
        } else {
            None
        },
        write_iter: if U::HAS_WRITE_ITER {
            Some(Self::write_iter)
        } else {
            None
        },
        splice_write: if U::HAS_WRITE_ITER {
            Some(bindings::iter_file_splice_write)
        } else {
            None
        },
        fallocate: if U::HAS_FALLOCATE {
            Some(Self::fallocate)
        } else {
            None
        },
        // For what is direct.
        iopoll: if U::HAS_READ_ITER {
            Some(bindings::iocb_bio_iopoll)
        } else {
            None
        },
        mmap_prepare: if U::HAS_MMAP_PREPARE {
            Some(Self::mmap_prepare)
        } else {
            None
        },
        get_unmapped_area: if U::HAS_MMAP_PREPARE {
            Some(bindings::thp_get_unmapped_area)
        } else {
            None
        },
        fsync: if U::HAS_FSYNC {
            Some(Self::fsync)
        } else {
            Some(bindings::noop_fsync)
        },
        // Reads of the page cache take what is there without waiting, and a mapping with `MAP_SYNC`
        // is for `mmap_prepare()` to refuse.
        fop_flags: if U::HAS_MMAP_PREPARE {
            bindings::FOP_BUFFER_RASYNC | bindings::FOP_MMAP_SYNC
        } else {
            0
        } | if U::HAS_WRITE_ITER {
            // Writes to the page cache do not wait if told not to, and direct ones take `i_rwsem`
            // shared where they can.
            bindings::FOP_BUFFER_WASYNC | bindings::FOP_DIO_PARALLEL_WRITE
        } else {
            0
        },
        ..pin_init::zeroed()
    };

    /// # Safety
    ///
    /// Called by the VFS only: `file` is an open file of type `U::FileSystem`.
    unsafe extern "C" fn llseek(file: *mut bindings::file, pos: i64, whence: c_int) -> i64 {
        // SAFETY: By the contract of this function.
        let file = unsafe { File::from_raw(file) };
        ret::loff_t(U::llseek(file, pos, Whence(whence)))
    }

    /// # Safety
    ///
    /// Called by the VFS only: `file` is one of type `U::FileSystem` that nobody has yet.
    unsafe extern "C" fn open(_inode: *mut bindings::inode, file: *mut bindings::file) -> c_int {
        // SAFETY: By the contract of this function.
        let file = unsafe { File::from_raw(file) };
        // INVARIANT: By the contract of this function.
        ret::int(U::open(Opening(file)))
    }

    /// # Safety
    ///
    /// Called by the VFS only: `file` is an open file of type `U::FileSystem`.
    unsafe extern "C" fn unlocked_ioctl(
        file: *mut bindings::file,
        cmd: c_uint,
        arg: c_ulong,
    ) -> c_long {
        // SAFETY: By the contract of this function.
        let file = unsafe { File::from_raw(file) };
        ret::long(U::unlocked_ioctl(file, cmd, UserPtr::from_addr(arg)))
    }

    /// # Safety
    ///
    /// Called by the VFS only: `file` is one of type `U::FileSystem` that was opened.
    unsafe extern "C" fn release(_inode: *mut bindings::inode, file: *mut bindings::file) -> c_int {
        // SAFETY: By the contract of this function; the file goes after this call.
        U::release(unsafe { File::from_raw(file) });
        0
    }

    /// # Safety
    ///
    /// Called by the VFS only: `iocb` is of an open file of type `U::FileSystem`, `to` a
    /// destination, and both are the caller's alone.
    unsafe extern "C" fn read_iter(
        iocb: *mut bindings::kiocb,
        to: *mut bindings::iov_iter,
    ) -> isize {
        // SAFETY: By the contract of this function.
        ret::ssize_t(U::read_iter(unsafe { kiocb::Read::from_raw(iocb, to) }))
    }

    /// # Safety
    ///
    /// Called by the VFS only: `iocb` is of an open file of type `U::FileSystem`, `from` a source, and
    /// both are the caller's alone.
    unsafe extern "C" fn write_iter(
        iocb: *mut bindings::kiocb,
        from: *mut bindings::iov_iter,
    ) -> isize {
        // SAFETY: By the contract of this function.
        ret::ssize_t(U::write_iter(unsafe { kiocb::Write::from_raw(iocb, from) }))
    }

    /// # Safety
    ///
    /// Called by the VFS only: `file` is an open file of type `U::FileSystem`.
    unsafe extern "C" fn fsync(
        file: *mut bindings::file,
        start: i64,
        last: i64,
        datasync: c_int,
    ) -> c_int {
        // SAFETY: By the contract of this function.
        let file = unsafe { File::from_raw(file) };
        let range = ByteRange::from_raw(start, last);
        ret::int(range.and_then(|range| U::fsync(file, range, datasync != 0)))
    }

    /// # Safety
    ///
    /// Called by the VFS only: `file` is an open file of type `U::FileSystem`.
    unsafe extern "C" fn fallocate(
        file: *mut bindings::file,
        mode: c_int,
        pos: i64,
        len: i64,
    ) -> c_long {
        // SAFETY: By the contract of this function.
        let file = unsafe { File::from_raw(file) };
        let fallocate = Fallocate::from_raw(mode, pos, len);
        ret::long(fallocate.and_then(|fallocate| U::fallocate(file, &fallocate)))
    }

    /// # Safety
    ///
    /// Called by mm only: `desc` is of an open file of type `U::FileSystem`, and the caller's alone.
    unsafe extern "C" fn mmap_prepare(desc: *mut bindings::vm_area_desc) -> c_int {
        // SAFETY: By the contract of this function.
        ret::int(U::mmap_prepare(unsafe { vm::AreaDesc::from_raw(desc) }))
    }

    /// # Safety
    ///
    /// Called by the VFS only: `file` is an open file of type `U::FileSystem`.
    unsafe extern "C" fn compat_ioctl(
        file: *mut bindings::file,
        cmd: c_uint,
        arg: c_ulong,
    ) -> c_long {
        // SAFETY: By the contract of this function.
        let file = unsafe { File::from_raw(file) };
        // CAST: such programs have no more than these bits.
        let arg = UserPtr::from_addr(arg as u32 as usize);
        ret::long(U::compat_ioctl(file, cmd, arg))
    }

    /// # Safety
    ///
    /// Called by the VFS only: `file` is an open directory of type `U::FileSystem`, whose `i_rwsem`
    /// is held, and `ctx` the caller's alone.
    unsafe extern "C" fn iterate_shared(
        file: *mut bindings::file,
        ctx: *mut bindings::dir_context,
    ) -> c_int {
        // SAFETY: By the contract of this function.
        let file = unsafe { File::from_raw(file) };
        // SAFETY: By the contract of this function.
        let mut ctx = unsafe { DirContext::from_raw(ctx) };
        ret::int(U::iterate_shared(file, &mut ctx))
    }
}
