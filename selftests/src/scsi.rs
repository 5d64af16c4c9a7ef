// SPDX-License-Identifier: GPL-2.0

//! What protects the data of a disk with T10 protection information, and how to go behind it: the switches that sysfs
//! has for it.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{ensure, Context, Result};
use rustix::fs::OFlags;

use crate::devices::{self, kernel_name};

/// Direct I/O wants buffers at such addresses, at most.
const ALIGN: usize = 4096;

/// A file of sysfs that is set to something else until this is dropped.
pub struct Switch {
    path: PathBuf,
    old: String,
}

impl Switch {
    /// Sets `path` to `value`.
    ///
    /// # Errors
    /// There is no such file, or it does not take the value.
    pub fn set(path: &Path, value: &str) -> Result<Self> {
        let what = || path.display().to_string();
        let old = fs::read_to_string(path).with_context(what)?;
        fs::write(path, value).with_context(what)?;
        let now = fs::read_to_string(path).with_context(what)?;
        ensure!(
            now.trim() == value,
            "{}: {} after {value}",
            what(),
            now.trim()
        );
        Ok(Self {
            path: path.to_owned(),
            old,
        })
    }

    /// Whether the kernel makes protection information for what is written to `dev`.
    ///
    /// # Errors
    /// As [`set`](Self::set).
    pub fn generate(dev: &Path, value: &str) -> Result<Self> {
        Self::set(&integrity(dev)?.join("write_generate"), value)
    }

    /// Whether the kernel verifies what is read from `dev`.
    ///
    /// # Errors
    /// As [`set`](Self::set).
    pub fn verify(dev: &Path, value: &str) -> Result<Self> {
        Self::set(&integrity(dev)?.join("read_verify"), value)
    }

    /// Which type of protection `dev` is asked to check itself, as a SCSI disk; 0 for none.
    ///
    /// # Errors
    /// As [`set`](Self::set); or it is no SCSI disk.
    pub fn protection_type(dev: &Path, value: &str) -> Result<Self> {
        let name = kernel_name(dev)?;
        let disks = PathBuf::from(format!("/sys/class/block/{name}/device/scsi_disk"));
        let disk = fs::read_dir(&disks)
            .with_context(|| disks.display().to_string())?
            .next()
            .context("no scsi_disk")??;
        Self::set(&disk.path().join("protection_type"), value)
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        // If this fails, whoever uses the disk next sees errors.
        let _ = fs::write(&self.path, self.old.trim());
    }
}

fn integrity(dev: &Path) -> Result<PathBuf> {
    let name = kernel_name(dev)?;
    Ok(PathBuf::from(format!("/sys/class/block/{name}/integrity")))
}

/// A sector, by its bytes as they should be.
pub struct Sector {
    disk: File,
    dev: PathBuf,
    pos: u64,
    bytes: Vec<u8>,
}

impl Sector {
    /// The one that begins at byte `pos` of `dev`.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read(dev: &Path, pos: u64) -> Result<Self> {
        let disk = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(OFlags::DIRECT.bits() as i32)
            .open(dev)
            .with_context(|| dev.display().to_string())?;
        let sector = devices::sector(dev)? as usize;
        let mut buffer = vec![0; sector + ALIGN];
        let start = buffer.as_ptr().align_offset(ALIGN);
        let bytes = &mut buffer[start..start + sector];
        disk.read_exact_at(bytes, pos).context("read the sector")?;
        Ok(Self {
            bytes: bytes.to_vec(),
            disk,
            dev: dev.to_owned(),
            pos,
        })
    }

    /// Changes a bit of it on the disk, and leaves its protection information as it was.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn corrupt(&self) -> Result<()> {
        let _stale = Switch::generate(&self.dev, "0")?;
        let mut bytes = self.bytes.clone();
        bytes[170] ^= 0x04;
        self.write(&bytes)
    }

    /// Makes it right again.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn repair(&self) -> Result<()> {
        self.write(&self.bytes)
    }

    fn write(&self, bytes: &[u8]) -> Result<()> {
        let mut buffer = vec![0; bytes.len() + ALIGN];
        let start = buffer.as_ptr().align_offset(ALIGN);
        let aligned = &mut buffer[start..start + bytes.len()];
        aligned.copy_from_slice(bytes);
        self.disk
            .write_all_at(aligned, self.pos)
            .context("write the sector")
    }
}
