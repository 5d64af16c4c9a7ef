// SPDX-License-Identifier: GPL-2.0

//! Volumes that are written: closed → open (needs recovery) → closed.
//!
//! As long as a volume is open, its superblock says that the journal has to be replayed before
//! anything on it means what it says. That is on the device before the first transaction, and is taken
//! back once the journal is empty, so that a crash at any time is recovered from.
//!
//! The superblock is written beside the journal here. Nothing else does: while the volume is open it
//! changes through the journal only.

use super::{
    journal::Journal,
    orphan::{
        self,
        Orphans, //
    },
    refusal::Refusal,
    superblock::Read,
    volume::Volume,
    SuperBlock, //
};
use crate::{
    kernel::{
        jbd2,
        log,
        time::ktime_get_real_seconds, //
    },
    ondisk::{
        Compat,
        Errors,
        Free,
        Incompat,
        RoCompat,
        Superblock,
        Update, //
    },
};
use ::kernel::prelude::*;

/// Whether this version can write a volume, beside what of its features is not known at all.
///
/// # Errors
///
/// [`Refusal::Lacks`], [`Refusal::Unwritable`].
pub(super) fn check(volume: &Superblock) -> Result<(), Refusal> {
    let features = volume.features();
    if !features.compat.contains(Compat::HAS_JOURNAL) {
        return Err(Refusal::Lacks("has_journal"));
    }
    if !features.incompat.contains(Incompat::EXTENTS) {
        return Err(Refusal::Lacks("extent"));
    }
    if features.incompat.contains(Incompat::RECOVER) {
        return Err(Refusal::Unrecovered);
    }
    Ok(())
}

/// Opens the volume.
///
/// # Context
///
/// `s_umount` is held exclusively, and nobody writes.
pub(super) fn open(sb: &SuperBlock) -> Result<(), Refusal> {
    let volume = sb.volume();
    check(volume)?;
    match sb.journal() {
        None => load_journal(sb)?,
        Some(journal) if journal.is_aborted() => return Err(Refusal::Aborted),
        Some(_) => (),
    }
    if sb.volume().orphans().is_none() {
        sb.volume().set_orphans(Orphans::new(sb)?);
    }
    set_open(sb, true)
}

/// Does what was left to be done before the volume was opened.
///
/// # Context
///
/// As [`open`], which has been called.
pub(super) fn recover(sb: &SuperBlock) -> Result<(), Refusal> {
    orphan::recover(sb).map_err(Refusal::Orphans)
}

/// Keeps the journal with the superblock, ready for the first handle.
fn load_journal(sb: &SuperBlock) -> Result<(), Refusal> {
    let volume = sb.volume();
    let Some(journal) = Journal::find(sb, volume)? else {
        return Err(Refusal::Lacks("has_journal"));
    };
    let map = journal
        .into_map(sb, volume)?
        .with_allocator(volume.allocator().clone());
    let map = KBox::new(map, GFP_KERNEL).map_err(|_| Refusal::NoMemory)?;
    let mut journal = jbd2::Journal::init_dev(sb, map)
        .and_then(jbd2::Journal::load)
        .map_err(Refusal::Replay)?;
    let features = volume.features();
    let format = jbd2::Format {
        checksums: features.ro_compat.contains(RoCompat::METADATA_CSUM),
        // The numbers of large volumes would be cut off, and replay would write elsewhere.
        wide: features.incompat.contains(Incompat::BIT64),
    };
    journal
        .set_format(format)
        .and_then(|()| sb.set_journal(journal))
        .map_err(Refusal::Replay)
}

/// Has the journal and the superblock be those of a volume that is closed, if everything that was to
/// be written to it has been. The log says if that fails.
///
/// # Errors
///
/// `EIO`: the journal has been given up, or the device does not write; the volume needs recovery.
///
/// # Context
///
/// `s_umount` is held exclusively, and nobody writes.
pub(super) fn close(sb: &SuperBlock) -> Result {
    let Some(journal) = sb.journal() else {
        return Ok(());
    };
    let flushed = journal
        .flush()
        .and_then(|()| set_open(sb, false).map_err(|refusal| refusal.errno()));
    flushed.inspect_err(|error| {
        let errno = error.to_errno();
        log::err(
            sb,
            format_args!("cannot be closed, and needs recovery: error {errno}"),
        );
    })
}

/// Does what the mount options say of broken metadata on a volume that is written: from then on it is
/// not, or the superblock will have `e2fsck` look at everything.
///
/// # Context
///
/// Sleeps; handles may be started.
pub(super) fn met_error(sb: &SuperBlock, error: Error) {
    let volume = sb.volume();
    volume.set_has_errors();
    let Some(journal) = sb.journal() else {
        return;
    };
    if volume.options().errors() != Errors::Continue && !journal.is_aborted() {
        log::err(
            sb,
            format_args!("nothing is written any more (errors=remount-ro)"),
        );
        journal.abort(error);
    }
}

fn set_open(sb: &SuperBlock, open: bool) -> Result<(), Refusal> {
    let now = ktime_get_real_seconds();
    // Those that are noted while the volume is closed could not be deleted.
    let is_empty = matches!(orphan::is_empty(sb), Ok(true));
    let orphan_file = sb.volume().features().compat.contains(Compat::ORPHAN_FILE);
    Read::again(sb)?.update(
        sb,
        &Update {
            needs_recovery: Some(open),
            free: (!open).then(|| free(sb.volume())),
            orphan_present: (orphan_file && (open || is_empty)).then_some(open),
            mounted: open.then_some(now),
            written: Some(now),
            error: sb.volume().has_errors(),
            ..Update::default()
        },
    )
}

/// What is free, as the superblock says it.
fn free(volume: &Volume) -> Free {
    let allocator = volume.allocator();
    Free {
        clusters: allocator.unused(),
        // CAST: inodes of the volume.
        inodes: u32::try_from(allocator.total().free_inodes).unwrap_or(u32::MAX),
    }
}
