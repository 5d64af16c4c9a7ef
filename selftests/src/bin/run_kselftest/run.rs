// SPDX-License-Identifier: GPL-2.0

//! The run as a whole: every entry one result, with what the runner itself saw before it.

use std::process::Command;

use anyhow::{Context, Result};
use stablefs_selftests::devices::Device;
use stablefs_selftests::filesystem;
use stablefs_selftests::kmsg::{self, Kmsg};
use stablefs_selftests::ktap::{self, Outcome, Tally, Totals};
use stablefs_selftests::needs::Volume;
use stablefs_selftests::program::say;
use stablefs_selftests::scratch::Scratch;
use stablefs_selftests::{kmemleak, seed, splat};

use crate::options::Options;
use crate::program;
use crate::select::{Entry, State};

/// One level of KTAP nesting.
const INDENT: &str = "  ";

/// A run of the suite.
pub(crate) struct Run {
    options: Options,
    seed: u64,
    /// Absent when the kernel log is not judged.
    log: Option<KernelLog>,
    totals: Totals,
}

/// What one entry came to.
#[derive(Default)]
struct Verdict {
    tally: Tally,
    /// Everything that makes it a failure besides the program's own results.
    faults: Vec<String>,
    /// Why it was not run.
    skip: Option<String>,
    /// Set when it ran out of time.
    timed_out: bool,
    /// Set when nothing more can be run on this machine; why.
    stop: Option<String>,
}

impl Run {
    /// Prepares a run.
    pub(crate) fn new(options: Options) -> Result<Self> {
        let log = if options.kernel_log {
            Some(KernelLog::new().context("needs root, or --no-kernel-log")?)
        } else {
            None
        };
        Ok(Self {
            options,
            seed: seed::from_env()?,
            log,
            totals: Totals::default(),
        })
    }

    /// Runs `entries`, prints their results and the totals, and says whether all went well.
    pub(crate) fn all(mut self, entries: &[Entry]) -> Result<bool> {
        let look_for_leaks = self.log.is_some() && kmemleak::available();
        println!("{}", ktap::VERSION);
        println!(
            "{}",
            ktap::plan(entries.len() + usize::from(look_for_leaks))
        );
        say(&format!(
            "FSTYP={} SEED={:#x}",
            self.options.fstyp, self.seed
        ));
        for (number, entry) in (1..).zip(entries) {
            let verdict = self.entry(entry);
            self.report(number, &entry.label, &verdict);
            if let Some(why) = verdict.stop {
                println!("Bail out! {why}");
                println!("{}", self.totals);
                return Ok(false);
            }
        }
        if look_for_leaks {
            let verdict = leaks();
            self.report(entries.len() + 1, "kmemleak", &verdict);
        }
        println!("{}", self.totals);
        Ok(self.totals.failures() == 0)
    }

    /// Runs one entry, and judges the kernel log of that time.
    fn entry(&mut self, entry: &Entry) -> Verdict {
        let (device, volume) = match &entry.state {
            State::Ready => (None, Volume::Raw),
            State::ReadyOn(device, volume) => (Some(device), *volume),
            State::Missing(kind) => {
                return Verdict {
                    skip: Some(format!("no {kind} device")),
                    ..Verdict::default()
                }
            }
            State::Broken(why) => {
                return Verdict {
                    faults: vec![why.clone()],
                    ..Verdict::default()
                }
            }
        };
        let mut verdict = Verdict::default();
        if let Some(log) = &mut self.log {
            log.begin(&entry.label, &mut verdict);
        }
        let done = match (device, volume) {
            (Some(device), Volume::Writable) => self.mounted(entry, device, &mut verdict),
            (device, _) => self.program(entry, device, None, &mut verdict),
        };
        if let Err(e) = done {
            verdict.faults.push(format!("{e:#}"));
        }
        if let Some(log) = &mut self.log {
            log.end(&mut verdict);
        }
        verdict
    }

    /// Runs the program of `entry` on a new volume, and checks that volume afterwards.
    fn mounted(&mut self, entry: &Entry, device: &Device, verdict: &mut Verdict) -> Result<()> {
        let fstyp = self.options.fstyp;
        let dir = Scratch::dir()?;
        fstyp.make(&device.path)?;
        fstyp.mount(&device.path, dir.path())?;
        let ran = self.program(entry, Some(device), Some(&dir), verdict);
        if verdict.stop.is_some() {
            return ran;
        }
        if let Err(e) = filesystem::unmount(dir.path()) {
            verdict.stop = Some(format!("{}: cannot be unmounted", device.path.display()));
            return ran.and(Err(e));
        }
        if let Err(e) = fstyp.check(&device.path) {
            verdict
                .faults
                .push(format!("volume is not sound after the test: {e:#}"));
        }
        ran
    }

