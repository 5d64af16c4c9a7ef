// SPDX-License-Identifier: GPL-2.0

//! Access control lists: values of extended attributes → lists of the VFS, which keeps them with
//! the inode.

use super::{
    metadata::{
        self,
        At, //
    },
    xattr, Inode,
};
use crate::{
    kernel::{
        errno,
        posix_acl::{
            Entry,
            PosixAcl,
            Tag,
            Type, //
        },
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
    let prefix = match acl_type {
        Type::Access => Prefix::POSIX_ACL_ACCESS,
        Type::Default => Prefix::POSIX_ACL_DEFAULT,
    };
    match xattr::get(inode, prefix, b"", |value| from_disk(inode, value)) {
        Err(error) if error == errno::enodata() => Ok(None),
        found => found,
    }
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
