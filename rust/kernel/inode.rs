// SPDX-License-Identifier: GPL-2.0

//! Inodes, and their operations.
//!
//! new (locked) → filled (unlocked) → evicted
//!
//! An inode that is new is nobody else's; dropping it unfilled fails the `iget`, for those, too, who
//! wait for it.
//!
//! C header: [include/linux/fs.h](srctree/include/linux/fs.h)

use super::{
    address_space,
    dentry::{
        Dentry,
        Unhashed, //
    },
    file,
    fileattr::FileKattr,
    iomap::Fiemap,
    posix_acl::{
        self,
        PosixAcl, //
    },
    ret,
    stat::Kstat,
    super_block::SuperBlock,
    vfs::{
        FileSystem,
        FileSystemType, //
    },
    xattr, //
};
use crate::bindings;
use ::kernel::{
    prelude::*,
    str::CString,
    sync::{
        aref::{
            ARef,
            AlwaysRefCounted, //
        },
        atomic::{
            Acquire,
            Atomic,
            Full, //
        },
    },
    types::Opaque, //
};
use core::{
    cell::UnsafeCell,
    marker::PhantomData,
    mem::ManuallyDrop,
    ptr::NonNull, //
};

/// An inode of a volume of type `T`.
///
/// # Invariants
///
/// The inode is the first part of a [`Slot<T>`] that is filled, belongs to a [`SuperBlock<T>`], and
/// has a reference as long as there is one to `self`.
#[repr(transparent)]
pub(crate) struct Inode<T>(Opaque<bindings::inode>, PhantomData<T>);

// SAFETY: The data are `Send` and `Sync`; the rest is read as C reads it.
unsafe impl<T: FileSystemType> Send for Inode<T> {}
// SAFETY: As above.
unsafe impl<T: FileSystemType> Sync for Inode<T> {}

// SAFETY: `ihold()` and `iput()` count references, and every inode has that count.
unsafe impl<T: FileSystemType> AlwaysRefCounted for Inode<T> {
    fn inc_ref(&self) {
        // SAFETY: There is a reference already, by the type invariants.
        unsafe { bindings::ihold(self.as_ptr()) };
    }

    unsafe fn dec_ref(obj: NonNull<Self>) {
        // SAFETY: The caller gives back a reference.
        unsafe { bindings::iput(obj.as_ptr().cast()) };
    }
}

/// What the slab has for each inode.
#[repr(C)]
struct Slot<T: FileSystemType> {
    inode: Opaque<bindings::inode>,
    filled: UnsafeCell<Option<Filled<T>>>,
}

/// What a new inode lacks.
struct Filled<T: FileSystemType> {
    data: T::Inode,
    link: Link,
}

/// The target of a symbolic link, from the time that it is known: `i_link` points to it.
///
/// # Invariants
///
/// The pointer is null, or to a `KBox` that is this value's own; it is set once.
struct Link(Atomic<*mut CString>);

impl Link {
    fn new() -> Self {
        Self(Atomic::new(core::ptr::null_mut()))
    }

    fn get(&self) -> Option<&CStr> {
        let target = NonNull::new(self.0.load(Acquire))?;
        // SAFETY: A box by the type invariants, which is dropped only with `self`.
        Some(unsafe { target.as_ref() })
    }

    /// Sets it, unless another thread was faster.
    fn set_once(&self, target: KBox<CString>) {
        let target = KBox::into_raw(target);
        if self.0.cmpxchg(core::ptr::null_mut(), target, Full).is_err() {
            // SAFETY: Made from a box just now, and known to nobody.
            drop(unsafe { KBox::from_raw(target) });
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        let target = self.0.load(Acquire);
        if !target.is_null() {
            // SAFETY: A box of our own by the type invariants.
            drop(unsafe { KBox::from_raw(target) });
        }
    }
}

/// When something happened.
#[derive(Clone, Copy)]
pub(crate) struct Time {
    /// Seconds since 1970.
    pub(crate) sec: i64,
    /// And nanoseconds, fewer than 10^9.
    pub(crate) nsec: u32,
}

impl<T: FileSystemType> Inode<T> {
    /// # Safety
    ///
    /// `inode` has to be as the type wants it, for `'a`.
    pub(super) unsafe fn from_raw<'a>(inode: *mut bindings::inode) -> &'a Self {
        // SAFETY: By the contract of this function; the layout is that of the C type.
        unsafe { &*inode.cast() }
    }

