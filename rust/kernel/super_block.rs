// SPDX-License-Identifier: GPL-2.0

//! Superblocks.
//!
//! new → filled → rooted
//!
//! [`OnDevice`] is what all of them are: a superblock with an open block device. A [`NewSuperBlock`]
//! lacks data, which its filling gives it, and is then a [`SuperBlock`], which lives until the
//! volume is unmounted.
//!
//! C header: [include/linux/fs/super_types.h](srctree/include/linux/fs/super_types.h)

use super::{
    dax,
    deferred::Deferred,
    exportfs,
    inode::{
        self,
        Inode, //
    },
    jbd2,
    lingering::Lingering,
    ret,
    vfs::FileSystemType,
    xattr, //
};
use crate::bindings;
use ::kernel::{
    prelude::*,
    seq_file::SeqFile,
    sync::{
        aref::ARef,
        SetOnce, //
    },
    types::Opaque, //
};
use core::{
    marker::PhantomData,
    num::NonZeroU32,
    ops::Deref,
    ptr::NonNull, //
};

/// A superblock with its block device.
///
/// # Invariants
///
/// The superblock is valid, and its block device is open.
#[repr(transparent)]
pub(crate) struct OnDevice(Opaque<bindings::super_block>);

// SAFETY: What is read through a shared reference is constant, or read as C reads it.
unsafe impl Sync for OnDevice {}

impl OnDevice {
    /// The superblock, for use within `rust/kernel`.
    pub(super) fn as_ptr(&self) -> *mut bindings::super_block {
        self.0.get()
    }

    /// The name of the filesystem type, valid as long as `self`.
    pub(super) fn type_name(&self) -> *const c_char {
        // SAFETY: Valid by the type invariants.
        let s_type = unsafe { (*self.as_ptr()).s_type };
        // SAFETY: The superblock has a reference on the module that the type is in.
        unsafe { (*s_type).name }
    }

    /// The name of the block device, valid as long as `self`.
    pub(super) fn id(&self) -> *const c_char {
        // SAFETY: Valid by the type invariants.
        unsafe { (&raw const (*self.as_ptr()).s_id).cast() }
    }

    /// Whether data must not change while they are written: the device computes checksums, or
    /// somebody before it.
    pub(crate) fn has_stable_writes(&self) -> bool {
        // SAFETY: Valid by the type invariants; constant once there are inodes.
        let flags = unsafe { (*self.as_ptr()).s_iflags };
        flags & bindings::SB_I_STABLE_WRITES != 0
    }

    /// The block device, open as long as `self`.
    pub(super) fn bdev(&self) -> *mut bindings::block_device {
        // SAFETY: Valid by the type invariants.
        unsafe { (*self.as_ptr()).s_bdev }
    }

    /// Whether it is, or is to be, mounted read-only.
    pub(crate) fn sb_rdonly(&self) -> bool {
        self.s_flags() & bindings::SB_RDONLY != 0
    }

    /// Whether it has been mounted, and not yet been given up.
    pub(super) fn is_active(&self) -> bool {
        self.s_flags() & bindings::SB_ACTIVE != 0
    }

    pub(super) fn s_flags(&self) -> c_ulong {
        // SAFETY: Valid by the type invariants. C changes the flags with `s_umount` held, and reads
        // them without.
        unsafe { (&raw const (*self.as_ptr()).s_flags).read_volatile() }
    }

    /// Bytes of the largest file.
    pub(crate) fn s_maxbytes(&self) -> i64 {
        // SAFETY: Valid by the type invariants.
        unsafe { (*self.as_ptr()).s_maxbytes }
    }

    /// Bytes of the block device.
    pub(crate) fn bdev_nr_bytes(&self) -> u64 {
        // SAFETY: Open by the type invariants.
        let bytes = unsafe { bindings::bdev_nr_bytes(self.bdev()) };
        // CAST: sectors of a device times 512 are never negative.
        bytes as u64
    }

    /// Bytes of the smallest part of the block device that can be read or written.
    pub(crate) fn bdev_logical_block_size(&self) -> u32 {
        // SAFETY: Open by the type invariants.
        unsafe { bindings::bdev_logical_block_size(self.bdev()) }
    }

    /// The bits that the address of memory must not have set for the block device to access it.
    pub(crate) fn bdev_dma_alignment(&self) -> u32 {
        // SAFETY: Open by the type invariants.
        unsafe { bindings::bdev_dma_alignment(self.bdev()) }
    }

    /// Whether the block device cannot be written to.
    pub(crate) fn bdev_read_only(&self) -> bool {
        // SAFETY: Open by the type invariants.
        unsafe { bindings::bdev_read_only(self.bdev()) }
    }

