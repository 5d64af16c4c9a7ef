// SPDX-License-Identifier: GPL-2.0

//! Mounting: device → superblock read → checked → refused.
//!
//! A volume that is refused is refused once, in one sentence that names what to look at: to the
//! kernel's log, and to whoever called `mount`.

use super::KernelCrc32c;
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
        vfs::{
            self,
            NewSuperBlock, //
        },
    },
    ondisk::{
        self,
        RoCompat,
        Superblock, //
    },
};
use ::kernel::prelude::*;
use core::{
    convert::Infallible,
    fmt, //
};

/// The filesystem type.
pub(super) struct Stablefs;

impl vfs::FileSystemType for Stablefs {
    const NAME: &'static CStr = c"stablefs";

    fn init_fs_context<'a>(fc: fs_context::New<'a>) -> Result<fs_context::Initialised<'a>> {
        Ok(fc.set_ops::<Self>())
    }
}

impl fs_context::Operations for Stablefs {
    fn get_tree<'a>(fc: fs_context::GetTree<'a>) -> Result<fs_context::Tree<'a>> {
        fc.get_tree_bdev::<Self>()
    }
}

impl fs_context::FillSuper for Stablefs {
    fn fill_super(mut sb: NewSuperBlock<'_>, fc: &FsContext<'_>) -> Result<Infallible> {
        let refusal = match read_superblock(&mut sb).and_then(|volume| accept(&sb, &volume)) {
            Ok(()) => Refusal::NotYet,
            Err(refusal) => refusal,
        };
        // Whoever tries one filesystem type after the other expects most not to fit. Of sectors
        // that are too large the VFS itself has written a line.
        let expected = fc.is_silent() && refusal.is_other_format();
        if !expected && !matches!(refusal, Refusal::SectorSize) {
            log::err(&sb, format_args!("{refusal}"));
        }
        fc.errorfc(format_args!("{refusal}"));
        Err(refusal.errno())
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
    /// Nothing speaks against the volume.
    NotYet,
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
            | Self::NotYet => errno::eopnotsupp(),
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
            Self::NotYet => f.write_str("this version does not mount volumes yet"),
        }
    }
}

fn read_superblock(sb: &mut NewSuperBlock<'_>) -> Result<Superblock, Refusal> {
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
    Superblock::parse::<KernelCrc32c>(&bytes).map_err(Refusal::Superblock)
}

/// Looks at what the volume and this mount have to do with each other.
fn accept(sb: &NewSuperBlock<'_>, volume: &Superblock) -> Result<(), Refusal> {
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
    Ok(())
}
