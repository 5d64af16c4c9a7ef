// SPDX-License-Identifier: GPL-2.0

//! The extent map, as iomap wants it.

use super::{
    dax,
    dio,
    map::{
        self,
        Extent,
        State, //
    },
    metadata,
    Inode,
    Stablefs,
    SuperBlock, //
};
use crate::{
    extent_map::Claim,
    kernel::{
        integrity::Verifier,
        iomap::{
            self,
            Addr,
            FailedRead,
            Flags,
            Kind, //
        },
    },
    ondisk::{
        BlockSize,
        Blocks,
        Lblk,
        LblkRange, //
    },
};
use ::kernel::prelude::*;

/// Blocks that are claimed at a time, a power of 2: 2 MiB, as blocks are pages where there is DAX. A
/// file needs no more claims than it has extents and such parts, however small its pages are.
const AROUND: u32 = 512;

/// Operations on mappings.
pub(super) struct Operations;

impl iomap::Operations for Operations {
    type FileSystem = Stablefs;

    fn iomap_begin(inode: &Inode, pos: u64, len: u64, flags: Flags) -> Result<iomap::Mapping<'_>> {
        if flags.contains(Flags::WRITE) {
            return Err(EROFS);
        }
        let volume = inode.sb().volume();
        let block_size = volume.block_size();
        let Some(lblk) = lblk_at(block_size, pos) else {
            // The page with the end of the largest file has blocks that no file can have.
            return Ok(iomap::Mapping {
                pos,
                len: len.max(1),
                kind: Kind::Hole,
            });
        };
        let mapping = if flags.contains(Flags::NOWAIT) {
            map::lookup_cached(inode, lblk).ok_or(EAGAIN)?
        } else {
            map::lookup(inode, lblk)?
        };
        let kind = match mapping {
            map::Mapping::Hole(_) => Kind::Hole,
            map::Mapping::Extent(extent) => {
                let pblk = extent.pblk(lblk).ok_or(EINVAL)?;
                let addr = metadata::addr(volume, pblk, 0)?;
                let addr = if flags.contains(Flags::DAX) {
                    if flags.contains(Flags::FAULT) {
                        claim(inode, &extent, lblk, len)?;
                    }
                    let device = volume.dax().device().ok_or(EIO)?;
                    Addr::Dax(device.addr(addr).ok_or(EIO)?)
                } else {
                    Addr::Bdev(addr)
                };
                match extent.state() {
                    State::Written => Kind::Written(addr),
                    State::Unwritten => Kind::Unwritten(addr),
                }
            }
        };
        // What comes before `lblk` is left out, as in what other filesystems tell FIEMAP.
        let lblks = LblkRange {
            start: lblk,
            end: mapping.lblks().end,
        };
        Ok(iomap::Mapping {
            pos: bytes(block_size, Blocks(lblk.0.into()))?,
            len: bytes(
                block_size,
                lblks.end.checked_sub(lblks.start).ok_or(EINVAL)?,
            )?,
            kind,
        })
    }

    fn verifier(sb: &SuperBlock) -> Option<&Verifier> {
        sb.volume().verifier()
    }

    fn end_io(read: &FailedRead<'_, Stablefs>) -> Error {
        dio::end_io(read)
    }
}

/// The block with the byte at `pos` of a file, if a file can have it.
fn lblk_at(block_size: BlockSize, pos: u64) -> Option<Lblk> {
    let lblk = pos.checked_div(block_size.bytes().get().into())?;
    let lblk = u32::try_from(lblk).ok().map(Lblk)?;
    (lblk < Lblk::END).then_some(lblk)
}

/// Claims what C maps for a fault on the `len` bytes from block `lblk` on: data that are at least as
/// long, and nothing else. If it can be had, what the extent has around them is claimed, too.
fn claim(inode: &Inode, extent: &Extent, lblk: Lblk, len: u64) -> Result {
    let block_size = inode.sb().volume().block_size();
    let n = Blocks(len.div_ceil(block_size.bytes().get().into()));
    let end = lblk.checked_add(n).filter(|end| *end <= extent.lblks().end);
    let (Some(end), State::Written) = (end, extent.state()) else {
        return Ok(());
    };
    let of = |start, end| Claim::of(inode.ino(), extent, LblkRange { start, end }).ok_or(EINVAL);
    let start = Lblk(lblk.0 & !(AROUND - 1));
    let around = Lblk(start.0.saturating_add(AROUND));
    dax::claim(inode, of(start, around.max(end))?, of(lblk, end)?)
}

fn bytes(block_size: BlockSize, n: Blocks) -> Result<u64> {
    n.bytes(block_size).ok_or(EINVAL)
}
