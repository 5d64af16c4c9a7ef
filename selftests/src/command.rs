// SPDX-License-Identifier: GPL-2.0

//! Other programs, run with a limit on their time: a `umount` that hangs in the kernel must not hang its caller.

use std::fs::{self, File};
use std::io::{Read, Seek};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure, Context, Result};
use rustix::fs::{memfd_create, MemfdFlags};
use rustix::process::{kill_process_group, Pid, Signal};

/// Time given to a killed process to die. One that outlives it waits inside the kernel.
const DYING: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(10);

/// How a command ended, and what it said on both its outputs.
pub struct Output {
    /// Its exit status.
    pub status: ExitStatus,
    /// Standard output and error, in the order written.
    pub text: String,
}

/// Runs `command` to its end, at most for `limit`.
///
/// # Errors
/// It cannot be started, or had to be killed.
pub fn run(command: &mut Command, limit: Duration) -> Result<Output> {
    let what = display(command);
    let mut file = File::from(memfd_create("output", MemfdFlags::CLOEXEC).context("memfd_create")?);
    command
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file.try_clone()?)
        .process_group(0);
    let mut child = command.spawn().with_context(|| what.clone())?;
    let Some(status) = wait(&mut child, limit)? else {
        kill_group(&mut child).with_context(|| what.clone())?;
        bail!("{what}: killed after {} s", limit.as_secs());
    };
    let mut bytes = Vec::new();
    file.rewind()
        .and_then(|()| file.read_to_end(&mut bytes))
        .with_context(|| what.clone())?;
    Ok(Output {
        status,
        text: String::from_utf8_lossy(&bytes).into_owned(),
    })
}

/// Like [`run`], and its exit status must be 0. Returns what it said.
///
/// # Errors
/// As [`run`]; or its status is another, and what it said is in the error.
pub fn succeed(command: &mut Command, limit: Duration) -> Result<String> {
    let output = run(command, limit)?;
    ensure!(
        output.status.success(),
        "{}: {}\n{}",
        display(command),
        output.status,
        output.text
    );
    Ok(output.text)
}

/// Kills `child` and its whole process group, and waits for all of them to be gone.
///
/// # Errors
/// One of them does not die: it waits inside the kernel.
pub fn kill_group(child: &mut Child) -> Result<()> {
    // An error means that no process of the group is left.
    let _ = kill_process_group(Pid::from_child(child), Signal::KILL);
    let deadline = Instant::now() + DYING;
    loop {
        // A dead child stays in its group until it is waited for.
        child.try_wait().context("wait")?;
        let alive = group(child);
        if alive.is_empty() {
            return Ok(());
        }
        ensure!(
            Instant::now() < deadline,
            "processes {alive:?} do not die: they hang in the kernel"
        );
        thread::sleep(POLL);
    }
}

/// The processes that are alive in the process group of `child`, which leads it.
pub fn group(child: &Child) -> Vec<u32> {
    let member = |pid: &u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        is_alive_in(&stat, child.id())
    };
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(member)
        .collect()
}

/// Whether the process of this `/proc/PID/stat` is in process group `group`, and not a zombie.
fn is_alive_in(stat: &str, group: u32) -> bool {
    // `pid (name) state ppid pgrp …`, where the name may hold anything.
    let Some((_, rest)) = stat.rsplit_once(')') else {
        return false;
    };
    let words: Vec<&str> = rest.split_whitespace().take(3).collect();
    matches!(words[..], [state, _, pgrp] if !matches!(state, "Z" | "X") && pgrp.parse() == Ok(group))
}

/// Waits for `child` to end, at most for `limit`.
///
/// # Errors
/// It is no child of this process.
pub fn wait(child: &mut Child, limit: Duration) -> Result<Option<ExitStatus>> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait().context("wait")? {
            return Ok(Some(status));
        }
        if Instant::now() >= deadline {
            return Ok(None);
        }
        thread::sleep(POLL);
    }
}

/// The command as one would type it.
pub fn display(command: &Command) -> String {
    let words = [command.get_program()]
        .into_iter()
        .chain(command.get_args());
    words
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn both_outputs_are_kept_in_order() {
        let text = succeed(&mut shell("echo one; echo two >&2; echo three"), LONG).unwrap();
        assert_eq!(text, "one\ntwo\nthree\n");
    }

    #[test]
    fn a_failure_shows_status_and_words() {
        let error = succeed(&mut shell("echo no room >&2; exit 3"), LONG)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("exit status: 3") && error.contains("no room"),
            "{error}"
        );
    }

    #[test]
    fn a_command_that_hangs_is_killed_with_its_children() {
        let error = run(
            &mut shell("sleep 1000 & sleep 1000"),
            Duration::from_millis(50),
        )
        .err()
        .unwrap()
        .to_string();
        assert!(error.contains("killed after"), "{error}");
    }

    #[test]
    fn group_is_read_from_stat_whatever_the_name() {
        assert!(is_alive_in("12 (a) R 1) b) S 1 7 7 0 -1", 7));
        assert!(!is_alive_in("12 (sh) Z 1 7 7 0 -1", 7));
        assert!(!is_alive_in("12 (sh) S 1 8 7 0 -1", 7));
        assert!(!is_alive_in("", 7));
    }

    #[test]
    fn a_command_that_is_missing_is_named() {
        let error = run(&mut Command::new("no-such-command"), LONG)
            .err()
            .unwrap()
            .to_string();
        assert!(error.contains("no-such-command"), "{error}");
    }
}
