//! How the release binary is linked: smaller, where the linker and the C library at hand can do it.

use std::env;
use std::path::Path;
use std::process::Command;

/// The C library that reads packed relocations, and the first that does.
const READS_PACKED: (u32, u32) = (2, 36);

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let asked = |name: &str| env::var(name).unwrap_or_default();
    let released = asked("PROFILE") == "release";
    if !released || asked("TARGET") != asked("HOST") || !asked("TARGET").ends_with("-linux-gnu") {
        return;
    }
    // A binary that packs them does not start beside an older library.
    if glibc().is_some_and(|version| version >= READS_PACKED) {
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
    // Of functions that came out alike one is kept. Two of Rust's may share an address anyway; of the C in here SQLite alone
    // compares addresses, of destructors that are like no other function. Rust's own linker does it.
    if asked("TARGET").starts_with("x86_64") && has_own_linker(&asked("RUSTC"), &asked("TARGET")) {
        println!("cargo::rustc-link-arg-bins=-Wl,--icf=all");
    }
}

fn glibc() -> Option<(u32, u32)> {
    let said = output("getconf", &["GNU_LIBC_VERSION"])?;
    let (major, minor) = said.trim().strip_prefix("glibc ")?.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// The linker that rustup's toolchains bring for x86-64 and use of themselves.
fn has_own_linker(rustc: &str, target: &str) -> bool {
    let Some(root) = output(rustc, &["--print", "sysroot"]) else { return false };
    Path::new(root.trim()).join("lib/rustlib").join(target).join("bin/gcc-ld/ld.lld").exists()
}

fn output(program: &str, words: &[&str]) -> Option<String> {
    let done = Command::new(program).args(words).output().ok().filter(|done| done.status.success())?;
    String::from_utf8(done.stdout).ok()
}
