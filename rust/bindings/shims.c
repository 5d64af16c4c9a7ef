// SPDX-License-Identifier: GPL-2.0
/*
 * C inlines and macros as functions, for Rust to call. A shim is named as what it
 * stands for, behind a prefix that Kbuild takes off for Rust.
 */

#include <linux/bio.h>
#include <linux/blkdev.h>
#include <linux/buffer_head.h>
#include <linux/compat.h>
#include <linux/crc32.h>
#include <linux/cred.h>
#include <linux/dax.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <linux/fserror.h>
#include <linux/highmem.h>
#include <linux/iomap.h>
#include <linux/iversion.h>
#include <linux/jbd2.h>
#include <linux/pagemap.h>
#include <linux/posix_acl.h>
#include <linux/ratelimit.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/security.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/timekeeping.h>
#include <linux/workqueue.h>
#include <linux/writeback.h>

/*
 * How many references its mappings and its place in the file do not explain. Of a
 * locked folio, not too few: nothing maps it meanwhile but fork(), and whoever unmaps
 * it gives up the reference last. (Both, one before and one after the count is read,
 * can hide one.)
 */
static int odd_references(const struct folio *folio)
{
	int before = folio_expected_ref_count(folio);
	int count, after;

	smp_rmb();
	count = folio_ref_count(folio);
	smp_rmb();
	after = folio_expected_ref_count(folio);
	return count - min(before, after);
}

struct inode *stablefs_shim_alloc_inode_sb(struct super_block *sb,
					   struct kmem_cache *cache)
{
	return alloc_inode_sb(sb, cache, GFP_KERNEL);
}

/* Whether nobody else changes the inode, as far as lockdep can tell. */
void stablefs_shim_assert_inode_locked(struct inode *inode)
{
	lockdep_assert(inode_state_read_once(inode) & (I_NEW | I_FREEING) ||
		       lockdep_is_held_type(&inode->i_rwsem, 0));
}

/* Whether what is on a block device can be accessed as memory. */
bool stablefs_shim_bdev_dax(struct block_device *bdev)
{
	return blk_queue_dax(bdev_get_queue(bdev));
}

unsigned int stablefs_shim_bdev_dma_alignment(struct block_device *bdev)
{
	return bdev_dma_alignment(bdev);
}

bool stablefs_shim_bdev_has_integrity_csum(struct block_device *bdev)
{
	return bdev_has_integrity_csum(bdev);
}

unsigned int stablefs_shim_bdev_logical_block_size(struct block_device *bdev)
{
	return bdev_logical_block_size(bdev);
}

loff_t stablefs_shim_bdev_nr_bytes(struct block_device *bdev)
{
	return bdev_nr_bytes(bdev);
}

bool stablefs_shim_bdev_read_only(struct block_device *bdev)
{
	return bdev_read_only(bdev);
}

/*
 * A bio for what begins at pos of the file, as the pass is to write it; never NULL,
 * for who has submitted all others that he took from the set.
 */
struct bio *stablefs_shim_bio_alloc_writeback(struct iomap_writepage_ctx *wpc, loff_t pos,
					      unsigned short nr_vecs, struct bio_set *set)
{
	blk_opf_t opf = REQ_OP_WRITE | wbc_to_write_flags(wpc->wbc);
	struct bio *bio;

	bio = bio_alloc_bioset(wpc->iomap.bdev, nr_vecs, opf, GFP_NOFS, set);
	wbc_init_bio(wpc->wbc, bio);
	bio->bi_write_hint = wpc->inode->i_write_hint;
	bio->bi_iter.bi_sector = iomap_sector(&wpc->iomap, pos);
	return bio;
}

void stablefs_shim_bio_get(struct bio *bio)
{
	bio_get(bio);
}

void stablefs_shim_brelse(struct buffer_head *bh)
{
	brelse(bh);
}

/* The checksum of a part of a segment, which may have several pages. */
u32 stablefs_shim_bvec_crc32c(u32 crc, const struct bio_vec *bvec, unsigned int offset,
			      unsigned int len)
{
	offset += bvec->bv_offset;
	while (len) {
		unsigned int start = offset_in_page(offset);
		unsigned int n = min_t(unsigned int, len, PAGE_SIZE - start);
		const void *page = kmap_local_page(bvec->bv_page + offset / PAGE_SIZE);

		crc = crc32c(crc, page + start, n);
		kunmap_local(page);
		offset += n;
		len -= n;
	}
	return crc;
}

