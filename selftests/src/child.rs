// SPDX-License-Identifier: GPL-2.0

//! Loads from a mapping and stores to it, that may raise SIGBUS, in a process of its own.

use std::env;
use std::fs::File;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{bail, Context, Result};

use crate::command::run;
use crate::mapping::{ReadMapping, SharedMapping};

/// First argument of the program that makes it load.
pub const OPTION: &str = "--load";
/// First argument of the program that makes it store.
pub const STORE: &str = "--store";
/// What is stored at the beginning of each page.
pub const STORED: [u8; 6] = *b"stored";
const LIMIT: Duration = Duration::from_secs(60);
const SIGBUS: i32 = 7;

/// What a load from a mapping came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loaded {
    /// The byte.
    Byte(u8),
    /// The process was killed by SIGBUS.
    SigBus,
}

/// Loads the byte at `pos` of file `path` through a mapping, in a child process.
///
/// # Errors
/// The child cannot be run, or ends in another way.
pub fn load(path: &Path, pos: u64) -> Result<Loaded> {
    let program = env::current_exe().context("path of this program")?;
    let mut command = Command::new(program);
    command.arg(OPTION).arg(path).arg(pos.to_string());
    let output = run(&mut command, LIMIT)?;
    match (output.status.code(), output.status.signal()) {
        (Some(0), _) => Ok(Loaded::Byte(output.text.trim().parse()?)),
        (_, Some(SIGBUS)) => Ok(Loaded::SigBus),
        _ => bail!("child: {}: {}", output.status, output.text),
    }
}

/// What stores to a mapping came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Pages that were stored to.
    pub pages: u64,
    /// Whether the process was killed by SIGBUS at the next one.
    pub sigbus: bool,
}

/// Stores [`STORED`] through a mapping, in a child process: to each page of the first `len` bytes of file `path`, or to
/// each `step`-th.
///
/// # Errors
/// The child cannot be run, or ends in another way.
pub fn store(path: &Path, len: u64, step: u64) -> Result<Stored> {
    let program = env::current_exe().context("path of this program")?;
    let mut command = Command::new(program);
    command.arg(STORE).arg(path);
    command.arg(len.to_string()).arg(step.to_string());
    let output = run(&mut command, LIMIT)?;
    let pages = output.text.lines().last().unwrap_or("0");
    let pages = pages.parse().with_context(|| output.text.clone())?;
    match (output.status.code(), output.status.signal()) {
        (Some(0), _) => Ok(Stored {
            pages,
            sigbus: false,
        }),
        (_, Some(SIGBUS)) => Ok(Stored {
            pages,
            sigbus: true,
        }),
        _ => bail!("child: {}: {}", output.status, output.text),
    }
}

/// The child that stores: prints after each page how many there were.
pub fn main_store(path: &str, len: &str, step: &str) -> ExitCode {
    let stored = || -> Result<()> {
        let len: usize = len.parse().context("length")?;
        let step: usize = step.parse().context("step")?;
        let file = File::options().read(true).write(true).open(path)?;
        let mapping = SharedMapping::new(&file, len)?;
        let page = rustix::param::page_size() * step;
        for (number, pos) in (1..).zip((0..len).step_by(page)) {
            mapping.store(pos, &STORED)?;
            println!("{number}");
        }
        Ok(())
    };
    ended(stored())
}

/// The child: prints the byte at `pos` of file `path`.
pub fn main(path: &str, pos: &str) -> ExitCode {
    ended(try_main(path, pos).map(|byte| println!("{byte}")))
}

fn ended(result: Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("{e:#}");
            ExitCode::FAILURE
        }
    }
}

fn try_main(path: &str, pos: &str) -> Result<u8> {
    let pos: u64 = pos.parse().context("position")?;
    let page = rustix::param::page_size() as u64;
    let mapping = ReadMapping::new(&File::open(path)?, pos / page * page, page as usize)?;
    let byte = mapping.load(usize::try_from(pos % page)?, 1)?;
    byte.first().copied().context("no byte")
}
