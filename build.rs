//! How a release is linked: with packed relocations, three quarters of a megabyte less, where the C library at hand reads them.

use std::env;
use std::process::Command;

/// The first glibc that does.
const READS_PACKED: (u32, u32) = (2, 36);

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let asked = |name: &str| env::var(name).unwrap_or_default();
    let is_native = asked("TARGET") == asked("HOST") && asked("TARGET").ends_with("-linux-gnu");
    // A binary that packs them does not start beside an older library.
    if asked("PROFILE") == "release" && is_native && glibc().is_some_and(|version| version >= READS_PACKED) {
        // Whoever is measured beside cfx is linked as it is.
        for linked in ["bins", "examples"] {
            println!("cargo::rustc-link-arg-{linked}=-Wl,-z,pack-relative-relocs");
        }
    }
}

fn glibc() -> Option<(u32, u32)> {
    let done = Command::new("getconf").arg("GNU_LIBC_VERSION").output().ok().filter(|done| done.status.success())?;
    let said = String::from_utf8(done.stdout).ok()?;
    let (major, minor) = said.trim().strip_prefix("glibc ")?.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}
