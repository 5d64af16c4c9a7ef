// SPDX-License-Identifier: GPL-2.0

//! The same facts as a walk finds, as far as the crate `ext4-view` can tell them: it reads the device, and no filesystem of
//! the kernel has a part in that.

use std::ffi::CString;
use std::path::Path;
use std::rc::Rc;

use anyhow::{ensure, Context, Result};
use ext4_view::{Ext4, File, FileType, Metadata, Timestamp};

use super::data::CHUNK;
use super::{checksum, escaped, Differences, Record};

/// How far `ext4-view` is asked to read: it goes to a position block by block.
const FAR: u64 = 1 << 30;
/// The longest path that it takes, in bytes: as `PATH_MAX`.
const LONGEST_PATH: usize = 4096;
/// `NAME_MAX`
const LONGEST_NAME: usize = 255;
/// `FIEMAP_EXTENT_UNWRITTEN`
const UNWRITTEN: u32 = 0x800;
/// File types, as they are numbered in a mode, and as a walk calls them.
const TYPES: &[(FileType, u16, &str)] = &[
    (FileType::Fifo, 0o1, "Fifo"),
    (FileType::CharacterDevice, 0o2, "CharacterDevice"),
    (FileType::Directory, 0o4, "Directory"),
    (FileType::BlockDevice, 0o6, "BlockDevice"),
    (FileType::Regular, 0o10, "RegularFile"),
    (FileType::Symlink, 0o12, "Symlink"),
    (FileType::Socket, 0o14, "Socket"),
];

/// What became of a comparison with `ext4-view`.
pub struct Viewed {
    /// Where it says otherwise.
    pub differences: Differences,
    /// How much was compared.
    pub facts: usize,
    /// Files that it cannot read.
    pub unread: usize,
    /// Files of which it cannot read the data.
    pub without_data: usize,
}

/// Compares `walked`, what a walk of the volume on `dev` has found, with what `ext4-view` says of it.
///
/// # Errors
/// `ext4-view` cannot read something.
pub fn view(dev: &Path, walked: &Record) -> Result<Viewed> {
    let volume = Ext4::load_from_path(dev).with_context(|| dev.display().to_string())?;
    let unread = paths(walked, |path, what, value| match what {
        "atime" | "ctime" | "mtime" | "btime" => is_strange(value),
        "size" => unescaped(path).len() > LONGEST_PATH,
        _ => false,
    });
    // It takes an unwritten extent for one of more blocks than there can be, and what a symbolic link holds for names.
    let without_data = paths(walked, |_, what, value| match what {
        "target" => unescaped(value)
            .split(|&byte| byte == b'/')
            .any(|name| name.len() > LONGEST_NAME),
        _ => what.starts_with("extent ") && is_unwritten(value),
    });
    let wanted = walked.reduced(|path, what, value| {
        if unread.binary_search(&path).is_ok() {
            return None;
        }
        let whole = Some(value.to_owned());
        let has_data = || without_data.binary_search(&path).is_err();
        match what.split_once(' ').unwrap_or((what, "")) {
            ("data", pos) => {
                whole.filter(|_| position(pos).is_some_and(|pos| pos <= FAR) && has_data())
            }
            ("target", _) => whole.filter(|_| has_data()),
            // The inode's number is not told.
            ("entry", _) => value.split(' ').nth(1).map(str::to_owned),
            ("size" | "uid" | "gid" | "mode" | "atime" | "mtime" | "btime", _) => whole,
            ("entries", _) => whole,
            _ => None,
        }
    });
    let mut found = Record::default();
    let facts: Vec<_> = wanted.facts().collect();
    for facts in facts.chunk_by(|one, other| one.0 == other.0) {
        let path = facts[0].0;
        let whats: Vec<&str> = facts.iter().map(|&(_, what, _)| what).collect();
        record(&volume, &mut found, path, &whats).with_context(|| format!("ext4-view: {path}"))?;
    }
    found.sort();
    Ok(Viewed {
        differences: wanted.differences(&found),
        facts: found.len(),
        unread: unread.len(),
        without_data: without_data.len(),
    })
}

/// The paths of `record` that have a fact which `is_such`, in order.
fn paths(record: &Record, is_such: impl Fn(&str, &str, &str) -> bool) -> Vec<&str> {
    let mut paths: Vec<&str> = record
        .facts()
        .filter(|(path, what, value)| is_such(path, what, value))
        .map(|(path, ..)| &**path)
        .collect();
    paths.dedup();
    paths
}

