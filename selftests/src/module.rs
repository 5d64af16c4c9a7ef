// SPDX-License-Identifier: GPL-2.0

//! The module `stablefs.ko`: insert, remove, ask. The system calls are used directly, so that errors are exact.

use std::env;
use std::ffi::{CStr, CString};
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::io::Errno;
use rustix::system::{delete_module, finit_module};

use crate::command::succeed;

const DEFAULT_PATH: &str = "/opt/stablefs/stablefs.ko";
const NAME: &CStr = c"stablefs";
const SYSFS: &str = "/sys/module/stablefs";
const LIMIT: Duration = Duration::from_secs(60);
/// `O_NONBLOCK` of delete_module(2): fail when the module is in use.
const NONBLOCK: i32 = rustix::fs::OFlags::NONBLOCK.bits() as i32;

/// The module's file, with the modules that it depends on already inserted.
pub struct Module {
    path: PathBuf,
    /// Its parameters, as `insmod` takes them.
    parameters: CString,
}

impl Module {
    /// The file that `STABLEFS_KO` names, by default `/opt/stablefs/stablefs.ko`. It is told the control that `CONTROL`
    /// names, if that is set.
    ///
    /// # Errors
    /// There is no such module, or one that it depends on cannot be inserted.
    pub fn from_env() -> Result<Self> {
        let path = PathBuf::from(env::var_os("STABLEFS_KO").unwrap_or_else(|| DEFAULT_PATH.into()));
        let depends = succeed(
            Command::new("modinfo").args(["-F", "depends"]).arg(&path),
            LIMIT,
        )?;
        for name in depends.trim().split(',').filter(|name| !name.is_empty()) {
            succeed(Command::new("modprobe").arg(name), LIMIT)?;
        }
        let control = env::var_os("CONTROL").map(|name| [b"control=", name.as_bytes()].concat());
        let parameters = CString::new(control.unwrap_or_default()).context("CONTROL")?;
        Ok(Self { path, parameters })
    }

    /// Inserts it.
    ///
    /// # Errors
    /// finit_module(2)'s, `EEXIST` when it is inserted already.
    pub fn load(&self) -> Result<(), Errno> {
        let file =
            File::open(&self.path).map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::IO))?;
        finit_module(file, &self.parameters, 0)
    }

    /// Removes it.
    ///
    /// # Errors
    /// delete_module(2)'s, `EWOULDBLOCK` when it is in use, `ENOENT` when it is not inserted.
    pub fn unload(&self) -> Result<(), Errno> {
        delete_module(NAME, NONBLOCK)
    }

    /// Inserts it if it is not.
    ///
    /// # Errors
    /// As [`load`](Self::load), but for `EEXIST`.
    pub fn ensure_loaded(&self) -> Result<()> {
        match self.load() {
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(e) => Err(e).with_context(|| format!("insert {}", self.path.display())),
        }
    }

    /// Removes it if it is inserted.
    ///
    /// # Errors
    /// As [`unload`](Self::unload), but for `ENOENT`.
    pub fn ensure_unloaded(&self) -> Result<()> {
        match self.unload() {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(e) => Err(e).context("remove stablefs"),
        }
    }

    /// Whether it is inserted.
    pub fn is_loaded(&self) -> bool {
        Path::new(SYSFS).exists()
    }

    /// Number of references that keep it inserted.
    ///
    /// # Errors
    /// It is not inserted.
    pub fn references(&self) -> Result<u32> {
        let path = Path::new(SYSFS).join("refcnt");
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        text.trim()
            .parse()
            .with_context(|| path.display().to_string())
    }
}
