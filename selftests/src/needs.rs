// SPDX-License-Identifier: GPL-2.0

//! What a test needs before it can run, as it tells the runner: `on=pmem,dif volume=mounted only=stablefs`.

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
    /// A new volume of the filesystem under test, mounted on `TEST_DIR`; the test leaves it mounted and sound.
    Mounted,
}

/// The needs of one test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Needs {
    /// The test runs once on each of these kinds of device; with none, once and without a device.
    pub on: Cow<'static, [Kind]>,
    /// State of that device.
    pub volume: Volume,
    /// Set when the test is about one filesystem's own code, and says nothing about the others.
    pub only: Option<Fstyp>,
}

impl fmt::Display for Needs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds = self
            .on
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(",");
        let volume = match self.volume {
            Volume::Raw => "raw",
            Volume::Mounted => "mounted",
        };
        write!(f, "on={kinds} volume={volume}")?;
        self.only.map_or(Ok(()), |fstyp| write!(f, " only={fstyp}"))
    }
}

impl FromStr for Needs {
    type Err = Error;

    fn from_str(line: &str) -> Result<Self> {
        let mut on = None;
        let mut volume = None;
        let mut only = None;
        for word in line.split_whitespace() {
            let (key, value) = word
                .split_once('=')
                .with_context(|| format!("{word}: not KEY=VALUE"))?;
            match (key, value) {
                ("on", kinds) => {
                    let kinds = kinds
                        .split(',')
                        .filter(|kind| !kind.is_empty())
                        .map(Kind::from_str);
                    on = Some(kinds.collect::<Result<Vec<_>>>()?);
                }
                ("volume", "raw") => volume = Some(Volume::Raw),
                ("volume", "mounted") => volume = Some(Volume::Mounted),
                ("only", fstyp) => only = Some(fstyp.parse()?),
                _ => bail!("{word}: unknown need"),
            }
        }
        Ok(Self {
            on: on.context("no on=")?.into(),
            volume: volume.context("no volume=")?,
            only,
        })
    }
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
                only: Some(Fstyp::Stablefs),
            },
            Needs {
                on: Cow::Borrowed(&[Kind::Pmem, Kind::Dif]),
                volume: Volume::Mounted,
                only: None,
            },
            Needs {
                on: Cow::Borrowed(&[Kind::Nvme, Kind::Plain]),
                volume: Volume::Raw,
                only: Some(Fstyp::Xfs),
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
