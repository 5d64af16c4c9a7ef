// SPDX-License-Identifier: GPL-2.0

//! Names moved.
//!
//! | the new name | what happens |
//! | --- | --- |
//! | is free | it is added, and the old one taken away, first if it is in the same directory |
//! | has a file | it is given to the other one, then the old one taken away; the file may be an orphan then |
//! | is to be exchanged | both are given away |

use super::{
    super::{
        dax, inode,
        transaction::{
            with_room,
            Edit,
            Transaction, //
        },
        Inode, Stablefs,
    },
    entries, link,
    lookup::{
        self,
        Found, //
    },
    whole,
};
use crate::{
    kernel::{
        dentry::{
            Moved,
            Target,
            Victim, //
        },
        errno,
        inode::{
            Locked,
            RenameFlags, //
        },
        jbd2::Credits,
        truncate::ByteRange, //
    },
    ondisk::dir::NewEntry,
};
use ::kernel::prelude::*;

/// Moves a name.
pub(super) fn rename(
    old_dir: Locked<'_, Stablefs>,
    old: &Moved<'_, Stablefs>,
    new_dir: Locked<'_, Stablefs>,
    new: &Target<'_, Stablefs>,
    flags: RenameFlags,
) -> Result {
    if !flags.is_within(RenameFlags::NOREPLACE) {
        return Err(EINVAL);
    }
    let old = Name::new(old_dir, old)?;
    link::check_project(&new_dir, old.inode)?;
    match new {
        Target::Free(new) => with_room(new_dir.inode().sb(), || to_free(&old, new_dir, new.name())),
        Target::Replaced(victim) => replace(&old, new_dir, victim),
        Target::Exchanged(new) => exchange(&old, &Name::new(new_dir, new)?),
    }
}

/// A name that an inode has, and is to give up.
struct Name<'a> {
    dir: Locked<'a, Stablefs>,
    name: &'a [u8],
    inode: &'a Inode,
    found: Found,
}

impl<'a> Name<'a> {
    fn new(dir: Locked<'a, Stablefs>, moved: &'a Moved<'_, Stablefs>) -> Result<Self> {
        let (name, inode) = (moved.name(), moved.inode());
        let found = lookup::named(dir, name, inode)?;
        Ok(Self {
            dir,
            name,
            inode,
            found,
        })
    }

    /// That its inode is to have another name.
    fn entry<'n>(&self, name: &'n [u8]) -> NewEntry<'n> {
        NewEntry {
            ino: self.inode.ino(),
            file_type: self.inode.disk().file_type(),
            name,
        }
    }

    fn stays_in(&self, dir: Locked<'_, Stablefs>) -> bool {
        self.dir.ino() == dir.ino()
    }

    /// Has its inode, if it is a directory that goes to another one, say so, in a copy of its block.
    fn move_below<'t>(
        &self,
        transaction: &'t Transaction<'_>,
        to: Locked<'_, Stablefs>,
    ) -> Result<Option<Edit<'t>>> {
        if !self.inode.is_dir() || self.stays_in(to) {
            return Ok(None);
        }
        entries::move_below(transaction, self.inode, self.dir.ino(), to.ino()).map(Some)
    }

    /// Says of its inode that it has another name now.
    fn finish(&self, transaction: &Transaction<'_>) -> Result {
        self.inode.inode_set_ctime_current();
        inode::update(transaction, self.inode, |_| ())
    }
}

/// What is changed in each case, beside new names, and inodes that lose one: two directories, two
/// inodes, and what is above them.
const CREDITS: Credits = entries::CREDITS
    .and(inode::CREDITS)
    .and(Credits::blocks(1))
    .times(2);

fn start<'a>(
    old: &Name<'a>,
    new_dir: Locked<'_, Stablefs>,
    more: Credits,
) -> Result<Transaction<'a>> {
    let sb = old.dir.inode().sb();
    let mut transaction = Transaction::start(sb, CREDITS.and(more))?;
    if old.dir.is_dirsync() || new_dir.is_dirsync() {
        transaction.set_sync();
    }
    for inode in [old.inode, &old.dir, &new_dir] {
        inode::prepare(&transaction, inode)?;
    }
    Ok(transaction)
}

fn to_free(old: &Name<'_>, new_dir: Locked<'_, Stablefs>, name: &[u8]) -> Result {
    let stays = old.stays_in(new_dir);
    if old.inode.is_dir() && !stays {
        link::check_room(&new_dir)?;
    }
    let transaction = start(old, new_dir, entries::add_credits(&new_dir))?;
    let above = old.move_below(&transaction, new_dir)?;
    let mut edit = transaction.edit(old.dir.ino(), old.found.pblk)?;
    let mut before = KVec::new();
    before.extend_from_slice(edit.bytes(), GFP_KERNEL)?;
    entries::remove(old.dir, &old.found, &mut edit, old.name)?;
    // In the same directory the new name may move the old one, which could not be found again without
    // reading. So that goes first there, and comes back if there is no room for the other.
    let edit = if stays {
        whole(&transaction, || edit.write())?;
        None
    } else {
        Some(edit)
    };
    let changed = entries::add(&transaction, new_dir, &old.entry(name)).inspect_err(|_| {
        if stays {
            put_back(&transaction, old, &before);
        }
    })?;
    whole(&transaction, || {
        if let Some(above) = above {
            above.write()?;
            link::dec_count(old.dir);
            link::inc_count(new_dir);
        }
        changed.finish(&transaction, new_dir)?;
        if let Some(edit) = edit {
            edit.write()?;
            entries::finish(&transaction, old.dir)?;
        }
        old.finish(&transaction)
    })?;
    transaction.stop()
}

