// SPDX-License-Identifier: GPL-2.0

//! Names, looked up.

use super::super::{
    dir, htree,
    inode::{
        iget,
        read_block, //
    },
    metadata::{
        self,
        At, //
    },
    Inode, Stablefs,
};
use crate::{
    kernel::{
        current,
        dentry::{
            Dentry,
            Unhashed, //
        },
        errno,
        inode::Locked, //
    },
    ondisk::{
        dir::NAME_LEN,
        Ino,
        Lblk,
        Pblk, //
    },
};
use ::kernel::{
    prelude::*,
    sync::aref::ARef, //
};
use core::ops::ControlFlow;

/// Where a name is in its directory, until that changes.
#[derive(Clone, Copy)]
pub(super) struct Found {
    /// The block of the directory.
    pub(super) lblk: Lblk,
    /// The same block of the volume.
    pub(super) pblk: Pblk,
    ino: Ino,
}

/// Finds the name of `dentry` in a directory.
pub(super) fn lookup(
    dir: &Inode,
    dentry: Unhashed<'_, Stablefs>,
) -> Result<Option<Dentry<Stablefs>>> {
    if dentry.name().len() > NAME_LEN {
        return Err(errno::enametoolong());
    }
    let inode = find(dir, dentry.name())?
        .map(|ino| iget_named(dir, ino))
        .transpose()?;
    dentry.d_splice_alias(inode)
}

/// The inode of a number that directory `dir` has a name for, be it the one above.
///
/// # Errors
///
/// `EFSCORRUPTED` if it is the directory itself, an inode that no name can be for, or free; what
/// reading it says.
pub(in super::super) fn iget_named(dir: &Inode, ino: Ino) -> Result<ARef<Inode>> {
    let (sb, at, number) = (dir.sb(), At::inode(dir.ino()), ino.get());
    if ino == dir.ino() {
        let what = format_args!("directory has a name for itself");
        return Err(metadata::corrupt(sb, at, what));
    }
    if !sb.volume().is_ordinary(ino) {
        return Err(metadata::corrupt(
            sb,
            at,
            format_args!("directory has a name for inode {number}, which is reserved"),
        ));
    }
    iget(sb, ino).map_err(|error| {
        if error != errno::estale() {
            return error;
        }
        metadata::corrupt(
            sb,
            at,
            format_args!("directory has a name for inode {number}, which is free"),
        )
    })
}

/// The number of the inode that has a name in a directory.
///
/// # Errors
///
/// What reading and checking the directory says; `EINTR` for a task that is to be killed.
pub(in super::super) fn find(dir: &Inode, name: &[u8]) -> Result<Option<Ino>> {
    if name == b".." && dir.disk().is_indexed(dir.sb().volume()) {
        return htree::parent(dir).map(Some);
    }
    let found = search(dir, name, current::check_fatal_signal)?;
    Ok(found.map(|found| found.ino))
}

/// Where the name is that the VFS knows to be that of an inode.
///
/// # Errors
///
/// `EFSCORRUPTED` if the directory says otherwise; what reading and checking it says.
///
/// # Context
///
/// Sleeps. A handle may be started.
pub(super) fn named(dir: Locked<'_, Stablefs>, name: &[u8], inode: &Inode) -> Result<Found> {
    let found = search(&dir, name, || Ok(()))?;
    found
        .filter(|found| found.ino == inode.ino())
        .ok_or_else(|| {
            let number = inode.ino().get();
            metadata::corrupt(
                dir.sb(),
                At::inode(dir.ino()),
                format_args!("a name of inode {number} has gone from the directory"),
            )
        })
}

/// Looks for a name other than those of the directory and of the one above, having called `go_on`
/// before each block.
fn search(dir: &Inode, name: &[u8], go_on: impl Fn() -> Result) -> Result<Option<Found>> {
    if !dir.disk().is_indexed(dir.sb().volume()) {
        for lblk in dir::lblks(dir) {
            go_on()?;
            if let Some(found) = find_in_leaf(dir, lblk, name)? {
                return Ok(Some(found));
            }
        }
        return Ok(None);
    }
    let found = htree::for_each_leaf(
        dir,
        |hasher| hasher.hash(name),
        |leaf| {
            go_on()?;
            if let Some(found) = find_in_leaf(dir, leaf.lblk, name)? {
                return Ok(ControlFlow::Break(Some(found)));
            }
            Ok(match leaf.next {
                Some(next) if next.continues(leaf.hash) => ControlFlow::Continue(()),
                _ => ControlFlow::Break(None),
            })
        },
    )?;
    Ok(match found {
        ControlFlow::Break(found) => found,
        ControlFlow::Continue(()) => None,
    })
}

fn find_in_leaf(dir: &Inode, lblk: Lblk, name: &[u8]) -> Result<Option<Found>> {
    let block = read_block(dir, lblk)?;
    let found = dir::leaf(dir, lblk, &block)?
        .find(name)
        .map_err(|error| metadata::blame(dir.sb(), At::block(dir.ino(), block.pblk), error))?;
    Ok(found.map(|entry| Found {
        lblk,
        pblk: block.pblk,
        ino: entry.ino(),
    }))
}
