// SPDX-License-Identifier: GPL-2.0

//! The filesystems that tests run on: make, mount, unmount, check.

use std::fmt;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, Error, Result};

use crate::command::succeed;
use crate::module::Module;

/// Bound on each step; generous, since a disk with protection information writes slowly under emulation.
const LIMIT: Duration = Duration::from_secs(300);

/// A filesystem under test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fstyp {
    /// Ours, on ext4 volumes.
    Stablefs,
    /// The kernel's ext4.
    Ext4,
    /// XFS.
    Xfs,
    /// btrfs.
    Btrfs,
}

impl Fstyp {
    const ALL: [Self; 4] = [Self::Stablefs, Self::Ext4, Self::Xfs, Self::Btrfs];

    /// Makes a new volume that fills `dev`.
    ///
    /// # Errors
    /// The mkfs program fails, with what it said.
    pub fn make(self, dev: &Path) -> Result<()> {
        let mut mkfs = match self {
            Self::Stablefs | Self::Ext4 => command(
                "mke2fs",
                &[
                    "-q",
                    "-t",
                    "ext4",
                    "-E",
                    "nodiscard,lazy_itable_init=1,lazy_journal_init=1",
                ],
            ),
            Self::Xfs => command("mkfs.xfs", &["-q", "-f", "-K"]),
            Self::Btrfs => command("mkfs.btrfs", &["-q", "-f", "-K"]),
        };
        succeed(mkfs.arg(dev), LIMIT).map(drop)
    }

    /// Mounts the volume on `dev` at `dir`.
    ///
    /// # Errors
    /// mount(8) fails, with the kernel's reason.
    pub fn mount(self, dev: &Path, dir: &Path) -> Result<()> {
        self.mount_with(dev, dir, "")
    }

    /// Mounts the volume on `dev` at `dir` with `options`, as mount(8) takes them after `-o`; none if empty.
    ///
    /// # Errors
    /// As [`mount`](Self::mount).
    pub fn mount_with(self, dev: &Path, dir: &Path, options: &str) -> Result<()> {
        if self == Self::Stablefs && registered("stablefs")?.is_none() {
            Module::from_env()?.ensure_loaded()?;
        }
        let mut mount = command("mount", &["-t", &self.to_string()]);
        if !options.is_empty() {
            mount.args(["-o", options]);
        }
        succeed(mount.arg(dev).arg(dir), LIMIT).map(drop)
    }

    /// Checks the unmounted volume on `dev`, changing nothing.
    ///
    /// # Errors
    /// The checker finds anything wrong, with what it said.
    pub fn check(self, dev: &Path) -> Result<()> {
        let mut fsck = match self {
            Self::Stablefs | Self::Ext4 => command("e2fsck", &["-f", "-n"]),
            Self::Xfs => command("xfs_repair", &["-n"]),
            Self::Btrfs => command("btrfs", &["check", "--readonly"]),
        };
        succeed(fsck.arg(dev), LIMIT).map(drop)
    }
}

impl fmt::Display for Fstyp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stablefs => "stablefs",
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
            Self::Btrfs => "btrfs",
        })
    }
}

impl FromStr for Fstyp {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let fstyp = Self::ALL
            .into_iter()
            .find(|fstyp| fstyp.to_string() == text);
        fstyp.with_context(|| format!("{text}: not one of stablefs, ext4, xfs, btrfs"))
    }
}

/// Unmounts what is mounted at `dir`.
///
/// # Errors
/// umount(8) fails; then the volume is still mounted.
pub fn unmount(dir: &Path) -> Result<()> {
    succeed(Command::new("umount").arg(dir), LIMIT).map(drop)
}

/// Whether the kernel knows filesystem `name`, and whether it needs a device.
///
/// # Errors
/// `/proc/filesystems` cannot be read.
pub fn registered(name: &str) -> Result<Option<Registered>> {
    const LIST: &str = "/proc/filesystems";
    Ok(find_registered(
        &fs::read_to_string(LIST).context(LIST)?,
        name,
    ))
}

/// How a filesystem is registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Registered {
    /// It mounts block devices.
    OnDevice,
    /// `nodev`: it takes no device.
    NoDevice,
}

fn find_registered(list: &str, name: &str) -> Option<Registered> {
    list.lines()
        .filter_map(|line| line.split_once('\t'))
        .find(|(_, found)| *found == name)
        .map(|(flags, _)| match flags {
            "nodev" => Registered::NoDevice,
            _ => Registered::OnDevice,
        })
}

fn command(program: &str, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(args);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for fstyp in Fstyp::ALL {
            assert_eq!(fstyp.to_string().parse::<Fstyp>().unwrap(), fstyp);
        }
        assert!("ext2".parse::<Fstyp>().is_err());
    }

    #[test]
    fn registered_filesystems_are_found_with_their_flag() {
        let list = "nodev\tsysfs\n\text4\nnodev\tstablefs2\n\tstablefs\n";
        assert_eq!(find_registered(list, "sysfs"), Some(Registered::NoDevice));
        assert_eq!(
            find_registered(list, "stablefs"),
            Some(Registered::OnDevice)
        );
        assert_eq!(find_registered(list, "xfs"), None);
    }
}
