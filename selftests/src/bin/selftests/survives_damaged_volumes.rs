// SPDX-License-Identifier: GPL-2.0

//! A volume with one damaged structure is refused, or read as far as it goes: no panic, no warning, no endless loop, an
//! errno that says what is wrong, and a line in the log that says where.
//!
//! Promise 3, honest failure. No control breaks it: the undamaged volume is read without errors, and damage of each
//! sort is noticed, or the test fails.
//! Filesystems: those that read ext4 volumes. ext4 is not asked for a line in the log.

use std::borrow::Cow;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{symlink, FileExt};
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{bail, ensure, Context, Result};
use damage::{Checksums, Damage, Image};
use rustix::fs::{lsetxattr, XattrFlags};
use rustix::io::Errno;
use stablefs_selftests::command::succeed;
use stablefs_selftests::devices::Kind;
use stablefs_selftests::filesystem::Fstyp;
use stablefs_selftests::kmsg::Kmsg;
use stablefs_selftests::mounted::Mounted;
use stablefs_selftests::needs::{Needs, Volume};
use stablefs_selftests::populate::hashed;
use stablefs_selftests::program::{say, Case, Env, Program};
use stablefs_selftests::rummage::rummage;

pub(crate) const PROGRAM: Program = Program {
    name: "survives_damaged_volumes",
    needs: Needs {
        on: Cow::Borrowed(&[Kind::Plain]),
        volume: Volume::Raw,
        only: Cow::Borrowed(&[Fstyp::Stablefs, Fstyp::Ext4]),
    },
    cases: &[
        Case::new("undamaged", undamaged),
        Case::new("fields_changed_and_checksums_right", |env| {
            damaged(env, 60, |image, seed| {
                image.damage(seed, Checksums::Repaired)
            })
        }),
        Case::new("fields_changed", |env| {
            damaged(env, 20, |image, seed| image.damage(seed, Checksums::Left))
        }),
        Case::new("bits_flipped", |env| {
            damaged(env, 20, |image, seed| image.flip(seed))
        }),
    ],
};

/// Until the log takes lines again.
const BUDGET: Duration = Duration::from_secs(6);
const LIMIT: Duration = Duration::from_secs(120);
/// Bytes of the volume.
const LEN: usize = 24 << 20;
/// What may be said of a damaged structure, or of what it does not lead to any more.
const EXPECTED: &[Errno] = &[
    Errno::UCLEAN,
    Errno::BADMSG,
    Errno::IO,
    Errno::OPNOTSUPP,
    Errno::INVAL,
    Errno::NOENT,
    Errno::LOOP,
    Errno::NOTDIR,
    Errno::NAMETOOLONG,
    Errno::STALE,
    Errno::NODATA,
    Errno::NXIO,
];
/// Those that say that the format is not kept; `EIO` is all that a read of the page cache can say.
const BROKEN: &[Errno] = &[Errno::UCLEAN, Errno::BADMSG, Errno::IO];

fn undamaged(env: &Env) -> Result<()> {
    make(env)?;
    let volume = Mounted::new(env.fstyp, env.dev()?, "ro")?;
    let found = rummage(volume.dir())?;
    volume.unmount()?;
    ensure!(found.errors.is_empty(), "errors: {:?}", found.errors);
    ensure!(found.names > 2_000 && found.bytes > 500_000, "{found:?}");
    Ok(())
}

/// What becomes of volumes with a damage.
#[derive(Debug, Default)]
struct Outcomes {
    refused: usize,
    with_errors: usize,
    without_errors: usize,
}

