// SPDX-License-Identifier: GPL-2.0

//! Inodes of the disk as inodes of the VFS.

use super::{
    acl,
    aops::{
        self,
        Unreadable, //
    },
    attr::{
        self,
        time, //
    },
    dir, file,
    map::{
        self,
        ExtentMap,
        Mapping,
        State, //
    },
    memory::with_memory,
    metadata::{
        self,
        At,
        MetaBlock, //
    },
    namei, orphan, symlink,
    transaction::{
        self,
        Transaction, //
    },
    xattr, Inode, KernelCrc32c, Stablefs, SuperBlock,
};
use crate::{
    allocation::{
        Promised,
        Window, //
    },
    kernel::{
        errno,
        fileattr::{
            self,
            FileKattr, //
        },
        inode::{
            Attributes,
            Flags,
            Got,
            Iattr,
            Kind,
            Locked,
            Ops,
            Params,
            Special, //
        },
        iomap::Fiemap,
        jbd2::{
            Credits,
            Loaded,
            Tid, //
        },
        log,
        mnt_idmapping::Idmap,
        posix_acl::{
            self,
            PosixAcl, //
        },
        stat::Kstat,
        xattr::Buffer, //
    },
    ondisk::{
        self,
        group::Descriptor,
        inode::{
            make_room,
            Content,
            Fields,
            Type, //
        },
        Blocks,
        InBlock,
        Ino,
        Lblk,
        Pblk,
        PblkRange, //
    },
};
use ::kernel::{
    new_mutex, new_spinlock,
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{
            Atomic,
            Full,
            Relaxed, //
        },
        Arc,
        Mutex,
        SetOnce,
        SpinLock, //
    },
};

/// What is kept for an inode in memory.
#[pin_data]
pub(crate) struct InodeInfo {
    ino: Ino,
    /// What the disk says of it, or will once the journal is replayed.
    #[pin]
    disk: SpinLock<Disk>,
    /// Held to change the inode on the disk.
    #[pin]
    changing: Mutex<()>,
    /// What is known of where its blocks are, once somebody asked.
    extent_map: SetOnce<Arc<ExtentMap>>,
    /// Where reading ahead has failed.
    unreadable: Unreadable,
    /// Whether a fault has claimed blocks for it.
    has_claims: Atomic<bool>,
    /// Whether it is kept until nobody uses its pages.
    lingers: Atomic<bool>,
    /// Whether all its data have been cut off, and so what is written next replaces them.
    is_replaced: Atomic<bool>,
    /// How many blocks are reserved for it. For a moment fewer than none, when one thread allocates
    /// what another one has just reserved.
    reserved: Atomic<i64>,
}

/// What the spinlock protects.
struct Disk {
    inode: ondisk::Inode,
    /// The last transaction that changed it.
    tid: Option<Tid>,
    /// The last one that changed its size, or where its data are.
    data_tid: Option<Tid>,
    orphan: Option<orphan::Place>,
    window: Window,
    promised: Promised,
}

impl InodeInfo {
    /// That of an inode that the disk has, or will once transaction `tid` is committed, and that is
    /// noted as an orphan there.
    pub(super) fn new(
        inode: ondisk::Inode,
        tid: Option<Tid>,
        orphan: Option<orphan::Place>,
    ) -> impl PinInit<Self> {
        pin_init!(Self {
            ino: inode.ino(),
            disk <- new_spinlock!(
                Disk { inode, tid, data_tid: tid, orphan, window: Window::default(), promised: Promised::default() },
                "stablefs::disk"
            ),
            changing <- new_mutex!((), "stablefs::changing"),
            extent_map: SetOnce::new(),
            unreadable: Unreadable::new(),
            has_claims: Atomic::new(false),
            lingers: Atomic::new(false),
            is_replaced: Atomic::new(false),
            reserved: Atomic::new(0),
        })
    }
}

impl Inode {
    /// Where reading ahead has failed.
    pub(super) fn unreadable(&self) -> &Unreadable {
        &self.data().unreadable
    }

    /// What the disk says of the inode, or will once the journal is replayed.
    pub(super) fn disk(&self) -> ondisk::Inode {
        self.data().disk.lock().inode
    }

    /// Held to change the inode on the disk, and to read from there what may be changing. Nothing is
    /// allocated then that memory reclaim would call a filesystem for, as that starts handles, and who
    /// has one may wait for this.
    pub(super) fn changing(&self) -> &Mutex<()> {
        &self.data().changing
    }

