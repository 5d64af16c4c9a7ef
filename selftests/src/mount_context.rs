// SPDX-License-Identifier: GPL-2.0

//! fsopen(2) and its relatives: mounting with exact errors, and with what the filesystem says about them.

use std::os::fd::OwnedFd;
use std::path::Path;

use anyhow::{Context, Result};
use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{
    fsconfig_create, fsconfig_reconfigure, fsconfig_set_flag, fsconfig_set_string, fsopen, fspick,
    FsOpenFlags, FsPickFlags,
};

use crate::filesystem::Fstyp;
use crate::module::Module;

/// A filesystem that is about to be mounted, or mounted with other options.
pub struct MountContext {
    fd: OwnedFd,
}

impl MountContext {
    /// For a new mount of `fstyp` from `dev`.
    ///
    /// # Errors
    /// There is no such filesystem.
    pub fn open(fstyp: Fstyp, dev: &Path) -> Result<Self> {
        if fstyp == Fstyp::Stablefs {
            Module::from_env()?.ensure_loaded()?;
        }
        let fd = fsopen(fstyp.to_string(), FsOpenFlags::FSOPEN_CLOEXEC).context("fsopen")?;
        fsconfig_set_string(&fd, "source", dev).context("fsconfig: source")?;
        Ok(Self { fd })
    }

    /// For other options of what is mounted at `dir`.
    ///
    /// # Errors
    /// Nothing is mounted there.
    pub fn pick(dir: &Path) -> Result<Self> {
        let fd = fspick(CWD, dir, FsPickFlags::FSPICK_CLOEXEC).context("fspick")?;
        Ok(Self { fd })
    }

    /// Sets an option, `key` or `key=value`.
    ///
    /// # Errors
    /// fsconfig(2)'s.
    pub fn set(&self, option: &str) -> Result<(), Errno> {
        match option.split_once('=') {
            Some((key, value)) => fsconfig_set_string(&self.fd, key, value),
            None => fsconfig_set_flag(&self.fd, option),
        }
    }

    /// Has the filesystem read the volume.
    ///
    /// # Errors
    /// fsconfig(2)'s, which are those of the filesystem.
    pub fn create(&self) -> Result<(), Errno> {
        fsconfig_create(&self.fd)
    }

    /// Has the filesystem take the options.
    ///
    /// # Errors
    /// fsconfig(2)'s, which are those of the filesystem.
    pub fn reconfigure(&self) -> Result<(), Errno> {
        fsconfig_reconfigure(&self.fd)
    }

    /// What was said so far and not yet read, a line for each message.
    pub fn messages(&self) -> String {
        let mut text = String::new();
        let mut message = [0; 8192];
        while let Ok(len) = rustix::io::read(&self.fd, &mut message) {
            text.push_str(String::from_utf8_lossy(&message[..len]).trim_end());
            text.push('\n');
        }
        text
    }
}
