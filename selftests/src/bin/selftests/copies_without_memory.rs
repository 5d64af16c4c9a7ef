// SPDX-License-Identifier: GPL-2.0

//! Pages that a device is reading into are written from private copies while every allocation of the filesystem fails:
//! from memory that the volume has kept for that. `fsync` succeeds, the disk has what was stored, and the protection
//! information fits.
//!
//! Promise 1, stable data. No control breaks it: each case sees that at least as many pages were refused as were copied.
//! Needs a kernel with `failslab` and `fail_page_alloc`, as the debug kernel is; skipped elsewhere.
//! Filesystems: stablefs, which makes copies.

use std::borrow::Cow;
use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{anyhow, bail, ensure, Context, Result};
use rustix::fs::{fadvise, fallocate, fdatasync, fsync, Advice, FallocateFlags};
use stablefs_selftests::aio::Reading;
use stablefs_selftests::blockdev::Dm;
use stablefs_selftests::counters::counter;
use stablefs_selftests::devices::Kind;
use stablefs_selftests::filesystem::Fstyp;
use stablefs_selftests::injection::{Failed, Injection};
use stablefs_selftests::ioctl::fiemap;
use stablefs_selftests::needs::{Needs, Volume};
use stablefs_selftests::program::{say, Case, Env, Program};
use stablefs_selftests::seed::Bytes;
use stablefs_selftests::trial::{another_disk, fresh, open_direct, Calls, Holds, Trial};
use stablefs_selftests::words::{Words, WORD};

pub(crate) const PROGRAM: Program = Program {
    name: "copies_without_memory",
    needs: Needs {
        on: Cow::Borrowed(&[Kind::Dif]),
        volume: Volume::Raw,
        only: Cow::Borrowed(&[Fstyp::Stablefs]),
    },
    cases: &[
        Case::new("less_than_is_kept", |env| written(env, 4096, 8)),
        Case::new("less_than_is_kept_1_kib", |env| written(env, 1024, 8)),
        Case::new("more_than_is_kept", |env| written(env, 4096, 128)),
        Case::new("more_than_is_kept_1_kib", |env| written(env, 1024, 128)),
        Case::new("while_others_wait_for_memory", beside_others),
    ],
};

const PAGE: usize = 4096;
/// Pages that a volume keeps for copies (`PAGES` in `copy.rs`).
const KEPT: u32 = 64;
/// Likewise, bios for copies of one sort.
const KEPT_BIOS: u64 = 4;
/// The counter of copies.
const COPIED: &str = "folios_copied_pinned";
/// By turns, one of large folios, and one of a folio a page.
const FILES: [&str; 4] = ["large", "small", "large too", "small too"];
/// For what is to come to an end.
const PATIENCE: Duration = Duration::from_secs(120);

/// A file, of which each page is mapped, dirty, and being read into.
struct Pinned {
    name: &'static str,
    file: File,
    mapping: Words,
    /// What is in the mapping.
    words: Vec<u64>,
    /// What it is to hold once the other disk has been read.
    later: Vec<u64>,
}

impl Pinned {
    /// In the page cache is what `file` holds: `words`.
    fn new(name: &'static str, file: File, words: Vec<u64>) -> Result<Self> {
        let mapping = Words::of(&file, 0, words.len() * WORD)?;
        Ok(Self {
            name,
            file,
            mapping,
            words,
            later: Vec::new(),
        })
    }

    fn pages(&self) -> usize {
        self.mapping.bytes() / PAGE
    }

    /// Stores to each page.
    fn store(&mut self, random: &mut Bytes) {
        for index in (0..self.words.len()).step_by(PAGE / WORD) {
            self.words[index] = random.word();
            self.mapping.store(index, self.words[index]);
        }
    }

    /// Puts other words where they will be read from: on `disk` at `pos`.
    fn fill(&mut self, random: &mut Bytes, disk: &File, pos: u64) -> Result<()> {
        let source = Words::private(self.mapping.bytes())?;
        self.later = self.words.iter().map(|_| random.word()).collect();
        (0..)
            .zip(&self.later)
            .for_each(|(index, word)| source.store(index, *word));
        let written = source.write_to(0..source.bytes(), disk, pos);
        written.context("the other disk")
    }

