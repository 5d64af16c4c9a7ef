// SPDX-License-Identifier: GPL-2.0

//! Inodes that are to be deleted, or cut, whatever happens: noted in the transaction in which they lose
//! their last name, or that begins to cut them → done, and noted no more.
//!
//! They are noted in the orphan file. A volume without one, or with a full one, has a list of them.
//! Whoever mounts the volume after a crash does what is left to be done. What cannot be done then is
//! reported, and stays noted; a volume is written all the same.

mod file;
mod list;

use super::{
    blocks, extents, ialloc,
    inode::{
        self,
        iget_orphan, //
    },
    memory::with_memory,
    metadata::{
        self,
        At, //
    },
    refusal::Refusal,
    transaction::Transaction,
    writing, Inode, KernelCrc32c, SuperBlock,
};
use crate::{
    kernel::{
        control::Control,
        errno,
        jbd2::Credits,
        log, //
    },
    ondisk::{
        self,
        Ino,
        LblkRange, //
    },
};
use ::kernel::{
    new_mutex,
    prelude::*,
    rbtree::{
        RBTree,
        RBTreeNodeReservation, //
    },
    sync::Mutex,
};
use core::fmt;
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
    /// Where each is noted: an inode that could not be cut, or deleted, is forgotten before that.
    #[pin]
    places: Mutex<RBTree<Ino, Place>>,
}

impl Orphans {
    /// Finds where they are noted.
    pub(super) fn new(sb: &SuperBlock) -> Result<Pin<KBox<Self>>, Refusal> {
        let file = File::find(sb)?;
        let orphans = pin_init!(Self {
            file,
            list <- List::new(),
            places <- new_mutex!(RBTree::new(), "stablefs::places"),
        });
        KBox::pin_init(orphans, GFP_KERNEL).map_err(|_| Refusal::NoMemory)
    }

    /// Locks the list, and with it the superblock.
    pub(super) fn lock_superblock(&self) -> list::Locked<'_> {
        self.list.lock()
    }

    fn note(&self, ino: Ino, place: Place, node: Node) {
        self.places.lock().insert(node.into_node(ino, place));
    }

    fn place(&self, ino: Ino) -> Option<Place> {
        self.places.lock().get(&ino).copied()
    }

    fn forget(&self, ino: Ino) {
        self.places.lock().remove(&ino);
    }
}

/// Memory to know where an inode is noted.
type Node = RBTreeNodeReservation<Ino, Place>;

