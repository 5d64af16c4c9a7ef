// SPDX-License-Identifier: GPL-2.0

//! Where the data of a file lies: `SEEK_DATA` and `SEEK_HOLE`, FIEMAP.

use std::fs::File;

use anyhow::Result;
use rustix::fs::{seek, SeekFrom};
use rustix::io::Errno;

use super::{Node, Record};
use crate::ioctl::{fiemap, Extent, EXTENT_DATA_INLINE, EXTENT_LAST, FIEMAP_SYNC, FIEMAP_XATTR};

/// A part of a file that is no hole, `[start, end)` in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) start: u64,
    pub(super) end: u64,
}

/// Records both maps of the regular file `node`, which `file` is open on.
pub(super) fn record(record: &mut Record, node: &Node, file: &File) -> Result<()> {
    match segments(file, node.size) {
        Ok(segments) => {
            for Segment { start, end } in segments {
                let what = format!("segment {start:#x}");
                record.add(&node.path, what, format_args!("to {end:#x}"));
            }
        }
        Err(e) => record.add(&node.path, "segments", format_args!("error: {e}")),
    }
    record.add(&node.path, "seek", beyond(file, node.size));
    record_map(record, node, file);
    Ok(())
}

/// Records what FIEMAP says about `node`, of the data and of the extended attributes.
pub(super) fn record_map(record: &mut Record, node: &Node, file: &File) {
    match fiemap(file, FIEMAP_SYNC) {
        Ok(extents) => {
            for extent in joined(&extents) {
                let what = format!("extent {:#x}", extent.logical);
                record.add(&node.path, what, show(&extent));
            }
        }
        Err(e) => record.add(&node.path, "fiemap", format_args!("error: {e}")),
    }
    let xattrs = fiemap(file, FIEMAP_XATTR).map(|extents| {
        extents
            .iter()
            .map(show_xattr)
            .collect::<Vec<_>>()
            .join("; ")
    });
    record.add_result(&node.path, "fiemap_xattr", xattrs);
}

/// As [`show`], without the place of what is in an inode: ext4 adds up the block and where in its inode the attributes
/// are, and forgets where in the block the inode is.
fn show_xattr(extent: &Extent) -> String {
    if extent.flags & EXTENT_DATA_INLINE == 0 {
        return show(extent);
    }
    format!(
        "{:#x} bytes in the inode, flags {:#x}",
        extent.length, extent.flags
    )
}

/// The segments of a file of `size` bytes.
pub(super) fn segments(file: &File, size: u64) -> Result<Vec<Segment>, Errno> {
    let mut segments = Vec::new();
    let mut pos = 0;
    while pos < size {
        let start = match seek(file, SeekFrom::Data(pos)) {
            Ok(start) => start,
            Err(Errno::NXIO) => break,
            Err(e) => return Err(e),
        };
        let end = seek(file, SeekFrom::Hole(start))?;
        if start < pos || end <= start {
            return Err(Errno::IO);
        }
        segments.push(Segment { start, end });
        pos = end;
    }
    Ok(segments)
}

/// What seeking gives at and beyond the end.
fn beyond(file: &File, size: u64) -> String {
    let positions = [0, size.saturating_sub(1), size, size + 1, i64::MAX as u64];
    let outcome = |pos: u64| {
        (
            seek(file, SeekFrom::Data(pos)).map_err(Errno::raw_os_error),
            seek(file, SeekFrom::Hole(pos)).map_err(Errno::raw_os_error),
        )
    };
    format!("{:x?}", positions.map(outcome))
}

/// `extents`, with neighbours made one that are one on the volume too. Where the kernel's ext4 cuts a long extent in
/// two depends on what it has cached of the map.
fn joined(extents: &[Extent]) -> Vec<Extent> {
    let mut joined: Vec<Extent> = Vec::new();
    for extent in extents {
        match joined.last_mut() {
            Some(last)
                if last.logical + last.length == extent.logical
                    && last.physical + last.length == extent.physical
                    && last.flags == extent.flags & !EXTENT_LAST =>
            {
                last.length += extent.length;
                last.flags = extent.flags;
            }
            _ => joined.push(*extent),
        }
    }
    joined
}

fn show(extent: &Extent) -> String {
    let Extent {
        physical,
        length,
        flags,
        ..
    } = extent;
    format!("{length:#x} bytes at {physical:#x}, flags {flags:#x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_joined_only_where_they_are_one() {
        let extent = |logical, physical, length, flags| Extent {
            logical,
            physical,
            length,
            flags,
            ..Extent::default()
        };
        let parts = [
            extent(0, 100, 10, 0),
            extent(10, 110, 5, 0),
            extent(15, 200, 5, 0),
            extent(20, 205, 5, 0x800),
            extent(30, 215, 5, 0x800),
            extent(35, 220, 5, 0x801),
        ];
        let wanted = [
            extent(0, 100, 15, 0),
            extent(15, 200, 5, 0),
            extent(20, 205, 5, 0x800),
            extent(30, 215, 10, 0x801),
        ];
        assert_eq!(joined(&parts), wanted);
    }
}
