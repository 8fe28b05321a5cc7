//! What is fuzzed: each target takes any bytes and panics where cfx would be wrong. libFuzzer drives them from
//! `fuzz_targets`, the test `fuzzed` from the seeds on any toolchain.

pub mod client_address;
pub mod client_hello;
pub mod configuration;
pub mod forwarded;
pub mod head;
pub mod key;
pub mod path;
pub mod proxy_header;
pub mod rewrite;
pub mod tap;
pub mod trace;
mod wire;

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use cfx::config::{Overrides, Snapshot, Source, load};

pub type Target = fn(&[u8]);

/// Every target by its name, which is that of its seeds' folder.
pub const ALL: [(&str, Target); 11] = [
    ("configuration", configuration::target),
    ("rewrite", rewrite::target),
    ("tap", tap::target),
    ("key", key::target),
    ("client_address", client_address::target),
    ("forwarded", forwarded::target),
    ("trace", trace::target),
    ("proxy_header", proxy_header::target),
    ("client_hello", client_hello::target),
    ("head", head::target),
    ("path", path::target),
];

static SHIPPED: LazyLock<Snapshot> =
    LazyLock::new(|| match load(&Source::Embedded, &Overrides::default(), &|_| None) {
        Ok(snapshot) => snapshot,
        Err(problems) => panic!("{problems}"),
    });

/// Where a target's seeds are.
pub fn folder(target: &str) -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let found = [here.join("fuzz/seeds"), here.join("seeds")].into_iter().find(|folder| folder.is_dir());
    found.expect("seeds").join(target)
}

/// The seeds of a target, in the order of their names.
pub fn seeds(target: &str) -> Vec<Vec<u8>> {
    let files = std::fs::read_dir(folder(target)).expect("a folder of seeds");
    let mut files: Vec<_> = files.map(|file| file.expect("a file").path()).collect();
    files.sort();
    files.iter().map(|file| std::fs::read(file).expect("a seed")).collect()
}
