// SPDX-License-Identifier: GPL-2.0

//! Symbolic links.
//!
//! A target of fewer than 60 bytes is in the inode, and known once that is read. A longer one has a
//! block, which is metadata: its changes go through the journal, so that the buffer cache has them
//! when the block on the disk, and with it a page cache of the link's own, does not yet.

use super::{
    attr,
    inode::read_block,
    metadata::{
        self,
        At, //
    },
    xattr, Inode, Stablefs,
};
use crate::{
    kernel::{
        inode::{
            self,
            Iattr, //
        },
        stat::Kstat,
        xattr::Buffer, //
    },
    ondisk::{
        self,
        inode::{
            Content,
            Fields,
            Type, //
        },
        Lblk, //
    },
};
use ::kernel::{
    prelude::*,
    str::CString, //
};

/// Operations on symbolic links.
pub(super) struct Operations;

#[vtable]
impl inode::Operations for Operations {
    type FileSystem = Stablefs;

    fn get_link(inode: &Inode) -> Result<CString> {
        let block = read_block(inode, Lblk(0))?;
        // Less than a block, which `ondisk` has checked.
        let len = usize::try_from(inode.disk().size()).unwrap_or(usize::MAX);
        let target = block.bytes().get(..len).unwrap_or_default();
        match target.iter().position(|byte| *byte == 0) {
            None if !target.is_empty() => c_string(target),
            end => Err(metadata::corrupt(
                inode.sb(),
                At::block(inode.ino(), block.pblk),
                format_args!(
                    "symbolic link of {len} bytes ends after {}",
                    end.unwrap_or(0)
                ),
            )),
        }
    }

    fn getattr(inode: &Inode, stat: &mut Kstat<'_>) -> Result {
        attr::getattr(inode, stat)
    }

    fn setattr(attr: Iattr<'_, Stablefs>) -> Result {
        attr::setattr(attr)
    }

    fn listxattr(inode: &Inode, names: &mut Buffer<'_>) -> Result {
        xattr::list(inode, names)
    }
}

/// Has a link that has no block, but should, say that it is being deleted: else it would be taken for
/// one with its target in the inode.
pub(super) fn forget_target(volume: &ondisk::Superblock, fields: &mut Fields) {
    let has_tree = matches!(fields.content, Content::Extents(_));
    let block = u64::from(volume.block_size().bytes().get()) / 512;
    let others = fields.xattr_block.map_or(0, |_| block);
    if fields.file_type == Type::Symlink && has_tree && fields.sectors <= others {
        fields.size = 0;
        fields.content = Content::Nothing;
    }
}

/// The target as C has it; there must be no zero in it.
pub(super) fn c_string(target: &[u8]) -> Result<CString> {
    let mut text = KVec::with_capacity(target.len().saturating_add(1), GFP_KERNEL)?;
    text.extend_from_slice(target, GFP_KERNEL)?;
    text.push(0, GFP_KERNEL)?;
    let text = CStr::from_bytes_with_nul(&text).map_err(|_| EINVAL)?;
    Ok(CString::try_from(text)?)
}
