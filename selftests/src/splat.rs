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
    " blocked in I/O wait for more than ",
    "hard LOCKUP",
    "Kernel memory leak detector disabled",
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
    fn reports_are_told_from_ordinary_lines() {
        let samples = include_str!("splat-samples").lines();
        let mut seen = [0, 0];
        for sample in samples.filter(|line| !line.starts_with('#')) {
            let (mark, line) = sample.split_once(' ').unwrap();
            assert_eq!(opens_report(line), mark == "!", "{line}");
            seen[usize::from(mark == "!")] += 1;
        }
        assert!(seen[0] > 5 && seen[1] > 20, "{seen:?}");
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
