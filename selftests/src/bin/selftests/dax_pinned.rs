// SPDX-License-Identifier: GPL-2.0

//! A device holds a page of a DAX file, and will store to it: whoever takes the block away from the file, by truncation,
//! a hole, zeroes, a collapse or the last unlink, or moves it within the file, waits for the device, so that it never
//! stores to what has become another file's. Nobody else waits, nor anybody for a pipe that has a page of a file that is given
//! up: it may be his own.
//!
//! The device is an `O_DIRECT` read, into a mapping, of a disk that waits until it is told to go on. Meanwhile, and after,
//! other files take all blocks that there are.
//!
//! Promise 2, initialised data: a block is its file's alone.
//! Broken by control: `skip_pin_wait`, for files that are too small for huge pages.

use std::borrow::Cow;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure, Context, Result};
use rustix::fs::{fallocate, statvfs, FallocateFlags};
use rustix::io::Errno;
use rustix::pipe::pipe;
use stablefs_selftests::aio::Reading;
use stablefs_selftests::blockdev::Dm;
use stablefs_selftests::dax::{self, is_dax, ALWAYS, HUGE, PAGE};
use stablefs_selftests::devices::Kind;
use stablefs_selftests::filesystem::Fstyp;
use stablefs_selftests::mounted::Mounted;
use stablefs_selftests::needs::{Needs, Volume};
use stablefs_selftests::pins;
use stablefs_selftests::program::{Case, Env, Program};
use stablefs_selftests::trial::{another_disk, open_direct, to_words};
use stablefs_selftests::words::{Words, WORD};

pub(crate) const PROGRAM: Program = Program {
    name: "dax_pinned",
    needs: Needs {
        on: Cow::Borrowed(&[Kind::Pmem]),
        volume: Volume::Raw,
        only: Cow::Borrowed(&[Fstyp::Stablefs, Fstyp::Ext4, Fstyp::Xfs]),
    },
    cases: &[
        Case::new("nothing_waits_but_for_the_block", others_go_on),
        Case::new("truncate", |env| taken(env, SMALL, truncate)),
        Case::new("truncate_in_the_page", |env| taken(env, SMALL, cut)),
        Case::new("punch", |env| taken(env, SMALL, punch)),
        Case::new("zero_range", |env| taken(env, SMALL, zero)),
        Case::new("collapse", |env| taken(env, SMALL, collapse)),
        Case::new("collapse_before", |env| taken(env, SMALL, move_left)),
        Case::new("insert_before", |env| taken(env, SMALL, move_right)),
        Case::new("truncate_a_huge_page", |env| taken(env, 2 * HUGE, truncate)),
        Case::new("punch_in_a_huge_page", |env| taken(env, 2 * HUGE, punch)),
        Case::new("collapse_in_a_huge_page", |env| {
            taken(env, 2 * HUGE, collapse)
        }),
        Case::new("insert_before_a_huge_page", |env| {
            taken(env, 2 * HUGE, move_right)
        }),
        Case::new("unlink", |env| unlinked(env, SMALL)),
        Case::new("unlink_of_a_huge_page", |env| unlinked(env, 2 * HUGE)),
        Case::new("unlinked_with_a_page_in_a_pipe", |env| {
            in_a_pipe(env, Last::Name)
        }),
        Case::new("closed_with_a_page_in_a_pipe", |env| {
            in_a_pipe(env, Last::Descriptor)
        }),
    ],
};

/// Size of the volume, in MiB.
const MIB: u32 = 32;
/// Bytes of a file without huge pages.
const SMALL: usize = 256 * PAGE;
/// The page that the device holds.
const AT: usize = 5 * PAGE;
/// Each word of the file, of the device, and of other files.
const FILE: u64 = 0x1111_1111_1111_1111;
const DEVICE: u64 = 0x2222_2222_2222_2222;
const OTHERS: u64 = 0x3333_3333_3333_3333;
const NAME: &str = "file";
const SPARE: &str = "spare";
/// For who ought to wait.
const PAUSE: Duration = Duration::from_secs(1);
/// For who ought not to wait any more.
const PATIENCE: Duration = Duration::from_secs(60);

struct Stage<'a> {
    env: &'a Env,
    // In the order in which they can go.
    file: File,
    mapping: Words,
    from: File,
    disk: Dm,
    mounted: Mounted,
    words: Vec<u64>,
}