    /// # Safety
    ///
    /// `inode` has to be one from [`alloc_inode`] that is not being filled, for `'a`.
    pub(super) unsafe fn from_raw_filled<'a>(inode: *mut bindings::inode) -> Option<&'a Self> {
        let slot = inode.cast::<Slot<T>>();
        // SAFETY: The slot is valid, and nobody changes `filled` now, by the contract of this
        // function.
        let filled = unsafe { &*(*slot).filled.get() };
        filled.as_ref()?;
        // SAFETY: Filled, and valid by the contract of this function.
        Some(unsafe { Self::from_raw(inode) })
    }

    /// The inode, for use within `rust/kernel`.
    pub(super) fn as_ptr(&self) -> *mut bindings::inode {
        self.0.get()
    }

    /// What the filesystem keeps for the inode.
    pub(crate) fn data(&self) -> &T::Inode {
        &self.filled().data
    }

    fn filled(&self) -> &Filled<T> {
        let slot = (&raw const *self).cast::<Slot<T>>();
        // SAFETY: Part of a slot by the type invariants, which nobody changes once it is filled.
        let filled = unsafe { &*(*slot).filled.get() };
        match filled {
            Some(filled) => filled,
            // SAFETY: Filled by the type invariants.
            None => unsafe { core::hint::unreachable_unchecked() },
        }
    }

    /// The superblock of its volume, which outlives all inodes.
    pub(crate) fn sb(&self) -> &SuperBlock<T> {
        // SAFETY: Valid by the type invariants; constant.
        let sb = unsafe { (*self.as_ptr()).i_sb };
        // SAFETY: The superblock of a filled inode is a filled one of its type.
        unsafe { SuperBlock::from_raw(sb) }
    }

    /// Its pages, valid as long as `self`.
    pub(super) fn i_mapping(&self) -> *mut bindings::address_space {
        // SAFETY: Valid by the type invariants; constant.
        unsafe { (*self.as_ptr()).i_mapping }
    }

    /// Whether there is no page of it in memory, and no entry for one. Others may change that at any
    /// time.
    pub(crate) fn mapping_empty(&self) -> bool {
        // SAFETY: Its pages, valid by the type invariants. C looks without a lock, too.
        unsafe { bindings::mapping_empty(self.i_mapping()) }
    }

    /// Whether a program has it mapped. Others may change that at any time.
    pub(crate) fn mapping_mapped(&self) -> bool {
        // SAFETY: Its pages, valid by the type invariants. C looks without a lock, too.
        unsafe { bindings::mapping_mapped(self.i_mapping()) }
    }

    /// Bytes of the file.
    pub(crate) fn i_size_read(&self) -> u64 {
        // SAFETY: Valid by the type invariants.
        let size = unsafe { bindings::i_size_read(self.as_ptr()) };
        // CAST: never negative.
        size as u64
    }

    /// Whether it is a directory.
    pub(crate) fn is_dir(&self) -> bool {
        self.is(bindings::S_IFDIR)
    }

    fn is(&self, kind: u32) -> bool {
        // SAFETY: Valid by the type invariants; what kind of a file it is never changes.
        let mode = unsafe { (*self.as_ptr()).i_mode };
        u32::from(mode) & bindings::S_IFMT == kind
    }

