// SPDX-License-Identifier: GPL-2.0

//! Regular files.

use super::{
    ioctl,
    iomap,
    File,
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
    ondisk::inode::Flags,
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
        Ok(())
    }

    fn read_iter(read: kiocb::Read<'_, Stablefs>) -> Result<usize> {
        read.generic_file_read_iter()
    }

    fn mmap_prepare(desc: vm::AreaDesc<'_, Stablefs>) -> Result {
        desc.file().file_accessed();
        desc.set_page_cache();
        Ok(())
    }

    fn llseek(file: &File, pos: i64, whence: Whence) -> Result<i64> {
        let inode = file.inode();
        let maxbytes = inode.sb().s_maxbytes();
        let pos = match whence {
            Whence::SEEK_DATA => kernel::iomap::seek_data::<iomap::Operations>(inode, pos)?,
            Whence::SEEK_HOLE => kernel::iomap::seek_hole::<iomap::Operations>(inode, pos)?,
            _ => {
                let eof = i64::try_from(inode.i_size_read()).map_err(|_| EINVAL)?;
                return file.generic_file_llseek_size(pos, whence, maxbytes, eof);
            }
        };
        file.vfs_setpos(pos, maxbytes)
    }
}

/// Operations on open files.
pub(super) fn ops() -> file::Ops<Stablefs> {
    file::Ops::new::<Operations>()
}
