// SPDX-License-Identifier: GPL-2.0

//! Inodes that the disk has, as they come into memory: new (locked) → filled (unlocked).
//!
//! C header: [include/linux/fs.h](srctree/include/linux/fs.h)

use super::{
    super::{
        address_space,
        file,
        super_block::SuperBlock,
        vfs::FileSystemType, //
    },
    Filled, Inode, Link, Ops, Slot, Time,
};
use crate::bindings;
use ::kernel::{
    prelude::*,
    str::CString,
    sync::aref::ARef, //
};
use core::{
    marker::PhantomData,
    mem::ManuallyDrop,
    ptr::NonNull, //
};

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
    pub(in crate::kernel) unsafe fn from_raw(inode: NonNull<bindings::inode>) -> Result<Self> {
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
                unsafe { (*inode).i_op = ops.as_ptr() };
                // SAFETY: As above; the table is static.
                unsafe { (*inode).__bindgen_anon_3.i_fop = fops.as_ptr() };
            }
            Kind::Regular(ops, fops, aops) => {
                // SAFETY: As above.
                unsafe { (*inode).i_mode = mode(bindings::S_IFREG) };
                // SAFETY: As above; the table is static.
                unsafe { (*inode).i_op = ops.as_ptr() };
                // SAFETY: As above; the table is static.
                unsafe { (*inode).__bindgen_anon_3.i_fop = fops.as_ptr() };
                // SAFETY: As above.
                unsafe { aops.set_with_large_folios(inode) };
            }
            Kind::Symlink(ops, target) => {
                // SAFETY: As above.
                unsafe { (*inode).i_mode = mode(bindings::S_IFLNK) };
                // SAFETY: As above; the table is static.
                unsafe { (*inode).i_op = ops.as_ptr() };
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
                unsafe { (*inode).i_op = ops.as_ptr() };
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