    /// Whether its data are accessed without the page cache.
    pub(crate) fn is_dax(&self) -> bool {
        // SAFETY: Valid by the type invariants; C reads the flags without a lock, too.
        let flags = unsafe { (&raw const (*self.as_ptr()).i_flags).read_volatile() };
        flags & bindings::S_DAX != 0
    }
}

/// What an inode is, with the operations for it.
pub(crate) enum Kind<T> {
    /// A directory.
    Directory(Ops<T>, file::Ops<T>),
    /// A regular file.
    Regular(Ops<T>, file::Ops<T>, address_space::Ops<T>),
    /// A symbolic link, and its target if it is known already.
    Symlink(Ops<T>, Option<KBox<CString>>),
    /// A device, a pipe or a socket: the upper bits of its mode, and which device.
    Special {
        /// Its operations; those of its data come from the driver.
        ops: Ops<T>,
        /// The upper bits of its mode.
        kind: Special,
        /// The number of the driver, fewer than 2^12.
        major: u32,
        /// Which of the driver's devices, fewer than 2^20.
        minor: u32,
    },
}

/// What a special file is.
#[derive(Clone, Copy)]
pub(crate) enum Special {
    /// A named pipe.
    Fifo,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
    /// A socket.
    Socket,
}

/// What the VFS wants to know of an inode.
pub(crate) struct Params<T> {
    /// What it is.
    pub(crate) kind: Kind<T>,
    /// The lower 12 bits of its mode.
    pub(crate) permissions: u16,
    /// Its owner, as the volume's user namespace numbers them.
    pub(crate) uid: u32,
    /// Its group.
    pub(crate) gid: u32,
    /// Names of it.
    pub(crate) nlink: u32,
    /// Bytes; less than 2^63.
    pub(crate) size: u64,
    /// 512 bytes, how many times, it takes on the volume.
    pub(crate) blocks: u64,
    /// When it was read last.
    pub(crate) atime: Time,
    /// When its contents were changed last.
    pub(crate) mtime: Time,
    /// When it was changed last.
    pub(crate) ctime: Time,
    /// What tells it from others that had its number before.
    pub(crate) generation: u32,
    /// How often it was changed; the uppermost bit is lost.
    pub(crate) version: u64,
    /// What its flags mean to the VFS.
    pub(crate) flags: Flags,
}

/// Flags of an inode that the VFS acts on.
#[derive(Clone, Copy, Default)]
pub(crate) struct Flags {
    /// Every write is synchronous (`S_SYNC`).
    pub(crate) sync: bool,
    /// Data may only be appended (`S_APPEND`).
    pub(crate) append: bool,
    /// Nothing may be changed (`S_IMMUTABLE`).
    pub(crate) immutable: bool,
    /// The time of access is not kept (`S_NOATIME`).
    pub(crate) noatime: bool,
    /// Every change of the directory is synchronous (`S_DIRSYNC`).
    pub(crate) dirsync: bool,
    /// Data are accessed without the page cache (`S_DAX`).
    pub(crate) dax: bool,
}

impl Flags {
    fn bits(self) -> u32 {
        [
            (self.sync, bindings::S_SYNC),
            (self.append, bindings::S_APPEND),
            (self.immutable, bindings::S_IMMUTABLE),
            (self.noatime, bindings::S_NOATIME),
            (self.dirsync, bindings::S_DIRSYNC),
            (self.dax, bindings::S_DAX),
        ]
        .into_iter()
        .filter_map(|(is_set, bit)| is_set.then_some(bit))
        .fold(0, |bits, bit| bits | bit)
    }
}

/// What `iget_locked()` found.
pub(crate) enum Got<'a, T: FileSystemType> {
    /// It is in memory.
    Old(ARef<Inode<T>>),
    /// It has to be filled.
    New(NewInode<'a, T>),
}

impl<T: FileSystemType> Got<'_, T> {
    /// # Safety
    ///
    /// The caller hands over a reference to an inode from [`alloc_inode`], which has to be new and
    /// locked by the caller, or not locked.
    pub(super) unsafe fn from_raw(inode: NonNull<bindings::inode>) -> Result<Self> {
        // SAFETY: The inode is valid by the contract of this function.
        if unsafe { bindings::inode_state_read_once(inode.as_ptr()) }
            & bindings::inode_state_flags_enum_I_NEW
            != 0
        {
            // INVARIANT: Only the thread that the inode is locked by sees it new here.
            return Ok(Self::New(NewInode(inode, PhantomData)));
        }
        // SAFETY: Not being filled, by the contract of this function; the reference is ours.
        if unsafe { Inode::<T>::from_raw_filled(inode.as_ptr()) }.is_none() {
            // SAFETY: The reference is given back.
            unsafe { bindings::iput(inode.as_ptr()) };
            return Err(EIO);
        }
        // SAFETY: As the type wants it, and with a reference that is handed over.
        Ok(Self::Old(unsafe { ARef::from_raw(inode.cast()) }))
    }
}

