// SPDX-License-Identifier: GPL-2.0

//! File handles, as an NFS server makes and opens them: name_to_handle_at(2), open_by_handle_at(2).

#![expect(
    unsafe_code,
    reason = "rustix has neither call, and a handle is a structure of varying length"
)]

use std::ffi::CStr;
use std::fmt;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::Errno;

/// `MAX_HANDLE_SZ`: the longest handle that the kernel makes.
const MOST_BYTES: usize = 128;
/// `AT_HANDLE_CONNECTABLE`: a handle that holds the parent directory as well.
const CONNECTABLE: i32 = 0x002;

/// A handle, but for the mount that it is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handle {
    /// How `bytes` are to be read.
    pub kind: i32,
    /// What the filesystem put there.
    pub bytes: Vec<u8>,
}

/// What a handle is to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    /// The file alone.
    File,
    /// The file, and the directory that it was found in.
    FileAndParent,
}

/// `struct file_handle` with room for the longest.
#[repr(C)]
struct Raw {
    handle_bytes: u32,
    handle_type: i32,
    f_handle: [u8; MOST_BYTES],
}

impl Handle {
    /// The handle of the file `name` in `dir`; a symbolic link is not followed.
    ///
    /// # Errors
    /// name_to_handle_at(2)'s.
    pub fn of(dir: BorrowedFd<'_>, name: &CStr, holds: Holds) -> Result<Self, Errno> {
        let mut raw = Raw {
            handle_bytes: MOST_BYTES as u32,
            handle_type: 0,
            f_handle: [0; MOST_BYTES],
        };
        let mut mount_id = 0_i32;
        let flags = match holds {
            Holds::File => 0,
            Holds::FileAndParent => CONNECTABLE,
        };
        // SAFETY: `raw` is laid out as `struct file_handle` followed by the `handle_bytes` bytes that it announces,
        // `mount_id` is an int, the name is a C string; all of them outlive the call, and nothing is kept by it.
        let result = unsafe {
            libc::syscall(
                libc::SYS_name_to_handle_at,
                dir.as_raw_fd(),
                name.as_ptr(),
                &raw mut raw,
                &raw mut mount_id,
                flags,
            )
        };
        if result < 0 {
            return Err(last_error());
        }
        let len = (raw.handle_bytes as usize).min(MOST_BYTES);
        Ok(Self {
            kind: raw.handle_type,
            bytes: raw.f_handle[..len].to_vec(),
        })
    }

    /// Opens the file as `O_PATH`, on the filesystem that `mount` is open on.
    ///
    /// # Errors
    /// open_by_handle_at(2)'s: `ESTALE` when there is no such file, `EINVAL` for a handle that is too long.
    pub fn open(&self, mount: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
        let mut raw = Raw {
            handle_bytes: u32::try_from(self.bytes.len()).map_err(|_| Errno::INVAL)?,
            handle_type: self.kind,
            f_handle: [0; MOST_BYTES],
        };
        raw.f_handle
            .get_mut(..self.bytes.len())
            .ok_or(Errno::INVAL)?
            .copy_from_slice(&self.bytes);
        // SAFETY: `raw` is laid out as `struct file_handle`, and announces no more bytes than it has.
        let result = unsafe {
            libc::syscall(
                libc::SYS_open_by_handle_at,
                mount.as_raw_fd(),
                &raw mut raw,
                libc::O_PATH | libc::O_NOFOLLOW | libc::O_CLOEXEC,
            )
        };
        match i32::try_from(result) {
            // SAFETY: The kernel has just made this descriptor for us, and nobody else knows of it.
            Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
            _ => Err(last_error()),
        }
    }

    /// The first 4 bytes replaced: the inode number, in the handles of ext4.
    #[must_use]
    pub fn with_ino(&self, ino: u32) -> Self {
        self.with_word(0, ino)
    }

    /// The second 4 bytes replaced: the generation, in the handles of ext4.
    #[must_use]
    pub fn with_generation(&self, generation: u32) -> Self {
        self.with_word(1, generation)
    }

    /// The second 4 bytes: the generation, in the handles of ext4. 0 when there are none.
    pub fn generation(&self) -> u32 {
        let bytes = self.bytes.get(4..8).and_then(|word| word.try_into().ok());
        bytes.map_or(0, u32::from_ne_bytes)
    }

    fn with_word(&self, index: usize, word: u32) -> Self {
        let mut changed = self.clone();
        if let Some(place) = changed.bytes.get_mut(index * 4..index * 4 + 4) {
            place.copy_from_slice(&word.to_ne_bytes());
        }
        changed
    }
}

impl fmt::Display for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "type {:#x}, bytes ", self.kind)?;
        self.bytes
            .iter()
            .try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

fn last_error() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_replaced_in_place() {
        let handle = Handle {
            kind: 1,
            bytes: [12_u32, 34].iter().flat_map(|w| w.to_ne_bytes()).collect(),
        };
        assert_eq!(handle.generation(), 34);
        assert_eq!(handle.with_generation(7).generation(), 7);
        assert_eq!(handle.with_ino(5).generation(), 34);
        assert_ne!(handle.with_ino(5), handle);
    }
}
