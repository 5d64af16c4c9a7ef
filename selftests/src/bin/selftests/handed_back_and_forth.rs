// SPDX-License-Identifier: GPL-2.0

//! A volume that is mounted by the filesystem under test and by ext4 in turn, fifty times, and changed by each, stays
//! sound, and each finds what the other has left.
//!
//! Promise: none of the three; that people can go back. No control breaks it: the model is the control.
//! Filesystems: those that write ext4 volumes.

use std::borrow::Cow;
use std::path::Path;

use anyhow::{Context, Result};
use rustix::fs::Mode;
use stablefs_selftests::devices::Kind;
use stablefs_selftests::filesystem::Fstyp;
use stablefs_selftests::model::{File, Start, Tree};
use stablefs_selftests::mounted::Mounted;
use stablefs_selftests::needs::{Needs, Volume};
use stablefs_selftests::program::{Case, Env, Program};
use stablefs_selftests::volume;

pub(crate) const PROGRAM: Program = Program {
    name: "handed_back_and_forth",
    needs: Needs {
        on: Cow::Borrowed(&[Kind::Pmem]),
        volume: Volume::Raw,
        only: Cow::Borrowed(&[Fstyp::Stablefs, Fstyp::Ext4]),
    },
    cases: &[
        Case::new("blocks_of_4_kib", |env| tries(env, 4096)),
        Case::new("blocks_of_1_kib", |env| tries(env, 1024)),
    ],
};

const LEN: &str = "32M";
/// Mounts of both together.
const TURNS: u64 = 50;
/// Operations in each of them.
const ON_TREE: u64 = 25;
const ON_FILE: u64 = 6;

fn tries(env: &Env, block: u32) -> Result<()> {
    rustix::process::umask(Mode::empty());
    let dev = env.dev()?;
    volume::make(dev, &["-b", &block.to_string()], LEN)?;
    let mut tree = Tree::new(env.fstyp, block, Path::new("tree"), env.seed);
    let mut file = File::new(Path::new("file"), Start::Beginning, env.seed);
    for turn in 1..=TURNS * env.longer {
        let fstyp = match turn % 2 {
            0 => Fstyp::Ext4,
            _ => env.fstyp,
        };
        take_turn(fstyp, dev, &mut tree, &mut file)
            .with_context(|| format!("turn {turn}, of {fstyp}"))?;
    }
    Ok(())
}

fn take_turn(fstyp: Fstyp, dev: &Path, tree: &mut Tree, file: &mut File) -> Result<()> {
    let mounted =
        Mounted::new(fstyp, dev, "noinit_itable").or_else(|_| Mounted::new(fstyp, dev, ""))?;
    tree.hand_to(fstyp);
    file.hand_to(fstyp);
    let done = file
        .open(mounted.dir())
        .and_then(|()| tree.open(mounted.dir()))
        .and_then(|()| tree.check())
        .context("what the other has left")
        .and_then(|()| tree.run(ON_TREE))
        .and_then(|()| file.run(ON_FILE));
    file.close();
    tree.close();
    done?;
    mounted.unmount()?;
    volume::check(dev)
}
