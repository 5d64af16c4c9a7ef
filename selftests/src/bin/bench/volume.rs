// SPDX-License-Identifier: GPL-2.0

//! The volume of a column, on a part of the disk: all are mounted at the same time, and each part asks for stable pages, or
//! does not, for itself.

use std::fs;
use std::path::Path;

use anyhow::{ensure, Context, Result};
use stablefs_selftests::blockdev::Dm;
use stablefs_selftests::devices;
use stablefs_selftests::filesystem::Fstyp;
use stablefs_selftests::mounted::Mounted;

use crate::column::{Column, Promise};
use crate::place::{Place, Source};

/// A volume that is mounted, with nothing in it.
pub(crate) struct Volume<'a> {
    pub(crate) place: Place<'a>,
    /// What it is on, by the kernel's name.
    pub(crate) device: String,
    // Unmounted before the device goes.
    _mounted: Mounted,
    _dm: Dm,
}

impl<'a> Volume<'a> {
    /// Makes the volume of `column` and mounts it.
    ///
    /// # Errors
    /// It cannot be made or mounted; or the device cannot ask for stable pages.
    pub(crate) fn new(column: &Column, source: &'a Source) -> Result<Self> {
        /// Sectors, of 512 bytes.
        const MIB: u64 = 2048;
        let (disk, start, len) = (&column.disk.path, column.start_mib * MIB, column.mib * MIB);
        let dm = Dm::new(&format!("0 {len} linear {} {start}", disk.display()))?;
        let device = devices::kernel_name(dm.path())?;
        column.fstyp.make(dm.path())?;
        // The superblock takes it over.
        match column.promise {
            Promise::None | Promise::Audit => ask(&device, false)?,
            Promise::Asked => ask(&device, true)?,
            Promise::Checksums => {}
        }
        let options = match (column.fstyp, column.promise) {
            (_, Promise::Audit) => "audit",
            // Or a thread of ext4 would write the inode tables meanwhile.
            (Fstyp::Ext4, _) => "noinit_itable",
            _ => "",
        };
        let mounted = Mounted::new(column.fstyp, dm.path(), options)?;
        Ok(Self {
            place: Place::new(mounted.dir(), source)?,
            device,
            _mounted: mounted,
            _dm: dm,
        })
    }
}

/// Has a device ask for stable pages, or not.
fn ask(device: &str, stable: bool) -> Result<()> {
    let file = Path::new("/sys/class/block")
        .join(device)
        .join("queue/stable_writes");
    let value = if stable { "1" } else { "0" };
    let says = fs::write(&file, value).and_then(|()| fs::read_to_string(&file));
    let says = says.with_context(|| file.display().to_string())?;
    ensure!(says.trim() == value, "{}: {says}", file.display());
    Ok(())
}
