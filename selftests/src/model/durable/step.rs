// SPDX-License-Identifier: GPL-2.0

//! The steps of a task, and how each is carried out.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rustix::fs::{
    fallocate, fremovexattr, fsetxattr, linkat, syncfs, AtFlags, FallocateFlags, OFlags,
    XattrFlags, CWD,
};

use super::content::{attribute, attribute_name, sector, SECTOR};
use crate::mapping::SharedMapping;
use crate::model::file::aligned_copy;

/// Names in a directory that has many.
pub(super) const CROWD: &str = "crowd";

/// A part of a file, in sectors.
#[derive(Clone, Copy, Debug)]
pub(super) struct Range {
    pub(super) start: u32,
    pub(super) end: u32,
}

impl Range {
    pub(super) fn pos(self) -> u64 {
        u64::from(self.start) * SECTOR as u64
    }

    pub(super) fn len(self) -> u64 {
        u64::from(self.end - self.start) * SECTOR as u64
    }
}

/// How data gets to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    Write,
    /// With `O_DSYNC`, with `O_SYNC`.
    Dsync,
    Sync,
    /// With `O_DIRECT`.
    Direct,
    DirectDsync,
    /// Stores to a mapping.
    Map,
    /// The same, and msync(2).
    Msync,
}

impl By {
    pub(super) const ALL: &'static [Self] = &[
        Self::Write,
        Self::Write,
        Self::Write,
        Self::Write,
        Self::Write,
        Self::Dsync,
        Self::Sync,
        Self::Direct,
        Self::Direct,
        Self::DirectDsync,
        Self::Map,
        Self::Msync,
    ];

    pub(super) fn is_direct(self) -> bool {
        matches!(self, Self::Direct | Self::DirectDsync)
    }

    pub(super) fn is_mapped(self) -> bool {
        matches!(self, Self::Map | Self::Msync)
    }

    fn flags(self) -> OFlags {
        match self {
            Self::Dsync => OFlags::DSYNC,
            Self::Sync => OFlags::SYNC,
            Self::Direct => OFlags::DIRECT,
            Self::DirectDsync => OFlags::DIRECT | OFlags::DSYNC,
            Self::Write | Self::Map | Self::Msync => OFlags::empty(),
        }
    }
}

/// What fallocate(2) does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Allocate {
    Reach,
    KeepSize,
    Punch,
    Zero,
}

impl Allocate {
    pub(super) const ALL: &'static [Self] = &[
        Self::Reach,
        Self::KeepSize,
        Self::Punch,
        Self::Punch,
        Self::Zero,
    ];

    pub(super) fn makes_zeroes(self) -> bool {
        matches!(self, Self::Punch | Self::Zero)
    }

    fn flags(self) -> FallocateFlags {
        match self {
            Self::Reach => FallocateFlags::empty(),
            Self::KeepSize => FallocateFlags::KEEP_SIZE,
            Self::Punch => FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE,
            Self::Zero => FallocateFlags::ZERO_RANGE | FallocateFlags::KEEP_SIZE,
        }
    }
}

/// What is made durable.
#[derive(Clone, Copy, Debug)]
pub(super) enum Sync {
    /// fsync(2)
    File(u32),
    /// fdatasync(2)
    Data(u32),
    /// fsync(2) of the directory with the names.
    Names,
    /// fsync(2) of the directory with the many.
    Crowd,
    /// syncfs(2)
    All,
}

/// One step. Files have numbers, each given once; names are numbers, too.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// Directories, and syncfs(2).
    Begin,
    Create {
        id: u32,
        name: u32,
    },
    /// `O_TMPFILE`
    Nameless {
        id: u32,
    },
    /// One more name, or the first.
    Link {
        id: u32,
        name: u32,
    },
    /// `close`: this file, which has lost its last name, is closed.
    Unlink {
        name: u32,
        close: Option<u32>,
    },
    Rename {
        from: u32,
        to: u32,
        close: Option<u32>,
    },
    Close {
        id: u32,
    },
    Write {
        id: u32,
        range: Range,
        by: By,
    },
    Truncate {
        id: u32,
        len: u32,
    },
    Allocate {
        id: u32,
        range: Range,
        how: Allocate,
    },
    /// An attribute is set, or removed.
    Attribute {
        id: u32,
        attribute: u32,
        set: bool,
    },
    /// Names from one number up to another.
    Crowd {
        from: u32,
        to: u32,
    },
    Thin {
        numbers: Vec<u32>,
    },
    Sync(Sync),
}

/// A name among the few.
pub(super) fn name(number: u32) -> String {
    format!("name{number}")
}

/// A name among the many.
pub(super) fn crowd_name(number: u32) -> String {
    format!("{number:05} of the many names that one directory has to hold")
}

/// A directory, and what is open of the files below it.
pub(super) struct Place {
    dir: PathBuf,
    open: BTreeMap<u32, File>,
}

impl Place {
    pub(super) fn new(dir: PathBuf) -> Self {
        let open = BTreeMap::new();
        Self { dir, open }
    }