    /// Has what is dirty of all files written, as far as the volume is not frozen, and waits for what is
    /// being written.
    ///
    /// # Context
    ///
    /// Sleeps, and locks folios. `s_umount` is held; no handle of the journal may be open.
    pub(crate) fn sync_inodes_sb(&self) {
        // SAFETY: Valid by the type invariants; who does not hold `s_umount` is warned.
        unsafe { bindings::sync_inodes_sb(self.as_ptr()) };
    }

    /// Writes all data that are dirty, and waits until the device has them and that is recorded. Nothing is done if
    /// somebody is mounting, remounting or unmounting; then the result is `false`.
    ///
    /// # Context
    ///
    /// Sleeps, and locks folios. No handle of the journal may be open, and no folio locked.
    pub(crate) fn try_sync_inodes_sb(&self) -> bool {
        // SAFETY: Valid by the type invariants.
        let s_umount = unsafe { &raw mut (*self.as_ptr()).s_umount };
        // SAFETY: As above.
        if unsafe { bindings::down_read_trylock(s_umount) } == 0 {
            return false;
        }
        self.sync_inodes_sb();
        // SAFETY: Taken above.
        unsafe { bindings::up_read(s_umount) };
        true
    }

    /// The block size, in bytes. There is none as long as none has been set that the device can
    /// have: `setup_bdev_super()` tries, and does not say whether it could.
    pub(crate) fn block_size(&self) -> Option<NonZeroU32> {
        // SAFETY: Valid by the type invariants.
        let s_blocksize = unsafe { (*self.as_ptr()).s_blocksize };
        u32::try_from(s_blocksize).ok().and_then(NonZeroU32::new)
    }
}

/// A superblock that is being filled: nobody has seen it yet.
///
/// # Invariants
///
/// The superblock is that of an [`OnDevice`], of type `T`, without data, and `s_umount` is held
/// exclusively, for `'a`.
pub(crate) struct NewSuperBlock<'a, T>(
    NonNull<bindings::super_block>,
    PhantomData<&'a mut ()>,
    PhantomData<T>,
);

impl<T> Deref for NewSuperBlock<'_, T> {
    type Target = OnDevice;

    fn deref(&self) -> &OnDevice {
        // SAFETY: By the type invariants, as long as `self`.
        unsafe { self.0.cast().as_ref() }
    }
}

/// What a volume has to say of itself to the VFS.
pub(crate) struct Params {
    /// `s_magic`, as `statfs()` reports it.
    pub(crate) magic: u32,
    /// Bytes of the largest file; less than 2^63.
    pub(crate) maxbytes: u64,
    /// Nanoseconds between one time stamp and the next.
    pub(crate) time_gran: u32,
    /// The first second that a time stamp can have.
    pub(crate) time_min: i64,
    /// And the last.
    pub(crate) time_max: i64,
    /// The volume's name for programs.
    pub(crate) uuid: [u8; 16],
    /// Whether inodes count their changes (`SB_I_VERSION`).
    pub(crate) i_version: bool,
}

impl Params {
    fn flags(&self) -> c_ulong {
        if self.i_version {
            bindings::SB_I_VERSION
        } else {
            0
        }
    }
}

impl<'a, T: FileSystemType> NewSuperBlock<'a, T> {
    /// # Safety
    ///
    /// For the lifetime of the value, `sb` has to be valid, new, of type `T`, with its block device
    /// open and `s_umount` held exclusively, as `setup_bdev_super()` leaves it.
    pub(super) unsafe fn from_raw(sb: NonNull<bindings::super_block>) -> Self {
        // INVARIANT: By the contract of this function.
        Self(sb, PhantomData, PhantomData)
    }

    /// Sets the block size to `size` bytes, or to the device's own if that is larger, and returns
    /// it. What was read with another block size is gone, so nothing of it may be borrowed.
    ///
    /// # Errors
    ///
    /// `EINVAL` if the VFS cannot have such blocks, because they are larger than a page.
    pub(crate) fn sb_min_blocksize(&mut self, size: usize) -> Result<NonZeroU32> {
        let size = c_int::try_from(size).map_err(|_| EINVAL)?;
        // SAFETY: Valid, and not shared, by the type invariants.
        let set = unsafe { bindings::sb_min_blocksize(self.as_ptr(), size) };
        // On failure C returns 0 and leaves the block size as it was.
        u32::try_from(set)
            .ok()
            .and_then(NonZeroU32::new)
            .ok_or(EINVAL)
    }

    /// Sets the block size, as [`sb_min_blocksize`](Self::sb_min_blocksize) does, but to `size`
    /// exactly.
    ///
    /// # Errors
    ///
    /// `EINVAL` if it is less than that of the device.
    pub(crate) fn sb_set_blocksize(&mut self, size: NonZeroU32) -> Result {
        let size = c_int::try_from(size.get()).map_err(|_| EINVAL)?;
        // SAFETY: Valid, and not shared, by the type invariants.
        match unsafe { bindings::sb_set_blocksize(self.as_ptr(), size) } {
            0 => Err(EINVAL),
            _ => Ok(()),
        }
    }