/// Has the block with the old name be as it was `before`, or the journal be given up.
fn put_back(transaction: &Transaction<'_>, old: &Name<'_>, before: &[u8]) {
    let _ = whole(transaction, || {
        // In memory, as the transaction has it.
        let mut edit = transaction.edit(old.dir.ino(), old.found.pblk)?;
        edit.bytes_mut().copy_from_slice(before);
        edit.write()
    });
}

fn replace(old: &Name<'_>, new_dir: Locked<'_, Stablefs>, victim: &Victim<'_, Stablefs>) -> Result {
    // Programs that write a file anew mostly do not sync it before they give it the name of the old
    // one. The new one's size, and its blocks as data, are to be committed no later than its name; a
    // handle that is started cannot wait for that. If it is not to be had, the old one stays.
    if old.inode.is_regular() {
        old.inode.filemap_write_and_wait_range(ByteRange::ALL)?;
    }
    let replaced = victim.inode();
    let found = lookup::named(new_dir, victim.name(), &replaced)?;
    if replaced.is_dir() && !entries::is_empty(&replaced)? {
        return Err(errno::enotempty());
    }
    let transaction = start(old, new_dir, link::CREDITS)?;
    let above = old.move_below(&transaction, new_dir)?;
    let entry = old.entry(victim.name());
    let mut new_edit = transaction.edit(new_dir.ino(), found.pblk)?;
    entries::replace(new_dir, &found, &mut new_edit, &entry)?;
    let old_edit = change_other(&transaction, &found, &mut new_edit, old, |edit| {
        entries::remove(old.dir, &old.found, edit, old.name)
    })?;
    link::prepare_to_forget(&transaction, replaced)?;
    whole(&transaction, || {
        new_edit.write()?;
        old_edit.map_or(Ok(()), Edit::write)?;
        above.map_or(Ok(()), Edit::write)?;
        if old.inode.is_dir() {
            // In the new directory it takes the other one's place.
            link::dec_count(old.dir);
        }
        old.finish(&transaction)?;
        link::forget(&transaction, replaced)?;
        if !old.stays_in(new_dir) {
            entries::finish(&transaction, old.dir)?;
        }
        entries::finish(&transaction, new_dir)
    })?;
    transaction.stop()?;
    dax::unlinked(&replaced);
    Ok(())
}

fn exchange(old: &Name<'_>, new: &Name<'_>) -> Result {
    link::check_project(&old.dir, new.inode)?;
    let stays = old.stays_in(new.dir);
    let (from, to) = match (old.inode.is_dir(), new.inode.is_dir()) {
        (true, false) => (Some(old.dir), Some(new.dir)),
        (false, true) => (Some(new.dir), Some(old.dir)),
        _ => (None, None),
    };
    let to = to.filter(|_| !stays);
    if let Some(dir) = to {
        link::check_room(&dir)?;
    }
    let transaction = start(old, new.dir, Credits::default())?;
    inode::prepare(&transaction, new.inode)?;
    let above_old = old.move_below(&transaction, new.dir)?;
    let above_new = new.move_below(&transaction, old.dir)?;
    let mut new_edit = transaction.edit(new.dir.ino(), new.found.pblk)?;
    entries::replace(new.dir, &new.found, &mut new_edit, &old.entry(new.name))?;
    let old_edit = change_other(&transaction, &new.found, &mut new_edit, old, |edit| {
        entries::replace(old.dir, &old.found, edit, &new.entry(old.name))
    })?;
    whole(&transaction, || {
        new_edit.write()?;
        old_edit.map_or(Ok(()), Edit::write)?;
        above_old.map_or(Ok(()), Edit::write)?;
        above_new.map_or(Ok(()), Edit::write)?;
        if let (Some(from), Some(to)) = (from, to) {
            link::dec_count(from);
            link::inc_count(to);
        }
        old.finish(&transaction)?;
        new.finish(&transaction)?;
        if !stays {
            entries::finish(&transaction, old.dir)?;
        }
        entries::finish(&transaction, new.dir)
    })?;
    transaction.stop()
}

/// Changes the block of the name `old`, in a copy of its own, unless it is the one that `edit` is of.
fn change_other<'t>(
    transaction: &'t Transaction<'_>,
    found: &Found,
    edit: &mut Edit<'t>,
    old: &Name<'_>,
    change: impl FnOnce(&mut Edit<'t>) -> Result,
) -> Result<Option<Edit<'t>>> {
    if found.pblk == old.found.pblk {
        return change(edit).map(|()| None);
    }
    let mut other = transaction.edit(old.dir.ino(), old.found.pblk)?;
    change(&mut other)?;
    Ok(Some(other))
}
