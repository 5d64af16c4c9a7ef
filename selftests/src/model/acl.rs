// SPDX-License-Identifier: GPL-2.0

//! Access control lists that name one user, and how they and the mode of a file keep each other up to date: acl(5).

use crate::populate::{acl, tag, NOBODY};

/// The one user.
const USER: u32 = 1000;
const RWX: u32 = 7;

/// A list; permissions of three bits each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Acl {
    owner: u32,
    user: u32,
    group: u32,
    mask: u32,
    other: u32,
}

impl Acl {
    /// One with the permissions in `bits`, 15 of them.
    pub(super) fn new(bits: u32) -> Self {
        Self {
            owner: bits & RWX,
            user: (bits >> 3) & RWX,
            group: (bits >> 6) & RWX,
            mask: (bits >> 9) & RWX,
            other: (bits >> 12) & RWX,
        }
    }

    /// As the value of the extended attribute.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let entries = [
            (tag::USER_OBJ, self.owner, NOBODY),
            (tag::USER, self.user, USER),
            (tag::GROUP_OBJ, self.group, NOBODY),
            (tag::MASK, self.mask, NOBODY),
            (tag::OTHER, self.other, NOBODY),
        ];
        acl(&entries.map(|(tag, permissions, id)| (tag, permissions as u16, id)))
    }

    /// Permission bits that a file with this list shows.
    pub(super) fn mode(&self) -> u32 {
        (self.owner << 6) | (self.mask << 3) | self.other
    }

    /// The list of a file with this one, once its mode is set to `mode`.
    pub(super) fn with_mode(self, mode: u32) -> Self {
        Self {
            owner: (mode >> 6) & RWX,
            mask: (mode >> 3) & RWX,
            other: mode & RWX,
            ..self
        }
    }

    /// The list of a new file that is made with `mode` in a directory with this default list.
    pub(super) fn inherited(self, mode: u32) -> Self {
        self.with_mode(self.mode() & mode)
    }
}
