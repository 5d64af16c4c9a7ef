// SPDX-License-Identifier: GPL-2.0

//! Bytes of a file, as blocks.

use super::Inode;
use crate::{
    kernel::log,
    ondisk::{
        Blocks,
        Lblk,
        LblkRange, //
    },
};
use ::kernel::prelude::*;

/// A number of bytes in memory, as one of a file.
pub(super) fn to_u64(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

/// How many bytes a block of the volume has.
pub(super) fn len(inode: &Inode) -> u64 {
    inode.sb().volume().block_size().bytes().get().into()
}

/// The blocks that the bytes from `pos` up to `end` are in; the first and the last may have other
/// bytes, too.
///
/// # Errors
///
/// `EFBIG` if no file has these.
pub(super) fn around(inode: &Inode, pos: u64, end: u64) -> Result<LblkRange> {
    Ok(LblkRange {
        start: at(inode, pos)?,
        end: behind(inode, end)?,
    })
}

/// The blocks that have bytes from `pos` up to `end` only; none, perhaps.
///
/// # Errors
///
/// `EFBIG` if no file has these.
pub(super) fn within(inode: &Inode, pos: u64, end: u64) -> Result<LblkRange> {
    let start = behind(inode, pos)?;
    let end = at(inode, end)?.max(start);
    Ok(LblkRange { start, end })
}

/// The block with the byte at `pos`.
///
/// # Errors
///
/// `EFBIG` if no file has it.
pub(super) fn at(inode: &Inode, pos: u64) -> Result<Lblk> {
    lblk(pos.checked_div(len(inode)).ok_or(EINVAL)?)
}

/// The first block that has no byte before `pos`.
///
/// # Errors
///
/// `EFBIG` if no file has it, nor ends before it.
pub(super) fn behind(inode: &Inode, pos: u64) -> Result<Lblk> {
    lblk(pos.div_ceil(len(inode)))
}

fn lblk(n: u64) -> Result<Lblk> {
    u32::try_from(n).map(Lblk).map_err(|_| EFBIG)
}

/// Where in the file a block begins.
pub(super) fn pos(inode: &Inode, lblk: Lblk) -> u64 {
    bytes(inode, Blocks(lblk.0.into()))
}

/// How many bytes as many blocks of a file have.
pub(super) fn bytes(inode: &Inode, n: Blocks) -> u64 {
    // OVERFLOW: less than 2^32 blocks of less than 2^17 bytes.
    n.0.saturating_mul(len(inode))
}

/// Has an inode say that it has so many blocks more, and so many less.
///
/// What the disk said of it may have been wrong, which is reported then: but nobody relies on it, so that is
/// no reason to write nothing any more.
pub(super) fn count(inode: &Inode, more: u64, less: u64) {
    inode.inode_add_bytes(bytes(inode, Blocks(more)));
    if !inode.inode_sub_bytes(bytes(inode, Blocks(less))) {
        let (sb, number) = (inode.sb(), inode.ino().get());
        log::err(
            sb,
            format_args!("inode {number}: i_blocks is less than the blocks that it had"),
        );
        sb.volume().set_has_errors();
    }
}