void stablefs_shim_cond_resched(void)
{
	cond_resched();
}

/* To the beginning of a page; what is left of size after len bytes becomes zeroes. */
void stablefs_shim_copy_from_folio(struct page *page, struct folio *folio,
				   size_t offset, size_t len, size_t size)
{
	void *to = page_address(page);

	memcpy_from_folio(to, folio, offset, len);
	memset(to + len, 0, size - len);
}

bool stablefs_shim_current_fatal_signal_pending(void)
{
	return fatal_signal_pending(current);
}

/* Whether files are accessed as that user, as the disk numbers them. */
bool stablefs_shim_current_fsuid_is(uid_t uid)
{
	return uid_eq(make_kuid(&init_user_ns, uid), current_fsuid());
}

/* Whether the current task is in that group, as the disk numbers them. */
bool stablefs_shim_current_in_group(gid_t gid)
{
	return in_group_p(make_kgid(&init_user_ns, gid));
}

struct inode *stablefs_shim_d_inode(const struct dentry *dentry)
{
	return d_inode(dentry);
}

bool stablefs_shim_daxdev_mapping_supported(const struct vm_area_desc *desc,
					    const struct inode *inode,
					    struct dax_device *dax_dev)
{
	return daxdev_mapping_supported(desc, inode, dax_dev);
}

const struct qstr *stablefs_shim_dentry_d_name(const struct dentry *dentry)
{
	return &dentry->d_name;
}

const u8 *stablefs_shim_dentry_name(const struct dentry *dentry)
{
	return dentry->d_name.name;
}

size_t stablefs_shim_dentry_name_len(const struct dentry *dentry)
{
	return dentry->d_name.len;
}

bool stablefs_shim_dir_emit(struct dir_context *ctx, const char *name,
			    int namelen, u64 ino, unsigned int type)
{
	return dir_emit(ctx, name, namelen, ino, type);
}

int stablefs_shim_fiemap_fill_next_extent(struct fiemap_extent_info *info,
					  u64 logical, u64 phys, u64 len, u32 flags)
{
	return fiemap_fill_next_extent(info, logical, phys, len, flags);
}

int stablefs_shim_fiemap_prep(struct inode *inode, struct fiemap_extent_info *info,
			      u64 start, u64 *len, u32 supported_flags)
{
	return fiemap_prep(inode, info, start, len, supported_flags);
}

/* Whether a caller of FIEMAP gave the flag, which is taken away. */
bool stablefs_shim_fiemap_take_flag(struct fiemap_extent_info *info, u32 flag)
{
	bool given = info->fi_flags & flag;

	info->fi_flags &= ~flag;
	return given;
}

void stablefs_shim_file_accessed(struct file *file)
{
	file_accessed(file);
}

/* Whether a directory's positions have to fit into 32 bits. */
bool stablefs_shim_file_is_32bit_api(const struct file *file)
{
	if (file->f_mode & (FMODE_32BITHASH | FMODE_64BITHASH))
		return file->f_mode & FMODE_32BITHASH;
	return in_compat_syscall();
}

/* Unlike file_dentry() for files that are being opened, which have no inode yet. */
struct dentry *stablefs_shim_file_path_dentry(const struct file *file)
{
	return file->f_path.dentry;
}

void stablefs_shim_filemap_invalidate_lock(struct address_space *mapping)
{
	filemap_invalidate_lock(mapping);
}

void stablefs_shim_filemap_invalidate_lock_shared(struct address_space *mapping)
{
	filemap_invalidate_lock_shared(mapping);
}

void stablefs_shim_filemap_invalidate_unlock(struct address_space *mapping)
{
	filemap_invalidate_unlock(mapping);
}

void stablefs_shim_filemap_invalidate_unlock_shared(struct address_space *mapping)
{
	filemap_invalidate_unlock_shared(mapping);
}

int stablefs_shim_finish_open_simple(struct file *file, int error)
{
	return finish_open_simple(file, error);
}

/* Whether a locked folio has more references than those of the caller, and odd ones. */
bool stablefs_shim_folio_has_odd_references(const struct folio *folio, int own)
{
	return odd_references(folio) > own;
}

