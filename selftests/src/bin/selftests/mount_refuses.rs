// SPDX-License-Identifier: GPL-2.0

//! A volume that stablefs cannot mount is refused with an errno of its own for each sort of reason, and one line in
//! the kernel log that names the reason; the same words reach the caller of mount(8).
//!
//! Promise 3, honest failure: everything seen wrong on the disk is an error with a reason. No control breaks it.
//! Filesystems: stablefs only; errnos and words are its own.

use std::borrow::Cow;
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{bail, ensure, Context, Result};
use rustix::io::Errno;
use rustix::mount::{fsconfig_create, fsconfig_set_string, fsopen, mount, FsOpenFlags, MountFlags};
use stablefs_selftests::blockdev::{Dm, Loop};
use stablefs_selftests::command::{run, succeed};
use stablefs_selftests::devices::{kernel_name, Kind};
use stablefs_selftests::filesystem::Fstyp;
use stablefs_selftests::kmsg::Kmsg;
use stablefs_selftests::module::Module;
use stablefs_selftests::needs::{Needs, Volume};
use stablefs_selftests::program::{Case, Env, Program};
use stablefs_selftests::scratch::Scratch;
use stablefs_selftests::seed::Bytes;
use stablefs_selftests::superblock::{self, Field, Superblock};

pub(crate) const PROGRAM: Program = Program {
    name: "mount_refuses",
    needs: Needs {
        on: Cow::Borrowed(Kind::ALL),
        volume: Volume::Raw,
        only: Cow::Borrowed(&[Fstyp::Stablefs]),
    },
    cases: &[
        Case::new("garbage", garbage),
        Case::new(
            "garbage_with_the_magic_number",
            garbage_with_the_magic_number,
        ),
        Case::new("zeroes", zeroes),
        Case::new("device_of_0_bytes", |_| too_small(0)),
        Case::new("device_of_1024_bytes", |_| too_small(1024)),
        Case::new("sectors_larger_than_a_page", |_| {
            sectors_larger_than_a_page()
        }),
        Case::new("unreadable_superblock", unreadable_superblock),
        Case::new("broken_checksum", broken_checksum),
        Case::new("impossible_block_size", impossible_block_size),
        Case::new("groups_without_inodes", groups_without_inodes),
        Case::new("casefold", |env| known_feature(env, "casefold")),
        Case::new("encrypt", |env| known_feature(env, "encrypt")),
        Case::new("unknown_incompat_feature", unknown_incompat_feature),
        Case::new("unknown_ro_compat_feature", unknown_ro_compat_feature),
        Case::new("mount_program_says_why", mount_program_says_why),
        Case::new(
            "old_mount_call_logs_one_line_too",
            old_mount_call_logs_one_line_too,
        ),
    ],
};

const LIMIT: Duration = Duration::from_secs(60);
/// Bytes of garbage: more than any filesystem's superblock reaches.
const GARBAGE: usize = 2 << 20;
/// A feature bit that the format has not given a meaning to; e2fsprogs calls it FEATURE_I30 or FEATURE_R30.
const UNKNOWN_FEATURE: u32 = 1 << 30;
/// log2 of the block size in KiB; the format ends at 6.
const IMPOSSIBLE_BLOCK_SIZE: u32 = 77;

fn garbage(env: &Env) -> Result<()> {
    fill(env.dev()?, |bytes| bytes.fill(0), env)?;
    refused(env.dev()?, &[Errno::INVAL], &["not an ext4 volume"])
}

/// Which of the broken things is found first is open.
fn garbage_with_the_magic_number(env: &Env) -> Result<()> {
    fill(
        env.dev()?,
        |bytes| bytes.copy_from_slice(&superblock::MAGIC),
        env,
    )?;
    refused(
        env.dev()?,
        &[Errno::UCLEAN, Errno::BADMSG, Errno::OPNOTSUPP],
        &[],
    )
}

