// SPDX-License-Identifier: GPL-2.0

//! Access control lists: value of an attribute ↔ entries in their order.
//!
//! The attributes are [`POSIX_ACL_ACCESS`](super::xattr::Prefix::POSIX_ACL_ACCESS) and
//! [`POSIX_ACL_DEFAULT`](super::xattr::Prefix::POSIX_ACL_DEFAULT). What `getxattr` gives is in
//! another form, with 8 bytes for each entry.
//!
//! Format: [Documentation/filesystems/ext4/attributes.rst](srctree/Documentation/filesystems/ext4/attributes.rst).

use super::{
    bytes::{
        chunk,
        raw_structure,
        Writer, //
    },
    Result,
    Structure, //
};
use core::iter::FusedIterator;

/// `a_version`.
const VERSION: u32 = 1;
/// Bytes before the first entry.
const HEADER_LEN: usize = 4;
/// Bytes of an entry without a user or group.
const SHORT_LEN: usize = 4;
/// Bytes of an entry with one.
const LONG_LEN: usize = 8;
/// The bits of `e_perm`: read, write, execute.
const PERMISSIONS: u16 = 7;

raw_structure! {
    /// An entry without a user or group.
    struct RawShort [SHORT_LEN] {
        0x0 e_tag: u16,
        0x2 e_perm: u16,
    }
}

/// To whom an entry gives permissions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tag {
    /// The file's owner.
    UserObj,
    /// A user.
    User(u32),
    /// The file's group.
    GroupObj,
    /// A group.
    Group(u32),
    /// All users but the owner, and all groups: they get no more than this.
    Mask,
    /// Everybody else.
    Other,
}

/// One entry of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// To whom it gives them.
    pub tag: Tag,
    /// The permissions: 4 to read, 2 to write, 1 to execute.
    pub permissions: u16,
}

/// A list that was read and checked.
///
/// # Invariants
///
/// One entry for the owner, then those for users, one for the file's group, then those for groups,
/// perhaps a mask, one for everybody else. With any user or group there is a mask.
#[derive(Clone, Copy, Debug)]
pub struct Acl<'a> {
    entries: &'a [u8],
}

impl<'a> Acl<'a> {
    /// Checks the value of an attribute. A list without entries is none.
    ///
    /// ```
    /// # use ondisk::acl::{Acl, Tag};
    /// // The same as the mode 0640.
    /// let value = [1, 0, 0, 0, 1, 0, 6, 0, 4, 0, 4, 0, 0x20, 0, 0, 0];
    /// let acl = Acl::parse(&value).unwrap().unwrap();
    /// let tags: Vec<_> = acl.iter().map(|entry| (entry.tag, entry.permissions)).collect();
    /// assert_eq!(tags, [(Tag::UserObj, 6), (Tag::GroupObj, 4), (Tag::Other, 0)]);
    /// ```
    ///
    /// # Errors
    ///
    /// [`Corrupt`](super::Error::Corrupt).
    pub fn parse(value: &'a [u8]) -> Result<Option<Self>> {
        let version = chunk(value, 0).map(|version| u32::from_le_bytes(*version));
        let entries = match (version, value.get(HEADER_LEN..)) {
            (Some(VERSION), Some([])) => return Ok(None),
            (Some(VERSION), Some(entries)) => entries,
            (Some(version), _) => return Structure::Acl.corrupt("a_version", version),
            (None, _) => return Structure::Acl.corrupt_len("a_version", value.len()),
        };
        let acl = Self { entries };
        acl.check()?;
        Ok(Some(acl))
    }

