// SPDX-License-Identifier: GPL-2.0

//! File handles: that each leads back to its file, warm and cold, and that wrong ones lead nowhere.

use std::ffi::CStr;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use anyhow::{Context, Result};
use rustix::fs::{FileType, Statx};
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
    taken: Vec<Taken>,
}

struct Taken {
    path: Rc<str>,
    ino: u64,
    handle: Handle,
    holds: Holds,
}

impl Handles {
    /// Takes and records the handles of `node`, which is `name` in `dir` and of which `stat` is known.
    pub(super) fn record(
        &mut self,
        record: &mut Record,
        node: &Node,
        (dir, name): (BorrowedFd<'_>, &CStr),
        stat: &Statx,
    ) {
        let sorts = [
            ("handle", Holds::File),
            ("handle_with_parent", Holds::FileAndParent),
        ];
        for (sort, holds) in sorts {
            // The handle of a directory is enough to find its parent; and of several names of a file, any may be found.
            let needs_parent = node.kind != FileType::Directory && stat.stx_nlink == 1;
            if holds == Holds::FileAndParent && !needs_parent {
                continue;
            }
            match Handle::of(dir, name, holds) {
                Ok(handle) => {
                    record.add(&node.path, sort, &handle);
                    self.taken.push(Taken {
                        path: Rc::clone(&node.path),
                        ino: stat.stx_ino,
                        handle,
                        holds,
                    });
                }
                Err(e) => record.add(&node.path, sort, format_args!("error: {e}")),
            }
        }
    }

    /// Opens all handles of the filesystem that `mount` is open on. This says most once the kernel has forgotten the
    /// files, and has to find them again by nothing but the handle.
    pub(super) fn open(&self, record: &mut Record, mount: BorrowedFd<'_>) -> Result<()> {
        let root = path_of(mount).context("path of the root")?;
        for taken in &self.taken {
            let opened = taken.handle.open(mount).and_then(|file| {
                let found = stat::of(file.as_fd())?.stx_ino;
                Ok(match found == taken.ino {
                    true => format!("its file, {}", place(file.as_fd(), taken.holds, &root)),
                    false => format!("inode {found}"),
                })
            });
            let sort = match taken.holds {
                Holds::File => "handle_opens",
                Holds::FileAndParent => "handle_with_parent_opens",
            };
            record.add_result(&taken.path, sort, opened);
        }
        let alone = || self.taken.iter().filter(|taken| taken.holds == Holds::File);
        for Taken { path, handle, .. } in alone().take(TRIED_WRONG) {
            let generation = handle.generation();
            let wrong = [
                handle.with_generation(generation.wrapping_add(1)),
                handle.with_generation(!generation),
                handle.with_generation(0),
            ];
            record.add(path, "handle_wrong_generation", outcomes(mount, &wrong));
        }
        if let Some(Taken { path, handle, .. }) = alone().next() {
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

/// Where `file`, opened by a handle, lies below `root`. The kernel has to find the name of a directory and of all above
/// it, and of another file only if the handle leads to its parent.
fn place(file: BorrowedFd<'_>, holds: Holds, root: &Path) -> String {
    let kind = stat::of(file).map(|stat| FileType::from_raw_mode(stat.stx_mode.into()));
    if kind != Ok(FileType::Directory) && holds == Holds::File {
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
