//! Holds the map in `src/lib.rs` against the source: which room may import which, where pingora and SQL may be named,
//! how long a file may be. A mistake is reported as `file:line: what is wrong`.
#![cfg(test)]

mod dependencies;
mod reading;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use reading::{imports, path_heads, without_comments_and_strings, words};

/// What each room may import beside itself. The arrows of `src/lib.rs`, written out.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("units", &[]),
    ("clock", &["units"]),
    ("failpoint", &[]),
    ("heap", &[]),
    ("https", &[]),
    ("telemetry", &["units", "clock", "heap", "https"]),
    ("config", &["units", "clock", "telemetry"]),
    ("admission", &["units", "clock", "failpoint", "telemetry", "config"]),
    ("llm", &["units", "clock", "telemetry", "config"]),
    ("upstream", &["units", "clock", "failpoint", "telemetry", "config"]),
    ("ledger", &["units", "clock", "failpoint", "heap", "telemetry", "config"]),
    ("identity", &["units", "clock", "telemetry", "config"]),
    (
        "storage",
        &["units", "clock", "heap", "telemetry", "config", "admission", "llm", "upstream", "ledger", "identity"],
    ),
    ("entry", &["units", "clock", "heap", "https", "telemetry", "config", "admission", "llm", "upstream", "ledger"]),
    (
        "proxy",
        &["units", "clock", "failpoint", "telemetry", "config", "admission", "llm", "upstream", "ledger", "entry"],
    ),
    (
        "control",
        &["units", "clock", "https", "telemetry", "config", "admission", "llm", "upstream", "ledger", "identity"],
    ),
    ("dashboard", &["units", "clock", "https", "telemetry", "config", "ledger", "identity", "control"]),
    (
        "app",
        &[
            "units",
            "clock",
            "telemetry",
            "config",
            "admission",
            "llm",
            "upstream",
            "ledger",
            "identity",
            "storage",
            "entry",
            "proxy",
            "control",
            "dashboard",
        ],
    ),
    (
        "cli",
        &[
            "units",
            "clock",
            "telemetry",
            "config",
            "admission",
            "llm",
            "upstream",
            "ledger",
            "identity",
            "storage",
            "entry",
            "proxy",
            "control",
            "dashboard",
            "app",
        ],
    ),
];

/// Crates, by how their names begin, that only the named rooms may know.
const KEPT_IN: &[(&str, &[&str], &str)] = &[
    ("pingora", &["entry", "proxy", "upstream", "app"], "pingora types stay in entry, proxy, upstream and app"),
    ("rusqlite", &["storage"], "SQL lives in storage and nowhere else"),
    ("tokio_postgres", &["storage"], "SQL lives in storage and nowhere else"),
    ("deadpool_postgres", &["storage"], "connections to a store live in storage and nowhere else"),
    ("redis", &["storage"], "connections to a store live in storage and nowhere else"),
];

const LONGEST_FILE: usize = 400;

