// SPDX-License-Identifier: GPL-2.0

//! The protocol, run by everybody who has to do with a folio, in every order; and by everybody who has
//! to do with a page of a file that is mapped from the memory that it is in ([`dax`]).

mod actors;
mod checker;
mod dax;
mod handles;
mod process;
mod scenarios;
mod unbroken;
mod without;
mod world;
