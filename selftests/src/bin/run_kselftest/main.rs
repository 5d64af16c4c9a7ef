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

use anyhow::{ensure, Context, Result};
use options::{Action, Options};
use run::Run;
use select::Entry;

/// Exit status when nothing could be run: a wrong option, or no such test.
const EXIT_USAGE: u8 = 2;

fn main() -> ExitCode {
    match try_main() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => {
            eprintln!("run_kselftest: {e:#}");
            ExitCode::from(EXIT_USAGE)
        }
    }
}

/// Whether all went well; an error if there was nothing to run, or no way to.
fn try_main() -> Result<bool> {
    let options = match Options::parse()? {
        Action::Help => {
            print!("{}", options::HELP);
            return Ok(true);
        }
        Action::Run(options) => options,
    };
    let suite = suite()?;
    let names = select::read_list(&suite)?;
    if options.list {
        names.iter().for_each(|name| println!("{name}"));
        return Ok(true);
    }
    let devices = stablefs_selftests::devices::all()?;
    let entries: Vec<Entry> = names
        .iter()
        .flat_map(|name| select::entries(&suite, name, &devices, options.fstyp))
        .filter(|entry| select::selected(&options.patterns, entry))
        .collect();
    ensure!(
        !entries.is_empty(),
        "no test matches {:?} with FSTYP={}; `-l` lists all tests",
        options.patterns.join(" "),
        options.fstyp
    );
    Run::new(options)?.all(&entries)
}

/// The folder of the installed suite: that of this program.
fn suite() -> Result<PathBuf> {
    let exe = env::current_exe().context("path of this program")?;
    exe.parent()
        .map(Path::to_owned)
        .context("folder of this program")
}
