// SPDX-License-Identifier: GPL-2.0

//! With protection information of type 1 and 3, a CRC and an IP checksum as guard, sectors of 512 and 4096 bytes: the disk
//! finds all that 64 threads have written at once as the guards say, and what does not fit its guard is an error for who
//! reads it.
//!
//! That the disk looks, each case sees first: it writes to the disk itself what changes meanwhile, as nobody copies that.
//!
//! Promise 1, stable data.
//! Filesystems that fail it: ext4, all cases; XFS, some of them in most runs. (Of btrfs only writes are looked at.)

use std::borrow::Cow;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{bail, ensure, Context, Result};
use rustix::io::Errno;
use stablefs_selftests::counters::counter;
use stablefs_selftests::devices::{self, kernel_name};
use stablefs_selftests::filesystem::Fstyp;
use stablefs_selftests::ioctl::{fiemap, FIEMAP_SYNC};
use stablefs_selftests::kmsg::Kmsg;
use stablefs_selftests::mounted::Mounted;
use stablefs_selftests::needs::{Needs, Volume};
use stablefs_selftests::program::{Case, Env, Program};
use stablefs_selftests::scsi::{Sector, Switch};
use stablefs_selftests::scsi_debug::{Disk, Format};
use stablefs_selftests::seed::Bytes;
use stablefs_selftests::trial::open_direct;
use stablefs_selftests::volume;
use stablefs_selftests::words::{Words, WORD};

use crate::corrupt_sector_is_an_error::{direct, names_the_place, read};
use crate::stable_pages_mixed::mixed;

pub(crate) const PROGRAM: Program = Program {
    name: "integrity_formats",
    needs: Needs {
        // Each case has a disk of its own.
        on: Cow::Borrowed(&[]),
        volume: Volume::Raw,
        only: Cow::Borrowed(&[]),
    },
    cases: &[
        Case::new("type_1_crc_512", |env| tried(env, 1, false, 512)),
        Case::new("type_1_crc_4096", |env| tried(env, 1, false, 4096)),
        Case::new("type_1_ip_512", |env| tried(env, 1, true, 512)),
        Case::new("type_1_ip_4096", |env| tried(env, 1, true, 4096)),
        Case::new("type_3_crc_512", |env| tried(env, 3, false, 512)),
        Case::new("type_3_crc_4096", |env| tried(env, 3, false, 4096)),
        Case::new("type_3_ip_512", |env| tried(env, 3, true, 512)),
        Case::new("type_3_ip_4096", |env| tried(env, 3, true, 4096)),
    ],
};

/// Of the disk: no volume of XFS is smaller.
const MIB: u32 = 320;
const BLOCK: u32 = 4096;
const ROUNDS: u64 = 4;
/// Bytes of a file, and where in it a sector is corrupted.
const LEN: usize = 1 << 20;
const BAD: usize = 100 * BLOCK as usize;

fn tried(env: &Env, dif: u32, ip: bool, sector: u32) -> Result<()> {
    let disk = Disk::new(Format { dif, ip, sector }, MIB)?;
    let dev = disk.path();
    let guard = if ip { "IP" } else { "CRC" };
    let wanted = format!("T10-DIF-TYPE{dif}-{guard}");
    let name = kernel_name(dev)?;
    let format = format!("/sys/class/block/{name}/integrity/format");
    let found = fs::read_to_string(&format).context(format)?;
    ensure!(found.trim() == wanted, "{found}, want {wanted}");
    ensure!(devices::sector(dev)? == sector, "other sectors");

    disk_looks(dev).context("the disk itself")?;
    let env = env.on(dev);
    let stable = mixed(&env, BLOCK, ROUNDS);
    let verified = match env.fstyp {
        // It shows no places on the disk.
        Fstyp::Btrfs => Ok(()),
        _ => verified(&env),
    };
    match (stable, verified) {
        (Err(stable), Err(verified)) => bail!("{stable:#}\n{verified:#}"),
        (stable, verified) => stable.and(verified),
    }
}

