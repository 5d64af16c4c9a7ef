// SPDX-License-Identifier: GPL-2.0

//! Walks a mounted volume and records all that a program can find out about it, so that two filesystems which mount
//! the same volume can be compared.
//!
//! An error is a fact like another one, and does not end the walk. Nothing of a path longer than the kernel takes is
//! ever passed to it: each directory is opened from the one above it.

mod data;
mod directory;
mod extents;
mod handles;
mod inode;
mod record;
mod stat;
mod view;
mod volume;
mod xattr;

use std::collections::HashSet;
use std::env;
use std::ffi::{CStr, CString};
use std::fs::{self, File};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::fs::{openat, FileType, Mode, OFlags, CWD};
use rustix::io::Errno;

pub use record::{Differences, Record};
pub use view::{view, Viewed};

use crate::command::succeed;
use directory::Found;
use handles::Handles;

const LIMIT: Duration = Duration::from_secs(120);

/// Walks what is mounted at `root`. `seed` chooses what is looked for and is not there.
///
/// # Errors
/// The walk cannot be carried out; what the filesystem refuses is recorded instead.
pub fn walk(root: &Path, seed: u64) -> Result<Record> {
    walk_and_forget(root, seed, || {
        fs::write("/proc/sys/vm/drop_caches", "2").context("drop_caches")
    })
}

/// As [`walk`], by a process of user `uid` and group `gid` that has no rights but theirs.
///
/// # Errors
/// As [`walk`]; or the process cannot be run.
pub fn walk_as(uid: u32, gid: u32, root: &Path, seed: u64) -> Result<Record> {
    let program = env::current_exe().context("path of this program")?;
    let mut command = Command::new(program);
    command.arg(OPTION).arg(root).arg(seed.to_string());
    succeed(command.uid(uid).gid(gid), LIMIT)?.parse()
}

/// First argument of the program that makes it walk.
pub const OPTION: &str = "--walk";

/// The process that [`walk_as`] runs: prints the facts about what is mounted at `root`.
pub fn main(root: &str, seed: &str) -> ExitCode {
    let walked =
        seed.parse()
            .context("seed")
            .and_then(|seed| match rustix::process::geteuid().is_root() {
                true => walk(Path::new(root), seed),
                false => walk_and_forget(Path::new(root), seed, || Ok(())),
            });
    match walked {
        Ok(record) => {
            print!("{record}");
            ExitCode::SUCCESS
        }
        Err(e) => {
            eprintln!("{e:#}");
            ExitCode::FAILURE
        }
    }
}

/// As [`walk`], where `forget` makes the kernel forget files that it has in memory.
fn walk_and_forget(root: &Path, seed: u64, forget: fn() -> Result<()>) -> Result<Record> {
    let top = openat(
        CWD,
        root,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .with_context(|| root.display().to_string())?;
    let mut walker = Walker {
        record: Record::default(),
        handles: Handles::default(),
        seen: HashSet::new(),
        seed,
    };
    volume::record(&mut walker.record, top.as_fd());
    walker.all(top.as_fd())?;
    forget()?;
    walker.handles.open(&mut walker.record, top.as_fd())?;
    walker.record.sort();
    Ok(walker.record)
}

struct Walker {
    record: Record,
    handles: Handles,
    /// Inodes that are recorded: a file of many names is one.
    seen: HashSet<u64>,
    seed: u64,
}

/// A directory that is being walked.
struct Level {
    dir: OwnedFd,
    path: Rc<str>,
    /// Names that are still to be visited, the next one last.
    names: Vec<Found>,
}

/// One file, opened as `O_PATH`: nothing is done to it by that.
struct Node {
    fd: OwnedFd,
    path: Rc<str>,
    kind: FileType,
    size: u64,
    /// Multiples of this many bytes suit direct I/O; 0 if the filesystem does not say.
    dio_offset_align: u32,
}

impl Walker {
    fn all(&mut self, top: BorrowedFd<'_>) -> Result<()> {
        let mut levels = Vec::new();
        let root = Rc::from("/");
        levels.extend(self.visit(top, c".", &root)?);
        while let Some(level) = levels.last_mut() {
            let Some(found) = level.names.pop() else {
                levels.pop();
                continue;
            };
            if found.ino.is_some_and(|ino| self.seen.contains(&ino)) {
                continue;
            }
            let slash = if level.path.ends_with('/') { "" } else { "/" };
            let path = format!("{}{slash}{}", level.path, escaped(&found.name)).into();
            let dir = level.dir.as_fd().try_clone_to_owned()?;
            levels.extend(self.visit(dir.as_fd(), &found.name, &path)?);
        }
        Ok(())
    }

    /// Records the file `name` of `dir`; one that is a directory is a new level.
    fn visit(&mut self, dir: BorrowedFd<'_>, name: &CStr, path: &Rc<str>) -> Result<Option<Level>> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = match openat(dir, name, flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(e) => {
                self.record.add(path, "open", format_args!("error: {e}"));
                return Ok(None);
            }
        };
        let stat = match stat::of(fd.as_fd()) {
            Ok(stat) => stat,
            Err(e) => {
                self.record.add(path, "statx", format_args!("error: {e}"));
                return Ok(None);
            }
        };
        self.seen.insert(stat.stx_ino);
        let node = Node {
            fd,
            path: Rc::clone(path),
            kind: FileType::from_raw_mode(stat.stx_mode.into()),
            size: stat.stx_size,
            dio_offset_align: stat.stx_dio_offset_align,
        };
        let record = &mut self.record;
        stat::record(record, path, &stat);
        xattr::record(record, &node);
        self.handles.record(record, &node, (dir, name), &stat);
        match node.kind {
            FileType::RegularFile => {
                let Some(file) = self.open(&node)? else {
                    return Ok(None);
                };
                inode::record(&mut self.record, &node, &file);
                extents::record(&mut self.record, &node, &file)?;
                data::record(&mut self.record, &node, &file)?;
                Ok(None)
            }
            FileType::Directory => {
                let Some(file) = self.open(&node)? else {
                    return Ok(None);
                };
                inode::record(&mut self.record, &node, &file);
                extents::record_map(&mut self.record, &node, &file);
                let dir = OwnedFd::from(file);
                let names = directory::record(&mut self.record, &node, dir.as_fd(), self.seed)?;
                Ok(Some(Level {
                    dir,
                    path: node.path,
                    names,
                }))
            }
            FileType::Symlink => {
                inode::record_link(&mut self.record, &node);
                Ok(None)
            }
            _ => Ok(None),
        }
    }

    /// Opens `node` for reading; a failure is recorded.
    fn open(&mut self, node: &Node) -> Result<Option<File>> {
        match node.open(OFlags::empty()) {
            Ok(file) => Ok(Some(file)),
            Err(e) => {
                self.record
                    .add(&node.path, "open", format_args!("error: {e}"));
                Ok(None)
            }
        }
    }
}