    /// What is on `disk` is what is in the mapping.
    fn check(&self, disk: &Path) -> Result<()> {
        let disk = open_direct(disk)?;
        let found = Words::private(self.mapping.bytes())?;
        for extent in fiemap(&self.file, 0).context("fiemap")? {
            let start = usize::try_from(extent.logical)?;
            let end = found.bytes().min(start + usize::try_from(extent.length)?);
            let read = found.read_from(start..end, &disk, extent.physical);
            read.with_context(|| format!("{} from the disk", self.name))?;
        }
        let mut others = (0..self.words.len()).filter(|&at| found.load(at) != self.words[at]);
        let first = others.next();
        ensure!(
            first.is_none(),
            "{}: {} words are not on the disk, the first at {:#x}",
            self.name,
            1 + others.count(),
            first.unwrap_or_default() * WORD
        );
        Ok(())
    }
}

/// A volume with files, and another disk that is held while it is read from.
struct Stage<'a> {
    trial: Trial<'a>,
    disk: Dm,
    source: Dm,
    from: File,
    random: Bytes,
}

impl<'a> Stage<'a> {
    fn new(env: &'a Env, block: u32) -> Result<Self> {
        let disk = whole(env.dev()?)?;
        let source = whole(&another_disk(env)?)?;
        Ok(Self {
            trial: Trial::on(env, disk.path(), block)?,
            from: open_direct(source.path())?,
            disk,
            source,
            random: Bytes::new(env.seed, 0x3e5e),
        })
    }

    /// A file that the disk has, written by so many bytes at a time.
    fn create(&self, name: &'static str, pages: usize, step: usize) -> Result<Pinned> {
        let words = fresh(pages * PAGE);
        let file = self.trial.create(name, &[])?;
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        for (pos, bytes) in (0..).step_by(step).zip(bytes.chunks(step)) {
            file.write_all_at(bytes, pos).context("write")?;
        }
        file.sync_all().context("fsync")?;
        Pinned::new(name, file, words)
    }

    /// A file of blocks that are not written yet.
    fn reserve(&self, name: &'static str, pages: usize) -> Result<Pinned> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(self.trial.path(name))?;
        fallocate(&file, FallocateFlags::empty(), 0, (pages * PAGE) as u64)?;
        // So that each page is a folio.
        fadvise(&file, 0, None, Advice::Random)?;
        file.sync_all().context("fsync")?;
        Pinned::new(name, file, vec![0; pages * PAGE / WORD])
    }

    /// Stores to all pages of `files`, and begins to read into them. Then `call` has them be written without memory for
    /// copies, and says of how many pages. When the disk was looked at, the reads end.
    fn hold(
        mut self,
        injection: &mut Injection,
        mut files: Vec<Pinned>,
        call: impl FnOnce(&Dm, &mut Injection, &[Pinned]) -> Result<(Calls, usize)>,
    ) -> Result<()> {
        let mut pos = 0;
        for file in &mut files {
            file.store(&mut self.random);
            file.fill(&mut self.random, &self.from, pos)?;
            pos += file.mapping.bytes() as u64;
        }
        // Waited for when they go, so that is after the other disk goes on.
        let mut readings = Vec::new();
        let read_later = self.source.hold()?;
        pos = 0;
        for Pinned { mapping, .. } in &files {
            readings.push(Reading::begin(
                mapping,
                0..mapping.bytes(),
                &self.from,
                pos,
            )?);
            pos += mapping.bytes() as u64;
        }
        let before = injection.failed()?;
        injection.fail(100)?;
        let called = call(&self.disk, injection, &files);
        injection.fail(0)?;
        let (calls, wanted) = called?;
        let Failed { objects, pages } = injection.failed()?;
        let (objects, pages) = (objects - before.objects, pages - before.pages);
        let copies = counter(self.disk.path(), COPIED)?;
        say(&format!(
            "{copies} copies; refused: {objects} objects, {pages} pages"
        ));
        let checked = files
            .iter()
            .try_for_each(|file| file.check(self.disk.path()));
        read_later.release()?;
        readings.into_iter().try_for_each(Reading::end)?;
        checked?;
        // Each of a copy was asked for, and refused.
        ensure!(pages as usize >= wanted, "not all pages were refused");
        let mut syncs = Calls::of("fsync with memory");
        let mut holds = Vec::new();
        for Pinned {
            name, file, later, ..
        } in files
        {
            syncs.count(fsync(&file));
            holds.push(Holds { name, words: later });
        }
        let judged = self.trial.judge(&[calls, syncs], &holds);
        // The volume is on it.
        drop(self.disk);
        judged
    }
}

