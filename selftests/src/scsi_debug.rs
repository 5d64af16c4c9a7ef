// SPDX-License-Identifier: GPL-2.0

//! A disk of scsi_debug with protection information of another kind than the test machine's, which it takes the place
//! of until this is dropped: the driver makes one kind, which is said when it is loaded.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{ensure, Context, Result};

use crate::command::{run, succeed};
use crate::devices::{self, Kind};
use crate::needs::Missing;

const NAME: &str = "scsi_debug";
const PARAMETERS: &str = "/sys/module/scsi_debug/parameters";
/// Those that matter to who comes next.
const KEPT: &[&str] = &[
    "per_host_store",
    "dix",
    "dif",
    "guard",
    "sector_size",
    "dev_size_mb",
];
const LIMIT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);

/// What the disk protects, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    /// T10 type.
    pub dif: u32,
    /// Whether the guard is an IP checksum, not a CRC.
    pub ip: bool,
    /// Bytes in a sector.
    pub sector: u32,
}

/// The disk.
pub struct Disk {
    path: PathBuf,
    /// How the driver was loaded before, and with how many disks.
    before: Vec<String>,
    disks: usize,
}

impl Disk {
    /// One of `mib` MiB.
    ///
    /// # Errors
    /// [`Missing`] if this is not the machine of which the disks may be overwritten; or they are in use.
    pub fn new(format: Format, mib: u32) -> Result<Self> {
        let listed = devices::listed()?;
        let disks = listed.iter().filter(|disk| disk.kind == Kind::Dif).count();
        if disks == 0 || !Path::new(PARAMETERS).exists() {
            return Err(Missing(format!("no {NAME} to be loaded again")).into());
        }
        let kept = KEPT.iter().map(|name| -> Result<String> {
            let value = fs::read_to_string(Path::new(PARAMETERS).join(name)).context(*name)?;
            Ok(format!("{name}={}", value.trim()))
        });
        let mut this = Self {
            path: PathBuf::new(),
            before: kept.collect::<Result<_>>()?,
            disks,
        };
        let Format { dif, ip, sector } = format;
        let parameters = [
            "dix=1".to_owned(),
            format!("dif={dif}"),
            format!("guard={}", u32::from(ip)),
            format!("sector_size={sector}"),
            format!("dev_size_mb={mib}"),
        ];
        this.path = load(&parameters, 1)?.pop().context("no disk")?;
        Ok(this)
    }

    /// Its node.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Nothing to do about a failure: who comes next finds no disk.
        for (number, disk) in (0..).zip(load(&self.before, self.disks).unwrap_or_default()) {
            let link = PathBuf::from(format!("/dev/test/dif{number}"));
            let _ = fs::remove_file(&link).and_then(|()| symlink(disk, &link));
        }
    }
}

/// Loads the driver with `parameters`, and gives the nodes of its disks.
fn load(parameters: &[String], disks: usize) -> Result<Vec<PathBuf>> {
    let deadline = Instant::now() + LIMIT;
    // Who closed a disk last may be at it still.
    while !run(Command::new("modprobe").args(["-r", NAME]), LIMIT)?
        .status
        .success()
    {
        ensure!(Instant::now() < deadline, "{NAME} cannot be removed");
        thread::sleep(POLL);
    }
    let mut modprobe = Command::new("modprobe");
    modprobe.arg(NAME).arg(format!("add_host={disks}"));
    succeed(modprobe.args(parameters), LIMIT)?;
    (0..disks)
        .map(|number| loop {
            if let Some(disk) = find(number)? {
                return Ok(disk);
            }
            ensure!(Instant::now() < deadline, "{NAME}: no disk {number}");
            thread::sleep(POLL);
        })
        .collect()
}

/// The node of disk `number`, once it is there.
fn find(number: usize) -> Result<Option<PathBuf>> {
    const BLOCK: &str = "/sys/class/block";
    let adapter = format!("/adapter{number}/");
    for entry in fs::read_dir(BLOCK).context(BLOCK)?.flatten() {
        // It may be gone by now.
        let Ok(device) = fs::canonicalize(entry.path()) else {
            continue;
        };
        let node = Path::new("/dev").join(entry.file_name());
        if !device.to_string_lossy().contains(&adapter) || !node.exists() {
            continue;
        }
        let disks = device.join("device/scsi_disk");
        let Some(disk) = fs::read_dir(disks).ok().and_then(|mut disks| disks.next()) else {
            continue;
        };
        // WRITE SAME would leave stale protection information behind.
        let same = disk?.path().join("max_write_same_blocks");
        if fs::write(same, "0").is_ok() {
            return Ok(Some(node));
        }
    }
    Ok(None)
}
