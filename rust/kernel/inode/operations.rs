// SPDX-License-Identifier: GPL-2.0

//! What inodes do.
//!
//! C header: [include/linux/fs.h](srctree/include/linux/fs.h), manual:
//! [Documentation/filesystems/vfs.rst](srctree/Documentation/filesystems/vfs.rst)

use super::{
    Iattr,
    Inode,
    Locked,
    Special,
    Tmpfile, //
};
use crate::{
    bindings,
    kernel::{
        dentry::{
            Dentry,
            Instantiated,
            Moved,
            Negative,
            Target,
            Unhashed,
            Victim, //
        },
        errno,
        fileattr::{
            self,
            FileKattr, //
        },
        iomap::Fiemap,
        mnt_idmapping::Idmap,
        posix_acl::{
            self,
            PosixAcl, //
        },
        ret,
        stat::Kstat,
        vfs::FileSystemType,
        xattr, //
    },
};
use ::kernel::{
    prelude::*,
    str::CString, //
};
use core::{
    marker::PhantomData,
    mem::ManuallyDrop, //
};

/// Operations on inodes, as C's `struct inode_operations`.
///
/// A [`Locked`] inode is one whose `i_rwsem` is held exclusively. `permissions` are the lower 12 bits
/// of a mode. That a name is in a directory, or is not, the VFS knows from `lookup()`; the disk may
/// say otherwise.
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

    /// Makes a regular file.
    ///
    /// # Errors
    ///
    /// What the system call shall return.
    fn create<'a>(
        _idmap: Idmap<'a>,
        _dir: Locked<'a, Self::FileSystem>,
        _dentry: Negative<'a, Self::FileSystem>,
        _permissions: u16,
    ) -> Result<Instantiated<'a>> {
        Err(EACCES)
    }

    /// Gives a file that is no directory one more name.
    ///
    /// # Errors
    ///
    /// What the system call shall return.
    fn link<'a>(
        _inode: Locked<'a, Self::FileSystem>,
        _dir: Locked<'a, Self::FileSystem>,
        _dentry: Negative<'a, Self::FileSystem>,
    ) -> Result<Instantiated<'a>> {
        Err(EPERM)
    }

    /// Takes away a name of a file that is no directory.
    ///
    /// # Errors
    ///
    /// What the system call shall return.
    fn unlink(_dir: Locked<'_, Self::FileSystem>, _dentry: Victim<'_, Self::FileSystem>) -> Result {
        Err(EPERM)
    }

    /// Makes a symbolic link to `target`, which is not empty.
    ///
    /// # Errors
    ///
    /// What the system call shall return.
    fn symlink<'a>(
        _idmap: Idmap<'a>,
        _dir: Locked<'a, Self::FileSystem>,
        _dentry: Negative<'a, Self::FileSystem>,
        _target: &CStr,
    ) -> Result<Instantiated<'a>> {
        Err(EPERM)
    }

    /// Makes a directory.
    ///
    /// # Errors
    ///
    /// What the system call shall return.
    fn mkdir<'a>(
        _idmap: Idmap<'a>,
        _dir: Locked<'a, Self::FileSystem>,
        _dentry: Negative<'a, Self::FileSystem>,
        _permissions: u16,
    ) -> Result<Instantiated<'a>> {
        Err(EPERM)
    }

    /// Removes a directory.
    ///
    /// # Errors
    ///
    /// `ENOTEMPTY`; else what the system call shall return.
    fn rmdir(_dir: Locked<'_, Self::FileSystem>, _dentry: Victim<'_, Self::FileSystem>) -> Result {
        Err(EPERM)
    }

    /// Makes a special file; of a device, `major` and `minor` are its numbers, as in
    /// [`Kind::Special`](super::Kind::Special).
    ///
    /// # Errors
    ///
    /// What the system call shall return.
    fn mknod<'a>(
        _idmap: Idmap<'a>,
        _dir: Locked<'a, Self::FileSystem>,
        _dentry: Negative<'a, Self::FileSystem>,
        _node: Node,
        _permissions: u16,
    ) -> Result<Instantiated<'a>> {
        Err(EPERM)
    }

    /// Gives the file that has the name `old` in `old_dir` the name that `new` is in `new_dir`, which
    /// may be the same directory. A directory meets a directory only, unless the two are exchanged;
    /// the two names are never those of one file.
    ///
    /// # Errors
    ///
    /// `EINVAL` for flags, or an exchange, that the filesystem does not know; else what the system
    /// call shall return.
    fn rename(
        _idmap: Idmap<'_>,
        _old_dir: Locked<'_, Self::FileSystem>,
        _old: Moved<'_, Self::FileSystem>,
        _new_dir: Locked<'_, Self::FileSystem>,
        _new: Target<'_, Self::FileSystem>,
        _flags: RenameFlags,
    ) -> Result {
        Err(EPERM)
    }

    /// Makes a regular file without a name.
    ///
    /// # Errors
    ///
    /// What the system call shall return.
    ///
    /// # Context
    ///
    /// No lock is held.
    fn tmpfile<'a>(
        _idmap: Idmap<'a>,
        _dir: &'a Inode<Self::FileSystem>,
        _file: Tmpfile<'a, Self::FileSystem>,
        _permissions: u16,
    ) -> Result<Instantiated<'a>> {
        Err(errno::eopnotsupp())
    }

    /// Changes attributes of the inode; those that cannot be set by hand among them, such as
    /// capabilities that writing takes away.
    ///
    /// # Errors
    ///
    /// What the system call shall return.
    fn setattr(_attr: Iattr<'_, Self::FileSystem>) -> Result {
        Err(EPERM)
    }

    /// Gives the inode an access control list, or takes away that it has.
    ///
    /// # Errors
    ///
    /// What the system call shall return.
    fn set_acl(
        _idmap: Idmap<'_>,
        _inode: Locked<'_, Self::FileSystem>,
        _acl: Option<&PosixAcl>,
        _acl_type: posix_acl::Type,
    ) -> Result {
        Err(errno::eopnotsupp())
    }

    /// Changes the flags of the file, and its project. The VFS knows that the caller may, but for
    /// what is special to flags of the filesystem's own.
    ///
    /// # Errors
    ///
    /// `EOPNOTSUPP` for flags that the filesystem does not have; else what the system call shall
    /// return.
    fn fileattr_set(_inode: Locked<'_, Self::FileSystem>, _wanted: fileattr::Wanted) -> Result {
        Err(ENOTTY)
    }
}

