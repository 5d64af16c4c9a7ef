// SPDX-License-Identifier: GPL-2.0

//! Regular files.

use super::{
    dax,
    dio,
    ioctl,
    iomap,
    xattr,
    File,
    Inode,
    Stablefs, //
};
use crate::{
    kernel::{
        self,
        errno,
        file::{
            self,
            Opening,
            Whence, //
        },
        kiocb,
        vm, //
    },
    ondisk::inode::{
        Flags,
        Type, //
    },
};
use ::kernel::{
    prelude::*,
    uaccess::UserPtr, //
};

/// Operations on open files.
struct Operations;

#[vtable]
impl file::Operations for Operations {
    type FileSystem = Stablefs;

    fn unlocked_ioctl(file: &File, cmd: u32, arg: UserPtr) -> Result {
        ioctl::ioctl(file, cmd, arg)
    }

    fn compat_ioctl(file: &File, cmd: u32, arg: UserPtr) -> Result {
        ioctl::compat_ioctl(file, cmd, arg)
    }

    fn open(mut file: Opening<'_, Stablefs>) -> Result {
        // Nobody here can check what the flag promises of the data.
        if file.inode().disk().flags().contains(Flags::VERITY) {
            return Err(errno::eopnotsupp());
        }
        file.generic_file_open()?;
        file.set_nowait();
        file.set_can_odirect();
        Ok(())
    }

    fn release(file: &File) {
        dax::release(file.inode());
    }

    fn read_iter(read: kiocb::Read<'_, Stablefs>) -> Result<usize> {
        if read.inode().is_dax() {
            dax::read(read)
        } else if read.is_direct() {
            dio::read(read)
        } else {
            read.generic_file_read_iter()
        }
    }

    fn mmap_prepare(desc: vm::AreaDesc<'_, Stablefs>) -> Result {
        let inode = desc.file().inode();
        let device = inode.sb().volume().dax().device();
        if !desc.daxdev_mapping_supported(device) {
            return Err(errno::eopnotsupp());
        }
        desc.file().file_accessed();
        if inode.is_dax() {
            desc.set_ops::<dax::VmOperations>();
        } else {
            desc.set_page_cache();
        }
        Ok(())
    }

    fn llseek(file: &File, pos: i64, whence: Whence) -> Result<i64> {
        let inode = file.inode();
        let maxbytes = inode.sb().s_maxbytes();
        let pos = match whence {
            Whence::SEEK_DATA => {
                let _lock = inode.inode_lock_shared();
                kernel::iomap::seek_data::<iomap::Operations>(inode, pos)?
            }
            Whence::SEEK_HOLE => {
                let _lock = inode.inode_lock_shared();
                kernel::iomap::seek_hole::<iomap::Operations>(inode, pos)?
            }
            _ => {
                let eof = i64::try_from(inode.i_size_read()).map_err(|_| EINVAL)?;
                return file.generic_file_llseek_size(pos, whence, maxbytes, eof);
            }
        };
        file.vfs_setpos(pos, maxbytes)
    }
}

/// Tells a caller of `FIEMAP` where the data of a regular file, or of a directory, are.
///
/// # Errors
///
/// `EOPNOTSUPP` for other inodes, which have none; what the system call shall return.
pub(super) fn fiemap(inode: &Inode, mut fieinfo: kernel::iomap::Fiemap<'_>) -> Result {
    if !matches!(inode.disk().file_type(), Type::Regular | Type::Directory) {
        return Err(errno::eopnotsupp());
    }
    fieinfo.ignore_cache();
    let _lock = inode.inode_lock_shared();
    if fieinfo.take_xattr() {
        return fieinfo.fill_only_extent(inode, xattr::place(inode)?);
    }
    kernel::iomap::fiemap::<iomap::Operations>(inode, fieinfo)
}

/// Operations on open files.
pub(super) fn ops() -> file::Ops<Stablefs> {
    file::Ops::new::<Operations>()
}
