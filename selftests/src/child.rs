// SPDX-License-Identifier: GPL-2.0

//! Loads from a mapping that may raise SIGBUS, in a process of its own.

use std::env;
use std::fs::File;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{bail, Context, Result};

use crate::command::run;
use crate::mapping::ReadMapping;

/// First argument of the program that makes it load.
pub const OPTION: &str = "--load";
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

/// The child: prints the byte at `pos` of file `path`.
pub fn main(path: &str, pos: &str) -> ExitCode {
    match try_main(path, pos) {
        Ok(byte) => {
            println!("{byte}");
            ExitCode::SUCCESS
        }
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
