// SPDX-License-Identifier: GPL-2.0

//! The file with the numbers of orphans: slot vacant → taken → vacant.
//!
//! Format: [Documentation/filesystems/ext4/orphan.rst](srctree/Documentation/filesystems/ext4/orphan.rst).

use super::super::{
    metadata::{
        self,
        At, //
    },
    refusal::Refusal,
    reserved::{
        Broken,
        Reserved, //
    },
    transaction::{
        self,
        Edit,
        Transaction, //
    },
    KernelCrc32c,
    SuperBlock, //
};
use crate::ondisk::{
    orphan::{
        self,
        OrphanBlock,
        Slot, //
    },
    Block,
    Ino,
    Pblk,
    Seed, //
};
use ::kernel::{
    new_mutex,
    prelude::*,
    sync::Mutex, //
};

/// Blocks of the file, at most, as ext4 has it (`EXT4_MAX_ORPHAN_FILE_BLOCKS`).
const MAX_BLOCKS: u32 = 512;

/// Where an inode is noted.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pblk: Pblk,
    slot: Slot,
}

/// The orphan file of a volume that is written.
#[pin_data]
pub(super) struct File {
    ino: Ino,
    seed: Seed,
    blocks: KVec<Pblk>,
    /// Which of the blocks may have room, if one may, held while the file is changed.
    #[pin]
    next: Mutex<Option<usize>>,
}

impl File {
    /// Finds the blocks of the file, if the volume has one.
    pub(super) fn find(sb: &SuperBlock) -> Result<Option<Pin<KBox<Self>>>, Refusal> {
        let volume = sb.volume();
        let Some(ino) = volume.settings().orphan_file() else {
            return Ok(None);
        };
        let broken = |broken| Refusal::OrphanFile { ino, broken };
        let file = Reserved::read(sb, volume, ino).map_err(broken)?;
        if file.len > MAX_BLOCKS {
            return Err(broken(Broken::TooLarge));
        }
        let mut blocks = KVec::new();
        for extent in file.extents.iter().flatten() {
            let pblks = extent.pblks();
            if let Some(pblk) = volume.zones().first_foreign(ino, pblks) {
                return Err(broken(Broken::Foreign(pblk)));
            }
            for pblk in pblks.start.0..pblks.end.0 {
                blocks
                    .push(Pblk(pblk), GFP_KERNEL)
                    .map_err(|_| Refusal::NoMemory)?;
            }
        }
        let seed = file.inode.seed();
        KBox::pin_init(
            pin_init!(Self {
                ino,
                seed,
                blocks,
                next <- new_mutex!(Some(0), "stablefs::orphans"),
            }),
            GFP_KERNEL,
        )
        .map(Some)
        .map_err(|_| Refusal::NoMemory)
    }

    /// Notes an inode, and says where, unless the file is full, or broken where it is not.
    ///
    /// # Errors
    ///
    /// `ENOMEM`; what asking the journal says.
    ///
    /// # Context
    ///
    /// Sleeps. The transaction has a block left.
    pub(super) fn add(&self, transaction: &Transaction<'_>, ino: Ino) -> Result<Option<Place>> {
        let mut next = self.next.lock();
        let Some(first) = *next else {
            return Ok(None);
        };
        for n in 0..self.blocks.len() {
            let n = first
                .checked_add(n)
                .and_then(|n| n.checked_rem(self.blocks.len()))
                .ok_or(EINVAL)?;
            let pblk = *self.blocks.get(n).ok_or(EINVAL)?;
            if let Some(place) = self.add_to(transaction, pblk, ino)? {
                *next = Some(n);
                return Ok(Some(place));
            }
        }
        *next = None;
        Ok(None)
    }

    /// Notes an inode in a block, and says where, if there is room and the block can be used. If not, the
    /// right to change it was asked for in vain, which takes none of the credits. `next` is held.
    fn add_to(&self, transaction: &Transaction<'_>, pblk: Pblk, ino: Ino) -> Result<Option<Place>> {
        let at = At::block(self.ino, pblk);
        let edit = match transaction.edit_own(at, pblk) {
            // Reported.
            Err(error) if error == EIO => return Ok(None),
            edit => edit?,
        };
        let vacant = OrphanBlock::parse::<KernelCrc32c>(self.seed, pblk, edit.block()?)
            .map(|block| block.vacant())
            .map_err(|error| metadata::blame(transaction.sb(), at, error));
        let Ok(Some(slot)) = vacant else {
            return Ok(None);
        };
        let place = Place { pblk, slot };
        self.set(transaction, edit, place, Some(ino))?;
        Ok(Some(place))
    }

    /// Has `look` see a block, and returns what it says.
    ///
    /// # Errors
    ///
    /// What reading and checking the block says.
    fn read<T>(
        &self,
        sb: &SuperBlock,
        pblk: Pblk,
        look: impl FnOnce(OrphanBlock<'_>) -> T,
    ) -> Result<T> {
        let at = At::block(self.ino, pblk);
        let bytes = metadata::copy_block(sb, sb.volume(), pblk)
            .map_err(|error| metadata::unreadable(sb, at, error))?;
        let block = Block::new(&bytes).ok_or(EINVAL)?;
        OrphanBlock::parse::<KernelCrc32c>(self.seed, pblk, block)
            .map(look)
            .map_err(|error| metadata::blame(sb, at, error))
    }

    /// Notes an inode no more.
    ///
    /// # Errors
    ///
    /// Those of [`add`](Self::add).
    ///
    /// # Context
    ///
    /// As [`add`](Self::add).
    pub(super) fn remove(&self, transaction: &Transaction<'_>, place: Place) -> Result {
        let mut next = self.next.lock();
        let edit = transaction.edit_own(At::block(self.ino, place.pblk), place.pblk)?;
        self.set(transaction, edit, place, None)?;
        *next = self.blocks.iter().position(|block| *block == place.pblk);
        Ok(())
    }

    /// `next` is held.
    fn set(
        &self,
        transaction: &Transaction<'_>,
        mut edit: Edit<'_>,
        place: Place,
        ino: Option<Ino>,
    ) -> Result {
        let Place { pblk, slot } = place;
        orphan::set::<KernelCrc32c>(self.seed, pblk, slot, ino, edit.bytes_mut()).ok_or_else(
            || {
                let at = At::block(self.ino, pblk);
                transaction::bug(transaction.sb(), at, "an orphan that cannot be noted")
            },
        )?;
        edit.write()
    }

    /// Shows all inodes that are noted, to `look`: where, and the number that stands there.
    ///
    /// # Errors
    ///
    /// What `look` says, at once; what reading a block of the file says, once the others have been shown.
    pub(super) fn for_each(
        &self,
        sb: &SuperBlock,
        mut look: impl FnMut(At, Place, u32) -> Result,
    ) -> Result {
        let mut all = Ok(());
        for pblk in self.blocks.iter().copied() {
            let at = At::block(self.ino, pblk);
            let looked = self.read(sb, pblk, |block| {
                block
                    .numbers()
                    .try_for_each(|(slot, number)| look(at, Place { pblk, slot }, number))
            });
            match looked {
                Ok(looked) => looked?,
                Err(error) => all = Err(error),
            }
        }
        all
    }
}
