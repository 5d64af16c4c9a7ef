// SPDX-License-Identifier: GPL-2.0

//! What inodes are, and how one that is new gets to be it.
//!
//! C header: [include/linux/fs.h](srctree/include/linux/fs.h)

use super::{
    Link,
    Ops,
    Slot, //
};
use crate::{
    bindings,
    kernel::{
        address_space,
        file,
        vfs::FileSystemType, //
    },
};
use ::kernel::{
    prelude::*,
    str::CString, //
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

impl<T> Kind<T> {
    /// The mode of such an inode, of which `permissions` are the lower 12 bits.
    pub(super) fn mode(&self, permissions: u16) -> u16 {
        let kind = match self {
            Self::Directory(..) => bindings::S_IFDIR,
            Self::Regular(..) => bindings::S_IFREG,
            Self::Symlink(..) => bindings::S_IFLNK,
            Self::Special { kind, .. } => match kind {
                Special::Fifo => bindings::S_IFIFO,
                Special::CharDevice => bindings::S_IFCHR,
                Special::BlockDevice => bindings::S_IFBLK,
                Special::Socket => bindings::S_IFSOCK,
            },
        };
        // CAST: the upper bits of a mode, which are 16.
        kind as u16 | permissions & 0o7777
    }
}

/// Makes an inode what it is, with all that is not the VFS's.
///
/// # Safety
///
/// `inode` has to be that of a [`Slot<T>`] that is not filled, and that nobody else looks at; `mode`
/// has to be one of `kind`.
pub(super) unsafe fn fill<T: FileSystemType>(
    inode: *mut bindings::inode,
    kind: Kind<T>,
    mode: u16,
    data: impl PinInit<T::Inode>,
) {
    // SAFETY: Valid and not shared, by the contract of this function; and so below.
    unsafe { (*inode).i_mode = mode };
    let link = Link::new();
    match kind {
        Kind::Directory(ops, fops) => {
            // SAFETY: As above; the table is static.
            unsafe { (*inode).i_op = ops.as_ptr() };
            // SAFETY: As above; the table is static.
            unsafe { (*inode).__bindgen_anon_3.i_fop = fops.as_ptr() };
        }
        Kind::Regular(ops, fops, aops) => {
            // SAFETY: As above; the table is static.
            unsafe { (*inode).i_op = ops.as_ptr() };
            // SAFETY: As above; the table is static.
            unsafe { (*inode).__bindgen_anon_3.i_fop = fops.as_ptr() };
            // SAFETY: As above.
            unsafe { aops.set_with_large_folios(inode) };
        }
        Kind::Symlink(ops, target) => {
            // SAFETY: As above; the table is static.
            unsafe { (*inode).i_op = ops.as_ptr() };
            if let Some(target) = target {
                link.set_once(target);
            }
            if let Some((target, len)) = link
                .get()
                .and_then(|target| Some((target, c_int::try_from(target.to_bytes().len()).ok()?)))
            {
                let target = target.as_char_ptr().cast_mut();
                // SAFETY: As above; the string is the slot's from here on, does not move, and is
                // freed with it, after a grace period.
                unsafe { bindings::inode_set_cached_link(inode, target, len) };
            }
        }
        Kind::Special {
            ops, major, minor, ..
        } => {
            // SAFETY: As above; the table is static.
            unsafe { (*inode).i_op = ops.as_ptr() };
            // SAFETY: As above; the mode is of one of the four kinds that C knows.
            unsafe { bindings::init_special_inode(inode, mode, major, minor) };
        }
    }
    // SAFETY: As above: the slot is this thread's, and does not move.
    unsafe { (*inode.cast::<Slot<T>>()).filled.init(data, link) };
}
