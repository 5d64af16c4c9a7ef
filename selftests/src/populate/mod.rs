// SPDX-License-Identifier: GPL-2.0

//! Fills a mounted volume with one of everything that ext4 can hold, the same for the same seed.

mod data;
mod inodes;
mod kinds;
mod names;
mod xattrs;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

pub use names::hashed;
pub use xattrs::{acl, tag, NOBODY};

/// How much of what takes time there is to be.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    /// Entries of the largest directory.
    pub entries: usize,
    /// Extents of the most fragmented file.
    pub extents: u64,
}

/// Where something is made, and from what.
struct Place<'a> {
    dir: &'a Path,
    seed: u64,
    /// Of the volume, in bytes.
    block: u64,
}

/// Fills the volume mounted at `root`, which has blocks of `block` bytes.
///
/// # Errors
/// The filesystem refuses something.
pub fn populate(root: &Path, block: u64, seed: u64, scale: Scale) -> Result<()> {
    type Part<'a> = (&'a str, &'a dyn Fn(&Place<'_>) -> Result<()>);
    let parts: &[Part<'_>] = &[
        ("names", &names::of_all_lengths),
        ("hashed", &|place| names::hashed(place.dir, place.seed, 300)),
        ("large", &|place| names::large(place, scale.entries)),
        ("deep", &names::deep),
        ("deleted", &names::deleted),
        ("kinds", &kinds::all),
        ("data", &|place| data::all(place, scale.extents)),
        ("xattrs", &xattrs::all),
        ("inodes", &inodes::all),
    ];
    for (name, make) in parts {
        let dir = root.join(name);
        fs::create_dir(&dir).with_context(|| dir.display().to_string())?;
        make(&Place {
            dir: &dir,
            seed,
            block,
        })
        .with_context(|| format!("populate {name}"))?;
    }
    Ok(())
}

impl Place<'_> {
    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}
