// SPDX-License-Identifier: GPL-2.0

//! How much memory the kernel holds for itself, counted so that a leak of pages shows on any kernel.
//!
//! Counted is everything that is neither free, nor page cache, nor a process's: slab objects, vmalloc, per-CPU memory
//! and pages taken one by one. Before counting, what the kernel keeps only for speed is given back, and the counters
//! of all CPUs are added up. Pages on the per-CPU lists of the page allocator count as free.
//!
//! Beside the bytes, the objects of each slab cache are counted: one small object more each time is far below the noise
//! of the bytes, and plain there.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;

use anyhow::{Context, Result};

const MEMINFO: &str = "/proc/meminfo";
const ZONEINFO: &str = "/proc/zoneinfo";
const SLABS: &str = "/sys/kernel/slab";

/// Lines of `/proc/meminfo` that are free memory, or memory of processes and files.
const NOT_THE_KERNELS: &[&str] = &[
    "MemFree",
    "Buffers",
    "Cached",
    "SwapCached",
    "AnonPages",
    "SReclaimable",
    "KernelStack",
    "PageTables",
];

/// Bytes that the kernel holds for itself; the parts are of the total.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelMemory {
    /// All of it.
    pub total: u64,
    /// Slab objects and large kmalloc blocks.
    pub slab: u64,
    /// vmalloc, the modules' own text and data among it.
    pub vmalloc: u64,
    /// Per-CPU memory.
    pub percpu: u64,
    /// Objects in use of each slab cache, by its name. Empty on a kernel that does not count them.
    pub objects: BTreeMap<String, u64>,
}

impl KernelMemory {
    /// Gives back caches and counts.
    ///
    /// # Errors
    /// Not root, or a kernel without these files.
    pub fn now() -> Result<Self> {
        for (file, text) in [
            ("/proc/sys/vm/drop_caches", "3"),
            ("/proc/sys/vm/stat_refresh", "1"),
        ] {
            fs::write(file, text).context(file)?;
        }
        let mut objects = BTreeMap::new();
        for slab in fs::read_dir(SLABS).context(SLABS)? {
            let slab = slab.context(SLABS)?;
            // Aliases of one merged cache refuse now and then; what they keep is part of the noise.
            let _ = fs::write(slab.path().join("shrink"), "1");
            let count = fs::read_to_string(slab.path().join("objects"))
                .ok()
                .and_then(|text| text.split_whitespace().next()?.parse::<u64>().ok());
            if let Some(count) = count {
                let name = slab.file_name().to_string_lossy().into_owned();
                *objects.entry(family(&name)).or_insert(0) += count;
            }
        }
        let meminfo = fs::read_to_string(MEMINFO).context(MEMINFO)?;
        let zoneinfo = fs::read_to_string(ZONEINFO).context(ZONEINFO)?;
        Ok(Self {
            objects,
            ..Self::count(&meminfo, &zoneinfo)?
        })
    }

    fn count(meminfo: &str, zoneinfo: &str) -> Result<Self> {
        let value =
            |name: &str| field(meminfo, name).with_context(|| format!("{MEMINFO}: no {name}"));
        let mut others = cached_by_cpus(zoneinfo);
        for name in NOT_THE_KERNELS {
            others += value(name)?;
        }
        Ok(Self {
            total: value("MemTotal")?.saturating_sub(others),
            slab: value("SUnreclaim")?,
            vmalloc: value("VmallocUsed")?,
            percpu: value("Percpu")?,
            objects: BTreeMap::new(),
        })
    }
}

impl fmt::Display for KernelMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [total, slab, vmalloc, percpu] =
            [self.total, self.slab, self.vmalloc, self.percpu].map(|bytes| bytes >> 10);
        write!(
            f,
            "{total} KiB (slab {slab}, vmalloc {vmalloc}, per-CPU {percpu})"
        )
    }
}

/// What `cache` is one of: kmalloc has many copies of each of its caches, and takes one by the caller's address, which
/// is another one each time that a module is loaded.
fn family(cache: &str) -> String {
    match cache
        .strip_prefix("kmalloc-rnd-")
        .and_then(|rest| rest.split_once('-'))
    {
        Some((_, size)) => format!("kmalloc-{size}"),
        None => cache.to_owned(),
    }
}

/// Bytes in line `name` of `/proc/meminfo`, which counts in KiB.
fn field(meminfo: &str, name: &str) -> Option<u64> {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? << 10)
}

/// Bytes of free pages that CPUs keep for themselves: the `count:` of each of their lists in `/proc/zoneinfo`.
fn cached_by_cpus(zoneinfo: &str) -> u64 {
    let counts = zoneinfo.lines().filter_map(|line| {
        line.trim()
            .strip_prefix("count:")?
            .trim()
            .parse::<u64>()
            .ok()
    });
    counts.sum::<u64>() * rustix::param::page_size() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE_MEMINFO: &str = "\
MemTotal:        2000000 kB
MemFree:         1500000 kB
MemAvailable:    1800000 kB
Buffers:            1000 kB
Cached:           200000 kB
SwapCached:            0 kB
AnonPages:         20000 kB
Slab:              90000 kB
SReclaimable:      30000 kB
SUnreclaim:        60000 kB
KernelStack:        2000 kB
PageTables:         3000 kB
VmallocUsed:       11000 kB
Percpu:             1500 kB
";
    const SAMPLE_ZONEINFO: &str = "\
Node 0, zone   Normal
  pages free     375000
  pagesets
    cpu: 0
              count:    10
              high:     14
    cpu: 1
              count:    32
";

    #[test]
    fn what_is_left_is_the_kernels() {
        let memory = KernelMemory::count(SAMPLE_MEMINFO, SAMPLE_ZONEINFO).unwrap();
        let pages = 42 * rustix::param::page_size() as u64;
        assert_eq!(memory.total, (244_000 << 10) - pages);
        assert_eq!(
            (memory.slab, memory.vmalloc, memory.percpu),
            (60_000 << 10, 11_000 << 10, 1500 << 10)
        );
    }

    #[test]
    fn copies_of_a_kmalloc_cache_are_one_family() {
        assert_eq!(family("kmalloc-rnd-07-256"), family("kmalloc-256"));
        assert_ne!(family("kmalloc-rnd-07-256"), family("kmalloc-rnd-07-512"));
        assert_eq!(family("ext4_inode_cache"), "ext4_inode_cache");
    }

    #[test]
    fn a_kernel_that_does_not_count_is_refused() {
        assert!(KernelMemory::count("MemTotal: 1 kB\n", SAMPLE_ZONEINFO).is_err());
    }
}
