// SPDX-License-Identifier: GPL-2.0

//! Volumes that are written: closed → open (needs recovery) → closed.
//!
//! As long as a volume is open, its superblock says that the journal has to be replayed before
//! anything on it means what it says. That is on the device before the first transaction, and is taken
//! back once the journal is empty, so that a crash at any time is recovered from.
//!
//! The superblock is written beside the journal here. Nothing else does: while the volume is open it
//! changes through the journal only; so does what it says of errors that are met, which a worker has
//! it say, as those who meet them have handles started and locks.

use super::{
    journal::{
        self,
        Journal, //
    },
    memory::with_memory,
    orphan::{
        self,
        Orphans, //
    },
    refusal::Refusal,
    superblock::{
        self,
        Read, //
    },
    transaction::Transaction,
    volume::Volume,
    Inode,
    SuperBlock, //
};
use crate::{
    kernel::{
        jbd2::{
            self,
            Credits, //
        },
        log,
        time::ktime_get_real_seconds, //
    },
    ondisk::{
        Compat,
        Errors,
        Free,
        Incident,
        Incidents,
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
    if is_given_up(sb) {
        return Err(Refusal::Aborted);
    }
    if sb.journal().is_none() {
        load_journal(sb)?;
    }
    if sb.volume().orphans().is_none() {
        sb.volume().set_orphans(Orphans::new(sb)?);
    }
    let now = ktime_get_real_seconds();
    note_open(sb, Some(now))?;
    volume.set_open(true);
    Ok(())
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
    // The superblock does not ask for a replay, or no longer does: what a journal holds all the same
    // is of the past, and must not come over what has been read since.
    let mut journal = jbd2::Journal::init_dev(sb, map)
        .and_then(jbd2::Journal::wipe)
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

/// Closes the volume, if everything that was to be written to it has been: handles cannot be started
/// any more, even if this fails, of which the log tells.
///
/// # Errors
///
/// `EIO`: the journal has been given up, or the device does not write; the volume needs recovery.
///
/// # Context
///
/// `s_umount` is held exclusively, and no handle of this task is started.
pub(super) fn close(sb: &SuperBlock) -> Result {
    let Some(journal) = sb.journal() else {
        return Ok(());
    };
    let _updates = journal.lock_updates();
    // Whoever has waited for the lock finds it closed.
    sb.volume().set_open(false);
    with_memory(|| settle(sb, journal)).inspect_err(|error| tell(sb, *error))
}

/// Has a volume that is open be on the device as one that is closed. Until [`thaw`] the VFS lets nobody
/// start handles.
///
/// # Errors
///
/// Those of [`close`]. The VFS goes on writing, without a [`thaw`]: the volume is open on the device
/// again, or nothing is written any more.
///
/// # Context
///
/// As [`close`].
pub(super) fn freeze(sb: &SuperBlock) -> Result {
    let Some(journal) = sb.journal() else {
        return Ok(());
    };
    // What somebody else has begun to write, of what was dirty again: nothing more is begun.
    sb.sync_inodes_sb();
    let _updates = journal.lock_updates();
    // The device may have written the superblock all the same.
    settle(sb, journal).inspect_err(|error| {
        tell(sb, *error);
        reopen(sb, journal);
    })
}

/// Has a volume that was frozen be open on the device as well. If that fails nothing is written any
/// more, of which the log tells: a volume that stayed frozen could not even be unmounted.
///
/// # Context
///
/// As [`freeze`].
pub(super) fn thaw(sb: &SuperBlock) {
    let Some(journal) = sb.journal() else {
        return;
    };
    reopen(sb, journal);
}

fn reopen(sb: &SuperBlock, journal: &jbd2::Loaded<'_, journal::Map>) {
    if is_given_up(sb) {
        log::err(sb, format_args!("{}", Refusal::Aborted));
        return;
    }
    if let Err(refusal) = note_open(sb, None) {
        log::err(sb, format_args!("{refusal}: nothing is written any more"));
        journal.abort(refusal.errno());
    }
}

/// Has the journal and the superblock be those of a volume that is closed. Updates are locked.
fn settle(sb: &SuperBlock, journal: &jbd2::Loaded<'_, journal::Map>) -> Result {
    journal.flush()?;
    note_closed(sb).map_err(|refusal| refusal.errno())
}

fn tell(sb: &SuperBlock, error: Error) {
    let errno = error.to_errno();
    log::err(
        sb,
        format_args!("cannot be closed, and needs recovery: error {errno}"),
    );
}

/// Whether data of a file may change, which was opened to be written.
///
/// # Errors
///
/// `EROFS` if the journal has been given up; `EPERM` for a file that has become immutable.
pub(super) fn check_data(inode: &Inode) -> Result {
    if is_given_up(inode.sb()) {
        Err(EROFS)
    } else if inode.is_immutable() {
        Err(EPERM)
    } else {
        Ok(())
    }
}

/// Whether nothing is to be written any more, not even where that does without the journal.
pub(super) fn is_given_up(sb: &SuperBlock) -> bool {
    sb.journal().is_some_and(|journal| journal.is_aborted())
}

/// Does what the mount options say of broken metadata on a volume that is written: from then on it is
/// not, or the superblock has `e2fsck` look at everything.
///
/// # Context
///
/// Sleeps; handles may be started.
pub(super) fn met_error(sb: &SuperBlock, error: Error, incident: Incident) {
    let volume = sb.volume();
    volume.set_has_errors();
    let is_first = volume.add_incident(incident);
    let Some(journal) = sb.journal().filter(|journal| !journal.is_aborted()) else {
        return;
    };
    if volume.options().errors() != Errors::Continue {
        log::err(
            sb,
            format_args!("nothing is written any more (errors=remount-ro)"),
        );
        journal.abort(error);
    } else if is_first {
        // Later ones go with it. If it fails they have to wait for the next sync: what may have failed
        // is the superblock itself.
        sb.queue_deferred();
    }
}

/// Has the superblock tell of errors that were met. What fails is left for the next time, or for who
/// closes the volume.
///
/// # Context
///
/// A worker, that of [`queue_deferred`](SuperBlock::queue_deferred).
pub(super) fn note_incidents(sb: &SuperBlock) {
    // Who freezes the volume writes the superblock.
    let Some(_writing) = sb.sb_start_intwrite_trylock() else {
        return;
    };
    while let Some(incidents) = sb.volume().incidents() {
        if note_some(sb, incidents).is_err() {
            return;
        }
        sb.volume().forget_incidents(&incidents);
    }
}

fn note_some(sb: &SuperBlock, incidents: Incidents) -> Result {
    let transaction = Transaction::start(sb, Credits::blocks(1))?;
    let superblock = sb.volume().orphans().ok_or(EROFS)?.lock_superblock();
    let update = Update {
        incidents: Some(incidents),
        ..Update::default()
    };
    superblock::change(&transaction, incidents.last.ino, &update)?;
    drop(superblock);
    transaction.stop()
}

/// Has the superblock tell, in a transaction that has begun when this returns, of errors that were met.
///
/// # Context
///
/// Sleeps. No handle of this task is started.
pub(super) fn sync_incidents(sb: &SuperBlock) {
    if sb.volume().incidents().is_some() {
        sb.queue_deferred();
    }
    sb.flush_deferred();
}

/// Has the superblock say that the volume needs recovery, and when it was mounted, if it is now.
fn note_open(sb: &SuperBlock, mounted: Option<u64>) -> Result<(), Refusal> {
    note(
        sb,
        &Update {
            needs_recovery: Some(true),
            orphan_present: has_orphan_file(sb).then_some(true),
            mounted,
            ..Update::default()
        },
    )
}

/// Has the superblock say that the volume needs no recovery, and what is free.
fn note_closed(sb: &SuperBlock) -> Result<(), Refusal> {
    // Inodes can be noted still, of which the next who opens the volume has to know.
    let is_empty = matches!(orphan::is_empty(sb), Ok(true));
    note(
        sb,
        &Update {
            needs_recovery: Some(false),
            free: Some(free(sb.volume())),
            orphan_present: (has_orphan_file(sb) && is_empty).then_some(false),
            ..Update::default()
        },
    )
}

/// Writes the superblock beside the journal, with what is known of errors. Nobody has a handle.
fn note(sb: &SuperBlock, update: &Update) -> Result<(), Refusal> {
    let incidents = sb.volume().incidents();
    Read::again(sb)?.update(
        sb,
        &Update {
            written: Some(ktime_get_real_seconds()),
            error: sb.volume().has_errors(),
            incidents,
            ..*update
        },
    )?;
    if let Some(incidents) = &incidents {
        sb.volume().forget_incidents(incidents);
    }
    Ok(())
}

fn has_orphan_file(sb: &SuperBlock) -> bool {
    let features = sb.volume().features();
    features.compat.contains(Compat::ORPHAN_FILE)
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
