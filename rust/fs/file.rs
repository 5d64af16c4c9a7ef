// SPDX-License-Identifier: GPL-2.0

//! Regular files.

use super::{
    balloc,
    dax,
    dio,
    fallocate,
    fault,
    fsync,
    ioctl,
    iomap,
    size,
    writing,
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
            Fallocate,
            Opening,
            Whence, //
        },
        iomap::write::file_buffered_write,
        kiocb::{
            self,
            CheckedWrite,
            ReadyWrite, //
        },
        locks::InodeExclusive,
        truncate::ByteRange,
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
        // Programs that write a file anew mostly do not sync it: so that a crash, if it takes the new
        // data, rarely does.
        if file.is_writable() && file.inode().take_replaced() {
            file.inode().filemap_flush();
        }
        if file.is_writable() && file.inode().writers() == 1 {
            balloc::close_window(file.inode());
        }
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

    fn write_iter(write: kiocb::Write<'_, Stablefs>) -> Result<usize> {
        if write.inode().is_dax() {
            return dax::write(write);
        }
        if write.is_direct() {
            return dio::write(write);
        }
        let locked = write.lock::<InodeExclusive<'_, Stablefs>>()?;
        let Some(checked) = locked.generic_write_checks()? else {
            return Ok(0);
        };
        let mut ready = begin_write(checked)?;
        write_pages(&mut ready)?;
        ready.unlock().generic_write_sync()
    }

    fn fsync(file: &File, range: ByteRange, datasync: bool) -> Result {
        if datasync {
            fsync::fdatasync(file, range)
        } else {
            fsync::fsync(file, range)
        }
    }

    fn fallocate(file: &File, fallocate: &Fallocate) -> Result {
        fallocate::fallocate(file, fallocate)
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
            desc.set_ops::<fault::VmOperations>();
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

/// A write, with `i_rwsem` held exclusively.
type Exclusive<'a> = InodeExclusive<'a, Stablefs>;

/// Makes ready for a write: the inode knows of it, and what is between the end of the file and the
/// write reads as zeroes.
///
/// # Errors
///
/// `EAGAIN` if the caller does not want to wait; else what the system call shall return.
///
/// # Context
///
/// Sleeps.
pub(super) fn begin_write<'a>(
    checked: CheckedWrite<'a, Stablefs, Exclusive<'a>>,
) -> Result<ReadyWrite<'a, Stablefs, Exclusive<'a>>> {
    let inode = checked.inode();
    writing::check_data(inode)?;
    let pos = checked.pos();
    if pos > inode.i_size_read() {
        if checked.is_nowait() {
            return Err(EAGAIN);
        }
        let no_direct_io = checked.inode_lock().inode_dio_wait();
        size::write_zeroes_behind_end(&no_direct_io.filemap_invalidate_lock(), pos)?;
    }
    checked.kiocb_modified()
}

/// Writes to the page cache. Returns how many bytes, perhaps fewer than wanted.
///
/// # Errors
///
/// What the system call shall return; nothing was written then.
///
/// # Context
///
/// Sleeps.
pub(super) fn write_pages<'a>(
    write: &mut ReadyWrite<'a, Stablefs, Exclusive<'a>>,
) -> Result<usize> {
    file_buffered_write::<iomap::Operations>(write)
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
    // What is only in the page cache is where it will be, then.
    inode.filemap_write_and_wait_range(ByteRange::ALL)?;
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
