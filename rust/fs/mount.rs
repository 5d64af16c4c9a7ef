// SPDX-License-Identifier: GPL-2.0

//! Mounting: device → superblock read → checked → accepted → root.
//!
//! A volume that is refused is refused once, in one sentence that names what to look at: to the
//! kernel's log, and to whoever called `mount`.

use super::{
    inode::{
        iget,
        InodeInfo, //
    },
    volume::Volume,
    xattr,
    KernelCrc32c,
    Stablefs, //
};
use crate::{
    kernel::{
        buffer::{
            BdevAddr,
            Buffer, //
        },
        errno,
        fs_context::{
            self,
            FsContext, //
        },
        log,
        super_block::{
            self,
            NewSuperBlock,
            OnDevice,
            Params,
            Rooted, //
        },
        vfs,
    },
    ondisk::{
        self,
        Incompat,
        Ino,
        Lblk,
        RoCompat,
        Superblock, //
    },
};
use ::kernel::prelude::*;
use core::fmt;

/// `EXT4_SUPER_MAGIC`: programs know the volume by it.
const MAGIC: u32 = 0xef53;

impl vfs::FileSystemType for Stablefs {
    const NAME: &'static CStr = c"stablefs";

    type SuperBlock = Volume;
    type Inode = InodeInfo;

    fn init_fs_context<'a>(fc: fs_context::New<'a>) -> Result<fs_context::Initialised<'a>> {
        Ok(fc.set_ops::<Self>())
    }
}

impl fs_context::Operations for Stablefs {
    fn get_tree<'a>(fc: fs_context::GetTree<'a>) -> Result<fs_context::Tree<'a>> {
        fc.get_tree_bdev::<Self>()
    }
}

#[vtable]
impl super_block::Operations for Stablefs {}

impl fs_context::FillSuper for Stablefs {
    fn fill_super<'a>(mut sb: NewSuperBlock<'a, Self>, fc: &FsContext<'_>) -> Result<Rooted<'a>> {
        let superblock = match read_superblock(&mut sb) {
            Ok(superblock) => superblock,
            Err(refusal) => {
                // Whoever tries one filesystem type after the other expects most not to fit. Of
                // sectors that are too large the VFS itself has written a line.
                let expected = fc.is_silent() && refusal.is_other_format();
                if !expected && !matches!(refusal, Refusal::SectorSize) {
                    log::err(&sb, format_args!("{refusal}"));
                }
                fc.errorfc(format_args!("{refusal}"));
                return Err(refusal.errno());
            }
        };
        let params = params(&superblock);
        let volume = KBox::new(Volume::new(superblock), GFP_KERNEL)?;
        sb.set_xattr(&xattr::HANDLERS);
        sb.set_export_op();
        let sb = sb.fill(&params, volume);
        let root = iget(&sb, Ino::ROOT)?;
        sb.d_make_root(root)
    }
}

/// What the volume can hold, for the VFS.
fn params(volume: &Superblock) -> Params {
    let block_len = u64::from(volume.block_size().bytes().get());
    let by_blocks = u64::from(Lblk::END.0).saturating_mul(block_len);
    let maxbytes = if volume.features().ro_compat.contains(RoCompat::HUGE_FILE) {
        by_blocks
    } else {
        // `i_blocks` counts sectors of 512 bytes in 32 bits then.
        by_blocks.min(u64::from(u32::MAX).saturating_mul(512))
    };
    let first = i64::from(i32::MIN);
    let (time_gran, time_max) = if volume.inode_size() > 128 {
        // Two more bits of the seconds, and nanoseconds.
        (1, first.saturating_add((1 << 34) - 1))
    } else {
        (1_000_000_000, i64::from(i32::MAX))
    };
    Params {
        magic: MAGIC,
        maxbytes,
        time_gran,
        time_min: first,
        time_max,
        uuid: volume.uuid(),
        i_version: true,
        posixacl: true,
    }
}

/// Why a volume is not mounted.
enum Refusal {
    /// The device ends before a superblock does.
    TooSmall { device_len: u64 },
    /// A sector of the device is more than a page, and the VFS reads no such device for us.
    SectorSize,
    /// The device did not read the block with the superblock.
    Unreadable,
    /// The superblock is not one of ours to mount.
    Superblock(ondisk::Error),
    /// The volume is larger than the device.
    Truncated { volume_len: u64, device_len: u64 },
    /// To be written, but has features beside which that is not safe.
    WriteProtected(RoCompat),
    /// To be written, which this version cannot do.
    ReadOnly,
    /// Its journal has to be replayed first.
    NeedsRecovery,
    /// The device cannot read blocks of that size.
    BlockSize { block_len: u32 },
}