    /// Runs the program of `entry`, its output nested.
    fn program(
        &mut self,
        entry: &Entry,
        device: Option<&Device>,
        dir: Option<&Scratch>,
        verdict: &mut Verdict,
    ) -> Result<()> {
        let mut command = match self.log.is_some() {
            // As root: what a test has mounted ends with it, even if it is killed.
            true => {
                let mut unshare = Command::new("unshare");
                unshare.args(["--mount", "--"]).arg(&entry.program);
                unshare
            }
            false => Command::new(&entry.program),
        };
        command
            .env("FSTYP", self.options.fstyp.to_string())
            .env("SEED", format!("{:#x}", self.seed));
        command.env_remove("TEST_DEV").env_remove("TEST_DIR");
        command.envs(device.map(|device| ("TEST_DEV", &device.path)));
        command.envs(dir.map(|dir| ("TEST_DIR", dir.path())));
        let log = &mut self.log;
        let tick = || log.iter_mut().for_each(KernelLog::collect);
        let ended = program::run(
            &mut command,
            self.options.limit,
            |line| println!("{INDENT}{line}"),
            tick,
        )
        .with_context(|| entry.program.display().to_string())?;
        verdict.skip = ended.tally.skipped().map(str::to_owned);
        verdict.tally = ended.tally;
        verdict.faults.extend(ended.fault);
        verdict.timed_out = ended.timed_out;
        verdict.stop = ended.hangs;
        Ok(())
    }

    /// Prints the result of an entry, after what is behind it, and counts it.
    fn report(&mut self, number: usize, label: &str, verdict: &Verdict) {
        let own = verdict.tally.totals();
        let seconds = format!("TIMEOUT {} seconds", self.options.limit.as_secs());
        let (outcome, note) = match verdict {
            Verdict {
                timed_out: true, ..
            } => (Outcome::Fail, Some(seconds.as_str())),
            _ if own.failures() > 0 || !verdict.faults.is_empty() || verdict.stop.is_some() => {
                (Outcome::Fail, None)
            }
            Verdict {
                skip: Some(why), ..
            } => (Outcome::Skip, Some(why.as_str())),
            _ if own.all_skipped() => (Outcome::Skip, None),
            _ => (Outcome::Pass, None),
        };
        verdict
            .faults
            .iter()
            .for_each(|fault| say(&format!("{label}: {fault}")));
        println!("{}", ktap::result(outcome, number, label, note));
        // The totals are of the innermost results. An entry without any, or one that fails though its results do
        // not, is one itself.
        self.totals.merge(&own);
        if own.count() == 0 || (outcome.is_failure() && own.failures() == 0) {
            self.totals.add(outcome);
        }
    }
}

/// Whether anything has been leaked by the end of the run; what was lost before it began is not told apart.
fn leaks() -> Verdict {
    let faults = match kmemleak::scan() {
        Ok(reports) if reports.is_empty() => Vec::new(),
        Ok(reports) => vec![kmemleak::show(&reports)],
        Err(e) => vec![format!("{e:#}")],
    };
    Verdict {
        faults,
        ..Verdict::default()
    }
}

/// What the kernel says while a test runs.
struct KernelLog {
    kmsg: Kmsg,
    lines: Vec<String>,
    lost: Option<String>,
}

impl KernelLog {
    fn new() -> Result<Self> {
        Ok(Self {
            kmsg: Kmsg::mark()?,
            lines: Vec::new(),
            lost: None,
        })
    }

    /// Reports what was said since the last test, if it is bad, and begins anew.
    fn begin(&mut self, label: &str, verdict: &mut Verdict) {
        self.end(verdict);
        if let Err(e) = kmsg::note(&format!("selftests: {label}")) {
            verdict.faults.push(format!("{e:#}"));
        }
    }

    /// Takes what there is, before the kernel overwrites it.
    fn collect(&mut self) {
        match self.kmsg.lines_since() {
            Ok(lines) => self.lines.extend(lines),
            Err(e) => self.lost = Some(format!("{e:#}")),
        }
    }

    /// Adds any report among the lines taken to `verdict`, and forgets them.
    fn end(&mut self, verdict: &mut Verdict) {
        self.collect();
        verdict.faults.extend(self.lost.take());
        if let Some(report) = splat::find(&self.lines) {
            verdict
                .faults
                .push(format!("the kernel complains:\n{}", report.join("\n")));
        }
        self.lines.clear();
    }
}