    /// Where it is noted as an orphan, for [`orphan`](super::orphan).
    pub(super) fn orphan(&self) -> Option<orphan::Place> {
        self.data().disk.lock().orphan
    }

    /// Has [`orphan`](Self::orphan) say so.
    pub(super) fn set_orphan(&self, place: Option<orphan::Place>) {
        self.data().disk.lock().orphan = place;
    }

    /// Takes away what it knows of its window, for [`balloc`](super::balloc).
    pub(super) fn take_window(&self) -> Window {
        core::mem::take(&mut self.data().disk.lock().window)
    }

    /// Has it know of a window.
    pub(super) fn set_window(&self, window: Window) {
        self.data().disk.lock().window = window;
    }

    /// Changes what is promised to it, for [`promise`](super::promise).
    pub(super) fn with_promised<T>(&self, change: impl FnOnce(&mut Promised) -> T) -> T {
        change(&mut self.data().disk.lock().promised)
    }

    /// The last transaction that changed the inode on the disk, or one after it.
    pub(super) fn tid(&self) -> Option<Tid> {
        self.data().disk.lock().tid
    }

    /// The last transaction that changed what is needed to read its data, or one after it.
    pub(super) fn data_tid(&self) -> Option<Tid> {
        self.data().disk.lock().data_tid
    }

    /// Has [`data_tid`](Self::data_tid) be that, as the tree of its extents has changed; [`update`] knows
    /// when the size does.
    pub(super) fn set_data_tid(&self, tid: Tid) {
        self.data().disk.lock().data_tid = Some(tid);
    }

    /// Whether blocks may be claimed for it, as [`dax`](super::dax) does.
    pub(super) fn has_claims(&self) -> bool {
        self.data().has_claims.load(Relaxed)
    }

    /// Has [`has_claims`](Self::has_claims) say so, or not: the latter for one who keeps faults out.
    pub(super) fn set_has_claims(&self, has: bool) {
        if self.has_claims() != has {
            self.data().has_claims.store(has, Relaxed);
        }
    }

    /// Notes whether it is kept until nobody uses its pages; returns what was noted.
    pub(super) fn set_lingers(&self, lingers: bool) -> bool {
        self.data().lingers.xchg(lingers, Full)
    }

    /// Notes that all its data have been cut off.
    pub(super) fn set_replaced(&self) {
        self.data().is_replaced.store(true, Relaxed);
    }

    /// Whether they have been, since somebody asked.
    pub(super) fn take_replaced(&self) -> bool {
        self.data().is_replaced.xchg(false, Relaxed)
    }

    /// How many blocks are [reserved](super::delalloc) for it.
    pub(super) fn reserved(&self) -> Blocks {
        Blocks(u64::try_from(self.data().reserved.load(Relaxed)).unwrap_or(0))
    }

    /// Has [`reserved`](Self::reserved) count more.
    pub(super) fn count_reserved(&self, n: Blocks) {
        let n = i64::try_from(n.0).unwrap_or(i64::MAX);
        self.data().reserved.add(n, Relaxed);
    }

    /// Has [`reserved`](Self::reserved) count fewer.
    pub(super) fn uncount_reserved(&self, n: Blocks) {
        let n = i64::try_from(n.0).unwrap_or(i64::MAX);
        self.data().reserved.add(n.saturating_neg(), Relaxed);
    }

    /// Where the map of its blocks is, for [`map`](super::map).
    pub(super) fn extent_map(&self) -> &SetOnce<Arc<ExtentMap>> {
        &self.data().extent_map
    }

    /// Its number.
    pub(super) fn ino(&self) -> Ino {
        self.data().ino
    }
}

/// Operations on inodes that are neither directories nor links.
pub(super) struct InodeOperations;

#[vtable]
impl crate::kernel::inode::Operations for InodeOperations {
    type FileSystem = Stablefs;

    fn getattr(inode: &Inode, stat: &mut Kstat<'_>) -> Result {
        attr::getattr(inode, stat)
    }

    fn listxattr(inode: &Inode, names: &mut Buffer<'_>) -> Result {
        xattr::list(inode, names)
    }

    fn get_inode_acl(inode: &Inode, acl_type: posix_acl::Type) -> Result<Option<PosixAcl>> {
        acl::get(inode, acl_type)
    }

