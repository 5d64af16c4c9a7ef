// SPDX-License-Identifier: GPL-2.0

//! Extended attributes are set and removed.
//!
//! all attributes of the inode → with the change → shared out between inode and block → written, both
//! together
//!
//! An attribute goes to the inode if there is room, else to the block. A block that other inodes have,
//! too, as ext4 makes them, is given up for one of the inode's own; none is shared here.

use super::{
    super::{
        balloc::{
            self,
            Want, //
        },
        blocks, inode,
        metadata::{
            self,
            At,
            MetaBlock, //
        },
        transaction::{
            self,
            with_room,
            Edit,
            Transaction, //
        },
        Inode, KernelCrc32c,
    },
    own_bytes, read_block,
};
use crate::{
    kernel::{
        errno,
        inode::Locked,
        jbd2::Credits,
        xattr::SetFlags, //
    },
    ondisk::{
        self,
        xattr::{
            self,
            Prefix,
            Xattr,
            Xattrs, //
        },
        Blocks,
        Compat,
        Lblk,
        Pblk,
        PblkRange, //
    },
};
use ::kernel::{
    alloc::{
        kvec::KVec,
        Flags, //
    },
    prelude::*, //
};
use core::num::NonZeroU32;

/// What [`set_with`] changes: the inode, and its block, or a new one and what releasing the old one
/// changes.
pub(in crate::fs) const CREDITS: Credits = inode::CREDITS
    .and(balloc::NEW)
    .and(Credits::blocks(1))
    .and(RELEASE);

/// What [`release`] changes: the block, or a bitmap and its descriptor.
pub(in crate::fs) const RELEASE: Credits = Credits {
    blocks: balloc::NEW.blocks.saturating_add(1),
    revokes: 1,
};

/// With a handle started, nothing calls back into a filesystem.
const GFP: Flags = GFP_KERNEL;

/// Gives an attribute another value, or removes it if there is none.
///
/// # Errors
///
/// `EEXIST` and `ENODATA`, as `flags` say; `ENOSPC` if the attributes have no room, or the volume has
/// none; what reading and checking the attributes says, or the journal.
///
/// # Context
///
/// Sleeps.
pub(super) fn set(
    inode: Locked<'_, super::Stablefs>,
    prefix: Prefix,
    name: &[u8],
    value: Option<&[u8]>,
    flags: SetFlags,
) -> Result {
    with_room(inode.sb(), || {
        let transaction = Transaction::start(inode.sb(), CREDITS)?;
        set_with(&transaction, inode, prefix, name, value, flags)?;
        transaction.stop()
    })
}

/// As [`set`], together with what else the transaction does; nothing has changed if it fails. What the
/// VFS says of the inode is written with it, and that it has been changed now.
///
/// # Errors
///
/// Those of [`set`].
///
/// # Context
///
/// Sleeps. The transaction has [`CREDITS`] left.
pub(in crate::fs) fn set_with(
    transaction: &Transaction<'_>,
    inode: Locked<'_, super::Stablefs>,
    prefix: Prefix,
    name: &[u8],
    value: Option<&[u8]>,
    flags: SetFlags,
) -> Result {
    let (sb, ino) = (inode.sb(), inode.ino());
    if !sb.volume().features().compat.contains(Compat::EXT_ATTR) {
        return Err(errno::eopnotsupp());
    }
    let (disk, bytes) = {
        let _changing = inode.changing().lock();
        own_bytes(&inode)?
    };
    let block = disk
        .xattr_block()
        .map(|pblk| read_block(&inode, pblk))
        .transpose()?;

    let is_it = |xattr: &Xattr<'_>| xattr.prefix() == prefix && xattr.name() == name;
    let mut is_there = false;
    let mut in_inode = KVec::new();
    if let Some(xattrs) = Xattrs::in_inode(&disk, &bytes)
        .map_err(|error| metadata::blame(sb, At::inode(ino), error))?
    {
        is_there |= all_but(&xattrs, is_it, &mut in_inode)?;
    }
    let mut in_block = KVec::new();
    let mut is_block_changed = false;
    if let Some(block) = &block {
        let xattrs = xattrs_of(&inode, block)?;
        is_block_changed = all_but(&xattrs, is_it, &mut in_block)?;
        is_there |= is_block_changed;
    }
    match (is_there, value) {
        (true, _) if flags.create => return Err(EEXIST),
        (false, _) if flags.replace => return Err(errno::enodata()),
        (false, None) => {
            inode.inode_set_ctime_current();
            inode.inode_inc_iversion();
            return inode::update(transaction, &inode, |_| ());
        }
        _ => {}
    }
    if let Some(value) = value {
        let xattr = Xattr::new(prefix, name, value).ok_or(ERANGE)?;
        in_inode.push(xattr, GFP)?;
        if !fits_inode(&disk, &in_inode, &bytes)? {
            let _ = in_inode.pop();
            in_block.push(xattr, GFP)?;
            is_block_changed = true;
        }
    }
    let place = if !is_block_changed {
        Place::Same
    } else if in_block.is_empty() {
        Place::Nowhere
    } else {
        xattr::sort(&mut in_block);
        let own = block
            .as_ref()
            .filter(|block| xattr::inodes(block.bytes()) == Some(NonZeroU32::MIN));
        place(transaction, &inode, &in_block, own)?
    };
    inode.inode_set_ctime_current();
    inode.inode_inc_iversion();
    write(transaction, &inode, &disk, &in_inode, place)
}

