// SPDX-License-Identifier: GPL-2.0

//! An operation for which there is no memory fails with ENOMEM, and is done whole or not at all; nothing is lost of what
//! was done before, nothing leaks, the journal goes on, and `e2fsck` finds nothing to say.
//!
//! Promise 3, honest failure. No control breaks it: each case sees that operations did fail. Needs a kernel with
//! `failslab` and `fail_page_alloc`, as the debug kernel is; skipped elsewhere.
//! Filesystems that fail it: none.

use std::borrow::Cow;
use std::fs;
use std::path::Path;
use std::thread;

use anyhow::{anyhow, ensure, Context, Result};
use rustix::fs::Mode;
use stablefs_selftests::devices::Kind;
use stablefs_selftests::filesystem::Fstyp;
use stablefs_selftests::injection::Injection;
use stablefs_selftests::kmsg::Kmsg;
use stablefs_selftests::model::{unruly_without_memory, File, Start, Tree};
use stablefs_selftests::mounted::Mounted;
use stablefs_selftests::needs::{Needs, Volume};
use stablefs_selftests::program::{say, Case, Env, Program};
use stablefs_selftests::rummage::rummage;
use stablefs_selftests::seed::Bytes;
use stablefs_selftests::volume;

pub(crate) const PROGRAM: Program = Program {
    name: "fails_whole_without_memory",
    needs: Needs {
        on: Cow::Borrowed(&[Kind::Pmem]),
        volume: Volume::Raw,
        only: Cow::Borrowed(&[Fstyp::Stablefs, Fstyp::Ext4]),
    },
    cases: &[
        Case::new("operations_on_a_tree", |env| trees(env, &["-b", "4096"], 1)),
        Case::new("operations_on_a_tree_without_an_orphan_file", |env| {
            trees(env, &["-b", "1024", "-O", "^orphan_file"], 3)
        }),
        Case::new("operations_on_a_file", |env| {
            file(env, &["-b", "4096"], Start::Beginning)
        }),
        Case::new("operations_on_a_file_with_blocks_of_1_kib", |env| {
            file(env, &["-b", "1024"], Start::Beginning)
        }),
        Case::new("everywhere_at_once", everywhere),
    ],
};

const LEN: &str = "64M";
/// How often the volume is mounted, and operations each time.
const MOUNTS: u64 = 2;
const OPERATIONS: u64 = 150;

/// A new volume, mounted.
fn make(env: &Env, options: &[&str]) -> Result<()> {
    // Modes are to be what they are asked to be.
    rustix::process::umask(Mode::empty());
    volume::make(env.dev()?, options, LEN)
}

/// Some operations failed, or nothing was tried.
fn tell((failed, survived): (u64, u64)) -> Result<()> {
    say(&format!(
        "{failed} operations failed for want of memory, {survived} did without"
    ));
    ensure!(failed > 0, "none failed");
    Ok(())
}

fn trees(env: &Env, options: &[&str], tasks: u64) -> Result<()> {
    let _injection = Injection::new(env.fstyp)?;
    make(env, options)?;
    let new = |task: u64| {
        let name = format!("of task {task}");
        let block = if options.contains(&"1024") {
            1024
        } else {
            4096
        };
        Tree::new(env.fstyp, block, Path::new(&name), env.seed ^ (task << 32))
    };
    let mut trees: Vec<Tree> = (0..tasks).map(new).collect();
    for number in 1..=MOUNTS * env.longer {
        let mounted = Mounted::new(env.fstyp, env.dev()?, "")?;
        let root = mounted.dir();
        thread::scope(|scope| {
            let run = |tree: &mut Tree| -> Result<()> {
                tree.open(root)?;
                tree.fail_allocations()?;
                tree.run(OPERATIONS)?;
                tree.check()
            };
            let tasks = trees.iter_mut().map(|tree| {
                scope.spawn(move || {
                    let done = run(tree);
                    tree.close();
                    done
                })
            });
            let tasks: Vec<_> = tasks.collect();
            let ended = tasks.into_iter().map(|task| task.join());
            let ended: Vec<_> = ended.collect();
            ended
                .into_iter()
                .try_for_each(|ended| ended.map_err(|_| anyhow!("panicked")).and_then(|done| done))
        })
        .with_context(|| format!("mount {number}"))?;
        mounted.unmount()?;
        volume::check(env.dev()?)?;
        let mounted = Mounted::new(Fstyp::Ext4, env.dev()?, "ro")?;
        for tree in &mut trees {
            tree.open(mounted.dir())?;
            tree.check().context("as ext4 sees it")?;
        }
        mounted.unmount()?;
    }
    let counts = trees.iter().map(Tree::failed);
    tell(counts.fold((0, 0), |sum, n| (sum.0 + n.0, sum.1 + n.1)))
}