/* Whether so many bytes of a folio are all 0. */
bool stablefs_shim_folio_is_zero(struct folio *folio, size_t offset, size_t len)
{
	while (len) {
		size_t n = min(len, PAGE_SIZE - offset_in_page(offset));
		void *at = kmap_local_folio(folio, offset);
		bool zero = !memchr_inv(at, 0, n);

		kunmap_local(at);
		if (!zero)
			return false;
		offset += n;
		len -= n;
	}
	return true;
}

void stablefs_shim_folio_lock(struct folio *folio)
{
	folio_lock(folio);
}

int stablefs_shim_folio_lock_killable(struct folio *folio)
{
	return folio_lock_killable(folio);
}

/* Not that of an anonymous folio, and null once the folio is removed from its file. */
struct address_space *stablefs_shim_folio_mapping_raw(const struct folio *folio)
{
	return READ_ONCE(folio->mapping);
}

/*
 * As folio_maybe_dma_pinned(), but that the mappings of a small folio do not make
 * it pinned, as many as there may be: what is pinned stays dirty.
 */
bool stablefs_shim_folio_maybe_dma_pinned(struct folio *folio)
{
	return folio_maybe_dma_pinned(folio) &&
	       (folio_has_pincount(folio) ||
		odd_references(folio) >= GUP_PIN_COUNTING_BIAS);
}

ssize_t stablefs_shim_folio_mkwrite_check_truncate(const struct folio *folio, const struct inode *inode)
{
	return folio_mkwrite_check_truncate(folio, inode);
}

loff_t stablefs_shim_folio_pos(const struct folio *folio)
{
	return folio_pos(folio);
}

size_t stablefs_shim_folio_size(const struct folio *folio)
{
	return folio_size(folio);
}

bool stablefs_shim_folio_test_dirty_or_writeback(const struct folio *folio)
{
	return folio_test_dirty(folio) || folio_test_writeback(folio);
}

bool stablefs_shim_folio_test_large(const struct folio *folio)
{
	return folio_test_large(folio);
}

bool stablefs_shim_folio_test_uptodate(const struct folio *folio)
{
	return folio_test_uptodate(folio);
}

bool stablefs_shim_folio_test_writeback(const struct folio *folio)
{
	return folio_test_writeback(folio);
}

int stablefs_shim_folio_wait_locked_killable(struct folio *folio)
{
	return folio_wait_locked_killable(folio);
}

void stablefs_shim_fserror_report_data_lost(struct inode *inode, loff_t pos, u64 len)
{
	fserror_report_data_lost(inode, pos, len, GFP_NOFS);
}

ssize_t stablefs_shim_generic_write_sync(struct kiocb *iocb, ssize_t count)
{
	return generic_write_sync(iocb, count);
}

gid_t stablefs_shim_i_gid_read(const struct inode *inode)
{
	return i_gid_read(inode);
}

void stablefs_shim_i_gid_write(struct inode *inode, gid_t gid)
{
	i_gid_write(inode, gid);
}

void stablefs_shim_i_mmap_lock_read(struct address_space *mapping)
{
	i_mmap_lock_read(mapping);
}

/*
 * The mapping after that one, or the first, that is shared and has any of those
 * pages of the file. vma_interval_tree_iter_next() is not exported.
 */
struct vm_area_struct *stablefs_shim_i_mmap_next_shared(struct address_space *mapping,
							struct vm_area_struct *vma,
							pgoff_t first, pgoff_t last)
{
	struct rb_node *node;

	node = vma ? rb_next(&vma->shared.rb) : rb_first_cached(&mapping->i_mmap);
	for (; node; node = rb_next(node)) {
		vma = rb_entry(node, struct vm_area_struct, shared.rb);
		if (vma->vm_pgoff > last)
			break;
		if (vma->vm_flags & VM_SHARED && vma_last_pgoff(vma) >= first)
			return vma;
	}
	return NULL;
}

void stablefs_shim_i_mmap_unlock_read(struct address_space *mapping)
{
	i_mmap_unlock_read(mapping);
}

loff_t stablefs_shim_i_size_read(const struct inode *inode)
{
	return i_size_read(inode);
}

void stablefs_shim_i_size_write(struct inode *inode, loff_t size)
{
	i_size_write(inode, size);
}

