// SPDX-License-Identifier: GPL-2.0

//! Whatever is done to names, attributes and small files, by one process or by eight at once, the tree is what must come of
//! it: at once, after a remount, and to ext4; and `e2fsck` finds nothing to say.
//!
//! Promise: none of the three; what every filesystem owes. No control breaks it: the model is the control.
//! Filesystems that fail it: none.

use std::borrow::Cow;
use std::fs;
use std::path::Path;

use anyhow::{bail, ensure, Context, Result};
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
use stablefs_selftests::worker::{together, Work, Worker};

pub(crate) const PROGRAM: Program = Program {
    name: "random_tree_operations",
    needs: Needs {
        on: Cow::Borrowed(&[Kind::Pmem, Kind::Dif, Kind::Plain]),
        volume: Volume::Raw,
        only: Cow::Borrowed(&[Fstyp::Stablefs, Fstyp::Ext4, Fstyp::Xfs]),
    },
    cases: &[
        Case::new("one_process", |env| tries(env, 4096, 1)),
        Case::new("eight_processes", |env| tries(env, 4096, 8)),
        Case::new("blocks_of_1_kib", |env| tries(env, 1024, 3)),
    ],
};

/// What the processes are called by.
pub(crate) const WORK: &str = "tree";

const MIB: u32 = 128;
const MOUNTS: u64 = 3;
/// Operations of all processes together, each time that the volume is mounted.
const OPERATIONS: u64 = 800;
/// Where all processes meet.
const COMMON: &str = "common";

fn tries(env: &Env, block: u32, processes: u64) -> Result<()> {
    // Modes are to be what they are asked to be.
    rustix::process::umask(Mode::empty());
    let dev = env.dev()?;
    volume::make_small(env.fstyp, dev, block, MIB)?;
    let start = |process: u64| {
        let args = [
            env.fstyp.to_string(),
            block.to_string(),
            env.seed.to_string(),
            process.to_string(),
            processes.to_string(),
        ];
        Worker::start(WORK, &args)
    };
    let mut workers = (0..processes).map(start).collect::<Result<Vec<_>>>()?;
    for number in 1..=MOUNTS * env.longer {
        let mounted = Mounted::new(env.fstyp, dev, "")?;
        fs::create_dir_all(mounted.dir().join(COMMON)).context(COMMON)?;
        together(
            &mut workers,
            &["work", root(&mounted)?, &number.to_string()],
        )
        .with_context(|| format!("mount {number}"))?;
        mounted.unmount()?;
        env.fstyp.check(dev)?;
        see(env.fstyp, dev, &mut workers)?;
    }
    if env.fstyp != Fstyp::Xfs {
        see(Fstyp::Ext4, dev, &mut workers)?;
    }
    let unknown = together(&mut workers, &["unknown renames"])?;
    let unknown = unknown.iter().map(|count| count.parse::<u64>());
    let unknown = unknown.sum::<Result<u64, _>>()?;
    if unknown > 0 {
        say(&format!(
            "{unknown} renames are of a form that {} does not know",
            env.fstyp
        ));
    }
    Ok(())
}

fn root(mounted: &Mounted) -> Result<&str> {
    mounted.dir().to_str().context("directory")
}

/// What `fstyp` says of the volume.
fn see(fstyp: Fstyp, dev: &Path, workers: &mut [Worker]) -> Result<()> {
    let mounted = Mounted::new(fstyp, dev, "")?;
    together(workers, &["see", root(&mounted)?])
        .with_context(|| format!("as {fstyp} sees it, mounted again"))?;
    let found = rummage(&mounted.dir().join(COMMON))?;
    ensure!(
        found.errors.is_empty(),
        "{fstyp} finds errors where all processes were: {:?}",
        found.errors
    );
    mounted.unmount()
}

/// The work of one process: it has a tree of its own, and is now and then where the others are too.
pub(crate) fn work(args: &[String]) -> Result<Work> {
    let [fstyp, block, seed, process, processes] = args else {
        bail!("{args:?}");
    };
    let (seed, process): (u64, u64) = (seed.parse()?, process.parse()?);
    let name = format!("of process {process}");
    let path = Path::new(&name);
    let mut tree = Tree::new(fstyp.parse()?, block.parse()?, path, seed ^ (process << 32));
    let processes: u64 = processes.parse()?;
    Ok(Box::new(move |words| {
        match words {
            ["work", root, number] => {
                let number: u64 = number.parse()?;
                let mut random = Bytes::new(seed, (number << 32) | process);
                let done = operate(&mut tree, Path::new(root), processes, &mut random);
                tree.close();
                done?;
            }
            ["see", root] => {
                tree.open(Path::new(root))?;
                tree.check()?;
            }
            ["unknown renames"] => return Ok(tree.unknown_renames().to_string()),
            _ => bail!("{words:?}"),
        }
        Ok(String::new())
    }))
}

fn operate(tree: &mut Tree, root: &Path, processes: u64, random: &mut Bytes) -> Result<()> {
    /// Operations on the own tree, between two visits to the common one.
    const STEP: u64 = 20;
    tree.open(root)?;
    for _ in 0..OPERATIONS / STEP / processes {
        tree.run(STEP)?;
        if processes > 1 {
            unruly(&root.join(COMMON), random, STEP / 2).context(COMMON)?;
        }
    }
    tree.check()
}