/// Garbage, in which `set_magic` has set the two bytes of the magic number.
fn fill(dev: &Path, set_magic: fn(&mut [u8]), env: &Env) -> Result<()> {
    let mut bytes = Bytes::new(env.seed, 0).take(GARBAGE);
    set_magic(&mut bytes[superblock::MAGIC_POS..][..superblock::MAGIC.len()]);
    write_start(dev, &bytes)
}

fn zeroes(env: &Env) -> Result<()> {
    write_start(env.dev()?, &[0; 64 << 10])?;
    refused(env.dev()?, &[Errno::INVAL], &["not an ext4 volume"])
}

fn too_small(len: u64) -> Result<()> {
    let disk = Loop::new(len, 512)?;
    refused(
        disk.path(),
        &[Errno::INVAL],
        &["not an ext4 volume", &format!("{len} bytes")],
    )
}

/// The line is the VFS's own, which names the filesystem type and not the device.
fn sectors_larger_than_a_page() -> Result<()> {
    let disk = Loop::new(1 << 20, 2 * rustix::param::page_size() as u32)?;
    logs_one_line_beginning("stablefs: block size(", &["page size"], || {
        cannot_be_mounted(disk.path(), &[Errno::INVAL])
    })
}

fn unreadable_superblock(env: &Env) -> Result<()> {
    new_volume(env, &[])?;
    let dev = env.dev()?.display();
    let disk = Dm::new(&format!("0 8 error\n8 8184 linear {dev} 8"))?;
    refused(disk.path(), &[Errno::IO], &["superblock"])
}

fn broken_checksum(env: &Env) -> Result<()> {
    let mut sb = new_volume(env, &[])?;
    sb.set(Field::VOLUME_NAME, !sb.get(Field::VOLUME_NAME));
    sb.write()?;
    refused(env.dev()?, &[Errno::BADMSG], &["superblock", "checksum"])
}

fn impossible_block_size(env: &Env) -> Result<()> {
    let mut sb = new_volume(env, &[])?;
    sb.set(Field::LOG_BLOCK_SIZE, IMPOSSIBLE_BLOCK_SIZE);
    sb.seal();
    sb.write()?;
    refused(
        env.dev()?,
        &[Errno::UCLEAN],
        &["superblock", "s_log_block_size", "77"],
    )
}

fn groups_without_inodes(env: &Env) -> Result<()> {
    let mut sb = new_volume(env, &[])?;
    sb.set(Field::INODES_PER_GROUP, 0);
    sb.seal();
    sb.write()?;
    refused(
        env.dev()?,
        &[Errno::UCLEAN],
        &["superblock", "s_inodes_per_group", "0"],
    )
}

fn known_feature(env: &Env, feature: &str) -> Result<()> {
    new_volume(env, &["-O", feature])?;
    refused(env.dev()?, &[Errno::OPNOTSUPP], &[feature])
}

fn unknown_incompat_feature(env: &Env) -> Result<()> {
    with_unknown_incompat_feature(env)?;
    refused(env.dev()?, &[Errno::OPNOTSUPP], &["FEATURE_I30"])
}

fn unknown_ro_compat_feature(env: &Env) -> Result<()> {
    let mut sb = new_volume(env, &[])?;
    sb.set(
        Field::FEATURE_RO_COMPAT,
        sb.get(Field::FEATURE_RO_COMPAT) | UNKNOWN_FEATURE,
    );
    sb.seal();
    sb.write()?;
    refused(env.dev()?, &[Errno::OPNOTSUPP], &["FEATURE_R30"])
}

fn mount_program_says_why(env: &Env) -> Result<()> {
    const MOUNT_FAILED: i32 = 32;
    with_unknown_incompat_feature(env)?;
    let dir = Scratch::dir()?;
    let mut mount = Command::new("mount");
    mount
        .args(["-t", "stablefs"])
        .arg(env.dev()?)
        .arg(dir.path());
    let mut said = String::new();
    logs_one_line(env.dev()?, &["FEATURE_I30"], || {
        let output = run(&mut mount, LIMIT)?;
        ensure!(
            output.status.code() == Some(MOUNT_FAILED),
            "mount: want exit status 32, got {}",
            output.status
        );
        said = output.text;
        Ok(())
    })?;
    ensure!(
        said.contains("FEATURE_I30"),
        "mount does not name the reason, it says: {said}"
    );
    Ok(())
}

