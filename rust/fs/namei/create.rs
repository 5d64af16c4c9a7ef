// SPDX-License-Identifier: GPL-2.0

//! New files.
//!
//! number taken → recorded in the inode table, filled → has what it is made of, and its attributes →
//! has its name, or is an orphan
//!
//! What goes wrong after it has been filled makes it an orphan without links, which is evicted once
//! the handle has been stopped.

use super::{
    super::{
        acl,
        attr::to_disk,
        blocks,
        extents::{
            self,
            Steps, //
        },
        ialloc,
        inode::{
            self,
            InodeInfo, //
        },
        memory::with_memory,
        metadata::{
            self,
            At, //
        },
        orphan, symlink,
        transaction::{
            self,
            with_room,
            Transaction, //
        },
        xattr, Inode, KernelCrc32c, Stablefs, SuperBlock,
    },
    entries, link, whole,
};
use crate::{
    allocation,
    kernel::{
        crc32c::crc32c,
        dentry::{
            Instantiated,
            Negative, //
        },
        errno,
        inode::{
            Created,
            Kind,
            Locked,
            NewParams,
            Node,
            Special,
            Tmpfile,
            Unnumbered, //
        },
        jbd2::Credits,
        mnt_idmapping::Idmap,
        posix_acl::{
            self,
            Initial, //
        },
        random::get_random_u32,
        xattr::SetFlags, //
    },
    ondisk::{
        dir::{
            encode,
            NewEntry, //
        },
        extent::Entries,
        inode::{
            Content,
            Device,
            Fields,
            Flags,
            Target,
            Type,
            EXTRA_ISIZE, //
        },
        xattr::Prefix,
        Ino,
        RoCompat,
        Superblock, //
    },
};
use ::kernel::prelude::*;

/// What is to be made.
pub(super) enum What<'a> {
    /// A regular file.
    Regular,
    /// A directory.
    Directory,
    /// A special file.
    Special(Node),
    /// A symbolic link with its target in the inode.
    Symlink(Target),
    /// A symbolic link with its target in a block.
    LongSymlink(&'a [u8]),
}

impl<'a> What<'a> {
    /// A symbolic link.
    ///
    /// # Errors
    ///
    /// `ENAMETOOLONG` for a target that is not shorter than a block.
    pub(super) fn symlink(sb: &SuperBlock, target: &'a CStr) -> Result<Self> {
        let target = target.to_bytes();
        let block_len = usize::try_from(sb.volume().block_size().bytes().get())?;
        match Target::short(target) {
            Some(target) => Ok(Self::Symlink(target)),
            None if target.len() < block_len => Ok(Self::LongSymlink(target)),
            None => Err(errno::enametoolong()),
        }
    }

    fn file_type(&self) -> Type {
        match self {
            Self::Regular => Type::Regular,
            Self::Directory => Type::Directory,
            Self::Symlink(_) | Self::LongSymlink(_) => Type::Symlink,
            Self::Special(node) => match node.kind {
                Special::Fifo => Type::Fifo,
                Special::CharDevice => Type::CharDevice,
                Special::BlockDevice => Type::BlockDevice,
                Special::Socket => Type::Socket,
            },
        }
    }

    /// What the inode holds at first.
    fn content(&self, volume: &Superblock) -> Option<Content> {
        Some(match self {
            Self::Regular | Self::Directory | Self::LongSymlink(_) => {
                Content::Extents(Entries::Extents(&[]).root(volume)?)
            }
            Self::Symlink(target) => Content::Target(*target),
            Self::Special(node) => match node.kind {
                Special::CharDevice | Special::BlockDevice => Content::Device(Device {
                    major: node.major,
                    minor: node.minor,
                }),
                Special::Fifo | Special::Socket => Content::Nothing,
            },
        })
    }

    /// Bytes of a link's target.
    fn target_len(&self) -> usize {
        match self {
            Self::Symlink(target) => target.bytes().len(),
            Self::LongSymlink(target) => target.len(),
            _ => 0,
        }
    }

