// SPDX-License-Identifier: GPL-2.0

//! What a mounted volume does.

use super::{
    dax,
    evict,
    groups,
    inode,
    volume::{
        Uuid,
        Volume, //
    },
    writing,
    Inode,
    Stablefs,
    SuperBlock, //
};
use crate::{
    kernel::{
        errno, log,
        super_block::{
            self,
            Statfs, //
        },
    },
    ondisk::dir::NAME_LEN,
};
use ::kernel::{
    prelude::*,
    seq_file::SeqFile, //
};

#[vtable]
impl super_block::Operations for Stablefs {
    fn evict_inode(inode: &Inode) {
        evict::evict_inode(inode);
    }

    fn dirty_inode(inode: &Inode) {
        inode::dirty_inode(inode);
    }

    fn write_inode(inode: &Inode, wait: bool) -> Result {
        inode::write_inode(inode, wait)
    }

    fn sync_fs(sb: &SuperBlock, wait: bool) -> Result {
        match sb.journal() {
            Some(journal) if sb.volume().is_open() => {
                if wait {
                    writing::sync_incidents(sb);
                }
                journal.sync(wait)
            }
            _ => Ok(()),
        }
    }

    fn write_failed(sb: &SuperBlock, error: Error) {
        if error == errno::eilseq() {
            sb.volume().counters().guard_error_written();
        }
    }

    fn freeze_fs(sb: &SuperBlock) -> Result {
        writing::freeze(sb)
    }

    fn unfreeze_fs(sb: &SuperBlock) -> Result {
        writing::thaw(sb);
        Ok(())
    }

    fn is_unused(inode: &Inode) -> bool {
        dax::is_unused(inode)
    }

    fn deferred(sb: &SuperBlock) {
        writing::note_incidents(sb);
    }

    fn put_super(sb: &SuperBlock) {
        if sb.volume().is_open() {
            let _ = writing::close(sb);
        }
        let uuid = Uuid(sb.volume().uuid());
        log::info(sb, format_args!("unmounting filesystem {uuid}"));
    }

    fn show_options(sb: &SuperBlock, seq: &SeqFile) {
        let volume = sb.volume();
        let has_dax = volume.dax().device().is_some();
        let is_given_up = writing::is_given_up(sb);
        volume.options().show(volume, has_dax, is_given_up, seq);
    }

    fn statfs(sb: &SuperBlock) -> Statfs {
        statfs(sb.volume())
    }
}

/// The numbers that ext4 has for the volume.
fn statfs(volume: &Volume) -> Statfs {
    let per_cluster = u64::from(volume.blocks_per_cluster().get());
    let blocks = |clusters: u64| clusters.saturating_mul(per_cluster);
    let all = volume.blocks_count().0;
    let kept = groups::kept(volume);
    // As ext4 has it, whose reserved blocks are blocks and whose others are clusters.
    let kept = kept.root.saturating_add(blocks(kept.essential));
    let total = volume.allocator().total();
    let free = blocks(total.free_blocks);
    Statfs {
        blocks: all.saturating_sub(blocks(volume.groups().overhead_clusters)),
        bfree: free,
        bavail: free.saturating_sub(kept),
        files: volume.inodes_count().into(),
        ffree: total.free_inodes,
        namelen: NAME_LEN,
        uuid: volume.uuid(),
    }
}