impl<'a> Stage<'a> {
    fn new(env: &'a Env, len: usize) -> Result<Self> {
        let other = another_disk(env)?;
        let sectors = File::open(&other)?.seek(SeekFrom::End(0))? / 512;
        let disk = Dm::new(&format!("0 {sectors} linear {} 0", other.display()))?;
        let from = open_direct(disk.path())?;
        let page = Words::private(PAGE)?;
        (0..PAGE / WORD).for_each(|index| page.store(index, DEVICE));
        page.write_to(0..PAGE, &from, 0).context("the other disk")?;

        dax::make(env.fstyp, env.dev()?, MIB)?;
        let mounted = Mounted::new(env.fstyp, env.dev()?, ALWAYS)?;
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(mounted.dir().join(NAME))?;
        ensure!(is_dax(&file)?, "it is not DAX");
        fallocate(&file, FallocateFlags::empty(), 0, len as u64)?;
        let words = vec![FILE; len / WORD];
        file.write_all_at(&FILE.to_ne_bytes().repeat(len / WORD), 0)?;
        file.sync_all()?;
        // So that there is room for who needs some, when others have all there is.
        let spare = File::create_new(mounted.dir().join(SPARE))?;
        fallocate(&spare, FallocateFlags::empty(), 0, 2 * HUGE as u64)?;
        let mapping = Words::of(&file, 0, len)?;
        // So that the page is there, and a huge one where it can be.
        mapping.store(0, FILE);
        mapping.store(AT / WORD, FILE);
        Ok(Self {
            env,
            mounted,
            disk,
            from,
            file,
            mapping,
            words,
        })
    }

    /// Makes file `name` of as many blocks as there are, at most.
    fn fill(&self, name: &str) -> Result<()> {
        fill(self.mounted.dir(), name)
    }

    /// What the files hold, now and after a remount.
    fn judge(self, more: &[&str]) -> Result<()> {
        let Self {
            env,
            mounted,
            file,
            mapping,
            words,
            ..
        } = self;
        drop((file, mapping));
        let wanted = Some(&words[..]);
        look(mounted.dir(), wanted, more)?;
        mounted.unmount()?;
        env.fstyp.check(env.dev()?)?;
        let mounted = Mounted::new(env.fstyp, env.dev()?, ALWAYS)?;
        look(mounted.dir(), wanted, more).context("after a remount")?;
        mounted.unmount()
    }
}

fn fill(dir: &Path, name: &str) -> Result<()> {
    let file = File::create_new(dir.join(name))?;
    let bytes = OTHERS.to_ne_bytes().repeat((256 << 10) / WORD);
    let mut pos = 0;
    loop {
        match file.write_at(&bytes, pos) {
            // Less where it gets full.
            Ok(done) => pos += (done / PAGE * PAGE) as u64,
            Err(e) if Errno::from_io_error(&e) == Some(Errno::NOSPC) => break,
            Err(e) => return Err(e).context(name.to_owned()),
        }
        ensure!(pos < 1 << 30, "the volume does not get full");
    }
    file.set_len(pos)?;
    file.sync_all().context("fsync of another file")
}

fn look(dir: &Path, wanted: Option<&[u64]>, more: &[&str]) -> Result<()> {
    if let Some(wanted) = wanted {
        let found = to_words(&fs::read(dir.join(NAME))?);
        ensure!(found.len() == wanted.len(), "{} words", found.len());
        differ(NAME, &found, |index| wanted[index])?;
    }
    for name in more {
        let found = to_words(&fs::read(dir.join(name))?);
        differ(name, &found, |_| OTHERS)?;
    }
    Ok(())
}

fn differ(name: &str, found: &[u64], wanted: impl Fn(usize) -> u64) -> Result<()> {
    let first = (0..found.len()).find(|&index| found[index] != wanted(index));
    if let Some(index) = first {
        bail!(
            "{name}, byte {:#x}: {:#x}, want {:#x}",
            index * WORD,
            found[index],
            wanted(index)
        );
    }
    Ok(())
}

/// Takes the page away, and says in `words` what the file holds then.
type Take = fn(&File, &mut Vec<u64>) -> Result<()>;

fn truncate(file: &File, words: &mut Vec<u64>) -> Result<()> {
    words.clear();
    Ok(file.set_len(0)?)
}

/// The block stays, but for its end, which is there again, empty, when the file gets longer.
fn cut(file: &File, words: &mut Vec<u64>) -> Result<()> {
    file.set_len((AT + PAGE / 2) as u64)?;
    words.truncate((AT + PAGE / 2) / WORD);
    Ok(())
}

/// After [`cut`], when the device has stored.
fn longer(file: &File, words: &mut Vec<u64>) -> Result<()> {
    words.resize((AT + PAGE) / WORD, 0);
    Ok(file.set_len((AT + PAGE) as u64)?)
}

#[expect(clippy::ptr_arg, reason = "others cut it")]
fn punch(file: &File, words: &mut Vec<u64>) -> Result<()> {
    words[AT / WORD..][..PAGE / WORD].fill(0);
    let mode = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    Ok(fallocate(file, mode, AT as u64, PAGE as u64)?)
}