/// What a special file that is to be made is.
#[derive(Clone, Copy)]
pub(crate) struct Node {
    /// Its kind.
    pub(crate) kind: Special,
    /// The number of the driver, fewer than 2^12; 0 if it is no device.
    pub(crate) major: u32,
    /// Which of the driver's devices, fewer than 2^20; 0 if it is no device.
    pub(crate) minor: u32,
}

impl Node {
    /// From the upper bits of a mode, and a `dev_t`.
    fn from_raw(mode: u16, dev: u32) -> Option<Self> {
        let kind = match u32::from(mode) & bindings::S_IFMT {
            bindings::S_IFIFO => Special::Fifo,
            bindings::S_IFCHR => Special::CharDevice,
            bindings::S_IFBLK => Special::BlockDevice,
            bindings::S_IFSOCK => Special::Socket,
            _ => return None,
        };
        Some(Self {
            kind,
            major: dev >> bindings::MINORBITS,
            minor: dev & ((1 << bindings::MINORBITS) - 1),
        })
    }
}

/// Flags of `renameat2()`; `RENAME_EXCHANGE` is told by the [`Target`].
#[derive(Clone, Copy)]
pub(crate) struct RenameFlags(u32);

impl RenameFlags {
    /// The new name must be free, as the VFS has seen to.
    pub(crate) const NOREPLACE: Self = Self(bindings::RENAME_NOREPLACE);

    /// Whether there is none but those in `known`.
    pub(crate) fn is_within(self, known: Self) -> bool {
        self.0 & !known.0 == 0
    }
}

/// The table of the operations of an inode.
pub(crate) struct Ops<T>(*const bindings::inode_operations, PhantomData<T>);

