/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What bindgen reads: the C headers that the kernel's own bindings crate lacks.
 * Kbuild takes the list of headers to generate bindings for from the lines below.
 */

#include <linux/bio-integrity.h>
#include <linux/buffer_head.h>
#include <linux/crc32.h>
#include <linux/dax.h>
#include <linux/exportfs.h>
#include <linux/fileattr.h>
#include <linux/fs_context.h>
#include <linux/fs_parser.h>
#include <linux/fserror.h>
#include <linux/iomap.h>
#include <linux/jbd2.h>
#include <linux/journal-head.h>
#include <linux/list_sort.h>
#include <linux/posix_acl.h>
#include <linux/rmap.h>
#include <linux/sort.h>
#include <linux/statfs.h>
#include <uapi/linux/falloc.h>
#include <uapi/linux/fiemap.h>
#include <uapi/linux/posix_acl.h>

/* Macros that bindgen cannot evaluate. Kbuild takes the prefix off. */
static const unsigned int STABLEFS_CONST_FMODE_CAN_ODIRECT = (__force unsigned int)FMODE_CAN_ODIRECT;
static const unsigned int STABLEFS_CONST_FMODE_NOWAIT = (__force unsigned int)FMODE_NOWAIT;
static const unsigned int STABLEFS_CONST_FMODE_WRITE = (__force unsigned int)FMODE_WRITE;
static const unsigned int STABLEFS_CONST_FOP_BUFFER_RASYNC = (__force unsigned int)FOP_BUFFER_RASYNC;
static const unsigned int STABLEFS_CONST_FOP_BUFFER_WASYNC = (__force unsigned int)FOP_BUFFER_WASYNC;
static const unsigned int STABLEFS_CONST_FOP_DIO_PARALLEL_WRITE = (__force unsigned int)FOP_DIO_PARALLEL_WRITE;
static const unsigned int STABLEFS_CONST_FOP_MMAP_SYNC = (__force unsigned int)FOP_MMAP_SYNC;
static const unsigned int STABLEFS_CONST_IOCB_NOWAIT = (__force unsigned int)IOCB_NOWAIT;
static const unsigned long STABLEFS_CONST_SB_I_STABLE_WRITES = SB_I_STABLE_WRITES;
static const unsigned long STABLEFS_CONST_SB_I_VERSION = SB_I_VERSION;
static const unsigned long STABLEFS_CONST_SB_FORCE = SB_FORCE;
static const unsigned long STABLEFS_CONST_SB_RDONLY = SB_RDONLY;
static const unsigned long STABLEFS_CONST_SB_SILENT = SB_SILENT;
static const gfp_t STABLEFS_CONST_GFP_NOFAIL = GFP_NOFS | __GFP_NOFAIL;
static const gfp_t STABLEFS_CONST_GFP_NOFS = GFP_NOFS;
static const gfp_t STABLEFS_CONST_GFP_SPARE = GFP_NOFS | __GFP_NORETRY | __GFP_NOWARN;
static const unsigned long STABLEFS_CONST_SB_ACTIVE = SB_ACTIVE;
static const unsigned long STABLEFS_CONST_SB_POSIXACL = SB_POSIXACL;
static const unsigned int STABLEFS_CONST_S_SYNC = S_SYNC;
static const unsigned int STABLEFS_CONST_S_NOATIME = S_NOATIME;
static const unsigned int STABLEFS_CONST_S_APPEND = S_APPEND;
static const unsigned int STABLEFS_CONST_S_IMMUTABLE = S_IMMUTABLE;
static const unsigned int STABLEFS_CONST_S_DIRSYNC = S_DIRSYNC;
static const unsigned int STABLEFS_CONST_S_DAX = S_DAX;
