// SPDX-License-Identifier: GPL-2.0

//! A file whose blocks all have data can be swap space, and is not written to meanwhile; one with holes cannot.
//!
//! Promise: none of the three; what every filesystem owes. No control breaks it. Filesystems that fail it: none of those that
//! it is for; the others want files that are made for it.

use std::borrow::Cow;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{anyhow, ensure, Context, Result};
use rustix::fs::{fallocate, FallocateFlags};
use rustix::io::Errno;
use stablefs_selftests::command::{run, succeed};
use stablefs_selftests::devices::Kind;
use stablefs_selftests::filesystem::Fstyp;
use stablefs_selftests::needs::{Needs, Volume};
use stablefs_selftests::program::{Case, Env, Program};

pub(crate) const PROGRAM: Program = Program {
    name: "swap_file",
    needs: Needs {
        on: Cow::Borrowed(&[Kind::Plain]),
        volume: Volume::Writable,
        only: Cow::Borrowed(&[Fstyp::Stablefs, Fstyp::Ext4, Fstyp::Xfs]),
    },
    cases: &[
        Case::new("with_data", with_data),
        Case::new("with_a_hole", with_a_hole),
    ],
};

const LEN: usize = 4 << 20;
const LIMIT: Duration = Duration::from_secs(120);

fn with_data(env: &Env) -> Result<()> {
    let (file, path) = create(env, "data")?;
    // Not synced: blocks for the data are missing until somebody asks where they are.
    file.write_all_at(&vec![1; LEN], 0).context("write")?;
    succeed(Command::new("mkswap").arg(&path), LIMIT)?;
    succeed(Command::new("swapon").arg(&path), LIMIT)?;
    let error = file.write_at(b"x", 0).err();
    let refused = error.and_then(|error| Errno::from_io_error(&error)) == Some(Errno::TXTBSY);
    let modes = [FallocateFlags::COLLAPSE_RANGE, FallocateFlags::INSERT_RANGE];
    let moved = modes.map(|mode| fallocate(&file, mode, 4096, 4096));
    succeed(Command::new("swapoff").arg(&path), LIMIT)?;
    ensure!(refused, "a write to swap space is not refused");
    ensure!(
        moved == [Err(Errno::TXTBSY); 2],
        "collapse and insert in swap space: {moved:?}"
    );
    file.write_all_at(b"x", 0).context("write after swapoff")
}

fn with_a_hole(env: &Env) -> Result<()> {
    let (file, path) = create(env, "hole")?;
    file.set_len(LEN as u64).context("ftruncate")?;
    succeed(Command::new("mkswap").arg(&path), LIMIT)?;
    let output = run(Command::new("swapon").arg(&path), LIMIT)?;
    if output.status.success() {
        succeed(Command::new("swapoff").arg(&path), LIMIT)?;
        return Err(anyhow!("a file with a hole has become swap space"));
    }
    Ok(())
}

fn create(env: &Env, name: &str) -> Result<(File, PathBuf)> {
    let path = env.dir()?.join(name);
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .open(&path)
        .context(name.to_owned())?;
    restrict(&path)?;
    Ok((file, path))
}

/// `swapon` warns of files that others can read.
fn restrict(path: &Path) -> Result<()> {
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o600)).context("chmod")
}
