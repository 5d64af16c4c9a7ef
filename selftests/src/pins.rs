// SPDX-License-Identifier: GPL-2.0

//! Pages that a device, or another user of `pin_user_pages()`, holds: see `Documentation/core-api/pin_user_pages.rst`.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{ensure, Context, Result};

const VMSTAT: &str = "/proc/vmstat";
const REFRESH: &str = "/proc/sys/vm/stat_refresh";
const LIMIT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);

/// Pins that are held now, of the whole machine.
///
/// # Errors
/// Not root, or a kernel that does not count them.
pub fn held() -> Result<u64> {
    // Each CPU counts for itself.
    fs::write(REFRESH, "1").context(REFRESH)?;
    let text = fs::read_to_string(VMSTAT).context(VMSTAT)?;
    parse(&text).with_context(|| format!("{VMSTAT}: no pins"))
}

/// Waits until their number is as `wanted` says.
///
/// # Errors
/// It is not for a minute.
pub fn wait(wanted: impl Fn(u64) -> bool) -> Result<()> {
    let deadline = Instant::now() + LIMIT;
    loop {
        let held = held()?;
        if wanted(held) {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "{held} pins are held");
        thread::sleep(POLL);
    }
}

fn parse(vmstat: &str) -> Option<u64> {
    let value = |name: &str| -> Option<u64> {
        let line = vmstat.lines().find_map(|line| line.strip_prefix(name));
        line?.trim().parse().ok()
    };
    value("nr_foll_pin_acquired ")?.checked_sub(value("nr_foll_pin_released ")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_given_back_is_not_held() {
        let sample = "nr_foll_pin_acquired 12\nnr_foll_pin_released 9\nnr_dirty 4\n";
        assert_eq!(parse(sample), Some(3));
        assert_eq!(parse("nr_dirty 4\n"), None);
    }
}
