// SPDX-License-Identifier: GPL-2.0

//! Extended attributes: those in the inode, then those in its block.
//!
//! They are read from the buffer cache each time, and copied before they are looked at. `changing` of
//! the inode is held meanwhile, so that the two places agree: of `i_rwsem`, which C takes around a
//! change, a reader does not know whether its caller has it.
//!
//! The checksum of the inode, and that of the block, are verified at each reading, and so is the
//! hash of each attribute. The hash of the whole block, `h_hash`, is for finding blocks of like
//! contents; nothing that is read depends on it, and neither ext4 nor `e2fsck` verifies it.
//!
//! Access control lists have handlers in the VFS, which asks [`acl`](super::acl) for them. Here
//! they are listed only.

mod set;

pub(super) use set::{
    release,
    set_with,
    CREDITS,
    RELEASE, //
};

use super::{
    blocks,
    inode::{
        place_of,
        read_bytes, //
    },
    metadata::{
        self,
        At,
        MetaBlock, //
    },
    orphan,
    Inode,
    KernelCrc32c,
    Stablefs, //
};
use crate::{
    kernel::{
        capability, errno,
        inode::Locked,
        iomap::OnlyExtent,
        mnt_idmapping::Idmap,
        sched_mm::NofsScope,
        xattr::{
            self,
            Buffer,
            Handler,
            Handlers,
            SetFlags, //
        },
    },
    ondisk::{
        self,
        xattr::{
            Prefix,
            Xattrs, //
        },
        Pblk, //
    },
};
use ::kernel::prelude::*;
use core::{
    marker::PhantomData,
    ops::ControlFlow, //
};

/// What handles all but access control lists.
pub(super) const HANDLERS: Handlers<Stablefs> = Handlers::new(&[
    Handler::new::<Operations<User>>(),
    Handler::new::<Operations<Trusted>>(),
    Handler::new::<Operations<Security>>(),
    Handler::new::<Operations<Hurd>>(),
    Handler::END,
]);

/// Attributes whose names begin alike.
trait Namespace: 'static {
    /// With what they begin.
    const TEXT: &'static CStr;
    /// That as the disk has it.
    const PREFIX: Prefix;
    /// Whether the mounter may have switched them off.
    const IS_OPTIONAL: bool;
}

struct User;

impl Namespace for User {
    const TEXT: &'static CStr = c"user.";
    const PREFIX: Prefix = Prefix::USER;
    const IS_OPTIONAL: bool = true;
}

struct Trusted;

impl Namespace for Trusted {
    const TEXT: &'static CStr = c"trusted.";
    const PREFIX: Prefix = Prefix::TRUSTED;
    const IS_OPTIONAL: bool = false;
}

struct Security;

impl Namespace for Security {
    const TEXT: &'static CStr = c"security.";
    const PREFIX: Prefix = Prefix::SECURITY;
    const IS_OPTIONAL: bool = false;
}

struct Hurd;

impl Namespace for Hurd {
    const TEXT: &'static CStr = c"gnu.";
    const PREFIX: Prefix = Prefix::HURD;
    const IS_OPTIONAL: bool = true;
}

/// Operations on the attributes of a namespace.
struct Operations<N>(PhantomData<N>);

#[vtable]
impl<N: Namespace> xattr::Operations for Operations<N> {
    type FileSystem = Stablefs;

    const PREFIX: &'static CStr = N::TEXT;

    fn get(inode: &Inode, name: &CStr, value: &mut Buffer<'_>) -> Result {
        check::<N>(inode)?;
        get(inode, N::PREFIX, name.to_bytes(), |bytes| value.push(bytes))
    }

    fn set(
        _: Idmap<'_>,
        inode: Locked<'_, Stablefs>,
        name: &CStr,
        value: Option<&[u8]>,
        flags: SetFlags,
    ) -> Result {
        check::<N>(&inode)?;
        set::set(inode, N::PREFIX, name.to_bytes(), value, flags)
    }
}

/// Refuses what the mounter has switched off.
fn check<N: Namespace>(inode: &Inode) -> Result {
    if N::IS_OPTIONAL && !inode.sb().volume().options().user_xattr() {
        return Err(errno::eopnotsupp());
    }
    Ok(())
}

/// Where attributes are: in the inode, or else in their block; none, if there are none.
///
/// # Errors
///
/// What reading and checking the attributes of the inode says.
pub(super) fn place(inode: &Inode) -> Result<Option<OnlyExtent>> {
    let sb = inode.sb();
    let (disk, bytes) = {
        let _nofs = NofsScope::memalloc_nofs_save();
        let _changing = inode.changing().lock();
        own_bytes(inode)?
    };
    let in_inode = Xattrs::in_inode(&disk, &bytes)
        .map_err(|error| metadata::blame(sb, At::inode(inode.ino()), error))?;
    if in_inode.is_some() {
        let inode_place = place_of(sb, inode.ino())?;
        let skip = u32::try_from(disk.xattr_pos())?;
        let start = inode_place.start.checked_add(skip).ok_or(EINVAL)?;
        return Ok(Some(OnlyExtent {
            addr: metadata::addr(sb.volume(), inode_place.pblk, start)?,
            len: inode_place.len.saturating_sub(skip).into(),
            is_inline: true,
        }));
    }
    let Some(pblk) = disk.xattr_block() else {
        return Ok(None);
    };
    Ok(Some(OnlyExtent {
        addr: metadata::addr(sb.volume(), pblk, 0)?,
        len: blocks::len(inode),
        is_inline: false,
    }))
}

