// SPDX-License-Identifier: GPL-2.0

//! Inodes that are to be deleted, or cut, whatever happens: noted in the transaction in which they lose
//! their last name, or that begins to cut them → done, and noted no more.
//!
//! They are noted in the orphan file. A volume without one, or with a full one, has a list of them.
//! Whoever mounts the volume after a crash does what is left to be done.

mod file;
mod list;

use super::{
    extents,
    inode::iget_orphan,
    metadata,
    refusal::Refusal,
    transaction::Transaction,
    Inode,
    SuperBlock, //
};
use crate::{
    kernel::{
        jbd2::Credits,
        log, //
    },
    ondisk::{
        Ino,
        Lblk, //
    },
};
use ::kernel::prelude::*;
use file::File;
use list::List;

/// What [`add`] and [`remove`] change: a block of the file, or, for the list, the superblock, the inode
/// and the one before it.
pub(super) const CREDITS: Credits = Credits::blocks(3);

/// Where an inode is noted.
#[derive(Clone, Copy)]
pub(crate) struct Place(Noted);

#[derive(Clone, Copy)]
enum Noted {
    File(file::Place),
    List,
}

/// The orphans of a volume that is written.
#[pin_data]
pub(super) struct Orphans {
    file: Option<Pin<KBox<File>>>,
    #[pin]
    list: List,
}

impl Orphans {
    /// Finds where they are noted.
    pub(super) fn new(sb: &SuperBlock) -> Result<Pin<KBox<Self>>, Refusal> {
        let file = File::find(sb)?;
        KBox::pin_init(pin_init!(Self { file, list <- List::new() }), GFP_KERNEL)
            .map_err(|_| Refusal::NoMemory)
    }
}

/// Notes an inode, unless it is noted.
///
/// # Errors
///
/// What reading the place says, or the journal; `ENOMEM`.
///
/// # Context
///
/// Sleeps. The transaction has [`CREDITS`] left. Nobody else adds or removes the inode.
pub(super) fn add(transaction: &Transaction<'_>, inode: &Inode) -> Result {
    if inode.orphan().is_some() || cfg!(stablefs_control = "skip_orphan") {
        return Ok(());
    }
    let orphans = transaction.sb().volume().orphans().ok_or(EROFS)?;
    if let Some(file) = &orphans.file {
        if let Some(place) = file.add(transaction, inode.ino())? {
            inode.set_orphan(Some(Place(Noted::File(place))));
            return Ok(());
        }
    }
    orphans.list.add(transaction, inode)
}

/// Notes an inode no more.
///
/// # Errors
///
/// Those of [`add`].
///
/// # Context
///
/// As [`add`].
pub(super) fn remove(transaction: &Transaction<'_>, inode: &Inode) -> Result {
    let orphans = || transaction.sb().volume().orphans().ok_or(EROFS);
    match inode.orphan() {
        None => Ok(()),
        Some(Place(Noted::File(place))) => {
            let file = orphans()?.file.as_ref().ok_or(EROFS)?;
            file.remove(transaction, place)?;
            inode.set_orphan(None);
            Ok(())
        }
        Some(Place(Noted::List)) => orphans()?.list.remove(transaction, inode),
    }
}

/// Locks the list, if the inode is in it, and says which one is the next: both for the time in which the
/// inode is changed on the disk. `changing` of the inode is held.
pub(super) fn lock_list(inode: &Inode) -> Option<(list::Locked<'_>, Option<Ino>)> {
    let Some(Place(Noted::List)) = inode.orphan() else {
        return None;
    };
    let inodes = inode.sb().volume().orphans()?.list.lock();
    let n = inodes.iter().position(|ino| *ino == inode.ino())?;
    let next = n.checked_sub(1).and_then(|n| inodes.get(n)).copied();
    Some((inodes, next))
}

/// Whether no inode is noted.
///
/// # Errors
///
/// What reading the orphan file says.
pub(super) fn is_empty(sb: &SuperBlock) -> Result<bool> {
    let Some(orphans) = sb.volume().orphans() else {
        return Ok(true);
    };
    let mut is_empty = orphans.list.is_empty();
    if let Some(file) = &orphans.file {
        file.for_each(sb, |_, _, _| {
            is_empty = false;
            Ok(())
        })?;
    }
    Ok(is_empty)
}

/// Deletes and cuts the inodes that are noted, when the volume is opened to be written.
pub(super) fn recover(sb: &SuperBlock) -> Result {
    let Some(orphans) = sb.volume().orphans() else {
        return Ok(());
    };
    let mut done = Done::default();
    let mut noted = KVec::new();
    if let Some(file) = &orphans.file {
        file.for_each(sb, |at, place, number| {
            let ino = sb
                .volume()
                .ino(number)
                .filter(|ino| sb.volume().is_ordinary(*ino));
            let ino = ino.ok_or_else(|| {
                metadata::corrupt(sb, at, format_args!("names inode {number} as an orphan"))
            })?;
            Ok(noted.push((place, ino), GFP_KERNEL)?)
        })?;
    }
    for (place, ino) in noted {
        let inode = iget_orphan(sb, ino)?;
        inode.set_orphan(Some(Place(Noted::File(place))));
        done.count(&inode)?;
    }
    while let Some(ino) = list::first(sb)?.filter(|ino| sb.volume().is_ordinary(*ino)) {
        let inode = iget_orphan(sb, ino)?;
        // What stands there was checked when the inode was changed last, if it was.
        let next = sb.volume().ino(inode.disk().dtime());
        orphans.list.begin_with(ino, next)?;
        inode.set_orphan(Some(Place(Noted::List)));
        done.count(&inode)?;
        drop(inode);
        if list::first(sb)? == Some(ino) {
            return Err(EIO);
        }
        orphans.list.lock().clear();
    }
    if done.deleted > 0 || done.cut > 0 {
        let Done { deleted, cut } = done;
        log::info(
            sb,
            format_args!("orphans: {deleted} inodes deleted, {cut} cut"),
        );
    }
    Ok(())
}

#[derive(Default)]
struct Done {
    deleted: u32,
    cut: u32,
}

impl Done {
    /// Cuts an inode, or leaves it to be deleted, which is done as it is dropped.
    fn count(&mut self, inode: &Inode) -> Result {
        if inode.nlink() > 0 {
            finish_cut(inode)?;
            self.cut = self.cut.saturating_add(1);
        } else {
            self.deleted = self.deleted.saturating_add(1);
        }
        Ok(())
    }
}

/// Takes away what a file has behind its end, and notes it no more.
pub(super) fn finish_cut(inode: &Inode) -> Result {
    let block_len = u64::from(inode.sb().volume().block_size().bytes().get());
    let from = inode.i_size_read().div_ceil(block_len);
    let from = u32::try_from(from).map_or(Lblk::END, Lblk);
    extents::truncate(inode, from)?;
    let transaction = Transaction::start(inode.sb(), CREDITS)?;
    remove(&transaction, inode)?;
    transaction.stop()
}
