// SPDX-License-Identifier: GPL-2.0

//! Makes a damaged copy of an image, and says what it did to it; or takes an image apart for
//! cargo-fuzz to begin with.

use damage::{
    fuzz,
    Checksums,
    Image, //
};
use std::{
    env,
    fs,
    path::Path,
    process::ExitCode, //
};

const USAGE: &str = "usage: damage IMAGE COPY SEED [repaired|left|flip]
       damage seeds IMAGE DIRECTORY

One structure of the volume in IMAGE is changed, which one and how is for SEED to say, a number:
repaired  other values for some fields, its checksum put right (without a word)
left      the same, and its checksum as it was
flip      some bits the other way round, nothing else

With `seeds`, the structures of the volume become inputs for the targets of rust/fuzz, each in a
directory of its own below DIRECTORY.";

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
        [command, from, to] if command == "seeds" => return seeds(from, to),
        [from, to, seed] => (from, to, seed, "repaired"),
        [from, to, seed, how] => (from, to, seed, how.as_str()),
        _ => return Err(USAGE.into()),
    };
    let seed: u64 = seed.parse().map_err(|_| USAGE)?;
    let mut bytes = read(from)?;
    let image = open(from, &bytes)?;
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

fn read(path: &str) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|error| format!("{path}: {error}"))
}

fn open<'a>(path: &str, bytes: &'a [u8]) -> Result<Image<'a>, String> {
    Image::open(bytes).map_err(|wrong| format!("{path}: {wrong:?}"))
}

fn seeds(from: &str, to: &str) -> Result<String, String> {
    let bytes = read(from)?;
    let seeds = fuzz::seeds(&open(from, &bytes)?);
    for (number, (target, seed)) in seeds.iter().enumerate() {
        let dir = Path::new(to).join(target);
        fs::create_dir_all(&dir)
            .and_then(|()| fs::write(dir.join(number.to_string()), seed))
            .map_err(|error| format!("{}: {error}", dir.display()))?;
    }
    Ok(format!("{} inputs", seeds.len()))
}
