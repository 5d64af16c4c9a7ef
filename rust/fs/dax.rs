// SPDX-License-Identifier: GPL-2.0

//! Files that are accessed in the memory that they are in.
//!
//! Behind the end of a file, up to the end of its last page, a mapping shows what is on the disk.
//! Whoever writes to the file, or makes it shorter, has to leave zeroes there: the kernel's ext4
//! does, and so has everyone who mounts a volume with DAX. (In the page cache it is the reader who
//! puts zeroes there.)

mod claims;
mod store;

pub(super) use self::store::write;

use self::claims::Claims;
use super::{
    iomap,
    read_error,
    writing,
    Inode,
    Stablefs,
    SuperBlock, //
};
use crate::{
    extent_map::Claim,
    kernel::{
        self,
        control::Control,
        dax::{
            Device,
            Unsupported, //
        },
        errno,
        fserror,
        kiocb,
        locks::InvalidateExclusive,
        log,
        super_block::OnDevice,
        truncate::ByteRange,
        vm, //
    },
    ondisk::{
        inode::{
            Flags,
            Type, //
        },
        BlockSize,
        PblkRange, //
    },
};
use ::kernel::{
    page::PAGE_SIZE,
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    },
};
use core::fmt;

/// Bytes of a huge page.
const HUGE_PAGE: u64 = 2 << 20;

/// For which files DAX is wanted (`dax=`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum DaxMode {
    /// For all.
    Always,
    /// For none.
    Never,
    /// For those that say so themselves.
    #[default]
    Inode,
}

impl DaxMode {
    /// Whether DAX is wanted for an inode.
    fn wants(self, flags: Flags) -> bool {
        match self {
            Self::Always => true,
            Self::Never => false,
            Self::Inode => flags.contains(Flags::DAX),
        }
    }
}

/// Why there is no DAX for a volume.
enum Obstacle {
    /// Its blocks are no pages.
    BlockSize(BlockSize),
    /// The block device has none.
    Device(Unsupported),
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BlockSize(size) => {
                let bytes = size.bytes();
                write!(f, "blocks have {bytes} bytes, pages {PAGE_SIZE}")
            }
            Self::Device(why) => why.fmt(f),
        }
    }
}

/// The memory that a volume is in.
struct Memory {
    device: Device,
    claims: Pin<KBox<Claims>>,
}

/// What a volume has of DAX.
pub(super) struct Dax {
    mode: DaxMode,
    memory: Result<Memory, Obstacle>,
    /// Whether the log says of the obstacle.
    told: Atomic<bool>,
}

impl Dax {
    /// Looks for what DAX needs. If it is wanted for all files, and something lacks, the log says
    /// what.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(super) fn new(sb: &OnDevice, block_size: BlockSize, mode: DaxMode) -> Result<Self> {
        // With the device first: blocks of another size would be of no use to one that has no DAX.
        let memory = match Device::fs_dax_get_by_bdev(sb) {
            Err(why) => Err(Obstacle::Device(why)),
            Ok(_) if usize::try_from(block_size.bytes().get()) != Ok(PAGE_SIZE) => {
                Err(Obstacle::BlockSize(block_size))
            }
            Ok(device) => Ok(Memory {
                device,
                claims: KBox::pin_init(Claims::new(), GFP_KERNEL)?,
            }),
        };
        let dax = Self {
            mode,
            memory,
            told: Atomic::new(false),
        };
        if mode == DaxMode::Always {
            dax.tell(sb);
        }
        Ok(dax)
    }

    /// The device, if there is one.
    pub(super) fn device(&self) -> Option<&Device> {
        Some(&self.memory.as_ref().ok()?.device)
    }

    /// Whether an inode of the volume `sb`, of that type and with those flags, is to be accessed with
    /// DAX. The first time that this fails for want of a device, the log says why.
    pub(super) fn is_for(&self, sb: &SuperBlock, file_type: Type, flags: Flags) -> bool {
        let otherwise = [
            Flags::ENCRYPT,
            Flags::INLINE_DATA,
            Flags::JOURNAL_DATA,
            Flags::VERITY,
        ];
        if file_type != Type::Regular
            || !self.mode.wants(flags)
            || otherwise.iter().any(|flag| flags.contains(*flag))
        {
            return false;
        }
        self.tell(sb);
        self.memory.is_ok()
    }

    fn claims(&self) -> Option<&Claims> {
        Some(&self.memory.as_ref().ok()?.claims)
    }

    fn tell(&self, sb: &OnDevice) {
        let Err(obstacle) = &self.memory else {
            return;
        };
        if !self.told.xchg(true, Relaxed) {
            log::warn(sb, format_args!("DAX is not used: {obstacle}"));
        }
    }
}

