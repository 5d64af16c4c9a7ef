// SPDX-License-Identifier: GPL-2.0
/*
 * Never linked: Kbuild reads the sizes from the assembly that the compiler of
 * this module's C code makes of it. rust/bindings/mod.rs compares them.
 */

#include <linux/buffer_head.h>
#include <linux/dax.h>
#include <linux/fs.h>
#include <linux/fs_context.h>
#include <linux/iomap.h>
#include <linux/jbd2.h>
#include <linux/kbuild.h>

static void __used layout(void)
{
	DEFINE(buffer_head, sizeof(struct buffer_head));
	DEFINE(file_system_type, sizeof(struct file_system_type));
	DEFINE(fs_context, sizeof(struct fs_context));
	DEFINE(fs_context_operations, sizeof(struct fs_context_operations));
	DEFINE(inode, sizeof(struct inode));
	DEFINE(iomap_ioend, sizeof(struct iomap_ioend));
	DEFINE(iomap_writepage_ctx, sizeof(struct iomap_writepage_ctx));
	DEFINE(journal_s, sizeof(struct journal_s));
	DEFINE(super_block, sizeof(struct super_block));
}
