// SPDX-License-Identifier: GPL-2.0

//! How many page faults this process has taken: see `Documentation/filesystems/proc.rst` on `/proc/PID/stat`.

use std::fs;

use anyhow::{Context, Result};

const STAT: &str = "/proc/self/stat";

/// Page faults so far, with and without waiting for a device.
///
/// # Errors
/// `/proc` is not mounted.
pub fn taken() -> Result<u64> {
    let stat = fs::read_to_string(STAT).context(STAT)?;
    parse(&stat).with_context(|| format!("{STAT}: {stat}"))
}

/// `pid (name) state ppid pgrp session tty tpgid flags minflt cminflt majflt …`, where the name may hold anything.
fn parse(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut words = rest.split_whitespace().skip(7);
    let minor: u64 = words.next()?.parse().ok()?;
    let major: u64 = words.nth(1)?.parse().ok()?;
    minor.checked_add(major)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sorts_are_added() {
        assert_eq!(
            parse("7 (a) b) R 1 7 7 0 -1 4194304 100 5 20 6 0 0"),
            Some(120)
        );
        assert_eq!(parse("7 (a) R 1"), None);
        assert!(taken().unwrap() > 0);
    }
}