/// Has blocks that a fault is about to map, `mapped`, belong to this place in this file only. So do
/// those `around` them, too, if nobody else has one.
///
/// # Errors
///
/// `EFSCORRUPTED` if another place has one of them; `ENOMEM`.
///
/// # Context
///
/// Sleeps, unless that is so already.
pub(super) fn claim(inode: &Inode, around: Claim, mapped: Claim) -> Result {
    if Control::SkipDaxClaim.is_on() {
        return Ok(());
    }
    inode.set_has_claims(true);
    let claims = inode.sb().volume().dax().claims().ok_or(EIO)?;
    claims.claim(inode, around, mapped)
}

/// Forgets the pages of a file that was closed, if nobody has it mapped any more, and lets others
/// have its blocks.
///
/// To C a file whose pages are known is not to be evicted, or, if it is of one page, to be tried again
/// before any other. Evicting it all the same (`drop_inode()`, `I_DONTCACHE`) would have to wait for
/// whoever uses one of the pages, and by `vmsplice()` a page gets into a pipe, for as long as the
/// owner of the pipe likes: neither memory reclaim nor a task that exits, and may be that owner, can
/// wait for that. Here nobody waits, and such a file is kept until it is closed once more, or
/// unmounted; or, if it has no name any more, or is to be forgotten, [until nobody uses it](SuperBlock::linger).
///
/// # Context
///
/// Sleeps. No lock is held.
pub(super) fn release(inode: &Inode) {
    if !try_release(inode) && (inode.nlink() == 0 || inode.is_dontcache()) {
        linger(inode);
    }
}

/// Once only: whoever may open a file may close it as often as he likes.
fn linger(inode: &Inode) {
    if !inode.set_lingers(true) && inode.sb().linger(inode).is_err() {
        inode.set_lingers(false);
    }
}

/// Whether an inode need not be kept any more by who keeps it.
pub(super) fn is_unused(inode: &Inode) -> bool {
    // Before it is looked at, so that who uses it meanwhile has it kept himself: then it need not be kept twice.
    inode.set_lingers(false);
    try_release(inode) || inode.set_lingers(true)
}

/// Has the last name of a file that somebody uses a page of, without having it open or mapped, be taken away: as
/// [`release`] would, had he closed it later.
///
/// # Context
///
/// Sleeps. The inode is locked.
pub(super) fn unlinked(inode: &Inode) {
    if inode.nlink() == 0 && inode.is_dax() && !inode.mapping_mapped() && !inode.mapping_empty() {
        linger(inode);
    }
}

/// As [`release`]; `false` if somebody uses a page, or stores to some.
fn try_release(inode: &Inode) -> bool {
    if !inode.is_dax() || inode.mapping_mapped() {
        return true;
    }
    if inode.mapping_empty() && !inode.has_claims() {
        return true;
    }
    // What is forgotten is not written any more. What comes of it, those are told who ask for it.
    let _ = inode.filemap_write_and_wait_range(ByteRange::ALL);
    let lock = inode.filemap_invalidate_lock();
    if inode.mapping_is_dirty() {
        return false;
    }
    let is_unused = kernel::dax::break_layout(&lock).is_ok();
    if is_unused {
        forget_claims(inode);
    }
    is_unused || kernel::dax::is_pin_wait_skipped(inode.i_size_read())
}

/// Lets others have blocks of an inode that are freed: their pages are gone.
pub(super) fn forget(inode: &Inode, blocks: PblkRange) {
    if let Some(claims) = inode
        .sb()
        .volume()
        .dax()
        .claims()
        .filter(|_| inode.has_claims())
    {
        claims.release_blocks(inode.ino(), blocks);
    }
}