fn whole(dev: &Path) -> Result<Dm> {
    let len = File::open(dev)?.seek(SeekFrom::End(0))?;
    Dm::new(&format!("0 {} linear {} 0", len / 512, dev.display()))
}

/// Waits until `is_true`, but not for ever.
fn until(mut is_true: impl FnMut() -> Result<bool>) -> Result<bool> {
    let limit = Instant::now() + PATIENCE;
    while Instant::now() < limit {
        if is_true()? {
            return Ok(true);
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(false)
}

/// Has each of `files` be written by a thread of its own, without memory until `meanwhile` returns, which can ask whether
/// all are written.
fn sync(
    injection: &mut Injection,
    files: &[Pinned],
    meanwhile: impl FnOnce(&Injection, &dyn Fn() -> bool) -> Result<()>,
) -> Result<Calls> {
    thread::scope(|scope| {
        let tasks: Vec<_> = files
            .iter()
            .map(|Pinned { file, .. }| scope.spawn(move || fsync(file)))
            .collect();
        let done = meanwhile(injection, &|| tasks.iter().all(|task| task.is_finished()));
        // Before the threads are waited for.
        injection.fail(0)?;
        let mut calls = Calls::of("fsync without memory");
        for task in tasks {
            calls.count(task.join().map_err(|_| anyhow!("panicked"))?);
        }
        done.map(|()| calls)
    })
}

/// Files of so many pages are written by a thread each. Where that is more than is kept, the disk does not go on before
/// all that is kept of pages, or of bios, is in use.
fn written(env: &Env, block: u32, pages: usize) -> Result<()> {
    let stage = Stage::new(env, block)?;
    let mut injection = Injection::new(env.fstyp)?;
    let steps = [pages * PAGE, PAGE].into_iter().cycle();
    let files = FILES
        .into_iter()
        .zip(steps)
        .map(|(name, step)| stage.create(name, pages, step))
        .collect::<Result<Vec<_>>>()?;
    let is_more = pages * FILES.len() > KEPT as usize;
    stage.hold(&mut injection, files, |disk, injection, files| {
        let written_later = is_more.then(|| disk.hold()).transpose()?;
        let before = injection.failed()?.pages;
        let calls = sync(injection, files, |injection, is_over| {
            if let Some(written_later) = written_later {
                let is_used = until(|| {
                    let pages = injection.failed()?.pages - before;
                    Ok(pages > KEPT || counter(disk.path(), COPIED)? > KEPT_BIOS)
                });
                written_later.release()?;
                ensure!(is_used?, "not all of what is kept was used");
            }
            ensure!(until(|| Ok(is_over()))?, "fsync waits for memory");
            Ok(())
        })?;
        Ok((calls, files.iter().map(Pinned::pages).sum()))
    })
}

/// A file whose blocks are there already is written, while copies of another have been written whose blocks become the
/// file's only then: that takes memory.
fn beside_others(env: &Env) -> Result<()> {
    const PAGES: usize = 16;
    let stage = Stage::new(env, 4096)?;
    let mut injection = Injection::new(env.fstyp)?;
    let files = [
        stage.reserve("unwritten", PAGES)?,
        stage.create("written", PAGES, PAGE)?,
    ];
    stage.hold(&mut injection, files.into(), |disk, injection, files| {
        let [unwritten, written] = files else {
            bail!("{} files", files.len());
        };
        thread::scope(|scope| {
            let others = scope.spawn(|| fsync(&unwritten.file));
            let are_used = until(|| Ok(counter(disk.path(), COPIED)? > KEPT_BIOS));
            let task = scope.spawn(|| fdatasync(&written.file));
            let is_over = until(|| Ok(task.is_finished()));
            let do_wait = !others.is_finished();
            // Before the threads are waited for.
            injection.fail(0)?;
            let mut calls = Calls::of("fsync without memory");
            for task in [others, task] {
                calls.count(task.join().map_err(|_| anyhow!("panicked"))?);
            }
            ensure!(are_used? && do_wait, "the others need no memory");
            ensure!(is_over?, "fdatasync waits for the others");
            Ok((calls, written.pages()))
        })
    })
}