#[test]
fn every_import_follows_the_arrows() {
    let problems: Vec<String> = sources("src")
        .iter()
        .flat_map(|path| forbidden_imports(path, &fs::read_to_string(path).expect("a source file is readable")))
        .collect();
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

#[test]
fn the_map_in_lib_rs_names_the_rooms_there_are() {
    let lib = fs::read_to_string("src/lib.rs").expect("src/lib.rs is readable");
    let problems = map_problems(&lib, &rooms_on_disk());
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

#[test]
fn every_room_says_what_it_owns() {
    let silent: Vec<String> = rooms_on_disk()
        .iter()
        .map(|room| room_file(room))
        .filter(|file| !fs::read_to_string(file).is_ok_and(|text| text.starts_with("//! ")))
        .map(|file| format!("{}:1: open with `//!` and what the room owns", file.display()))
        .collect();
    assert!(silent.is_empty(), "\n{}\n", silent.join("\n"));
}

#[test]
fn no_file_is_too_long_to_hold_in_the_head() {
    let long: Vec<String> = ["src", "tests", "examples", "benches"]
        .iter()
        .flat_map(|folder| sources(folder))
        .filter_map(|path| {
            let lines = fs::read_to_string(&path).ok()?.lines().count();
            (lines > LONGEST_FILE)
                .then(|| format!("{}:{lines}: past {LONGEST_FILE} lines a file is two", path.display()))
        })
        .collect();
    assert!(long.is_empty(), "\n{}\n", long.join("\n"));
}

/// The checker itself: each planted import is found, at its line, and nothing else is.
mod checker {
    use super::*;

    fn found(path: &str, source: &str) -> Vec<String> {
        forbidden_imports(Path::new(path), source)
    }

    #[test]
    fn a_planted_import_is_found_where_it_stands() {
        let found = found("src/proxy/admit.rs", "use std::fmt;\n\nuse crate::storage::sqlite::Store;\n");
        assert_eq!(found, ["src/proxy/admit.rs:3: `proxy` must not import `storage` (src/lib.rs has the arrows)"]);
    }

    #[test]
    fn it_is_found_inside_a_group_over_several_lines() {
        let source =
            "use crate::{\n    config::{Snapshot, Stage as storage},\n    ledger::Record,\n    llm::scan,\n};\n";
        let found = found("src/admission/key.rs", source);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].starts_with("src/admission/key.rs:3: `admission` must not import `ledger`"), "{found:?}");
        assert!(found[1].starts_with("src/admission/key.rs:4: `admission` must not import `llm`"), "{found:?}");
    }

    #[test]
    fn it_is_found_as_a_path_in_an_expression() {
        let found = found("src/clock.rs", "fn f() -> u8 {\n    crate::config::answer()\n}\n");
        assert_eq!(found, ["src/clock.rs:2: `clock` must not import `config` (src/lib.rs has the arrows)"]);
    }

    #[test]
    fn it_is_found_by_way_of_super() {
        assert_eq!(found("src/llm/scan/strings.rs", "use super::super::super::proxy::Relay;\n").len(), 1);
        assert_eq!(found("src/llm/mod.rs", "use super::proxy::Relay;\n").len(), 1);
        assert!(found("src/llm/scan.rs", "use super::sse::Event;\nuse super::super::units::Stage;\n").is_empty());
    }

    #[test]
    fn a_glob_over_the_whole_crate_is_refused() {
        assert_eq!(found("src/app.rs", "use crate::*;\n").len(), 1);
    }

    #[test]
    fn comments_strings_and_lifetimes_are_not_imports() {
        let source = r##"
//! See [`crate::proxy`].
/* use crate::proxy::Relay; /* nested */ use crate::app; */
fn f<'a>(text: &'a str) -> char {
    let _ = ("use crate::proxy::X;", r#"crate::app::"y""#, b"crate::cli", '"', '\'', text);
    'c' // crate::storage
}
"##;
        assert!(found("src/units.rs", source).is_empty());
    }

    #[test]
    fn the_allowed_directions_stay_allowed() {
        assert!(
            found("src/storage/sqlite/keys.rs", "use crate::admission::KeyStore;\nuse rusqlite::params;\n").is_empty()
        );
        assert!(found("src/cli/dev.rs", "use crate::app;\nuse crate::storage::sqlite;\n").is_empty());
        assert!(found("src/main.rs", "use cfx::cli;\nuse cfx::telemetry;\n").is_empty());
    }

    #[test]
    fn pingora_and_sql_stay_in_their_rooms() {
        let pingora = found("src/llm/relay.rs", "use pingora_http::ResponseHeader;\n");
        assert!(pingora[0].starts_with("src/llm/relay.rs:1: `llm` must not name `pingora_http`"), "{pingora:?}");
        assert_eq!(found("src/cli/key.rs", "let store = rusqlite::Connection::open(path);\n").len(), 1);
        assert!(found("src/proxy/mod.rs", "use pingora_proxy::Session;\n").is_empty());
        assert_eq!(
            found("src/app.rs", "use deadpool_postgres::Pool;\nuse tokio_postgres::{Client, Config};\n").len(),
            2
        );
        assert_eq!(found("src/app.rs", "fn f(c: ::redis::Client) {}\nuse redis::aio;\n").len(), 2);
        assert!(found("src/app.rs", "use crate::storage::redis::RedisAddress;\n").is_empty());
        assert!(found("src/cli/check.rs", "use crate::storage::redis;\nlet name = redis::VARIABLE;\n").is_empty());
    }

    #[test]
    fn a_room_missing_from_the_map_is_reported_and_so_is_one_too_many() {
        let lib = "//! ```text\n//! units  <  { config }  <  main\n//! ```\npub mod units;\npub mod config;\n";
        let rooms = |names: &[&str]| names.iter().map(ToString::to_string).collect::<BTreeSet<_>>();
        assert!(map_problems(lib, &rooms(&["units", "config"])).is_empty());
        assert_eq!(
            map_problems(lib, &rooms(&["units", "config", "ledger"])).len(),
            2,
            "neither declared nor on the map"
        );
        assert_eq!(map_problems(lib, &rooms(&["units"])).len(), 2, "declared and on the map, but not there");
    }
}

