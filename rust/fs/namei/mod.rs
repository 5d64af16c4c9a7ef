// SPDX-License-Identifier: GPL-2.0

//! Names: looked up, given to new files and old ones, taken away, moved.
//!
//! | module | subject |
//! | --- | --- |
//! | [`lookup`] | where a name is, and whose |
//! | [`entries`] | a directory's blocks, changed |
//! | [`create`] | new files |
//! | [`link`] | names of files that there are: one more, one less |
//! | [`rename`] | names moved |
//!
//! Each operation is one transaction: all that can fail comes first, and what is then changed is
//! changed as a whole, or the journal given up. An inode that does not get the name that it was made
//! for is left as an orphan, and evicted.

mod create;
mod entries;
mod link;
mod lookup;
mod rename;

pub(super) use lookup::{
    find,
    iget_named, //
};

use super::{
    acl,
    attr,
    file,
    transaction::Transaction,
    xattr,
    Inode,
    Stablefs, //
};
use crate::kernel::{
    dentry::{
        Dentry,
        Instantiated,
        Moved,
        Negative,
        Target,
        Unhashed,
        Victim, //
    },
    fileattr::{
        self,
        FileKattr, //
    },
    inode::{
        self,
        Iattr,
        Locked,
        Node,
        RenameFlags,
        Tmpfile, //
    },
    iomap::Fiemap,
    mnt_idmapping::Idmap,
    posix_acl::{
        self,
        PosixAcl, //
    },
    stat::Kstat,
    xattr::Buffer, //
};
use ::kernel::prelude::*;

/// Operations on directories.
pub(super) struct Operations;

#[vtable]
impl inode::Operations for Operations {
    type FileSystem = Stablefs;

    fn lookup(dir: &Inode, dentry: Unhashed<'_, Stablefs>) -> Result<Option<Dentry<Stablefs>>> {
        lookup::lookup(dir, dentry)
    }

    fn create<'a>(
        idmap: Idmap<'a>,
        dir: Locked<'a, Stablefs>,
        dentry: Negative<'a, Stablefs>,
        permissions: u16,
    ) -> Result<Instantiated<'a>> {
        create::named(idmap, dir, dentry, &create::What::Regular, permissions)
    }

    fn mkdir<'a>(
        idmap: Idmap<'a>,
        dir: Locked<'a, Stablefs>,
        dentry: Negative<'a, Stablefs>,
        permissions: u16,
    ) -> Result<Instantiated<'a>> {
        create::named(idmap, dir, dentry, &create::What::Directory, permissions)
    }

    fn mknod<'a>(
        idmap: Idmap<'a>,
        dir: Locked<'a, Stablefs>,
        dentry: Negative<'a, Stablefs>,
        node: Node,
        permissions: u16,
    ) -> Result<Instantiated<'a>> {
        create::named(
            idmap,
            dir,
            dentry,
            &create::What::Special(node),
            permissions,
        )
    }

    fn symlink<'a>(
        idmap: Idmap<'a>,
        dir: Locked<'a, Stablefs>,
        dentry: Negative<'a, Stablefs>,
        target: &CStr,
    ) -> Result<Instantiated<'a>> {
        let what = create::What::symlink(dir.sb(), target)?;
        create::named(idmap, dir, dentry, &what, 0o777)
    }

    fn tmpfile<'a>(
        idmap: Idmap<'a>,
        dir: &'a Inode,
        file: Tmpfile<'a, Stablefs>,
        permissions: u16,
    ) -> Result<Instantiated<'a>> {
        create::unnamed(idmap, dir, file, permissions)
    }

    fn link<'a>(
        inode: Locked<'a, Stablefs>,
        dir: Locked<'a, Stablefs>,
        dentry: Negative<'a, Stablefs>,
    ) -> Result<Instantiated<'a>> {
        link::link(inode, dir, dentry)
    }

    fn unlink(dir: Locked<'_, Stablefs>, dentry: Victim<'_, Stablefs>) -> Result {
        link::unlink(dir, &dentry)
    }

    fn rmdir(dir: Locked<'_, Stablefs>, dentry: Victim<'_, Stablefs>) -> Result {
        link::rmdir(dir, &dentry)
    }

    fn rename(
        _idmap: Idmap<'_>,
        old_dir: Locked<'_, Stablefs>,
        old: Moved<'_, Stablefs>,
        new_dir: Locked<'_, Stablefs>,
        new: Target<'_, Stablefs>,
        flags: RenameFlags,
    ) -> Result {
        rename::rename(old_dir, &old, new_dir, &new, flags)
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

/// Does what cannot but succeed: if it does not, it is left half done, and the journal given up.
fn whole<T>(transaction: &Transaction<'_>, change: impl FnOnce() -> Result<T>) -> Result<T> {
    change().inspect_err(|error| transaction.abort(*error))
}
