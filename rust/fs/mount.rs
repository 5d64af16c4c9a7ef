// SPDX-License-Identifier: GPL-2.0

//! Mounting: device → superblock read → checked → accepted → root.
//!
//! A volume that is refused is refused once, in one sentence that names what to look at: to the
//! kernel's log, and to whoever called `mount`.

use super::{
    groups::Groups,
    inode::{
        iget,
        InodeInfo, //
    },
    journal::{
        self,
        Journal, //
    },
    map::Maps,
    metadata::{
        self,
        At, //
    },
    options::{
        Fixed,
        Given,
        Options, //
    },
    recovery::settle,
    refusal::Refusal,
    volume::{
        Uuid,
        Volume, //
    },
    writing,
    xattr,
    Inode,
    Stablefs,
    SuperBlock, //
};
use crate::{
    kernel::{
        errno,
        fs_context::{
            self,
            FsContext,
            Reconfigure, //
        },
        fs_parser::Parameter,
        log,
        super_block::{
            NewSuperBlock,
            Params,
            Rooted,
            Unrooted, //
        },
        vfs,
    },
    ondisk::{
        Errors,
        Incompat,
        Ino,
        Lblk,
        RoCompat,
        State,
        Superblock, //
    },
};
use ::kernel::{
    prelude::*,
    sync::aref::ARef, //
};

/// `EXT4_SUPER_MAGIC`: programs know the volume by it.
const MAGIC: u32 = 0xef53;

impl vfs::FileSystemType for Stablefs {
    const NAME: &'static CStr = c"stablefs";

    type SuperBlock = Volume;
    type Journal = journal::Map;
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
    ) -> Result<Rooted<'a, Self>> {
        let volume = read_volume(&mut sb, fc.context()).map_err(|refusal| {
            // Whoever tries one filesystem type after the other expects most not to fit. Of
            // sectors that are too large the VFS itself has written a line.
            let expected = fc.is_silent() && refusal.is_other_format();
            if !expected && !matches!(refusal, Refusal::SectorSize) {
                log::err(&sb, format_args!("{refusal}"));
            }
            fc.errorfc(format_args!("{refusal}"));
            refusal.errno()
        })?;
        sb.set_posix_acl(volume.options().acl());
        sb.set_xattr(&xattr::HANDLERS);
        sb.set_export_op();
        let params = params(&volume);
        let sb = sb.fill(&params, volume)?;
        if !sb.sb_rdonly() {
            open(&sb).map_err(|refusal| {
                log::err(&sb, format_args!("{refusal}"));
                fc.errorfc(format_args!("{refusal}"));
                refusal.errno()
            })?;
        }
        let root = root(&sb).inspect_err(|_| {
            fc.errorfc(format_args!("the root directory cannot be used"));
            unopen(&sb);
        })?;
        let root = sb.d_make_root(root).map_err(|Unrooted { filled, error }| {
            unopen(&filled);
            error
        })?;
        report_mounted(&root);
        Ok(root)
    }
}

/// All that has to be known of a volume before the first inode is read.
// Not inlined, as the kernel's stack is short, and what is called afterwards goes deep.
#[inline(never)]
fn read_volume(sb: &mut NewSuperBlock<'_, Stablefs>, given: &Given) -> Result<Volume, Refusal> {
    if given.audit() {
        sb.set_stable_writes();
    }
    let settled = settle(sb, given.noload())?;
    let superblock = settled.superblock();
    let groups = read_groups(sb, superblock)?;
    let options = Options::new(given, superblock);
    let maps = Maps::new(sb).map_err(|_| Refusal::NoMemory)?;
    Volume::new(sb, settled, options, groups, maps).map_err(|_| Refusal::NoMemory)
}

#[inline(never)]
fn read_groups(
    sb: &NewSuperBlock<'_, Stablefs>,
    superblock: &Superblock,
) -> Result<Groups, Refusal> {
    let journal = Journal::find(sb, superblock)?;
    if let Some(journal) = &journal {
        journal.warn_if_broken(sb, superblock);
    }
    Groups::read(sb, superblock, journal.as_ref())
}