    fn path(&self, number: u32) -> PathBuf {
        self.dir.join(name(number))
    }

    fn crowd(&self, number: u32) -> PathBuf {
        self.dir.join(CROWD).join(crowd_name(number))
    }

    fn file(&self, id: u32) -> Result<&File> {
        self.open.get(&id).context("a file that is not open")
    }

    /// Carries out `step`, the task's `number`th.
    pub(super) fn carry_out(&mut self, step: &Step, number: u32) -> Result<()> {
        match *step {
            Step::Begin => self.begin(),
            Step::Create { id, name } => {
                let mut options = OpenOptions::new();
                let options = options.read(true).write(true).create_new(true);
                self.keep(id, options.open(self.path(name)))
            }
            Step::Nameless { id } => {
                let mut options = OpenOptions::new();
                let options = options.read(true).write(true);
                let options = options.custom_flags(OFlags::TMPFILE.bits() as i32);
                self.keep(id, options.open(&self.dir))
            }
            Step::Link { id, name } => {
                let (from, to) = (proc_path(self.file(id)?), self.path(name));
                Ok(linkat(CWD, from, CWD, to, AtFlags::SYMLINK_FOLLOW)?)
            }
            Step::Unlink { name, close } => {
                fs::remove_file(self.path(name))?;
                self.close(close);
                Ok(())
            }
            Step::Rename { from, to, close } => {
                fs::rename(self.path(from), self.path(to))?;
                self.close(close);
                Ok(())
            }
            Step::Close { id } => {
                self.close(Some(id));
                Ok(())
            }
            Step::Write { id, range, by } => {
                let sectors = range.start..range.end;
                let bytes: Vec<u8> = sectors.flat_map(|n| sector(id, n, number)).collect();
                write(self.file(id)?, range, &bytes, by)
            }
            Step::Truncate { id, len } => {
                Ok(self.file(id)?.set_len(u64::from(len) * SECTOR as u64)?)
            }
            Step::Allocate { id, range, how } => {
                let file = self.file(id)?;
                Ok(fallocate(file, how.flags(), range.pos(), range.len())?)
            }
            Step::Attribute {
                id,
                attribute: which,
                set,
            } => {
                let (file, name) = (self.file(id)?, attribute_name(which));
                match set {
                    true => fsetxattr(
                        file,
                        name,
                        &attribute(id, which, number),
                        XattrFlags::empty(),
                    )?,
                    false => fremovexattr(file, name)?,
                }
                Ok(())
            }
            Step::Crowd { from, to } => {
                for number in from..to {
                    fs::hard_link(self.crowd(0), self.crowd(number))?;
                }
                Ok(())
            }
            Step::Thin { ref numbers } => {
                for &number in numbers {
                    fs::remove_file(self.crowd(number))?;
                }
                Ok(())
            }
            Step::Sync(sync) => self.sync(sync),
        }
    }

    fn begin(&self) -> Result<()> {
        fs::create_dir(&self.dir)?;
        fs::create_dir(self.dir.join(CROWD))?;
        File::create_new(self.crowd(0))?;
        self.sync(Sync::All)
    }

    fn keep(&mut self, id: u32, file: std::io::Result<File>) -> Result<()> {
        self.open.insert(id, file?);
        Ok(())
    }

    fn close(&mut self, id: Option<u32>) {
        if let Some(id) = id {
            self.open.remove(&id);
        }
    }

    fn sync(&self, sync: Sync) -> Result<()> {
        match sync {
            Sync::File(id) => self.file(id)?.sync_all()?,
            Sync::Data(id) => self.file(id)?.sync_data()?,
            Sync::Names => File::open(&self.dir)?.sync_all()?,
            Sync::Crowd => File::open(self.dir.join(CROWD))?.sync_all()?,
            Sync::All => syncfs(File::open(&self.dir)?)?,
        }
        Ok(())
    }
}

/// By which path an open file can be opened again, and be linked, whatever names it has.
fn proc_path(file: &File) -> PathBuf {
    Path::new("/proc/self/fd").join(file.as_fd().as_raw_fd().to_string())
}

fn write(file: &File, range: Range, bytes: &[u8], by: By) -> Result<()> {
    if by.is_mapped() {
        let page = rustix::param::page_size() as u64;
        let from = range.pos() / page * page;
        let before = (range.pos() - from) as usize;
        let mapping = SharedMapping::from(file, from, before + bytes.len())?;
        mapping.store(before, bytes)?;
        return match by {
            By::Msync => mapping.sync(),
            _ => Ok(()),
        };
    }
    if by == By::Write {
        return Ok(file.write_all_at(bytes, range.pos())?);
    }
    let flags = by.flags().bits() as i32;
    let mut options = OpenOptions::new();
    let options = options.write(true).custom_flags(flags);
    let file = options.open(proc_path(file)).context("open again")?;
    let (buffer, start) = aligned_copy(bytes);
    let bytes = &buffer[start..start + bytes.len()];
    Ok(file.write_all_at(bytes, range.pos())?)
}