/// An inode that lacks everything but its number.
///
/// # Invariants
///
/// The inode is that of a [`Slot<T>`], of a live superblock, locked (`I_NEW`) by this thread; the
/// value owns a reference.
#[must_use = "dropping it fails the iget"]
pub(crate) struct NewInode<'a, T: FileSystemType>(
    NonNull<bindings::inode>,
    PhantomData<&'a SuperBlock<T>>,
);

impl<T: FileSystemType> NewInode<'_, T> {
    /// Fills it, and lets all others see it.
    pub(crate) fn fill(self, params: Params<T>, data: T::Inode) -> ARef<Inode<T>> {
        let this = ManuallyDrop::new(self);
        let inode = this.0.as_ptr();
        let permissions = params.permissions & 0o7777;

        // SAFETY: Valid and locked by the type invariants, so that nobody else looks at it; and so
        // below.
        unsafe { (*inode).i_generation = params.generation };
        // SAFETY: As above.
        unsafe { (*inode).i_flags = params.flags.bits() };
        // SAFETY: As above.
        unsafe { (*inode).i_size = i64::try_from(params.size).unwrap_or(i64::MAX) };
        // SAFETY: As above.
        unsafe { (*inode).i_blocks = params.blocks };
        // SAFETY: As above.
        unsafe { bindings::i_uid_write(inode, params.uid) };
        // SAFETY: As above.
        unsafe { bindings::i_gid_write(inode, params.gid) };
        // SAFETY: As above.
        unsafe { bindings::set_nlink(inode, params.nlink) };
        // SAFETY: As above.
        unsafe { bindings::inode_set_atime(inode, params.atime.sec, params.atime.nsec) };
        // SAFETY: As above.
        unsafe { bindings::inode_set_mtime(inode, params.mtime.sec, params.mtime.nsec) };
        // SAFETY: As above.
        unsafe { bindings::inode_set_ctime(inode, params.ctime.sec, params.ctime.nsec) };

        // SAFETY: As above.
        unsafe { bindings::inode_set_iversion_queried(inode, params.version) };

        let link = Link::new();
        // CAST: the upper bits of a mode, which are 16.
        let mode = |kind: u32| kind as u16 | permissions;
        match params.kind {
            Kind::Directory(ops, fops) => {
                // SAFETY: As above.
                unsafe { (*inode).i_mode = mode(bindings::S_IFDIR) };
                // SAFETY: As above; the table is static.
                unsafe { (*inode).i_op = ops.0 };
                // SAFETY: As above; the table is static.
                unsafe { (*inode).__bindgen_anon_3.i_fop = fops.as_ptr() };
            }
            Kind::Regular(ops, fops, aops) => {
                // SAFETY: As above.
                unsafe { (*inode).i_mode = mode(bindings::S_IFREG) };
                // SAFETY: As above; the table is static.
                unsafe { (*inode).i_op = ops.0 };
                // SAFETY: As above; the table is static.
                unsafe { (*inode).__bindgen_anon_3.i_fop = fops.as_ptr() };
                // SAFETY: As above.
                unsafe { aops.set_with_large_folios(inode) };
            }
            Kind::Symlink(ops, target) => {
                // SAFETY: As above.
                unsafe { (*inode).i_mode = mode(bindings::S_IFLNK) };
                // SAFETY: As above; the table is static.
                unsafe { (*inode).i_op = ops.0 };
                if let Some(target) = target {
                    link.set_once(target);
                }
                if let Some((target, len)) = link.get().and_then(|target| {
                    Some((target, c_int::try_from(target.to_bytes().len()).ok()?))
                }) {
                    let target = target.as_char_ptr().cast_mut();
                    // SAFETY: As above; the string is the slot's from here on, does not move, and is
                    // freed with it, after a grace period.
                    unsafe { bindings::inode_set_cached_link(inode, target, len) };
                }
            }
            Kind::Special {
                ops,
                kind,
                major,
                minor,
            } => {
                let kind = match kind {
                    Special::Fifo => bindings::S_IFIFO,
                    Special::CharDevice => bindings::S_IFCHR,
                    Special::BlockDevice => bindings::S_IFBLK,
                    Special::Socket => bindings::S_IFSOCK,
                };
                // SAFETY: As above; the table is static.
                unsafe { (*inode).i_op = ops.0 };
                // SAFETY: As above; one of the four kinds that C knows.
                unsafe { bindings::init_special_inode(inode, mode(kind), major, minor) };
            }
        }

        // SAFETY: As above: the slot is this thread's.
        let filled = unsafe { &mut *(*inode.cast::<Slot<T>>()).filled.get() };
        *filled = Some(Filled { data, link });
        // SAFETY: Locked by the type invariants.
        unsafe { bindings::unlock_new_inode(inode) };
        // INVARIANT: Filled just now.
        // SAFETY: The reference is handed over.
        unsafe { ARef::from_raw(this.0.cast()) }
    }
}

