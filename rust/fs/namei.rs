// SPDX-License-Identifier: GPL-2.0

//! Names, looked up.

use super::{
    acl, attr, dir, file, htree,
    inode::{
        iget,
        read_block, //
    },
    metadata::{
        self,
        At, //
    },
    xattr, Inode, Stablefs,
};
use crate::{
    kernel::{
        current,
        dentry::{
            Dentry,
            Unhashed, //
        },
        errno,
        fileattr::{
            self,
            FileKattr, //
        },
        inode::{
            self,
            Iattr,
            Locked, //
        },
        iomap::Fiemap,
        mnt_idmapping::Idmap,
        posix_acl::{
            self,
            PosixAcl, //
        },
        stat::Kstat,
        xattr::Buffer, //
    },
    ondisk::{
        dir::NAME_LEN,
        Ino,
        Lblk, //
    },
};
use ::kernel::{
    prelude::*,
    sync::aref::ARef, //
};
use core::ops::ControlFlow;

/// Operations on directories.
pub(super) struct Operations;

#[vtable]
impl inode::Operations for Operations {
    type FileSystem = Stablefs;

    fn lookup(dir: &Inode, dentry: Unhashed<'_, Stablefs>) -> Result<Option<Dentry<Stablefs>>> {
        if dentry.name().len() > NAME_LEN {
            return Err(errno::enametoolong());
        }
        let inode = find(dir, dentry.name())?
            .map(|ino| iget_named(dir, ino))
            .transpose()?;
        dentry.d_splice_alias(inode)
    }

    fn fiemap(inode: &Inode, fieinfo: Fiemap<'_>) -> Result {
        file::fiemap(inode, fieinfo)
    }

    fn getattr(inode: &Inode, stat: &mut Kstat<'_>) -> Result {
        attr::getattr(inode, stat)
    }

    fn listxattr(inode: &Inode, names: &mut Buffer<'_>) -> Result {
        xattr::list(inode, names)
    }

    fn get_inode_acl(inode: &Inode, acl_type: posix_acl::Type) -> Result<Option<PosixAcl>> {
        acl::get(inode, acl_type)
    }

    fn fileattr_get(inode: &Inode, fa: &mut FileKattr<'_>) -> Result {
        attr::fileattr_get(inode, fa)
    }

    fn setattr(attr: Iattr<'_, Stablefs>) -> Result {
        attr::setattr(attr)
    }

    fn set_acl(
        idmap: Idmap<'_>,
        inode: Locked<'_, Stablefs>,
        acl: Option<&PosixAcl>,
        acl_type: posix_acl::Type,
    ) -> Result {
        acl::set(idmap, inode, acl, acl_type)
    }

    fn fileattr_set(inode: Locked<'_, Stablefs>, wanted: fileattr::Wanted) -> Result {
        attr::fileattr_set(inode, wanted)
    }
}

/// The inode of a number that directory `dir` has a name for, be it the one above.
///
/// # Errors
///
/// `EFSCORRUPTED` if it is the directory itself, an inode that no name can be for, or free; what
/// reading it says.
pub(super) fn iget_named(dir: &Inode, ino: Ino) -> Result<ARef<Inode>> {
    let (sb, at, number) = (dir.sb(), At::inode(dir.ino()), ino.get());
    if ino == dir.ino() {
        let what = format_args!("directory has a name for itself");
        return Err(metadata::corrupt(sb, at, what));
    }
    if !sb.volume().is_ordinary(ino) {
        return Err(metadata::corrupt(
            sb,
            at,
            format_args!("directory has a name for inode {number}, which is reserved"),
        ));
    }
    iget(sb, ino).map_err(|error| {
        if error != errno::estale() {
            return error;
        }
        metadata::corrupt(
            sb,
            at,
            format_args!("directory has a name for inode {number}, which is free"),
        )
    })
}

/// The number of the inode that has a name in a directory.
///
/// # Errors
///
/// What reading and checking the directory says.
pub(super) fn find(dir: &Inode, name: &[u8]) -> Result<Option<Ino>> {
    if !dir.disk().is_indexed(dir.sb().volume()) {
        for lblk in dir::lblks(dir) {
            current::check_fatal_signal()?;
            if let Some(ino) = find_in_leaf(dir, lblk, name)? {
                return Ok(Some(ino));
            }
        }
        return Ok(None);
    }
    if name == b".." {
        return htree::parent(dir).map(Some);
    }
    let found = htree::for_each_leaf(
        dir,
        |hasher| hasher.hash(name),
        |leaf| {
            current::check_fatal_signal()?;
            if let Some(ino) = find_in_leaf(dir, leaf.lblk, name)? {
                return Ok(ControlFlow::Break(Some(ino)));
            }
            Ok(match leaf.next {
                Some(next) if next.continues(leaf.hash) => ControlFlow::Continue(()),
                _ => ControlFlow::Break(None),
            })
        },
    )?;
    Ok(match found {
        ControlFlow::Break(found) => found,
        ControlFlow::Continue(()) => None,
    })
}

fn find_in_leaf(dir: &Inode, lblk: Lblk, name: &[u8]) -> Result<Option<Ino>> {
    let block = read_block(dir, lblk)?;
    let found = dir::leaf(dir, lblk, &block)?
        .find(name)
        .map_err(|error| metadata::blame(dir.sb(), At::block(dir.ino(), block.pblk), error))?;
    Ok(found.map(|entry| entry.ino()))
}
