// SPDX-License-Identifier: GPL-2.0

//! What a test needs before it can run, as it tells the runner: `on=pmem,dif volume=writable only=ext4`.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use anyhow::{bail, Context, Error, Result};

use crate::devices::Kind;
use crate::filesystem::Fstyp;

/// What the device holds when the test starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Volume {
    /// Anything; the test may overwrite it.
    Raw,
    /// A new volume of the filesystem under test, mounted on `TEST_DIR` to be written to; the test leaves it mounted
    /// and sound.
    Writable,
}

/// The needs of one test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Needs {
    /// The test runs once on each of these kinds of device; with none, once and without a device.
    pub on: Cow<'static, [Kind]>,
    /// State of that device.
    pub volume: Volume,
    /// The filesystems that the test says anything about; with none, all of them.
    pub only: Cow<'static, [Fstyp]>,
}

/// What a case needs, and this machine does not have: the case is skipped.
#[derive(Debug)]
pub struct Missing(pub String);

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Missing {}

impl fmt::Display for Needs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let volume = match self.volume {
            Volume::Raw => "raw",
            Volume::Writable => "writable",
        };
        write!(f, "on={} volume={volume}", list(&self.on))?;
        if self.only.is_empty() {
            return Ok(());
        }
        write!(f, " only={}", list(&self.only))
    }
}

impl FromStr for Needs {
    type Err = Error;

    fn from_str(line: &str) -> Result<Self> {
        let mut on = None;
        let mut volume = None;
        let mut only = Vec::new();
        for word in line.split_whitespace() {
            let (key, value) = word
                .split_once('=')
                .with_context(|| format!("{word}: not KEY=VALUE"))?;
            match (key, value) {
                ("on", kinds) => on = Some(parse_list(kinds)?),
                ("volume", "raw") => volume = Some(Volume::Raw),
                ("volume", "writable") => volume = Some(Volume::Writable),
                ("only", fstyps) => only = parse_list(fstyps)?,
                _ => bail!("{word}: unknown need"),
            }
        }
        Ok(Self {
            on: on.context("no on=")?.into(),
            volume: volume.context("no volume=")?,
            only: only.into(),
        })
    }
}

fn list(items: &[impl ToString]) -> String {
    items
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(",")
}

fn parse_list<T: FromStr<Err = Error>>(text: &str) -> Result<Vec<T>> {
    text.split(',')
        .filter(|item| !item.is_empty())
        .map(str::parse)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_is_read_back() {
        let samples = [
            Needs {
                on: Cow::Borrowed(&[]),
                volume: Volume::Raw,
                only: Cow::Borrowed(&[Fstyp::Stablefs]),
            },
            Needs {
                on: Cow::Borrowed(&[Kind::Pmem, Kind::Dif]),
                volume: Volume::Writable,
                only: Cow::Borrowed(&[]),
            },
            Needs {
                on: Cow::Borrowed(&[Kind::Nvme, Kind::Plain]),
                volume: Volume::Raw,
                only: Cow::Borrowed(&[Fstyp::Xfs, Fstyp::Ext4]),
            },
        ];
        for needs in samples {
            assert_eq!(needs.to_string().parse::<Needs>().unwrap(), needs);
        }
    }

    #[test]
    fn unknown_or_missing_needs_are_refused() {
        for line in [
            "",
            "on=pmem",
            "volume=raw",
            "on=floppy volume=raw",
            "on= volume=half",
            "on= volume=raw x=1",
            "on",
        ] {
            assert!(line.parse::<Needs>().is_err(), "{line}");
        }
    }
}
