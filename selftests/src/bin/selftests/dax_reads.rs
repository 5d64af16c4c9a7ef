// SPDX-License-Identifier: GPL-2.0

//! On persistent memory, where the mount options and the file's own flag ask for it, a mapping is the memory itself:
//! what is read is right, in pages of 4 KiB and of 2 MiB, in holes too, nothing of it is in the page cache, and statx
//! says so.
//!
//! Promise: the reading side of the second, initialised data. No control breaks it: each thing that DAX does is seen
//! not to be so with dax=never.
//! Filesystems: those that read ext4 volumes.

use std::borrow::Cow;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{ensure, Context, Result};
use rustix::fs::{
    fadvise, fallocate, statx, Advice, AtFlags, FallocateFlags, StatxAttributes, StatxFlags, CWD,
};
use stablefs_selftests::devices::Kind;
use stablefs_selftests::faults;
use stablefs_selftests::filesystem::Fstyp;
use stablefs_selftests::ioctl::{fiemap, flag, getflags, setflags, FIEMAP_SYNC};
use stablefs_selftests::kmsg::Kmsg;
use stablefs_selftests::mapping::ReadMapping;
use stablefs_selftests::mounted::Mounted;
use stablefs_selftests::needs::{Needs, Volume};
use stablefs_selftests::program::{say, Case, Env, Program};
use stablefs_selftests::seed::Bytes;
use stablefs_selftests::volume;

pub(crate) const PROGRAM: Program = Program {
    name: "dax_reads",
    needs: Needs {
        on: Cow::Borrowed(&[Kind::Pmem]),
        volume: Volume::Raw,
        only: Cow::Borrowed(&[Fstyp::Stablefs, Fstyp::Ext4]),
    },
    cases: &[
        Case::new("always", |env| reads(env, "dax=always", Dax::All)),
        Case::new("never", |env| reads(env, "dax=never", Dax::None)),
        Case::new("inode", |env| reads(env, "dax=inode", Dax::Flagged)),
        Case::new("without_an_option", |env| reads(env, "", Dax::Flagged)),
        Case::new("not_with_blocks_smaller_than_a_page", |env| {
            unavailable(env, &["-b", "1024"])
        }),
    ],
};

/// What DAX is not possible on says so, and is read through the page cache.
pub(crate) const WITHOUT: Program = Program {
    name: "dax_where_it_cannot_be",
    needs: Needs {
        on: Cow::Borrowed(&[Kind::Dif, Kind::Nvme, Kind::Plain]),
        volume: Volume::Raw,
        only: Cow::Borrowed(&[Fstyp::Stablefs, Fstyp::Ext4]),
    },
    cases: &[
        Case::new("always", |env| unavailable(env, ALIGNED)),
        Case::new("inode", |env| {
            made(env, ALIGNED)?;
            let mounted = Mounted::new(env.fstyp, env.dev()?, "ro,dax=inode")?;
            every_file(env, mounted.dir(), Dax::None)?;
            mounted.unmount()
        }),
    ],
};

/// Files that are mapped as DAX.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Dax {
    All,
    /// Those that have the flag.
    Flagged,
    None,
}

impl Dax {
    fn of(self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Flagged => name.ends_with(FLAGGED),
            Self::None => false,
        }
    }
}

const LEN: &str = "128M";
/// Blocks of a page, placed so that large files begin at multiples of 2 MiB.
const ALIGNED: &[&str] = &["-b", "4096", "-E", "stride=512,stripe_width=512"];
const PAGE: usize = 4096;
const HUGE: usize = 2 << 20;
/// Length of the large files.
const LARGE: usize = 4 * HUGE;
const FLAGGED: &str = ", flagged";
/// Written in huge pages, and where the volume's blocks allow no huge page.
const FILES: &[&str] = &["huge", "shifted", "hole", "unwritten", "small"];

fn reads(env: &Env, option: &str, dax: Dax) -> Result<()> {
    made(env, ALIGNED)?;
    let options = ["ro", option].join(",");
    let mounted = Mounted::new(env.fstyp, env.dev()?, options.trim_end_matches(','))?;
    every_file(env, mounted.dir(), dax)?;
    mounted.unmount()
}

/// ext4 refuses to mount with dax=always here; a volume of which only the speed is not as wished is better read.
fn unavailable(env: &Env, options: &[&str]) -> Result<()> {
    made(env, options)?;
    if env.fstyp == Fstyp::Ext4 {
        let refused = Mounted::new(env.fstyp, env.dev()?, "ro,dax=always").is_err();
        ensure!(refused, "ext4 takes dax=always");
        return Ok(());
    }
    let mut log = Kmsg::mark()?;
    let mounted = Mounted::new(env.fstyp, env.dev()?, "ro,dax=always")?;
    let lines = log.lines_since()?;
    ensure!(
        lines
            .iter()
            .any(|line| line.starts_with("stablefs (") && line.contains("DAX")),
        "want a line of the log that says why there is no DAX, found {lines:?}"
    );
    let shown = mounted.options()?;
    ensure!(
        !shown.contains("dax"),
        "/proc/mounts shows {shown} where there is no DAX"
    );
    every_file(env, mounted.dir(), Dax::None)?;
    mounted.unmount()
}

