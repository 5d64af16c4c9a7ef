// SPDX-License-Identifier: GPL-2.0

//! Files that are accessed in the memory that they are in.
//!
//! Behind the end of a file, up to the end of its last page, a mapping shows what is on the disk.
//! Whoever writes to the file, or makes it shorter, has to leave zeroes there: the kernel's ext4
//! does, and so has everyone who mounts a volume with DAX. (In the page cache it is the reader who
//! puts zeroes there.)

mod claims;

use self::claims::Claims;
use super::{
    iomap,
    read_error,
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
        log,
        super_block::OnDevice,
        vm, //
    },
    ondisk::{
        inode::{
            Flags,
            Type, //
        },
        BlockSize,
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

/// Files are accessed with DAX, which cannot be written.
pub(super) struct InUse;

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
    /// Whether a file was given DAX.
    in_use: Atomic<bool>,
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
            in_use: Atomic::new(false),
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
    /// DAX, which a volume that is written does not have. The first time that this fails for that, or
    /// for want of a device, the log says why.
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
        let is_used = self.memory.is_ok() && sb.sb_rdonly() && !sb.volume().is_open();
        if is_used {
            self.in_use.store(true, Relaxed);
        }
        is_used
    }

    /// Whether the volume can be written from now on, which it was not so far.
    ///
    /// # Errors
    ///
    /// [`InUse`].
    pub(super) fn check_not_in_use(&self) -> Result<(), InUse> {
        if self.in_use.load(Relaxed) {
            return Err(InUse);
        }
        Ok(())
    }

    fn claims(&self) -> Option<&Claims> {
        Some(&self.memory.as_ref().ok()?.claims)
    }

    fn tell(&self, sb: &OnDevice) {
        let obstacle: &dyn fmt::Display = match &self.memory {
            Err(obstacle) => obstacle,
            Ok(_) if !sb.sb_rdonly() => &"the volume is mounted to be written",
            Ok(_) => return,
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
/// unmounted.
///
/// # Context
///
/// Sleeps. No lock is held.
pub(super) fn release(inode: &Inode) {
    if !inode.is_dax() || inode.mapping_mapped() {
        return;
    }
    if inode.mapping_empty() && !inode.has_claims() {
        return;
    }
    let lock = inode.filemap_invalidate_lock();
    if kernel::dax::break_layout(&lock).is_ok() {
        forget_claims(inode);
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
        let (inode, pos) = (fault.inode(), fault.pos());
        let fault = fault.filemap_invalidate_lock_shared();
        let faulted = kernel::dax::iomap_fault::<iomap::Operations>(&fault, order);
        drop(fault);
        // Behind the end of the file there is nothing to lose.
        if faulted.result.is_sigbus() && pos < inode.i_size_read() {
            // Without an error of ours it is the memory that cannot be accessed.
            let error = faulted.iomap.err().unwrap_or(EIO);
            if errno::is_read_error(error) {
                let len = u64::try_from(PAGE_SIZE).unwrap_or(u64::MAX);
                read_error::report(inode, pos, len, error);
                fserror::report_data_lost(inode, pos, len);
            }
        }
        faulted.result
    }
}
