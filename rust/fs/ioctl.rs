// SPDX-License-Identifier: GPL-2.0

//! ioctls that the VFS does not answer itself: those of ext4 that read.
//!
//! Of those that change something, two are answered: `tune2fs` and `e2label` take "not known" for
//! leave to write to the device of a mounted volume.

use super::{
    File,
    Inode, //
};
use crate::kernel::capability;
use ::kernel::{
    ioctl::{
        _IOR,
        _IOW, //
    },
    prelude::*,
    uaccess::{
        UserPtr,
        UserSlice, //
    },
};

/// `EXT4_IOC_GETVERSION`
const GETVERSION: u32 = _IOR::<c_long>(F, 3);
/// `FS_IOC_GETVERSION`
const GETVERSION_OLD: u32 = _IOR::<c_long>(V, 1);
/// `EXT4_IOC32_GETVERSION`
const GETVERSION_32: u32 = _IOR::<c_int>(F, 3);
/// `FS_IOC32_GETVERSION`
const GETVERSION_OLD_32: u32 = _IOR::<c_int>(V, 1);
/// `EXT4_IOC_GETFSUUID`
const GETFSUUID: u32 = _IOR::<[u8; UUID_HEADER_LEN]>(F, 44);
/// `EXT4_IOC_SETFSUUID`
const SETFSUUID: u32 = _IOW::<[u8; UUID_HEADER_LEN]>(F, 44);
/// `FS_IOC_GETFSLABEL`
const GETFSLABEL: u32 = _IOR::<[u8; 256]>(0x94, 49);
/// `FS_IOC_SETFSLABEL`
const SETFSLABEL: u32 = _IOW::<[u8; 256]>(0x94, 50);

/// The letter that ext4's numbers have.
const F: u32 = 0x66;
/// The letter that ext2's had.
const V: u32 = 0x76;

/// Bytes of `struct fsuuid` before the UUID: its length, and flags.
const UUID_HEADER_LEN: usize = 8;
/// Bytes of a UUID.
const UUID_LEN: usize = 16;
/// Bytes of a label as programs get it, with a zero at the end at least.
const LABEL_LEN: usize = 17;

/// Answers a program.
pub(super) fn ioctl(file: &File, cmd: u32, arg: UserPtr) -> Result {
    let inode = file.inode();
    match cmd {
        GETVERSION | GETVERSION_OLD => write(arg, &inode.disk().generation().to_ne_bytes()),
        GETFSLABEL => {
            let mut label = [0; LABEL_LEN];
            let name = inode.sb().volume().settings().volume_name();
            for (to, from) in label.iter_mut().zip(name) {
                *to = *from;
            }
            write(arg, &label)
        }
        GETFSUUID => getfsuuid(inode, arg),
        SETFSLABEL | SETFSUUID if !capability::is_sys_admin() => Err(EPERM),
        SETFSLABEL | SETFSUUID if inode.sb().sb_rdonly() => Err(EROFS),
        _ => Err(ENOTTY),
    }
}

/// Answers a program of 32 bits.
pub(super) fn compat_ioctl(file: &File, cmd: u32, arg: UserPtr) -> Result {
    let cmd = match cmd {
        GETVERSION_32 => GETVERSION,
        GETVERSION_OLD_32 => GETVERSION_OLD,
        GETFSLABEL | SETFSLABEL | GETFSUUID | SETFSUUID => cmd,
        _ => return Err(ENOIOCTLCMD),
    };
    ioctl(file, cmd, arg)
}

/// A caller with no room learns how much there has to be.
fn getfsuuid(inode: &Inode, arg: UserPtr) -> Result {
    let mut header = [0; UUID_HEADER_LEN];
    UserSlice::new(arg, UUID_HEADER_LEN)
        .reader()
        .read_slice(&mut header)?;
    let [l0, l1, l2, l3, flags @ ..] = header;
    let len = u32::from_ne_bytes([l0, l1, l2, l3]);
    let needed = u32::try_from(UUID_LEN)?;
    if len == 0 {
        return write(arg, &needed.to_ne_bytes());
    }
    if len < needed || flags != [0; 4] {
        return Err(EINVAL);
    }
    let parts: [&[u8]; 3] = [&needed.to_ne_bytes(), &flags, &inode.sb().volume().uuid()];
    let mut answer = [0; UUID_HEADER_LEN + UUID_LEN];
    for (to, from) in answer.iter_mut().zip(parts.iter().copied().flatten()) {
        *to = *from;
    }
    write(arg, &answer)
}

fn write(arg: UserPtr, bytes: &[u8]) -> Result {
    UserSlice::new(arg, bytes.len()).writer().write_slice(bytes)
}
