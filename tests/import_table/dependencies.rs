//! The packages that cfx is built on are its own dependencies, and its code names each of them.

use std::fs;

use super::reading::{path_heads, without_comments_and_strings};
use super::sources;

const BUILT_ON: &[&str] = &[
    "pingora",
    "pingora-proxy",
    "pingora-core",
    "pingora-load-balancing",
    "tokio",
    "async-trait",
    "serde",
    "serde_yaml",
    "tokio-postgres",
    "deadpool-postgres",
    "sha2",
    "uuid",
    "once_cell",
    "prometheus",
];

#[test]
fn each_is_a_direct_dependency_and_named_in_the_source() {
    let manifest = fs::read_to_string("Cargo.toml").expect("Cargo.toml is readable");
    let declared = dependencies(&manifest);
    let named: Vec<(usize, String)> = sources("src")
        .iter()
        .flat_map(|path| {
            path_heads(&without_comments_and_strings(&fs::read_to_string(path).expect("a source file is readable")))
        })
        .collect();
    let missing = BUILT_ON.iter().flat_map(|package| {
        let name = package.replace('-', "_");
        let undeclared = (!declared.contains(package)).then(|| format!("{package}: not under [dependencies]"));
        let unnamed = (!named.iter().any(|(_, head)| *head == name)).then(|| format!("{package}: not named in src/"));
        undeclared.into_iter().chain(unnamed)
    });
    assert_eq!(missing.collect::<Vec<_>>(), Vec::<String>::new());
}

/// The keys of `[dependencies]`.
fn dependencies(manifest: &str) -> Vec<&str> {
    let section = manifest.split("\n[dependencies]\n").nth(1).unwrap_or("").split("\n[").next().unwrap_or("");
    section.lines().filter_map(|line| Some(line.split_once(" = ")?.0)).collect()
}

#[test]
fn only_what_is_declared_for_the_program_counts() {
    let manifest =
        "[package]\nname = \"x\"\n\n[dependencies]\n# a = 1\nserde = \"1\"\n\n[dev-dependencies]\nuuid = \"1\"\n";
    assert_eq!(dependencies(manifest), ["# a", "serde"]);
}

#[test]
fn a_name_counts_at_the_head_of_a_path_alone() {
    let code = without_comments_and_strings(
        "// uuid::X\nuse a::sha2::B;\nlet serde = 1;\nuse tokio::{net::X};\nuse async_trait::async_trait;\n",
    );
    let heads: Vec<String> = path_heads(&code).into_iter().map(|(_, head)| head).collect();
    assert_eq!(heads, ["a", "tokio", "net", "async_trait"]);
}
