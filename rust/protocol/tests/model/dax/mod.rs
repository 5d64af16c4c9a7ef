// SPDX-License-Identifier: GPL-2.0

//! A page of a file that is mapped from the memory that it is in, without a page cache.

mod actors;
mod handles;
mod scenarios;
mod unbroken;
mod without;
mod world;

use crate::{
    checker,
    process, //
};

type Cpu<'a> = process::Cpu<'a, world::Op>;
type Broken = process::Broken<world::Op>;
type Scenario = checker::Scenario<world::World>;
