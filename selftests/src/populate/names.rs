// SPDX-License-Identifier: GPL-2.0

//! Directories of all sizes and shapes.

use std::ffi::OsString;
use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use anyhow::{Context, Result};
use rustix::fs::{mkdirat, openat, Mode, OFlags, CWD};

use super::Place;
use crate::seed::Bytes;

/// `NAME_MAX`
const NAME_MAX: usize = 255;
/// ext4 lets a file have 65,000 names.
const NAMES_OF_A_FILE: usize = 50_000;
/// Directories in each other, and the length of their names: together longer than any path that the kernel takes.
const DEPTH: usize = 100;
const DEEP_NAME: usize = 60;
/// Files that are made in order to be deleted.
const DELETED: usize = 400;

/// A name of each length, of bytes of all sorts.
pub(super) fn of_all_lengths(place: &Place<'_>) -> Result<()> {
    let target = place.path("a file");
    File::create_new(&target)?;
    let mut random = Bytes::new(place.seed, 1);
    for len in 1..=NAME_MAX {
        let name = name(&mut random, len);
        // A short random name may come twice.
        match fs::hard_link(&target, place.dir.join(&name)) {
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
            other => other.with_context(|| format!("name of {len} bytes"))?,
        }
    }
    Ok(())
}

/// `count` names with bytes of 128 and more in them, of which a hash depends on whether `char` has a sign.
///
/// # Errors
/// The filesystem refuses something.
pub fn hashed(dir: &Path, seed: u64, count: usize) -> Result<()> {
    let target = dir.join("a file");
    File::create_new(&target)?;
    let mut random = Bytes::new(seed, 2);
    for number in 0..count {
        let mut name = format!("{number:04}").into_bytes();
        name.extend(name_bytes(&mut random, number % 80));
        fs::hard_link(&target, dir.join(OsString::from_vec(name)))
            .with_context(|| format!("name {number}"))?;
    }
    Ok(())
}

/// A directory of `count` entries.
pub(super) fn large(place: &Place<'_>, count: usize) -> Result<()> {
    let mut target = place.path("target 0");
    for number in 0..count {
        if number % NAMES_OF_A_FILE == 0 {
            target = place.path(&format!("target {number}"));
            File::create_new(&target)?;
        }
        let link = place.path(&format!("entry {number:07}"));
        fs::hard_link(&target, &link).with_context(|| link.display().to_string())?;
    }
    Ok(())
}

/// Directories in each other, with a file in the last.
pub(super) fn deep(place: &Place<'_>) -> Result<()> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut dir: OwnedFd = openat(CWD, place.dir, flags, Mode::empty())?;
    let mut random = Bytes::new(place.seed, 3);
    for depth in 0..DEPTH {
        let step = || format!("depth {depth}");
        let name: String = random
            .take(DEEP_NAME)
            .iter()
            .map(|byte| char::from(b'a' + byte % 26))
            .collect();
        mkdirat(&dir, &name, Mode::RWXU).with_context(step)?;
        dir = openat(&dir, &name, flags, Mode::empty()).with_context(step)?;
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC;
    openat(&dir, "at the bottom", flags, Mode::RUSR).context("the file")?;
    Ok(())
}

/// Directories in which there were more entries once: with gaps, with one left, and with none.
pub(super) fn deleted(place: &Place<'_>) -> Result<()> {
    type Keep = (&'static str, fn(usize) -> bool);
    let keep: [Keep; 4] = [
        ("every third", |number| number % 3 == 0),
        ("the first", |number| number == 0),
        ("the last", |number| number == DELETED - 1),
        ("none", |_| false),
    ];
    for (name, keep) in keep {
        let dir = place.path(name);
        fs::create_dir(&dir)?;
        let target = dir.join("a file with many names");
        File::create_new(&target)?;
        let path = |number: usize| dir.join(format!("{number:05} {}", "x".repeat(number % 50)));
        for number in 0..DELETED {
            fs::hard_link(&target, path(number))?;
        }
        for number in (0..DELETED).filter(|&number| !keep(number)) {
            fs::remove_file(path(number))?;
        }
        fs::remove_file(target)?;
    }
    fs::create_dir(place.path("always empty"))?;
    Ok(())
}

fn name(random: &mut Bytes, len: usize) -> OsString {
    OsString::from_vec(name_bytes(random, len))
}

/// Any bytes but those that no name may have, and no name that is there already.
fn name_bytes(random: &mut Bytes, len: usize) -> Vec<u8> {
    let mut bytes = random.take(len);
    for byte in &mut bytes {
        if matches!(*byte, 0 | b'/' | b'.') {
            *byte = 0xff;
        }
    }
    bytes
}