impl<T: FileSystemType> Ops<T> {
    /// Those of `U`.
    pub(crate) const fn new<U: Operations<FileSystem = T>>() -> Self {
        Self(&OperationsTable::<U>::TABLE, PhantomData)
    }

    /// The table, which is static.
    pub(super) fn as_ptr(&self) -> *const bindings::inode_operations {
        self.0
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
        create: if U::HAS_CREATE {
            Some(Self::create)
        } else {
            None
        },
        link: if U::HAS_LINK { Some(Self::link) } else { None },
        unlink: if U::HAS_UNLINK {
            Some(Self::unlink)
        } else {
            None
        },
        symlink: if U::HAS_SYMLINK {
            Some(Self::symlink)
        } else {
            None
        },
        mkdir: if U::HAS_MKDIR {
            Some(Self::mkdir)
        } else {
            None
        },
        rmdir: if U::HAS_RMDIR {
            Some(Self::rmdir)
        } else {
            None
        },
        mknod: if U::HAS_MKNOD {
            Some(Self::mknod)
        } else {
            None
        },
        rename: if U::HAS_RENAME {
            Some(Self::rename)
        } else {
            None
        },
        tmpfile: if U::HAS_TMPFILE {
            Some(Self::tmpfile)
        } else {
            None
        },
        setattr: if U::HAS_SETATTR {
            Some(Self::setattr)
        } else {
            None
        },
        set_acl: if U::HAS_SET_ACL {
            Some(Self::set_acl)
        } else {
            None
        },
        fileattr_set: if U::HAS_FILEATTR_SET {
            Some(Self::fileattr_set)
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

    /// # Safety
    ///
    /// Called by the VFS only: `dir` is a directory of type `U::FileSystem`, whose `i_rwsem` is held
    /// exclusively, `dentry` one of it, without an inode, and `idmap` that of the mount.
    unsafe extern "C" fn create(
        idmap: *mut bindings::mnt_idmap,
        dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
        mode: bindings::umode_t,
        _excl: bool,
    ) -> c_int {
        // SAFETY: By the contract of this function.
        let idmap = unsafe { Idmap::from_raw(idmap) };
        // SAFETY: By the contract of this function.
        let dir = unsafe { locked(dir) };
        // SAFETY: By the contract of this function.
        let dentry = unsafe { Negative::from_raw(dentry) };
        ret::int(U::create(idmap, dir, dentry, mode & 0o7777))
    }

    /// # Safety
    ///
    /// As [`create`](Self::create), and `old` has an inode of the same volume, whose `i_rwsem` is held
    /// exclusively.
    unsafe extern "C" fn link(
        old: *mut bindings::dentry,
        dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
    ) -> c_int {
        // SAFETY: By the contract of this function; the dentry has a reference.
        let inode = unsafe { locked(bindings::d_inode(old)) };
        // SAFETY: By the contract of this function.
        let dir = unsafe { locked(dir) };
        // SAFETY: By the contract of this function.
        let dentry = unsafe { Negative::from_raw(dentry) };
        ret::int(U::link(inode, dir, dentry))
    }

    /// # Safety
    ///
    /// Called by the VFS only: `dir` is a directory of type `U::FileSystem`, `dentry` one of it with an
    /// inode, and the `i_rwsem` of both inodes is held exclusively.
    unsafe extern "C" fn unlink(dir: *mut bindings::inode, dentry: *mut bindings::dentry) -> c_int {
        // SAFETY: By the contract of this function.
        let dir = unsafe { locked(dir) };
        // SAFETY: By the contract of this function.
        ret::int(U::unlink(dir, unsafe { Victim::from_raw(dentry) }))
    }

    /// # Safety
    ///
    /// As [`create`](Self::create), and `target` is a string.
    unsafe extern "C" fn symlink(
        idmap: *mut bindings::mnt_idmap,
        dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
        target: *const c_char,
    ) -> c_int {
        // SAFETY: By the contract of this function.
        let idmap = unsafe { Idmap::from_raw(idmap) };
        // SAFETY: By the contract of this function.
        let dir = unsafe { locked(dir) };
        // SAFETY: By the contract of this function.
        let dentry = unsafe { Negative::from_raw(dentry) };
        // SAFETY: By the contract of this function.
        let target = unsafe { CStr::from_char_ptr(target) };
        ret::int(U::symlink(idmap, dir, dentry, target))
    }

    /// # Safety
    ///
    /// As [`create`](Self::create).
    unsafe extern "C" fn mkdir(
        idmap: *mut bindings::mnt_idmap,
        dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
        mode: bindings::umode_t,
    ) -> *mut bindings::dentry {
        // SAFETY: By the contract of this function.
        let idmap = unsafe { Idmap::from_raw(idmap) };
        // SAFETY: By the contract of this function.
        let dir = unsafe { locked(dir) };
        // SAFETY: By the contract of this function.
        let dentry = unsafe { Negative::from_raw(dentry) };
        let made = U::mkdir(idmap, dir, dentry, mode & 0o7777);
        // Null for the dentry that C knows.
        ret::pointer(made.map(|Instantiated { .. }| core::ptr::null_mut()))
    }

    /// # Safety
    ///
    /// As [`unlink`](Self::unlink).
    unsafe extern "C" fn rmdir(dir: *mut bindings::inode, dentry: *mut bindings::dentry) -> c_int {
        // SAFETY: By the contract of this function.
        let dir = unsafe { locked(dir) };
        // SAFETY: By the contract of this function.
        ret::int(U::rmdir(dir, unsafe { Victim::from_raw(dentry) }))
    }

    /// # Safety
    ///
    /// As [`create`](Self::create).
    unsafe extern "C" fn mknod(
        idmap: *mut bindings::mnt_idmap,
        dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
        mode: bindings::umode_t,
        dev: bindings::dev_t,
    ) -> c_int {
        let Some(node) = Node::from_raw(mode, dev) else {
            return EINVAL.to_errno();
        };
        // SAFETY: By the contract of this function.
        let idmap = unsafe { Idmap::from_raw(idmap) };
        // SAFETY: By the contract of this function.
        let dir = unsafe { locked(dir) };
        // SAFETY: By the contract of this function.
        let dentry = unsafe { Negative::from_raw(dentry) };
        ret::int(U::mknod(idmap, dir, dentry, node, mode & 0o7777))
    }

    /// # Safety
    ///
    /// Called by the VFS only: the directories are of one volume of type `U::FileSystem`; each dentry
    /// is one of its directory; `old` has an inode; the `i_rwsem` of both directories is held
    /// exclusively, and so is that of all inodes of the dentries, but for a directory that stays in
    /// its own and is not to be removed; `idmap` is that of the mount.
    unsafe extern "C" fn rename(
        idmap: *mut bindings::mnt_idmap,
        old_dir: *mut bindings::inode,
        old: *mut bindings::dentry,
        new_dir: *mut bindings::inode,
        new: *mut bindings::dentry,
        flags: c_uint,
    ) -> c_int {
        // SAFETY: By the contract of this function.
        let idmap = unsafe { Idmap::from_raw(idmap) };
        // SAFETY: By the contract of this function.
        let old_dir = unsafe { locked(old_dir) };
        // SAFETY: By the contract of this function.
        let old = unsafe { Moved::from_raw(old) };
        // SAFETY: By the contract of this function.
        let new_dir = unsafe { locked(new_dir) };
        // SAFETY: By the contract of this function.
        let has_inode = unsafe { !bindings::d_inode(new).is_null() };
        let new = if !has_inode {
            // SAFETY: By the contract of this function.
            Target::Free(unsafe { Negative::from_raw(new) })
        } else if flags & bindings::RENAME_EXCHANGE == 0 {
            // SAFETY: By the contract of this function: to be removed.
            Target::Replaced(unsafe { Victim::from_raw(new) })
        } else {
            // SAFETY: By the contract of this function.
            Target::Exchanged(unsafe { Moved::from_raw(new) })
        };
        let flags = RenameFlags(flags & !bindings::RENAME_EXCHANGE);
        ret::int(U::rename(idmap, old_dir, old, new_dir, new, flags))
    }

    /// # Safety
    ///
    /// Called by the VFS only: `dir` is a directory of type `U::FileSystem`, `file` is being opened,
    /// with a dentry of its own that has no inode, and `idmap` is that of the mount.
    unsafe extern "C" fn tmpfile(
        idmap: *mut bindings::mnt_idmap,
        dir: *mut bindings::inode,
        file: *mut bindings::file,
        mode: bindings::umode_t,
    ) -> c_int {
        // SAFETY: By the contract of this function.
        let idmap = unsafe { Idmap::from_raw(idmap) };
        // SAFETY: By the contract of this function; bad inodes have other operations.
        let dir = unsafe { Inode::from_raw(dir) };
        // SAFETY: By the contract of this function.
        let tmpfile = unsafe { Tmpfile::from_raw(file) };
        match U::tmpfile(idmap, dir, tmpfile, mode & 0o7777) {
            // SAFETY: The file is valid, and its dentry has an inode now.
            Ok(Instantiated { .. }) => unsafe { bindings::finish_open_simple(file, 0) },
            Err(error) => error.to_errno(),
        }
    }

    /// # Safety
    ///
    /// Called by the VFS only: `dentry` has an inode of type `U::FileSystem`, whose `i_rwsem` is held
    /// exclusively, `idmap` is that of the mount, and `attr` the caller's alone.
    unsafe extern "C" fn setattr(
        idmap: *mut bindings::mnt_idmap,
        dentry: *mut bindings::dentry,
        attr: *mut bindings::iattr,
    ) -> c_int {
        // SAFETY: By the contract of this function.
        let idmap = unsafe { Idmap::from_raw(idmap) };
        // SAFETY: By the contract of this function.
        ret::int(U::setattr(unsafe { Iattr::from_raw(attr, idmap, dentry) }))
    }

    /// # Safety
    ///
    /// As [`setattr`](Self::setattr), but `acl` is null or a valid list.
    unsafe extern "C" fn set_acl(
        idmap: *mut bindings::mnt_idmap,
        dentry: *mut bindings::dentry,
        acl: *mut ::kernel::bindings::posix_acl,
        acl_type: c_int,
    ) -> c_int {
        let Some(acl_type) = posix_acl::Type::from_raw(acl_type) else {
            return EINVAL.to_errno();
        };
        // SAFETY: By the contract of this function.
        let idmap = unsafe { Idmap::from_raw(idmap) };
        // SAFETY: By the contract of this function; the dentry has a reference.
        let inode = unsafe { locked(bindings::d_inode(dentry)) };
        // The cast is from the kernel crate's declaration of the C type, which lacks the fields.
        // SAFETY: By the contract of this function. The reference stays the caller's.
        let acl = ManuallyDrop::new(unsafe { PosixAcl::from_raw(acl.cast()) });
        ret::int(U::set_acl(idmap, inode, acl.as_ref(), acl_type))
    }

    /// # Safety
    ///
    /// As [`setattr`](Self::setattr), but `fa` is valid.
    unsafe extern "C" fn fileattr_set(
        _idmap: *mut bindings::mnt_idmap,
        dentry: *mut bindings::dentry,
        fa: *mut ::kernel::bindings::file_kattr,
    ) -> c_int {
        // SAFETY: By the contract of this function; the dentry has a reference.
        let inode = unsafe { locked(bindings::d_inode(dentry)) };
        // The cast is from the kernel crate's declaration of the C type, which lacks the fields.
        // SAFETY: By the contract of this function.
        let wanted = unsafe { fileattr::Wanted::from_raw(fa.cast()) };
        ret::int(U::fileattr_set(inode, wanted))
    }
}

/// # Safety
///
/// `inode` has to be one of type `T`, and its `i_rwsem` held by this thread exclusively, for `'a`.
unsafe fn locked<'a, T: FileSystemType>(inode: *mut bindings::inode) -> Locked<'a, T> {
    // SAFETY: By the contract of this function; bad inodes are in no directory.
    unsafe { Locked::new(Inode::from_raw(inode)) }
}