/// Where the attributes of a block go.
enum Place<'t> {
    /// They stay where they are.
    Same,
    /// To the block that has them.
    Own(Pblk, Edit<'t>),
    /// To a new block, which has them.
    New(Pblk),
    /// There are none left.
    Nowhere,
}

/// Copies attributes but those that `is_it`, of which it tells whether there was one.
fn all_but<'a>(
    xattrs: &Xattrs<'a>,
    is_it: impl Fn(&Xattr<'_>) -> bool,
    to: &mut KVec<Xattr<'a>>,
) -> Result<bool> {
    let mut is_there = false;
    for xattr in xattrs {
        if is_it(&xattr) {
            is_there = true;
        } else {
            to.push(xattr, GFP)?;
        }
    }
    Ok(is_there)
}

fn xattrs_of<'a>(inode: &Inode, block: &'a MetaBlock) -> Result<Xattrs<'a>> {
    let sb = inode.sb();
    Xattrs::in_block::<KernelCrc32c>(sb.volume(), block.pblk, block.block()?)
        .map_err(|error| metadata::blame(sb, At::block(inode.ino(), block.pblk), error))
}

fn copy(bytes: &[u8]) -> Result<KVec<u8>> {
    let mut copy = KVec::with_capacity(bytes.len(), GFP)?;
    copy.extend_from_slice(bytes, GFP)?;
    Ok(copy)
}

fn fits_inode(disk: &ondisk::Inode, xattrs: &[Xattr<'_>], bytes: &[u8]) -> Result<bool> {
    let mut bytes = copy(bytes)?;
    Ok(xattr::encode_in_inode(disk, xattrs, &mut bytes).is_some())
}

/// Gets a place for the attributes of a block, `own` being one that only this inode has.
fn place<'t>(
    transaction: &'t Transaction<'_>,
    inode: &Inode,
    xattrs: &[Xattr<'_>],
    own: Option<&MetaBlock>,
) -> Result<Place<'t>> {
    let (sb, ino) = (inode.sb(), inode.ino());
    let volume = sb.volume();
    let block_len = usize::try_from(blocks::len(inode))?;
    let mut bytes = KVec::from_elem(0, block_len, GFP)?;
    let encode = |pblk, bytes: &mut [u8]| {
        xattr::encode_in_block::<KernelCrc32c>(volume, pblk, NonZeroU32::MIN, xattrs, bytes)
            .ok_or(ENOSPC)
    };
    if let Some(own) = own {
        encode(own.pblk, &mut bytes)?;
        let mut edit = transaction.edit(ino, own.pblk)?;
        edit.bytes_mut().copy_from_slice(&bytes);
        return Ok(Place::Own(own.pblk, edit));
    }
    // Whether there is room does not depend on where.
    encode(Pblk(0), &mut bytes)?;
    let want = Want {
        goal: None,
        lblk: Lblk(0),
        wanted: Blocks(1),
        who: balloc::who(sb),
    };
    let pblk = balloc::new_blocks(transaction, inode, &want)?.start;
    encode(pblk, &mut bytes)
        .and_then(|()| transaction.create(pblk, &bytes))
        .inspect_err(|error| give_back(transaction, inode, pblk, *error))?;
    Ok(Place::New(pblk))
}

