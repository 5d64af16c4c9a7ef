// SPDX-License-Identifier: GPL-2.0

//! Damage to ext4 volumes, and the least reader that has to survive it.
//!
//! image → structures, found by [reading everything](walk::Volume::walk) → one of them, some of
//! its fields changed → its checksum put right, so that the change gets past it
//!
//! A seed always gives the same damage of the same image:
//!
//! ```no_run
//! use damage::{Checksums, Image};
//!
//! let mut bytes = std::fs::read("volume.image").unwrap();
//! let damage = Image::open(&bytes).unwrap().damage(7, Checksums::Repaired);
//! println!("{}", damage.what);
//! damage.apply(&mut bytes);
//! ```

mod change;
mod checksum;
mod fields;
pub mod fuzz;
mod image;
mod numbers;
mod seal;
pub mod walk;

pub use checksum::Crc;
pub use image::{
    Checksums,
    Damage,
    Image,
    Kind,
    Patch,
    Structure, //
};
pub use numbers::Numbers;
