// SPDX-License-Identifier: GPL-2.0

//! Touches all of a mounted volume that may be damaged: names, metadata, attributes, targets, data. What is not there or
//! cannot be read is counted, and does not end it.

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsStr;
use std::fs::{self, File, Metadata};
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use anyhow::{bail, Result};
use rustix::fs::{lgetxattr, llistxattr, seek, SeekFrom};
use rustix::io::Errno;

/// Names that are visited, and parts of a file that are read, at most: more than an undamaged volume has.
const MOST: usize = 20_000;
/// Bytes read at the beginning of each part.
const CHUNK: usize = 4096;

/// How much was read, and what could not be.
#[derive(Debug, Default)]
pub struct Found {
    /// Names.
    pub names: usize,
    /// Bytes of data.
    pub bytes: u64,
    /// Errors, how many times each.
    pub errors: BTreeMap<i32, usize>,
}

impl Found {
    fn count<T>(&mut self, result: Result<T, impl Into<std::io::Error>>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                let errno = error.into().raw_os_error().unwrap_or(0);
                *self.errors.entry(errno).or_default() += 1;
                None
            }
        }
    }
}

/// Goes through what is mounted at `root`.
///
/// # Errors
/// There is no end to it.
pub fn rummage(root: &Path) -> Result<Found> {
    let mut found = Found::default();
    let mut seen = HashSet::new();
    let mut dirs = vec![root.to_owned()];
    while let Some(dir) = dirs.pop() {
        match fs::symlink_metadata(dir.join("no such name")) {
            Err(error) if error.kind() == ErrorKind::NotFound => (),
            other => drop(found.count(other)),
        }
        let Some(entries) = found.count(fs::read_dir(&dir)) else {
            continue;
        };
        for entry in entries {
            // After an error there may be more names, but a second error is the same one again.
            let Some(entry) = found.count(entry) else {
                break;
            };
            found.names += 1;
            if found.names > MOST {
                bail!("{}: more than {MOST} names", dir.display());
            }
            let path = entry.path();
            let Some(metadata) = found.count(fs::symlink_metadata(&path)) else {
                continue;
            };
            if seen.insert(metadata.ino()) {
                look(&path, &metadata, &mut found, &mut dirs)?;
            }
        }
    }
    Ok(found)
}

fn look(
    path: &Path,
    metadata: &Metadata,
    found: &mut Found,
    dirs: &mut Vec<PathBuf>,
) -> Result<()> {
    attributes(path, found);
    let kind = metadata.file_type();
    if kind.is_dir() {
        dirs.push(path.to_owned());
    } else if kind.is_symlink() {
        found.count(fs::read_link(path));
    } else if kind.is_file() {
        if let Some(file) = found.count(File::open(path)) {
            data(path, &file, metadata.len(), found)?;
        }
    }
    // To open a pipe is to wait, and to open a device is to use it.
    Ok(())
}

fn attributes(path: &Path, found: &mut Found) {
    let mut names = vec![0; 64 << 10];
    let mut value = vec![0; 64 << 10];
    let Some(len) = found.count(llistxattr(path, names.as_mut_slice())) else {
        return;
    };
    for name in names[..len].split(|byte| *byte == 0) {
        if !name.is_empty() {
            found.count(lgetxattr(
                path,
                OsStr::from_bytes(name),
                value.as_mut_slice(),
            ));
        }
    }
}

/// Reads the beginning of each part that is no hole, and what is around the end.
fn data(path: &Path, file: &File, len: u64, found: &mut Found) -> Result<()> {
    let mut chunk = [0; CHUNK];
    let mut read = |pos, found: &mut Found| {
        if let Some(len) = found.count(file.read_at(&mut chunk, pos)) {
            found.bytes += len as u64;
        }
    };
    read(len.saturating_sub(1), found);
    let mut pos = 0;
    for _ in 0..MOST {
        let start = match seek(file, SeekFrom::Data(pos)) {
            Ok(start) => start,
            Err(Errno::NXIO) => return Ok(()),
            Err(error) => {
                found.count(Err::<(), _>(error));
                return Ok(());
            }
        };
        read(start, found);
        let Some(end) = found.count(seek(file, SeekFrom::Hole(start))) else {
            return Ok(());
        };
        if end <= pos {
            bail!(
                "{}: SEEK_HOLE goes from {start} back to {end}",
                path.display()
            );
        }
        pos = end;
    }
    bail!("{}: more than {MOST} parts", path.display())
}