    fn fileattr_get(inode: &Inode, fa: &mut FileKattr<'_>) -> Result {
        attr::fileattr_get(inode, fa)
    }

    fn setattr(attr: Iattr<'_, Stablefs>) -> Result {
        attr::setattr(attr)
    }

    fn set_acl(
        idmap: Idmap<'_>,
        inode: Locked<'_, Stablefs>,
        acl: Option<&PosixAcl>,
        acl_type: posix_acl::Type,
    ) -> Result {
        acl::set(idmap, inode, acl, acl_type)
    }

    fn fileattr_set(inode: Locked<'_, Stablefs>, wanted: fileattr::Wanted) -> Result {
        attr::fileattr_set(inode, wanted)
    }

    fn fiemap(inode: &Inode, fieinfo: Fiemap<'_>) -> Result {
        file::fiemap(inode, fieinfo)
    }
}

/// The inode of that number, which has to be in use and to have a name.
///
/// # Errors
///
/// `ESTALE` for one that is free, or deleted; what reading and checking it says.
///
/// # Context
///
/// Sleeps.
pub(super) fn iget(sb: &SuperBlock, ino: Ino) -> Result<ARef<Inode>> {
    iget_if(sb, ino, |disk| disk.links() > 0)
}

/// The inode of that number, which is noted as an orphan.
///
/// # Errors
///
/// Those of [`iget`].
pub(super) fn iget_orphan(sb: &SuperBlock, ino: Ino) -> Result<ARef<Inode>> {
    iget_if(sb, ino, |_| true)
}

fn iget_if(
    sb: &SuperBlock,
    ino: Ino,
    wanted: impl FnOnce(&ondisk::Inode) -> bool,
) -> Result<ARef<Inode>> {
    let new = match sb.iget_locked(ino.get())? {
        Got::Old(inode) => return Ok(inode),
        Got::New(new) => new,
    };
    let bytes = read_bytes(sb, ino)?;
    let disk = ondisk::Inode::parse::<KernelCrc32c>(sb.volume(), ino, &bytes)
        .map_err(|error| metadata::blame(sb, At::inode(ino), error))?
        .filter(wanted)
        .ok_or(errno::estale())?;
    let params = params(sb, &disk)?;
    // It may have been changed, and forgotten, not long ago.
    let tid = sb.journal().map(Loaded::latest);
    Ok(new.fill(params, InodeInfo::new(disk, tid, orphan::place(sb, ino))))
}

/// Has the disk say of the inode what the VFS says of it, and what `change` makes of the rest.
///
/// The size of a regular file is part of the rest, as it grows on the disk only when data are there.
///
/// # Errors
///
/// What reading the inode's block says; `EROFS` if the journal has been given up. Nothing has changed
/// then.
///
/// # Context
///
/// Sleeps. The transaction has credits for [`CREDITS`] more.
pub(super) fn update(
    transaction: &Transaction<'_>,
    inode: &Inode,
    change: impl FnOnce(&mut Fields),
) -> Result {
    update_whole(transaction, inode, |fields, _, _| {
        change(fields);
        Ok(())
    })
}

/// As [`update`], of all bytes of the inode: those behind the fields are extended attributes. What
/// `change` changes elsewhere, those see together with it who hold [`changing`](Inode::changing). What it
/// returns lives until the inode has changed. If the inode is in the list of orphans, that is passed,
/// locked.
///
/// # Errors
///
/// Those of [`update`], and of `change`. The inode has not changed then.
///
/// # Context
///
/// As [`update`].
pub(super) fn update_whole<T>(
    transaction: &Transaction<'_>,
    inode: &Inode,
    change: impl FnOnce(&mut Fields, &mut [u8], Option<&mut KVVec<Ino>>) -> Result<T>,
) -> Result<T> {
    let (sb, ino) = (inode.sb(), inode.ino());
    let volume = sb.volume();
    let place = place_of(sb, ino)?;
    let at = At::block(ino, place.pblk);
    let tid = transaction.tid()?;
    let _changing = inode.changing().lock();
    let mut listed = orphan::lock_list(inode);
    let mut edit = transaction.edit_part(at, place)?;
    make_room(edit.bytes_mut());
    let mut fields = inode.disk().fields();
    attr::from_vfs(inode, &mut fields);
    fields.cut(edit.bytes());
    if let Some((_, next)) = &listed {
        fields.dtime = next.map_or(0, Ino::get);
    }
    let listed = listed.as_mut().map(|(inodes, _)| &mut **inodes);
    let changed = change(&mut fields, edit.bytes_mut(), listed)?;
    let disk = fields
        .encode::<KernelCrc32c>(volume, ino, edit.bytes_mut())
        .ok_or_else(|| transaction::bug(sb, at, "an inode that cannot be encoded"))?;
    edit.write()?;
    let mut known = inode.data().disk.lock();
    if known.inode.size() != disk.size() {
        known.data_tid = Some(tid);
    }
    known.inode = disk;
    known.tid = Some(tid);
    Ok(changed)
}

