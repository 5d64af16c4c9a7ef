// SPDX-License-Identifier: GPL-2.0

//! Programs that trust a filesystem with their data: SQLite, LMDB and libpmem, each with processes that write and others
//! that read meanwhile. What a writer has committed it tells, and all of that has to be there ever after.
//!
//! work → ended, or killed → checked → work → …
//!
//! Python has them all; `real_programs.py` is what it runs.

use std::io::{BufRead, BufReader, Lines};
use std::ops::ControlFlow;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{ensure, Context, Result};

use crate::command::{kill_group, run};

/// SQLite with a write-ahead log, and the database mapped.
pub const SQLITE: &str = "sqlite";
/// LMDB, which loads from a mapping of what it writes.
pub const LMDB: &str = "lmdb";
/// LMDB that stores to the mapping.
pub const LMDB_WRITEMAP: &str = "lmdb_writemap";
/// libpmem's persistent copies to a `MAP_SYNC` mapping of preallocated space.
pub const LIBPMEM: &str = "libpmem";
/// The same to one of a file with holes.
pub const LIBPMEM_SPARSE: &str = "libpmem_sparse";

/// Processes of a program that write.
pub const WRITERS: usize = 3;
/// How many steps of each writer were committed.
pub type Committed = [u32; WRITERS];

const SCRIPT: &str = include_str!("real_programs.py");
const LIMIT: Duration = Duration::from_secs(300);

/// Has each writer of `program` take `steps` steps more in `dir`. `heard` is told of each step that is committed, with the
/// number of its writer, and says whether they go on, or are killed.
///
/// # Errors
/// The program fails, or reads what it must not, with what it said; or `heard` fails.
pub fn work(
    program: &str,
    dir: &Path,
    seed: u64,
    steps: u32,
    mut heard: impl FnMut(usize, u32) -> Result<ControlFlow<()>>,
) -> Result<Committed> {
    let mut child = command("work", program, dir, seed)
        .arg(steps.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .process_group(0)
        .spawn()
        .context("python3")?;
    let mut told = Told::by(&mut child)?;
    let ended = told.listen(&mut heard);
    if !matches!(ended, Ok(ControlFlow::Continue(()))) {
        kill_group(&mut child)?;
    }
    let killed = ended?.is_break();
    // What was told before they died is in the pipe still.
    let _ = told.listen(&mut |_, _| Ok(ControlFlow::Continue(())))?;
    let status = child.wait().context("wait")?;
    ensure!(
        (killed || status.success()) && told.complaints.is_empty(),
        "{program}: {status}\n{}",
        told.complaints
    );
    Ok(told.committed)
}

/// What `program` has in `dir` is sound, as it says itself, and all that was `committed` is there.
///
/// # Errors
/// It is not, with what the program said.
pub fn check(program: &str, dir: &Path, seed: u64, committed: Committed) -> Result<()> {
    let mut command = command("check", program, dir, seed);
    let output = run(
        command.args(committed.map(|steps| steps.to_string())),
        LIMIT,
    )?;
    let status = output.status;
    ensure!(status.success(), "{program}: {status}\n{}", output.text);
    Ok(())
}

fn command(verb: &str, program: &str, dir: &Path, seed: u64) -> Command {
    let mut command = Command::new("python3");
    command.args(["-I", "-c", SCRIPT, verb, program]);
    command.arg(dir).arg(seed.to_string());
    command
}

/// What the processes of a program tell.
struct Told {
    lines: Lines<BufReader<ChildStdout>>,
    committed: Committed,
    complaints: String,
}

impl Told {
    fn by(child: &mut Child) -> Result<Self> {
        let from = child.stdout.take().context("standard output")?;
        Ok(Self {
            lines: BufReader::new(from).lines(),
            committed: [0; WRITERS],
            complaints: String::new(),
        })
    }

    /// Listens until all have ended, or `heard` has heard enough.
    fn listen(
        &mut self,
        heard: &mut dyn FnMut(usize, u32) -> Result<ControlFlow<()>>,
    ) -> Result<ControlFlow<()>> {
        for line in &mut self.lines {
            let line = line?;
            let Some((writer, step)) = committed(&line) else {
                self.complaints += &(line + "\n");
                continue;
            };
            self.committed[writer] = step;
            if heard(writer, step)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}

/// The writer and the step that a line tells of.
fn committed(line: &str) -> Option<(usize, u32)> {
    let (writer, step) = line.split_once(' ')?;
    let writer = writer.parse().ok().filter(|&writer| writer < WRITERS)?;
    Some((writer, step.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaints_are_no_steps() {
        assert_eq!(committed("2 17"), Some((2, 17)));
        for line in ["3 1", "17", "1 ", "AssertionError: 1 2", ""] {
            assert_eq!(committed(line), None, "{line}");
        }
    }
}