impl<T: FileSystemType> Drop for NewInode<'_, T> {
    fn drop(&mut self) {
        // SAFETY: New and locked by the type invariants; the reference is given back.
        unsafe { bindings::iget_failed(self.0.as_ptr()) };
    }
}

/// Operations on inodes, as C's `struct inode_operations`.
#[vtable]
pub(crate) trait Operations: Sized + 'static {
    /// The filesystem whose inodes these are.
    type FileSystem: FileSystemType;

    /// Finds the name of `dentry` in directory `dir`, and makes it known: positive or negative.
    ///
    /// # Errors
    ///
    /// What the system call shall return.
    ///
    /// # Context
    ///
    /// The directory's `i_rwsem` is held, at least shared.
    fn lookup(
        _dir: &Inode<Self::FileSystem>,
        _dentry: Unhashed<'_, Self::FileSystem>,
    ) -> Result<Option<Dentry<Self::FileSystem>>> {
        Err(ENOTDIR)
    }

    /// The target of a symbolic link. It is kept for as long as the inode is in memory, so that
    /// this is called until it has succeeded, and hardly ever after that.
    ///
    /// # Errors
    ///
    /// What the system call shall return.
    ///
    /// # Context
    ///
    /// No lock is held.
    fn get_link(_inode: &Inode<Self::FileSystem>) -> Result<CString> {
        Err(EINVAL)
    }

    /// Tells what is known of the inode.
    ///
    /// # Errors
    ///
    /// What the system call shall return.
    ///
    /// # Context
    ///
    /// No lock is held.
    fn getattr(inode: &Inode<Self::FileSystem>, stat: &mut Kstat<'_>) -> Result {
        stat.generic_fillattr(inode);
        Ok(())
    }

    /// Gives the names of the inode's extended attributes, each with its prefix and a zero.
    ///
    /// # Errors
    ///
    /// `ERANGE` if they are too long for the buffer; else what the system call shall return.
    ///
    /// # Context
    ///
    /// The inode's `i_rwsem` may be held or not.
    fn listxattr(_inode: &Inode<Self::FileSystem>, _names: &mut xattr::Buffer<'_>) -> Result {
        Ok(())
    }

    /// An access control list of the inode, if it has one. The VFS keeps it.
    ///
    /// # Errors
    ///
    /// What the system call shall return: access is denied.
    ///
    /// # Context
    ///
    /// The inode's `i_rwsem` may be held or not.
    fn get_inode_acl(
        _inode: &Inode<Self::FileSystem>,
        _acl_type: posix_acl::Type,
    ) -> Result<Option<PosixAcl>> {
        Ok(None)
    }

    /// Tells the flags of the file, and its project.
    ///
    /// # Errors
    ///
    /// What the system call shall return.
    ///
    /// # Context
    ///
    /// The inode's `i_rwsem` may be held or not.
    fn fileattr_get(_inode: &Inode<Self::FileSystem>, _fa: &mut FileKattr<'_>) -> Result {
        Err(ENOTTY)
    }

    /// Tells a caller of `FIEMAP` where the data of the file are.
    ///
    /// # Errors
    ///
    /// What the system call shall return.
    fn fiemap(_inode: &Inode<Self::FileSystem>, _fieinfo: Fiemap<'_>) -> Result {
        Err(ENOTTY)
    }
}