/// Gives the value of an attribute to `take`.
///
/// # Errors
///
/// `ENODATA` if there is none; what reading and checking the attributes says, or `take` does.
pub(super) fn get<R>(
    inode: &Inode,
    prefix: Prefix,
    name: &[u8],
    take: impl FnOnce(&[u8]) -> Result<R>,
) -> Result<R> {
    let mut take = Some(take);
    let found = visit(inode, |xattrs| {
        let taken = xattrs
            .get(prefix, name)
            .and_then(|value| Some(take.take()?(value)));
        match taken {
            Some(taken) => Ok(ControlFlow::Break(taken?)),
            None => Ok(ControlFlow::Continue(())),
        }
    })?;
    match found {
        ControlFlow::Break(taken) => Ok(taken),
        ControlFlow::Continue(()) => Err(errno::enodata()),
    }
}

/// Lists the names of all attributes that the current task may know of.
pub(super) fn list(inode: &Inode, names: &mut Buffer<'_>) -> Result {
    let options = inode.sb().volume().options();
    let shown = Shown {
        user: options.user_xattr(),
        acls: options.acl(),
        trusted: capability::is_sys_admin(),
    };
    let _ = visit(inode, |xattrs| {
        for xattr in &xattrs {
            if let Some(prefix) = shown.text(xattr.prefix()) {
                names.push(prefix.as_bytes())?;
                names.push(xattr.name())?;
                names.push(&[0])?;
            }
        }
        Ok(ControlFlow::<()>::Continue(()))
    })?;
    Ok(())
}

/// Which attributes are listed.
struct Shown {
    user: bool,
    acls: bool,
    trusted: bool,
}

impl Shown {
    fn text(&self, prefix: Prefix) -> Option<&'static str> {
        let shown = match prefix {
            Prefix::SECURITY => true,
            Prefix::USER | Prefix::HURD => self.user,
            Prefix::POSIX_ACL_ACCESS | Prefix::POSIX_ACL_DEFAULT => self.acls,
            Prefix::TRUSTED => self.trusted,
            _ => false,
        };
        prefix.text().filter(|_| shown)
    }
}

/// Shows the attributes in the inode, then those in its block, to `look`, until that breaks.
fn visit<R>(
    inode: &Inode,
    mut look: impl FnMut(Xattrs<'_>) -> Result<ControlFlow<R>>,
) -> Result<ControlFlow<R>> {
    let (sb, ino) = (inode.sb(), inode.ino());
    let blame = |error| metadata::blame(sb, At::inode(ino), error);
    let _nofs = NofsScope::memalloc_nofs_save();
    let _changing = inode.changing().lock();
    let (disk, bytes) = own_bytes(inode)?;
    if let Some(xattrs) = Xattrs::in_inode(&disk, &bytes).map_err(blame)? {
        if let ControlFlow::Break(value) = look(xattrs)? {
            return Ok(ControlFlow::Break(value));
        }
    }
    let Some(pblk) = disk.xattr_block() else {
        return Ok(ControlFlow::Continue(()));
    };
    let block = read_block(inode, pblk)?;
    let xattrs = Xattrs::in_block::<KernelCrc32c>(sb.volume(), pblk, block.block()?)
        .map_err(|error| metadata::blame(sb, At::block(ino, pblk), error))?;
    look(xattrs)
}

/// The inode on the disk, and all its bytes, while `changing` is held.
fn own_bytes(inode: &Inode) -> Result<(ondisk::Inode, KVec<u8>)> {
    let (sb, ino) = (inode.sb(), inode.ino());
    // Who takes another inode out of the list may be changing this one.
    let _listed = orphan::lock_list(inode);
    let bytes = read_bytes(sb, ino)?;
    let disk = ondisk::Inode::parse::<KernelCrc32c>(sb.volume(), ino, &bytes)
        .map_err(|error| metadata::blame(sb, At::inode(ino), error))?;
    match disk {
        Some(disk) => Ok((disk, bytes)),
        None => Err(metadata::corrupt(
            sb,
            At::inode(ino),
            format_args!("is free on the disk"),
        )),
    }
}

/// Reads the block with an inode's attributes. Other inodes may have it, too, and give it up meanwhile,
/// which changes its checksum: if that is wrong, it is read once more while nobody does.
fn read_block(inode: &Inode, pblk: Pblk) -> Result<MetaBlock> {
    let (sb, ino) = (inode.sb(), inode.ino());
    let block = MetaBlock::read(sb, ino, pblk)?;
    if Xattrs::in_block::<KernelCrc32c>(sb.volume(), pblk, block.block()?).is_ok() {
        return Ok(block);
    }
    let _shared = sb.volume().shared_xattrs().lock();
    MetaBlock::read(sb, ino, pblk)
}
