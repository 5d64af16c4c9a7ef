// SPDX-License-Identifier: GPL-2.0

//! Every lock, what it protects, and which comes first.
//!
//! | lock | C object | protects | guard |
//! | --- | --- | --- | --- |
//! | `s_umount` | [`SuperBlock`] | that a volume is there, from mount to unmount | the VFS's |
//! | `i_rwsem` | [`Inode`] | a directory's entries; where the data of a file are, for those who ask more than once and want one answer, or who leave out the page cache; its size | [`InodeShared`], [`InodeExclusive`] |
//! | `mmap_lock` | `mm_struct` | the mappings of a process | mm's |
//! | `invalidate_lock` | the pages of an [`Inode`] | that a page that is being brought in, or stored to, is still the file's | [`InvalidateShared`], [`InvalidateExclusive`] |
//! | folio lock | a folio | its contents, until they are up to date; its place in the file | [`folio::Locked`] |
//! | DAX entry lock | a page's entry in the pages of an [`Inode`] | the same, for memory without folios | DAX's |
//! | `loading` | mutex of an [`ExtentMap`] | the file's tree on the disk, and that the map does not learn, nor follow a change of the tree | [`MutexGuard`] |
//! | `changing` | mutex of an [`Inode`] | what the disk says of the inode itself | [`MutexGuard`] |
//! | `inodes` | mutex of the list of [`Orphans`] | the list, on the disk and in memory, and its inodes on the disk; the superblock, changed through the journal | [`MutexGuard`] |
//! | `places` | mutex of the [`Orphans`] | where which inode is noted, in memory | [`MutexGuard`] |
//! | `next` | mutex of the file of [`Orphans`] | the orphan file | [`MutexGuard`] |
//! | `shared_xattrs` | mutex of a [`Volume`] | blocks of attributes that several inodes have | [`MutexGuard`] |
//! | `listed` | spinlock of [`Maps`] | which maps of the volume there are to forget something of | [`SpinLockGuard`] |
//! | `known` | spinlock of an [`ExtentMap`] | what is known of the file's blocks | [`SpinLockGuard`] |
//! | `group` | mutex of some groups of an [`Allocator`] | their descriptors and bitmaps on the disk | [`Group`] |
//! | `held` | spinlock of the same groups | what is said of them in memory, and which free blocks are not to be taken | [`SpinLockGuard`] |
//! | `incidents` | spinlock of a [`Volume`] | of which errors the superblock is to tell | [`SpinLockGuard`] |
//! | `space` | spinlock of an [`Allocator`] | how much is free, and reserved | [`SpinLockGuard`] |
//! | `lingering` | mutex of a [`SuperBlock`] | which inodes wait to be evicted until nobody uses their pages | [`MutexGuard`] |
//! | `claimed` | spinlock of [`Claims`] | for which place in which file blocks are mapped with DAX | [`SpinLockGuard`] |
//!
//! The order, outermost first, on each path; "map" stands for all that [`map`](super::map) takes:
//!
//! * buffered read: `invalidate_lock` → folio lock → map. All by mm, and without `i_rwsem`: a page is
//!   the file's as long as its lock is held, which is all that one read of it needs.
//! * fault on the page cache: `mmap_lock`, which mm gives up before it waits → `invalidate_lock` →
//!   folio lock → map.
//! * fault with DAX: `mmap_lock` → `invalidate_lock` → DAX entry lock → map, and that done, `claimed`. For a store: `mmap_lock`
//!   → the volume is not frozen → room, as below; then a handle, for the times; and that given up, as above, with a handle → `loading` … if there
//!   are no data; with `MAP_SYNC` then `invalidate_lock` → a commit.
//! * DAX write, where there are no data: `i_rwsem`, exclusively → `invalidate_lock`, exclusively → a handle → `loading` …, in
//!   which the writer's memory is copied without faults; and the handle given up, DAX entry locks, of zeroes that were
//!   mapped. The writer's memory is brought in before, with `i_rwsem` alone, and copied with that alone to where there are
//!   data already.
//! * truncate, punch, zero range, collapse, insert with DAX: `i_rwsem`, exclusively → `invalidate_lock`, exclusively → writeback of the file, which
//!   takes DAX entry locks and `i_mmap_rwsem` → DAX entry locks. Who uses a page is waited for with `i_rwsem` alone.
//! * last close of a file that was mapped with DAX: `invalidate_lock`, exclusively → DAX entry locks,
//!   and those given up, `claimed`; or, by itself, `lingering`. A worker does the same, and evicts with nothing held.
//! * direct read: `i_rwsem` → (`mmap_lock` of the reader, for the pages it reads to; or
//!   `invalidate_lock` and folio locks, should these be pages of a file) → map. `i_rwsem` is given up
//!   once all is submitted.
//! * DAX read: `i_rwsem` → map; copying to the reader's memory may fault, as above.
//! * `SEEK_HOLE`, `SEEK_DATA`, `FIEMAP`: `i_rwsem` → folio locks (for unwritten extents) → map.
//! * `FIBMAP`: map; `swapon`, which asks the same, has `i_rwsem` exclusively.
//!
//! * buffered write: `i_rwsem`, exclusively → `invalidate_lock`, exclusively, for zeroes behind the old
//!   end, and for what was reserved in vain → folio lock → map. Copying from the writer's memory may
//!   fault, with none but `i_rwsem` held. The inode's times: `i_rwsem` → a handle.
//! * store to a mapping: `mmap_lock` → the volume is not frozen → room, as below; then a handle, for the
//!   times; and that given up, `invalidate_lock` → folio lock → waits for writeback → map.
//! * writeback: the volume is not frozen, for which it does not wait → folio lock → memory for a copy → a
//!   handle → `loading` …; then a worker, with none of these: a handle → `loading` …, `changing`.
//! * `fsync` of a frozen volume waits for the thaw with nothing of these held but `i_rwsem`, perhaps.
//! * direct write: `i_rwsem` → a handle → `loading` …; and that given up, what a direct read takes for the
//!   reader's memory, for the writer's; the former once more when the device has the data, in a worker
//!   perhaps, without `i_rwsem`.
//! * new sizes, `fallocate()`: `i_rwsem`, exclusively → direct I/O has ended → `invalidate_lock`,
//!   exclusively → folio locks, writeback has ended, and those given up, a handle → `loading` ….
//!   What moves within a file is moved with `loading` held over all that one handle does of it.
//! * a handle → `loading` → `changing` → `inodes`, if the inode is in that list → buffers.
//! * a handle → `next` → buffers; that given up, `places`, which is taken with nothing else of this, or
//!   with an inode locked that comes into memory; a handle → `shared_xattrs` → buffers, `group` ….
//! * who finds no room: with `i_rwsem` held, and `invalidate_lock` perhaps, or in a fault `mmap_lock`, but no folio lock
//!   and no handle: writeback of the file; then `s_umount`, as a trylock → writeback of all files ([`promise`]).
//! * names: `i_rwsem` of the directories and the inode, exclusively → a handle → all of the above, one
//!   after the other; and that given up, `lingering`. The directory's blocks are changed under its `i_rwsem`.
//! * attributes, read: `changing` → `inodes`, if the inode is in that list → buffers; `changing` →
//!   `shared_xattrs` → buffers. All allocations are NOFS, as who has a handle may wait for `changing`.
//!
//! * the map, at the end of each of these: `known`, and if that does not know: `loading` → buffers of
//!   the tree; `loading` → `listed` → `known`. Who changes the tree ([`Changing`]) has a handle of the
//!   journal open, and holds `loading` over all that allocating and freeing blocks takes, until the
//!   map has followed: `known`. To reserve blocks takes `known` alone; to release them, both.
//! * memory reclaim, with whatever is held over an allocation: `listed` → `known`. An inode that it
//!   evicts has no DAX entries, but can have claims without them: `claimed`.
//! * unmount: DAX entry locks of the inodes that still have entries, and those given up, `claimed`.
//! * blocks and inodes, taken or freed: a handle → `loading`, where they are a file's → `group`, one at a
//!   time → buffers → `held`, and that given up, `space`.
//! * an error that is met: `incidents`, with whatever is held. Then a worker: the volume is not frozen, for
//!   which it does not wait → a handle → `inodes` → buffers; and `incidents`, by itself.
//! * `syncfs()`: `s_umount` → waits for that worker.
//! * commit, by the thread of the journal: `held`, and that given up, `space`.
//!
//! *Because*:
//!
//! * `i_rwsem` is outside `mmap_lock`, as reads that hold it fault on the reader's memory. So nothing
//!   that a fault does may take `i_rwsem`: what keeps a page that a fault brings in from going is the
//!   `invalidate_lock`.
//! * A handle is open only where nobody waits for a folio, for writeback, or for direct I/O: all of these
//!   end with a handle, of writeback that makes data of what it has written, and the journal has no
//!   room for it until those that are open are stopped.
//! * The map is asked under a folio lock. So what it allocates must not be waited for by way of
//!   writing out, or giving up, folios of the same file.
//!   `loading` is held over allocations, which are NOFS: a handle of the journal may be open when it is
//!   taken, and whoever evicts inodes may want to start one.
//! * What is reserved does not wait for `loading`: a store to a mapping would wait for the journal. So
//!   it can become reserved while another allocates it, who is told by [`Changing::set`].
//! * `listed`, `known` and `claimed` are held over no allocation and a bounded number of steps, as memory
//!   reclaim takes them from anywhere.
//! * A claim is released when the pages of its inode are gone, with `invalidate_lock` held or by who
//!   evicts the inode, and made with the entry of the page locked: so whoever is told that blocks are
//!   free to be mapped finds no other page of theirs.
//! * The last close leaves a page as it is that somebody uses without having it mapped, and memory reclaim never gets to
//!   it: both hold locks, or may be his. Who cuts a file waits for him with `i_rwsem` alone; a deleted file that somebody
//!   uses so waits in `lingering`, and only an unmount waits for that.
//! * A fault on DAX waits for a handle, or for `loading`, with the entry of the page locked. So nobody waits for an entry
//!   who has one of these; nor does who makes room for the fault write back the file.
//! * Room that is promised for nodes comes back when data are written, and the worker that records them takes none but a
//!   handle and what comes after it. So who waits for all of them may hold what is outside of a folio lock; but
//!   not who evicts an inode, as whoever waits for all files does that, too.
//! * A volume is closed with handles kept from being started (`jbd2_journal_lock_updates()`), so who has
//!   one finds the volume open for as long. Nobody waits there for a lock that is held over starting one.
//! * `group` is held over reading a bitmap, and over the journal's waiting for a block that it writes. So
//!   who commits does not take it, nor wait for a handle.
//! * A read is verified by a worker that holds none of these, and ends by unlocking folios. So nobody
//!   may wait for that worker with a folio locked that it has to unlock; it is waited for by the end
//!   of a mount only, after the last inode.
//!
//! [`SuperBlock`]: crate::kernel::super_block::SuperBlock
//! [`Inode`]: crate::kernel::inode::Inode
//! [`InodeShared`]: crate::kernel::locks::InodeShared
//! [`InodeExclusive`]: crate::kernel::locks::InodeExclusive
//! [`InvalidateShared`]: crate::kernel::locks::InvalidateShared
//! [`InvalidateExclusive`]: crate::kernel::locks::InvalidateExclusive
//! [`folio::Locked`]: crate::kernel::folio::Locked
//! [`Allocator`]: super::groups::Allocator
//! [`Group`]: super::groups::Group
//! [`Claims`]: super::dax::claims::Claims
//! [`Changing`]: super::map::Changing
//! [`Changing::set`]: super::map::Changing::set
//! [`ExtentMap`]: super::map::ExtentMap
//! [`Maps`]: super::map::Maps
//! [`promise`]: super::promise
//! [`Orphans`]: super::orphan::Orphans
//! [`Volume`]: super::volume::Volume
//! [`MutexGuard`]: ::kernel::sync::MutexGuard
//! [`SpinLockGuard`]: ::kernel::sync::SpinLockGuard