impl Refusal {
    fn errno(&self) -> Error {
        match self {
            Self::TooSmall { .. }
            | Self::SectorSize
            | Self::Superblock(ondisk::Error::NotExt4 { .. }) => EINVAL,
            Self::Unreadable => EIO,
            Self::Superblock(ondisk::Error::Corrupt { .. }) | Self::Truncated { .. } => {
                errno::efscorrupted()
            }
            Self::Superblock(ondisk::Error::BadChecksum { .. }) => errno::efsbadcrc(),
            Self::Superblock(ondisk::Error::Unsupported(_))
            | Self::WriteProtected(_)
            | Self::NeedsRecovery => errno::eopnotsupp(),
            Self::ReadOnly => EROFS,
            Self::BlockSize { .. } => EINVAL,
        }
    }

    /// Whether the device may well hold something else that is in good order.
    fn is_other_format(&self) -> bool {
        matches!(
            self,
            Self::TooSmall { .. } | Self::Superblock(ondisk::Error::NotExt4 { .. })
        )
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooSmall { device_len } => {
                write!(f, "not an ext4 volume: the device has {device_len} bytes")
            }
            Self::SectorSize => f.write_str("the device's sectors are larger than a page"),
            Self::Unreadable => f.write_str("cannot read the superblock: I/O error"),
            Self::Superblock(error) => error.fmt(f),
            Self::Truncated {
                volume_len,
                device_len,
            } => write!(
                f,
                "the volume has {volume_len} bytes, the device only {device_len}"
            ),
            Self::WriteProtected(features) => {
                write!(f, "unsupported features, read-only at best: {features}")
            }
            Self::ReadOnly => f.write_str("this version mounts volumes read-only"),
            Self::NeedsRecovery => f.write_str("the journal has to be replayed"),
            Self::BlockSize { block_len } => {
                write!(
                    f,
                    "blocks of {block_len} bytes are smaller than the device's sectors"
                )
            }
        }
    }
}

fn read_superblock(sb: &mut NewSuperBlock<'_, Stablefs>) -> Result<Superblock, Refusal> {
    let device_len = sb.bdev_nr_bytes();
    if device_len < Superblock::END {
        return Err(Refusal::TooSmall { device_len });
    }
    if sb.block_size().is_none() {
        return Err(Refusal::SectorSize);
    }
    // The superblock is as long as the smallest block, so a block of any size holds all of it.
    sb.sb_min_blocksize(Superblock::LEN)
        .map_err(|_| Refusal::SectorSize)?;

    let addr = BdevAddr(Superblock::POS);
    let mut bytes = [0; Superblock::LEN];
    Buffer::sb_bread(sb, addr)
        .and_then(|buffer| buffer.copy_to_slice(addr, &mut bytes))
        .map_err(|_| Refusal::Unreadable)?;
    let superblock = Superblock::parse::<KernelCrc32c>(&bytes).map_err(Refusal::Superblock)?;
    accept(sb, &superblock)?;
    let block_len = superblock.block_size().bytes();
    sb.sb_set_blocksize(block_len)
        .map_err(|_| Refusal::BlockSize {
            block_len: block_len.get(),
        })?;
    Ok(superblock)
}

/// Looks at what the volume and this mount have to do with each other.
fn accept(sb: &OnDevice, volume: &Superblock) -> Result<(), Refusal> {
    let device_len = sb.bdev_nr_bytes();
    if volume.len() > device_len {
        return Err(Refusal::Truncated {
            volume_len: volume.len(),
            device_len,
        });
    }
    let unknown = volume.features().ro_compat.unsupported();
    if !sb.sb_rdonly() && !unknown.is_empty() {
        return Err(Refusal::WriteProtected(unknown));
    }
    if volume.features().incompat.contains(Incompat::RECOVER) {
        return Err(Refusal::NeedsRecovery);
    }
    if !sb.sb_rdonly() {
        return Err(Refusal::ReadOnly);
    }
    Ok(())
}