    /// Names that it has before there is anything in it.
    fn first_links(&self) -> u16 {
        match self {
            // There is no directory without a block.
            Self::Directory => 0,
            _ => 1,
        }
    }

    /// What giving it what it is made of changes, beside the inode.
    fn credits(&self) -> Credits {
        match self {
            Self::Directory | Self::LongSymlink(_) => Steps::NEW.allocate().and(Credits::blocks(1)),
            _ => Credits::default(),
        }
    }
}

/// A new inode's record, as far as it is known before the inode is.
struct Draft {
    fields: Fields,
    kind: Kind<Stablefs>,
    params: NewParams,
}

impl Draft {
    fn new(dir: &Inode, what: &What<'_>) -> Result<Self> {
        let (sb, above) = (dir.sb(), dir.disk());
        let volume = sb.volume();
        let file_type = what.file_type();
        let content = what
            .content(volume)
            .ok_or_else(|| bug(dir, "an inode that there cannot be"))?;
        let inherited = above.flags().inherited(file_type);
        let flags = match content {
            Content::Extents(_) => inherited.with(Flags::EXTENTS),
            _ => inherited,
        };
        let dax = volume.dax().is_for(sb, file_type, flags);
        let generation = get_random_u32();
        let len = u64::try_from(what.target_len())?;
        let is_long = matches!(what, What::LongSymlink(_));
        let block_len = u64::from(volume.block_size().bytes().get());
        let projid = if has_project(&above, volume) {
            above.projid()
        } else {
            0
        };
        let epoch = to_disk(crate::kernel::inode::Time { sec: 0, nsec: 0 });
        Ok(Self {
            kind: inode::kind(file_type, &content, dax)?,
            params: NewParams {
                nlink: what.first_links().into(),
                // The block is the first of the file.
                size: if is_long { 0 } else { len },
                generation,
                flags: inode::vfs_flags(flags, dax),
            },
            fields: Fields {
                file_type,
                permissions: 0,
                uid: 0,
                gid: 0,
                size: len,
                sectors: if is_long { block_len / 512 } else { 0 },
                links: what.first_links(),
                flags,
                generation,
                version: 0,
                projid,
                atime: epoch,
                ctime: epoch,
                mtime: epoch,
                crtime: (volume.inode_size() > 128).then_some(epoch),
                dtime: 0,
                xattr_block: None,
                content,
            },
        })
    }
}

/// Whether files in the directory have to be of its project.
pub(super) fn has_project(dir: &crate::ondisk::Inode, volume: &Superblock) -> bool {
    volume.features().ro_compat.contains(RoCompat::PROJECT)
        && dir.flags().contains(Flags::PROJINHERIT)
}

/// What making a file changes, beside what it is made of and the directory; or what is done if that
/// goes wrong.
const CREDITS: Credits = ialloc::CREDITS
    .and(inode::CREDITS)
    .and(orphan::CREDITS)
    .and(xattr::CREDITS.times(XATTRS));

/// Attributes that a new file gets at most: two lists, and those of two security modules.
const XATTRS: u32 = 4;

/// Makes a file that has a name.
///
/// # Errors
///
/// `ENOSPC`, `EMLINK`; what reading and checking the directory says, or the journal.
///
/// # Context
///
/// Sleeps. The directory has no such name.
pub(super) fn named<'a>(
    idmap: Idmap<'a>,
    dir: Locked<'a, Stablefs>,
    dentry: Negative<'a, Stablefs>,
    what: &What<'_>,
    permissions: u16,
) -> Result<Instantiated<'a>> {
    let sb = dir.inode().sb();
    if matches!(what, What::Directory) {
        link::check_room(&dir)?;
    }
    let created = with_room(sb, || {
        let Draft {
            fields,
            kind,
            params,
        } = Draft::new(&dir, what)?;
        let new = sb.new_inode(idmap, &dir, kind, permissions)?;
        let credits = CREDITS.and(what.credits()).and(entries::add_credits(&dir));
        let mut transaction = Transaction::start(sb, credits)?;
        if dir.is_dirsync() {
            transaction.set_sync();
        }
        inode::prepare(&transaction, &dir)?;
        let created = make(&transaction, &dir, dentry.name(), new, fields, &params)?;
        let done = give_name(&transaction, dir, &created, &dentry, what);
        end(transaction, &created, done)?;
        Ok(created)
    })?;
    created.d_instantiate_new(dentry)
}

