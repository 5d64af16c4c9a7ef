// SPDX-License-Identifier: GPL-2.0

//! The block devices that tests may overwrite.
//!
//! In the guest `/run/devices` describes them, a line each:
//! `dif0 node=/dev/sda kind=scsi_debug size=629145600 sector=512 pi=T10-DIF-TYPE1-CRC dax=no`, and `/dev/test/dif0`
//! links to the node. On another machine `TEST_DEV=/dev/x` names the one device to use.

use std::env;
use std::fmt;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{bail, ensure, Context, Error, Result};
use rustix::fs::{major, minor};

const LIST: &str = "/run/devices";

/// Kinds of device, by what matters to a filesystem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Persistent memory with DAX.
    Pmem,
    /// A SCSI disk with T10 protection information that reaches the host.
    Dif,
    /// An NVMe namespace with protection information.
    Nvme,
    /// A disk with neither.
    Plain,
}

impl Kind {
    /// Every kind.
    pub const ALL: &'static [Self] = &[Self::Pmem, Self::Dif, Self::Nvme, Self::Plain];

    /// The kind that drivers called `driver` in `/run/devices` make.
    fn of_driver(driver: &str) -> Option<Self> {
        Some(match driver {
            "nvdimm" => Self::Pmem,
            "scsi_debug" => Self::Dif,
            "nvme" => Self::Nvme,
            "virtio" => Self::Plain,
            _ => return None,
        })
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pmem => "pmem",
            Self::Dif => "dif",
            Self::Nvme => "nvme",
            Self::Plain => "plain",
        })
    }
}

impl FromStr for Kind {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let kind = Self::ALL.iter().find(|kind| kind.to_string() == text);
        kind.copied()
            .with_context(|| format!("{text}: unknown kind of device"))
    }
}

/// One device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its name among the test devices, such as `dif0`.
    pub name: String,
    /// Path to open it by.
    pub path: PathBuf,
    /// What it is.
    pub kind: Kind,
}

impl FromStr for Device {
    type Err = Error;

    /// Reads one line of `/run/devices`.
    fn from_str(line: &str) -> Result<Self> {
        let mut words = line.split_whitespace();
        let name = words.next().context("empty line")?.to_owned();
        let driver = words
            .find_map(|word| word.strip_prefix("kind="))
            .with_context(|| format!("{line}: no kind="))?;
        let kind = Kind::of_driver(driver).with_context(|| format!("{line}: unknown kind"))?;
        Ok(Self {
            path: Path::new("/dev/test").join(&name),
            name,
            kind,
        })
    }
}

/// All devices there are: what `TEST_DEV` names, else what `/run/devices` lists, else none.
///
/// # Errors
/// `TEST_DEV` is not a block device, or the list cannot be read.
pub fn all() -> Result<Vec<Device>> {
    match env::var_os("TEST_DEV") {
        Some(path) => Ok(vec![probe(Path::new(&path))?]),
        None => listed(),
    }
}

/// Those that `/run/devices` lists, or none.
///
/// # Errors
/// The list cannot be read.
pub fn listed() -> Result<Vec<Device>> {
    match fs::read_to_string(LIST) {
        Ok(text) => parse(&text).context(LIST),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(e) => Err(e).context(LIST),
    }
}

fn parse(text: &str) -> Result<Vec<Device>> {
    text.lines()
        .filter(|line| !line.trim().is_empty())
        .map(str::parse)
        .collect()
}

/// A device outside the list; its kind is what sysfs says.
///
/// # Errors
/// `path` is not a block device.
pub fn probe(path: &Path) -> Result<Device> {
    let name = kernel_name(path)?;
    let sys = Path::new("/sys/class/block").join(&name);
    let says = |file: &str, want: &str| {
        fs::read_to_string(sys.join(file)).is_ok_and(|text| text.starts_with(want))
    };
    let kind = match (says("queue/dax", "1"), says("integrity/format", "T10")) {
        (true, _) => Kind::Pmem,
        (_, true) if name.starts_with("nvme") => Kind::Nvme,
        (_, true) => Kind::Dif,
        _ => Kind::Plain,
    };
    Ok(Device {
        name,
        path: path.to_owned(),
        kind,
    })
}

/// The kernel's own name of block device `path`, such as `sda`: the one that it logs.
///
/// # Errors
/// `path` is not a block device.
pub fn kernel_name(path: &Path) -> Result<String> {
    let meta = fs::metadata(path).with_context(|| path.display().to_string())?;
    ensure!(
        rustix::fs::FileType::from_raw_mode(meta.mode()).is_block_device(),
        "{}: not a block device",
        path.display()
    );
    let link = format!(
        "/sys/dev/block/{}:{}",
        major(meta.rdev()),
        minor(meta.rdev())
    );
    let target = fs::read_link(&link).context(link)?;
    match target.file_name() {
        Some(name) => Ok(name.to_string_lossy().into_owned()),
        None => bail!("{}: no name", target.display()),
    }
}

/// Bytes in a sector of block device `path`.
///
/// # Errors
/// It is none.
pub fn sector(path: &Path) -> Result<u32> {
    let queue = Path::new("/sys/class/block").join(kernel_name(path)?);
    let file = queue.join("queue/logical_block_size");
    let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    text.trim().parse().context("logical_block_size")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = "\
pmem0 node=/dev/pmem0 kind=nvdimm size=1071644672 sector=512 pi=none dax=yes
dif0 node=/dev/sda kind=scsi_debug size=629145600 sector=512 pi=T10-DIF-TYPE1-CRC dax=no

nvme0 node=/dev/nvme0n1 kind=nvme size=1073741824 sector=512 pi=T10-DIF-TYPE1-CRC dax=no
plain0 node=/dev/vdb kind=virtio size=2147483648 sector=512 pi=none dax=no
";

    #[test]
    fn list_of_the_guest_is_read() {
        let devices = parse(SAMPLE).unwrap();
        let kinds: Vec<_> = devices.iter().map(|d| (d.name.as_str(), d.kind)).collect();
        assert_eq!(
            kinds,
            [
                ("pmem0", Kind::Pmem),
                ("dif0", Kind::Dif),
                ("nvme0", Kind::Nvme),
                ("plain0", Kind::Plain)
            ]
        );
        assert_eq!(devices[1].path, Path::new("/dev/test/dif0"));
    }

    #[test]
    fn broken_lists_are_refused() {
        assert!(parse("dif0 node=/dev/sda size=1").is_err());
        assert!(parse("dif0 node=/dev/sda kind=floppy").is_err());
    }

    #[test]
    fn only_block_devices_have_a_kernel_name() {
        assert!(kernel_name(Path::new("/dev/null")).is_err());
        assert!(kernel_name(Path::new("/no/such")).is_err());
    }
}
