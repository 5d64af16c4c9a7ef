// SPDX-License-Identifier: GPL-2.0

//! Whoever else stores to the pages of a mapping than a processor through the mapping, such as a device that reads into
//! them: the disk finds each block as its protection information says, and what was stored last is what the files hold.
//!
//! Promise 1, stable data.
//! Filesystems that fail it: ext4, XFS and btrfs, `O_DIRECT` reads into a mapping.

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Context, Result};
use rustix::fs::fsync;
use stablefs_selftests::devices::Kind;
use stablefs_selftests::needs::{Needs, Volume};
use stablefs_selftests::program::{Case, Env, Program};
use stablefs_selftests::seed::Bytes;
use stablefs_selftests::trial::{another_disk, fresh, Calls, Holds, Trial};
use stablefs_selftests::words::{Words, WORD};

pub(crate) const PROGRAM: Program = Program {
    name: "stable_pages_pinned",
    needs: Needs {
        on: Cow::Borrowed(&[Kind::Dif, Kind::Nvme]),
        volume: Volume::Raw,
        only: Cow::Borrowed(&[]),
    },
    cases: &[
        Case::new("direct_reads", |env| direct_reads(env, 4096)),
        Case::new("direct_reads_1_kib", |env| direct_reads(env, 1024)),
    ],
};

const LEN: usize = 256 << 10;
const THREADS: usize = 4;
const SYNCS: u64 = 200;
const FILE: &str = "file";
/// Bytes that are read at a time.
const CHUNK: usize = 16 << 10;
/// Bytes of the other disk that are read.
const SOURCE: usize = 1 << 20;

fn direct_reads(env: &Env, block: u32) -> Result<()> {
    let mut trial = Trial::new(env, block)?;
    let source = another_disk(env)?;
    let data = Words::private(SOURCE)?;
    let mut random = Bytes::new(env.seed, 0x50);
    (0..SOURCE / WORD).for_each(|index| data.store(index, random.word()));
    data.write_to(0..SOURCE, &source, 0).context("other disk")?;

    let mut words = fresh(LEN);
    let file = trial.create(FILE, &words)?;
    let mapping = Words::of(&file, 0, LEN)?;
    let stop = AtomicBool::new(false);
    let mut calls = Calls::default();
    let synced = thread::scope(|scope| {
        let read = |number: usize| {
            let (mapping, source, stop) = (&mapping, &source, &stop);
            let mut random = Bytes::new(env.seed, number as u64);
            // Which chunk of the source was read last into each of its own.
            let mut last = vec![None; LEN / CHUNK / THREADS];
            scope.spawn(move || {
                let mut calls = Calls::default();
                while !stop.load(Ordering::Relaxed) {
                    for (own, last) in (0..).zip(&mut last) {
                        let from = random.below((SOURCE / CHUNK) as u64) as usize * CHUNK;
                        let to = (own * THREADS + number) * CHUNK;
                        calls.count(mapping.read_from(to..to + CHUNK, source, from as u64));
                        *last = Some(from);
                    }
                }
                (calls, last)
            })
        };
        let reading: Vec<_> = (0..THREADS).map(read).collect();
        let mut sync = || -> Result<()> {
            for _ in 0..SYNCS * env.longer {
                calls.count(fsync(&file));
                trial.look()?;
            }
            Ok(())
        };
        let synced = sync();
        stop.store(true, Ordering::Relaxed);
        for (number, thread) in (0..).zip(reading) {
            let (reads, last) = thread.join().ok().context("a thread panicked")?;
            calls = calls.and(reads);
            for (own, from) in (0..).zip(last) {
                let Some(from) = from else { continue };
                let to = (own * THREADS + number) * CHUNK / WORD;
                (0..CHUNK / WORD)
                    .for_each(|index| words[to + index] = data.load(from / WORD + index));
            }
        }
        synced
    });
    synced?;
    drop((mapping, file));
    trial.judge(calls, &[Holds { name: FILE, words }])
}
