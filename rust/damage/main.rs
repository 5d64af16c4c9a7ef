// SPDX-License-Identifier: GPL-2.0

//! Makes a damaged copy of an image, and says what it did to it.

use damage::{
    Checksums,
    Image, //
};
use std::{
    env,
    fs,
    process::ExitCode, //
};

const USAGE: &str = "usage: damage IMAGE COPY SEED [repaired|left|flip]

One structure of the volume in IMAGE is changed, which one and how is for SEED to say, a number:
repaired  other values for some fields, its checksum put right (without a word)
left      the same, and its checksum as it was
flip      some bits the other way round, nothing else";

fn main() -> ExitCode {
    let arguments: Vec<_> = env::args().skip(1).collect();
    match run(&arguments) {
        Ok(what) => {
            println!("{what}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<String, String> {
    let (from, to, seed, how) = match arguments {
        [from, to, seed] => (from, to, seed, "repaired"),
        [from, to, seed, how] => (from, to, seed, how.as_str()),
        _ => return Err(USAGE.into()),
    };
    let seed: u64 = seed.parse().map_err(|_| USAGE)?;
    let mut bytes = fs::read(from).map_err(|error| format!("{from}: {error}"))?;
    let image = Image::open(&bytes).map_err(|wrong| format!("{from}: {wrong:?}"))?;
    let damage = match how {
        "repaired" => image.damage(seed, Checksums::Repaired),
        "left" => image.damage(seed, Checksums::Left),
        "flip" => image.flip(seed),
        _ => return Err(USAGE.into()),
    };
    damage.apply(&mut bytes);
    fs::write(to, bytes).map_err(|error| format!("{to}: {error}"))?;
    Ok(damage.what)
}
