// SPDX-License-Identifier: GPL-2.0

//! A process that stores to a mapping of a file, and may be killed by it: ready → told → ended → told → …

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{channel, Receiver, RecvTimeoutError, TryRecvError};
use std::thread;
use std::time::Duration;
use std::{env, io::Write};

use anyhow::{bail, Context, Result};

use crate::command;
use crate::mapping::SharedMapping;
use crate::worker::{self, Work};

/// The work that the process does.
pub const WORK: &str = "store";
const SIGBUS: i32 = 7;
const SIGKILL: i32 = 9;
/// Time to begin, and to die.
const LIMIT: Duration = Duration::from_secs(20);
/// Time for a store that ends.
const LONG: Duration = Duration::from_secs(120);

/// How a store ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It is done.
    Stored,
    /// With a signal; the process is gone.
    SigBus,
    /// The process was killed.
    Killed,
}

/// The process.
pub struct Storer {
    child: Child,
    to: ChildStdin,
    answers: Receiver<String>,
    /// One that was seen, and not waited for.
    answer: Option<String>,
}

impl Storer {
    /// Starts one that has mapped the first `len` bytes of file `path`.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(path: &Path, len: u64) -> Result<Self> {
        let mut child = Command::new(env::current_exe()?)
            .args([worker::OPTION, WORK])
            .arg(path)
            .arg(len.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("process that stores")?;
        let (answer, answers) = channel();
        let from = BufReader::new(child.stdout.take().context("standard output")?);
        thread::spawn(move || {
            for line in from.lines().map_while(Result::ok) {
                let _ = answer.send(line);
            }
        });
        let mut this = Self {
            to: child.stdin.take().context("standard input")?,
            child,
            answers,
            answer: None,
        };
        this.tell("ready")?;
        this.end().context("process that stores")?;
        Ok(this)
    }

    fn tell(&mut self, words: &str) -> Result<()> {
        writeln!(self.to, "{words}").context("the process has ended")
    }

    /// Has it begin to store `byte` at `pos`.
    ///
    /// # Errors
    /// It has ended.
    pub fn begin(&mut self, pos: u64, byte: u8) -> Result<()> {
        self.tell(&format!("store\t{pos}\t{byte}"))
    }

    /// Waits for the end of the store.
    ///
    /// # Errors
    /// It does not end, or in a way that is none.
    pub fn end(&mut self) -> Result<Ended> {
        let answer = self.answer.take();
        match answer.map_or_else(|| self.answers.recv_timeout(LONG), Ok) {
            Ok(line) if line.starts_with("good") => Ok(Ended::Stored),
            Ok(line) => bail!("{line}"),
            Err(RecvTimeoutError::Timeout) => bail!("the store does not end"),
            Err(RecvTimeoutError::Disconnected) => self.death(),
        }
    }

    fn death(&mut self) -> Result<Ended> {
        let status = command::wait(&mut self.child, LIMIT)?;
        match status.and_then(|status| status.signal()) {
            Some(SIGBUS) => Ok(Ended::SigBus),
            Some(SIGKILL) => Ok(Ended::Killed),
            _ => bail!("the process ends with {status:?}"),
        }
    }

    /// Stores `byte` at `pos`.
    ///
    /// # Errors
    /// As [`end`](Self::end).
    pub fn store(&mut self, pos: u64, byte: u8) -> Result<Ended> {
        self.begin(pos, byte)?;
        self.end()
    }

    /// Loads the byte at `pos`.
    ///
    /// # Errors
    /// As [`end`](Self::end).
    pub fn load(&mut self, pos: u64) -> Result<Ended> {
        self.tell(&format!("load\t{pos}"))?;
        self.end()
    }

    /// Whether it is still at it, and has neither stored nor ended.
    pub fn waits(&mut self) -> bool {
        match self.answers.try_recv() {
            Err(e) => e == TryRecvError::Empty,
            Ok(answer) => {
                self.answer = Some(answer);
                false
            }
        }
    }

    /// Kills it, whatever it waits for.
    ///
    /// # Errors
    /// It does not die.
    pub fn kill(&mut self) -> Result<Ended> {
        self.child.kill()?;
        self.death().context("it was to be killed")
    }
}

impl Drop for Storer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the process does: `args` are a path and a length.
///
/// # Errors
/// The file cannot be mapped.
pub fn work(args: &[String]) -> Result<Work> {
    let [path, len] = args else {
        bail!("a path and a length are wanted")
    };
    let file = File::options()
        .read(true)
        .write(true)
        .open(PathBuf::from(path))?;
    let mapping = SharedMapping::new(&file, len.parse()?)?;
    Ok(Box::new(move |words| {
        match words {
            ["store", pos, byte] => mapping.store(pos.parse()?, &[byte.parse()?])?,
            ["load", pos] => drop(mapping.load(pos.parse()?, 1)?),
            _ => {}
        }
        Ok(String::new())
    }))
}