/// The table of the operations of an inode.
pub(crate) struct Ops<T>(*const bindings::inode_operations, PhantomData<T>);

impl<T: FileSystemType> Ops<T> {
    /// Those of `U`.
    pub(crate) const fn new<U: Operations<FileSystem = T>>() -> Self {
        Self(&OperationsTable::<U>::TABLE, PhantomData)
    }
}

struct OperationsTable<U>(PhantomData<U>);

impl<U: Operations> OperationsTable<U> {
    const TABLE: bindings::inode_operations = bindings::inode_operations {
        lookup: if U::HAS_LOOKUP {
            Some(Self::lookup)
        } else {
            None
        },
        get_link: if U::HAS_GET_LINK {
            Some(Self::get_link)
        } else {
            None
        },
        getattr: if U::HAS_GETATTR {
            Some(Self::getattr)
        } else {
            None
        },
        listxattr: if U::HAS_LISTXATTR {
            Some(Self::listxattr)
        } else {
            None
        },
        get_inode_acl: if U::HAS_GET_INODE_ACL {
            Some(Self::get_inode_acl)
        } else {
            None
        },
        fileattr_get: if U::HAS_FILEATTR_GET {
            Some(Self::fileattr_get)
        } else {
            None
        },
        fiemap: if U::HAS_FIEMAP {
            Some(Self::fiemap)
        } else {
            None
        },
        ..pin_init::zeroed()
    };

    /// # Safety
    ///
    /// Called by the VFS only: `inode` is a symbolic link of type `U::FileSystem`; without `dentry`
    /// this may not sleep, and the inode is protected by RCU alone.
    unsafe extern "C" fn get_link(
        dentry: *mut bindings::dentry,
        inode: *mut bindings::inode,
        _done: *mut bindings::delayed_call,
    ) -> *const c_char {
        // SAFETY: By the contract of this function; what it points to is freed after a grace period.
        let link = &unsafe { Inode::<U::FileSystem>::from_raw(inode) }
            .filled()
            .link;
        if link.get().is_none() {
            if dentry.is_null() {
                return ECHILD.to_ptr();
            }
            // SAFETY: By the contract of this function; the dentry has a reference.
            let target = U::get_link(unsafe { Inode::from_raw(inode) });
            match target.and_then(|target| Ok(KBox::new(target, GFP_KERNEL)?)) {
                Ok(target) => link.set_once(target),
                Err(error) => return error.to_ptr(),
            }
        }
        let Some(target) = link.get() else {
            return EIO.to_ptr();
        };
        // SAFETY: The inode is valid by the contract of this function; the string does not change
        // from now on, and is freed with the slot, after a grace period.
        unsafe { bindings::inode_set_link(inode, target.as_char_ptr().cast_mut()) };
        target.as_char_ptr()
    }

