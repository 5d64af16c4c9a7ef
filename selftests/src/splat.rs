// SPDX-License-Identifier: GPL-2.0

//! Finds the kernel's complaints about itself in its log.

/// Longest part of the log that is shown as one report.
const REPORT_LINES: usize = 200;

/// How such reports begin. Lines that ordinary operation prints are not here: a medium error, or a filesystem that
/// refuses a volume, is a result for the test to judge.
const OPENINGS: &[&str] = &[
    "WARNING: ",
    "BUG: ",
    "BUG ",
    "kernel BUG at ",
    "Oops: ",
    "Oops:",
    "general protection fault",
    "Kernel panic",
    "UBSAN: ",
    "rust_kernel: panicked",
    "watchdog: BUG",
    "VFS: Busy inodes after unmount",
    "unreferenced object",
    "kfence: ",
];

/// Phrases of reports that open with a name or a number.
const PHRASES: &[&str] = &[
    ": possible recursive locking detected",
    " blocked for more than ",
    " detected stalls on CPUs",
    " self-detected stall on CPU",
    " detected expedited stalls",
    "INFO: trying to register non-static key",
    "new suspected memory leaks",
];

/// Whether `line` of the log opens a report: WARN, BUG, oops, lockdep, KASAN, UBSAN, hung task, stall or leak.
///
/// ```
/// use stablefs_selftests::splat::opens_report;
/// assert!(opens_report("BUG: KASAN: slab-use-after-free in iomap_finish_ioend+0x12/0x30"));
/// assert!(!opens_report("stablefs (sda): block size 77 is out of range"));
/// ```
pub fn opens_report(line: &str) -> bool {
    OPENINGS.iter().any(|opening| line.starts_with(opening))
        || PHRASES.iter().any(|phrase| line.contains(phrase))
}

/// The log from its first report on, or nothing if there is none.
pub fn find(lines: &[String]) -> Option<&[String]> {
    let first = lines.iter().position(|line| opens_report(line))?;
    let report = lines.get(first..)?;
    Some(report.get(..REPORT_LINES).unwrap_or(report))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn every_sort_of_report_is_found() {
        for line in [
            "WARNING: fs/ext4/inode.c:1823 at mpage_release_unused_pages+0x1c2/0x1e0, CPU#1: kworker/u8:2/41",
            "WARNING: CPU: 0 PID: 612 at mm/page-writeback.c:2716 __folio_mark_dirty+0x1f0/0x230",
            "WARNING: possible circular locking dependency detected",
            "WARNING: suspicious RCU usage",
            "BUG: KASAN: slab-use-after-free in jbd2_journal_stop+0x5a/0x300",
            "BUG: kernel NULL pointer dereference, address: 0000000000000010",
            "BUG: sleeping function called from invalid context at include/linux/sched/mm.h:321",
            "BUG: workqueue lockup - pool cpus=1 node=0 flags=0x0 nice=0 stuck for 34s!",
            "BUG kmalloc-64 (Tainted: G           O      ): Objects remaining on __kmem_cache_shutdown()",
            "kernel BUG at fs/buffer.c:1261!",
            "Oops: general protection fault, probably for non-canonical address 0xdead000000000100: 0000 [#1] SMP NOPTI",
            "Kernel panic - not syncing: Fatal exception",
            "UBSAN: array-index-out-of-bounds in fs/ext4/mballoc.c:112:9",
            "rust_kernel: panicked at rust/fs/extents.rs:88:17: attempt to add with overflow",
            "INFO: task fsstress:744 blocked for more than 120 seconds.",
            "rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:",
            "watchdog: BUG: soft lockup - CPU#1 stuck for 26s! [kworker/1:2:57]",
            "VFS: Busy inodes after unmount of pmem0 (stablefs)",
            "kmemleak: 3 new suspected memory leaks (see /sys/kernel/debug/kmemleak)",
            "unreferenced object 0xffff8881045b1c00 (size 1024):",
            "unreferenced object (percpu) 0x607f4a9ff2c8 (size 8):",
        ] {
            assert!(opens_report(line), "{line}");
        }
    }

    #[test]
    fn ordinary_lines_are_not_reports() {
        for line in [
            "stablefs: loading out-of-tree module taints kernel.",
            "EXT4-fs (pmem0): mounted filesystem 1b2c with ordered data mode. Quota mode: none.",
            "EXT4-fs warning (device sda): ext4_end_bio:353: I/O error 10 writing to inode 12",
            "sd 0:0:0:0: [sda] tag#12 Sense Key : Aborted Command [current]",
            "Buffer I/O error on dev dm-0, logical block 0, async page read",
            "DEBUG: nothing",
            "HARDWARE WARNING: is no kernel warning",
            "kmemleak: Kernel memory leak detector initialized (mem pool available: 39262)",
        ] {
            assert!(!opens_report(line), "{line}");
        }
    }

    #[test]
    fn report_runs_from_its_first_line() {
        let log =
            lines("usb 1-1: new device\nBUG: KASAN: x\nCall Trace:\n <TASK>\n dump_stack+0x1/0x2");
        assert_eq!(find(&log), Some(&log[1..]));
        assert_eq!(find(&log[..1]), None);
    }

    #[test]
    fn long_reports_are_cut() {
        let log = vec!["WARNING: x".to_owned(); REPORT_LINES * 2];
        assert_eq!(find(&log).map(<[_]>::len), Some(REPORT_LINES));
    }
}
