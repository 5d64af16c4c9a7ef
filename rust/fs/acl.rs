// SPDX-License-Identifier: GPL-2.0

//! Access control lists: values of extended attributes ↔ lists of the VFS, which keeps them with
//! the inode.

use super::{
    metadata::{
        self,
        At, //
    },
    transaction::{
        with_room,
        Transaction, //
    },
    xattr, Inode, Stablefs,
};
use crate::{
    kernel::{
        errno,
        inode::Locked,
        mnt_idmapping::Idmap,
        posix_acl::{
            Entry,
            PosixAcl,
            Tag,
            Type, //
        },
        xattr::SetFlags, //
    },
    ondisk::{
        acl::{
            self,
            Acl, //
        },
        xattr::Prefix,
    },
};
use ::kernel::prelude::*;

/// A list of the inode, if it has one.
pub(super) fn get(inode: &Inode, acl_type: Type) -> Result<Option<PosixAcl>> {
    match xattr::get(inode, prefix(acl_type), b"", |value| {
        from_disk(inode, value)
    }) {
        Err(error) if error == errno::enodata() => Ok(None),
        found => found,
    }
}

fn prefix(acl_type: Type) -> Prefix {
    match acl_type {
        Type::Access => Prefix::POSIX_ACL_ACCESS,
        Type::Default => Prefix::POSIX_ACL_DEFAULT,
    }
}

/// Gives an inode a list, and a mode that agrees with it, or takes away that it has.
///
/// # Errors
///
/// `EACCES` for a list for new files of what is no directory; `EINVAL` for what is no possible list;
/// those of [`xattr::set_with`].
///
/// # Context
///
/// Sleeps.
pub(super) fn set(
    idmap: Idmap<'_>,
    inode: Locked<'_, Stablefs>,
    acl: Option<&PosixAcl>,
    acl_type: Type,
) -> Result {
    if matches!(acl_type, Type::Default) && !inode.is_dir() {
        return if acl.is_some() { Err(EACCES) } else { Ok(()) };
    }
    let updated = match (acl_type, acl) {
        (Type::Access, Some(acl)) => Some(inode.posix_acl_update_mode(idmap, acl)?),
        _ => None,
    };
    let kept = updated.as_ref().map_or(acl, |updated| updated.acl);
    with_room(inode.sb(), || {
        let transaction = Transaction::start(inode.sb(), xattr::CREDITS)?;
        let before = inode.attributes().permissions;
        if let Some(updated) = &updated {
            inode.set_permissions(updated.permissions);
        }
        // Undone, should it fail: the mode that others see is the one that the disk has.
        set_with(&transaction, inode, acl_type, kept)
            .inspect_err(|_| inode.set_permissions(before))?;
        inode.set_cached_acl(acl_type, kept);
        transaction.stop()
    })
}

/// Has the disk have a list of the inode, or have none.
///
/// # Errors
///
/// Those of [`xattr::set_with`].
///
/// # Context
///
/// Sleeps. The transaction has [`xattr::CREDITS`] left.
pub(super) fn set_with(
    transaction: &Transaction<'_>,
    inode: Locked<'_, Stablefs>,
    acl_type: Type,
    acl: Option<&PosixAcl>,
) -> Result {
    let (prefix, flags) = (prefix(acl_type), SetFlags::default());
    match acl {
        None => xattr::set_with(transaction, inode, prefix, b"", None, flags),
        Some(acl) => {
            let value = to_disk(&inode, acl)?;
            xattr::set_with(transaction, inode, prefix, b"", Some(&value), flags)
        }
    }
}

fn to_disk(inode: &Inode, acl: &PosixAcl) -> Result<KVec<u8>> {
    let entries = || {
        acl.entries(inode.sb())
            .map(|Entry { tag, permissions }| acl::Entry {
                tag: match tag {
                    Tag::UserObj => acl::Tag::UserObj,
                    Tag::User(uid) => acl::Tag::User(uid),
                    Tag::GroupObj => acl::Tag::GroupObj,
                    Tag::Group(gid) => acl::Tag::Group(gid),
                    Tag::Mask => acl::Tag::Mask,
                    Tag::Other => acl::Tag::Other,
                },
                permissions,
            })
    };
    let mut value = KVec::from_elem(0, Acl::value_len(entries()), GFP_KERNEL)?;
    Acl::encode(entries(), &mut value).ok_or(EINVAL)?;
    Ok(value)
}

fn from_disk(inode: &Inode, value: &[u8]) -> Result<Option<PosixAcl>> {
    let (sb, at) = (inode.sb(), At::inode(inode.ino()));
    let acl = Acl::parse(value).map_err(|error| metadata::blame(sb, at, error))?;
    let Some(acl) = acl else {
        return Ok(None);
    };
    let mut entries = KVec::new();
    for entry in &acl {
        let tag = match entry.tag {
            acl::Tag::UserObj => Tag::UserObj,
            acl::Tag::User(uid) => Tag::User(uid),
            acl::Tag::GroupObj => Tag::GroupObj,
            acl::Tag::Group(gid) => Tag::Group(gid),
            acl::Tag::Mask => Tag::Mask,
            acl::Tag::Other => Tag::Other,
        };
        let permissions = entry.permissions;
        entries.push(Entry { tag, permissions }, GFP_KERNEL)?;
    }
    PosixAcl::new(sb, &entries).map(Some).map_err(|error| {
        if error != EINVAL {
            return error;
        }
        let what = format_args!("access control list names a user or group that cannot be");
        metadata::corrupt(sb, at, what)
    })
}
