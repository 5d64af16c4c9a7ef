// SPDX-License-Identifier: GPL-2.0

//! Extended attributes and access control lists.

use std::ffi::{CStr, CString};
use std::path::Path;

use rustix::buffer::spare_capacity;
use rustix::fs::{getxattr, getxattr_query, listxattr, listxattr_query};
use rustix::io::Errno;

use super::{digest, escaped, Node, Record};

/// `XATTR_LIST_MAX`, which is also the longest value.
const MOST: usize = 64 << 10;
/// Names that hardly any file has: one in each namespace, one that no file can have in each way.
const ABSENT: &[&CStr] = &[
    c"user.there is none",
    c"trusted.there is none",
    c"security.there is none",
    c"security.capability",
    c"system.posix_acl_access",
    c"system.posix_acl_default",
    c"system.data",
    c"system.richacl",
    c"user.",
    c"trusted.",
    c"no such namespace.x",
];

/// Records the attributes of `node`: the names, and for each its value and what becomes of a buffer that is too small.
pub(super) fn record(record: &mut Record, node: &Node) {
    let path = node.magic_path();
    let names = match list(&path) {
        Ok(names) => names,
        Err(e) => {
            record.add(&node.path, "xattrs", format_args!("error: {e}"));
            return;
        }
    };
    // In which order they are listed is the filesystem's own affair.
    let mut sorted: Vec<String> = names.iter().map(|name| escaped(name)).collect();
    sorted.sort_unstable();
    record.add(&node.path, "xattrs", format_args!("{sorted:?}"));
    if !names.is_empty() {
        record.add(&node.path, "xattrs_short", list_short(&path, &names));
    }
    for name in &names {
        let what = format!("xattr {}", escaped(name));
        let value = get(&path, name, MOST).map(|value| digest(&value));
        record.add_result(&node.path, what, value);
        let what = format!("xattr_short {}", escaped(name));
        record.add(&node.path, what, get_short(&path, name));
    }
    let mut others: Vec<String> = Vec::new();
    for name in ABSENT
        .iter()
        .filter(|absent| !names.iter().any(|name| name.as_c_str() == **absent))
    {
        let outcome = match get(&path, name, MOST) {
            Ok(value) => digest(&value),
            Err(e) => e.raw_os_error().to_string(),
        };
        others.push(format!("{}: {outcome}", escaped(name)));
    }
    record.add(&node.path, "xattrs_absent", others.join("; "));
}

fn list(path: &Path) -> Result<Vec<CString>, Errno> {
    let mut bytes = Vec::with_capacity(MOST);
    listxattr(path, spare_capacity(&mut bytes))?;
    let names = bytes.split_inclusive(|&byte| byte == 0);
    Ok(names
        .filter_map(|name| CStr::from_bytes_with_nul(name).ok())
        .map(CStr::to_owned)
        .collect())
}

/// The length that is announced, and what a buffer gives that lacks one byte of it.
fn list_short(path: &Path, names: &[CString]) -> String {
    let total: usize = names
        .iter()
        .map(|name| name.as_bytes_with_nul().len())
        .sum();
    let announced = listxattr_query(path);
    let short = listxattr(path, &mut vec![0_u8; total - 1]);
    format!("{total} bytes, announced {announced:?}, into one less {short:?}")
}

fn get(path: &Path, name: &CStr, most: usize) -> Result<Vec<u8>, Errno> {
    let mut value = Vec::with_capacity(most);
    getxattr(path, name, spare_capacity(&mut value))?;
    Ok(value)
}

/// As [`list_short`], of one value.
fn get_short(path: &Path, name: &CStr) -> String {
    let announced = getxattr_query(path, name);
    let short = match announced {
        Ok(len @ 2..) => Some(getxattr(path, name, &mut vec![0_u8; len - 1])),
        _ => None,
    };
    format!("announced {announced:?}, into one less {short:?}")
}