    /// # Safety
    ///
    /// Called by the VFS only: `path` is that of an inode of type `U::FileSystem`, `idmap` that of
    /// its mount, and `stat` the caller's alone.
    unsafe extern "C" fn getattr(
        idmap: *mut bindings::mnt_idmap,
        path: *const bindings::path,
        stat: *mut bindings::kstat,
        request_mask: u32,
        _query_flags: c_uint,
    ) -> c_int {
        // SAFETY: By the contract of this function.
        let dentry = unsafe { (*path).dentry };
        // SAFETY: The path has a reference on the dentry, and that one on its inode.
        let inode = unsafe { Inode::from_raw(bindings::d_inode(dentry)) };
        // SAFETY: By the contract of this function.
        let mut stat = unsafe { Kstat::from_raw(stat, idmap, request_mask) };
        ret::int(U::getattr(inode, &mut stat))
    }

    /// # Safety
    ///
    /// Called by the VFS only: `dentry` has an inode of type `U::FileSystem`, and `list` is null or
    /// the caller's alone, with `size` bytes.
    unsafe extern "C" fn listxattr(
        dentry: *mut bindings::dentry,
        list: *mut c_char,
        size: usize,
    ) -> isize {
        // SAFETY: By the contract of this function; the dentry has a reference.
        let inode = unsafe { Inode::from_raw(bindings::d_inode(dentry)) };
        // SAFETY: By the contract of this function.
        let mut names = unsafe { xattr::Buffer::from_raw(list.cast(), size) };
        ret::ssize_t(U::listxattr(inode, &mut names).map(|()| names.len()))
    }

    /// # Safety
    ///
    /// Called by the VFS only: `inode` is one of type `U::FileSystem`; with `rcu` this may not sleep,
    /// and the inode is protected by RCU alone.
    unsafe extern "C" fn get_inode_acl(
        inode: *mut bindings::inode,
        acl_type: c_int,
        rcu: bool,
    ) -> *mut ::kernel::bindings::posix_acl {
        if rcu {
            return ECHILD.to_ptr();
        }
        let Some(acl_type) = posix_acl::Type::from_raw(acl_type) else {
            return EINVAL.to_ptr();
        };
        // SAFETY: By the contract of this function; the caller has a reference.
        let inode = unsafe { Inode::from_raw(inode) };
        let acl = U::get_inode_acl(inode, acl_type)
            .map(|acl| acl.map_or(core::ptr::null_mut(), PosixAcl::into_raw));
        // The cast is to the kernel crate's declaration of the C type, which lacks the fields.
        ret::pointer(acl).cast()
    }

    /// # Safety
    ///
    /// Called by the VFS only: `dentry` has an inode of type `U::FileSystem`, and `fa` is the
    /// caller's alone.
    unsafe extern "C" fn fileattr_get(
        dentry: *mut bindings::dentry,
        fa: *mut ::kernel::bindings::file_kattr,
    ) -> c_int {
        // SAFETY: By the contract of this function; the dentry has a reference.
        let inode = unsafe { Inode::from_raw(bindings::d_inode(dentry)) };
        // SAFETY: By the contract of this function. The cast is from the kernel crate's declaration
        // of the C type, which lacks the fields, to ours.
        let mut fa = unsafe { FileKattr::from_raw(fa.cast()) };
        ret::int(U::fileattr_get(inode, &mut fa))
    }

    /// # Safety
    ///
    /// Called by the VFS only: `inode` is of type `U::FileSystem`, and `fieinfo` the caller's alone.
    unsafe extern "C" fn fiemap(
        inode: *mut bindings::inode,
        fieinfo: *mut bindings::fiemap_extent_info,
        start: u64,
        len: u64,
    ) -> c_int {
        // SAFETY: By the contract of this function; bad inodes have other operations.
        let inode = unsafe { Inode::from_raw(inode) };
        // SAFETY: By the contract of this function.
        let fieinfo = unsafe { Fiemap::from_raw(fieinfo, start, len) };
        ret::int(U::fiemap(inode, fieinfo))
    }

