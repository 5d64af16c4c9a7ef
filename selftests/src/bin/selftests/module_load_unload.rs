// SPDX-License-Identifier: GPL-2.0

//! stablefs.ko can be inserted and removed any number of times, and takes nothing with it.
//!
//! Broken by controls `leak_on_exit`, which loses 64 KiB at each removal, and `leak_object_on_exit`, which loses one
//! object of 200 bytes: case `nothing_is_leaked` fails.
//! Filesystems: stablefs only; it needs no device.

use std::borrow::Cow;

use anyhow::{ensure, Context, Result};
use rustix::io::Errno;
use rustix::mount::{fsopen, FsOpenFlags};
use stablefs_selftests::filesystem::{registered, Fstyp, Registered};
use stablefs_selftests::kmemleak;
use stablefs_selftests::memory::KernelMemory;
use stablefs_selftests::module::Module;
use stablefs_selftests::needs::{Needs, Volume};
use stablefs_selftests::program::{say, Case, Env, Program};

pub(crate) const PROGRAM: Program = Program {
    name: "module_load_unload",
    needs: Needs {
        on: Cow::Borrowed(&[]),
        volume: Volume::Raw,
        only: Cow::Borrowed(&[Fstyp::Stablefs]),
    },
    cases: &[
        Case::new("a_second_load_is_refused", a_second_load_is_refused),
        Case::new("in_use_it_stays", in_use_it_stays),
        Case::new("nothing_is_leaked", nothing_is_leaked),
    ],
};

const CYCLES: usize = 100;
/// Cycles between two readings of the memory in use.
const PER_READING: usize = 5;
/// Readings that do not count: while the first cycles run, the kernel gives back what it kept from before them.
const LEFT_OUT: usize = 3;
/// The least that is a leak, from one reading to the next: of each slab cache, in objects, where 5 are more if one is lost in
/// each cycle; and of all memory, in bytes, which is less than a page in each cycle.
const LEAKED_OBJECTS: i64 = 2;
const LEAKED_BYTES: i64 = 15 << 10;

/// Whether numbers that were read one after the other grow by `least` or more from each to the next, apart from noise.
///
/// All pairs are looked at, neighbours and the first and the last: has the later one grown by that much for each reading
/// between? With a leak nearly all have, as it adds up and noise does not: what a cache holds now and then, and gives back,
/// spoils only the pairs in which that one reading comes first. Without one about half have, or fewer: where a cache
/// has grown once, for good, that are the pairs across that moment. So two thirds decide. Measured on a busy machine, of
/// 136 pairs: with one object lost in each cycle 87 to 95 % in its cache; without, 43 % at most, in caches that go up and
/// down by hundreds.
fn grows(readings: &[i64], least: i64) -> bool {
    let (mut grown, mut pairs) = (0, 0);
    for (at, first) in readings.iter().enumerate() {
        for (steps, last) in (1..).zip(&readings[at + 1..]) {
            pairs += 1;
            if last - first >= least * steps {
                grown += 1;
            }
        }
    }
    grown * 3 >= pairs * 2
}

fn a_second_load_is_refused(_: &Env) -> Result<()> {
    let module = Module::from_env()?;
    module.ensure_loaded()?;
    let second = module.load();
    ensure!(second == Err(Errno::EXIST), "want EEXIST, got {second:?}");
    is_registered(&module)
}

fn in_use_it_stays(_: &Env) -> Result<()> {
    let module = Module::from_env()?;
    module.ensure_loaded()?;
    let before = module.references()?;
    let context = fsopen("stablefs", FsOpenFlags::FSOPEN_CLOEXEC).context("fsopen")?;
    let held = module.references()?;
    ensure!(
        held > before,
        "a filesystem context does not hold the module: {before} references before, {held} after"
    );
    let refused = module.unload();
    ensure!(
        refused == Err(Errno::WOULDBLOCK),
        "removal while in use: want EWOULDBLOCK, got {refused:?}"
    );
    is_registered(&module)?;
    drop(context);
    module.unload().context("removal once unused")?;
    is_gone(&module)
}

fn nothing_is_leaked(_: &Env) -> Result<()> {
    let module = Module::from_env()?;
    module.ensure_unloaded()?;
    let detector = kmemleak::available();
    let known = if detector {
        kmemleak::known()?
    } else {
        Vec::new()
    };
    let mut readings = Vec::new();
    for cycle in 1..=CYCLES {
        load_and_unload(&module).with_context(|| format!("cycle {cycle}"))?;
        if cycle % PER_READING == 0 {
            let reading = KernelMemory::now()?;
            say(&format!("after {cycle} cycles the kernel holds {reading}"));
            readings.push(reading);
        }
    }
    if detector {
        let mut new = kmemleak::scan()?;
        new.retain(|report| !known.contains(report));
        ensure!(new.is_empty(), "{}", kmemleak::show(&new));
    }
    let readings = &readings[LEFT_OUT..];
    for cache in readings[0].objects.keys() {
        // Caches that come or go with somebody else are not ours.
        let counts: Option<Vec<i64>> = readings
            .iter()
            .map(|reading| Some(*reading.objects.get(cache)? as i64))
            .collect();
        let counts = counts.unwrap_or_default();
        ensure!(
            counts.is_empty() || !grows(&counts, LEAKED_OBJECTS),
            "slab cache {cache} holds more and more objects: {counts:?}"
        );
    }
    let totals: Vec<i64> = readings
        .iter()
        .map(|reading| reading.total as i64)
        .collect();
    ensure!(
        !grows(&totals, LEAKED_BYTES),
        "the kernel holds more and more bytes: {totals:?}"
    );
    Ok(())
}

fn load_and_unload(module: &Module) -> Result<()> {
    module.load().context("insert")?;
    is_registered(module)?;
    module.unload().context("remove")?;
    is_gone(module)
}

fn is_registered(module: &Module) -> Result<()> {
    ensure!(module.is_loaded(), "not in /sys/module");
    let found = registered("stablefs")?;
    ensure!(
        found == Some(Registered::OnDevice),
        "/proc/filesystems: want it with a device, found {found:?}"
    );
    Ok(())
}

fn is_gone(module: &Module) -> Result<()> {
    ensure!(!module.is_loaded(), "still in /sys/module");
    let found = registered("stablefs")?;
    ensure!(found.is_none(), "still in /proc/filesystems");
    Ok(())
}