    /// Has the VFS ask for access control lists, or not.
    pub(crate) fn set_posix_acl(&mut self, is_on: bool) {
        // SAFETY: `s_umount` is held exclusively by the type invariants.
        unsafe { set_posix_acl(self.as_ptr(), is_on) };
    }

    /// Has folios under writeback be waited for, even if the device would not need it.
    pub(crate) fn set_stable_writes(&mut self) {
        // SAFETY: Valid, and not shared, by the type invariants. There are no inodes yet, which take
        // it over when they come into being.
        unsafe { (*self.as_ptr()).s_iflags |= bindings::SB_I_STABLE_WRITES };
    }

    /// Sets what handles extended attributes.
    pub(crate) fn set_xattr(&mut self, handlers: &xattr::Handlers<T>) {
        // SAFETY: Valid, and not shared, by the type invariants; the list is static. Inodes, with
        // which C calls the handlers, exist once the superblock is filled.
        unsafe { (*self.as_ptr()).s_xattr = handlers.as_ptr() };
    }

    /// Sets what finds files by their handles.
    pub(crate) fn set_export_op(&mut self)
    where
        T: exportfs::Operations,
    {
        let table: *const bindings::export_operations = &exportfs::OperationsTable::<T>::TABLE;
        // The cast is to the kernel crate's declaration of the C type, which lacks the fields.
        // SAFETY: Valid, and not shared, by the type invariants; the table is static. Handles are
        // looked up once the superblock is filled.
        unsafe { (*self.as_ptr()).s_export_op = table.cast() };
    }

    /// Gives the superblock its data and operations.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn fill(self, params: &Params, data: T::SuperBlock) -> Result<Filled<'a, T>>
    where
        T: Operations,
    {
        let sb = self.as_ptr();
        let info = Info::<T> {
            deferred: Deferred::new(sb),
            lingering: KBox::pin_init(Lingering::new(), GFP_KERNEL)?,
            journal: SetOnce::new(),
            data,
        };
        let info = KBox::new(info, GFP_KERNEL)?;
        // SAFETY: Ours alone, and in the memory where it stays until `kill_sb` drops it.
        unsafe { info.deferred.init::<T>() };
        // CAST: to a type of at least as many bits.
        // SAFETY: Valid and not shared, by the type invariants; and so below.
        unsafe { (*sb).s_magic = params.magic as c_ulong };
        // SAFETY: As above.
        unsafe { (*sb).s_maxbytes = i64::try_from(params.maxbytes).unwrap_or(i64::MAX) };
        // SAFETY: As above.
        unsafe { (*sb).s_time_gran = params.time_gran };
        // SAFETY: As above.
        unsafe { (*sb).s_time_min = params.time_min };
        // SAFETY: As above.
        unsafe { (*sb).s_time_max = params.time_max };
        // CAST: 16.
        // SAFETY: As above; C copies that many bytes.
        unsafe { bindings::super_set_uuid(sb, params.uuid.as_ptr(), params.uuid.len() as c_uint) };
        // SAFETY: As above; the superblock has its device.
        unsafe { bindings::super_set_sysfs_name_bdev(sb) };
        // SAFETY: As above.
        unsafe { (*sb).s_flags |= params.flags() };
        // SAFETY: As above.
        unsafe { (*sb).s_op = &OperationsTable::<T>::TABLE };
        // INVARIANT: From here on the superblock has its data. `kill_sb` takes it back.
        // SAFETY: As above.
        unsafe { (*sb).s_fs_info = KBox::into_raw(info).cast() };
        Ok(Filled(self))
    }
}

/// A superblock that has its data, and lacks a root.
///
/// # Invariants
///
/// The superblock is that of a [`SuperBlock`].
pub(crate) struct Filled<'a, T>(NewSuperBlock<'a, T>);

/// A superblock that has a root.
///
/// The lifetime is that of one call, so one from elsewhere does not fit.
#[must_use = "fill_super() has to return it"]
pub(crate) struct Rooted<'a, T>(Filled<'a, T>, PhantomData<fn(&'a ()) -> &'a ()>);

impl<T: FileSystemType> Deref for Rooted<'_, T> {
    type Target = SuperBlock<T>;

    fn deref(&self) -> &SuperBlock<T> {
        &self.0
    }
}

