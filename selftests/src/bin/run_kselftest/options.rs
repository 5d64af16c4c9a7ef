// SPDX-License-Identifier: GPL-2.0

//! The command line, and the environment variables that do the same.

use std::env;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{bail, ensure, Context, Error, Result};
use lexopt::prelude::*;
use stablefs_selftests::filesystem::Fstyp;

pub(crate) const HELP: &str = "\
Usage: run_kselftest.sh [OPTIONS]
  -l, --list                 list the tests
  -t, --test PATTERN         run tests whose name contains PATTERN, or matches it if it has * or ? in it; a name is
                             that of the test, or test:device. May be repeated. Environment: T, separated by blanks
      --part K/N             only every Nth of them, from the Kth on: N machines then share all tests
  -f, --fstyp FILESYSTEM     what to mount: stablefs (default), ext4, xfs, btrfs. Environment: FSTYP
  -o, --override-timeout N   seconds for each test, default 300
      --no-kernel-log        do not judge the kernel log; to try the runner without root
  -h, --help                 this text
Devices: those in /run/devices, or TEST_DEV=/dev/x. They are overwritten.
Other environment: SEED (of what is random), LONGER (times as many random operations), STABLEFS_KO (default
/opt/stablefs/stablefs.ko), CONTROL (what that is to do wrongly, if it was built with controls).
Exit status: 0 all passed or skipped, 1 a test failed, 2 nothing could be run, 3 no such test.
";

/// What to do.
pub(crate) enum Action {
    Help,
    Run(Options),
}

/// How to do it.
pub(crate) struct Options {
    pub(crate) list: bool,
    /// None means all tests.
    pub(crate) patterns: Vec<String>,
    pub(crate) part: Part,
    pub(crate) fstyp: Fstyp,
    pub(crate) limit: Duration,
    pub(crate) kernel_log: bool,
}

impl Options {
    /// Reads them; the command line wins over the environment.
    pub(crate) fn parse() -> Result<Action> {
        let mut options = Self {
            list: false,
            patterns: Vec::new(),
            part: Part { number: 1, of: 1 },
            fstyp: env::var("FSTYP")
                .unwrap_or_else(|_| Fstyp::Stablefs.to_string())
                .parse()
                .context("FSTYP")?,
            limit: Duration::from_secs(300),
            kernel_log: true,
        };
        let mut parser = lexopt::Parser::from_env();
        while let Some(arg) = parser.next()? {
            match arg {
                Short('l') | Long("list") => options.list = true,
                Short('t') | Long("test") => options.patterns.push(parser.value()?.string()?),
                Long("part") => options.part = parser.value()?.string()?.parse()?,
                Short('f') | Long("fstyp") => options.fstyp = parser.value()?.string()?.parse()?,
                Short('o') | Long("override-timeout") => {
                    options.limit = Duration::from_secs(parser.value()?.parse()?)
                }
                Long("no-kernel-log") => options.kernel_log = false,
                Short('h') | Long("help") => return Ok(Action::Help),
                Value(word) => bail!("{}: not an option; -h shows them", word.to_string_lossy()),
                other => return Err(other.unexpected().into()),
            }
        }
        if options.patterns.is_empty() {
            options.patterns = env::var("T")
                .unwrap_or_default()
                .split_whitespace()
                .map(str::to_owned)
                .collect();
        }
        Ok(Action::Run(options))
    }
}

/// Every so many of the tests.
pub(crate) struct Part {
    number: usize,
    of: usize,
}

impl Part {
    /// Whether it has the test at `index`.
    pub(crate) fn has(&self, index: usize) -> bool {
        index % self.of == self.number - 1
    }
}

impl FromStr for Part {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (number, of) = text.split_once('/').context("a part is K/N")?;
        let part = Self {
            number: number.parse()?,
            of: of.parse()?,
        };
        ensure!(
            (1..=part.of).contains(&part.number),
            "there is no part {text}"
        );
        Ok(part)
    }
}
