// SPDX-License-Identifier: GPL-2.0

//! Inodes that are to be deleted, or cut, whatever happens: noted in the orphan file, in the
//! transaction in which they lose their last name, or that begins to cut them → done, and noted no
//! more.
//!
//! Whoever mounts the volume after a crash does what is left to be done.
//!
//! Format: [Documentation/filesystems/ext4/orphan.rst](srctree/Documentation/filesystems/ext4/orphan.rst).

use super::{
    extents,
    inode::iget_orphan,
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
        Transaction, //
    },
    Inode,
    KernelCrc32c,
    SuperBlock, //
};
use crate::{
    kernel::{
        jbd2::Credits,
        log, //
    },
    ondisk::{
        orphan::{
            self,
            OrphanBlock,
            Slot, //
        },
        Block,
        Ino,
        Lblk,
        Pblk,
        Seed, //
    },
};
use ::kernel::{
    new_mutex,
    prelude::*,
    sync::Mutex, //
};

/// What [`add`] and [`remove`] change.
pub(super) const CREDITS: Credits = Credits::blocks(1);

/// Where an inode is noted.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    pblk: Pblk,
    slot: Slot,
}

/// The orphan file of a volume that is written.
#[pin_data]
pub(super) struct Orphans {
    ino: Ino,
    seed: Seed,
    blocks: KVec<Pblk>,
    /// Which of the blocks may have room, held while the file is changed.
    #[pin]
    next: Mutex<usize>,
}

impl Orphans {
    /// Finds the blocks of the orphan file.
    pub(super) fn new(sb: &SuperBlock) -> Result<Pin<KBox<Self>>, Refusal> {
        let volume = sb.volume();
        let Some(ino) = volume.settings().orphan_file() else {
            return Err(Refusal::Lacks("orphan_file"));
        };
        let broken = |broken| Refusal::OrphanFile { ino, broken };
        let file = Reserved::read(sb, volume, ino).map_err(broken)?;
        if file.len > MAX_BLOCKS {
            return Err(broken(Broken::TooLarge));
        }
        let mut blocks = KVec::new();
        for extent in file.extents.iter().flatten() {
            let pblks = extent.pblks();
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
                next <- new_mutex!(0, "stablefs::orphans"),
            }),
            GFP_KERNEL,
        )
        .map_err(|_| Refusal::NoMemory)
    }
}

/// Blocks of an orphan file, at most, as ext4 has it (`EXT4_MAX_ORPHAN_FILE_BLOCKS`).
pub(super) const MAX_BLOCKS: u32 = 512;

/// Notes an inode, unless it is noted.
///
/// # Errors
///
/// `ENOSPC` if the orphan file is full; what reading it says, or the journal.
///
/// # Context
///
/// Sleeps. The transaction has [`CREDITS`] left. Nobody else adds or removes the inode.
pub(super) fn add(transaction: &Transaction<'_>, inode: &Inode) -> Result {
    if inode.orphan().is_some() {
        return Ok(());
    }
    let sb = transaction.sb();
    let orphans = sb.volume().orphans().ok_or(EROFS)?;
    let mut next = orphans.next.lock();
    for n in 0..orphans.blocks.len() {
        let n = next
            .checked_add(n)
            .and_then(|n| n.checked_rem(orphans.blocks.len()))
            .ok_or(EINVAL)?;
        let pblk = *orphans.blocks.get(n).ok_or(EINVAL)?;
        let at = At::block(orphans.ino, pblk);
        let mut edit = transaction.edit_own(at, pblk)?;
        let vacant = OrphanBlock::parse::<KernelCrc32c>(orphans.seed, pblk, edit.block()?)
            .map_err(|error| metadata::blame(sb, at, error))?
            .vacant();
        let Some(slot) = vacant else {
            continue;
        };
        let ino = Some(inode.ino());
        orphan::set::<KernelCrc32c>(orphans.seed, pblk, slot, ino, edit.bytes_mut())
            .ok_or_else(|| transaction::bug(sb, at, "an orphan that cannot be noted"))?;
        edit.write()?;
        *next = n;
        inode.set_orphan(Some(Place { pblk, slot }));
        return Ok(());
    }
    Err(ENOSPC)
}

/// Notes an inode no more.
///
/// # Errors
///
/// What reading the orphan file says, or the journal.
///
/// # Context
///
/// As [`add`].
pub(super) fn remove(transaction: &Transaction<'_>, inode: &Inode) -> Result {
    let Some(Place { pblk, slot }) = inode.orphan() else {
        return Ok(());
    };
    let sb = transaction.sb();
    let orphans = sb.volume().orphans().ok_or(EROFS)?;
    let at = At::block(orphans.ino, pblk);
    let mut next = orphans.next.lock();
    let mut edit = transaction.edit_own(at, pblk)?;
    orphan::set::<KernelCrc32c>(orphans.seed, pblk, slot, None, edit.bytes_mut())
        .ok_or_else(|| transaction::bug(sb, at, "an orphan that cannot be taken away"))?;
    edit.write()?;
    if let Some(n) = orphans.blocks.iter().position(|block| *block == pblk) {
        *next = n;
    }
    inode.set_orphan(None);
    Ok(())
}

/// Whether the orphan file names no inode.
///
/// # Errors
///
/// What reading it says.
pub(super) fn is_empty(sb: &SuperBlock) -> Result<bool> {
    let Some(orphans) = sb.volume().orphans() else {
        return Ok(true);
    };
    for pblk in orphans.blocks.iter() {
        if !read(sb, orphans, *pblk)?.is_empty() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Deletes and cuts the inodes that are noted, when the volume is opened to be written.
pub(super) fn recover(sb: &SuperBlock) -> Result {
    let Some(orphans) = sb.volume().orphans() else {
        return Ok(());
    };
    let (mut deleted, mut cut) = (0_u32, 0_u32);
    for pblk in orphans.blocks.iter() {
        for (slot, number) in read(sb, orphans, *pblk)? {
            let at = At::block(orphans.ino, *pblk);
            let ino = sb
                .volume()
                .ino(number)
                .filter(|ino| sb.volume().is_ordinary(*ino));
            let Some(ino) = ino else {
                return Err(metadata::corrupt(
                    sb,
                    at,
                    format_args!("names inode {number} as an orphan"),
                ));
            };
            let inode = iget_orphan(sb, ino)?;
            inode.set_orphan(Some(Place { pblk: *pblk, slot }));
            if inode.nlink() > 0 {
                finish_cut(&inode)?;
                cut = cut.saturating_add(1);
            } else {
                // Evicted as it is dropped.
                deleted = deleted.saturating_add(1);
            }
        }
    }
    if deleted > 0 || cut > 0 {
        log::info(
            sb,
            format_args!("orphans: {deleted} inodes deleted, {cut} cut"),
        );
    }
    Ok(())
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

/// The inodes that a block names.
fn read(sb: &SuperBlock, orphans: &Orphans, pblk: Pblk) -> Result<KVec<(Slot, u32)>> {
    let at = At::block(orphans.ino, pblk);
    let bytes = metadata::copy_block(sb, sb.volume(), pblk)
        .map_err(|error| metadata::unreadable(sb, at, error))?;
    let block = Block::new(&bytes).ok_or(EINVAL)?;
    let block = OrphanBlock::parse::<KernelCrc32c>(orphans.seed, pblk, block)
        .map_err(|error| metadata::blame(sb, at, error))?;
    let mut numbers = KVec::new();
    for number in block.numbers() {
        numbers.push(number, GFP_KERNEL)?;
    }
    Ok(numbers)
}