    /// # Safety
    ///
    /// Called by the VFS only: `dir` is an inode of type `U::FileSystem`, whose `i_rwsem` is held at
    /// least shared, and `dentry` a new one of it.
    unsafe extern "C" fn lookup(
        dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
        _flags: c_uint,
    ) -> *mut bindings::dentry {
        // SAFETY: By the contract of this function; bad inodes have other operations.
        let dir = unsafe { Inode::from_raw(dir) };
        // SAFETY: By the contract of this function.
        let dentry = unsafe { Unhashed::from_raw(dentry) };
        ret::pointer(U::lookup(dir, dentry).map(|dentry| match dentry {
            Some(dentry) => dentry.into_raw(),
            None => core::ptr::null_mut(),
        }))
    }
}

/// The slab of the inodes of a filesystem type.
///
/// # Invariants
///
/// A valid slab of [`Slot<T>`], whose inodes are initialised once.
pub(super) struct Cache<T>(NonNull<bindings::kmem_cache>, PhantomData<T>);

impl<T: FileSystemType> Cache<T> {
    /// A new slab.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(super) fn new(name: &'static CStr) -> Result<Self> {
        const { assert!(size_of::<Slot<T>>() < 1 << 16) };
        // CAST: both are less than 2^16.
        // SAFETY: The name is static; `init_once` initialises what it is given.
        let cache = unsafe {
            bindings::inode_cache_create(
                name.as_char_ptr(),
                size_of::<Slot<T>>() as c_uint,
                align_of::<Slot<T>>() as c_uint,
                Some(init_once::<T>),
            )
        };
        // INVARIANT: C returns a valid slab, or null.
        NonNull::new(cache)
            .map(|cache| Self(cache, PhantomData))
            .ok_or(ENOMEM)
    }

    /// The slab, valid as long as `self`.
    pub(super) fn as_ptr(&self) -> *mut bindings::kmem_cache {
        self.0.as_ptr()
    }
}

impl<T> Drop for Cache<T> {
    fn drop(&mut self) {
        // Inodes are freed by RCU callbacks, which use the slab and code of this module.
        // SAFETY: May be called where one may sleep.
        unsafe { bindings::rcu_barrier() };
        // SAFETY: Valid by the type invariants; nothing of it is in use any more.
        unsafe { bindings::kmem_cache_destroy(self.0.as_ptr()) };
    }
}

/// # Safety
///
/// Called by the slab only, with the memory of a slot that nobody else knows.
unsafe extern "C" fn init_once<T: FileSystemType>(slot: *mut c_void) {
    let slot = slot.cast::<Slot<T>>();
    // SAFETY: The slot is valid for writes, by the contract of this function.
    unsafe { bindings::inode_init_once((&raw mut (*slot).inode).cast()) };
    // SAFETY: As above.
    unsafe { (&raw mut (*slot).filled).write(UnsafeCell::new(None)) };
}

/// # Safety
///
/// Called by the VFS only, with a superblock whose type is a registered [`FileSystem<T>`].
pub(super) unsafe extern "C" fn alloc_inode<T: FileSystemType>(
    sb: *mut bindings::super_block,
) -> *mut bindings::inode {
    // SAFETY: Valid by the contract of this function.
    let fs_type = unsafe { (*sb).s_type };
    // SAFETY: By the contract of this function.
    let cache = unsafe { FileSystem::<T>::inode_cache(fs_type) };
    // SAFETY: The superblock and the slab are valid. C initialises what is not kept from one use of
    // a slot to the next; `filled` is `None` in every slot that is free.
    unsafe { bindings::alloc_inode_sb(sb, cache) }.cast()
}

/// # Safety
///
/// Called by the VFS only, with an inode from [`alloc_inode::<T>`] after the grace period that
/// followed its last use.
pub(super) unsafe extern "C" fn free_inode<T: FileSystemType>(inode: *mut bindings::inode) {
    let slot = inode.cast::<Slot<T>>();
    // INVARIANT: A slot that is free is not filled.
    // SAFETY: Nobody else has the slot any more, by the contract of this function.
    unsafe { *(*slot).filled.get() = None };
    // The superblock, from which the slab could be learnt, may be gone; the memory knows its slab.
    // SAFETY: From a slab that `Cache::drop` keeps until this callback has ended.
    unsafe { bindings::kfree(inode.cast()) };
}