impl<'a, T: FileSystemType> Filled<'a, T> {
    /// Makes `inode`, which has to be a directory, the root of the volume.
    ///
    /// # Errors
    ///
    /// `ENOTDIR`; `EXDEV` for an inode of another volume; `ENOMEM`. Of a superblock without a root the
    /// VFS calls no operation: what is to be done before its data go is the caller's to do.
    pub(crate) fn d_make_root(
        self,
        inode: ARef<Inode<T>>,
    ) -> Result<Rooted<'a, T>, Unrooted<'a, T>> {
        let filled = self;
        if inode.sb().as_ptr() != filled.as_ptr() {
            return Err(Unrooted {
                filled,
                error: EXDEV,
            });
        }
        if !inode.is_dir() {
            return Err(Unrooted {
                filled,
                error: ENOTDIR,
            });
        }
        let inode = ARef::into_raw(inode);
        // SAFETY: C takes over the reference, even when it fails.
        let root = unsafe { bindings::d_make_root(inode.as_ref().as_ptr()) };
        if root.is_null() {
            return Err(Unrooted {
                filled,
                error: ENOMEM,
            });
        }
        // SAFETY: Valid and not shared, by the type invariants of `NewSuperBlock`.
        unsafe { (*filled.0.as_ptr()).s_root = root };
        Ok(Rooted(filled, PhantomData))
    }
}

/// A superblock that did not get a root, and why.
pub(crate) struct Unrooted<'a, T> {
    /// The superblock.
    pub(crate) filled: Filled<'a, T>,
    /// Why.
    pub(crate) error: Error,
}

impl<T: FileSystemType> Deref for Filled<'_, T> {
    type Target = SuperBlock<T>;

    fn deref(&self) -> &SuperBlock<T> {
        // SAFETY: By the type invariants, as long as `self`.
        unsafe { self.0 .0.cast().as_ref() }
    }
}

/// What `s_fs_info` points to.
struct Info<T: FileSystemType> {
    /// Cancelled before anything is dropped.
    deferred: Deferred,
    /// Stopped before the superblock is shut down.
    lingering: Pin<KBox<Lingering<T>>>,
    /// Ended before the data are dropped.
    journal: SetOnce<jbd2::Loaded<'static, T::Journal>>,
    data: T::SuperBlock,
}

/// The superblock of a volume of type `T`.
///
/// # Invariants
///
/// As [`OnDevice`]; its type is a registered [`FileSystem<T>`](super::vfs::FileSystem), and
/// `s_fs_info` is a `KBox<Info<T>>` that is dropped after the last inode, and before the device is
/// closed.
#[repr(transparent)]
pub(crate) struct SuperBlock<T>(OnDevice, PhantomData<T>);

// SAFETY: As `OnDevice`, and the data are `Sync`.
unsafe impl<T: FileSystemType> Sync for SuperBlock<T> {}

impl<T> Deref for SuperBlock<T> {
    type Target = OnDevice;

    fn deref(&self) -> &OnDevice {
        &self.0
    }
}

impl<T: FileSystemType> SuperBlock<T> {
    /// # Safety
    ///
    /// `sb` has to be as the type wants it, for `'a`.
    pub(super) unsafe fn from_raw<'a>(sb: *mut bindings::super_block) -> &'a Self {
        // SAFETY: By the contract of this function; the layout is that of the C type.
        unsafe { &*sb.cast() }
    }

    /// What the filesystem keeps for the volume.
    pub(crate) fn data(&self) -> &T::SuperBlock {
        &self.info().data
    }

    fn info(&self) -> &Info<T> {
        // SAFETY: Valid by the type invariants; the pointer is set before there is a `self`.
        let info = unsafe { (*self.as_ptr()).s_fs_info };
        // SAFETY: A box's contents by the type invariants, not to be changed while shared.
        unsafe { &*info.cast() }
    }

