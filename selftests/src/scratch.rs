// SPDX-License-Identifier: GPL-2.0

//! Files and directories that a case makes for itself, gone when dropped.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};

/// A file or an empty directory under `/tmp`.
pub struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// A new directory.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn dir() -> Result<Self> {
        let path = new_path();
        fs::create_dir(&path).with_context(|| path.display().to_string())?;
        Ok(Self { path })
    }

    /// A new sparse file of `len` bytes.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn file(len: u64) -> Result<Self> {
        let path = new_path();
        File::create_new(&path)
            .and_then(|file| file.set_len(len))
            .with_context(|| path.display().to_string())?;
        Ok(Self { path })
    }

    /// A new file that holds `bytes`.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn holding(bytes: &[u8]) -> Result<Self> {
        let path = new_path();
        fs::write(&path, bytes).with_context(|| path.display().to_string())?;
        Ok(Self { path })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A directory on which something is still mounted stays, and so does what is in it.
        let _ = fs::remove_dir(&self.path).or_else(|_| fs::remove_file(&self.path));
    }
}

fn new_path() -> PathBuf {
    static MADE: AtomicU32 = AtomicU32::new(0);
    let number = MADE.fetch_add(1, Ordering::Relaxed);
    env::temp_dir().join(format!("stablefs-selftest.{}.{number}", process::id()))
}