/// Records the file at `path`; of its data only what `wanted` names.
fn record(volume: &Ext4, record: &mut Record, path: &Rc<str>, wanted: &[&str]) -> Result<()> {
    let unescaped = unescaped(path);
    let name = ext4_view::Path::try_from(&*unescaped)?;
    let metadata = volume.symlink_metadata(name)?;
    let mut add = |what: &'static str, value: String| record.add(path, what, value);
    add("mode", mode(&metadata)?);
    add("size", metadata.len().to_string());
    add("uid", metadata.uid().to_string());
    add("gid", metadata.gid().to_string());
    add("atime", time(metadata.accessed()));
    add("mtime", time(metadata.modified()));
    add("btime", metadata.created().map_or(NO_TIME.into(), time));
    match metadata.file_type() {
        FileType::Symlink if wanted.contains(&"target") => {
            let target = volume.read_link(name)?;
            let target = CString::new(target.as_ref())?;
            add("target", escaped(&target));
        }
        FileType::Directory => {
            let mut entries = 0;
            for entry in volume.read_dir(name)? {
                let entry = entry?;
                let name = entry.file_name().as_ref().escape_ascii().to_string();
                let (.., kind) = kind(entry.file_type()?)?;
                record.add(path, format!("entry {name}"), kind);
                entries += 1;
            }
            record.add(path, "entries", entries);
        }
        FileType::Regular => {
            let mut file = volume.open(name)?;
            let position = |what: &&str| position(what.strip_prefix("data ")?);
            for pos in wanted.iter().filter_map(position) {
                let bytes = read(&mut file, pos)?;
                let value = format!("{} bytes, {:016x}", bytes.len(), checksum(&bytes));
                record.add(path, format!("data {pos:#x}"), value);
            }
        }
        _ => {}
    }
    Ok(())
}

/// The chunk at `pos`.
fn read(file: &mut File, pos: u64) -> Result<Vec<u8>> {
    if file.position() != pos {
        file.seek_to(pos)?;
    }
    let len = file.metadata().len().saturating_sub(pos).min(CHUNK);
    let mut bytes = vec![0xee; usize::try_from(len)?];
    let mut filled = 0;
    while filled < bytes.len() {
        let count = file.read_bytes(&mut bytes[filled..])?;
        ensure!(count > 0, "it ends at {:#x}", file.position());
        filled += count;
    }
    Ok(bytes)
}

fn mode(metadata: &Metadata) -> Result<String> {
    let (_, number, _) = kind(metadata.file_type())?;
    Ok(format!("{:#o}", (number << 12) | metadata.mode()))
}

fn kind(kind: FileType) -> Result<(FileType, u16, &'static str)> {
    let mut types = TYPES.iter().copied();
    types
        .find(|(known, ..)| *known == kind)
        .with_context(|| format!("{kind:?}"))
}

/// The time of an inode that has no room for it.
const NO_TIME: &str = "0.000000000";

fn time(time: Timestamp) -> String {
    format!("{}.{:09}", time.seconds(), time.nanoseconds())
}

/// Whether this is a time of which the lower 32 bits are negative: `ext4-view` takes it for corrupt.
fn is_strange(time: &str) -> bool {
    let seconds = time
        .split('.')
        .next()
        .and_then(|sec| sec.parse::<i64>().ok());
    seconds.is_some_and(|seconds| seconds & (1 << 31) != 0)
}

/// Whether this value of a fact `extent` has the flag.
fn is_unwritten(value: &str) -> bool {
    let flags = value.rsplit_once("flags ").map(|(_, flags)| flags);
    flags
        .and_then(position)
        .is_some_and(|flags| flags & u64::from(UNWRITTEN) != 0)
}

/// A number after `0x`.
fn position(text: &str) -> Option<u64> {
    u64::from_str_radix(text.strip_prefix("0x")?, 16).ok()
}

/// The bytes of a path as a walk shows it, which is as [`escaped`] and with slashes.
fn unescaped(path: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = path.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        bytes.push(match rest.next() {
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b't') => b'\t',
            Some(b'x') => {
                let mut digit = || rest.next().and_then(|digit| char::from(digit).to_digit(16));
                let (high, low) = (digit().unwrap_or(0), digit().unwrap_or(0));
                (high * 16 + low) as u8
            }
            Some(other) => other,
            None => b'\\',
        });
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_unescaped() {
        let bytes: Vec<u8> = (1..=255).collect();
        let path = bytes.escape_ascii().to_string();
        assert_eq!(unescaped(&path), bytes);
    }

    #[test]
    fn times_that_are_not_understood_are_known() {
        for (time, is) in [
            ("-1.000000000", true),
            ("0.000000001", false),
            ("2147483648.0", true),
            ("4294967296.0", false),
        ] {
            assert_eq!(is_strange(time), is, "{time}");
        }
    }

    #[test]
    fn flags_are_read_from_facts() {
        assert!(is_unwritten("0x1000 bytes at 0x2000, flags 0x801"));
        assert!(!is_unwritten("0x1000 bytes at 0x800, flags 0x1"));
    }
}