    /// The journal, once there is one.
    pub(crate) fn journal(&self) -> Option<&jbd2::Loaded<'_, T::Journal>> {
        self.info().journal.as_ref()
    }

    /// Keeps the journal, which has to be that of this superblock's device, until the volume is
    /// unmounted.
    ///
    /// # Errors
    ///
    /// `EXDEV` for that of another device; `EBUSY` if there is one.
    pub(crate) fn set_journal(&self, journal: jbd2::Loaded<'_, T::Journal>) -> Result {
        if journal.bdev() != self.bdev() {
            return Err(EXDEV);
        }
        // SAFETY: `kill_sb` drops it before it closes the device.
        let journal = unsafe { journal.into_static() };
        if self.info().journal.populate(journal) {
            Ok(())
        } else {
            Err(EBUSY)
        }
    }

    /// Has [`Operations::deferred`] be called soon by a worker.
    ///
    /// # Context
    ///
    /// Any lock may be held, and a handle be started.
    pub(crate) fn queue_deferred(&self) {
        // SAFETY: Initialised by `fill`, and cancelled by `kill_sb` before the data go.
        unsafe { self.info().deferred.queue() };
    }

    /// Waits until that is done, if it was asked for.
    ///
    /// # Context
    ///
    /// Sleeps. Nothing may be held that [`Operations::deferred`] waits for.
    pub(crate) fn flush_deferred(&self) {
        // SAFETY: As above.
        unsafe { self.info().deferred.flush() };
    }

    /// Keeps an inode that is to go until [nobody uses it](Operations::is_unused).
    ///
    /// # Errors
    ///
    /// `ENOMEM`; `EBUSY` for a volume that is unmounted. Who gives the inode up waits then.
    ///
    /// # Context
    ///
    /// Sleeps.
    pub(crate) fn linger(&self, inode: &Inode<T>) -> Result
    where
        T: Operations,
    {
        self.info().lingering.keep(inode.into())
    }

    /// As [`sb_start_intwrite`](Self::sb_start_intwrite), unless the volume is frozen, or about to be.
    pub(crate) fn sb_start_intwrite_trylock(&self) -> Option<Intwrite<'_>> {
        // SAFETY: Valid by the type invariants.
        let is_started = unsafe { bindings::sb_start_intwrite_trylock(self.as_ptr()) };
        // INVARIANT: Started just now, if it was.
        is_started.then(|| Intwrite(self))
    }

    /// Keeps the volume from being frozen while something is written that no system call asked for.
    ///
    /// # Context
    ///
    /// Sleeps as long as the volume is frozen.
    pub(crate) fn sb_start_intwrite(&self) -> Intwrite<'_> {
        // SAFETY: Valid by the type invariants.
        unsafe { bindings::sb_start_intwrite(self.as_ptr()) };
        // INVARIANT: Started just now.
        Intwrite(self)
    }

    /// The inode of that number: from memory, or a new one to be filled.
    ///
    /// # Errors
    ///
    /// `ENOMEM`; `EIO` for an inode that another thread failed to fill.
    ///
    /// # Context
    ///
    /// Sleeps, and waits for another thread that fills the inode.
    pub(crate) fn iget_locked(&self, ino: u32) -> Result<inode::Got<'_, T>> {
        // SAFETY: Valid by the type invariants.
        let inode = unsafe { bindings::iget_locked(self.as_ptr(), ino.into()) };
        let inode = NonNull::new(inode).ok_or(ENOMEM)?;
        // SAFETY: C returned a reference to an inode of this superblock: new and locked, or
        // unlocked by the thread that filled it, or failed to.
        unsafe { inode::Got::from_raw(inode) }
    }
}

/// Something is written that no system call asked for.
///
/// # Invariants
///
/// This value has called `sb_start_intwrite()`.
#[must_use = "the volume can be frozen when this is dropped"]
pub(crate) struct Intwrite<'a>(&'a OnDevice);

impl Drop for Intwrite<'_> {
    fn drop(&mut self) {
        // SAFETY: Started by the type invariants.
        unsafe { bindings::sb_end_intwrite(self.0.as_ptr()) };
    }
}

/// How full a volume is, as C's `struct kstatfs`; in blocks.
pub(crate) struct Statfs {
    /// Blocks that files can have or have.
    pub(crate) blocks: u64,
    /// Those that are free.
    pub(crate) bfree: u64,
    /// Those of them that every user may take.
    pub(crate) bavail: u64,
    /// Inodes.
    pub(crate) files: u64,
    /// Those that are free.
    pub(crate) ffree: u64,
    /// Bytes of the longest name.
    pub(crate) namelen: usize,
    /// The volume's name for programs.
    pub(crate) uuid: [u8; 16],
}

/// What a superblock does, as C's `struct super_operations`.
#[vtable]
pub(crate) trait Operations: FileSystemType {
    /// Gives back what the inode's data hold that wants more than a drop: the inode has no name
    /// and no user left, and its pages are gone.
    ///
    /// # Context
    ///
    /// May sleep, but also in memory reclaim.
    fn evict_inode(_inode: &Inode<Self>) {}

    /// An inode has been changed (`mark_inode_dirty()`): not its data, but what is told of it.
    ///
    /// # Context
    ///
    /// May sleep. Whoever changed it may hold a folio lock, locks of the inode, and a handle of the
    /// journal.
    fn dirty_inode(_inode: &Inode<Self>) {}

    /// Has an inode that was changed written; with `wait`, to the device, and not only to its caches.
    ///
    /// # Errors
    ///
    /// What `fsync()` shall return, or `sync_filesystem()` ignore.
    ///
    /// # Context
    ///
    /// May sleep. Not called in memory reclaim.
    fn write_inode(_inode: &Inode<Self>, _wait: bool) -> Result {
        Ok(())
    }

