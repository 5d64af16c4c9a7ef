// SPDX-License-Identifier: GPL-2.0

//! New ext4 volumes of any shape, and the programs of e2fsprogs that change and judge them.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{bail, Context, Result};

use crate::command::succeed;
use crate::devices::kernel_name;
use crate::filesystem::Fstyp;

const LIMIT: Duration = Duration::from_secs(120);

/// Makes an ext4 volume on `dev`, with mke2fs's `options` besides, of `len` as mke2fs takes it: all of the device if
/// empty.
///
/// # Errors
/// mke2fs fails, with what it said.
pub fn make(dev: &Path, options: &[&str], len: &str) -> Result<()> {
    let mut mke2fs = Command::new("mke2fs");
    mke2fs
        .args(["-q", "-F", "-t", "ext4", "-L", "a label"])
        .args(["-E", "nodiscard,lazy_itable_init=1,lazy_journal_init=1"])
        .args(options)
        .arg(dev)
        .args(Some(len).filter(|len| !len.is_empty()));
    succeed(&mut mke2fs, LIMIT).map(drop)
}

/// Makes a small volume for `fstyp` on `dev`, with blocks of `block` bytes: of `mib` MiB, or as small as they come if that
/// is more.
///
/// # Errors
/// The mkfs program fails, with what it said; or `fstyp` has no such volumes.
pub fn make_small(fstyp: Fstyp, dev: &Path, block: u32, mib: u32) -> Result<()> {
    /// The least that mkfs.xfs makes.
    const XFS_MIB: u32 = 300;
    if block < 4096 && kernel_name(dev).is_ok_and(|name| name.starts_with("nvme")) {
        overwrite(dev, mib)?;
    }
    match fstyp {
        Fstyp::Stablefs | Fstyp::Ext4 => make(dev, &["-b", &block.to_string()], &format!("{mib}M")),
        Fstyp::Xfs => {
            let mut mkfs = Command::new("mkfs.xfs");
            mkfs.args(["-q", "-f", "-K", "-b", &format!("size={block}")])
                .args(["-d", &format!("size={}m", mib.max(XFS_MIB))])
                .arg(dev);
            succeed(&mut mkfs, LIMIT).map(drop)
        }
        Fstyp::Btrfs => bail!("{fstyp} has no small blocks"),
    }
}

/// Overwrites the beginning of a disk: QEMU's NVMe disk was seen to refuse to read blocks with a wrong reference tag, which
/// were written for an earlier test, and mke2fs reads what it writes only a part of.
fn overwrite(dev: &Path, mib: u32) -> Result<()> {
    let mut dd = Command::new("dd");
    dd.args(["if=/dev/zero", "bs=1M", "oflag=direct", "status=none"])
        .arg(format!("of={}", dev.display()))
        .arg(format!("count={mib}"));
    succeed(&mut dd, LIMIT).map(drop)
}

/// Runs tune2fs with `options` on the volume on `dev`.
///
/// # Errors
/// tune2fs fails, with what it said.
pub fn tune(dev: &Path, options: &[&str]) -> Result<()> {
    succeed(Command::new("tune2fs").args(options).arg(dev), LIMIT).map(drop)
}

/// Has debugfs carry out `request`, which may change the volume on `dev`, and returns what it says.
///
/// # Errors
/// debugfs cannot open the volume. Whether it did what it was asked is for the caller to see.
pub fn debugfs(dev: &Path, request: &str) -> Result<String> {
    succeed(
        Command::new("debugfs").args(["-w", "-R", request]).arg(dev),
        LIMIT,
    )
}

/// Checks the unmounted volume on `dev`, changing nothing.
///
/// # Errors
/// e2fsck finds anything wrong, with what it said.
pub fn check(dev: &Path) -> Result<()> {
    succeed(Command::new("e2fsck").args(["-f", "-n"]).arg(dev), LIMIT).map(drop)
}

/// Has e2fsck replay the journal of the unmounted volume on `dev`, and change nothing else.
///
/// # Errors
/// e2fsck fails, with what it said.
pub fn replay(dev: &Path) -> Result<()> {
    let mut e2fsck = Command::new("e2fsck");
    e2fsck.args(["-p", "-E", "journal_only"]).arg(dev);
    succeed(&mut e2fsck, LIMIT).map(drop)
}

/// What stands behind `name:` in the superblock as dumpe2fs shows it.
///
/// # Errors
/// There is no such line, or no volume.
pub fn says(dev: &Path, name: &str) -> Result<String> {
    let text = succeed(Command::new("dumpe2fs").arg("-h").arg(dev), LIMIT)?;
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        .with_context(|| format!("dumpe2fs does not say {name}"))?;
    Ok(value.trim().to_owned())
}
