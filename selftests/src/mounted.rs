// SPDX-License-Identifier: GPL-2.0

//! A volume that a case mounts for itself.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::filesystem::{self, Fstyp};
use crate::scratch::Scratch;

/// A mounted volume, unmounted when dropped.
pub struct Mounted {
    dir: Scratch,
    mounted: bool,
}

impl Mounted {
    /// Mounts the volume on `dev` as `fstyp` with `options`, as mount(8) takes them after `-o`; none if empty.
    ///
    /// # Errors
    /// mount(8) fails, with the kernel's reason.
    pub fn new(fstyp: Fstyp, dev: &Path, options: &str) -> Result<Self> {
        let dir = Scratch::dir()?;
        fstyp.mount_with(dev, dir.path(), options)?;
        Ok(Self { dir, mounted: true })
    }

    /// Where it is mounted.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The options that `/proc/mounts` shows.
    ///
    /// # Errors
    /// It is not there.
    pub fn options(&self) -> Result<String> {
        const LIST: &str = "/proc/mounts";
        let list = fs::read_to_string(LIST).context(LIST)?;
        let dir = self.dir().to_str().context("directory")?;
        // `device directory type options 0 0`
        let options = list
            .lines()
            .map(|line| line.split(' ').collect::<Vec<_>>())
            .find_map(|words| (words.get(1) == Some(&dir)).then(|| words.get(3).copied())?);
        options
            .map(str::to_owned)
            .with_context(|| format!("{LIST}: no {dir}"))
    }

    /// Unmounts it.
    ///
    /// # Errors
    /// umount(8) fails; then the volume is still mounted.
    pub fn unmount(mut self) -> Result<()> {
        filesystem::unmount(self.dir.path())?;
        self.mounted = false;
        Ok(())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if self.mounted {
            // Nothing to do about a failure: who uses the device next is told that it is busy.
            let _ = filesystem::unmount(self.dir.path());
        }
    }
}
