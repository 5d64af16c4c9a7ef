// SPDX-License-Identifier: GPL-2.0

//! On persistent memory, a block that the extents of a volume name twice is mapped for whoever comes first, in pages of
//! 4 KiB or 2 MiB. Who comes second gets SIGBUS and a line in the log, and the kernel has nothing to complain of. Once
//! the first is gone the other one can have it.
//!
//! Promise 3, honest failure. Broken by control `skip_dax_claim`, which maps whatever the extents say.
//! Filesystems: stablefs. On such a volume ext4 makes the kernel warn.

use std::borrow::Cow;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use anyhow::{ensure, Context, Result};
use damage::{Image, Kind as Part, Structure};
use rustix::fs::{fallocate, FallocateFlags};
use stablefs_selftests::child::{self, Loaded};
use stablefs_selftests::devices::Kind;
use stablefs_selftests::faults;
use stablefs_selftests::filesystem::Fstyp;
use stablefs_selftests::kmsg::Kmsg;
use stablefs_selftests::mapping::ReadMapping;
use stablefs_selftests::mounted::Mounted;
use stablefs_selftests::needs::{Needs, Volume};
use stablefs_selftests::program::{say, Case, Env, Program};
use stablefs_selftests::seed::Bytes;
use stablefs_selftests::volume;

pub(crate) const PROGRAM: Program = Program {
    name: "dax_maps_a_block_once",
    needs: Needs {
        on: Cow::Borrowed(&[Kind::Pmem]),
        volume: Volume::Raw,
        only: Cow::Borrowed(&[Fstyp::Stablefs]),
    },
    cases: &[
        Case::new("undamaged", undamaged),
        Case::new("named_twice", named_twice),
    ],
};

/// Bytes of the volume.
const LEN: usize = 64 << 20;
/// Blocks of a page, placed so that large files begin at multiples of 2 MiB.
const ALIGNED: &[&str] = &["-b", "4096", "-E", "stride=512,stripe_width=512"];
const PAGE: usize = 4096;
const HUGE: usize = 2 << 20;
/// Files and their lengths.
const FILES: &[(&str, usize)] = &[
    ("one", PAGE),
    ("other", PAGE),
    (TWO, 3 * PAGE),
    ("huge", HUGE),
    ("also huge", HUGE),
    ("inside", PAGE),
];
/// Of three pages, and the one in the middle is a hole.
const TWO: &str = "two extents";
/// The block of `huge` that `inside` has, too.
const INSIDE: usize = 77;
const OPTIONS: &str = "ro,dax=always";

/// A place in a file, of one block.
#[derive(Clone, Copy)]
struct Place {
    name: &'static str,
    lblk: usize,
}

/// Two places that are one block.
struct Pair(Place, Place);

const fn place(name: &'static str, lblk: usize) -> Place {
    Place { name, lblk }
}

/// What the damage makes one block; of two files, in one, and with one or both of the pages huge. The first one keeps
/// what it has.
const PAIRS: &[Pair] = &[
    Pair(place("one", 0), place("other", 0)),
    Pair(place(TWO, 0), place(TWO, 2)),
    Pair(place("huge", 0), place("also huge", 0)),
    Pair(place("huge", INSIDE), place("inside", 0)),
];

/// Each file can be mapped while all the others are.
fn undamaged(env: &Env) -> Result<()> {
    made(env)?;
    let mounted = Mounted::new(env.fstyp, env.dev()?, OPTIONS)?;
    let mut mappings = Vec::new();
    for (name, len) in FILES {
        let mapping = map(mounted.dir(), name)?;
        let before = faults::taken()?;
        for pos in (0..*len).step_by(PAGE) {
            mapping.load(pos, 1)?;
        }
        let taken = faults::taken()? - before;
        ensure!(taken < 64 || *len != HUGE, "{name}: {taken} faults");
        ensure!(mapping.load(0, *len)? == content(env, name), "{name}");
        mappings.push(mapping);
    }
    drop(mappings);
    mounted.unmount()
}