    /// Has all that was changed written; with `wait`, as [`write_inode`](Self::write_inode).
    ///
    /// # Errors
    ///
    /// What `syncfs()` shall return.
    ///
    /// # Context
    ///
    /// May sleep. `s_umount` is held.
    fn sync_fs(_sb: &SuperBlock<Self>, _wait: bool) -> Result {
        Ok(())
    }

    /// The device has failed to write data from the page cache; once for each part of a folio.
    ///
    /// # Context
    ///
    /// A worker. Sleeps.
    fn write_failed(_sb: &SuperBlock<Self>, _error: Error) {}

    /// Makes the volume on the device a whole one, as if it were unmounted: nobody writes to it until
    /// [`unfreeze_fs`](Self::unfreeze_fs).
    ///
    /// # Errors
    ///
    /// What `FIFREEZE` shall return; the volume is not frozen then.
    ///
    /// # Context
    ///
    /// May sleep. `s_umount` is held exclusively.
    fn freeze_fs(_sb: &SuperBlock<Self>) -> Result {
        Ok(())
    }

    /// Has the volume be written again.
    ///
    /// # Errors
    ///
    /// What `FITHAW` shall return.
    ///
    /// # Context
    ///
    /// As [`freeze_fs`](Self::freeze_fs).
    fn unfreeze_fs(_sb: &SuperBlock<Self>) -> Result {
        Ok(())
    }

    /// Whether nobody uses the pages of an inode that is [kept](SuperBlock::linger), but has not mapped them; or somebody
    /// has it open, who will look at that himself.
    ///
    /// # Context
    ///
    /// A worker: sleeps.
    fn is_unused(_inode: &Inode<Self>) -> bool {
        true
    }

    /// Does what was [asked for](SuperBlock::queue_deferred) where it could not be done.
    ///
    /// # Context
    ///
    /// A worker: sleeps. The superblock has its data, but may be about to be mounted, or no longer.
    fn deferred(_sb: &SuperBlock<Self>) {}

    /// Ends a volume that was mounted: no inode of it is left.
    fn put_super(_sb: &SuperBlock<Self>) {}

    /// How full the volume is.
    fn statfs(sb: &SuperBlock<Self>) -> Statfs;

    /// Adds the options that the volume is mounted with to a line of `/proc/mounts`, each after a
    /// comma. Those that every filesystem has are there already.
    ///
    /// # Context
    ///
    /// May sleep. The options may be changed at the same time.
    fn show_options(_sb: &SuperBlock<Self>, _seq: &SeqFile) {}
}

struct OperationsTable<T>(PhantomData<T>);

impl<T: Operations> OperationsTable<T> {
    const TABLE: bindings::super_operations = bindings::super_operations {
        alloc_inode: Some(inode::alloc_inode::<T>),
        free_inode: Some(inode::free_inode::<T>),
        evict_inode: Some(Self::evict_inode),
        dirty_inode: if T::HAS_DIRTY_INODE {
            Some(Self::dirty_inode)
        } else {
            None
        },
        write_inode: if T::HAS_WRITE_INODE {
            Some(Self::write_inode)
        } else {
            None
        },
        sync_fs: if T::HAS_SYNC_FS {
            Some(Self::sync_fs)
        } else {
            None
        },
        freeze_fs: if T::HAS_FREEZE_FS {
            Some(Self::freeze_fs)
        } else {
            None
        },
        unfreeze_fs: if T::HAS_UNFREEZE_FS {
            Some(Self::unfreeze_fs)
        } else {
            None
        },
        report_error: if T::HAS_WRITE_FAILED {
            Some(Self::report_error)
        } else {
            None
        },
        put_super: if T::HAS_PUT_SUPER {
            Some(Self::put_super)
        } else {
            None
        },
        statfs: Some(Self::statfs),
        show_options: if T::HAS_SHOW_OPTIONS {
            Some(Self::show_options)
        } else {
            None
        },
        ..pin_init::zeroed()
    };

    /// # Safety
    ///
    /// Called by the VFS only: nobody else has the inode, whose superblock is of type `T`.
    unsafe extern "C" fn evict_inode(inode: *mut bindings::inode) {
        // SAFETY: The inode came from `alloc_inode::<T>`, and is valid during this call.
        if let Some(inode) = unsafe { Inode::<T>::from_raw_filled(inode) } {
            dax::evict(inode);
        }
        // SAFETY: Valid by the contract of this function; may sleep here.
        unsafe { dax::break_layout_final(inode) };
        // SAFETY: The inode is ours alone, by the contract of this function; it has no references
        // from mappings either, so that its pages can go.
        unsafe { bindings::truncate_inode_pages_final(&raw mut (*inode).i_data) };
        if T::HAS_EVICT_INODE {
            // SAFETY: The inode came from `alloc_inode::<T>`, and is valid during this call.
            if let Some(inode) = unsafe { Inode::<T>::from_raw_filled(inode) } {
                T::evict_inode(inode);
            }
        }
        // SAFETY: As above, and without pages.
        unsafe { bindings::clear_inode(inode) };
    }

