// SPDX-License-Identifier: GPL-2.0

//! Runs the tests of an installed suite: for each, and each kind of device that it asks for, makes a volume, mounts
//! it, runs the program, unmounts, checks the volume, and judges the kernel log. KTAP on standard output.

mod options;
mod program;
mod run;
mod select;

use std::env;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use options::{Action, Options};
use run::Run;
use select::Entry;

/// Exit status when nothing could be run, such as with a wrong option.
const EXIT_USAGE: u8 = 2;
/// Exit status when no test is of the wanted name.
const EXIT_NO_MATCH: u8 = 3;

fn main() -> ExitCode {
    match try_main() {
        Ok(code) => code,
        Err(e) => {
            eprintln!("run_kselftest: {e:#}");
            ExitCode::from(EXIT_USAGE)
        }
    }
}

/// The exit status; an error if there was no way to run anything.
fn try_main() -> Result<ExitCode> {
    let options = match Options::parse()? {
        Action::Help => {
            print!("{}", options::HELP);
            return Ok(ExitCode::SUCCESS);
        }
        Action::Run(options) => options,
    };
    let suite = suite()?;
    let names = select::read_list(&suite)?;
    if options.list {
        names.iter().for_each(|name| println!("{name}"));
        return Ok(ExitCode::SUCCESS);
    }
    let devices = stablefs_selftests::devices::all()?;
    let entries: Vec<Entry> = names
        .iter()
        .flat_map(|name| select::entries(&suite, name, &devices, options.fstyp))
        .filter(|entry| select::selected(&options.patterns, entry))
        .enumerate()
        .filter_map(|(index, entry)| options.part.has(index).then_some(entry))
        .collect();
    if entries.is_empty() {
        eprintln!(
            "run_kselftest: no test matches {:?} with FSTYP={}; `-l` lists all tests",
            options.patterns.join(" "),
            options.fstyp
        );
        return Ok(ExitCode::from(EXIT_NO_MATCH));
    }
    match Run::new(options)?.all(&entries)? {
        true => Ok(ExitCode::SUCCESS),
        false => Ok(ExitCode::FAILURE),
    }
}

/// The folder of the installed suite: that of this program.
fn suite() -> Result<PathBuf> {
    let exe = env::current_exe().context("path of this program")?;
    exe.parent()
        .map(Path::to_owned)
        .context("folder of this program")
}