uid_t stablefs_shim_i_uid_read(const struct inode *inode)
{
	return i_uid_read(inode);
}

void stablefs_shim_i_uid_write(struct inode *inode, uid_t uid)
{
	i_uid_write(inode, uid);
}

void stablefs_shim_init_delayed_work(struct delayed_work *work,
				     work_func_t func)
{
	INIT_DELAYED_WORK(work, func);
}

void stablefs_shim_init_special_inode(struct inode *inode, umode_t mode,
				      unsigned int major, unsigned int minor)
{
	init_special_inode(inode, mode, MKDEV(major, minor));
}

void stablefs_shim_init_work(struct work_struct *work, work_func_t func)
{
	INIT_WORK(work, func);
}

/* A slab for inodes; ctor initialises each when its memory is first taken. */
struct kmem_cache *stablefs_shim_inode_cache_create(const char *name,
						    unsigned int size,
						    unsigned int align,
						    void (*ctor)(void *))
{
	return kmem_cache_create(name, size, align,
				 SLAB_RECLAIM_ACCOUNT | SLAB_ACCOUNT, ctor);
}

bool stablefs_shim_inode_is_dontcache(struct inode *inode)
{
	return inode_state_read_once(inode) & I_DONTCACHE;
}

struct timespec64 stablefs_shim_inode_get_atime(const struct inode *inode)
{
	return inode_get_atime(inode);
}

struct timespec64 stablefs_shim_inode_get_ctime(const struct inode *inode)
{
	return inode_get_ctime(inode);
}

struct timespec64 stablefs_shim_inode_get_mtime(const struct inode *inode)
{
	return inode_get_mtime(inode);
}

void stablefs_shim_inode_inc_iversion(struct inode *inode)
{
	inode_inc_iversion(inode);
}

bool stablefs_shim_inode_is_open_for_write(const struct inode *inode)
{
	return inode_is_open_for_write(inode);
}

void stablefs_shim_inode_lock(struct inode *inode)
{
	inode_lock(inode);
}

void stablefs_shim_inode_lock_shared(struct inode *inode)
{
	inode_lock_shared(inode);
}

u64 stablefs_shim_inode_peek_iversion(const struct inode *inode)
{
	return inode_peek_iversion(inode);
}

void stablefs_shim_inode_set_atime(struct inode *inode, s64 sec, u32 nsec)
{
	inode_set_atime(inode, sec, nsec);
}

void stablefs_shim_inode_set_cached_link(struct inode *inode, char *link, int len)
{
	inode_set_cached_link(inode, link, len);
}

void stablefs_shim_inode_set_ctime(struct inode *inode, s64 sec, u32 nsec)
{
	inode_set_ctime(inode, sec, nsec);
}

void stablefs_shim_inode_set_iversion_queried(struct inode *inode, u64 val)
{
	inode_set_iversion_queried(inode, val);
}

/* Others may look at i_link at the same time: they find NULL, or all of the link. */
void stablefs_shim_inode_set_link(struct inode *inode, char *link)
{
	smp_store_release(&inode->i_link, link);
}

void stablefs_shim_inode_set_mtime(struct inode *inode, s64 sec, u32 nsec)
{
	inode_set_mtime(inode, sec, nsec);
}

unsigned int stablefs_shim_inode_state_read_once(struct inode *inode)
{
	return inode_state_read_once(inode);
}

/* Takes as many bytes away, or all that there are; whether there were as many. */
bool stablefs_shim_inode_sub_bytes_at_most(struct inode *inode, loff_t bytes)
{
	loff_t all;

	spin_lock(&inode->i_lock);
	all = __inode_get_bytes(inode);
	__inode_sub_bytes(inode, min(bytes, all));
	spin_unlock(&inode->i_lock);
	return bytes <= all;
}

bool stablefs_shim_inode_trylock(struct inode *inode)
{
	return inode_trylock(inode);
}

bool stablefs_shim_inode_trylock_shared(struct inode *inode)
{
	return inode_trylock_shared(inode);
}

void stablefs_shim_inode_unlock(struct inode *inode)
{
	inode_unlock(inode);
}

void stablefs_shim_inode_unlock_shared(struct inode *inode)
{
	inode_unlock_shared(inode);
}

