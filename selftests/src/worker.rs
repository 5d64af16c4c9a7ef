// SPDX-License-Identifier: GPL-2.0

//! Processes of this program that each work on what is theirs, on a volume that is mounted and unmounted around them: told
//! what to do by a line, and answering with one.
//!
//! started → told → heard → told → … → dropped, which ends it

use std::env;
use std::io::{stdin, BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio};

use anyhow::{bail, Context, Result};

/// First argument of the program that makes it work.
pub const OPTION: &str = "--work";

/// What a process does when it is told these words; its answer is a line.
pub type Work = Box<dyn FnMut(&[&str]) -> Result<String>>;

/// Makes ready for work, as the arguments say.
pub type Prepare = fn(&[String]) -> Result<Work>;

/// A process that works.
pub struct Worker {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Worker {
    /// Starts one that does work `name`, which is given `args`.
    ///
    /// # Errors
    /// The process cannot be started.
    pub fn start(name: &str, args: &[String]) -> Result<Self> {
        let program = env::current_exe().context("path of this program")?;
        let mut child = Command::new(program)
            .arg(OPTION)
            .arg(name)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("process for work {name}"))?;
        Ok(Self {
            to: child.stdin.take().context("standard input")?,
            from: BufReader::new(child.stdout.take().context("standard output")?),
            child,
        })
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Tells it `words`, of which none holds a tab or a newline.
    ///
    /// # Errors
    /// It has ended.
    pub fn tell(&mut self, words: &[&str]) -> Result<()> {
        writeln!(self.to, "{}", words.join("\t")).context("the process has ended")
    }

    /// Waits for its answer.
    ///
    /// # Errors
    /// What it was told cannot be done, for the reason that it says; or it has ended.
    pub fn hear(&mut self) -> Result<String> {
        let mut line = String::new();
        self.from.read_line(&mut line).context("answer")?;
        match line.trim_end_matches('\n').split_once(' ') {
            Some((GOOD, answer)) => Ok(answer.to_owned()),
            Some((BAD, why)) => bail!("{}", why.replace(NEWLINE, "\n")),
            _ => bail!("the process has ended: {}", self.child.wait()?),
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It may be at work still, when another has failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Tells all of `workers` the same, to be done at once, and waits for all.
///
/// # Errors
/// Of the first that fails.
pub fn together(workers: &mut [Worker], words: &[&str]) -> Result<Vec<String>> {
    for worker in &mut *workers {
        worker.tell(words)?;
    }
    let answers: Vec<_> = workers.iter_mut().map(Worker::hear).collect();
    let numbered = (0..).zip(answers);
    numbered
        .map(|(number, answer)| answer.with_context(|| format!("process {number}")))
        .collect()
}

const GOOD: &str = "good";
const BAD: &str = "bad";
/// Stands for a newline within an answer.
const NEWLINE: char = '\u{1}';

/// The process: does `work` as often as it is told to, until nobody can tell it any more.
pub fn main(work: Result<Work>) -> ExitCode {
    let mut work = match work {
        Ok(work) => work,
        Err(e) => {
            eprintln!("{e:#}");
            return ExitCode::FAILURE;
        }
    };
    for line in stdin().lines().map_while(Result::ok) {
        let words: Vec<&str> = line.split('\t').collect();
        let (sort, text) = match work(&words) {
            Ok(answer) => (GOOD, answer),
            Err(e) => (BAD, format!("{e:#}")),
        };
        println!("{sort} {}", text.replace('\n', &NEWLINE.to_string()));
    }
    ExitCode::SUCCESS
}