fn old_mount_call_logs_one_line_too(env: &Env) -> Result<()> {
    with_unknown_incompat_feature(env)?;
    let dir = Scratch::dir()?;
    logs_one_line(env.dev()?, &["FEATURE_I30"], || {
        let result = mount(
            env.dev()?,
            dir.path(),
            "stablefs",
            MountFlags::empty(),
            None,
        );
        ensure!(
            result == Err(Errno::OPNOTSUPP),
            "mount(2): want EOPNOTSUPP, got {result:?}"
        );
        Ok(())
    })
}

fn with_unknown_incompat_feature(env: &Env) -> Result<()> {
    let mut sb = new_volume(env, &[])?;
    sb.set(
        Field::FEATURE_INCOMPAT,
        sb.get(Field::FEATURE_INCOMPAT) | UNKNOWN_FEATURE,
    );
    sb.seal();
    sb.write()
}

/// Mounting `dev` read-write fails with one of `errnos`, and logs one line with all of `words` in it.
fn refused(dev: &Path, errnos: &[Errno], words: &[&str]) -> Result<()> {
    logs_one_line(dev, words, || cannot_be_mounted(dev, errnos))
}

fn cannot_be_mounted(dev: &Path, errnos: &[Errno]) -> Result<()> {
    let wanted = errnos
        .iter()
        .map(Errno::to_string)
        .collect::<Vec<_>>()
        .join(" or ");
    let context = fsopen("stablefs", FsOpenFlags::FSOPEN_CLOEXEC).context("fsopen")?;
    fsconfig_set_string(&context, "source", dev).context("fsconfig: source")?;
    match fsconfig_create(&context) {
        Err(errno) if errnos.contains(&errno) => Ok(()),
        Err(errno) => bail!("mount: want {wanted}, got {errno}"),
        Ok(()) => bail!("mount: want {wanted}, but it is mounted"),
    }
}

/// `attempt` logs one line as stablefs about `dev`, with all of `words` in it.
fn logs_one_line(dev: &Path, words: &[&str], attempt: impl FnOnce() -> Result<()>) -> Result<()> {
    let prefix = format!("stablefs ({}): ", kernel_name(dev)?);
    logs_one_line_beginning(&prefix, words, attempt)
}

fn logs_one_line_beginning(
    prefix: &str,
    words: &[&str],
    attempt: impl FnOnce() -> Result<()>,
) -> Result<()> {
    Module::from_env()?.ensure_loaded()?;
    let mut log = Kmsg::mark()?;
    let outcome = attempt();
    let mut lines = log.lines_since()?;
    lines.retain(|line| line.starts_with("stablefs"));
    outcome.with_context(|| format!("log: {lines:?}"))?;
    let [line] = lines.as_slice() else {
        bail!("want one line in the kernel log, found {lines:?}")
    };
    ensure!(
        line.starts_with(prefix),
        "want a line that begins {prefix:?}, found {line:?}"
    );
    for word in words {
        ensure!(line.contains(word), "want {word:?} in the line {line:?}");
    }
    Ok(())
}

/// A small new ext4 volume at the start of the device, made with `options` besides.
fn new_volume(env: &Env, options: &[&str]) -> Result<Superblock> {
    const KIB: &str = "16384";
    let mut mke2fs = Command::new("mke2fs");
    mke2fs
        .args(["-q", "-t", "ext4", "-E", "nodiscard"])
        .args(options)
        .arg(env.dev()?)
        .arg(KIB);
    succeed(&mut mke2fs, LIMIT)?;
    Superblock::open(env.dev()?)
}

/// Overwrites the start of the device.
fn write_start(dev: &Path, bytes: &[u8]) -> Result<()> {
    let file = OpenOptions::new()
        .write(true)
        .open(dev)
        .with_context(|| dev.display().to_string())?;
    file.write_all_at(bytes, 0)
        .and_then(|()| file.sync_all())
        .with_context(|| dev.display().to_string())
}
