// SPDX-License-Identifier: GPL-2.0

//! File handles: that each leads back to its file, warm and cold, and that wrong ones lead nowhere.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use anyhow::{Context, Result};
use rustix::fs::FileType;
use rustix::io::Errno;

use super::{stat, Node, Record};
use crate::handle::{Handle, Holds};

/// Inodes that ext4 keeps for itself and hands to nobody, the first that a file may have, and numbers out of range.
const STRANGE_INODES: &[u32] = &[0, 1, 3, 4, 5, 6, 7, 8, 9, 10, 12, 0x7fff_ffff, u32::MAX];
/// Files whose handles are also tried in wrong forms; of all of them that would only take time.
const TRIED_WRONG: usize = 32;

/// Handles that were taken during a walk.
#[derive(Default)]
pub(super) struct Handles {
    taken: Vec<(Rc<str>, u64, Handle)>,
}

impl Handles {
    /// Takes and records the handles of `node`, whose inode is `ino`.
    pub(super) fn record(&mut self, record: &mut Record, node: &Node, ino: u64) {
        let path = &node.path;
        let connectable = Handle::of(node.fd.as_fd(), Holds::FileAndParent);
        // A parent is in the handle of what is no directory; which one of several names has is not part of the file.
        if node.kind != FileType::Directory {
            let connectable = connectable.map(|handle| handle.to_string());
            record.add_result(path, "handle_with_parent", connectable);
        }
        match Handle::of(node.fd.as_fd(), Holds::File) {
            Ok(handle) => {
                record.add(path, "handle", &handle);
                self.taken.push((Rc::clone(path), ino, handle));
            }
            Err(e) => record.add(path, "handle", format_args!("error: {e}")),
        }
    }

    /// Opens all handles of the filesystem that `mount` is open on. This says most once the kernel has forgotten the
    /// files, and has to find them again by nothing but the handle.
    pub(super) fn open(&self, record: &mut Record, mount: BorrowedFd<'_>) -> Result<()> {
        let root = path_of(mount).context("path of the root")?;
        for (path, ino, handle) in &self.taken {
            let opened = handle.open(mount).and_then(|file| {
                let found = stat::of(file.as_fd())?.stx_ino;
                Ok(match found == *ino {
                    true => format!("its file, {}", place(file.as_fd(), &root)),
                    false => format!("inode {found}"),
                })
            });
            record.add_result(path, "handle_opens", opened);
        }
        for (path, _, handle) in self.taken.iter().take(TRIED_WRONG) {
            let generation = handle.generation();
            let wrong = [
                handle.with_generation(generation.wrapping_add(1)),
                handle.with_generation(!generation),
                handle.with_generation(0),
            ];
            record.add(path, "handle_wrong_generation", outcomes(mount, &wrong));
        }
        if let Some((path, _, handle)) = self.taken.first() {
            let strange: Vec<Handle> = STRANGE_INODES
                .iter()
                .flat_map(|&ino| {
                    [
                        handle.with_ino(ino),
                        handle.with_ino(ino).with_generation(0),
                    ]
                })
                .collect();
            record.add(path, "handle_strange_inodes", outcomes(mount, &strange));
            let malformed: Vec<Handle> = [
                (0, 8),
                (1, 4),
                (1, 12),
                (2, 8),
                (2, 16),
                (0x51, 8),
                (0xff, 8),
            ]
            .into_iter()
            .map(|(kind, len)| Handle {
                kind,
                bytes: handle.bytes.iter().copied().cycle().take(len).collect(),
            })
            .collect();
            record.add(path, "handle_malformed", outcomes(mount, &malformed));
        }
        Ok(())
    }
}

/// What opening each of `handles` gives.
fn outcomes(mount: BorrowedFd<'_>, handles: &[Handle]) -> String {
    let outcome = |handle: &Handle| {
        let opened: Result<u64, Errno> = handle
            .open(mount)
            .and_then(|file| stat::of(file.as_fd()).map(|stat| stat.stx_ino));
        match opened {
            Ok(ino) => format!("{}: inode {ino}", handle),
            Err(e) => format!("{}: {}", handle, e.raw_os_error()),
        }
    };
    handles.iter().map(outcome).collect::<Vec<_>>().join("; ")
}

/// Where `file` lies below `root` if it is a directory: the kernel has to find the names of all above it.
fn place(file: BorrowedFd<'_>, root: &Path) -> String {
    let kind = stat::of(file).map(|stat| FileType::from_raw_mode(stat.stx_mode.into()));
    if kind != Ok(FileType::Directory) {
        return "not a directory".to_owned();
    }
    match path_of(file) {
        Ok(path) => {
            let below = path.strip_prefix(root).unwrap_or(&path);
            below
                .as_os_str()
                .as_encoded_bytes()
                .escape_ascii()
                .to_string()
        }
        Err(e) => e.to_string(),
    }
}

fn path_of(file: BorrowedFd<'_>) -> io::Result<PathBuf> {
    fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()))
}
