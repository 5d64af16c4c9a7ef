// SPDX-License-Identifier: GPL-2.0

//! Names of files that there are: one more, one less.
//!
//! last name taken away, noted as an orphan → last user gone → evicted

use super::{
    super::{
        dax, inode,
        metadata::{
            self,
            At, //
        },
        orphan,
        transaction::{
            with_room,
            Transaction, //
        },
        Inode, Stablefs,
    },
    create::has_project,
    entries, lookup, whole,
};
use crate::{
    kernel::{
        dentry::{
            Instantiated,
            Negative,
            Victim, //
        },
        errno,
        inode::Locked,
        jbd2::Credits, //
    },
    ondisk::{
        dir::NewEntry,
        inode::Content,
        RoCompat, //
    },
};
use ::kernel::{
    prelude::*,
    sync::aref::ARef, //
};

/// Names that a file has at most, and links that a directory counts.
const MAX: u32 = 65000;

/// Gives a file that is no directory another name, or the first one.
pub(super) fn link<'a>(
    inode: Locked<'a, Stablefs>,
    dir: Locked<'a, Stablefs>,
    dentry: Negative<'a, Stablefs>,
) -> Result<Instantiated<'a>> {
    if inode.nlink() >= MAX {
        return Err(errno::emlink());
    }
    check_project(&dir, &inode)?;
    with_room(dir.inode().sb(), || add(inode, dir, dentry.name()))?;
    dentry.d_instantiate(ARef::from(inode.inode()))
}

fn add(inode: Locked<'_, Stablefs>, dir: Locked<'_, Stablefs>, name: &[u8]) -> Result {
    let credits = entries::add_credits(&dir)
        .and(inode::CREDITS)
        .and(orphan::CREDITS);
    let mut transaction = Transaction::start(dir.inode().sb(), credits)?;
    if dir.is_dirsync() {
        transaction.set_sync();
    }
    inode::prepare(&transaction, &inode)?;
    inode::prepare(&transaction, &dir)?;
    let entry = NewEntry {
        ino: inode.ino(),
        file_type: inode.disk().file_type(),
        name,
    };
    let changed = entries::add(&transaction, dir, &entry)?;
    whole(&transaction, || {
        inode.inode_set_ctime_current();
        inode.inc_nlink();
        inode::update(&transaction, &inode, |_| ())?;
        orphan::remove(&transaction, &inode)?;
        changed.finish(&transaction, dir)
    })?;
    transaction.stop()
}

/// Takes away a name of a file that is no directory.
pub(super) fn unlink(dir: Locked<'_, Stablefs>, dentry: &Victim<'_, Stablefs>) -> Result {
    remove(dir, dentry, || ())
}

/// Takes away the name of a directory that is empty.
pub(super) fn rmdir(dir: Locked<'_, Stablefs>, dentry: &Victim<'_, Stablefs>) -> Result {
    if !entries::is_empty(&dentry.inode())? {
        return Err(errno::enotempty());
    }
    remove(dir, dentry, || dec_count(dir))
}

/// What [`forget`] changes.
pub(super) const CREDITS: Credits = inode::CREDITS.and(orphan::CREDITS);

fn remove(
    dir: Locked<'_, Stablefs>,
    dentry: &Victim<'_, Stablefs>,
    count: impl FnOnce(),
) -> Result {
    let inode = dentry.inode();
    let found = lookup::named(dir, dentry.name(), &inode)?;
    let credits = entries::CREDITS.and(CREDITS);
    let mut transaction = Transaction::start(dir.inode().sb(), credits)?;
    if dir.is_dirsync() {
        transaction.set_sync();
    }
    inode::prepare(&transaction, &dir)?;
    let mut edit = transaction.edit(dir.ino(), found.pblk)?;
    entries::remove(dir, &found, &mut edit, dentry.name())?;
    prepare_to_forget(&transaction, inode)?;
    whole(&transaction, || {
        edit.write()?;
        count();
        entries::finish(&transaction, dir)?;
        forget(&transaction, inode)
    })?;
    transaction.stop()?;
    dax::unlinked(&inode);
    Ok(())
}

/// Makes sure that [`forget`] cannot fail.
///
/// # Errors
///
/// `EFSCORRUPTED` for a file that has more names than it says; `EOPNOTSUPP` for the last name of one
/// whose blocks cannot be freed, as they are not mapped by extents; `ENOSPC` if no more orphans can be
/// noted; what reading says.
pub(super) fn prepare_to_forget(
    transaction: &Transaction<'_>,
    inode: Locked<'_, Stablefs>,
) -> Result {
    let nlink = inode.nlink();
    if nlink == 0 {
        let what = format_args!("has a name and no links");
        return Err(metadata::corrupt(inode.sb(), At::inode(inode.ino()), what));
    }
    inode::prepare(transaction, &inode)?;
    if nlink > 1 && !inode.is_dir() {
        return Ok(());
    }
    if matches!(inode.disk().content(), Content::BlockMap) {
        return Err(errno::eopnotsupp());
    }
    orphan::add(transaction, &inode)
}

/// Says of a file that it has lost a name.
pub(super) fn forget(transaction: &Transaction<'_>, inode: Locked<'_, Stablefs>) -> Result {
    if inode.is_dir() {
        inode.inode_inc_iversion();
        inode.clear_nlink();
    } else if inode.drop_nlink().is_none() {
        return Err(errno::efscorrupted());
    }
    inode.inode_set_ctime_current();
    inode::update(transaction, &inode, |_| ())
}

/// Whether a directory can have one more in it.
///
/// # Errors
///
/// `EMLINK`.
pub(super) fn check_room(dir: &Inode) -> Result {
    let volume = dir.sb().volume();
    let can_stop_counting =
        volume.features().ro_compat.contains(RoCompat::DIR_NLINK) && dir.disk().is_indexed(volume);
    if dir.nlink() >= MAX && !can_stop_counting {
        return Err(errno::emlink());
    }
    Ok(())
}

/// Counts one more directory in another; more than can be counted are said to be 1.
pub(super) fn inc_count(dir: Locked<'_, Stablefs>) {
    dir.inc_nlink();
    let is_indexed = dir.disk().is_indexed(dir.sb().volume());
    if is_indexed && (dir.nlink() > MAX || dir.nlink() == 2) {
        dir.set_nlink(1);
    }
}

/// Counts one directory less in another, unless they are not counted.
pub(super) fn dec_count(dir: Locked<'_, Stablefs>) {
    if dir.nlink() > 2 {
        dir.set_nlink(dir.nlink().saturating_sub(1));
    }
}

/// Whether a directory takes files of the project that a file is of.
///
/// # Errors
///
/// `EXDEV`.
pub(super) fn check_project(dir: &Inode, inode: &Inode) -> Result {
    let above = dir.disk();
    let is_other = above.projid() != inode.disk().projid();
    if has_project(&above, dir.sb().volume()) && is_other {
        return Err(EXDEV);
    }
    Ok(())
}