impl Node {
    /// Opens it for reading, with `flags` besides.
    fn open(&self, flags: OFlags) -> Result<File, Errno> {
        let flags = flags | OFlags::RDONLY | OFlags::CLOEXEC;
        openat(CWD, self.magic_path(), flags, Mode::empty()).map(File::from)
    }

    /// A path that leads to it whatever it is, a symbolic link too, and however deep it lies.
    fn magic_path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.fd.as_raw_fd()))
    }
}

/// `name` as text: what is not printable ASCII is escaped, and so is a slash that cannot be.
fn escaped(name: &CStr) -> String {
    name.to_bytes().escape_ascii().to_string()
}

/// Bytes, in short: how many, the first of them, and a checksum of all.
fn digest(bytes: &[u8]) -> String {
    const SHOWN: usize = 24;
    let head = bytes.get(..SHOWN).unwrap_or(bytes).escape_ascii();
    format!("{} bytes, {:016x}, {head}", bytes.len(), checksum(bytes))
}

/// A checksum that any change of one word changes.
fn checksum(bytes: &[u8]) -> u64 {
    const PRIME: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut sum = bytes.len() as u64 ^ PRIME;
    let mut mix = |word: u64| sum = (sum.rotate_left(23) ^ word).wrapping_mul(PRIME);
    let mut words = bytes.chunks_exact(8);
    for word in &mut words {
        mix(word.try_into().map_or(0, u64::from_le_bytes));
    }
    words
        .remainder()
        .iter()
        .for_each(|&byte| mix(u64::from(byte) | (1 << 32)));
    sum ^ (sum >> 29)
}

/// A name that the kernel can be given.
fn c_string(bytes: Vec<u8>) -> Result<CString> {
    CString::new(bytes).context("a name with a 0 in it")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_tell_lengths_places_and_bytes_apart() {
        let zeroes = [0; 4096];
        assert_ne!(checksum(&zeroes), checksum(&zeroes[1..]));
        let mut sums: Vec<u64> = (0..4096)
            .map(|pos| {
                let mut bytes = zeroes;
                bytes[pos] = 1;
                checksum(&bytes)
            })
            .collect();
        sums.sort_unstable();
        sums.dedup();
        assert_eq!(sums.len(), 4096);
    }

    #[test]
    fn a_change_between_two_walks_is_seen() {
        let dir = std::env::temp_dir().join(format!("stablefs-walk.{}", std::process::id()));
        fs::create_dir_all(dir.join("sub")).unwrap();
        fs::write(dir.join("sub/file"), "content").unwrap();
        std::os::unix::fs::symlink("target", dir.join("link")).unwrap();
        let before = walk_and_forget(&dir, 1, || Ok(())).unwrap();
        fs::write(dir.join("sub/file"), "CONTENT").unwrap();
        let after = walk_and_forget(&dir, 1, || Ok(())).unwrap();
        fs::remove_dir_all(&dir).unwrap();
        let sorts = before.sorts();
        for sort in ["entry", "mode", "target", "data"] {
            assert!(sorts.contains_key(sort), "{sorts:?}");
        }
        let differences = before.differences(&after);
        assert!(
            differences.sorts().any(|sort| sort == "data"),
            "{differences}"
        );
        assert!(
            !differences.sorts().any(|sort| sort == "entry"),
            "{differences}"
        );
    }
}
