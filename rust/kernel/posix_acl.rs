// SPDX-License-Identifier: GPL-2.0

//! Access control lists: allocated → filled → valid.
//!
//! C header: [include/linux/posix_acl.h](srctree/include/linux/posix_acl.h)

use super::super_block::OnDevice;
use crate::bindings;
use ::kernel::prelude::*;
use core::{
    mem::ManuallyDrop,
    ptr::NonNull, //
};

/// Which list of an inode is meant.
#[derive(Clone, Copy)]
pub(crate) enum Type {
    /// The one that says who may do what with the file.
    Access,
    /// The one that new files in the directory get.
    Default,
}

impl Type {
    /// From one of C's `ACL_TYPE_*`.
    pub(super) fn from_raw(acl_type: c_int) -> Option<Self> {
        match u32::try_from(acl_type) {
            Ok(bindings::ACL_TYPE_ACCESS) => Some(Self::Access),
            Ok(bindings::ACL_TYPE_DEFAULT) => Some(Self::Default),
            _ => None,
        }
    }
}

/// To whom an entry gives permissions. Users and groups are as the volume numbers them.
#[derive(Clone, Copy)]
pub(crate) enum Tag {
    /// The file's owner.
    UserObj,
    /// A user.
    User(u32),
    /// The file's group.
    GroupObj,
    /// A group.
    Group(u32),
    /// The most that all but the owner and others can get.
    Mask,
    /// Everybody else.
    Other,
}

/// An entry of a list.
#[derive(Clone, Copy)]
pub(crate) struct Entry {
    /// To whom it gives them.
    pub(crate) tag: Tag,
    /// The permissions: 4 to read, 2 to write, 1 to execute.
    pub(crate) permissions: u16,
}

/// A list, as C's `struct posix_acl`.
///
/// # Invariants
///
/// The list is valid, and this value has a reference on it.
pub(crate) struct PosixAcl(NonNull<bindings::posix_acl>);

impl PosixAcl {
    /// A list of `entries`, the order of which matters, on a volume.
    ///
    /// # Errors
    ///
    /// `EINVAL` for what is no possible list; `ENOMEM`.
    pub(crate) fn new(sb: &OnDevice, entries: &[Entry]) -> Result<Self> {
        let count = c_uint::try_from(entries.len()).map_err(|_| EINVAL)?;
        // SAFETY: The function has no preconditions.
        let acl = unsafe { bindings::posix_acl_alloc(count, bindings::GFP_KERNEL) };
        // INVARIANT: C returned the only reference, or null.
        let acl = Self(NonNull::new(acl).ok_or(ENOMEM)?);
        // SAFETY: The superblock is valid, and keeps its user namespace.
        let user_ns = unsafe { (*sb.as_ptr()).s_user_ns };
        for (n, entry) in (0..count).zip(entries) {
            let (tag, id) = match entry.tag {
                Tag::UserObj => (bindings::ACL_USER_OBJ, 0),
                Tag::User(uid) => (bindings::ACL_USER, uid),
                Tag::GroupObj => (bindings::ACL_GROUP_OBJ, 0),
                Tag::Group(gid) => (bindings::ACL_GROUP, gid),
                Tag::Mask => (bindings::ACL_MASK, 0),
                Tag::Other => (bindings::ACL_OTHER, 0),
            };
            // CAST: one of the six numbers, at most 0x20.
            // SAFETY: The list is ours alone and has more than `n` entries; the namespace is valid.
            unsafe {
                bindings::posix_acl_set_entry(
                    acl.0.as_ptr(),
                    n,
                    tag as c_short,
                    entry.permissions,
                    user_ns,
                    id,
                )
            };
        }
        // SAFETY: All entries are filled; the namespace is valid.
        match unsafe { bindings::posix_acl_valid(user_ns, acl.0.as_ptr()) } {
            0 => Ok(acl),
            _ => Err(EINVAL),
        }
    }

    /// Hands the reference over.
    pub(super) fn into_raw(self) -> *mut bindings::posix_acl {
        ManuallyDrop::new(self).0.as_ptr()
    }
}

impl Drop for PosixAcl {
    fn drop(&mut self) {
        // SAFETY: The reference is given back.
        unsafe { bindings::posix_acl_release(self.0.as_ptr()) };
    }
}
