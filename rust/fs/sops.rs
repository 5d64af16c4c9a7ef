// SPDX-License-Identifier: GPL-2.0

//! What a mounted volume does.

use super::{
    dax,
    map,
    volume::{
        Uuid,
        Volume, //
    },
    Inode,
    Stablefs,
    SuperBlock, //
};
use crate::{
    kernel::{
        log,
        super_block::{
            self,
            Statfs, //
        },
    },
    ondisk::{
        dir::NAME_LEN,
        Incompat, //
    },
};
use ::kernel::{
    prelude::*,
    seq_file::SeqFile, //
};

/// Clusters that ext4 keeps for splitting extents when nothing else is left, at most; they are not
/// more than a fiftieth of the volume.
const MAX_KEPT: u64 = 4096;

#[vtable]
impl super_block::Operations for Stablefs {
    fn evict_inode(inode: &Inode) {
        dax::evict(inode);
        map::evict(inode);
    }

    fn put_super(sb: &SuperBlock) {
        let uuid = Uuid(sb.volume().uuid());
        log::info(sb, format_args!("unmounting filesystem {uuid}"));
    }

    fn show_options(sb: &SuperBlock, seq: &SeqFile) {
        let volume = sb.volume();
        let has_dax = volume.dax().device().is_some();
        volume.options().show(volume, has_dax, seq);
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
    let groups = volume.groups();

    let kept = if volume.features().incompat.contains(Incompat::EXTENTS) {
        let clusters = all.checked_div(per_cluster).unwrap_or(all);
        blocks((clusters / 50).min(MAX_KEPT))
    } else {
        0
    };
    let kept = kept.saturating_add(volume.settings().reserved_blocks());
    let free = blocks(groups.free_clusters);
    Statfs {
        blocks: all.saturating_sub(blocks(groups.overhead_clusters)),
        bfree: free,
        bavail: free.saturating_sub(kept),
        files: volume.inodes_count().into(),
        ffree: groups.free_inodes,
        namelen: NAME_LEN,
        uuid: volume.uuid(),
    }
}