fn named_twice(env: &Env) -> Result<()> {
    made(env)?;
    damage(env)?;
    for pair in PAIRS {
        for (first, second) in [(pair.0, pair.1), (pair.1, pair.0)] {
            // What was claimed goes with the inodes.
            let mounted = Mounted::new(env.fstyp, env.dev()?, OPTIONS)?;
            let what = |p: Place| format!("block {} of '{}'", p.lblk, p.name);
            one_after_the_other(env, mounted.dir(), pair, first, second)
                .with_context(|| format!("{}, then {}", what(first), what(second)))?;
            mounted.unmount()?;
        }
    }
    Ok(())
}

fn one_after_the_other(
    env: &Env,
    dir: &Path,
    pair: &Pair,
    first: Place,
    second: Place,
) -> Result<()> {
    let shared = content(env, pair.0.name)[pair.0.lblk * PAGE..][..PAGE].to_vec();
    let mapping = map(dir, first.name)?;
    let load = || mapping.load(first.lblk * PAGE, PAGE);
    ensure!(load()? == shared, "the first one gets other data");

    let mut log = Kmsg::mark()?;
    if second.lblk > 0 {
        // The rest of the file is there; where a fault of 2 MiB meets the block, by smaller ones.
        let bytes = map(dir, second.name)?.load(0, PAGE)?;
        ensure!(
            bytes == content(env, second.name)[..PAGE],
            "the second file"
        );
    }
    let path = dir.join(second.name);
    let loaded = child::load(&path, (second.lblk * PAGE) as u64)?;
    ensure!(
        loaded == Loaded::SigBus,
        "the second one gets {loaded:?}, not SIGBUS"
    );
    let of = |place: Place| -> Result<u64> { Ok(fs::metadata(dir.join(place.name))?.ino()) };
    let start = format!("inode {}, block ", of(second)?);
    let end = format!("block {} of inode {}", first.lblk, of(first)?);
    let lines = log.lines_since()?;
    let line = lines.iter().find(|line| {
        line.starts_with("stablefs (") && line.contains(&start) && line.ends_with(&end)
    });
    say(line.with_context(|| format!("no line '{start}…{end}' in {lines:?}"))?);
    // The device is not to blame.
    let read_error = lines.iter().find(|line| line.contains("read error"));
    ensure!(read_error.is_none(), "{read_error:?}");

    // Reading does not map, and who has it mapped keeps it.
    let mut bytes = vec![0; PAGE];
    File::open(&path)?.read_exact_at(&mut bytes, (second.lblk * PAGE) as u64)?;
    ensure!(bytes == shared, "read gives other data");
    ensure!(load()? == shared, "the first one has lost its data");
    Ok(())
}

fn map(dir: &Path, name: &str) -> Result<ReadMapping> {
    let file = File::open(dir.join(name))?;
    let len = usize::try_from(file.metadata()?.len())?;
    ReadMapping::new(&file, 0, len).with_context(|| name.to_owned())
}

fn content(env: &Env, name: &str) -> Vec<u8> {
    let number = FILES.iter().position(|file| file.0 == name).unwrap_or(0);
    let mut bytes = Bytes::new(env.seed, number as u64).take(FILES[number].1);
    if name == TWO {
        bytes[PAGE..2 * PAGE].fill(0);
    }
    bytes
}

/// An undamaged volume.
fn made(env: &Env) -> Result<()> {
    let dev = env.dev()?;
    volume::make(dev, ALIGNED, &format!("{}M", LEN >> 20))?;
    let mounted = Mounted::new(Fstyp::Ext4, dev, "noinit_itable")?;
    for (name, len) in FILES {
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(mounted.dir().join(name))?;
        let content = content(env, name);
        if *name == TWO {
            file.write_all_at(&content[..PAGE], 0)?;
            file.write_all_at(&content[2 * PAGE..], 2 * PAGE as u64)?;
        } else {
            fallocate(&file, FallocateFlags::empty(), 0, *len as u64)?;
            file.write_all_at(&content, 0)?;
        }
        file.sync_all()?;
    }
    mounted.unmount()
}