/// Frees a block that was taken for nothing.
fn give_back(transaction: &Transaction<'_>, inode: &Inode, pblk: Pblk, error: Error) {
    if free(transaction, inode, pblk).is_err() {
        transaction.abort(error);
    }
}

/// Frees a block, or changes nothing.
fn free(transaction: &Transaction<'_>, inode: &Inode, pblk: Pblk) -> Result {
    let block = PblkRange::one(pblk).ok_or(EINVAL)?;
    balloc::free_blocks(transaction, inode.ino(), block)?;
    // Nobody takes it before the transaction is committed.
    transaction
        .revoke(pblk)
        .inspect_err(|error| transaction.abort(*error))
}

/// Has the inode have attributes `in_inode`, and the others at a place.
fn write(
    transaction: &Transaction<'_>,
    inode: &Inode,
    disk: &ondisk::Inode,
    in_inode: &[Xattr<'_>],
    place: Place<'_>,
) -> Result {
    let (sb, old) = (inode.sb(), disk.xattr_block());
    let new = match &place {
        Place::Same => old,
        Place::Own(pblk, _) | Place::New(pblk) => Some(*pblk),
        Place::Nowhere => None,
    };
    let taken = match &place {
        Place::New(pblk) => Some(*pblk),
        _ => None,
    };
    match (old, new) {
        (None, Some(_)) => blocks::count(inode, 1, 0),
        (Some(_), None) => blocks::count(inode, 0, 1),
        _ => {}
    }
    let written = inode::update_whole(transaction, inode, |fields, bytes, _| {
        xattr::encode_in_inode(disk, in_inode, bytes).ok_or_else(|| {
            let at = At::inode(inode.ino());
            transaction::bug(sb, at, "attributes that cannot be written")
        })?;
        fields.xattr_block = new;
        match place {
            Place::Own(_, edit) => edit.write(),
            _ => Ok(()),
        }
    });
    if let Err(error) = written {
        match (old, new) {
            (None, Some(_)) => blocks::count(inode, 0, 1),
            (Some(_), None) => blocks::count(inode, 1, 0),
            _ => {}
        }
        if let Some(pblk) = taken {
            give_back(transaction, inode, pblk, error);
        }
        return Err(error);
    }
    match old {
        Some(pblk) if new != old => {
            release(transaction, inode, pblk).inspect_err(|error| transaction.abort(*error))
        }
        _ => Ok(()),
    }
}

/// Gives up the block with an inode's attributes, and frees it unless other inodes have it, too.
///
/// # Errors
///
/// What reading and checking the block says, or the journal. Nothing has changed then.
///
/// # Context
///
/// Sleeps. The transaction has [`RELEASE`] left.
pub(in crate::fs) fn release(transaction: &Transaction<'_>, inode: &Inode, pblk: Pblk) -> Result {
    let (sb, ino) = (inode.sb(), inode.ino());
    let at = At::block(ino, pblk);
    let shared = sb.volume().shared_xattrs().lock();
    let mut edit = transaction.edit(ino, pblk)?;
    Xattrs::in_block::<KernelCrc32c>(sb.volume(), pblk, edit.block()?)
        .map_err(|error| metadata::blame(sb, at, error))?;
    let bug = || transaction::bug(sb, at, "attributes that cannot be released");
    let inodes = xattr::inodes(edit.bytes()).ok_or_else(bug)?;
    match NonZeroU32::new(inodes.get().saturating_sub(1)) {
        Some(others) => {
            xattr::set_inodes::<KernelCrc32c>(sb.volume(), pblk, others, edit.bytes_mut())
                .ok_or_else(bug)?;
            edit.write()
        }
        None => {
            drop(edit);
            drop(shared);
            free(transaction, inode, pblk)
        }
    }
}