/// A volume with each of the files twice, the second one flagged.
fn made(env: &Env, options: &[&str]) -> Result<()> {
    let dev = env.dev()?;
    volume::make(dev, options, LEN)?;
    let mounted = Mounted::new(Fstyp::Ext4, dev, "noinit_itable")?;
    for name in names() {
        let path = mounted.dir().join(&name);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)?;
        if name.ends_with(FLAGGED) {
            // A file takes the flag while it is empty.
            setflags(&file, getflags(&file)? | flag::DAX).context("FS_DAX_FL")?;
        }
        fill(env, &file, &name).with_context(|| name.clone())?;
    }
    mounted.unmount()
}

fn names() -> impl Iterator<Item = String> {
    FILES
        .iter()
        .flat_map(|name| [(*name).to_owned(), format!("{name}{FLAGGED}")])
}

fn fill(env: &Env, file: &File, name: &str) -> Result<()> {
    match kind(name) {
        "hole" => Ok(file.set_len(LARGE as u64)?),
        "unwritten" => Ok(fallocate(file, FallocateFlags::empty(), 0, LARGE as u64)?),
        "shifted" => {
            // Data that does not lie in the file as it lies in memory: a hole of one page comes before.
            file.write_all_at(&content(env, name)[PAGE..], PAGE as u64)?;
            Ok(file.sync_all()?)
        }
        _ => {
            let content = content(env, name);
            fallocate(file, FallocateFlags::empty(), 0, content.len() as u64)?;
            file.write_all_at(&content, 0)?;
            Ok(file.sync_all()?)
        }
    }
}

/// What kind of file it is, flagged or not.
fn kind(name: &str) -> &str {
    name.trim_end_matches(FLAGGED)
}

fn content(env: &Env, name: &str) -> Vec<u8> {
    let random = |stream, len| Bytes::new(env.seed, stream).take(len);
    match kind(name) {
        "hole" | "unwritten" => vec![0; LARGE],
        "shifted" => [vec![0; PAGE], random(1, LARGE - PAGE)].concat(),
        "small" => random(2, 3 * PAGE + 77),
        _ => random(3, LARGE),
    }
}

/// Each file is read in each way, and is DAX or not, as it should be.
fn every_file(env: &Env, dir: &Path, dax: Dax) -> Result<()> {
    for name in names() {
        one_file(env, &dir.join(&name), &name, dax.of(&name)).with_context(|| name.clone())?;
    }
    Ok(())
}

fn one_file(env: &Env, path: &Path, name: &str, dax: bool) -> Result<()> {
    let stat = statx(CWD, path, AtFlags::empty(), StatxFlags::BASIC_STATS)?;
    ensure!(
        stat.stx_attributes_mask.contains(StatxAttributes::DAX),
        "statx does not say whether it is DAX"
    );
    let says = stat.stx_attributes.contains(StatxAttributes::DAX);
    ensure!(says == dax, "statx says that DAX is {says}");

    let content = content(env, name);
    let file = File::open(path)?;
    fadvise(&file, 0, None, Advice::DontNeed)?;
    let cached = cached()?;
    let mut bytes = vec![0xee; content.len()];
    file.read_exact_at(&mut bytes, 0).context("read")?;
    ensure!(bytes == content, "read gives other content");
    let grown = cached_since(cached)?;
    if content.len() == LARGE {
        ensure!(
            (grown > LARGE as u64 / 2) != dax,
            "the page cache has grown by {grown} bytes"
        );
    }
    fadvise(&file, 0, None, Advice::DontNeed)?;

    let mapping = ReadMapping::new(&file, 0, content.len().next_multiple_of(PAGE))?;
    let before = faults::taken()?;
    for pos in (0..content.len()).step_by(PAGE) {
        ensure!(
            mapping.load(pos, 1)?[0] == content[pos],
            "page at {pos:#x} of the mapping"
        );
    }
    let taken = faults::taken()? - before;
    let mapped = mapping.load(0, content.len().next_multiple_of(PAGE))?;
    let (head, tail) = mapped.split_at(content.len());
    ensure!(head == content, "the mapping has other content");
    ensure!(
        tail.iter().all(|&byte| byte == 0),
        "the last page is not zeroes behind the end"
    );
    say(&format!("{name}: DAX {dax}, {taken} faults"));
    if dax {
        let pages = (content.len() / PAGE) as u64;
        match kind(name) {
            "huge" => {
                lies_in_huge_pages(&file)?;
                // A few more are the process's own.
                ensure!(
                    taken < 64,
                    "{taken} faults for {LARGE} bytes in pages of 2 MiB"
                );
            }
            // Nothing is mapped that was not asked for.
            "shifted" => ensure!(
                taken >= pages - 1,
                "{taken} faults for {pages} pages of 4 KiB"
            ),
            _ => {}
        }
    }
    Ok(())
}

/// The point of the test is lost on a file that lies otherwise.
fn lies_in_huge_pages(file: &File) -> Result<()> {
    let extents = fiemap(file, FIEMAP_SYNC)?;
    let huge = HUGE as u64;
    ensure!(
        extents
            .iter()
            .all(|extent| extent.physical % huge == 0 && extent.logical % huge == 0),
        "its extents are not aligned: {extents:x?}"
    );
    Ok(())
}

/// Bytes in the page cache.
fn cached() -> Result<u64> {
    const MEMINFO: &str = "/proc/meminfo";
    let text = fs::read_to_string(MEMINFO).context(MEMINFO)?;
    let kib = text
        .lines()
        .find_map(|line| line.strip_prefix("Cached:")?.trim().strip_suffix(" kB"))
        .context("no Cached")?;
    Ok(kib.trim().parse::<u64>()? << 10)
}

fn cached_since(before: u64) -> Result<u64> {
    Ok(cached()?.saturating_sub(before))
}
