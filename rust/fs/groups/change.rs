// SPDX-License-Identifier: GPL-2.0

//! A group on the disk, changed in a transaction: its descriptor, and its bitmaps.
//!
//! locked → descriptor read, and checked → bitmaps read, and found to fit → all of that changed, or
//! nothing
//!
//! A bitmap that nobody has written is computed first.

use super::super::{
    metadata::{
        self,
        At, //
    },
    transaction::{
        self,
        Edit,
        Transaction, //
    },
    KernelCrc32c,
};
use crate::{
    allocation::{
        Bitmap,
        Geometry, //
    },
    kernel::jbd2::Credits,
    ondisk::{
        group::{
            Bitmaps,
            Descriptor,
            Flags,
            Usage, //
        },
        GroupNumber,
        Ino,
        RoCompat, //
    },
};
use ::kernel::prelude::*;
use core::fmt;

/// The descriptor of a group, and one of its bitmaps.
pub(in crate::fs) const CREDITS: Credits = Credits::blocks(2);

/// A group that is to be changed. The one who has it has the group locked.
pub(in crate::fs) struct Change<'t> {
    transaction: &'t Transaction<'t>,
    geometry: Geometry<'t>,
    ino: Ino,
    at: At,
    descriptor: Descriptor,
    edit: Edit<'t>,
}

impl<'t> Change<'t> {
    /// Reads the descriptor of a group, on behalf of inode `ino`.
    ///
    /// # Errors
    ///
    /// `EFSCORRUPTED`, `EFSBADCRC`, `EIO`: reported, and the group is not to be used. Else those of
    /// [`Transaction::edit`].
    ///
    /// # Context
    ///
    /// Sleeps.
    pub(in crate::fs) fn new(
        transaction: &'t Transaction<'t>,
        geometry: Geometry<'t>,
        ino: Ino,
        group: GroupNumber,
    ) -> Result<Self> {
        let (sb, volume) = (transaction.sb(), geometry.volume());
        let place = volume
            .descriptor_place(group)
            .map_err(|error| metadata::blame(sb, At::inode(ino), error))?;
        let at = At::block(ino, place.pblk);
        let edit = transaction.edit_part(at, place)?;
        let descriptor = Descriptor::parse::<KernelCrc32c>(volume, group, edit.bytes())
            .map_err(|error| metadata::blame(sb, at, error))?;
        Ok(Self {
            transaction,
            geometry,
            ino,
            at,
            descriptor,
            edit,
        })
    }

    /// What the descriptor says.
    pub(in crate::fs) fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }

    /// Where the bitmap of blocks is.
    pub(in crate::fs) fn bitmap_at(&self) -> At {
        At::block(self.ino, self.descriptor.block_bitmap())
    }

    /// Where the bitmap of inodes is.
    pub(in crate::fs) fn inode_bitmap_at(&self) -> At {
        At::block(self.ino, self.descriptor.inode_bitmap())
    }

    /// The bitmap of blocks.
    ///
    /// # Errors
    ///
    /// Those of [`new`](Self::new).
    pub(in crate::fs) fn block_bitmap(&self) -> Result<Edit<'t>> {
        let (sb, volume) = (self.transaction.sb(), self.geometry.volume());
        let group = self.descriptor.group();
        let (pblk, at) = (self.descriptor.block_bitmap(), self.bitmap_at());
        let mut edit = self.transaction.edit_own(at, pblk)?;
        let is_new = self.descriptor.flags().contains(Flags::BLOCK_UNINIT);
        if !is_new {
            self.descriptor
                .check_block_bitmap::<KernelCrc32c>(volume, edit.bytes())
                .map_err(|error| metadata::blame(sb, at, error))?;
        }
        let len = self.geometry.len(group);
        let mut bitmap = Bitmap::new(edit.bytes_mut(), len).ok_or(EINVAL)?;
        if is_new {
            let zones = sb.volume().zones().within(volume.group_blocks(group));
            bitmap.initialise(zones.map(|blocks| self.geometry.run(group, blocks)));
        }
        let free = self.descriptor.free_clusters();
        self.check_count(at, "blocks", is_new, || bitmap.count_clear(), free)?;
        Ok(edit)
    }

    /// The bitmap of inodes.
    ///
    /// # Errors
    ///
    /// Those of [`new`](Self::new).
    pub(in crate::fs) fn inode_bitmap(&self) -> Result<Edit<'t>> {
        let (sb, volume) = (self.transaction.sb(), self.geometry.volume());
        let (pblk, at) = (self.descriptor.inode_bitmap(), self.inode_bitmap_at());
        let mut edit = self.transaction.edit_own(at, pblk)?;
        let is_new = self.descriptor.flags().contains(Flags::INODE_UNINIT);
        if !is_new {
            self.descriptor
                .check_inode_bitmap::<KernelCrc32c>(volume, edit.bytes())
                .map_err(|error| metadata::blame(sb, at, error))?;
        }
        let len = volume.inodes_per_group().get();
        let mut bitmap = Bitmap::new(edit.bytes_mut(), len).ok_or(EINVAL)?;
        if is_new {
            bitmap.initialise(core::iter::empty());
        }
        let free = self.descriptor.free_inodes();
        self.check_count(at, "inodes", is_new, || bitmap.count_clear(), free)?;
        Ok(edit)
    }

    /// Checks that bitmap and descriptor fit together, of which, unless one of them is computed, the
    /// checksums tell; counting takes longer than those.
    fn check_count(
        &self,
        at: At,
        what: &str,
        is_new: bool,
        count: impl FnOnce() -> u32,
        free: u32,
    ) -> Result {
        let features = self.geometry.volume().features();
        if features.ro_compat.contains(RoCompat::METADATA_CSUM) && !is_new {
            return Ok(());
        }
        let clear = count();
        if clear == free {
            return Ok(());
        }
        Err(self.misfit(
            at,
            format_args!("the bitmap has {clear} free {what}, not {free}"),
        ))
    }

    /// Reports that bitmap and descriptor do not fit together.
    pub(in crate::fs) fn misfit(&self, at: At, what: fmt::Arguments<'_>) -> Error {
        let group = self.descriptor.group().get();
        metadata::corrupt(
            self.transaction.sb(),
            at,
            format_args!("descriptor of group {group}: {what}"),
        )
    }

    /// Has the group be as `usage` and the bitmaps say, those that are given.
    ///
    /// # Errors
    ///
    /// `EFSCORRUPTED`, reported, for what a descriptor cannot say: then nothing is changed. `EROFS` if
    /// the journal has been given up.
    ///
    /// # Context
    ///
    /// May sleep.
    pub(in crate::fs) fn finish(
        mut self,
        usage: &Usage,
        blocks: Option<Edit<'_>>,
        inodes: Option<Edit<'_>>,
    ) -> Result {
        let bitmaps = Bitmaps {
            block: blocks.as_ref().map(Edit::bytes),
            inode: inodes.as_ref().map(Edit::bytes),
        };
        let volume = self.geometry.volume();
        self.descriptor
            .encode::<KernelCrc32c>(volume, usage, &bitmaps, self.edit.bytes_mut())
            .ok_or_else(|| {
                let sb = self.transaction.sb();
                transaction::bug(sb, self.at, "a group that cannot be encoded")
            })?;
        let edits = [blocks, inodes, Some(self.edit)];
        edits
            .into_iter()
            .flatten()
            .try_for_each(Edit::write)
            .inspect_err(|error| self.transaction.abort(*error))
    }
}