/// Has [`update`] not fail but for a journal that has been given up.
///
/// # Errors
///
/// Those of [`update`].
pub(super) fn prepare(transaction: &Transaction<'_>, inode: &Inode) -> Result {
    let ino = inode.ino();
    let place = place_of(inode.sb(), ino)?;
    transaction.prepare(At::block(ino, place.pblk), place)
}

/// What [`update`] changes.
pub(super) const CREDITS: Credits = Credits::blocks(1);

/// The VFS has changed the inode.
pub(super) fn dirty_inode(inode: &Inode) {
    // The VFS cannot be told. It goes on with what it has; what has been given up is in the log.
    let written = with_memory(|| {
        let transaction = Transaction::start(inode.sb(), CREDITS)?;
        update(&transaction, inode, |_| ())
    });
    if let Err(error) = written {
        if error != EROFS {
            let (errno, number) = (error.to_errno(), inode.ino().get());
            log::err(
                inode.sb(),
                format_args!("inode {number}: cannot be written: error {errno}"),
            );
        }
    }
}

/// Has the device have what was changed of the inode, if `wait`.
pub(super) fn write_inode(inode: &Inode, wait: bool) -> Result {
    match (inode.sb().journal(), inode.tid()) {
        (Some(journal), Some(tid)) if wait => journal.complete_transaction(tid),
        _ => Ok(()),
    }
}

/// Where an inode is.
///
/// # Errors
///
/// What reading the descriptor of its group says, if that could not be used when the volume was mounted.
pub(super) fn place_of(sb: &SuperBlock, ino: Ino) -> Result<InBlock> {
    let volume = sb.volume();
    match volume.groups().inode_table(volume.group_of(ino)) {
        Some(table) => Ok(volume.inode_place(table, ino)),
        None => descriptor(sb, ino)?.inode_place(volume, ino).ok_or(EINVAL),
    }
}

/// The bytes of an inode, from the inode table.
pub(super) fn read_bytes(sb: &SuperBlock, ino: Ino) -> Result<KVec<u8>> {
    let volume = sb.volume();
    let place = place_of(sb, ino)?;
    metadata::read_ahead(sb, volume, place.pblk, || {
        let descriptor = descriptor(sb, ino).ok()?;
        Some(around(volume, &descriptor, place.pblk))
    });
    metadata::read(sb, At::block(ino, place.pblk), place)
}

/// The descriptor of the group that an inode is in.
///
/// # Errors
///
/// What reading and checking it says.
///
/// # Context
///
/// Sleeps. No group is locked.
pub(super) fn descriptor(sb: &SuperBlock, ino: Ino) -> Result<Descriptor> {
    let volume = sb.volume();
    let group = volume.group_of(ino);
    let place = volume
        .descriptor_place(group)
        .map_err(|error| metadata::blame(sb, At::inode(ino), error))?;
    let at = At::block(ino, place.pblk);
    let read = || {
        let bytes = metadata::read(sb, at, place)?;
        Ok::<_, Error>(Descriptor::parse::<KernelCrc32c>(volume, group, &bytes))
    };
    let descriptor = match read()? {
        // Somebody may have been changing it.
        Err(ondisk::Error::BadChecksum { .. }) if sb.volume().is_open() => {
            let _group = volume.allocator().lock(group)?;
            read()?
        }
        descriptor => descriptor,
    };
    descriptor.map_err(|error| metadata::blame(sb, at, error))
}

