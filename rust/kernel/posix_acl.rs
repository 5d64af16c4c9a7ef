// SPDX-License-Identifier: GPL-2.0

//! Access control lists: allocated → filled → valid.
//!
//! C header: [include/linux/posix_acl.h](srctree/include/linux/posix_acl.h)

use super::{
    inode::Locked,
    mnt_idmapping::Idmap,
    super_block::OnDevice,
    vfs::FileSystemType, //
};
use crate::bindings;
use ::kernel::{
    error::to_result,
    prelude::*, //
};
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

    fn as_raw(self) -> c_int {
        // CAST: one of the smallest numbers of 16 bits.
        match self {
            Self::Access => bindings::ACL_TYPE_ACCESS as c_int,
            Self::Default => bindings::ACL_TYPE_DEFAULT as c_int,
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

    /// # Safety
    ///
    /// `acl` has to be null, or a valid list with a reference that the caller hands over.
    pub(super) unsafe fn from_raw(acl: *mut bindings::posix_acl) -> Option<Self> {
        // INVARIANT: By the contract of this function.
        NonNull::new(acl).map(Self)
    }

    /// How many entries it has.
    pub(crate) fn len(&self) -> usize {
        // CAST: to a type of as many bits or more.
        // SAFETY: Valid by the type invariants; constant.
        unsafe { bindings::posix_acl_count(self.0.as_ptr()) as usize }
    }

    /// Its entries, on a volume: users and groups that it has no numbers for are `u32::MAX`.
    pub(crate) fn entries<'a>(&'a self, sb: &'a OnDevice) -> impl Iterator<Item = Entry> + 'a {
        (0..self.len()).filter_map(|n| {
            // SAFETY: Valid by the type invariants.
            let entries = unsafe { (*self.0.as_ptr()).a_entries.as_ptr() };
            // SAFETY: So many entries there are, which do not change in a list that is valid.
            let entry = unsafe { entries.add(n) };
            // SAFETY: The superblock is valid, and keeps its user namespace; the entry as above.
            let id = || unsafe { bindings::posix_acl_entry_id(entry, (*sb.as_ptr()).s_user_ns) };
            // SAFETY: As above.
            let (e_tag, permissions) = unsafe { ((*entry).e_tag, (*entry).e_perm) };
            let tag = match u32::try_from(e_tag) {
                Ok(bindings::ACL_USER_OBJ) => Tag::UserObj,
                Ok(bindings::ACL_USER) => Tag::User(id()),
                Ok(bindings::ACL_GROUP_OBJ) => Tag::GroupObj,
                Ok(bindings::ACL_GROUP) => Tag::Group(id()),
                Ok(bindings::ACL_MASK) => Tag::Mask,
                Ok(bindings::ACL_OTHER) => Tag::Other,
                // No valid list has another.
                _ => return None,
            };
            Some(Entry { tag, permissions })
        })
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

/// The lists that a new file inherits from its directory.
pub(crate) struct Initial {
    /// The one that new files in it get, if it is a directory itself.
    pub(crate) default: Option<PosixAcl>,
    /// The one that says who may do what, if its mode does not say it all.
    pub(crate) access: Option<PosixAcl>,
}

/// What is to be kept of a list that says who may do what with a file.
pub(crate) struct Updated<'a> {
    /// The lower 12 bits of the mode that the file gets.
    pub(crate) permissions: u16,
    /// The list, unless the mode says it all.
    pub(crate) acl: Option<&'a PosixAcl>,
}

impl<T: FileSystemType> Locked<'_, T> {
    /// What is to be kept of a list of type [`Access`](Type::Access) that the file is to get.
    ///
    /// # Errors
    ///
    /// `EINVAL` for what is no possible list.
    pub(crate) fn posix_acl_update_mode<'a>(
        self,
        idmap: Idmap<'_>,
        acl: &'a PosixAcl,
    ) -> Result<Updated<'a>> {
        let (mut mode, mut kept) = (0, acl.0.as_ptr());
        // SAFETY: All are valid by the type invariants; C sets `kept` to null, or leaves it.
        to_result(unsafe {
            bindings::posix_acl_update_mode(idmap.as_ptr(), self.as_ptr(), &mut mode, &mut kept)
        })?;
        Ok(Updated {
            permissions: mode & 0o7777,
            acl: (!kept.is_null()).then_some(acl),
        })
    }

    /// Tells the VFS of a list that the file has now, or that it has none.
    pub(crate) fn set_cached_acl(self, acl_type: Type, acl: Option<&PosixAcl>) {
        let acl = acl.map_or(core::ptr::null_mut(), |acl| acl.0.as_ptr());
        // The cast is to the kernel crate's declaration of the C type, which lacks the fields.
        // SAFETY: All are valid by the type invariants; C takes a reference of its own.
        unsafe { bindings::set_cached_acl(self.as_ptr(), acl_type.as_raw(), acl) };
    }
}