/* Has whoever waits for the file to be written be told, and who watches the volume. */
void stablefs_shim_inode_write_failed(struct inode *inode, loff_t pos, u64 len, int error)
{
	mapping_set_error(inode->i_mapping, error);
	fserror_report_io(inode, FSERR_BUFFERED_WRITE, pos, len, error, GFP_NOFS);
}

int stablefs_shim_inode_writers(const struct inode *inode)
{
	return atomic_read(&inode->i_writecount);
}

/* The first ioend of a list, which it is not in any more; or NULL. */
struct iomap_ioend *stablefs_shim_ioend_list_pop(struct list_head *list)
{
	struct iomap_ioend *ioend;

	ioend = list_first_entry_or_null(list, struct iomap_ioend, io_list);
	if (ioend)
		list_del_init(&ioend->io_list);
	return ioend;
}

/* The first byte that a write from pos on has left as it was, and its block with it. */
loff_t stablefs_shim_iomap_last_written_block(struct inode *inode, loff_t pos,
					      ssize_t written)
{
	return iomap_last_written_block(inode, pos, written);
}

size_t stablefs_shim_iov_iter_count(const struct iov_iter *i)
{
	return iov_iter_count(i);
}

void stablefs_shim_iov_iter_reexpand(struct iov_iter *i, size_t count)
{
	iov_iter_reexpand(i, count);
}

void stablefs_shim_iov_iter_truncate(struct iov_iter *i, u64 count)
{
	iov_iter_truncate(i, count);
}

bool stablefs_shim_is_dirsync(const struct inode *inode)
{
	return IS_DIRSYNC(inode);
}

bool stablefs_shim_is_handle_aborted(handle_t *handle)
{
	return is_handle_aborted(handle);
}

bool stablefs_shim_is_immutable(const struct inode *inode)
{
	return IS_IMMUTABLE(inode);
}

bool stablefs_shim_is_journal_aborted(journal_t *journal)
{
	return is_journal_aborted(journal);
}

bool stablefs_shim_is_swapfile(const struct inode *inode)
{
	return IS_SWAPFILE(inode);
}

bool stablefs_shim_is_sync(const struct inode *inode)
{
	return IS_SYNC(inode);
}

tid_t stablefs_shim_jbd2_get_latest_transaction(journal_t *journal)
{
	return jbd2_get_latest_transaction(journal);
}

int stablefs_shim_jbd2_handle_buffer_credits(handle_t *handle)
{
	return jbd2_handle_buffer_credits(handle);
}

/* Its stop waits for the commit. */
void stablefs_shim_jbd2_handle_set_sync(handle_t *handle)
{
	handle->h_sync = 1;
}

time64_t stablefs_shim_ktime_get_real_seconds(void)
{
	return ktime_get_real_seconds();
}

void stablefs_shim_lock_buffer(struct buffer_head *bh)
{
	lock_buffer(bh);
}

/* With lockdep, warns unless i_rwsem is held exclusively; else does nothing. */
void stablefs_shim_lockdep_assert_inode_locked(struct inode *inode)
{
	lockdep_assert_held_write(&inode->i_rwsem);
}

bool stablefs_shim_mapping_empty(const struct address_space *mapping)
{
	return mapping_empty(mapping);
}

/* Whether a page may be dirty: it was, and has not been under writeback since. */
bool stablefs_shim_mapping_is_dirty(const struct address_space *mapping)
{
	return mapping_tagged(mapping, PAGECACHE_TAG_DIRTY);
}

bool stablefs_shim_mapping_mapped(const struct address_space *mapping)
{
	return mapping_mapped(mapping);
}

/*
 * Below the size of a PMD: otherwise khugepaged collapses pages of the file, and
 * calls for readahead, which takes invalidate_lock, with folios locked; truncation
 * holds that lock and waits for those folios.
 */
void stablefs_shim_mapping_set_large_folios(struct address_space *mapping)
{
	mapping_set_folio_order_range(mapping, 0, PMD_ORDER - 1);
}

bool stablefs_shim_mapping_stable_writes(const struct address_space *mapping)
{
	return mapping_stable_writes(mapping);
}

bool stablefs_shim_mapping_writably_mapped(const struct address_space *mapping)
{
	return mapping_writably_mapped(mapping);
}

void stablefs_shim_memalloc_nofs_restore(unsigned int flags)
{
	memalloc_nofs_restore(flags);
}

