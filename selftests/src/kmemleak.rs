// SPDX-License-Identifier: GPL-2.0

//! The kernel's leak detector, where it is built in: see `Documentation/dev-tools/kmemleak.rst`.

use std::fs::{self, OpenOptions};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

const FILE: &str = "/sys/kernel/debug/kmemleak";
const OPENING: &str = "unreferenced object";
/// Reports that are shown; one leak in a loop makes hundreds.
const SHOWN: usize = 10;
/// Objects younger than 5 s are not reported.
const YOUTH: Duration = Duration::from_secs(6);

/// Whether this kernel has the detector, switched on. Takes root and a mounted debugfs.
pub fn available() -> bool {
    OpenOptions::new().write(true).open(FILE).is_ok()
}

/// One object that nothing refers to. Reports are equal when they are about the same object.
#[derive(Debug)]
pub struct Report {
    text: String,
}

impl Report {
    /// Address and size.
    fn object(&self) -> Option<&str> {
        self.text.lines().next()
    }
}

impl PartialEq for Report {
    fn eq(&self, other: &Self) -> bool {
        self.object() == other.object()
    }
}

/// Scans memory, and returns a report for each object that nothing refers to; those of [`known`] are among them.
///
/// # Errors
/// The detector has switched itself off, or cannot be read.
pub fn scan() -> Result<Vec<Report>> {
    thread::sleep(YOUTH);
    // An object is reported once two scans have found it unreferenced and unchanged.
    for _ in 0..2 {
        fs::write(FILE, "scan").context(FILE)?;
    }
    known()
}

/// The reports of all scans so far.
///
/// # Errors
/// The detector cannot be read.
pub fn known() -> Result<Vec<Report>> {
    Ok(split(&fs::read_to_string(FILE).context(FILE)?))
}

/// The number of reports, and the text of the first ones.
pub fn show(reports: &[Report]) -> String {
    let texts = reports
        .iter()
        .take(SHOWN)
        .map(|report| report.text.as_str());
    let head = format!(
        "{} objects leaked, the first {SHOWN} of them at most:",
        reports.len()
    );
    [head.as_str()]
        .into_iter()
        .chain(texts)
        .collect::<Vec<_>>()
        .join("\n")
}

fn split(text: &str) -> Vec<Report> {
    let mut reports: Vec<Report> = Vec::new();
    for line in text.lines() {
        match reports.last_mut() {
            Some(report) if !line.starts_with(OPENING) => {
                report.text.push('\n');
                report.text.push_str(line);
            }
            _ => reports.push(Report {
                text: line.to_owned(),
            }),
        }
    }
    reports
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_are_told_apart() {
        let text = "\
unreferenced object 0xffff8881045b1c00 (size 1024):
  comm \"insmod\", pid 301, jiffies 4294900123
  backtrace (crc 4b62b1a1):
    __kmalloc_noprof+0x2f1/0x420
unreferenced object 0xffff8881045b2000 (size 64):
  comm \"insmod\", pid 301, jiffies 4294900124
";
        let reports = split(text);
        assert_eq!(reports.len(), 2);
        assert!(reports[0].text.ends_with("0x420") && reports[1].text.contains("(size 64)"));
        assert_ne!(reports[0], reports[1]);
        assert!(show(&reports).starts_with("2 objects leaked"));
        assert!(split("").is_empty());
    }
}
