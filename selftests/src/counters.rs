// SPDX-License-Identifier: GPL-2.0

//! What stablefs counts of each mount, in debugfs.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::devices::kernel_name;

/// The number that is called `name`, of the volume that is mounted from `dev`.
///
/// # Errors
/// There is none, or debugfs is not mounted.
pub fn counter(dev: &Path, name: &str) -> Result<u64> {
    let device = kernel_name(dev)?;
    let file = format!("/sys/kernel/debug/stablefs/{device}/{name}");
    let text = fs::read_to_string(&file).context(file)?;
    Ok(text.trim().parse()?)
}