/// Makes a regular file for an open file, without a name.
///
/// # Errors
///
/// `ENOSPC`; what reading says, or the journal.
///
/// # Context
///
/// Sleeps.
pub(super) fn unnamed<'a>(
    idmap: Idmap<'a>,
    dir: &'a Inode,
    file: Tmpfile<'a, Stablefs>,
    permissions: u16,
) -> Result<Instantiated<'a>> {
    let sb = dir.sb();
    let Draft {
        fields,
        kind,
        params,
    } = Draft::new(dir, &What::Regular)?;
    let new = sb.new_inode(idmap, dir, kind, permissions)?;
    let transaction = Transaction::start(sb, CREDITS)?;
    let created = make(&transaction, dir, b"", new, fields, &params)?;
    let done = init_xattrs(&transaction, dir, &created, None).and_then(|()| {
        created.locked().clear_nlink();
        orphan::add(&transaction, &created)?;
        whole(&transaction, || {
            inode::update(&transaction, &created, |_| ())
        })
    });
    end(transaction, &created, done)?;
    created.d_tmpfile(file)
}

/// Makes an inode that has neither a name nor contents.
fn make<'a>(
    transaction: &Transaction<'_>,
    dir: &Inode,
    name: &[u8],
    new: Unnumbered<'a, Stablefs>,
    mut fields: Fields,
    params: &NewParams,
) -> Result<Created<'a, Stablefs>> {
    let sb = dir.sb();
    let is_dir = fields.file_type == Type::Directory;
    let is_top = dir.ino() == Ino::ROOT || dir.disk().flags().contains(Flags::TOPDIR);
    let place = match (is_dir, is_top) {
        (true, true) => allocation::Kind::TopDirectory(crc32c(0, name)),
        (true, false) => allocation::Kind::Directory,
        (false, _) => allocation::Kind::Other,
    };
    let ino = ialloc::new_inode(transaction, dir, place)?;
    let number = ino.get();
    let numbered = new.insert_inode_locked(number).map_err(|_| {
        // It stays taken.
        metadata::corrupt(
            sb,
            At::inode(ino),
            format_args!("is in use, and the bitmap says that it is free"),
        )
    })?;
    let time = to_disk(numbered.time());
    fields.crtime = fields.crtime.map(|_| time);
    match record(transaction, sb, ino, &fields) {
        Ok(disk) => Ok(numbered.fill(params, InodeInfo::new(disk, None, None))),
        Err(error) => {
            // Whoever takes the number next must not find it in use.
            drop(numbered);
            if ialloc::free_inode(transaction, ino, is_dir).is_err() {
                transaction.abort(error);
            }
            Err(error)
        }
    }
}

/// Writes a new inode to the inode table.
fn record(
    transaction: &Transaction<'_>,
    sb: &SuperBlock,
    ino: Ino,
    fields: &Fields,
) -> Result<crate::ondisk::Inode> {
    let place = inode::place_of(sb, ino)?;
    let at = At::block(ino, place.pblk);
    let mut edit = transaction.edit_part(at, place)?;
    let extra_isize = fields.crtime.map_or(0, |_| EXTRA_ISIZE);
    let disk = fields
        .encode_new::<KernelCrc32c>(sb.volume(), ino, extra_isize, edit.bytes_mut())
        .ok_or_else(|| transaction::bug(sb, at, "an inode that cannot be made"))?;
    edit.write()?;
    Ok(disk)
}

