// SPDX-License-Identifier: GPL-2.0

//! A limit on the memory of this process, page cache included: see `Documentation/admin-guide/cgroup-v2.rst`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::command::succeed;
use crate::filesystem;
use crate::needs::Missing;
use crate::scratch::Scratch;

const LIMIT: Duration = Duration::from_secs(60);

/// This process, with all its threads, in a control group of its own, until this is dropped.
pub struct Limited {
    group: PathBuf,
    root: Scratch,
}

impl Limited {
    /// Has this process use `bytes` of memory at most from now on; what it uses already is not counted.
    ///
    /// # Errors
    /// [`Missing`] if this kernel counts no memory; or not root.
    pub fn new(bytes: u64) -> Result<Self> {
        let root = Scratch::dir()?;
        let mut mount = Command::new("mount");
        mount.args(["-t", "cgroup2", "none"]).arg(root.path());
        succeed(&mut mount, LIMIT)?;
        let group = root.path().join(format!("selftest.{}", std::process::id()));
        let this = Self { group, root };
        let control = this.root.path().join("cgroup.subtree_control");
        if fs::write(control, "+memory").is_err() {
            return Err(Missing("no control group for memory".to_owned()).into());
        }
        fs::create_dir(&this.group).context("control group")?;
        write(&this.group, "memory.max", &bytes.to_string())?;
        write(&this.group, "cgroup.procs", "0")?;
        Ok(this)
    }

    /// How often memory had to be found by taking it from something else.
    ///
    /// # Errors
    /// The kernel does not say.
    pub fn times_short(&self) -> Result<u64> {
        let events = self.group.join("memory.events");
        let text = fs::read_to_string(events).context("memory.events")?;
        let count = text.lines().find_map(|line| line.strip_prefix("max "));
        Ok(count.context("memory.events: max")?.parse()?)
    }
}

impl Drop for Limited {
    fn drop(&mut self) {
        // Nothing to do about a failure: the limit is that of this process alone.
        let _ = write(self.root.path(), "cgroup.procs", "0");
        let _ = fs::remove_dir(&self.group);
        let _ = filesystem::unmount(self.root.path());
    }
}

fn write(dir: &Path, file: &str, value: &str) -> Result<()> {
    let path = dir.join(file);
    fs::write(&path, value).with_context(|| format!("{}: {value}", path.display()))
}
