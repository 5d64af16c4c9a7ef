// SPDX-License-Identifier: GPL-2.0

//! SQLite, LMDB and libpmem, with processes that write and others that read meanwhile, find nothing wrong with their files
//! on a DAX mount, and all there that they had committed: when they have come to their end, when they were killed at any
//! moment, and when then the filesystem has stopped, with all lost that its journal has not let go.
//!
//! `survives_kills` has them on a machine that is killed.
//! Promise: the second, initialised data, and what every filesystem owes. Control: `skip_fsync_commit`, which fails the
//! stopped ones if they take less time than the journal needs to commit by itself.

use std::borrow::Cow;
use std::fs::File;
use std::ops::ControlFlow;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{ensure, Context, Result};
use stablefs_selftests::dax::{self, ALWAYS};
use stablefs_selftests::devices::Kind;
use stablefs_selftests::filesystem::Fstyp;
use stablefs_selftests::mounted::Mounted;
use stablefs_selftests::needs::{Needs, Volume};
use stablefs_selftests::program::{Case, Env, Program};
use stablefs_selftests::real_programs::{
    check, work, Committed, LIBPMEM, LIBPMEM_SPARSE, LMDB, LMDB_WRITEMAP, SQLITE, WRITERS,
};
use stablefs_selftests::seed::Bytes;

pub(crate) const PROGRAM: Program = Program {
    name: "real_programs",
    needs: Needs {
        on: Cow::Borrowed(&[Kind::Pmem]),
        volume: Volume::Raw,
        only: Cow::Borrowed(&[Fstyp::Stablefs, Fstyp::Ext4, Fstyp::Xfs]),
    },
    cases: &[
        Case::new("sqlite", |env| killed(env, SQLITE)),
        Case::new("sqlite_stopped", |env| stopped(env, SQLITE)),
        Case::new("lmdb", |env| killed(env, LMDB)),
        Case::new("lmdb_stopped", |env| stopped(env, LMDB)),
        Case::new("lmdb_writemap", |env| killed(env, LMDB_WRITEMAP)),
        Case::new("lmdb_writemap_stopped", |env| stopped(env, LMDB_WRITEMAP)),
        Case::new("libpmem", |env| killed(env, LIBPMEM)),
        Case::new("libpmem_stopped", |env| stopped(env, LIBPMEM)),
        Case::new("libpmem_sparse", |env| killed(env, LIBPMEM_SPARSE)),
        Case::new("libpmem_sparse_stopped", |env| stopped(env, LIBPMEM_SPARSE)),
    ],
};

const MIB: u32 = 32;
/// The programs' directory.
const NAME: &str = "files";
/// Of each writer, before anybody is killed.
const STEPS: u32 = 40;
/// Milliseconds, at most, from the step that is waited for to the kill.
const DELAY: u64 = 30;

/// All processes of a program come to their end, then they are killed while they go on.
fn killed(env: &Env, program: &str) -> Result<()> {
    let mut moments = Bytes::new(env.seed, 0);
    dax::make(env.fstyp, env.dev()?, MIB)?;
    let mounted = Mounted::new(env.fstyp, env.dev()?, ALWAYS)?;
    let dir = mounted.dir().join(NAME);
    let go_on = |_, _| Ok(ControlFlow::Continue(()));
    let committed = work(program, &dir, env.seed, STEPS, go_on)?;
    ensure!(committed == [STEPS; WRITERS], "only {committed:?} steps");
    check(program, &dir, env.seed, committed)?;
    for kill in 0..env.longer {
        let committed = until_killed(env, program, &dir, &mut moments)?;
        check(program, &dir, env.seed, committed)
            .with_context(|| format!("kill {kill}, after steps {committed:?}"))?;
    }
    mounted.unmount()?;
    env.fstyp.check(env.dev()?)
}

/// Has a program work, and all of its processes killed.
fn until_killed(env: &Env, program: &str, dir: &Path, moments: &mut Bytes) -> Result<Committed> {
    let mut to_go = moments.below(u64::from(STEPS) * WRITERS as u64);
    let delay = Duration::from_millis(moments.below(DELAY));
    work(program, dir, env.seed, u32::MAX, |_, _| {
        if to_go == 0 {
            thread::sleep(delay);
            return Ok(ControlFlow::Break(()));
        }
        to_go -= 1;
        Ok(ControlFlow::Continue(()))
    })
}

fn stopped(env: &Env, program: &str) -> Result<()> {
    let mut moments = Bytes::new(env.seed, 1);
    for _ in 0..env.longer {
        dax::make(env.fstyp, env.dev()?, MIB)?;
        let mounted = Mounted::new(env.fstyp, env.dev()?, ALWAYS)?;
        let dir = mounted.dir().join(NAME);
        let committed = until_killed(env, program, &dir, &mut moments)?;
        let after = dax::stop(&File::open(&dir)?, env.dev()?, MIB)?;
        mounted.unmount()?;

        let (dev, options) = match &after {
            Some(copy) => (copy.path(), ""),
            None => (env.dev()?, ALWAYS),
        };
        let mounted = Mounted::new(env.fstyp, dev, options).context("after it has stopped")?;
        check(program, &mounted.dir().join(NAME), env.seed, committed)
            .with_context(|| format!("stopped after steps {committed:?}"))?;
        mounted.unmount()?;
        env.fstyp.check(dev)?;
    }
    Ok(())
}