    /// # Safety
    ///
    /// Called by the VFS only: `inode` is one from `alloc_inode::<T>` that the caller has a reference
    /// on, and that nobody fills.
    unsafe extern "C" fn dirty_inode(inode: *mut bindings::inode, _flags: c_int) {
        // SAFETY: By the contract of this function.
        if let Some(inode) = unsafe { Inode::<T>::from_raw_filled(inode) } {
            T::dirty_inode(inode);
        }
    }

    /// # Safety
    ///
    /// Called by the VFS only: `inode` is one from `alloc_inode::<T>` that does not go until this
    /// returns, and that nobody fills; `wbc` is the caller's alone.
    unsafe extern "C" fn write_inode(
        inode: *mut bindings::inode,
        wbc: *mut bindings::writeback_control,
    ) -> c_int {
        // SAFETY: By the contract of this function.
        let Some(inode) = (unsafe { Inode::<T>::from_raw_filled(inode) }) else {
            return 0;
        };
        // SAFETY: By the contract of this function. Who syncs the whole volume waits in `sync_fs`.
        let wait = unsafe { bindings::wbc_waits_for_inode(wbc) };
        ret::int(T::write_inode(inode, wait))
    }

    /// # Safety
    ///
    /// Called by the VFS only: `sb` is a superblock of type `T` with a root, and `s_umount` is held.
    unsafe extern "C" fn sync_fs(sb: *mut bindings::super_block, wait: c_int) -> c_int {
        // SAFETY: By the contract of this function.
        ret::int(T::sync_fs(unsafe { SuperBlock::from_raw(sb) }, wait != 0))
    }

    /// # Safety
    ///
    /// As [`sync_fs`](Self::sync_fs).
    unsafe extern "C" fn freeze_fs(sb: *mut bindings::super_block) -> c_int {
        // SAFETY: By the contract of this function.
        ret::int(T::freeze_fs(unsafe { SuperBlock::from_raw(sb) }))
    }

    /// # Safety
    ///
    /// As [`sync_fs`](Self::sync_fs).
    unsafe extern "C" fn unfreeze_fs(sb: *mut bindings::super_block) -> c_int {
        // SAFETY: By the contract of this function.
        ret::int(T::unfreeze_fs(unsafe { SuperBlock::from_raw(sb) }))
    }

    /// # Safety
    ///
    /// Called by the VFS only: `event` is valid, of a superblock of type `T`, which stays until this
    /// returns.
    unsafe extern "C" fn report_error(event: *const ::kernel::bindings::fserror_event) {
        let event = event.cast::<bindings::fserror_event>();
        // SAFETY: Valid by the contract of this function.
        let (sb, kind, error) = unsafe { ((*event).sb, (*event).type_, (*event).error) };
        if kind == bindings::fserror_type_FSERR_BUFFERED_WRITE {
            // SAFETY: By the contract of this function; filled, as it has files that are written.
            let sb = unsafe { SuperBlock::from_raw(sb) };
            T::write_failed(sb, Error::from_errno(error));
        }
    }

    /// # Safety
    ///
    /// Called by the VFS only: `sb` is a superblock of type `T` that had a root.
    unsafe extern "C" fn put_super(sb: *mut bindings::super_block) {
        // SAFETY: By the contract of this function; filled, as it had a root. The data go after
        // this call.
        T::put_super(unsafe { SuperBlock::from_raw(sb) });
    }

    /// # Safety
    ///
    /// Called by the VFS only: `dentry` is one of a mounted volume of type `T`, and `buf` is
    /// writable and nobody else's, until the function returns.
    unsafe extern "C" fn statfs(
        dentry: *mut bindings::dentry,
        buf: *mut ::kernel::bindings::kstatfs,
    ) -> c_int {
        // SAFETY: By the contract of this function; the field is constant.
        let sb = unsafe { (*dentry).d_sb };
        // SAFETY: By the contract of this function.
        let sb: &SuperBlock<T> = unsafe { SuperBlock::from_raw(sb) };
        let statfs = T::statfs(sb);
        // SAFETY: By the contract of this function. The cast is from the kernel crate's declaration
        // of the C type, which lacks the fields, to ours.
        let buf = unsafe { &mut *buf.cast::<bindings::kstatfs>() };
        // CAST: a magic number, of 32 bits.
        // SAFETY: Valid by the type invariants; constant.
        buf.f_type = unsafe { (*sb.as_ptr()).s_magic } as c_long;
        // CAST: to a type of more bits.
        buf.f_bsize = sb.block_size().map_or(0, |size| size.get() as c_long);
        buf.f_blocks = statfs.blocks;
        buf.f_bfree = statfs.bfree;
        buf.f_bavail = statfs.bavail;
        buf.f_files = statfs.files;
        buf.f_ffree = statfs.ffree;
        // CAST: a length in memory is never that large.
        buf.f_namelen = statfs.namelen as c_long;
        let [a0, a1, a2, a3, b0, b1, b2, b3, c0, c1, c2, c3, d0, d1, d2, d3] = statfs.uuid;
        // CAST: bits that mean no number.
        let low = u32::from_le_bytes([a0, a1, a2, a3]) ^ u32::from_le_bytes([c0, c1, c2, c3]);
        let high = u32::from_le_bytes([b0, b1, b2, b3]) ^ u32::from_le_bytes([d0, d1, d2, d3]);
        buf.f_fsid.val = [low as c_int, high as c_int];
        0
    }

