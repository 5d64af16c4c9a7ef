// SPDX-License-Identifier: GPL-2.0

//! The journal: where its blocks are, whether it is one, and whether jbd2 may replay it.

use super::{
    groups::Allocator,
    metadata::{
        self,
        Fault, //
    },
    refusal::Refusal,
    reserved::{
        Broken,
        Reserved, //
    },
};
use crate::{
    kernel::{
        jbd2::{
            self,
            Tid, //
        },
        log,
        super_block::OnDevice, //
    },
    ondisk::{
        self,
        extent::Extent,
        journal,
        Ino,
        Lblk,
        PblkRange,
        Superblock,
        Unsupported, //
    },
};
use ::kernel::{
    prelude::*,
    sync::Arc, //
};

/// Where the journal is.
pub(super) struct Journal {
    ino: Ino,
    file: Reserved,
}

impl Journal {
    /// Finds the journal of a volume that has one.
    pub(super) fn find(sb: &OnDevice, volume: &Superblock) -> Result<Option<Self>, Refusal> {
        let Some(ino) = volume.settings().journal() else {
            return Ok(None);
        };
        match Reserved::read(sb, volume, ino) {
            Ok(file) => Ok(Some(Self { ino, file })),
            Err(broken) => Err(Refusal::JournalInode { ino, broken }),
        }
    }

    /// Its inode.
    pub(super) fn ino(&self) -> Ino {
        self.ino
    }

    /// How many blocks it has.
    pub(super) fn len(&self) -> u32 {
        self.file.len
    }

    /// Where they are, as far as is known.
    pub(super) fn blocks(&self) -> impl Iterator<Item = PblkRange> + '_ {
        self.file.extents.iter().flatten().map(Extent::pblks)
    }

    /// Warns if what the volume says is its journal is none. To read a volume that was closed the
    /// journal is not needed, so that this is no reason not to mount it.
    pub(super) fn warn_if_broken(&self, sb: &OnDevice, volume: &Superblock) {
        match self.check(sb, volume) {
            // More than is known here: nothing is broken.
            Ok(()) | Err(Fault::Format(ondisk::Error::Unsupported(_))) => {}
            Err(fault) => log::warn(
                sb,
                format_args!("the journal, inode {}: {fault}: run e2fsck", self.ino.get()),
            ),
        }
    }

    /// Looks at its first block, if it is known where that is.
    fn check(&self, sb: &OnDevice, volume: &Superblock) -> Result<(), Fault> {
        let Some(start) = self.blocks().next().map(|blocks| blocks.start) else {
            return Ok(());
        };
        let block = metadata::copy_block(sb, volume, start).map_err(Fault::Read)?;
        let bytes = block.first_chunk().ok_or(Fault::Read(EINVAL))?;
        journal::Superblock::parse(volume, bytes)
            .map(drop)
            .map_err(Fault::Format)
    }

    /// Where all of them are, for jbd2 to replay it.
    ///
    /// # Errors
    ///
    /// [`Refusal::JournalInode`]; [`Refusal::Journal`] for a journal that jbd2 does not know, or
    /// knows and does not replay without the help of the filesystem.
    pub(super) fn into_map(self, sb: &OnDevice, volume: &Superblock) -> Result<Map, Refusal> {
        self.check(sb, volume).map_err(Refusal::Journal)?;
        let Some(extents) = self.file.extents else {
            let error = ondisk::Error::Unsupported(Unsupported::BlockMap);
            return Err(Refusal::JournalInode {
                ino: self.ino,
                broken: Broken::Fault(Fault::Format(error)),
            });
        };
        Ok(Map {
            extents,
            len: self.file.len,
            allocator: None,
        })
    }
}

/// Where the blocks of a journal are that jbd2 may replay.
pub(crate) struct Map {
    extents: KVVec<Extent>,
    len: u32,
    /// Who waits for commits, of a volume that is written.
    allocator: Option<Arc<Allocator>>,
}

impl Map {
    /// The same for a volume that is written.
    pub(super) fn with_allocator(self, allocator: Arc<Allocator>) -> Self {
        Self {
            allocator: Some(allocator),
            ..self
        }
    }

    fn place(&self, lblk: Lblk) -> Option<ondisk::Pblk> {
        let n = self
            .extents
            .partition_point(|extent| extent.lblks().end <= lblk);
        self.extents.get(n)?.pblk(lblk)
    }
}

impl jbd2::Map for Map {
    fn bmap(&self, block: u64) -> Option<u64> {
        let lblk = Lblk(u32::try_from(block).ok()?);
        Some(self.place(lblk)?.0)
    }

    fn len(&self) -> u32 {
        self.len
    }

    fn committed(&self, tid: Tid) {
        if let Some(allocator) = &self.allocator {
            allocator.commit(tid.get());
        }
    }
}
