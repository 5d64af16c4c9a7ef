// SPDX-License-Identifier: GPL-2.0

//! Inodes that nobody uses any more: forgotten, and deleted if they have no name.
//!
//! last name gone, noted as an orphan → last user gone → blocks freed → inode freed, noted no more
//!
//! A crash on the way, or an error, leaves it noted: the next mount goes on.

use super::{
    balloc,
    dax,
    extents,
    ialloc,
    inode,
    map,
    metadata::{
        self,
        At, //
    },
    orphan,
    transaction::{
        self,
        Transaction, //
    },
    Inode,
    KernelCrc32c, //
};
use crate::{
    kernel::{
        jbd2::Credits,
        log,
        time::ktime_get_real_seconds, //
    },
    ondisk::{
        inode::{
            Content,
            Type, //
        },
        xattr::{
            self,
            Xattrs, //
        },
        Blocks,
        Lblk,
        Pblk,
        PblkRange, //
    },
};
use ::kernel::prelude::*;

/// Ends an inode in memory, and on the disk if it has no name.
///
/// # Context
///
/// Sleeps, also in memory reclaim. Nobody else has the inode, whose pages are gone.
pub(super) fn evict_inode(inode: &Inode) {
    dax::evict(inode);
    balloc::close_window(inode);
    let sb = inode.sb();
    if inode.nlink() == 0 && !sb.sb_rdonly() {
        let _writing = sb.sb_start_intwrite();
        if let Err(error) = delete(inode) {
            let (number, errno) = (inode.ino().get(), error.to_errno());
            log::err(
                sb,
                format_args!(
                    "inode {number}: stays on the disk until the next mount: error {errno}"
                ),
            );
        }
    }
    map::evict(inode);
}

fn delete(inode: &Inode) -> Result {
    if matches!(inode.disk().content(), Content::Extents(_)) {
        extents::truncate(inode, Lblk(0))?;
    }
    let credits = inode::CREDITS + ialloc::CREDITS + orphan::CREDITS + XATTR;
    let transaction = Transaction::start(inode.sb(), credits)?;
    inode::prepare(&transaction, inode)?;
    let xattr_block = inode.disk().xattr_block();
    if let Some(pblk) = xattr_block {
        release_xattrs(&transaction, inode, pblk)?;
    }
    orphan::remove(&transaction, inode)?;
    let now = ktime_get_real_seconds();
    inode::update(&transaction, inode, |fields| {
        // Not 0, which is that of an inode in use.
        fields.dtime = u32::try_from(now).unwrap_or(u32::MAX).max(1);
        fields.size = 0;
        if fields.file_type == Type::Symlink {
            fields.content = Content::Nothing;
        }
        fields.xattr_block = None;
    })
    .and_then(|()| ialloc::free_inode(&transaction, inode.ino(), inode.is_dir()))
    .inspect_err(|error| transaction.abort(*error))?;
    transaction.stop()
}

/// What [`release_xattrs`] changes: the block, or a bitmap and its descriptor.
const XATTR: Credits = Credits {
    blocks: balloc::NEW.blocks.saturating_add(1),
    revokes: 1,
};

/// Frees the block with an inode's attributes, unless other inodes have it, too.
fn release_xattrs(transaction: &Transaction<'_>, inode: &Inode, pblk: Pblk) -> Result {
    let (sb, ino) = (inode.sb(), inode.ino());
    let at = At::block(ino, pblk);
    let mut edit = transaction.edit(ino, pblk)?;
    Xattrs::in_block::<KernelCrc32c>(sb.volume(), pblk, edit.block()?)
        .map_err(|error| metadata::blame(sb, at, error))?;
    let bug = || transaction::bug(sb, at, "attributes that cannot be released");
    let inodes = xattr::inodes(edit.bytes()).ok_or_else(bug)?;
    match core::num::NonZeroU32::new(inodes.get().saturating_sub(1)) {
        Some(others) => {
            xattr::set_inodes::<KernelCrc32c>(sb.volume(), pblk, others, edit.bytes_mut())
                .ok_or_else(bug)?;
            edit.write()
        }
        None => {
            drop(edit);
            let end = pblk.checked_add(Blocks(1)).ok_or(EINVAL)?;
            transaction.revoke(pblk)?;
            balloc::free_blocks(transaction, ino, PblkRange { start: pblk, end })
        }
    }
}