/// The disk refuses data that change after their guard was made.
fn disk_looks(dev: &Path) -> Result<()> {
    const AT_ONCE: usize = 64 << 10;
    const TRIES: usize = 200;
    let disk = open_direct(dev)?;
    let words = Words::private(AT_ONCE)?;
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for value in 0.. {
                (0..AT_ONCE / WORD).for_each(|index| words.store(index, value));
                if over.load(Ordering::Relaxed) {
                    return;
                }
            }
        });
        let refused = (0..TRIES).any(|_| words.write_to(0..AT_ONCE, &disk, 0).is_err());
        over.store(true, Ordering::Relaxed);
        ensure!(refused, "it takes whatever changes");
        Ok(())
    })?;
    // What has changed while the disk took it, after it had looked, nobody could read.
    Ok(words.write_to(0..AT_ONCE, &disk, 0)?)
}

/// What is read is looked at, by disk and kernel, and by the kernel alone.
fn verified(env: &Env) -> Result<()> {
    let dev = env.dev()?;
    volume::make_small(env.fstyp, dev, BLOCK, 64)?;
    let content = Bytes::new(env.seed, 0).take(LEN);
    let mounted = Mounted::new(env.fstyp, dev, "")?;
    let path = mounted.dir().join("file");
    fs::write(&path, &content)?;
    let file = File::open(&path)?;
    file.sync_all()?;
    let extents = fiemap(&file, FIEMAP_SYNC)?;
    drop(file);
    mounted.unmount()?;
    let bad = BAD as u64;
    let mut extents = extents.iter();
    let extent =
        extents.find(|extent| (extent.logical..extent.logical + extent.length).contains(&bad));
    let extent = extent.context("no extent")?;
    let sector = Sector::read(dev, extent.physical + bad - extent.logical)?;
    sector.corrupt()?;
    for by_disk in [true, false] {
        let who = if by_disk { "disk" } else { "kernel" };
        let alone = match by_disk {
            true => None,
            false => Some(Switch::protection_type(dev, "0")?),
        };
        let mounted = Mounted::new(env.fstyp, dev, "ro")?;
        let path = mounted.dir().join("file");
        refused(env, &path, &content).with_context(|| format!("verified by the {who}"))?;
        if env.fstyp == Fstyp::Stablefs {
            let errors = counter(dev, "guard_errors_read")?;
            ensure!(errors > 0 || by_disk, "no guard error was counted");
        }
        mounted.unmount()?;
        drop(alone);
    }
    sector.repair()?;
    let mounted = Mounted::new(env.fstyp, dev, "ro")?;
    let repaired = fs::read(mounted.dir().join("file")).context("once it is repaired")?;
    ensure!(repaired == content, "other content once it is repaired");
    mounted.unmount()
}

fn refused(env: &Env, path: &Path, content: &[u8]) -> Result<()> {
    let (bad, block) = (BAD as u64, u64::from(BLOCK));
    let mut log = Kmsg::mark()?;
    let cached = read(path, bad, block);
    ensure!(
        cached == Err(Errno::IO),
        "read: want EIO, got {:?}",
        cached.map(|bytes| bytes.len())
    );
    let directly = direct(path, bad, block);
    ensure!(
        directly == Err(Errno::IO)
            || (directly == Err(Errno::ILSEQ) && env.fstyp != Fstyp::Stablefs),
        "direct read: want EIO, got {:?}",
        directly.map(|bytes| bytes.len())
    );
    if env.fstyp == Fstyp::Stablefs {
        names_the_place(
            env.dev()?,
            fs::metadata(path)?.ino(),
            bad,
            &log.lines_since()?,
        )?;
    }
    for pos in [bad - block, bad + block] {
        let wanted = &content[pos as usize..][..BLOCK as usize];
        for found in [read(path, pos, block)?, direct(path, pos, block)?] {
            ensure!(found == wanted, "other content at {pos:#x}");
        }
    }
    Ok(())
}