/// Every mistake in one file, as `file:line: …`.
fn forbidden_imports(path: &Path, source: &str) -> Vec<String> {
    let room = room_of(path);
    let depth = module_depth(path);
    let code = without_comments_and_strings(source);
    let allowed = MAY_IMPORT.iter().find(|(name, _)| *name == room).map(|(_, allowed)| *allowed);
    let mut problems = Vec::new();
    for import in imports(&code, depth, MAY_IMPORT) {
        let line = import.line;
        if import.room == "*" {
            problems.push(format!("{}:{line}: `use crate::*` hides what is used", path.display()));
        } else if import.room != room && allowed.is_some_and(|allowed| !allowed.contains(&import.room.as_str())) {
            let name = &import.room;
            problems.push(format!(
                "{}:{line}: `{room}` must not import `{name}` (src/lib.rs has the arrows)",
                path.display()
            ));
        }
    }
    if room == "lib" || room == "main" {
        return problems;
    }
    if allowed.is_none() {
        problems.push(format!("{}:1: room `{room}` is not in tests/import_table/main.rs", path.display()));
    }
    for (line, word) in path_heads(&code) {
        for (prefix, rooms, reason) in KEPT_IN {
            if word.starts_with(prefix) && !rooms.contains(&room.as_str()) {
                problems.push(format!("{}:{line}: `{room}` must not name `{word}`: {reason}", path.display()));
            }
        }
    }
    problems
}

/// What is wrong between the map, the declarations below it, and the folders.
fn map_problems(lib: &str, on_disk: &BTreeSet<String>) -> Vec<String> {
    let map: String = lib.split("```text").nth(1).unwrap_or("").split("```").next().unwrap_or("").replace("//!", " ");
    let mapped: BTreeSet<String> = words(&map)
        .into_iter()
        .map(|(_, word)| word)
        .filter(|word| !["all", "main"].contains(&word.as_str()))
        .collect();
    let declared: BTreeSet<String> =
        lib.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')).map(String::from).collect();
    let mut problems = Vec::new();
    let mut differ = |has: &BTreeSet<String>, lacks: &BTreeSet<String>, what: &str| {
        problems.extend(has.difference(lacks).map(|room| format!("src/lib.rs: `{room}` {what}")));
    };
    differ(on_disk, &mapped, "is a room, but the map does not name it");
    differ(&mapped, on_disk, "is on the map, but there is no such room");
    differ(on_disk, &declared, "is a room, but is not declared `pub mod`");
    differ(&declared, on_disk, "is declared, but there is no such room");
    problems
}

/// `src/proxy/admit.rs` is in room `proxy`.
fn room_of(path: &Path) -> String {
    let first = path.components().nth(1).map(|part| part.as_os_str().to_string_lossy().into_owned());
    first.unwrap_or_default().trim_end_matches(".rs").to_string()
}

/// How many `super::` lead from a file to the crate's root.
fn module_depth(path: &Path) -> usize {
    let parts = path.components().count() - 1;
    if path.ends_with("mod.rs") { parts - 1 } else { parts }
}

fn room_file(room: &str) -> PathBuf {
    let folder = Path::new("src").join(room).join("mod.rs");
    if folder.exists() { folder } else { Path::new("src").join(format!("{room}.rs")) }
}

fn rooms_on_disk() -> BTreeSet<String> {
    let entries = fs::read_dir("src").expect("src is readable");
    let names = entries.map(|entry| room_of(&Path::new("src").join(entry.expect("src is readable").file_name())));
    names.filter(|name| name != "lib" && name != "main").collect()
}

/// Every Rust file under a folder, in order of name.
fn sources(folder: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir(folder) else { return found };
    for entry in entries {
        let path = entry.expect("a folder is readable").path();
        if path.is_dir() {
            found.extend(sources(&path.to_string_lossy()));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}
