// SPDX-License-Identifier: GPL-2.0

//! Directories: what reading one gives, from its beginning and from every so many cookies, and what looking names up
//! gives.

use std::ffi::CString;
use std::os::fd::BorrowedFd;

use anyhow::Result;
use rustix::fs::{seek, statx, AtFlags, FileType, RawDir, SeekFrom, StatxFlags};
use rustix::io::Errno;

use super::{c_string, escaped, Node, Record};
use crate::seed::Bytes;

/// Bytes asked for at once: first what a C library asks for, when resuming as little as holds the longest entry.
const LARGE: usize = 32 << 10;
const SMALL: usize = 280;
/// Directories up to this many entries are resumed at each cookie; larger ones at so many of them, spread evenly.
const RESUMED_EVERYWHERE: usize = 40;
const RESUMED: usize = 12;
/// Entries of directories so large that reading them again costs time; these are resumed at few places.
const LARGE_DIRECTORY: usize = 10_000;
const RESUMED_LARGE: usize = 4;
/// Random names that are looked up in each directory and not found.
const ABSENT: usize = 8;
/// `NAME_MAX`
const NAME_MAX: usize = 255;

/// A name, and the inode that looking it up finds.
pub(super) struct Found {
    pub(super) name: CString,
    pub(super) ino: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    name: CString,
    ino: u64,
    kind: FileType,
    /// Where the next entry is.
    cookie: u64,
}

impl Entry {
    fn is_dot(&self) -> bool {
        matches!(self.name.to_bytes(), b"." | b"..")
    }
}

/// Records the directory `node`, open as `dir`. Returns its names but `.` and `..`, in reverse order.
pub(super) fn record(
    record: &mut Record,
    node: &Node,
    dir: BorrowedFd<'_>,
    seed: u64,
) -> Result<Vec<Found>> {
    let path = &node.path;
    let mut entries = Vec::new();
    if let Err(e) = read(dir, 0, LARGE, &mut entries) {
        record.add(path, "readdir", format_args!("error: {e}"));
    }
    record.add(path, "entries", entries.len());
    let mut names = Vec::new();
    for entry in &entries {
        let what = format!("entry {}", escaped(&entry.name));
        let listed = format!("{} {:?}", entry.ino, entry.kind);
        // Looking `..` up in the root would leave the volume.
        if entry.is_dot() {
            record.add(path, what, listed);
            continue;
        }
        let ino = match look_up(dir, &entry.name) {
            Ok((ino, kind)) if (ino, kind) == (entry.ino, entry.kind) => {
                record.add(path, what, listed);
                Some(ino)
            }
            Ok((ino, kind)) => {
                record.add(
                    path,
                    what,
                    format_args!("{listed}, looked up {ino} {kind:?}"),
                );
                Some(ino)
            }
            Err(e) => {
                record.add(path, what, format_args!("{listed}, looked up: error: {e}"));
                None
            }
        };
        names.push(Found {
            name: entry.name.clone(),
            ino,
        });
    }
    record.add(path, "resume", resume(dir, &entries));
    record.add(path, "absent", absent(dir, &entries, seed)?);
    let too_long = look_up(dir, &c_string(vec![b'x'; NAME_MAX + 1])?).map(|(ino, _)| ino);
    record.add_result(path, "name_too_long", too_long);
    names.sort_by(|a, b| b.name.cmp(&a.name));
    Ok(names)
}

/// Reads from `cookie` to the end, `size` bytes at once.
fn read(dir: BorrowedFd<'_>, cookie: u64, size: usize, to: &mut Vec<Entry>) -> Result<(), Errno> {
    seek(dir, SeekFrom::Start(cookie))?;
    let mut buffer: Vec<u8> = Vec::with_capacity(size + align_of::<u64>());
    let mut buffer = RawDir::new(dir, buffer.spare_capacity_mut());
    while let Some(entry) = buffer.next() {
        let entry = entry?;
        to.push(Entry {
            name: entry.file_name().to_owned(),
            ino: entry.ino(),
            kind: entry.file_type(),
            cookie: entry.next_entry_cookie(),
        });
    }
    Ok(())
}

