// SPDX-License-Identifier: GPL-2.0

//! The protocol, run by everybody who has to do with a folio, in every order.

mod actors;
mod checker;
mod handles;
mod process;
mod scenarios;
mod unbroken;
mod without;
mod world;
