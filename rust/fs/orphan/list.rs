// SPDX-License-Identifier: GPL-2.0

//! The list of orphans: the superblock names the first, and each inode, in `i_dtime`, the next.
//!
//! last one of the list → first → with one before it → gone
//!
//! Taking one out changes the one before it, whose user may be changing it, too. So an inode of the
//! list is changed with the list locked, by whomever.
//!
//! Format: [Documentation/filesystems/ext4/super.rst](srctree/Documentation/filesystems/ext4/super.rst).

use super::super::{
    inode::{
        self,
        place_of, //
    },
    metadata::{
        self,
        At, //
    },
    superblock,
    transaction::{
        self,
        Transaction, //
    },
    Inode, KernelCrc32c, SuperBlock,
};
use crate::ondisk::{
    self,
    Ino,
    Superblock,
    Update, //
};
use ::kernel::{
    new_mutex,
    prelude::*,
    sync::{
        Mutex,
        MutexGuard, //
    },
};

/// The list of orphans of a volume that is written.
#[pin_data]
pub(super) struct List {
    /// The inodes, the first one last, as that is where they are added.
    #[pin]
    inodes: Mutex<KVVec<Ino>>,
}

/// The list, locked.
pub(in crate::fs) type Locked<'a> = MutexGuard<'a, KVVec<Ino>>;

impl List {
    /// An empty list.
    pub(super) fn new() -> impl PinInit<Self> {
        pin_init!(Self { inodes <- new_mutex!(KVVec::new(), "stablefs::orphans") })
    }

    /// Locks it.
    pub(super) fn lock(&self) -> Locked<'_> {
        self.inodes.lock()
    }

    /// Whether it is empty.
    pub(super) fn is_empty(&self) -> bool {
        self.inodes.lock().is_empty()
    }

    /// Puts an inode before all others, and has it know that; returns where it is noted.
    ///
    /// # Errors
    ///
    /// `ENOMEM`; what reading the superblock or the inode says, or the journal.
    ///
    /// # Context
    ///
    /// Sleeps. The transaction has two blocks left.
    pub(super) fn add(&self, transaction: &Transaction<'_>, inode: &Inode) -> Result<super::Place> {
        let place = super::Place(super::Noted::List);
        let mut begun = false;
        let _listed = inode::update_whole(transaction, inode, |fields, _, _| {
            let mut inodes = self.lock();
            inodes.reserve(1, GFP_KERNEL)?;
            begun = true;
            fields.dtime = inodes.last().map_or(0, |next| next.get());
            set_first(transaction, inode.ino(), Some(inode.ino()))?;
            inodes.push(inode.ino(), GFP_KERNEL)?;
            inode.set_orphan(Some(place));
            Ok(inodes)
        })
        .inspect_err(|error| {
            // The superblock may name it already.
            if begun {
                transaction.abort(*error);
            }
        })?;
        Ok(place)
    }

    /// Takes an inode out.
    ///
    /// # Errors
    ///
    /// What reading the superblock, the inode or the one before it says, or the journal.
    ///
    /// # Context
    ///
    /// Sleeps. The transaction has three blocks left.
    pub(super) fn remove(&self, transaction: &Transaction<'_>, inode: &Inode) -> Result {
        inode::update_whole(transaction, inode, |fields, _, inodes| {
            let inodes = inodes.ok_or(EINVAL)?;
            let n = inodes
                .iter()
                .position(|ino| *ino == inode.ino())
                .ok_or(EINVAL)?;
            let next = n.checked_sub(1).and_then(|n| inodes.get(n)).copied();
            match n.checked_add(1).and_then(|n| inodes.get(n)) {
                Some(before) => set_next(transaction, *before, next)?,
                None => set_first(transaction, inode.ino(), next)?,
            }
            fields.dtime = 0;
            inodes.remove(n).map_err(|_| EINVAL)?;
            inode.set_orphan(None);
            Ok(())
        })
        .inspect_err(|error| transaction.abort(*error))
    }

    /// Has the list be those inodes, as it is on the disk. Nobody uses it.
    pub(super) fn set(&self, inodes: KVVec<Ino>) {
        *self.inodes.lock() = inodes;
    }
}

/// The first inode of the list, as the disk has it.
pub(super) fn first(sb: &SuperBlock) -> Result<Option<Ino>> {
    let place = superblock::place(sb.volume());
    let at = At::block(Ino::ROOT, place.pblk);
    let bytes = metadata::read(sb, at, place)?;
    let bytes = bytes.first_chunk().ok_or(EINVAL)?;
    Superblock::parse::<KernelCrc32c>(bytes)
        .map(|superblock| superblock.settings().last_orphan())
        .map_err(|error| metadata::blame(sb, at, error))
}

/// Has the list begin with `first`, because of `ino`.
fn set_first(transaction: &Transaction<'_>, ino: Ino, first: Option<Ino>) -> Result {
    let update = Update {
        last_orphan: Some(first),
        ..Update::default()
    };
    superblock::change(transaction, ino, &update)
}

/// Has an inode of the list, which somebody else may have in memory, name the next one.
fn set_next(transaction: &Transaction<'_>, ino: Ino, next: Option<Ino>) -> Result {
    let sb = transaction.sb();
    let place = place_of(sb, ino)?;
    let at = At::block(ino, place.pblk);
    let mut edit = transaction.edit_part(at, place)?;
    let disk = ondisk::Inode::parse::<KernelCrc32c>(sb.volume(), ino, edit.bytes())
        .map_err(|error| metadata::blame(sb, at, error))?
        .ok_or_else(|| transaction::bug(sb, at, "an orphan that is free"))?;
    let mut fields = disk.fields();
    fields.dtime = next.map_or(0, Ino::get);
    fields
        .encode::<KernelCrc32c>(sb.volume(), ino, edit.bytes_mut())
        .ok_or_else(|| transaction::bug(sb, at, "an orphan that cannot be encoded"))?;
    edit.write()
}
