// SPDX-License-Identifier: GPL-2.0

//! The crates `fsx` and `pjdfstest` find nothing to say about the filesystem.
//!
//! Their programs lie beside the installed suite, in `suites`.
//! Promise: none of the three; what every filesystem owes. No control breaks it: they are others' tests, and judge ext4
//! and xfs alike.
//! Filesystems that fail it: none.

use std::borrow::Cow;
use std::env;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{bail, ensure, Context, Result};
use stablefs_selftests::command::{run, succeed};
use stablefs_selftests::devices::Kind;
use stablefs_selftests::filesystem::Fstyp;
use stablefs_selftests::mounted::Mounted;
use stablefs_selftests::needs::{Needs, Volume};
use stablefs_selftests::program::{say, Case, Env, Program};
use stablefs_selftests::scratch::Scratch;
use stablefs_selftests::volume;

pub(crate) const FSX: Program = Program {
    name: "fsx",
    needs: Needs {
        on: Cow::Borrowed(&[Kind::Pmem, Kind::Dif]),
        volume: Volume::Raw,
        only: Cow::Borrowed(&[Fstyp::Stablefs, Fstyp::Ext4, Fstyp::Xfs]),
    },
    cases: &[
        Case::new("blocks_of_4_kib", |env| fsx(env, 4096)),
        Case::new("blocks_of_1_kib", |env| fsx(env, 1024)),
    ],
};

pub(crate) const PJDFSTEST: Program = Program {
    name: "pjdfstest",
    needs: Needs {
        on: Cow::Borrowed(&[Kind::Pmem]),
        volume: Volume::Raw,
        only: Cow::Borrowed(&[Fstyp::Stablefs, Fstyp::Ext4, Fstyp::Xfs]),
    },
    cases: &[
        Case::new("all_but_remounts", |env| pjdfstest(env, false, &[])),
        // Others leave files open, and the volume then cannot be made read-only.
        Case::new("remounts", |env| pjdfstest(env, true, &["erofs"])),
    ],
};

const MIB: u32 = 64;
const LIMIT: Duration = Duration::from_secs(600);
/// Operations of one run of fsx.
const OPERATIONS: u64 = 2_000;
/// Every operation that there is on Linux.
const FSX_TOML: &str = "
flen = 1048576
[opsize]
max = 100000
[weights]
close_open = 1
read = 10
write = 10
mapread = 10
mapwrite = 10
invalidate = 1
truncate = 5
fsync = 1
fdatasync = 1
posix_fallocate = 3
punch_hole = 3
sendfile = 3
posix_fadvise = 1
copy_file_range = 2
";
/// Features that every filesystem of Linux has; users that every Debian has.
const PJDFSTEST_TOML: &str = r#"
[features]
posix_fallocate = {}
rename_ctime = {}
utime_now = {}
utimensat = {}
[settings]
naptime = 0.02
allow_remount = REMOUNT
[dummy_auth]
entries = [["nobody", "nogroup"], ["daemon", "daemon"]]
"#;

/// The program `name`, as it was installed.
fn suite(name: &str) -> Result<PathBuf> {
    let exe = env::current_exe().context("path of this program")?;
    let path = exe.with_file_name("suites").join(name);
    ensure!(
        path.exists(),
        "{}: not installed; `make selftests` builds it",
        path.display()
    );
    Ok(path)
}

fn fsx(env: &Env, block: u32) -> Result<()> {
    let program = suite("fsx")?;
    let dev = env.dev()?;
    volume::make_small(env.fstyp, dev, block, MIB)?;
    let config = Scratch::holding(FSX_TOML.as_bytes())?;
    let mounted = Mounted::new(env.fstyp, dev, "")?;
    let mut command = Command::new(program);
    command.arg("-f").arg(config.path());
    command.args(["-S", &env.seed.to_string()]);
    command.args(["-N", &(OPERATIONS * env.longer).to_string()]);
    // Where it saves the good file when it finds a bad one.
    command.args(["-P", "/tmp"]).arg(mounted.dir().join("file"));
    succeed(&mut command, LIMIT)?;
    mounted.unmount()?;
    env.fstyp.check(dev)
}

/// Those tests whose names contain one of `patterns`, or all.
fn pjdfstest(env: &Env, remount: bool, patterns: &[&str]) -> Result<()> {
    let program = suite("pjdfstest")?;
    let dev = env.dev()?;
    volume::make_small(env.fstyp, dev, 4096, MIB)?;
    let config = PJDFSTEST_TOML.replace("REMOUNT", &remount.to_string());
    let config = Scratch::holding(config.as_bytes())?;
    let mounted = Mounted::new(env.fstyp, dev, "")?;
    let mut command = Command::new(program);
    command.arg("-c").arg(config.path());
    command.arg("-p").arg(mounted.dir());
    command.args(["-s", "/dev/shm"]).args(patterns);
    let output = run(&mut command, LIMIT)?;
    let summary = output
        .text
        .lines()
        .find(|line| line.starts_with("Summary"))
        .with_context(|| format!("no summary: {}", output.text))?;
    say(summary);
    // glibc tells how many links ext4 allows by the name ext4 in /proc/mounts, and 32000 for any other.
    let is_excepted =
        |line: &str| env.fstyp == Fstyp::Stablefs && line.starts_with("link::link_count_max");
    let mut failed = output.text.lines().filter(|line| line.ends_with("FAILED"));
    if !output.status.success() && !failed.all(is_excepted) {
        let is_good = |line: &&str| line.ends_with(" ok") || line.ends_with(" skipped");
        let lines: Vec<&str> = output.text.lines().filter(|line| !is_good(line)).collect();
        bail!("{}", lines.join("\n"));
    }
    mounted.unmount()?;
    env.fstyp.check(dev)
}