/// Where an inode is noted that comes into memory.
pub(super) fn place(sb: &SuperBlock, ino: Ino) -> Option<Place> {
    sb.volume().orphans()?.place(ino)
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
    if inode.orphan().is_some() || Control::SkipOrphan.is_on() {
        return Ok(());
    }
    let orphans = transaction.sb().volume().orphans().ok_or(EROFS)?;
    // With a handle started all allocations are NOFS.
    let node = Node::new(GFP_KERNEL)?;
    let in_file = match &orphans.file {
        Some(file) => file.add(transaction, inode.ino())?,
        None => None,
    };
    let place = match in_file {
        Some(place) => {
            let place = Place(Noted::File(place));
            inode.set_orphan(Some(place));
            place
        }
        None => orphans.list.add(transaction, inode)?,
    };
    orphans.note(inode.ino(), place, node);
    Ok(())
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
    let Some(Place(noted)) = inode.orphan() else {
        return Ok(());
    };
    let orphans = transaction.sb().volume().orphans().ok_or(EROFS)?;
    match noted {
        Noted::File(place) => {
            let file = orphans.file.as_ref().ok_or(EROFS)?;
            file.remove(transaction, place)?;
            inode.set_orphan(None);
        }
        Noted::List => orphans.list.remove(transaction, inode)?,
    }
    orphans.forget(inode.ino());
    Ok(())
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

/// Deletes and cuts the inodes that are noted, when the volume is opened to be written. Those of which
/// that fails stay noted, and the log tells.
///
/// # Errors
///
/// `ENOMEM`; what reading the superblock says.
///
/// # Context
///
/// Sleeps. Nobody writes.
pub(super) fn recover(sb: &SuperBlock) -> Result {
    let Some(orphans) = sb.volume().orphans() else {
        return Ok(());
    };
    *orphans.places.lock() = RBTree::new();
    orphans.list.set(KVVec::new());
    let mut done = Done::default();
    if let Some(file) = &orphans.file {
        recover_file(sb, orphans, file, &mut done)?;
    }
    recover_list(sb, orphans, &mut done)?;
    let Done { deleted, cut, left } = done;
    if deleted > 0 || cut > 0 {
        log::info(
            sb,
            format_args!("orphans: {deleted} inodes deleted, {cut} cut"),
        );
    }
    if left > 0 {
        log::warn(
            sb,
            format_args!("orphans: {left} inodes are left, as they are used or broken"),
        );
    }
    Ok(())
}

fn recover_file(sb: &SuperBlock, orphans: &Orphans, file: &File, done: &mut Done) -> Result {
    let mut noted = KVVec::new();
    let read = file.for_each(sb, |at, place, number| {
        Ok(noted.push((at, place, number), GFP_KERNEL)?)
    });
    // Blocks that cannot be used have been reported.
    if read == Err(ENOMEM) {
        return read;
    }
    for (at, place, number) in noted {
        if writing::is_given_up(sb) {
            break;
        }
        match used(sb, number) {
            Ok(Some(ino)) => {
                let place = Place(Noted::File(place));
                orphans.note(ino, place, Node::new(GFP_KERNEL)?);
                done.finish(sb, orphans, ino, place);
            }
            Ok(None) => {
                report(sb, format_args!("{at} names inode {number}, which is free"));
                let vacated = Transaction::start(sb, CREDITS).and_then(|transaction| {
                    file.remove(&transaction, place)?;
                    transaction.stop()
                });
                // Found again by the next mount.
                if vacated.is_err() {
                    done.left = done.left.saturating_add(1);
                }
            }
            Err(_) => done.left = done.left.saturating_add(1),
        }
    }
    Ok(())
}

fn recover_list(sb: &SuperBlock, orphans: &Orphans, done: &mut Done) -> Result {
    let mut inodes = KVVec::new();
    let mut next = list::first(sb)?;
    while let Some(ino) = next {
        let node = Node::new(GFP_KERNEL)?;
        if orphans.place(ino).is_some() {
            let number = ino.get();
            report(sb, format_args!("inode {number} is noted twice"));
            break;
        }
        // What follows one that is broken, nobody knows: that is for `e2fsck`.
        let Ok(after) = next_of(sb, ino) else {
            let number = ino.get();
            report(
                sb,
                format_args!("the list ends with inode {number}, which is free or broken"),
            );
            break;
        };
        inodes.push(ino, GFP_KERNEL)?;
        orphans.note(ino, Place(Noted::List), node);
        next = after;
    }
    let mut listed = KVVec::with_capacity(inodes.len(), GFP_KERNEL)?;
    for ino in inodes.iter().rev() {
        listed.push(*ino, GFP_KERNEL)?;
    }
    orphans.list.set(listed);
    for ino in inodes {
        if writing::is_given_up(sb) {
            break;
        }
        done.finish(sb, orphans, ino, Place(Noted::List));
    }
    Ok(())
}

/// The inode of that number, if it is in use and one that can be an orphan.
fn used(sb: &SuperBlock, number: u32) -> Result<Option<Ino>> {
    let volume = sb.volume();
    match volume.ino(number).filter(|ino| volume.is_ordinary(*ino)) {
        Some(ino) if ialloc::is_used(sb, ino)? => Ok(Some(ino)),
        _ => Ok(None),
    }
}

/// The inode that comes after one in the list, as the disk has it.
fn next_of(sb: &SuperBlock, ino: Ino) -> Result<Option<Ino>> {
    used(sb, ino.get())?.ok_or(errno::estale())?;
    let bytes = inode::read_bytes(sb, ino)?;
    let disk = ondisk::Inode::parse::<KernelCrc32c>(sb.volume(), ino, &bytes)
        .map_err(|error| metadata::blame(sb, At::inode(ino), error))?
        .ok_or(errno::estale())?;
    match disk.dtime() {
        0 => Ok(None),
        number => sb.volume().ino(number).ok_or(EINVAL).map(Some),
    }
}

/// Reports what has to be looked at, and does no harm.
fn report(sb: &SuperBlock, what: fmt::Arguments<'_>) {
    log::err(sb, format_args!("orphans: {what}: run e2fsck"));
    sb.volume().set_has_errors();
}

#[derive(Default)]
struct Done {
    deleted: u32,
    cut: u32,
    left: u32,
}

impl Done {
    /// Cuts an inode that is noted there, or has it deleted, which is done as it is dropped.
    fn finish(&mut self, sb: &SuperBlock, orphans: &Orphans, ino: Ino, place: Place) {
        let Ok(inode) = iget_orphan(sb, ino) else {
            self.left = self.left.saturating_add(1);
            return;
        };
        // One that was in memory before does not know.
        inode.set_orphan(Some(place));
        let cuts = inode.nlink() > 0;
        if cuts {
            if let Err(error) = finish_cut(&inode) {
                let (number, errno) = (ino.get(), error.to_errno());
                log::err(
                    sb,
                    format_args!("inode {number}: cannot be cut: error {errno}"),
                );
            }
        }
        drop(inode);
        let count = match orphans.place(ino) {
            Some(_) => &mut self.left,
            None if cuts => &mut self.cut,
            None => &mut self.deleted,
        };
        *count = count.saturating_add(1);
    }
}

/// Takes away what a file has behind its end, and notes it no more, if it has a name.
///
/// # Context
///
/// Sleeps. `i_rwsem` is held, so that no name comes or goes, or nobody else has the inode.
pub(super) fn finish_cut(inode: &Inode) -> Result {
    let start = blocks::behind(inode, inode.i_size_read())?;
    extents::remove_all(inode, LblkRange::all_from(start))?;
    if inode.nlink() == 0 {
        // It is to be deleted.
        return Ok(());
    }
    with_memory(|| {
        let transaction = Transaction::start(inode.sb(), CREDITS)?;
        remove(&transaction, inode)?;
        transaction.stop()
    })
}