unsigned int stablefs_shim_memalloc_nofs_save(void)
{
	return memalloc_nofs_save();
}

/*
 * Copies from memory that user space may be changing: what is an ordinary access
 * to the kernel's C would be undefined behaviour as a read by Rust code.
 */
void stablefs_shim_memcpy_racy(void *dst, const void *src, size_t len)
{
	memcpy(dst, src, len);
}

size_t stablefs_shim_offset_in_folio(const struct folio *folio, loff_t pos)
{
	return offset_in_folio(folio, pos);
}

struct folio *stablefs_shim_page_folio(struct page *page)
{
	return page_folio(page);
}

void stablefs_shim_pagefault_disable(void)
{
	pagefault_disable();
}

void stablefs_shim_pagefault_enable(void)
{
	pagefault_enable();
}

unsigned int stablefs_shim_posix_acl_count(const struct posix_acl *acl)
{
	return acl->a_count;
}

/* The user or group that an entry of such a tag has. */
u32 stablefs_shim_posix_acl_entry_id(const struct posix_acl_entry *entry,
				     struct user_namespace *user_ns)
{
	if (entry->e_tag == ACL_USER)
		return from_kuid(user_ns, entry->e_uid);
	return from_kgid(user_ns, entry->e_gid);
}

void stablefs_shim_posix_acl_release(struct posix_acl *acl)
{
	posix_acl_release(acl);
}

/* Entry n of a list that nobody else knows yet; id matters to some tags only. */
void stablefs_shim_posix_acl_set_entry(struct posix_acl *acl, unsigned int n,
				       short tag, unsigned short perm,
				       struct user_namespace *user_ns, u32 id)
{
	struct posix_acl_entry *entry = &acl->a_entries[n];

	entry->e_tag = tag;
	entry->e_perm = perm;
	if (tag == ACL_USER)
		entry->e_uid = make_kuid(user_ns, id);
	else if (tag == ACL_GROUP)
		entry->e_gid = make_kgid(user_ns, id);
}

/*
 * Whether one more line may go to the log: one budget for all lines of the module.
 * Enough for a script that tries a shelf of damaged volumes one after the other,
 * each of which is owed its line; a flood is thousands.
 */
bool stablefs_shim_ratelimit(void)
{
	static DEFINE_RATELIMIT_STATE(rs, 5 * HZ, 100);

	return ___ratelimit(&rs, KBUILD_MODNAME);
}

size_t stablefs_shim_readahead_length(const struct readahead_control *rac)
{
	return readahead_length(rac);
}

loff_t stablefs_shim_readahead_pos(const struct readahead_control *rac)
{
	return readahead_pos(rac);
}

loff_t stablefs_shim_round_up_to_block(const struct inode *inode, loff_t pos)
{
	return round_up(pos, i_blocksize(inode));
}

struct buffer_head *stablefs_shim_sb_bread(struct super_block *sb, sector_t block)
{
	return sb_bread(sb, block);
}

void stablefs_shim_sb_breadahead(struct super_block *sb, sector_t block)
{
	sb_breadahead(sb, block);
}

void stablefs_shim_sb_end_intwrite(struct super_block *sb)
{
	sb_end_intwrite(sb);
}

void stablefs_shim_sb_end_pagefault(struct super_block *sb)
{
	sb_end_pagefault(sb);
}

/* The block, if it is in memory and up to date. */
struct buffer_head *stablefs_shim_sb_find_get_block_uptodate(struct super_block *sb,
							     sector_t block)
{
	struct buffer_head *bh = sb_find_get_block(sb, block);

	if (bh && !buffer_uptodate(bh)) {
		brelse(bh);
		bh = NULL;
	}
	return bh;
}

struct buffer_head *stablefs_shim_sb_getblk(struct super_block *sb, sector_t block)
{
	return sb_getblk(sb, block);
}

void stablefs_shim_sb_start_intwrite(struct super_block *sb)
{
	sb_start_intwrite(sb);
}

bool stablefs_shim_sb_start_intwrite_trylock(struct super_block *sb)
{
	return sb_start_intwrite_trylock(sb);
}

void stablefs_shim_sb_start_pagefault(struct super_block *sb)
{
	sb_start_pagefault(sb);
}

