// SPDX-License-Identifier: GPL-2.0

//! Whatever is stored to pages and buffers while they are written, the disk finds each block as its protection
//! information says; and what was stored last is what the files hold.
//!
//! Promise 1, stable data.
//! Filesystems that fail it: ext4, `O_DIRECT` writes from memory that is stored to.

use std::borrow::Cow;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Context, Result};
use rustix::fs::fsync;
use rustix::io::Errno;
use stablefs_selftests::devices::Kind;
use stablefs_selftests::needs::{Needs, Volume};
use stablefs_selftests::program::{Case, Env, Program};
use stablefs_selftests::trial::{fresh, Calls, Holds, Share, Trial};
use stablefs_selftests::words::{Words, WORD};

pub(crate) const PROGRAM: Program = Program {
    name: "stable_pages",
    needs: Needs {
        on: Cow::Borrowed(&[Kind::Dif, Kind::Nvme]),
        volume: Volume::Raw,
        only: Cow::Borrowed(&[]),
    },
    cases: &[
        Case::new("stores_to_a_mapping", |env| stores(env, 4096)),
        Case::new("stores_to_a_mapping_1_kib", |env| stores(env, 1024)),
        Case::new("writes", |env| writes(env, 4096)),
        Case::new("writes_1_kib", |env| writes(env, 1024)),
    ],
};

/// Bytes of a file: few, so that each page is stored to again and again while it is written.
const LEN: usize = 256 << 10;
const THREADS: usize = 3;
const SYNCS: u64 = 150;
const FILE: &str = "file";

fn stores(env: &Env, block: u32) -> Result<()> {
    against_fsync(env, block, |share, _, words| {
        let slot = share.slot();
        words.store(slot, share.value(slot));
        Ok(())
    })
}

fn writes(env: &Env, block: u32) -> Result<()> {
    against_fsync(env, block, |share, file, _| {
        let slot = share.slot();
        file.write_all_at(&share.values(slot), (slot * WORD) as u64)
            .map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::IO))
    })
}

/// One step of a thread that changes a file, or a mapping of it.
type Change = fn(&mut Share, &File, &Words) -> Result<(), Errno>;

/// Threads make `change`s, while this one calls fsync.
fn against_fsync(env: &Env, block: u32, change: Change) -> Result<()> {
    let mut trial = Trial::new(env, block)?;
    let words = fresh(LEN);
    let file = trial.create(FILE, &words)?;
    let mapping = Words::of(&file, 0, LEN)?;
    let mut shares = Share::of(THREADS, &words, env.seed);
    let stop = AtomicBool::new(false);
    let mut calls = Calls::default();
    let synced = thread::scope(|scope| {
        let changing: Vec<_> = shares
            .iter_mut()
            .map(|share| {
                scope.spawn(|| {
                    let mut calls = Calls::default();
                    while !stop.load(Ordering::Relaxed) {
                        calls.count(change(share, &file, &mapping));
                    }
                    calls
                })
            })
            .collect();
        let mut sync = || -> Result<()> {
            for _ in 0..SYNCS * env.longer {
                calls.count(fsync(&file));
                trial.look()?;
            }
            Ok(())
        };
        let synced = sync();
        stop.store(true, Ordering::Relaxed);
        for thread in changing {
            calls = calls.and(thread.join().ok().context("a thread panicked")?);
        }
        synced
    });
    synced?;
    drop((mapping, file));
    let words = Share::merge(&shares);
    trial.judge(calls, &[Holds { name: FILE, words }])
}
