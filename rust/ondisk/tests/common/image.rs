// SPDX-License-Identifier: GPL-2.0

//! Volumes that e2fsprogs makes.

use std::{
    env,
    fs::{
        self,
        File, //
    },
    path::PathBuf,
    process::{
        self,
        Command, //
    },
};

/// The features that `mke2fs` 1.47 gives by default, whatever this machine's mke2fs.conf says.
pub const DEFAULT: &str = "none,has_journal,ext_attr,resize_inode,dir_index,orphan_file,filetype,\
    extent,64bit,flex_bg,metadata_csum,metadata_csum_seed,sparse_super,large_file,huge_file,\
    dir_nlink,extra_isize";

/// A volume in a file that goes away with the value.
pub struct Image(pub PathBuf);

impl Image {
    pub fn new(name: &str, len: u64, options: &[&str]) -> Self {
        let name = format!("stablefs-{}-{name}", process::id());
        let image = Self(env::temp_dir().join(name));
        File::create(&image.0).unwrap().set_len(len).unwrap();
        let mke2fs = Command::new("mke2fs")
            .args(["-q", "-t", "ext4"])
            .args(options)
            .arg(&image.0)
            .output()
            .unwrap();
        assert!(mke2fs.status.success(), "{mke2fs:?}");
        image
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        // A file that stays behind in the temporary directory fails no test.
        let _ = fs::remove_file(&self.0);
    }
}