fn look_up(dir: BorrowedFd<'_>, name: &CString) -> Result<(u64, FileType), Errno> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    let stat = statx(dir, name, flags, StatxFlags::INO | StatxFlags::TYPE)?;
    Ok((stat.stx_ino, FileType::from_raw_mode(stat.stx_mode.into())))
}

/// Whether reading from a cookie gives the rest: `complete`, or the first thing that is wrong.
fn resume(dir: BorrowedFd<'_>, entries: &[Entry]) -> String {
    let places = match entries.len() {
        count if count <= RESUMED_EVERYWHERE => count,
        count if count <= LARGE_DIRECTORY => RESUMED,
        _ => RESUMED_LARGE,
    };
    let step = entries.len().div_ceil(places.max(1)).max(1);
    // The last cookie, behind which there is nothing, is always one of them.
    let places = (0..entries.len()).rev().step_by(step);
    for place in places {
        let cookie = entries[place].cookie;
        let mut rest = Vec::new();
        if let Err(e) = read(dir, cookie, SMALL, &mut rest) {
            return format!("behind entry {place} of {}: error: {e}", entries.len());
        }
        // A cookie is a hash, which names may share: then they all come again.
        let same = entries[..place]
            .iter()
            .rev()
            .take_while(|entry| entry.cookie == cookie)
            .count();
        let allowed = [&entries[place + 1..], &entries[place + 1 - same..]];
        if !allowed.contains(&&rest[..]) {
            return format!(
                "behind entry {place} of {}: {} entries, beginning with {:?}; want {}, beginning with {:?}",
                entries.len(),
                rest.len(),
                rest.first(),
                allowed[0].len(),
                allowed[0].first()
            );
        }
    }
    "complete".to_owned()
}

/// What becomes of names that are not there: each errno, and how often. Half of the names are random, half are like
/// those that are there.
fn absent(dir: BorrowedFd<'_>, entries: &[Entry], seed: u64) -> Result<String> {
    let mut names = vec![vec![b'x'; NAME_MAX]];
    let mut random = Bytes::new(seed, 0xab5e);
    for length in 1..=ABSENT {
        let mut name = random.take(length * 3 + 4);
        name.iter_mut().for_each(|byte| *byte = (*byte % 26) + b'a');
        names.push(name);
    }
    // Sorted: the order of reading is the filesystem's own affair.
    let mut present: Vec<&[u8]> = entries
        .iter()
        .filter(|entry| !entry.is_dot())
        .map(|entry| entry.name.to_bytes())
        .collect();
    present.sort_unstable();
    let step = (present.len() / ABSENT).max(1);
    for name in present.iter().step_by(step) {
        let mut changed = name.to_vec();
        if let Some(last) = changed.last_mut() {
            *last = if *last == b'~' { b'}' } else { b'~' };
        }
        names.push(changed);
        names.push(name[..name.len() - 1].to_vec());
        if name.len() < NAME_MAX {
            names.push([name, &b"~"[..]].concat());
        }
    }
    names.retain(|name| !name.is_empty() && !matches!(&name[..], b"." | b".."));
    let mut outcomes: Vec<(String, usize)> = Vec::new();
    for name in names {
        let name = c_string(name)?;
        if present.binary_search(&name.to_bytes()).is_ok() {
            continue;
        }
        let outcome = match look_up(dir, &name) {
            Ok((ino, kind)) => format!("{} is {ino} {kind:?}", escaped(&name)),
            Err(e) => e.to_string(),
        };
        match outcomes.iter_mut().find(|(known, _)| *known == outcome) {
            Some((_, count)) => *count += 1,
            None => outcomes.push((outcome, 1)),
        }
    }
    Ok(format!("{outcomes:?}"))
}
