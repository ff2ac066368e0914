//! All targets in one libFuzzer program; the environment variable `FUZZ_TARGET` chooses one.
//!
//! `FUZZ_TARGET=note fuzz/target/…/parsers fuzz/corpus/note fuzz/seeds/note`, or, with a nightly
//! toolchain, `FUZZ_TARGET=note cargo fuzz run parsers`. `FUZZ_TARGET=list` names the targets;
//! `FUZZ_TARGET=seeds` writes `fuzz/seeds` again, which is wanted after a format changes.
#![no_main]

use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use jurat_fuzz::TARGETS;
use libfuzzer_sys::fuzz_target;

static LAW: OnceLock<fn(&[u8])> = OnceLock::new();

fn law() -> fn(&[u8]) {
    *LAW.get_or_init(|| {
        let wanted = std::env::var("FUZZ_TARGET").unwrap_or_default();
        if let Some((_, law)) = TARGETS.iter().find(|(name, _)| *name == wanted) {
            return *law;
        }
        let done = match wanted.as_str() {
            "list" => {
                TARGETS.iter().for_each(|(name, _)| println!("{name}"));
                true
            }
            "seeds" => write_seeds().is_ok(),
            _ => false,
        };
        std::process::exit(if done { 0 } else { 2 });
    })
}

/// Writes the committed inputs, from which fuzzing starts.
fn write_seeds() -> std::io::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds");
    for seed in jurat_fuzz::seeds() {
        let folder = folder.join(seed.target);
        fs::create_dir_all(&folder)?;
        fs::write(folder.join(seed.name), &seed.bytes)?;
    }
    Ok(())
}

fuzz_target!(
    init: {
        law();
    },
    |data: &[u8]| law()(data)
);