/* A function only in a kernel that can have security modules. */
int stablefs_shim_security_inode_init_security(struct inode *inode, struct inode *dir,
					       const struct qstr *qstr,
					       int (*set)(struct inode *inode,
							  const struct xattr *xattrs,
							  void *data),
					       void *data)
{
	return security_inode_init_security(inode, dir, qstr, set, data);
}

void stablefs_shim_set_buffer_uptodate(struct buffer_head *bh)
{
	set_buffer_uptodate(bh);
}

void stablefs_shim_super_set_sysfs_name_bdev(struct super_block *sb)
{
	super_set_sysfs_name_bdev(sb);
}

void stablefs_shim_super_set_uuid(struct super_block *sb, const u8 *uuid,
				  unsigned int len)
{
	super_set_uuid(sb, uuid, len);
}

/* Writes the block if it is dirty, through the caches of the device, and waits. */
int stablefs_shim_sync_dirty_buffer_fua(struct buffer_head *bh)
{
	return __sync_dirty_buffer(bh, REQ_SYNC | REQ_FUA);
}

void stablefs_shim_vma_desc_set_hugepage(struct vm_area_desc *desc)
{
	vma_desc_set_flags(desc, VMA_HUGEPAGE_BIT);
}

void stablefs_shim_wbc_account_cgroup_owner(struct writeback_control *wbc,
					    struct folio *folio, size_t bytes)
{
	wbc_account_cgroup_owner(wbc, folio, bytes);
}

/*
 * The process that a mapping belongs to, and its name, for who keeps the mapping;
 * 0 for one that has gone.
 */
pid_t stablefs_shim_vma_owner(struct vm_area_struct *vma, char comm[TASK_COMM_LEN])
{
	pid_t pid = 0;
#ifdef CONFIG_MEMCG
	struct task_struct *owner;

	rcu_read_lock();
	owner = rcu_dereference(vma->vm_mm->owner);
	if (owner) {
		pid = task_tgid_nr(owner);
		strscpy_pad(comm, owner->comm, TASK_COMM_LEN);
	}
	rcu_read_unlock();
#endif
	return pid;
}

/* Whether who writes an inode waits for it alone: a sync of all waits once. */
bool stablefs_shim_wbc_waits_for_inode(const struct writeback_control *wbc)
{
	return wbc->sync_mode == WB_SYNC_ALL && !wbc->for_sync;
}

struct folio *stablefs_shim_writeback_iter(struct address_space *mapping,
					   struct writeback_control *wbc,
					   struct folio *folio, int *error)
{
	return writeback_iter(mapping, wbc, folio, error);
}

#ifdef STABLEFS_CONTROLS

static char *control = "";
module_param(control, charp, 0444);
MODULE_PARM_DESC(control, "which step of a protocol is left out, or done wrongly");

bool stablefs_shim_control_is(const char *name)
{
	return !strcmp(control, name);
}

/* Whether a page table may have the folio. */
bool stablefs_shim_folio_mapped(const struct folio *folio)
{
	return folio_mapped(folio);
}

/* The first and the last page that are to be written. */
pgoff_t stablefs_shim_wbc_first(const struct writeback_control *wbc)
{
	return wbc->range_cyclic ? 0 : wbc->range_start >> PAGE_SHIFT;
}

pgoff_t stablefs_shim_wbc_last(const struct writeback_control *wbc)
{
	return wbc->range_cyclic ? ULONG_MAX : wbc->range_end >> PAGE_SHIFT;
}

/* Forgets the folios before, and finds dirty ones from a page on. */
unsigned int stablefs_shim_wbc_next_batch(struct writeback_control *wbc,
					  struct address_space *mapping,
					  pgoff_t *index, pgoff_t last)
{
	folio_batch_release(&wbc->fbatch);
	return filemap_get_folios_tag(mapping, index, last, PAGECACHE_TAG_DIRTY,
				      &wbc->fbatch);
}

/* Of the folios that were found, one after the other. */
struct folio *stablefs_shim_wbc_next_folio(struct writeback_control *wbc)
{
	return folio_batch_next(&wbc->fbatch);
}

void stablefs_shim_wbc_start(struct writeback_control *wbc)
{
	folio_batch_init(&wbc->fbatch);
}

#endif /* STABLEFS_CONTROLS */
