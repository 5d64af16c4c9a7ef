// SPDX-License-Identifier: GPL-2.0

//! Whatever is done to a file, and in whatever order, by one process or while seven others do the same to theirs, it holds what was written: to `read`, to a mapping, to direct I/O,
//! after the caches are dropped, after a remount, and to ext4.
//!
//! Promise: none of the three; what every filesystem owes. No control breaks it: the model is the control.
//! Filesystems that fail it: ext4, and XFS with blocks of 1 KiB, now and then: what is stored to a mapping behind the end becomes part of the file when
//! a direct write makes that longer.

use std::borrow::Cow;
use std::path::Path;

use anyhow::{bail, Context, Result};
use stablefs_selftests::devices::Kind;
use stablefs_selftests::filesystem::Fstyp;
use stablefs_selftests::model::{File, Start};
use stablefs_selftests::mounted::Mounted;
use stablefs_selftests::needs::{Missing, Needs, Volume};
use stablefs_selftests::program::{Case, Env, Program};
use stablefs_selftests::volume;
use stablefs_selftests::worker::{together, Work, Worker};

pub(crate) const PROGRAM: Program = Program {
    name: "random_file_operations",
    needs: Needs {
        on: Cow::Borrowed(&[Kind::Pmem, Kind::Dif, Kind::Plain]),
        volume: Volume::Raw,
        only: Cow::Borrowed(&[Fstyp::Stablefs, Fstyp::Ext4, Fstyp::Xfs]),
    },
    cases: &[
        Case::new("blocks_of_4_kib", |env| tries(env, 4096, BEGINNING, 1, "")),
        Case::new("eight_processes", |env| tries(env, 4096, BEGINNING, 8, "")),
        Case::new("blocks_of_1_kib", |env| tries(env, 1024, BEGINNING, 3, "")),
        Case::new("at_the_end_of_the_longest_file", |env| {
            tries(env, 4096, END, 1, "")
        }),
        Case::new("dax", |env| tries(env, 4096, BEGINNING, 3, dax(env)?)),
        Case::new("dax_at_the_end_of_the_longest_file", |env| {
            tries(env, 4096, END, 1, dax(env)?)
        }),
    ],
};

/// What the processes are called by.
pub(crate) const WORK: &str = "file";
/// Where in their files they are.
const BEGINNING: &str = "beginning";
const END: &str = "end";

const MIB: u32 = 64;
/// How often the volume is mounted, and how much all processes together do each time.
const MOUNTS: u64 = 4;
const OPERATIONS: u64 = 300;

/// The mount option of a volume on an NVDIMM.
fn dax(env: &Env) -> Result<&'static str> {
    if env.kind()? == Kind::Pmem {
        return Ok("dax=always");
    }
    Err(Missing("no DAX on this device".to_owned()).into())
}

fn tries(env: &Env, block: u32, start: &str, processes: u64, options: &str) -> Result<()> {
    let dev = env.dev()?;
    volume::make_small(env.fstyp, dev, block, MIB)?;
    let new = |process: u64| {
        let args = [
            start.to_owned(),
            block.to_string(),
            env.seed.to_string(),
            process.to_string(),
        ];
        Worker::start(WORK, &args)
    };
    let mut workers = (0..processes).map(new).collect::<Result<Vec<_>>>()?;
    let operations = (OPERATIONS / processes).to_string();
    for number in 1..=MOUNTS * env.longer {
        let mounted = Mounted::new(env.fstyp, dev, options)?;
        together(&mut workers, &[root(&mounted)?, &operations])
            .with_context(|| format!("mount {number}"))?;
        mounted.unmount()?;
        env.fstyp.check(dev)?;
    }
    if env.fstyp == Fstyp::Xfs {
        return Ok(());
    }
    let mounted = Mounted::new(Fstyp::Ext4, dev, "")?;
    together(&mut workers, &[root(&mounted)?, "0"]).context("as ext4 sees it")?;
    mounted.unmount()
}

fn root(mounted: &Mounted) -> Result<&str> {
    mounted.dir().to_str().context("directory")
}

/// The work of one process, on a file of its own: it is told where the volume is mounted and how much to do.
pub(crate) fn work(args: &[String]) -> Result<Work> {
    let [start, block, seed, process] = args else {
        bail!("{args:?}");
    };
    let (seed, process): (u64, u64) = (seed.parse()?, process.parse()?);
    let start = match &**start {
        END => Start::OfLongest(block.parse()?),
        _ => Start::Beginning,
    };
    let name = format!("file {process}");
    let mut file = File::new(Path::new(&name), start, seed ^ (process << 32));
    Ok(Box::new(move |words| {
        let [root, operations] = words else {
            bail!("{words:?}");
        };
        let operations = operations.parse()?;
        let done = file
            .open(Path::new(root))
            .and_then(|()| file.run(operations))
            .and_then(|()| match operations {
                // Opening it was a check.
                0 => Ok(()),
                _ => file.check(),
            });
        file.close();
        done.map(|()| String::new())
    }))
}