/// Waits until nobody uses the memory that a file is in from `pos` to `end`, nor the rest of its first and last huge page, and
/// has the mappings of it forget it. C forgets a huge page as a whole, also where it has only a part of it unmapped.
///
/// # Errors
///
/// What the system call shall return.
///
/// # Context
///
/// Sleeps, for as long as others like. The lock is given up meanwhile.
pub(super) fn break_layout<'a>(
    pages: InvalidateExclusive<'a, Stablefs>,
    pos: u64,
    end: u64,
) -> Result<InvalidateExclusive<'a, Stablefs>> {
    let inode = pages.inode();
    if !inode.is_dax() || kernel::dax::is_pin_wait_skipped(inode.i_size_read()) {
        return Ok(pages);
    }
    let start = pos.saturating_sub(pos.checked_rem(HUGE_PAGE).ok_or(EINVAL)?);
    // Behind the end of the file there are no pages.
    let end = end.min(inode.i_size_read());
    let end = end.checked_next_multiple_of(HUGE_PAGE).ok_or(EFBIG)?;
    match end
        .checked_sub(start)
        .and_then(|len| ByteRange::new(start, len))
    {
        Some(range) => kernel::dax::break_layout_and_wait(pages, range),
        None => Ok(pages),
    }
}

/// Lets others have the blocks of an inode that is evicted: its pages are gone.
pub(super) fn evict(inode: &Inode) {
    forget_claims(inode);
}

/// Gives up the claims of an inode without pages, which nobody brings in now.
fn forget_claims(inode: &Inode) {
    if !inode.has_claims() {
        return;
    }
    if let Some(claims) = inode.sb().volume().dax().claims() {
        claims.release(inode.ino());
    }
    inode.set_has_claims(false);
}

/// Reads from the memory that a file is in.
///
/// # Errors
///
/// What the system call shall return; nothing was read then.
///
/// # Context
///
/// Sleeps.
pub(super) fn read(read: kiocb::Read<'_, Stablefs>) -> Result<usize> {
    let (file, pos, len) = (read.file(), read.pos(), read.len());
    let mut read = read.lock_shared()?;
    let result = kernel::dax::iomap_rw::<iomap::Operations>(&mut read);
    drop(read);
    file.file_accessed();
    result.map_err(|error| {
        let inode = file.inode();
        let len = u64::try_from(len).unwrap_or(u64::MAX);
        let told = read_error::report(inode, pos, len, error);
        if error == EIO {
            fserror::report_data_lost(inode, pos, len);
        }
        told
    })
}

/// Operations on mappings of files.
pub(super) struct VmOperations;

#[vtable]
impl vm::Operations for VmOperations {
    type FileSystem = Stablefs;

    fn huge_fault(fault: vm::Fault<'_, Stablefs>, order: vm::Order) -> vm::FaultResult {
        let (inode, pos, is_store) = (fault.inode(), fault.pos(), fault.is_store());
        let fault = if is_store {
            let fault = fault.sb_start_pagefault();
            let prepared = writing::check_data(inode)
                .and_then(|()| store::before_fault(inode, pos))
                .and_then(|()| fault.file_update_time());
            if let Err(error) = prepared {
                return vm::FaultResult::vmf_fs_error(error);
            }
            fault.filemap_invalidate_lock_shared()
        } else {
            fault.filemap_invalidate_lock_shared()
        };
        let faulted = kernel::dax::iomap_fault::<iomap::Operations>(&fault, order);
        drop(fault);
        if !faulted.result.has_none() {
            let counters = inode.sb().volume().counters();
            counters.dax_fault(order.is_huge());
        }
        // Behind the end of the file there is nothing to lose.
        if faulted.result.is_sigbus() && !faulted.is_not_synced && pos < inode.i_size_read() {
            // Without an error of ours it is the memory that cannot be accessed.
            let error = faulted.iomap.err().unwrap_or(EIO);
            if errno::is_read_error(error) {
                let len = u64::try_from(PAGE_SIZE).unwrap_or(u64::MAX);
                if is_store {
                    read_error::report_store(inode, pos, len, error);
                } else {
                    read_error::report(inode, pos, len, error);
                }
                fserror::report_data_lost(inode, pos, len);
            }
        }
        faulted.result
    }
}
