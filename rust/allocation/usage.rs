// SPDX-License-Identifier: GPL-2.0

//! What a descriptor says after something was taken from its group, or came back to it.
//!
//! Each function gives nothing if the descriptor cannot say that: more would be free than there are,
//! or fewer than none. Then descriptor and bitmap do not fit together.

use super::Geometry;
use crate::ondisk::{
    group::{
        Flags,
        Usage, //
    },
    Ino, //
};

/// After `n` blocks were taken. The block bitmap, if it was not written before, now is.
pub fn without_blocks(usage: &Usage, n: u32) -> Option<Usage> {
    Some(Usage {
        free_clusters: usage.free_clusters.checked_sub(n)?,
        flags: usage.flags.without(Flags::BLOCK_UNINIT),
        ..*usage
    })
}

/// After `n` blocks came back.
pub fn with_blocks(usage: &Usage, n: u32) -> Option<Usage> {
    Some(Usage {
        free_clusters: usage.free_clusters.checked_add(n)?,
        ..*usage
    })
}

/// After inode `ino` was taken for a directory, or for something else. Both bitmaps, if they were
/// not written before, now are: ext4 leaves no group that has inodes in use without block bitmap.
pub fn without_inode(
    geometry: Geometry<'_>,
    usage: &Usage,
    ino: Ino,
    is_dir: bool,
) -> Option<Usage> {
    let volume = geometry.volume();
    let used = volume.index_in_group(ino).checked_add(1)?;
    let never_used = volume.inodes_per_group().get().checked_sub(used)?;
    let was_unused = usage.flags.contains(Flags::INODE_UNINIT);
    Some(Usage {
        free_inodes: usage.free_inodes.checked_sub(1)?,
        used_dirs: usage.used_dirs.checked_add(is_dir.into())?,
        itable_unused: if was_unused {
            never_used
        } else {
            usage.itable_unused.min(never_used)
        },
        flags: usage
            .flags
            .without(Flags::INODE_UNINIT)
            .without(Flags::BLOCK_UNINIT),
        ..*usage
    })
}

/// After an inode came back.
pub fn with_inode(usage: &Usage, was_dir: bool) -> Option<Usage> {
    Some(Usage {
        free_inodes: usage.free_inodes.checked_add(1)?,
        used_dirs: usage.used_dirs.checked_sub(was_dir.into())?,
        ..*usage
    })
}
