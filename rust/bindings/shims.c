// SPDX-License-Identifier: GPL-2.0
/*
 * C inlines and macros as functions, for Rust to call. A shim is named as what it
 * stands for, behind a prefix that Kbuild takes off for Rust.
 */

#include <linux/blkdev.h>
#include <linux/buffer_head.h>
#include <linux/fs.h>
#include <linux/ratelimit.h>
#include <linux/string.h>

loff_t stablefs_shim_bdev_nr_bytes(struct block_device *bdev)
{
	return bdev_nr_bytes(bdev);
}

void stablefs_shim_brelse(struct buffer_head *bh)
{
	brelse(bh);
}

/*
 * Copies from memory that user space may be changing: what is an ordinary access
 * to the kernel's C would be undefined behaviour as a read by Rust code.
 */
void stablefs_shim_memcpy_racy(void *dst, const void *src, size_t len)
{
	memcpy(dst, src, len);
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

struct buffer_head *stablefs_shim_sb_bread(struct super_block *sb, sector_t block)
{
	return sb_bread(sb, block);
}
