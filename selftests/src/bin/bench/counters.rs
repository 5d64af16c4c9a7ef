// SPDX-License-Identifier: GPL-2.0

//! What stablefs counts in debugfs, which tells whether the promise was at work.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

const DIR: &str = "/sys/kernel/debug/stablefs";

/// Each counter by its name.
pub(crate) struct Counters(BTreeMap<String, u64>);

impl Counters {
    /// Those of the volume that is mounted from `device`, by the kernel's name.
    ///
    /// # Errors
    /// They cannot be read.
    pub(crate) fn of(device: &str) -> Result<Self> {
        let mut counters = BTreeMap::new();
        let dir = Path::new(DIR).join(device);
        for file in fs::read_dir(&dir).with_context(|| dir.display().to_string())? {
            let file = file?;
            let name = file.file_name().to_string_lossy().into_owned();
            let number = fs::read_to_string(file.path())?;
            counters.insert(name.clone(), number.trim().parse().context(name)?);
        }
        Ok(Self(counters))
    }
}

/// Those that are not 0.
impl fmt::Display for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counted = self.0.iter().filter(|(_, number)| **number != 0);
        let counted: Vec<_> = counted.map(|(name, n)| format!("{name} {n}")).collect();
        match counted.is_empty() {
            true => f.write_str("all counters 0"),
            false => f.write_str(&counted.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeroes_are_not_shown() {
        let counters = |counted: &[(&str, u64)]| {
            Counters(counted.iter().map(|&(s, n)| (s.to_owned(), n)).collect()).to_string()
        };
        assert_eq!(counters(&[("waits", 0), ("copies", 0)]), "all counters 0");
        assert_eq!(
            counters(&[("waits", 3), ("copies", 0), ("blocks", 2)]),
            "blocks 2, waits 3"
        );
    }
}