#[expect(clippy::ptr_arg, reason = "others cut it")]
fn zero(file: &File, words: &mut Vec<u64>) -> Result<()> {
    words[AT / WORD..][..PAGE / WORD].fill(0);
    let mode = FallocateFlags::ZERO_RANGE | FallocateFlags::KEEP_SIZE;
    Ok(fallocate(file, mode, AT as u64, PAGE as u64)?)
}

fn collapse(file: &File, words: &mut Vec<u64>) -> Result<()> {
    words.drain(AT / WORD..(AT + PAGE) / WORD);
    let mode = FallocateFlags::COLLAPSE_RANGE;
    Ok(fallocate(file, mode, AT as u64, PAGE as u64)?)
}

/// What the device stores moves with the page.
fn move_left(file: &File, words: &mut Vec<u64>) -> Result<()> {
    words.drain(PAGE / WORD..3 * PAGE / WORD);
    let mode = FallocateFlags::COLLAPSE_RANGE;
    Ok(fallocate(file, mode, PAGE as u64, 2 * PAGE as u64)?)
}

fn move_right(file: &File, words: &mut Vec<u64>) -> Result<()> {
    let at = 2 * PAGE / WORD;
    words.splice(at..at, vec![0; 3 * PAGE / WORD]);
    let mode = FallocateFlags::INSERT_RANGE;
    Ok(fallocate(file, mode, 2 * PAGE as u64, 3 * PAGE as u64)?)
}

/// `take` waits for the device, unless the block stays; what others do meanwhile does not.
fn taken(env: &Env, len: usize, take: Take) -> Result<()> {
    let mut block_stays = false;
    let mut stage = Stage::new(env, len)?;
    let before = pins::held()?;
    let held = stage.disk.hold()?;
    let reading = Reading::begin(&stage.mapping, AT..AT + PAGE, &stage.from, 0)?;
    pins::wait(|held| held > before).context("the read does not begin")?;
    let mut words = stage.words.clone();
    // The device stores before the page is taken away.
    words[AT / WORD..][..PAGE / WORD].fill(DEVICE);
    let early = thread::scope(|scope| -> Result<bool> {
        let (ended, has_ended) = mpsc::channel();
        let (file, words) = (&stage.file, &mut words);
        scope.spawn(move || {
            let _ = ended.send(take(file, words));
        });
        let early = match has_ended.recv_timeout(PAUSE) {
            Err(RecvTimeoutError::Timeout) => None,
            Ok(result) => Some(result),
            Err(e) => bail!(e),
        };
        let filled = stage.fill("meanwhile");
        let removed = fs::remove_file(stage.mounted.dir().join(SPARE));
        // Before anything else is waited for.
        held.release()?;
        let read = reading.end();
        filled?;
        removed?;
        let is_early = early.is_some();
        let result = match early {
            Some(result) => result,
            None => has_ended
                .recv_timeout(PATIENCE)
                .context("it waits for ever")?,
        };
        result.context("taking the page away")?;
        read?;
        Ok(is_early)
    })?;
    if words.len() == (AT + PAGE / 2) / WORD {
        block_stays = true;
        longer(&stage.file, &mut words)?;
    }
    stage.words = words;
    stage.fill("after")?;
    let judged = stage.judge(&["meanwhile", "after"]);
    ensure!(
        !early || block_stays,
        "it does not wait for the device; {}",
        judged
            .err()
            .map_or("no harm is seen".to_owned(), |e| format!("{e:#}"))
    );
    judged
}

/// The file has no name, is open nowhere and mapped nowhere, when the device stores to it.
fn unlinked(env: &Env, len: usize) -> Result<()> {
    let stage = Stage::new(env, len)?;
    let before = pins::held()?;
    let held = stage.disk.hold()?;
    let Stage {
        mounted,
        disk: _disk,
        from,
        file,
        mapping,
        ..
    } = stage;
    let reading = Reading::begin_and_unmap(mapping, AT..AT + PAGE, &from, 0)?;
    pins::wait(|held| held > before).context("the read does not begin")?;
    let dir = mounted.dir();
    let others = thread::scope(|scope| -> Result<()> {
        let (ended, has_ended) = mpsc::channel();
        scope.spawn(move || {
            let unlinked = fs::remove_file(dir.join(NAME));
            drop(file);
            let _ = ended.send(unlinked);
        });
        // It may wait, or leave the blocks to somebody who does.
        let early = has_ended.recv_timeout(PAUSE);
        let filled = fill(dir, "meanwhile");
        // Before anything else is waited for.
        held.release()?;
        let read = reading.end();
        filled?;
        let unlinked = match early {
            Ok(unlinked) => unlinked,
            Err(_) => has_ended
                .recv_timeout(PATIENCE)
                .context("it waits for ever")?,
        };
        unlinked.context("unlink")?;
        read
    });
    others?;
    fill(dir, "after")?;
    let more = ["meanwhile", "after"];
    look(dir, None, &more)?;
    mounted.unmount()?;
    env.fstyp.check(env.dev()?)?;
    let mounted = Mounted::new(env.fstyp, env.dev()?, ALWAYS)?;
    look(mounted.dir(), None, &more).context("after a remount")?;
    ensure!(!mounted.dir().join(NAME).exists(), "it is there again");
    mounted.unmount()
}

