// SPDX-License-Identifier: GPL-2.0

//! Whatever is done to names, attributes and small files, by one task or by eight at once, the tree is what must come of
//! it: at once, after a remount, and to ext4; and `e2fsck` finds nothing to say.
//!
//! Promise: none of the three; what every filesystem owes. No control breaks it: the model is the control.
//! Filesystems that fail it: none.

use std::borrow::Cow;
use std::fs;
use std::path::Path;
use std::thread;

use anyhow::{anyhow, ensure, Context, Result};
use rustix::fs::Mode;
use stablefs_selftests::devices::Kind;
use stablefs_selftests::filesystem::Fstyp;
use stablefs_selftests::model::{unruly, Tree};
use stablefs_selftests::mounted::Mounted;
use stablefs_selftests::needs::{Needs, Volume};
use stablefs_selftests::program::{say, Case, Env, Program};
use stablefs_selftests::rummage::rummage;
use stablefs_selftests::seed::Bytes;
use stablefs_selftests::volume;

pub(crate) const PROGRAM: Program = Program {
    name: "random_tree_operations",
    needs: Needs {
        on: Cow::Borrowed(&[Kind::Pmem, Kind::Dif, Kind::Plain]),
        volume: Volume::Raw,
        only: Cow::Borrowed(&[Fstyp::Stablefs, Fstyp::Ext4, Fstyp::Xfs]),
    },
    cases: &[
        Case::new("one_task", |env| tries(env, 4096, 1)),
        Case::new("eight_tasks", |env| tries(env, 4096, 8)),
        Case::new("blocks_of_1_kib", |env| tries(env, 1024, 3)),
    ],
};

const MIB: u32 = 128;
const MOUNTS: u64 = 3;
/// Operations of all tasks together, each time that the volume is mounted.
const OPERATIONS: u64 = 800;
/// Where all tasks meet.
const COMMON: &str = "common";

fn tries(env: &Env, block: u32, tasks: u64) -> Result<()> {
    // Modes are to be what they are asked to be.
    rustix::process::umask(Mode::empty());
    let dev = env.dev()?;
    volume::make_small(env.fstyp, dev, block, MIB)?;
    let new = |task: u64| {
        let name = format!("of task {task}");
        Tree::new(env.fstyp, block, Path::new(&name), env.seed ^ (task << 32))
    };
    let mut trees: Vec<Tree> = (0..tasks).map(new).collect();
    for number in 1..=MOUNTS * env.longer {
        let mounted = Mounted::new(env.fstyp, dev, "")?;
        let done = together(env, mounted.dir(), &mut trees, number);
        done.with_context(|| format!("mount {number}"))?;
        mounted.unmount()?;
        env.fstyp.check(dev)?;
        see(env.fstyp, dev, &mut trees)?;
    }
    if env.fstyp != Fstyp::Xfs {
        see(Fstyp::Ext4, dev, &mut trees)?;
    }
    let unknown: u64 = trees.iter().map(Tree::unknown_renames).sum();
    if unknown > 0 {
        say(&format!(
            "{unknown} renames are of a form that {} does not know",
            env.fstyp
        ));
    }
    Ok(())
}

/// All tasks at once, each with a tree of its own, and now and then where the others are too.
fn together(env: &Env, root: &Path, trees: &mut [Tree], number: u64) -> Result<()> {
    /// Operations on the own tree, between two visits to the common one.
    const STEP: u64 = 20;
    let common = root.join(COMMON);
    fs::create_dir_all(&common).context(COMMON)?;
    let steps = OPERATIONS / STEP / trees.len() as u64;
    let alone = trees.len() == 1;
    thread::scope(|scope| {
        let tasks: Vec<_> = (0..)
            .zip(trees)
            .map(|(task, tree)| {
                let mut random = Bytes::new(env.seed, (number << 32) | task);
                let common = &common;
                scope.spawn(move || -> Result<()> {
                    let mut work = || {
                        tree.open(root)?;
                        for _ in 0..steps {
                            tree.run(STEP)?;
                            if !alone {
                                let without_memory = unruly(common, &mut random, STEP / 2);
                                let without_memory = without_memory.context(COMMON)?;
                                ensure!(without_memory == 0, "no memory for {without_memory}");
                            }
                        }
                        tree.check()
                    };
                    let done = work();
                    tree.close();
                    done
                })
            })
            .collect();
        let ended = tasks.into_iter().map(|task| task.join());
        let ended: Vec<_> = ended.collect();
        for (task, ended) in ended.into_iter().enumerate() {
            let done = ended.map_err(|_| anyhow!("panicked")).and_then(|done| done);
            done.with_context(|| format!("task {task}"))?;
        }
        Ok(())
    })
}

/// What `fstyp` says of the volume.
fn see(fstyp: Fstyp, dev: &Path, trees: &mut [Tree]) -> Result<()> {
    let mounted = Mounted::new(fstyp, dev, "")?;
    for tree in trees {
        tree.open(mounted.dir())?;
        tree.check()
            .with_context(|| format!("as {fstyp} sees it, mounted again"))?;
    }
    let found = rummage(&mounted.dir().join(COMMON))?;
    ensure!(
        found.errors.is_empty(),
        "{fstyp} finds errors where all tasks were: {:?}",
        found.errors
    );
    mounted.unmount()
}