fn file(env: &Env, options: &[&str], start: Start) -> Result<()> {
    let _injection = Injection::new(env.fstyp)?;
    make(env, options)?;
    let mut file = File::new(Path::new("file"), start, env.seed);
    for number in 1..=MOUNTS * env.longer {
        let mounted = Mounted::new(env.fstyp, env.dev()?, "")?;
        let done = file
            .open(mounted.dir())
            .and_then(|()| file.fail_allocations())
            .and_then(|()| file.run(OPERATIONS))
            .and_then(|()| file.check());
        file.close();
        done.with_context(|| format!("mount {number}"))?;
        mounted.unmount()?;
        volume::check(env.dev()?)?;
    }
    let mounted = Mounted::new(Fstyp::Ext4, env.dev()?, "")?;
    let seen = file.open(mounted.dir());
    file.close();
    seen.context("as ext4 sees it")?;
    mounted.unmount()?;
    tell(file.failed())
}

/// Allocations of all tasks fail, the kernel's own too, and several in one operation.
fn everywhere(env: &Env) -> Result<()> {
    const PERCENT: u32 = 4;
    const TASKS: u64 = 3;
    /// The last one is jbd2's, before it waits for memory.
    const HARMLESS: [&str; 2] = [
        "mounting filesystem",
        "ENOMEM in journal_alloc_journal_head",
    ];
    let mut injection = Injection::new(env.fstyp)?;
    let mut failed = 0;
    for options in [&["-b", "1024"][..], &["-b", "1024", "-O", "^orphan_file"]] {
        make(env, options)?;
        for number in 1..=MOUNTS * env.longer {
            let mounted = Mounted::new(env.fstyp, env.dev()?, "")?;
            let mut log = Kmsg::mark()?;
            let common = mounted.dir().join("common");
            fs::create_dir_all(&common)?;
            injection.fail(PERCENT)?;
            let done = thread::scope(|scope| {
                let tasks = (0..TASKS).map(|task| {
                    let mut random = Bytes::new(env.seed, (number << 32) | task);
                    let common = &common;
                    scope.spawn(move || unruly_without_memory(common, &mut random, OPERATIONS))
                });
                let tasks: Vec<_> = tasks.collect();
                let ended: Vec<_> = tasks.into_iter().map(|task| task.join()).collect();
                ended.into_iter().try_fold(0, |sum, ended| {
                    let done = ended.map_err(|_| anyhow!("panicked"))?;
                    Ok::<_, anyhow::Error>(sum + done?)
                })
            });
            let unmounted = mounted.unmount();
            injection.fail(0)?;
            failed += done?;
            unmounted.context("unmount without memory")?;
            let mut lines = log.lines_since()?;
            lines.retain(|line| !HARMLESS.iter().any(|words| line.contains(words)));
            ensure!(lines.is_empty(), "the kernel says {lines:#?}");
            volume::check(env.dev()?)?;
            let mounted = Mounted::new(Fstyp::Ext4, env.dev()?, "ro")?;
            let found = rummage(&mounted.dir().join("common"))?;
            ensure!(found.errors.is_empty(), "ext4 finds {:?}", found.errors);
            mounted.unmount()?;
        }
    }
    say(&format!("{failed} operations failed for want of memory"));
    ensure!(failed > 0, "none failed");
    Ok(())
}