/// What a file loses last.
#[derive(Clone, Copy)]
enum Last {
    Name,
    Descriptor,
}

/// Whoever gives up a file may be he who has a page of it in a pipe: he does not wait. The page stays what it was as long as it
/// is in the pipe, and then there is as much room as before.
fn in_a_pipe(env: &Env, last: Last) -> Result<()> {
    let stage = Stage::new(env, SMALL)?;
    let Stage {
        mounted,
        file,
        mapping,
        ..
    } = stage;
    let dir = mounted.dir();
    let room = || -> Result<u64> { Ok(statvfs(dir)?.f_bfree) };
    let (end, start) = pipe()?;
    let mut end = File::from(end);
    let before = room()?;
    mapping.splice_to(AT..AT + PAGE, &start)?;
    let early = thread::scope(|scope| -> Result<bool> {
        let (ended, has_ended) = mpsc::channel();
        scope.spawn(move || {
            drop(mapping);
            let name = dir.join(NAME);
            let given_up = match last {
                Last::Name => {
                    drop(file);
                    fs::remove_file(name)
                }
                Last::Descriptor => {
                    let removed = fs::remove_file(name);
                    drop(file);
                    removed
                }
            };
            let _ = ended.send(given_up);
        });
        let early = has_ended.recv_timeout(PATIENCE / 4);
        let filled = fill(dir, "meanwhile");
        let mut page = [0; PAGE];
        end.read_exact(&mut page)?;
        differ("the pipe", &to_words(&page), |_| FILE)?;
        filled?;
        let is_early = early.is_ok();
        match early {
            Ok(given_up) => given_up,
            Err(_) => has_ended
                .recv_timeout(PATIENCE)
                .context("it waits for ever")?,
        }?;
        Ok(is_early)
    })?;
    fs::remove_file(dir.join("meanwhile"))?;
    let deadline = Instant::now() + PATIENCE;
    // The file's pages are not free at once.
    while room()? < before + (SMALL / PAGE) as u64 {
        ensure!(
            Instant::now() < deadline,
            "{} blocks free, {before} before",
            room()?
        );
        thread::sleep(PAUSE / 10);
    }
    look(dir, None, &[])?;
    mounted.unmount()?;
    env.fstyp.check(env.dev()?)?;
    ensure!(early, "who gives the file up waits for the pipe");
    Ok(())
}

/// The page is stored to, written, read and fsynced, and others fill the volume, while the device holds the page.
fn others_go_on(env: &Env) -> Result<()> {
    let mut stage = Stage::new(env, SMALL)?;
    let before = pins::held()?;
    let held = stage.disk.hold()?;
    let reading = Reading::begin(&stage.mapping, AT..AT + PAGE, &stage.from, 0)?;
    pins::wait(|held| held > before).context("the read does not begin")?;
    let mut words = stage.words.clone();
    let waits = thread::scope(|scope| -> Result<bool> {
        let (ended, has_ended) = mpsc::channel();
        let stage = &stage;
        scope.spawn(move || {
            let _ = ended.send(others(stage));
        });
        let early = has_ended.recv_timeout(PATIENCE / 2);
        held.release()?;
        reading.end()?;
        let waits = early.is_err();
        early.or_else(|_| has_ended.recv_timeout(PATIENCE))??;
        Ok(waits)
    })?;
    ensure!(!waits, "somebody waits for the device without need");
    words[AT / WORD..][..PAGE / WORD].fill(DEVICE);
    stage.words = words;
    stage.judge(&["meanwhile"])
}

fn others(stage: &Stage<'_>) -> Result<()> {
    let Stage { file, mapping, .. } = stage;
    mapping.store(AT / WORD + 3, OTHERS);
    file.write_all_at(&OTHERS.to_ne_bytes(), AT as u64)?;
    file.read_exact_at(&mut [0; WORD], AT as u64)?;
    file.sync_all().context("fsync")?;
    fill(stage.mounted.dir(), "meanwhile")
}
