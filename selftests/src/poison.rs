// SPDX-License-Identifier: GPL-2.0

//! Places of persistent memory that are said to be bad: the kernel's list of them, `/sys/class/block/DEVICE/badblocks`.
//! See "Handling Media Errors" in `Documentation/filesystems/dax.rst`.
//!
//! As it was → poisoned → dropped, which makes it as it was

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{ensure, Context, Result};

use crate::devices::kernel_name;
use crate::trial::open_direct;
use crate::words::Words;

const SECTOR: u64 = 512;
const PAGE: usize = 4096;

/// A device on which nothing is mounted when this is dropped.
pub struct Poisoned {
    /// Its directory in sysfs.
    sys: PathBuf,
}

impl Poisoned {
    /// `dev`, of which nothing is bad yet.
    ///
    /// # Errors
    /// It keeps no such list.
    pub fn new(dev: &Path) -> Result<Self> {
        let this = Self {
            sys: Path::new("/sys/class/block").join(kernel_name(dev)?),
        };
        let listed = this.listed()?;
        ensure!(listed.is_empty(), "bad from the beginning: {listed}");
        Ok(this)
    }

    /// The list: a sector and a number of sectors in each line.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn listed(&self) -> Result<String> {
        let list = self.sys.join("badblocks");
        let text = fs::read_to_string(&list).with_context(|| list.display().to_string())?;
        Ok(text.trim().to_owned())
    }

    /// Makes the `len` bytes at `pos` bad, which are whole sectors.
    ///
    /// # Errors
    /// The list cannot be written.
    pub fn add(&self, pos: u64, len: u64) -> Result<()> {
        let list = self.sys.join("badblocks");
        let line = format!("{} {}\n", pos / SECTOR, len / SECTOR);
        fs::write(&list, line).with_context(|| list.display().to_string())
    }

    /// Whether a page that is written whole is good again. The page at `pos` of `dev` is overwritten.
    ///
    /// # Errors
    /// The list cannot be read or written.
    pub fn is_cleared_by_writing(&self, dev: &Path, pos: u64) -> Result<bool> {
        self.add(pos, PAGE as u64)?;
        // Fails if it is not.
        let _ = Words::private(PAGE)?.write_to(0..PAGE, &open_direct(dev)?, pos);
        let cleared = self.listed()?.is_empty();
        self.heal()?;
        Ok(cleared)
    }

    /// Makes everything good again: its driver lets go of it and begins anew. What it holds is kept.
    ///
    /// # Errors
    /// It cannot be, or the device is in use.
    pub fn heal(&self) -> Result<()> {
        let device = fs::canonicalize(self.sys.join("device")).context("device")?;
        let driver = fs::canonicalize(device.join("driver")).context("driver")?;
        let name = device.file_name().context("name")?.to_string_lossy();
        for file in ["unbind", "bind"] {
            fs::write(driver.join(file), &*name).with_context(|| format!("{file} {name}"))?;
        }
        let listed = self.listed()?;
        ensure!(listed.is_empty(), "bad still: {listed}");
        Ok(())
    }
}

impl Drop for Poisoned {
    fn drop(&mut self) {
        if self.listed().is_ok_and(|listed| !listed.is_empty()) {
            // Nothing to do about a failure: who uses the device next meets what is bad.
            let _ = self.heal();
        }
    }
}