    /// # Safety
    ///
    /// Called by the VFS only: `dentry` is one of a mounted volume of type `T`, and `seq` is this
    /// thread's alone, until the function returns.
    unsafe extern "C" fn show_options(
        seq: *mut bindings::seq_file,
        dentry: *mut bindings::dentry,
    ) -> c_int {
        // SAFETY: By the contract of this function; the field is constant.
        let sb = unsafe { (*dentry).d_sb };
        // SAFETY: By the contract of this function.
        let sb = unsafe { SuperBlock::from_raw(sb) };
        // SAFETY: By the contract of this function.
        T::show_options(sb, unsafe { SeqFile::from_raw(seq) });
        0
    }
}

/// # Safety
///
/// `sb` has to be valid, and its `s_umount` held exclusively.
pub(super) unsafe fn set_posix_acl(sb: *mut bindings::super_block, is_on: bool) {
    // SAFETY: By the contract of this function.
    let s_flags = unsafe { (*sb).s_flags };
    let s_flags = if is_on {
        s_flags | bindings::SB_POSIXACL
    } else {
        s_flags & !bindings::SB_POSIXACL
    };
    // SAFETY: Valid, and nobody else changes the flags, by the contract of this function. C reads
    // them without a lock.
    unsafe { (&raw mut (*sb).s_flags).write_volatile(s_flags) };
}

/// Ends a superblock, filled or not: as C's `kill_block_super()`, but the data go while the device
/// is still open.
///
/// # Safety
///
/// Called by the VFS only, with a superblock of type `T` that nobody uses any more.
pub(super) unsafe extern "C" fn kill_sb<T: FileSystemType>(sb: *mut bindings::super_block) {
    // SAFETY: Valid during this call; null if the device could not be opened.
    let bdev = unsafe { (*sb).s_bdev };
    // SAFETY: Valid as above.
    let data = unsafe { (*sb).s_fs_info };
    if !data.is_null() {
        // SAFETY: `fill` left a box here, and nobody is left who has the superblock, but workers.
        unsafe { &*data.cast::<Info<T>>() }.lingering.stop();
    }
    // SAFETY: By the contract of this function.
    unsafe { bindings::generic_shutdown_super(sb) };
    // SAFETY: Valid as above; a volume that was not mounted may have given its data up.
    let data = unsafe { (*sb).s_fs_info };
    if !data.is_null() {
        // SAFETY: `fill` left a box here.
        let info = unsafe { &*data.cast::<Info<T>>() };
        // SAFETY: Initialised by `fill`; nobody is left who has the superblock, but the work itself.
        unsafe { info.deferred.cancel() };
        // SAFETY: `fill` left a box here, which no inode is left to borrow.
        drop(unsafe { KBox::<Info<T>>::from_raw(data.cast()) });
        // SAFETY: Valid as above.
        unsafe { (*sb).s_fs_info = core::ptr::null_mut() };
    }
    if !bdev.is_null() {
        // SAFETY: The device is open.
        unsafe { bindings::sync_blockdev(bdev) };
        // SAFETY: Valid as above.
        let file = unsafe { (*sb).s_bdev_file };
        // SAFETY: The superblock's own reference, not used after this.
        unsafe { bindings::bdev_fput(file) };
    }
}

/// Fills a new superblock; C hands the function to `get_tree_bdev()`.
///
/// # Safety
///
/// `sb` is as [`NewSuperBlock::from_raw`] wants it for the length of the call to `fill`.
pub(super) unsafe fn fill<T: FileSystemType>(
    sb: NonNull<bindings::super_block>,
    fill: impl for<'a> FnOnce(NewSuperBlock<'a, T>) -> Result<Rooted<'a, T>>,
) -> c_int {
    // SAFETY: By the contract of this function.
    ret::int(fill(unsafe { NewSuperBlock::from_raw(sb) }))
}
