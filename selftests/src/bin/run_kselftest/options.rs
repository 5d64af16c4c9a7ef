// SPDX-License-Identifier: GPL-2.0

//! The command line, and the environment variables that do the same.

use std::env;
use std::time::Duration;

use anyhow::{bail, Context, Result};
use lexopt::prelude::*;
use stablefs_selftests::filesystem::Fstyp;

pub(crate) const HELP: &str = "\
Usage: run_kselftest.sh [OPTIONS]
  -l, --list                 list the tests
  -t, --test PATTERN         run tests whose name contains PATTERN, or matches it if it has * or ? in it; a name is
                             that of the test, or test:device. May be repeated. Environment: T, separated by blanks
  -f, --fstyp FILESYSTEM     what to mount: stablefs (default), ext4, xfs, btrfs. Environment: FSTYP
  -o, --override-timeout N   seconds for each test, default 300
      --no-kernel-log        do not judge the kernel log; to try the runner without root
  -h, --help                 this text
Devices: those in /run/devices, or TEST_DEV=/dev/x. They are overwritten.
Other environment: SEED (of what is random), LONGER (times as many random operations), STABLEFS_KO (default /opt/stablefs/stablefs.ko).
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
