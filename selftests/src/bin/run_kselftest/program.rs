// SPDX-License-Identifier: GPL-2.0

//! One test program: started, its output passed on and tallied while it runs, ended.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{channel, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use stablefs_selftests::command::{group, kill_group};
use stablefs_selftests::ktap::{Tally, EXIT_FAIL, EXIT_PASS, EXIT_SKIP};

/// Longest time between two looks at the kernel log.
const TICK: Duration = Duration::from_millis(200);
/// Time for output that a dead program has left in its pipes.
const DRAIN: Duration = Duration::from_secs(5);

/// A line that the program printed.
enum Said {
    Out(String),
    Err(String),
}

/// How the program ended.
pub(crate) struct Ended {
    /// Its results.
    pub(crate) tally: Tally,
    /// What was wrong with the way it ended or with its output, apart from results that are failures.
    pub(crate) fault: Option<String>,
    /// Set when it ran out of time.
    pub(crate) timed_out: bool,
    /// Set when it could not even be killed.
    pub(crate) hangs: Option<String>,
}

/// Runs `command` for at most `limit`. `print` gets every line of output, standard error as diagnostics; `tick` is
/// called several times a second.
///
/// # Errors
/// The program cannot be started.
pub(crate) fn run(
    command: &mut Command,
    limit: Duration,
    mut print: impl FnMut(&str),
    mut tick: impl FnMut(),
) -> Result<Ended> {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    let mut child = command.spawn().context("start")?;
    let said = listen(&mut child)?;
    let mut tally = Tally::default();
    let mut take = |line| match line {
        Said::Out(line) => {
            tally.line(&line);
            print(&line);
        }
        Said::Err(line) => print(&format!("# {line}")),
    };

    let deadline = Instant::now() + limit;
    let mut status = None;
    let mut timed_out = false;
    while status.is_none() && !timed_out {
        tick();
        match said.recv_timeout(TICK.min(deadline.saturating_duration_since(Instant::now()))) {
            Ok(line) => take(line),
            Err(RecvTimeoutError::Timeout) => {}
            // Both outputs are closed: nothing comes any more.
            Err(RecvTimeoutError::Disconnected) => thread::sleep(TICK),
        }
        status = child.try_wait().context("wait")?;
        timed_out = status.is_none() && Instant::now() >= deadline;
    }
    if timed_out {
        stacks(&child)
            .iter()
            .for_each(|line| take(Said::Err(line.clone())));
    }
    // Also after a good end: no process that the test started may outlive it, and hold the volume.
    let hangs = kill_group(&mut child).err().map(|e| format!("{e:#}"));
    let drained = Instant::now() + DRAIN;
    while let Ok(line) = said.recv_timeout(drained.saturating_duration_since(Instant::now())) {
        take(line);
    }
    let status = status.filter(|_| !timed_out);
    let fault = status.and_then(|status| fault(status, &tally));
    Ok(Ended {
        tally,
        fault,
        timed_out,
        hangs,
    })
}

/// What is wrong with a program that ended by itself. Its exit status must be that of its results.
fn fault(status: ExitStatus, tally: &Tally) -> Option<String> {
    if let Some(signal) = status.signal() {
        return Some(format!("killed by signal {signal}"));
    }
    if let Some(fault) = tally.fault() {
        return Some(format!("{fault} ({status})"));
    }
    let totals = tally.totals();
    let wanted = match (
        totals.failures(),
        tally.skipped().is_some() || totals.all_skipped(),
    ) {
        (1.., _) => EXIT_FAIL,
        (0, true) => EXIT_SKIP,
        (0, false) => EXIT_PASS,
    };
    (status.code() != Some(wanted.into()))
        .then(|| format!("{status}, but its results mean {wanted}"))
}

/// Lines of both outputs as they come, until both are closed.
fn listen(child: &mut Child) -> Result<Receiver<Said>> {
    fn forward(from: impl Read + Send + 'static, wrap: fn(String) -> Said, to: Sender<Said>) {
        thread::spawn(move || {
            for line in BufReader::new(from)
                .split(b'\n')
                .map_while(std::result::Result::ok)
            {
                if to
                    .send(wrap(String::from_utf8_lossy(&line).into_owned()))
                    .is_err()
                {
                    return;
                }
            }
        });
    }
    let (to, said) = channel();
    forward(
        child.stdout.take().context("standard output")?,
        Said::Out,
        to.clone(),
    );
    forward(
        child.stderr.take().context("standard error")?,
        Said::Err,
        to,
    );
    Ok(said)
}

/// Where each thread of the program, and of those that it started, is in the kernel.
fn stacks(child: &Child) -> Vec<String> {
    let mut lines = Vec::new();
    for process in group(child) {
        let tasks = fs::read_dir(format!("/proc/{process}/task"))
            .into_iter()
            .flatten()
            .flatten();
        for task in tasks.map(|task| task.path()) {
            let read = |file| fs::read_to_string(task.join(file)).unwrap_or_default();
            lines.push(format!("thread {} of {process} is at", read("comm").trim()));
            lines.extend(read("stack").lines().map(|line| format!("  {line}")));
        }
    }
    lines
}
