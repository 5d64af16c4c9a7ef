// SPDX-License-Identifier: GPL-2.0

//! Directories with everything that a volume can hold, and volumes made from them.

use crate::image::Image;
use damage::Numbers;
use std::{
    env,
    ffi::OsStr,
    fs::{
        self,
        File, //
    },
    io::Write,
    os::unix::{
        ffi::OsStrExt,
        fs::{
            symlink,
            FileExt,
            PermissionsExt, //
        },
        net::UnixListener, //
    },
    path::{
        Path,
        PathBuf, //
    },
    process::{
        self,
        Command, //
    },
};

/// Features of a volume without checksums.
pub const PLAIN: &str = "none,extent,dir_index,filetype,ext_attr,large_file,extra_isize";

/// A directory that goes away with the value.
pub struct Source(pub PathBuf);

impl Drop for Source {
    fn drop(&mut self) {
        // A directory that stays behind among the temporary ones fails no test.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Extents of `scattered`: more than fit into the leaves of a tree of depth 1.
pub const SCATTERED: u64 = 1500;
/// Bytes before each of them, which are a hole, and of each.
pub const PIECE: u64 = 4096;
/// Where the last block of `far` is.
pub const FAR: u64 = 3 << 40;
/// Where the last block of `farther` is.
pub const FARTHER: u64 = 10 << 40;
/// Names in `many`, too many for a tree of one level where blocks are small.
pub const MANY: usize = 3000;

impl Source {
    /// A directory with `many` names in one of its directories, and `extents` in one of its files.
    pub fn new(name: &str, many: usize, extents: u64) -> Self {
        let name = format!("stablefs-{}-{name}", process::id());
        let source = Self(env::temp_dir().join(name));
        let path = |name: &str| source.0.join(name);
        let mut numbers = Numbers(7);
        let mut random =
            |len: usize| -> Vec<u8> { (0..len).map(|_| numbers.next() as u8).collect() };

        fs::create_dir_all(path("nested/deep/er")).unwrap();
        for (name, len) in [("empty", 0), ("one", 1), ("block", 4096), ("big", 300_001)] {
            fs::write(path(name), random(len)).unwrap();
        }
        fs::write(path("nested/deep/er/file"), b"down here").unwrap();
        fs::set_permissions(path("one"), PermissionsExt::from_mode(0o4751)).unwrap();

        let scattered = File::create(path("scattered")).unwrap();
        for n in 0..extents {
            let piece = random(PIECE as usize);
            scattered.write_all_at(&piece, (2 * n + 1) * PIECE).unwrap();
        }
        let far = File::create(path("far")).unwrap();
        far.write_all_at(b"far away", FAR).unwrap();

        let holes = File::create(path("holes")).unwrap();
        for pos in [0, 80 << 10] {
            holes.write_all_at(&random(4096), pos).unwrap();
        }

        for len in [1, 59, 60, 1000] {
            symlink(&"up/".repeat(len)[..len], path(&format!("link{len}"))).unwrap();
        }
        let mkfifo = Command::new("mkfifo").arg(path("pipe")).status().unwrap();
        assert!(mkfifo.success());
        UnixListener::bind(path("socket")).unwrap();

        // Names beyond ASCII, of which some are not UTF-8.
        for name in ["naïve", "日本語"] {
            fs::write(path(name), name).unwrap();
        }
        fs::write(source.0.join(OsStr::from_bytes(b"caf\xe9")), b"latin").unwrap();

        fs::create_dir(path("many")).unwrap();
        let first = path("many/the first name");
        fs::write(&first, b"many names").unwrap();
        for n in 1..many {
            let mut name = format!("{n} ").into_bytes();
            name.resize(120 + n % 80, [b'n', 0xe9][n % 2]);
            let link = path("many").join(OsStr::from_bytes(&name));
            fs::hard_link(&first, link).unwrap();
        }
        source
    }

    /// Makes a file that ends where only the largest blocks go to, or takes it away.
    pub fn put_farther(&self, exists: bool) {
        let path = self.0.join("farther");
        if exists {
            let file = File::create(path).unwrap();
            file.write_all_at(b"farther away", FARTHER).unwrap();
        } else if path.exists() {
            fs::remove_file(path).unwrap();
        }
    }

    /// Commands for debugfs about what a volume gets beside the files, some of each kind: attributes
    /// in inodes and in blocks, lists, and preallocated blocks.
    pub fn extras(&self) -> String {
        let long = "v".repeat(300);
        let list = self.list();
        format!(
            "ea_set one user.comment remark\nea_set one security.label some\n\
             ea_set big user.long {long}\nea_set big user.other {long}\n\
             ea_set block user.long {long}\nfallocate empty 3 9\n\
             ea_set -f {list} block system.posix_acl_access\n"
        )
    }

    /// Makes a file with an access control list in the form that `setxattr` takes, and gives its
    /// path: u::rwx, u:1000:rw, g::r-x, m::rwx, o::r--.
    pub fn list(&self) -> String {
        let entries: [(u16, u16, u32); 5] = [
            (0x01, 7, u32::MAX),
            (0x02, 6, 1000),
            (0x04, 5, u32::MAX),
            (0x10, 7, u32::MAX),
            (0x20, 4, u32::MAX),
        ];
        let mut value = 2_u32.to_le_bytes().to_vec();
        for (tag, permissions, id) in entries {
            let words = [tag, permissions];
            value.extend(words.iter().flat_map(|word| word.to_le_bytes()));
            value.extend(id.to_le_bytes());
        }
        let path = self.0.join("value");
        fs::write(&path, value).unwrap();
        path.to_str().unwrap().into()
    }

    /// A volume with a copy of all that, and of what only debugfs can make.
    pub fn image(&self, len: u64, options: &[&str], commands: &str) -> Image {
        let name = format!("{}.image", self.0.file_name().unwrap().to_str().unwrap());
        let from = ["-d", self.0.to_str().unwrap()];
        let image = Image::new(
            name.strip_prefix(&format!("stablefs-{}-", process::id()))
                .unwrap(),
            len,
            &[options, &from].concat(),
        );
        debugfs(&image.0, commands);
        // Only now directories are indexed.
        e2fsck(&image.0, "-fyD", 1);
        e2fsck(&image.0, "-fn", 0);
        image
    }
}

pub fn e2fsck(image: &Path, option: &str, worst: i32) {
    let output = Command::new("e2fsck")
        .arg(option)
        .arg(image)
        .output()
        .unwrap();
    let code = output.status.code();
    assert!(code.is_some_and(|code| code <= worst), "{output:?}");
}

/// Runs commands of debugfs, which says nothing but what went wrong.
pub fn debugfs(image: &Path, commands: &str) {
    let mut debugfs = Command::new("debugfs")
        .args(["-w", "-f", "-"])
        .arg(image)
        .stdin(process::Stdio::piped())
        .stdout(process::Stdio::piped())
        .stderr(process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = debugfs.stdin.take().unwrap();
    stdin.write_all(commands.as_bytes()).unwrap();
    drop(stdin);
    let output = debugfs.wait_with_output().unwrap();
    let complaints: Vec<_> = String::from_utf8_lossy(&[output.stdout, output.stderr].concat())
        .lines()
        .filter(|line| {
            !line.starts_with("debugfs") && !line.starts_with("Allocated inode") && !line.is_empty()
        })
        .map(String::from)
        .collect();
    assert!(complaints.is_empty(), "{complaints:?}");
}
