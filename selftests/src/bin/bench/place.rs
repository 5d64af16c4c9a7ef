// SPDX-License-Identifier: GPL-2.0

//! Where a workload works: a volume that has nothing else to do, and another disk to read from.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rustix::fs::syncfs;
use stablefs_selftests::seed::Bytes;
use stablefs_selftests::trial::{open_direct, to_words};
use stablefs_selftests::words::Words;

/// Bytes in a page.
pub(crate) const PAGE: usize = 4096;

/// A disk that holds [`LEN`](Self::LEN) bytes, no page like another.
pub(crate) struct Source(File);

impl Source {
    /// Bytes that it holds.
    pub(crate) const LEN: usize = 1 << 20;

    /// Overwrites the beginning of `disk`.
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) fn on(disk: &Path) -> Result<Self> {
        let file = open_direct(disk)?;
        let data = Words::private(Self::LEN)?;
        let words = to_words(&Bytes::new(0, 0).take(Self::LEN));
        let words = words.into_iter().enumerate();
        words.for_each(|(index, word)| data.store(index, word));
        data.write_to(0..Self::LEN, &file, 0)
            .with_context(|| disk.display().to_string())?;
        Ok(Self(file))
    }

    /// The disk, open for direct I/O.
    pub(crate) fn file(&self) -> &File {
        &self.0
    }
}

/// A mounted volume, with one file at a time.
pub(crate) struct Place<'a> {
    dir: File,
    path: PathBuf,
    /// What can be read directly.
    pub(crate) source: &'a Source,
}

impl<'a> Place<'a> {
    /// The volume mounted at `dir`.
    ///
    /// # Errors
    /// It cannot be opened.
    pub(crate) fn new(dir: &Path, source: &'a Source) -> Result<Self> {
        Ok(Self {
            dir: File::open(dir)?,
            path: dir.join("file"),
            source,
        })
    }

    /// The file, new and empty.
    ///
    /// # Errors
    /// There is one already.
    pub(crate) fn file(&self) -> Result<File> {
        let mut options = File::options();
        let options = options.read(true).write(true).create_new(true);
        options.open(&self.path).context("create")
    }

    /// Removes it, and waits until the disk has nothing to do.
    ///
    /// # Errors
    /// There is none.
    pub(crate) fn clear(&self) -> Result<()> {
        fs::remove_file(&self.path).context("remove")?;
        // What fails is what the workload has counted already.
        let _ = syncfs(&self.dir);
        Ok(())
    }
}
