// SPDX-License-Identifier: GPL-2.0

//! What is compared: a filesystem on a disk, with stable pages or without.

use std::fmt;

use stablefs_selftests::devices::Device;
use stablefs_selftests::filesystem::Fstyp;

/// Who asks for stable pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Promise {
    /// Nobody.
    None,
    /// The device, by its `queue/stable_writes`.
    Asked,
    /// The mount option `audit` of stablefs, which takes checksums itself.
    Audit,
    /// The disk's checksums.
    Checksums,
}

impl fmt::Display for Promise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::None => "no",
            Self::Asked => "yes",
            Self::Audit => "audit",
            Self::Checksums => "checksums",
        })
    }
}

/// One column of the table.
pub(crate) struct Column {
    pub(crate) fstyp: Fstyp,
    pub(crate) disk: Device,
    pub(crate) promise: Promise,
    /// Where its part of the disk begins.
    pub(crate) start_mib: u64,
    /// How large that is.
    pub(crate) mib: u64,
}

impl Column {
    /// All of them, in the order in which a round goes.
    pub(crate) fn all(plain: &Device, dif: &Device) -> Vec<Self> {
        use Fstyp::{Ext4, Stablefs, Xfs};
        let mut all: Vec<Self> = Vec::new();
        for (disk, promise, fstyps) in [
            (plain, Promise::None, &[Stablefs, Ext4, Xfs][..]),
            (plain, Promise::Asked, &[Stablefs, Ext4, Xfs]),
            (plain, Promise::Audit, &[Stablefs]),
            (dif, Promise::Checksums, &[Stablefs, Ext4, Xfs]),
        ] {
            for &fstyp in fstyps {
                let before = all.iter().rfind(|column| column.disk == *disk);
                all.push(Self {
                    fstyp,
                    disk: disk.clone(),
                    promise,
                    start_mib: before.map_or(1, |column| column.start_mib + column.mib),
                    // XFS has no volumes below 300 MiB. The disk with DIF has 600.
                    mib: if fstyp == Xfs { 304 } else { 136 },
                });
            }
        }
        all
    }

    /// Whether it is the same without the promise as `other` is with it.
    pub(crate) fn is_base_of(&self, other: &Self) -> bool {
        self.promise == Promise::None
            && other.promise != Promise::None
            && (self.fstyp, &self.disk) == (other.fstyp, &other.disk)
    }
}

impl fmt::Display for Column {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            fstyp,
            disk,
            promise,
            ..
        } = self;
        write!(f, "{fstyp} on {}, stable pages: {promise}", disk.name)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn columns() -> Vec<Column> {
        let disk = |line: &str| line.parse::<Device>().unwrap();
        Column::all(&disk("plain0 kind=virtio"), &disk("dif0 kind=scsi_debug"))
    }

    #[test]
    fn base_is_the_same_without_the_promise() {
        let columns = columns();
        for other in &columns {
            let bases: Vec<_> = columns.iter().filter(|c| c.is_base_of(other)).collect();
            match (other.promise, &bases[..]) {
                (Promise::None | Promise::Checksums, []) => {}
                (_, [base]) => assert_eq!(base.fstyp, other.fstyp),
                _ => panic!("{other}: {} bases", bases.len()),
            }
        }
    }

    #[test]
    fn parts_do_not_overlap() {
        let columns = columns();
        for (index, column) in columns.iter().enumerate() {
            let others = columns[..index].iter().filter(|c| c.disk == column.disk);
            for other in others {
                assert!(other.start_mib + other.mib <= column.start_mib, "{column}");
            }
        }
    }
}
