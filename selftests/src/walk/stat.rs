// SPDX-License-Identifier: GPL-2.0

//! statx(2): every field.

use std::os::fd::BorrowedFd;
use std::rc::Rc;

use rustix::fs::{statx, AtFlags, FileType, Statx, StatxAttributes, StatxFlags, StatxTimestamp};
use rustix::io::Errno;

use super::Record;

/// `STATX_WRITE_ATOMIC`, `STATX_ATTR_WRITE_ATOMIC`
const MASK_WRITE_ATOMIC: u32 = 0x1_0000;
const ATTR_WRITE_ATOMIC: u64 = 0x40_0000;
/// `STATX_SUBVOL`
const MASK_SUBVOL: u32 = 0x8000;
/// `STATX_DIO_READ_ALIGN`
const MASK_DIO_READ_ALIGN: u32 = 0x2_0000;

/// The fields of the file that `file` is open on.
pub(super) fn of(file: BorrowedFd<'_>) -> Result<Statx, Errno> {
    let ask = StatxFlags::BASIC_STATS
        | StatxFlags::BTIME
        | StatxFlags::DIOALIGN
        | StatxFlags::from_bits_retain(MASK_SUBVOL | MASK_DIO_READ_ALIGN);
    statx(file, c"", AtFlags::EMPTY_PATH, ask)
}

/// Records the fields. Left out are the mount's number, which is another at each mount, and atomic writes, which are
/// about writing and not about what is on the volume.
pub(super) fn record(record: &mut Record, path: &Rc<str>, stat: &Statx) {
    let attributes = |bits: StatxAttributes| format!("{:#x}", bits.bits() & !ATTR_WRITE_ATOMIC);
    let mut add = |what: &'static str, value: String| record.add(path, what, value);
    add("mask", format!("{:#x}", stat.stx_mask & !MASK_WRITE_ATOMIC));
    add("blksize", stat.stx_blksize.to_string());
    add("attributes", attributes(stat.stx_attributes));
    add("attributes_mask", attributes(stat.stx_attributes_mask));
    add("nlink", stat.stx_nlink.to_string());
    add("uid", stat.stx_uid.to_string());
    add("gid", stat.stx_gid.to_string());
    add("mode", format!("{:#o}", stat.stx_mode));
    add("ino", stat.stx_ino.to_string());
    add("size", stat.stx_size.to_string());
    add("blocks", stat.stx_blocks.to_string());
    add("atime", time(&stat.stx_atime));
    add("btime", time(&stat.stx_btime));
    add("ctime", time(&stat.stx_ctime));
    add("mtime", time(&stat.stx_mtime));
    add(
        "dev",
        format!("{}:{}", stat.stx_dev_major, stat.stx_dev_minor),
    );
    if matches!(
        FileType::from_raw_mode(stat.stx_mode.into()),
        FileType::BlockDevice | FileType::CharacterDevice
    ) {
        add(
            "rdev",
            format!("{}:{}", stat.stx_rdev_major, stat.stx_rdev_minor),
        );
    }
    let align = (
        stat.stx_dio_mem_align,
        stat.stx_dio_offset_align,
        stat.stx_dio_read_offset_align,
    );
    add("dio_align", format!("{align:?}"));
    add("subvol", stat.stx_subvol.to_string());
}

fn time(time: &StatxTimestamp) -> String {
    format!("{}.{:09}", time.tv_sec, time.tv_nsec)
}
