// SPDX-License-Identifier: GPL-2.0

//! Inodes that nobody uses any more: forgotten, and deleted if they have no name.
//!
//! last name gone, noted as an orphan → last user gone → blocks freed → inode freed, noted no more
//!
//! A crash on the way, or an error, leaves it noted: the next mount goes on.

use super::{
    balloc,
    dax,
    delalloc,
    extents,
    ialloc,
    inode,
    memory::with_memory,
    orphan,
    promise,
    transaction::Transaction,
    xattr,
    Inode, //
};
use crate::{
    kernel::{
        log,
        time::ktime_get_real_seconds, //
    },
    ondisk::{
        inode::{
            Content,
            Type, //
        },
        Lblk,
        LblkRange, //
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
    if inode.nlink() == 0 && sb.volume().is_open() {
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
    delalloc::evict(inode);
    promise::evict(inode);
}

fn delete(inode: &Inode) -> Result {
    match inode.disk().content() {
        Content::BlockMap => {
            let number = inode.ino().get();
            log::warn(
                inode.sb(),
                format_args!(
                    "inode {number}: stays an orphan, as its blocks are not mapped by extents"
                ),
            );
            return Ok(());
        }
        Content::Extents(_) => extents::remove_all(inode, LblkRange::all_from(Lblk(0)))?,
        Content::Target(_) | Content::Device(_) | Content::Nothing => (),
    }
    let credits = inode::CREDITS
        .and(ialloc::CREDITS)
        .and(orphan::CREDITS)
        .and(xattr::RELEASE);
    // Nobody comes back to it before the next mount.
    with_memory(|| {
        let transaction = Transaction::start(inode.sb(), credits)?;
        inode::prepare(&transaction, inode)?;
        if let Some(pblk) = inode.disk().xattr_block() {
            xattr::release(&transaction, inode, pblk)?;
        }
        // From here on, all of it has to follow.
        free(&transaction, inode).inspect_err(|error| transaction.abort(*error))?;
        transaction.stop()
    })
}

/// Frees an inode that has no blocks any more.
fn free(transaction: &Transaction<'_>, inode: &Inode) -> Result {
    orphan::remove(transaction, inode)?;
    let now = ktime_get_real_seconds();
    inode::update(transaction, inode, |fields| {
        // Not 0, which is that of an inode in use.
        fields.dtime = u32::try_from(now).unwrap_or(u32::MAX).max(1);
        fields.size = 0;
        if fields.file_type == Type::Symlink {
            fields.content = Content::Nothing;
        }
        fields.xattr_block = None;
    })?;
    ialloc::free_inode(transaction, inode.ino(), inode.is_dir())
}
