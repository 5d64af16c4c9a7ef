// SPDX-License-Identifier: GPL-2.0

//! Names are found, listed and missed alike whatever hash the directory's tree is ordered by, and in directories
//! without a tree.
//!
//! Promise: none of the three; what a reader of the format owes. Its control is `comparison_sees_a_change`.
//! Filesystems: those that read ext4 volumes.

use std::borrow::Cow;
use std::fs;

use anyhow::{ensure, Context, Result};
use stablefs_selftests::devices::Kind;
use stablefs_selftests::filesystem::Fstyp;
use stablefs_selftests::mounted::Mounted;
use stablefs_selftests::needs::{Needs, Volume};
use stablefs_selftests::populate::hashed;
use stablefs_selftests::program::{Case, Env, Program};
use stablefs_selftests::volume;
use stablefs_selftests::walk::walk;

pub(crate) const PROGRAM: Program = Program {
    name: "finds_names_under_every_hash",
    needs: Needs {
        on: Cow::Borrowed(&[Kind::Pmem]),
        volume: Volume::Raw,
        only: Cow::Borrowed(&[Fstyp::Stablefs, Fstyp::Ext4]),
    },
    cases: &[
        Case::new("legacy", |env| finds(env, "legacy", Char::Signed)),
        Case::new("half_md4", |env| finds(env, "half_md4", Char::Signed)),
        Case::new("tea", |env| finds(env, "tea", Char::Signed)),
        Case::new("legacy_unsigned", |env| {
            finds(env, "legacy", Char::Unsigned)
        }),
        Case::new("half_md4_unsigned", |env| {
            finds(env, "half_md4", Char::Unsigned)
        }),
        Case::new("tea_unsigned", |env| finds(env, "tea", Char::Unsigned)),
        Case::new("another_hash_in_each_directory", mixed),
        Case::new("no_tree", no_tree),
    ],
};

/// Of 1 KiB, so that the tree has two levels.
const BLOCKS: &[&str] = &["-b", "1024"];
const LEN: &str = "64M";
const NAMES: usize = 3_000;

/// What the machine that made the volume takes `char` for: part of the hash of bytes above 127.
#[derive(Clone, Copy)]
enum Char {
    Signed,
    Unsigned,
}

fn finds(env: &Env, hash: &str, char: Char) -> Result<()> {
    let dev = env.dev()?;
    volume::make(dev, BLOCKS, LEN)?;
    set_hash(env, hash, char)?;
    fill(env, &["directory"])?;
    has_tree(env, "directory")?;
    compare(env)
}

/// A directory keeps the hash that the volume had when the directory grew.
fn mixed(env: &Env) -> Result<()> {
    volume::make(env.dev()?, BLOCKS, LEN)?;
    for hash in ["tea", "legacy", "half_md4"] {
        volume::tune(env.dev()?, &["-E", &format!("hash_alg={hash}")])?;
        fill(env, &[hash])?;
        has_tree(env, hash)?;
    }
    compare(env)
}

fn no_tree(env: &Env) -> Result<()> {
    volume::make(env.dev()?, &["-b", "1024", "-O", "^dir_index"], LEN)?;
    fill(env, &["directory"])?;
    let dump = volume::debugfs(env.dev()?, "htree_dump directory")?;
    ensure!(
        dump.contains("Not a hash-indexed directory"),
        "debugfs: {dump}"
    );
    compare(env)
}

fn set_hash(env: &Env, hash: &str, char: Char) -> Result<()> {
    let dev = env.dev()?;
    volume::tune(dev, &["-E", &format!("hash_alg={hash}")])?;
    let (flags, name) = match char {
        Char::Signed => (1, "signed_directory_hash"),
        Char::Unsigned => (2, "unsigned_directory_hash"),
    };
    volume::debugfs(dev, &format!("set_super_value flags {flags}"))?;
    let found = volume::says(dev, "Filesystem flags")?;
    ensure!(
        found.split_whitespace().next() == Some(name),
        "want {name}, the volume has {found}"
    );
    let found = volume::says(dev, "Default directory hash")?;
    ensure!(found == hash, "want {hash}, the volume has {found}");
    Ok(())
}

fn fill(env: &Env, dirs: &[&str]) -> Result<()> {
    let volume = Mounted::new(Fstyp::Ext4, env.dev()?, "noinit_itable")?;
    for dir in dirs {
        let dir = volume.dir().join(dir);
        fs::create_dir(&dir)?;
        hashed(&dir, env.seed, NAMES)?;
    }
    volume.unmount()
}

/// The point of the test is lost on a directory that is no tree of two levels.
fn has_tree(env: &Env, dir: &str) -> Result<()> {
    let dump = volume::debugfs(env.dev()?, &format!("htree_dump {dir}"))?;
    let levels = dump
        .lines()
        .find(|line| line.contains("Indirect levels"))
        .with_context(|| format!("debugfs: {dump}"))?;
    ensure!(levels.trim().ends_with(": 1"), "{dir}: {levels}");
    Ok(())
}

fn compare(env: &Env) -> Result<()> {
    let look = |fstyp| {
        let volume = Mounted::new(fstyp, env.dev()?, "ro")?;
        let record = walk(volume.dir(), env.seed)?;
        volume.unmount()?;
        anyhow::Ok(record)
    };
    let differences = look(Fstyp::Ext4)?.differences(&look(env.fstyp)?);
    ensure!(
        differences.is_empty(),
        "{} says otherwise than ext4:\n{differences}",
        env.fstyp
    );
    Ok(())
}