/// Damages the volume in `n` ways, or `LONGER` times as many.
fn damaged(env: &Env, n: u64, damage: fn(&Image<'_>, u64) -> Damage) -> Result<()> {
    let mut bytes = make(env)?;
    let whole = bytes.clone();
    let image =
        Image::open(&whole).map_err(|wrong| anyhow::anyhow!("the undamaged volume: {wrong:?}"))?;
    let dev = OpenOptions::new().write(true).open(env.dev()?)?;
    let mut outcomes = Outcomes::default();
    for seed in env.seed..env.seed + n * env.longer {
        let damage = damage(&image, seed);
        let undo = damage.apply(&mut bytes);
        write(&dev, &damage)?;
        let tried = try_volume(env, &mut outcomes);
        write(&dev, &undo)?;
        undo.apply(&mut bytes);
        tried.with_context(|| format!("seed {seed}: {}", damage.what))?;
    }
    say(&format!("{outcomes:?}"));
    ensure!(
        outcomes.refused + outcomes.with_errors > 0,
        "no damage was noticed"
    );
    env.fstyp.check(env.dev()?)
}

fn try_volume(env: &Env, outcomes: &mut Outcomes) -> Result<()> {
    if is_blamed(env, outcomes)? {
        return Ok(());
    }
    // The log takes no more than so many lines of the module at a time.
    sleep(BUDGET);
    ensure!(
        is_blamed(env, &mut Outcomes::default())?,
        "the log does not say what is wrong"
    );
    Ok(())
}

/// Whether the log says what is wrong with a volume, if something is.
fn is_blamed(env: &Env, outcomes: &mut Outcomes) -> Result<bool> {
    let mut log = Kmsg::mark()?;
    let Ok(volume) = Mounted::new(env.fstyp, env.dev()?, "ro") else {
        outcomes.refused += 1;
        return blames(env, &mut log);
    };
    let found = rummage(volume.dir());
    volume.unmount()?;
    let errors = found?.errors;
    let known = |errno: &i32| EXPECTED.iter().any(|e| e.raw_os_error() == *errno);
    if let Some(errno) = errors.keys().find(|errno| !known(errno)) {
        bail!("errno {errno}");
    }
    if errors.is_empty() {
        outcomes.without_errors += 1;
    } else {
        outcomes.with_errors += 1;
    }
    if BROKEN
        .iter()
        .any(|e| errors.contains_key(&e.raw_os_error()))
    {
        return blames(env, &mut log);
    }
    Ok(true)
}

/// Whether some line of the log names a volume.
fn blames(env: &Env, log: &mut Kmsg) -> Result<bool> {
    let lines = log.lines_since()?;
    let mut lines = lines.iter();
    Ok(env.fstyp != Fstyp::Stablefs || lines.any(|line| line.starts_with("stablefs (")))
}

fn write(dev: &File, damage: &Damage) -> Result<()> {
    for patch in &damage.patches {
        dev.write_all_at(&patch.bytes, patch.pos)
            .context("device")?;
    }
    dev.sync_all().context("device")
}

/// Makes a volume with one of each structure on the device, and gives its bytes.
fn make(env: &Env) -> Result<Vec<u8>> {
    let dev = env.dev()?;
    let mut mke2fs = Command::new("mke2fs");
    mke2fs
        .args(["-q", "-F", "-t", "ext4", "-b", "1024", "-N", "1024"])
        .args(["-E", "nodiscard"])
        .arg(dev)
        .arg(format!("{}K", LEN >> 10));
    succeed(&mut mke2fs, LIMIT)?;
    let volume = Mounted::new(Fstyp::Ext4, dev, "noinit_itable")?;
    fill(volume.dir(), env.seed)?;
    volume.unmount()?;
    let mut bytes = vec![0; LEN];
    File::open(dev)?.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

fn fill(root: &Path, seed: u64) -> Result<()> {
    // A tree of two levels, and one of one.
    for (name, names) in [("large", 2_300), ("small", 200)] {
        let dir = root.join(name);
        fs::create_dir(&dir)?;
        hashed(&dir, seed, names)?;
    }
    fs::create_dir_all(root.join("a/b/c/d"))?;
    fs::write(root.join("a/file"), "text")?;
    symlink("file", root.join("a/short"))?;
    symlink("x".repeat(300), root.join("a/long"))?;

    // A tree of two levels: every other block, one by one so that they are not allocated together.
    let fragmented = File::create(root.join("fragmented"))?;
    for block in 0..500 {
        fragmented.write_all_at(&[7; 1024], block * 2048)?;
    }
    let file = root.join("attributes");
    fs::write(&file, "text")?;
    for n in 0..12 {
        let name = format!("user.number{n}");
        lsetxattr(&file, &name, &[7; 50], XattrFlags::empty())?;
    }
    // A short list: user, group, others, mask, and user 7.
    let acl = [
        2, 0, 0, 0, 1, 0, 6, 0, 255, 255, 255, 255, 2, 0, 4, 0, 7, 0, 0, 0, 4, 0, 4, 0, 255, 255,
        255, 255, 16, 0, 4, 0, 255, 255, 255, 255, 32, 0, 4, 0, 255, 255, 255, 255,
    ];
    lsetxattr(&file, "system.posix_acl_access", &acl, XattrFlags::empty())?;
    Ok(())
}
