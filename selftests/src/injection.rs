// SPDX-License-Identifier: GPL-2.0

//! Allocations that fail on purpose, of a kernel that is built for it: see `Documentation/fault-injection/`.
//!
//! Only those fail that the filesystem under test asks for, itself or through what it calls, if it is a module. Such as
//! wait for memory whatever happens (`__GFP_NOFAIL`) never do.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::filesystem::Fstyp;
use crate::needs::Missing;

const DEBUGFS: &str = "/sys/kernel/debug";
/// What can fail: objects of slab caches, and pages.
const OBJECTS: &str = "failslab";
const PAGES: &str = "fail_page_alloc";
const SORTS: [&str; 2] = [OBJECTS, PAGES];
/// Failures that are left before the kernel makes no more: more than there are ever.
const TIMES: u32 = i32::MAX.unsigned_abs();
/// Frames that are looked at for one of the filesystem; the kernel looks at no more.
const DEPTH: &str = "32";

/// Allocations that have failed on purpose.
#[derive(Clone, Copy, Debug)]
pub struct Failed {
    /// Of slab caches.
    pub objects: u32,
    /// Of pages, by what was asked for at once.
    pub pages: u32,
}

/// Allocations can be made to fail, until this is dropped.
pub struct Injection {
    /// Files, and what was in them.
    settings: Vec<(PathBuf, String)>,
    /// Whether nothing but the filesystem is concerned.
    is_limited: bool,
}

impl Injection {
    /// Prepares it for what `fstyp` allocates. Nothing fails yet.
    ///
    /// # Errors
    /// [`Missing`] if this kernel cannot do it.
    pub fn new(fstyp: Fstyp) -> Result<Self> {
        for sort in SORTS {
            if !Path::new(DEBUGFS).join(sort).is_dir() {
                return Err(Missing(format!("no {sort} in this kernel")).into());
            }
        }
        let mut injection = Self {
            settings: Vec::new(),
            is_limited: false,
        };
        for sort in SORTS {
            injection.set(sort, "ignore-gfp-wait", "N")?;
            injection.set(sort, "task-filter", "N")?;
            injection.set(sort, "verbose", "0")?;
            injection.set(sort, "times", &TIMES.to_string())?;
            injection.set(sort, "stacktrace-depth", DEPTH)?;
        }
        injection.set(PAGES, "min-order", "0")?;
        injection.set(PAGES, "ignore-gfp-highmem", "N")?;
        if let Some((start, end)) = text(fstyp)? {
            for sort in SORTS {
                injection.set(sort, "require-start", &format!("{start:#x}"))?;
                injection.set(sort, "require-end", &format!("{end:#x}"))?;
            }
            injection.is_limited = true;
        }
        Ok(injection)
    }

    /// From now on has `percent` of all allocations fail, of whatever task.
    ///
    /// # Errors
    /// [`Missing`] if the filesystem was no module when this was made, and so the tasks of all others would fail; the kernel
    /// refuses it.
    pub fn fail(&mut self, percent: u32) -> Result<()> {
        if !self.is_limited {
            return Err(Missing("the filesystem is no module".to_owned()).into());
        }
        let percent = percent.to_string();
        SORTS
            .iter()
            .try_for_each(|sort| self.set(sort, "probability", &percent))
    }

    /// How many have failed so far.
    ///
    /// # Errors
    /// The kernel does not say it.
    pub fn failed(&self) -> Result<Failed> {
        let failed = |sort| -> Result<u32> {
            let path = Path::new(DEBUGFS).join(sort).join("times");
            let left = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            Ok(TIMES - left.trim().parse::<u32>()?)
        };
        Ok(Failed {
            objects: failed(OBJECTS)?,
            pages: failed(PAGES)?,
        })
    }

    fn set(&mut self, sort: &str, name: &str, value: &str) -> Result<()> {
        let path = Path::new(DEBUGFS).join(sort).join(name);
        let old = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        fs::write(&path, value).with_context(|| format!("{}: {value}", path.display()))?;
        self.settings.push((path, old.trim().to_owned()));
        Ok(())
    }
}

impl Drop for Injection {
    fn drop(&mut self) {
        while let Some((path, old)) = self.settings.pop() {
            // Nothing to do about a failure: whoever runs next sees what fails.
            let _ = fs::write(path, old);
        }
    }
}

/// Where the code of `fstyp` is, if it is a module; perhaps with something behind it.
fn text(fstyp: Fstyp) -> Result<Option<(u64, u64)>> {
    const MODULES: &str = "/proc/modules";
    let modules = fs::read_to_string(MODULES).context(MODULES)?;
    Ok(place(&modules, &fstyp.to_string()))
}

/// `name size users by state address …`
fn place(modules: &str, name: &str) -> Option<(u64, u64)> {
    let words = modules
        .lines()
        .map(|line| line.split(' ').collect::<Vec<_>>())
        .find(|words| words.first() == Some(&name))?;
    let len: u64 = words.get(1)?.parse().ok()?;
    let start = u64::from_str_radix(words.get(5)?.strip_prefix("0x")?, 16).ok()?;
    Some((start, start.checked_add(len)?))
}

/// One task's allocations, of which the n-th can be made to fail.
pub struct Nth {
    file: File,
}

impl Nth {
    /// Those of the calling thread.
    ///
    /// # Errors
    /// This kernel has no such thing.
    pub fn of_this_thread() -> Result<Self> {
        const FILE: &str = "/proc/thread-self/fail-nth";
        let file = File::options().read(true).write(true).open(FILE);
        Ok(Self {
            file: file.context(FILE)?,
        })
    }

    /// Does `call`, by the same thread, and has its `n`-th allocation fail, counted from 1. Says whether it came to
    /// that.
    ///
    /// # Errors
    /// The kernel refuses it.
    pub fn fail<T>(&self, n: u32, call: impl FnOnce() -> T) -> Result<(T, bool)> {
        self.set(n)?;
        let value = call();
        let left = self.left();
        self.set(0)?;
        Ok((value, left? == 0))
    }

    fn set(&self, n: u32) -> Result<()> {
        let n = n.to_string();
        self.file.write_all_at(n.as_bytes(), 0).context("fail-nth")
    }

    fn left(&self) -> Result<u32> {
        let mut text = [0; 16];
        let len = self.file.read_at(&mut text, 0).context("fail-nth")?;
        let text = String::from_utf8_lossy(&text[..len]);
        text.trim().parse().context("fail-nth")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_is_found_by_its_whole_name() {
        let modules = "stablefs2 1 0 - Live 0x10\n\
                       stablefs 4096 1 - Live 0xffffffffc0000000 (OE)\n";
        let place = |name| place(modules, name);
        assert_eq!(
            place("stablefs"),
            Some((0xffff_ffff_c000_0000, 0xffff_ffff_c000_1000))
        );
        assert_eq!(place("ext4"), None);
    }
}
