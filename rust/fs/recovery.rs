// SPDX-License-Identifier: GPL-2.0

//! What has to happen before a volume means anything: superblock read → journal replayed, or
//! empty, or left alone on demand → settled.
//!
//! Replay writes, also when the volume is mounted to be read. Its steps, each on the device, with
//! its caches, before the next begins:
//!
//! 1. jbd2 writes what the journal holds to where it belongs.
//! 2. Of a journal that was given up because of an error, the superblock takes note. What it said
//!    about errors is put back, if an older copy from the journal has replaced it.
//! 3. The journal forgets the error, and is marked as empty.
//! 4. The superblock says that there is nothing to replay.
//!
//! Whoever loses power on the way finds `needs_recovery` set, and begins again: replaying twice is
//! harmless, and replaying an empty journal does nothing.
//!
//! Files that were deleted while they were open, or being cut, are left to who opens the volume: the
//! list of them stays. Until then `e2fsck -n` finds what they hold to be in use by nobody.

use super::{
    journal::Journal, metadata, refusal::Refusal, reserved::Reserved, superblock::Read,
    KernelCrc32c, Stablefs,
};
use crate::{
    kernel::{
        jbd2, log,
        super_block::{
            NewSuperBlock,
            OnDevice, //
        },
    },
    ondisk::{
        orphan::OrphanBlock,
        Block,
        ErrorRecord,
        Incompat,
        RoCompat,
        State,
        Superblock,
        Update, //
    },
};
use ::kernel::prelude::*;

/// The superblock of a volume that is settled: what is on the device is the volume, or what the
/// mounter wants to be taken for it.
pub(super) struct Settled(Superblock);

impl Settled {
    /// What it says.
    pub(super) fn superblock(&self) -> &Superblock {
        &self.0
    }

    /// The same, alone.
    pub(super) fn into_superblock(self) -> Superblock {
        self.0
    }
}

/// Settles the volume on the device, for a mount with `noload` or without.
pub(super) fn settle(
    sb: &mut NewSuperBlock<'_, Stablefs>,
    noload: bool,
) -> Result<Settled, Refusal> {
    let read = Read::new(sb)?;
    if noload || !needs_recovery(read.superblock()) {
        return Ok(Settled(read.into_superblock()));
    }
    if sb.bdev_read_only() {
        return Err(Refusal::NeedsRecovery);
    }
    replay(sb, read)?;

    let mut read = Read::new(sb)?;
    let superblock = read.superblock();
    let has_orphans =
        superblock.settings().last_orphan().is_some() || !is_orphan_file_empty(sb, superblock);
    read.update(
        sb,
        &Update {
            needs_recovery: Some(false),
            orphan_present: (!has_orphans).then_some(false),
            ..Update::default()
        },
    )?;
    log::info(sb, format_args!("the journal was replayed"));
    if has_orphans {
        log::info(
            sb,
            format_args!("files that were deleted in use take space until the volume is written"),
        );
    }
    Ok(Settled(read.into_superblock()))
}

fn needs_recovery(volume: &Superblock) -> bool {
    volume.features().incompat.contains(Incompat::RECOVER)
}

/// Replays the journal, and leaves it empty. Nobody has read anything but what is passed here.
fn replay(sb: &OnDevice, before: Read) -> Result<(), Refusal> {
    // `needs_recovery` without a journal has been found corrupt.
    let Some(journal) = Journal::find(sb, before.superblock())? else {
        return Ok(());
    };
    let map = journal.into_map(sb, before.superblock())?;
    let map = KBox::new(map, GFP_KERNEL).map_err(|_| Refusal::NoMemory)?;
    let mut journal = jbd2::Journal::init_dev(sb, map)
        .and_then(jbd2::Journal::load)
        .map_err(Refusal::Replay)?;

    let errno = journal.errno();
    if let Some(errno) = errno {
        log::warn(
            sb,
            format_args!("the journal was given up before: error {errno}"),
        );
    }
    note_errors(
        sb,
        before.superblock().state().contains(State::ERROR) || errno.is_some(),
        before.error_record(),
    )?;
    if errno.is_some() {
        journal.clear_errno();
    }
    journal.destroy().map_err(Refusal::Replay)
}

/// Has the superblock, whatever has been written over it, say what was known about errors before, or
/// what the journal knew if that is more.
fn note_errors(sb: &OnDevice, error: bool, record: ErrorRecord) -> Result<(), Refusal> {
    let mut read = Read::again(sb)?;
    let is_newer = record.count() > read.error_record().count();
    read.update(
        sb,
        &Update {
            error,
            error_record: is_newer.then_some(record),
            ..Update::default()
        },
    )
}

/// Blocks of an orphan file, at most, as ext4 has it (`EXT4_MAX_ORPHAN_FILE_BLOCKS`).
const MAX_ORPHAN_BLOCKS: u32 = 512;

/// Whether the orphan file is known to name no inode; so is one that is not there.
fn is_orphan_file_empty(sb: &OnDevice, volume: &Superblock) -> bool {
    if !volume
        .features()
        .ro_compat
        .contains(RoCompat::ORPHAN_PRESENT)
    {
        return true;
    }
    let Some(ino) = volume.settings().orphan_file() else {
        return true;
    };
    let Ok(file) = Reserved::read(sb, volume, ino) else {
        return false;
    };
    // Else a disk could have a few blocks looked at again and again, billions of times.
    if file.len > MAX_ORPHAN_BLOCKS {
        return false;
    }
    let blocks = file.extents.iter().flatten().flat_map(|extent| {
        let blocks = extent.pblks();
        (blocks.start.0..blocks.end.0).map(crate::ondisk::Pblk)
    });
    let is_empty = |pblk| {
        let bytes = metadata::copy_block(sb, volume, pblk).ok()?;
        let block =
            OrphanBlock::parse::<KernelCrc32c>(file.inode.seed(), pblk, Block::new(&bytes)?);
        Some(block.ok()?.is_empty())
    };
    let mut blocks = blocks;
    file.extents.is_some() && blocks.all(|pblk| is_empty(pblk) == Some(true))
}
