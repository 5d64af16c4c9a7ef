// SPDX-License-Identifier: GPL-2.0

//! A test program: its needs, its cases, and the environment that the runner gives it.

use std::env;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::devices::{self, Kind};
use crate::filesystem::Fstyp;
use crate::ktap::{self, Outcome, Totals};
use crate::needs::{Missing, Needs, Volume};
use crate::seed;

/// One test program.
pub struct Program {
    /// The behaviour that it tests; also the name of the program.
    pub name: &'static str,
    /// What it needs, for the runner.
    pub needs: Needs,
    /// Its cases, in the order in which they run.
    pub cases: &'static [Case],
}

/// One result line.
pub struct Case {
    name: &'static str,
    run: fn(&Env) -> Result<()>,
}

impl Case {
    /// The behaviour in short, and what does it: an error is a failure, and its text the diagnosis; but [`Missing`] skips
    /// it.
    pub const fn new(name: &'static str, run: fn(&Env) -> Result<()>) -> Self {
        Self { name, run }
    }
}

/// What the runner says, in `FSTYP` (default stablefs), `SEED`, `LONGER`, `TEST_DEV` and `TEST_DIR`.
pub struct Env {
    /// Filesystem under test.
    pub fstyp: Fstyp,
    /// For everything that is random.
    pub seed: u64,
    /// How many times as many random operations as usual are tried.
    pub longer: u64,
    dev: Option<PathBuf>,
    dir: Option<PathBuf>,
}

impl Env {
    fn from_env() -> Result<Self> {
        Ok(Self {
            fstyp: env::var("FSTYP")
                .unwrap_or_else(|_| Fstyp::Stablefs.to_string())
                .parse()
                .context("FSTYP")?,
            seed: seed::from_env()?,
            longer: match env::var("LONGER") {
                Ok(text) => text.parse().context("LONGER")?,
                Err(_) => 1,
            },
            dev: env::var_os("TEST_DEV").map(PathBuf::from),
            dir: env::var_os("TEST_DIR").map(PathBuf::from),
        })
    }

    /// The device, for a program that needs one.
    ///
    /// # Errors
    /// `TEST_DEV` is not set.
    pub fn dev(&self) -> Result<&Path> {
        self.dev
            .as_deref()
            .context("TEST_DEV is not set: the runner sets it")
    }

    /// The same, on another device.
    pub fn on(&self, dev: &Path) -> Self {
        Self {
            dev: Some(dev.to_owned()),
            dir: None,
            ..*self
        }
    }

    /// What sort of device that is.
    ///
    /// # Errors
    /// `TEST_DEV` is not set, or names no device.
    pub fn kind(&self) -> Result<Kind> {
        devices::probe(self.dev()?).map(|device| device.kind)
    }

    /// Where the volume is mounted, for a program that needs it mounted.
    ///
    /// # Errors
    /// `TEST_DIR` is not set.
    pub fn dir(&self) -> Result<&Path> {
        self.dir
            .as_deref()
            .context("TEST_DIR is not set: the runner mounts a volume and sets it")
    }
}

impl Program {
    /// Runs as a program of this name with arguments `args`: `--needs`, or none.
    pub fn main(&self, args: &[String]) -> ExitCode {
        match args {
            [] => self.run(),
            [option] if option == "--needs" => {
                println!("{}", self.needs);
                ExitCode::from(ktap::EXIT_PASS)
            }
            _ => {
                eprintln!(
                    "usage: {} [--needs]   (the runner sets TEST_DEV, TEST_DIR, FSTYP and SEED)",
                    self.name
                );
                ExitCode::from(ktap::EXIT_FAIL)
            }
        }
    }

    fn run(&self) -> ExitCode {
        println!("{}", ktap::VERSION);
        let env = match self.environment() {
            Ok(env) => env,
            Err(e) => {
                println!("Bail out! {e:#}");
                return ExitCode::from(ktap::EXIT_FAIL);
            }
        };
        println!("{}", ktap::plan(self.cases.len()));
        let mut totals = Totals::default();
        for (number, case) in (1..).zip(self.cases) {
            let (outcome, note) = self.run_case(case, &env);
            println!(
                "{}",
                ktap::result(outcome, number, case.name, note.as_deref())
            );
            totals.add(outcome);
        }
        println!("{totals}");
        ExitCode::from(if totals.failures() > 0 {
            ktap::EXIT_FAIL
        } else if totals.all_skipped() {
            ktap::EXIT_SKIP
        } else {
            ktap::EXIT_PASS
        })
    }

    /// The environment, once it is seen to hold what this program needs.
    fn environment(&self) -> Result<Env> {
        let env = Env::from_env()?;
        if !self.needs.on.is_empty() {
            env.dev()?;
        }
        if self.needs.volume == Volume::Writable {
            env.dir()?;
        }
        Ok(env)
    }

    /// What a case came to, and why it was skipped, if it was.
    fn run_case(&self, case: &Case, env: &Env) -> (Outcome, Option<String>) {
        let why = match catch_unwind(|| (case.run)(env)) {
            Ok(Ok(())) => return (Outcome::Pass, None),
            Ok(Err(e)) => match e.downcast_ref::<Missing>() {
                Some(missing) => return (Outcome::Skip, Some(missing.to_string())),
                None => format!("{e:#}"),
            },
            Err(_) => "panicked".to_owned(),
        };
        let on = env
            .dev
            .as_ref()
            .map_or(String::new(), |dev| format!(", {}", dev.display()));
        say(&format!("{}: {why}", case.name));
        say(&format!(
            "seed {:#x}{on}; again: make test FSTYP={} T={} SEED={:#x}",
            env.seed, env.fstyp, self.name, env.seed
        ));
        (Outcome::Fail, None)
    }
}

/// Prints `text` as diagnostics, ahead of the result that they belong to.
pub fn say(text: &str) {
    ktap::diagnostics(text)
        .iter()
        .for_each(|line| println!("{line}"));
}