/// Gives a new file what it is made of, its attributes and its name.
fn give_name(
    transaction: &Transaction<'_>,
    dir: Locked<'_, Stablefs>,
    created: &Created<'_, Stablefs>,
    dentry: &Negative<'_, Stablefs>,
    what: &What<'_>,
) -> Result {
    fill(transaction, dir.ino(), created, what)?;
    init_xattrs(transaction, &dir, created, Some(dentry))?;
    let entry = NewEntry {
        ino: created.ino(),
        file_type: what.file_type(),
        name: dentry.name(),
    };
    let changed = entries::add(transaction, dir, &entry)?;
    whole(transaction, || {
        inode::update(transaction, created, |_| ())?;
        if created.is_dir() {
            link::inc_count(dir);
        }
        changed.finish(transaction, dir)
    })
}

/// Gives a new file the block that it begins with, if it does.
fn fill(
    transaction: &Transaction<'_>,
    above: Ino,
    created: &Created<'_, Stablefs>,
    what: &What<'_>,
) -> Result {
    let volume = created.sb().volume();
    let len = usize::try_from(blocks::len(created))?;
    let (size, links) = match what {
        What::Directory => (len, 2),
        What::LongSymlink(target) => (target.len(), 1),
        _ => return Ok(()),
    };
    let mut block = KVec::from_elem(0_u8, len, GFP_KERNEL)?;
    let (lblk, pblk) = extents::append(transaction, created)?;
    created.locked().i_size_write(u64::try_from(size)?);
    let filled = match what {
        What::LongSymlink(target) => block
            .get_mut(..target.len())
            .map(|bytes| bytes.copy_from_slice(target)),
        _ => {
            let [own, above] =
                [(created.ino(), b".".as_slice()), (above, b"..")].map(|(ino, name)| NewEntry {
                    ino,
                    file_type: Type::Directory,
                    name,
                });
            encode::<KernelCrc32c>(volume, &created.disk(), lblk, &[own, above], &mut block)
        }
    };
    filled.ok_or_else(|| bug(created, "a block that cannot be made"))?;
    transaction.create(pblk, &block)?;
    created.locked().set_nlink(links);
    Ok(())
}

/// Gives a new file the access control lists that it inherits, and what the security modules want.
///
/// # Errors
///
/// `ENOSPC`; what the modules say, or the journal.
fn init_xattrs(
    transaction: &Transaction<'_>,
    dir: &Inode,
    created: &Created<'_, Stablefs>,
    dentry: Option<&Negative<'_, Stablefs>>,
) -> Result {
    let Initial { default, access } = created.acls();
    for (acl_type, acl) in [
        (posix_acl::Type::Default, default),
        (posix_acl::Type::Access, access),
    ] {
        if acl.is_some() {
            acl::set_with(transaction, created.locked(), acl_type, acl.as_ref())?;
        }
    }
    created.security_inode_init_security(dir, dentry, |name, value| {
        let flags = SetFlags {
            create: true,
            replace: false,
        };
        let (prefix, name) = (Prefix::SECURITY, name.to_bytes());
        xattr::set_with(
            transaction,
            created.locked(),
            prefix,
            name,
            Some(value),
            flags,
        )
    })
}

/// Stops the handle in which a file was made, or was to be.
fn end(transaction: Transaction<'_>, created: &Created<'_, Stablefs>, done: Result) -> Result {
    if done.is_err() {
        discard(&transaction, created);
    }
    let stopped = transaction.stop();
    done.and(stopped)
}

/// Has a new file be one to be deleted, whatever it has of what it is made of.
fn discard(transaction: &Transaction<'_>, created: &Created<'_, Stablefs>) {
    let volume = created.sb().volume();
    // Each update has the disk say as many links as the VFS does, also that of the list of orphans.
    created.locked().clear_nlink();
    let noted = inode::update(transaction, created, |fields| {
        symlink::forget_target(volume, fields);
    })
    .and_then(
        |()| match with_memory(|| orphan::add(transaction, created)) {
            // Then a crash, before it is evicted, leaves it to e2fsck.
            Err(error) if error == ENOSPC => Ok(()),
            added => added,
        },
    );
    if let Err(error) = noted {
        transaction.abort(error);
    }
}

fn bug(inode: &Inode, what: &str) -> Error {
    transaction::bug(inode.sb(), At::inode(inode.ino()), what)
}
