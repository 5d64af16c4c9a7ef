// SPDX-License-Identifier: GPL-2.0

//! Volumes on persistent memory whose files are mapped as the memory itself: with blocks of a page, placed so that large
//! files begin at multiples of 2 MiB, and on memory that has held something else before.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{bail, ensure, Context, Result};
use rustix::fs::{statx, AtFlags, StatxAttributes, StatxFlags};
use rustix::io::Errno;

use crate::blockdev::Loop;
use crate::command::succeed;
use crate::filesystem::Fstyp;
use crate::ioctl::{shutdown, Log};
use crate::needs::Missing;
use crate::scratch::Scratch;
use crate::trial::open_direct;
use crate::volume;
use crate::words::{Words, WORD};

/// Bytes in a page, and in a block of such a volume.
pub const PAGE: usize = 4096;
/// Bytes in a huge page.
pub const HUGE: usize = 2 << 20;
/// Mounts with DAX for every file.
pub const ALWAYS: &str = "dax=always";
/// Each word of the memory, before the volume is made.
pub const OLD: u64 = 0x0bad_da7a_0bad_da7a;

const LIMIT: Duration = Duration::from_secs(120);
/// The least that mkfs.xfs makes.
const XFS_MIB: u32 = 300;

/// Makes a volume of `mib` MiB on `dev`, or of as few as `fstyp` takes if that is more.
///
/// # Errors
/// The memory cannot be written, or mkfs fails; or `fstyp` has no DAX, which skips the case.
pub fn make(fstyp: Fstyp, dev: &Path, mib: u32) -> Result<()> {
    let mib = match fstyp {
        Fstyp::Xfs => mib.max(XFS_MIB),
        _ => mib,
    };
    let old: Vec<u8> = OLD.to_ne_bytes().repeat((1 << 20) / WORD);
    let mut memory = OpenOptions::new().write(true).open(dev)?;
    for _ in 0..mib {
        memory.write_all(&old).context("old data")?;
    }
    memory.sync_all().context("old data")?;
    drop(memory);
    match fstyp {
        Fstyp::Stablefs | Fstyp::Ext4 => {
            let aligned = ["-b", "4096", "-E", "stride=512,stripe_width=512"];
            volume::make(dev, &aligned, &format!("{mib}M"))
        }
        Fstyp::Xfs => {
            let mut mkfs = Command::new("mkfs.xfs");
            mkfs.args(["-q", "-f", "-K", "-l", "size=64m", "-d"])
                .arg(format!("size={mib}m,agcount=2,su=2m,sw=1,extszinherit=512"))
                .arg(dev);
            succeed(&mut mkfs, LIMIT).map(drop)
        }
        Fstyp::Btrfs => bail!(Missing(format!("{fstyp} has no DAX"))),
    }
}

/// Stops the filesystem that `file` is on, mounted from `dev`, in the middle of everything: of the metadata there is what the
/// journal has let go. Where it cannot be stopped, that is in a copy of the first `mib` MiB, which is all of the volume.
///
/// # Errors
/// It does not stop, or there is no copy.
pub fn stop(file: &File, dev: &Path, mib: u32) -> Result<Option<Loop>> {
    match shutdown(file, Log::NotFlushed) {
        Ok(()) => Ok(None),
        Err(Errno::NOTTY) => copy(dev, u64::from(mib) << 20).map(Some),
        Err(e) => Err(e).context("shutdown"),
    }
}

fn copy(dev: &Path, len: u64) -> Result<Loop> {
    const CHUNK: usize = 1 << 20;
    let buffer = Words::private(CHUNK)?;
    let from = open_direct(dev)?;
    let copy = Scratch::file(len)?;
    let to = OpenOptions::new().write(true).open(copy.path())?;
    for pos in (0..len).step_by(CHUNK) {
        buffer.read_from(0..CHUNK, &from, pos)?;
        buffer.write_to(0..CHUNK, &to, pos)?;
    }
    Loop::over(copy, 512)
}

/// Whether `file` is mapped as the memory itself, as statx(2) says.
///
/// # Errors
/// statx(2) does not say.
pub fn is_dax(file: &File) -> Result<bool> {
    let stat = statx(file, c"", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS)?;
    ensure!(
        stat.stx_attributes_mask.contains(StatxAttributes::DAX),
        "statx does not say whether it is DAX"
    );
    Ok(stat.stx_attributes.contains(StatxAttributes::DAX))
}

/// What word `found` may be where it is not `wanted`.
pub fn name(found: u64) -> &'static str {
    match found {
        0 => "nothing, a store is lost",
        OLD => "what the memory held before the volume was made",
        _ => "something else",
    }
}