    /// The value of an attribute for these entries, put to the beginning of `to`. There is none
    /// where [`parse`](Self::parse) would refuse it or find no list, or `to` has fewer bytes than
    /// [`value_len`](Self::value_len) says.
    ///
    /// ```
    /// # use ondisk::acl::{Acl, Entry, Tag};
    /// let entries = [(Tag::UserObj, 6), (Tag::GroupObj, 4), (Tag::Other, 0)]
    ///     .map(|(tag, permissions)| Entry { tag, permissions });
    /// let mut bytes = [0; 16];
    /// assert_eq!(Acl::value_len(entries), 16);
    /// let value = Acl::encode(entries, &mut bytes).unwrap();
    /// assert!(Acl::parse(value).unwrap().unwrap().iter().eq(entries));
    /// ```
    pub fn encode(entries: impl IntoIterator<Item = Entry>, to: &'a mut [u8]) -> Option<&'a [u8]> {
        let mut writer = Writer::new(to);
        writer.put(&VERSION.to_le_bytes())?;
        for Entry { tag, permissions } in entries {
            writer.put(&tag.number().to_le_bytes())?;
            writer.put(&permissions.to_le_bytes())?;
            if let Some(id) = tag.id() {
                writer.put(&id.to_le_bytes())?;
            }
        }
        let value = writer.finish();
        matches!(Self::parse(value), Ok(Some(_))).then_some(value)
    }

    /// Bytes of the value for these entries.
    pub fn value_len(entries: impl IntoIterator<Item = Entry>) -> usize {
        entries.into_iter().fold(HEADER_LEN, |len, entry| {
            let entry_len = entry.tag.id().map_or(SHORT_LEN, |_| LONG_LEN);
            // OVERFLOW: the entries would not fit into memory.
            len.saturating_add(entry_len)
        })
    }

    /// The entries, in order.
    pub fn iter(&self) -> Iter<'a> {
        Iter(self.entries)
    }

    fn check(&self) -> Result<()> {
        let mut next = Next::UserObj;
        let mut needs_mask = false;
        let mut rest = self.entries;
        while !rest.is_empty() {
            let (entry, after) = first(rest)?;
            next = match (next, entry.tag) {
                (Next::UserObj, Tag::UserObj) => Next::User,
                (Next::User, Tag::User(_)) => Next::User,
                (Next::User, Tag::GroupObj) => Next::Group,
                (Next::Group, Tag::Group(_)) => Next::Group,
                (Next::Group, Tag::Mask) => Next::Other,
                (Next::Group, Tag::Other) if !needs_mask => Next::End,
                (Next::Other, Tag::Other) => Next::End,
                _ => return Structure::Acl.corrupt("e_tag", entry.tag.number()),
            };
            needs_mask |= matches!(entry.tag, Tag::User(_) | Tag::Group(_));
            rest = after;
        }
        if next != Next::End {
            return Structure::Acl.corrupt_len("e_value_size", self.entries.len());
        }
        Ok(())
    }
}

impl<'a> IntoIterator for &Acl<'a> {
    type Item = Entry;
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

/// The entries of a list, in order.
#[derive(Clone, Debug)]
pub struct Iter<'a>(&'a [u8]);

impl Iterator for Iter<'_> {
    type Item = Entry;

    fn next(&mut self) -> Option<Entry> {
        let (entry, rest) = first(self.0).ok()?;
        self.0 = rest;
        Some(entry)
    }
}

impl FusedIterator for Iter<'_> {}

/// The entry that may come next.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    UserObj,
    User,
    Group,
    Other,
    End,
}

impl Tag {
    fn number(self) -> u16 {
        match self {
            Self::UserObj => 0x01,
            Self::User(_) => 0x02,
            Self::GroupObj => 0x04,
            Self::Group(_) => 0x08,
            Self::Mask => 0x10,
            Self::Other => 0x20,
        }
    }

    fn id(self) -> Option<u32> {
        match self {
            Self::User(id) | Self::Group(id) => Some(id),
            Self::UserObj | Self::GroupObj | Self::Mask | Self::Other => None,
        }
    }
}

/// The first entry of a list, and the others.
fn first(entries: &[u8]) -> Result<(Entry, &[u8])> {
    let Some(raw) = chunk(entries, 0).map(RawShort::new) else {
        return Structure::Acl.corrupt_len("e_value_size", entries.len());
    };
    let id = chunk(entries, SHORT_LEN).map(|id| u32::from_le_bytes(*id));
    let (tag, len) = match (raw.e_tag, id) {
        (0x01, _) => (Tag::UserObj, SHORT_LEN),
        (0x02, Some(id)) => (Tag::User(id), LONG_LEN),
        (0x04, _) => (Tag::GroupObj, SHORT_LEN),
        (0x08, Some(id)) => (Tag::Group(id), LONG_LEN),
        (0x10, _) => (Tag::Mask, SHORT_LEN),
        (0x20, _) => (Tag::Other, SHORT_LEN),
        (tag, _) => return Structure::Acl.corrupt("e_tag", tag),
    };
    if raw.e_perm & !PERMISSIONS != 0 {
        return Structure::Acl.corrupt("e_perm", raw.e_perm);
    }
    let entry = Entry {
        tag,
        permissions: raw.e_perm,
    };
    Ok((entry, entries.get(len..).unwrap_or_default()))
}
