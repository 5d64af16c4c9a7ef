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
    options::{
        DaxChange,
        Given,
        Options, //
    },
    refusal::Refusal,
    volume::Volume,
    KernelCrc32c,
    Stablefs, //
};
use crate::{
    kernel::{
        buffer::{
            BdevAddr,
            Buffer, //
        },
        fs_context::{
            self,
            FsContext,
            Reconfigure, //
        },
        fs_parser::Parameter,
        log,
        super_block::{
            NewSuperBlock,
            OnDevice,
            Params,
            Rooted, //
        },
        vfs,
    },
    ondisk::{
        Incompat,
        Ino,
        Lblk,
        RoCompat,
        Superblock, //
    },
};
use ::kernel::prelude::*;

/// `EXT4_SUPER_MAGIC`: programs know the volume by it.
const MAGIC: u32 = 0xef53;

impl vfs::FileSystemType for Stablefs {
    const NAME: &'static CStr = c"stablefs";

    type SuperBlock = Volume;
    type Inode = InodeInfo;

    fn init_fs_context<'a>(fc: fs_context::New<'a, Self>) -> Result<fs_context::Initialised<'a>> {
        Ok(fc.set_ops(KBox::new(Given::default(), GFP_KERNEL)?))
    }
}

impl fs_context::Operations for Stablefs {
    type Context = Given;

    fn parse_param(given: &mut Given, parameter: Parameter<'_>) -> Result {
        given.parse(parameter)
    }

    fn get_tree<'a>(fc: fs_context::GetTree<'a, Self>) -> Result<fs_context::Tree<'a>> {
        fc.get_tree_bdev()
    }

    fn reconfigure(fc: &Reconfigure<'_, Self>) -> Result {
        remount(fc).map_err(|refusal| {
            log::err(fc.sb(), format_args!("{refusal}"));
            fc.errorfc(format_args!("{refusal}"));
            refusal.errno()
        })
    }
}

impl fs_context::FillSuper for Stablefs {
    fn fill_super<'a>(
        mut sb: NewSuperBlock<'a, Self>,
        fc: &FsContext<'_, Self>,
    ) -> Result<Rooted<'a>> {
        let given = fc.context();
        let superblock = read_superblock(&mut sb, given).map_err(|refusal| {
            // Whoever tries one filesystem type after the other expects most not to fit. Of
            // sectors that are too large the VFS itself has written a line.
            let expected = fc.is_silent() && refusal.is_other_format();
            if !expected && !matches!(refusal, Refusal::SectorSize) {
                log::err(&sb, format_args!("{refusal}"));
            }
            fc.errorfc(format_args!("{refusal}"));
            refusal.errno()
        })?;
        let options = Options::new(given, &superblock);
        sb.set_posix_acl(options.acl());
        let params = params(&superblock);
        let volume = KBox::new(Volume::new(superblock, options), GFP_KERNEL)?;
        let sb = sb.fill(&params, volume);
        let root = iget(&sb, Ino::ROOT)?;
        sb.d_make_root(root)
    }
}

/// Changes what can be changed of a mounted volume.
fn remount(fc: &Reconfigure<'_, Stablefs>) -> Result<(), Refusal> {
    if fc.wants_write() {
        return Err(Refusal::ReadOnly);
    }
    let options = fc.sb().volume().options();
    options
        .change(fc.context())
        .map_err(|DaxChange| Refusal::DaxChange)?;
    fc.set_posix_acl(options.acl());
    Ok(())
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
    }
}

fn read_superblock(
    sb: &mut NewSuperBlock<'_, Stablefs>,
    given: &Given,
) -> Result<Superblock, Refusal> {
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
    accept(sb, given, &superblock)?;
    let block_len = superblock.block_size().bytes();
    sb.sb_set_blocksize(block_len)
        .map_err(|_| Refusal::BlockSize {
            block_len: block_len.get(),
        })?;
    Ok(superblock)
}

/// Looks at what the volume and this mount have to do with each other.
fn accept(sb: &OnDevice, given: &Given, volume: &Superblock) -> Result<(), Refusal> {
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
    if !sb.sb_rdonly() {
        return Err(Refusal::ReadOnly);
    }
    if volume.features().incompat.contains(Incompat::RECOVER) && !given.noload() {
        return Err(Refusal::NeedsRecovery);
    }
    Ok(())
}