/// Makes one block of each pair, with the checksums right.
fn damage(env: &Env) -> Result<()> {
    let dev = env.dev()?;
    let mounted = Mounted::new(Fstyp::Ext4, dev, "ro,noload")?;
    let inos = FILES
        .iter()
        .map(|(name, _)| {
            Ok((
                *name,
                u32::try_from(fs::metadata(mounted.dir().join(name))?.ino())?,
            ))
        })
        .collect::<Result<Vec<_>>>()?;
    mounted.unmount()?;

    let mut bytes = vec![0; LEN];
    File::open(dev)?.read_exact_at(&mut bytes, 0)?;
    let image =
        Image::open(&bytes).map_err(|wrong| anyhow::anyhow!("the undamaged volume: {wrong:?}"))?;
    let inode = |name: &str| -> Result<Structure> {
        let (_, ino) = inos.iter().find(|ino| ino.0 == name).context("no inode")?;
        let mut parts = image.structures().iter();
        let found = parts.find(|part| part.kind == Part::Inode(*ino));
        found.copied().context("no inode")
    };
    let dev = OpenOptions::new().write(true).open(dev)?;
    for Pair(from, to) in PAIRS {
        let (extent, within) = Extent::of(image.bytes(&inode(from.name)?), from.lblk)?;
        let pblk = extent.start + within;
        ensure!(
            from.name != "huge" || extent.start % 512 == 0,
            "'huge' begins at block {}",
            extent.start
        );
        let place = inode(to.name)?;
        let mut bytes = image.bytes(&place).to_vec();
        let (extent, within) = Extent::of(&bytes, to.lblk)?;
        ensure!(within == 0, "{} has no extent at {}", to.name, to.lblk);
        extent.set_start(&mut bytes, pblk);
        ensure!(image.seal(&place, &mut bytes).is_empty());
        dev.write_all_at(&bytes, place.pos as u64)?;
    }
    Ok(dev.sync_all()?)
}

/// An extent in an inode.
struct Extent {
    /// Where the entry is in the inode's bytes.
    pos: usize,
    /// Its first block on the volume.
    start: u32,
}

impl Extent {
    /// The one with block `lblk`, and how far that is from its beginning.
    fn of(inode: &[u8], lblk: usize) -> Result<(Self, u32)> {
        // Header and entries of 12 bytes in `i_block`: `eh_magic`, `eh_entries`, `eh_max`, `eh_depth`; `ee_block`,
        // `ee_len`, `ee_start_hi`, `ee_start_lo`.
        const ROOT: usize = 0x28;
        let u16_at = |pos: usize| u16::from_le_bytes([inode[pos], inode[pos + 1]]);
        let u32_at = |pos: usize| u32::from(u16_at(pos)) | (u32::from(u16_at(pos + 2)) << 16);
        ensure!(
            u16_at(ROOT) == 0xf30a && u16_at(ROOT + 6) == 0,
            "its extents are not in the inode"
        );
        let lblk = u32::try_from(lblk)?;
        (1..=usize::from(u16_at(ROOT + 2)))
            .map(|entry| ROOT + 12 * entry)
            .find_map(|pos| {
                let within = lblk.checked_sub(u32_at(pos))?;
                let start = u32_at(pos + 8);
                (within < u32::from(u16_at(pos + 4))).then_some((Self { pos, start }, within))
            })
            .with_context(|| format!("no block {lblk}"))
    }

    fn set_start(&self, inode: &mut [u8], start: u32) {
        inode[self.pos + 8..][..4].copy_from_slice(&start.to_le_bytes());
    }
}
