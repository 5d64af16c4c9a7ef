// SPDX-License-Identifier: GPL-2.0

//! The superblock: read → checked → found to fit the device and the mount; perhaps changed and
//! written back. While the volume is written, it is changed through the journal.

use super::{
    metadata::{
        self,
        At, //
    },
    refusal::Refusal,
    transaction::Transaction,
    KernelCrc32c,
    Stablefs, //
};
use crate::{
    kernel::{
        buffer::{
            BdevAddr,
            Buffer, //
        },
        super_block::{
            NewSuperBlock,
            OnDevice, //
        },
    },
    ondisk::{
        ErrorRecord,
        InBlock,
        Ino,
        Pblk,
        Superblock,
        Update, //
    },
};
use ::kernel::prelude::*;

/// A superblock, and its bytes.
pub(super) struct Read {
    superblock: Superblock,
    bytes: KBox<[u8; Superblock::LEN]>,
}

impl Read {
    /// Reads the superblock, finds the volume one to be mounted, and sets the size of its blocks.
    /// What was read with another size is gone.
    pub(super) fn new(sb: &mut NewSuperBlock<'_, Stablefs>) -> Result<Self, Refusal> {
        let device_len = sb.bdev_nr_bytes();
        if device_len < Superblock::END {
            return Err(Refusal::TooSmall { device_len });
        }
        if sb.block_size().is_none() {
            return Err(Refusal::SectorSize);
        }
        // The superblock is as long as the smallest block, so a block of any size holds all of it.
        sb.sb_min_blocksize(Superblock::LEN)
            .map_err(|_| Refusal::SectorSize)?;

        let read = Self::again(sb)?;
        accept(sb, &read.superblock)?;
        let block_len = read.superblock.block_size().bytes();
        sb.sb_set_blocksize(block_len)
            .map_err(|_| Refusal::BlockSize {
                block_len: block_len.get(),
            })?;
        Ok(read)
    }

    /// Reads the superblock as it is now.
    pub(super) fn again(sb: &OnDevice) -> Result<Self, Refusal> {
        let addr = BdevAddr(Superblock::POS);
        let mut bytes =
            KBox::new([0; Superblock::LEN], GFP_KERNEL).map_err(|_| Refusal::NoMemory)?;
        Buffer::sb_bread(sb, addr)
            .and_then(|buffer| buffer.copy_to_slice(addr, &mut *bytes))
            .map_err(|_| Refusal::Unreadable)?;
        let superblock = Superblock::parse::<KernelCrc32c>(&bytes).map_err(Refusal::Superblock)?;
        Ok(Self { superblock, bytes })
    }

    /// What it says.
    pub(super) fn superblock(&self) -> &Superblock {
        &self.superblock
    }

    /// The same, alone.
    pub(super) fn into_superblock(self) -> Superblock {
        self.superblock
    }

    /// What it says about errors.
    pub(super) fn error_record(&self) -> ErrorRecord {
        ErrorRecord::of(&self.bytes)
    }

    /// Changes it, and has the device write it, unless it says so already.
    pub(super) fn update(&mut self, sb: &OnDevice, update: &Update) -> Result<(), Refusal> {
        let before = self.superblock.clone();
        let record = self.error_record();
        self.superblock = update
            .apply::<KernelCrc32c>(&mut self.bytes)
            .map_err(Refusal::Superblock)?;
        if before == self.superblock && record == self.error_record() {
            return Ok(());
        }
        let addr = BdevAddr(Superblock::POS);
        Buffer::sb_bread(sb, addr)
            .and_then(|buffer| buffer.write_through(addr, &*self.bytes))
            .map_err(|_| Refusal::SuperblockWrite)
    }
}

/// Looks at what the volume and this mount have to do with each other.
fn accept(sb: &OnDevice, volume: &Superblock) -> Result<(), Refusal> {
    let device_len = sb.bdev_nr_bytes();
    if volume.len() > device_len {
        return Err(Refusal::Truncated {
            volume_len: volume.len(),
            device_len,
        });
    }
    let unknown = volume.features().ro_compat.unsupported();
    if !sb.sb_rdonly() && !unknown.is_empty() {
        return Err(Refusal::WriteProtected(unknown));
    }
    Ok(())
}

/// Changes the superblock, because of `ino`, in a transaction, which has one block left for it.
///
/// # Errors
///
/// What reading and checking it says, or the journal.
///
/// # Context
///
/// Sleeps. The list of [`Orphans`](super::orphan::Orphans) is locked.
pub(super) fn change(transaction: &Transaction<'_>, ino: Ino, update: &Update) -> Result {
    let sb = transaction.sb();
    let place = place(sb.volume());
    let at = At::block(ino, place.pblk);
    let mut edit = transaction.edit_part(at, place)?;
    let bytes = edit.bytes_mut().first_chunk_mut().ok_or(EINVAL)?;
    update
        .apply::<KernelCrc32c>(bytes)
        .map_err(|error| metadata::blame(sb, at, error))?;
    edit.write()
}

/// Where the superblock is.
pub(super) fn place(volume: &Superblock) -> InBlock {
    let block_len = volume.block_size().bytes();
    let (pblk, start) = match u32::try_from(Superblock::POS) {
        Ok(pos) => (pos / block_len, pos % block_len),
        Err(_) => (0, 0),
    };
    InBlock {
        pblk: Pblk(pblk.into()),
        start,
        len: u32::try_from(Superblock::LEN).unwrap_or(u32::MAX),
    }
}