/// Has the volume be written, with what was left to be done before.
fn open(sb: &SuperBlock) -> Result<(), Refusal> {
    writing::open(sb)?;
    writing::recover(sb).inspect_err(|_| {
        let _ = writing::close(sb);
    })
}

/// Closes the volume, if it has been opened, of a mount that fails.
fn unopen(sb: &SuperBlock) {
    if sb.volume().is_open() {
        // Of an error the log tells.
        let _ = writing::close(sb);
    }
}

/// The root directory.
#[inline(never)]
fn root(sb: &SuperBlock) -> Result<ARef<Inode>> {
    let broken = |what| metadata::corrupt(sb, At::inode(Ino::ROOT), what);
    let root = iget(sb, Ino::ROOT).map_err(|error| {
        if error == errno::estale() {
            broken(format_args!("the root directory is free, or deleted"))
        } else {
            error
        }
    })?;
    if !root.is_dir() {
        return Err(broken(format_args!("the root is not a directory")));
    }
    Ok(root)
}

/// Says that the volume is there, and what to think of it.
#[inline(never)]
fn report_mounted(sb: &SuperBlock) {
    let volume = sb.volume();
    let state = volume.state();
    let what = if volume.features().incompat.contains(Incompat::RECOVER) {
        " without replaying the journal: what was written last is missing or inconsistent"
    } else {
        ""
    };
    let uuid = Uuid(volume.uuid());
    let mode = if sb.sb_rdonly() { "ro" } else { "r/w" };
    log::info(sb, format_args!("mounted filesystem {uuid} {mode}{what}"));
    if volume.settings().errors() == Errors::Panic && !volume.options().may_panic() {
        log::info(
            sb,
            format_args!("errors=panic is the volume's default, and has to be asked for"),
        );
    }
    if state.contains(State::ERROR) {
        log::warn(
            sb,
            format_args!("errors were seen on the volume before: run e2fsck"),
        );
    } else if !state.contains(State::VALID) {
        log::warn(sb, format_args!("the volume was not unmounted: run e2fsck"));
    }
}

/// Changes what can be changed of a mounted volume.
fn remount(fc: &Reconfigure<'_, Stablefs>) -> Result<(), Refusal> {
    let sb = fc.sb();
    if fc.wants_write() {
        let unknown = sb.volume().features().ro_compat.unsupported();
        if !unknown.is_empty() {
            return Err(Refusal::WriteProtected(unknown));
        }
        writing::check(sb.volume())?;
    }
    let options = sb.volume().options();
    options
        .change(fc.context())
        .map_err(|Fixed { option }| Refusal::FixedOption(option))?;
    fc.set_posix_acl(options.acl());
    if fc.wants_write() {
        open(sb)?;
    } else if fc.wants_read_only() {
        // The VFS lets nobody write, but leaves it to us to have everything written.
        let written = fc.sync_filesystem().map_err(Refusal::Unwritten);
        match written {
            Err(refusal) if !fc.is_forced() => return Err(refusal),
            Err(refusal) => log::err(sb, format_args!("{refusal}")),
            Ok(()) => (),
        }
        let _ = writing::close(sb);
    }
    Ok(())
}

/// What the volume can hold, for the VFS.
fn params(volume: &Superblock) -> Params {
    let block_len = u64::from(volume.block_size().bytes().get());
    let by_blocks = u64::from(Lblk::END.0).saturating_mul(block_len);
    let ro_compat = volume.features().ro_compat;
    let mut maxbytes = by_blocks;
    if !ro_compat.contains(RoCompat::HUGE_FILE) {
        // `i_blocks` counts sectors of 512 bytes in 32 bits then.
        maxbytes = maxbytes.min(u64::from(u32::MAX).saturating_mul(512));
    }
    if !ro_compat.contains(RoCompat::LARGE_FILE) {
        // More than a signed number of 32 bits is for those who know the feature, which is not set here.
        maxbytes = maxbytes.min((1 << 31) - 1);
    }
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
    }
}