/// The blocks of the inode table around one of them that are worth reading with it: whoever looks at
/// one inode of a directory mostly looks at its neighbours, too.
fn around(volume: &ondisk::Superblock, descriptor: &Descriptor, pblk: Pblk) -> PblkRange {
    /// As many as ext4 reads at a time; a power of 2.
    const BLOCKS: u64 = 32;

    let used = descriptor.inode_table_used(volume);
    let start = pblk.0 & !(BLOCKS - 1);
    PblkRange {
        start: Pblk(start.max(used.start.0)),
        end: Pblk(start.saturating_add(BLOCKS).min(used.end.0)),
    }
}

/// Reads block `lblk` of a directory or a symbolic link, whose contents are metadata.
///
/// # Errors
///
/// `EFSCORRUPTED` if there is none; what reading says.
pub(super) fn read_block(inode: &Inode, lblk: Lblk) -> Result<MetaBlock> {
    MetaBlock::read(inode.sb(), inode.ino(), pblk_of(inode, lblk)?)
}

/// Where block `lblk` of a directory or a symbolic link is.
///
/// # Errors
///
/// Those of [`read_block`].
pub(super) fn pblk_of(inode: &Inode, lblk: Lblk) -> Result<Pblk> {
    let pblk = match map::lookup(inode, lblk)?.mapping {
        Mapping::Extent(extent) if extent.state() == State::Written => extent.pblk(lblk),
        _ => None,
    };
    pblk.ok_or_else(|| {
        metadata::corrupt(
            inode.sb(),
            At::inode(inode.ino()),
            format_args!("has no block {}", lblk.0),
        )
    })
}

fn params(sb: &SuperBlock, disk: &ondisk::Inode) -> Result<Params<Stablefs>> {
    let dax = sb.volume().dax().is_for(sb, disk.file_type(), disk.flags());
    Ok(Params {
        kind: kind(disk.file_type(), disk.content(), dax)?,
        attributes: Attributes {
            permissions: disk.permissions(),
            uid: disk.uid(),
            gid: disk.gid(),
            nlink: disk.links().into(),
            size: disk.size(),
            blocks: disk.sectors(),
            atime: time(disk.atime()),
            mtime: time(disk.mtime()),
            ctime: time(disk.ctime()),
            version: disk.version(),
        },
        generation: disk.generation(),
        flags: vfs_flags(disk.flags(), dax),
    })
}

/// What an inode of that type and content is to the VFS; a regular file, with DAX or without.
///
/// # Errors
///
/// `ENOMEM`.
pub(super) fn kind(file_type: Type, content: &Content, dax: bool) -> Result<Kind<Stablefs>> {
    let ops = Ops::new::<InodeOperations>;
    Ok(match (file_type, content) {
        (Type::Directory, _) => Kind::Directory(Ops::new::<namei::Operations>(), dir::ops()),
        (Type::Regular, _) if dax => Kind::Regular(ops(), file::ops(), aops::dax_ops()),
        (Type::Regular, _) => Kind::Regular(ops(), file::ops(), aops::ops()),
        (Type::Symlink, content) => Kind::Symlink(
            Ops::new::<symlink::Operations>(),
            match content {
                Content::Target(target) => {
                    Some(KBox::new(symlink::c_string(target.bytes())?, GFP_KERNEL)?)
                }
                _ => None,
            },
        ),
        (Type::Fifo, _) => special(Special::Fifo, content),
        (Type::CharDevice, _) => special(Special::CharDevice, content),
        (Type::BlockDevice, _) => special(Special::BlockDevice, content),
        (Type::Socket, _) => special(Special::Socket, content),
    })
}

/// What flags of the disk mean to the VFS.
pub(super) fn vfs_flags(flags: ondisk::inode::Flags, dax: bool) -> Flags {
    let has = |flag| flags.contains(flag);
    Flags {
        sync: has(ondisk::inode::Flags::SYNC),
        append: has(ondisk::inode::Flags::APPEND),
        immutable: has(ondisk::inode::Flags::IMMUTABLE),
        noatime: has(ondisk::inode::Flags::NOATIME),
        dirsync: has(ondisk::inode::Flags::DIRSYNC),
        dax,
    }
}

fn special(kind: Special, content: &Content) -> Kind<Stablefs> {
    let (major, minor) = match content {
        Content::Device(device) => (device.major, device.minor),
        _ => (0, 0),
    };
    Kind::Special {
        ops: Ops::new::<InodeOperations>(),
        kind,
        major,
        minor,
    }
}
