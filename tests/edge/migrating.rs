//! `cfx migrate` as an operator uses it: look first, then do, then see what was done.

use std::path::Path;

use crate::harness::cfx;
use crate::harness::process::printed;

fn migrate(data: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = cfx();
    command.env_remove("DATABASE_URL").arg("migrate").arg("--data").arg(data).args(arguments);
    let output = command.output().expect("cfx runs");
    (output.status.code(), printed(&output))
}

#[test]
fn a_dry_run_and_the_standing_change_nothing_and_migrating_is_done_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let (code, text) = migrate(&data, &["--dry-run"]);
    assert!(code == Some(0) && text.contains("would apply 0001_tables\nwould apply 0002_spend\n"), "{text}");
    let (code, text) = migrate(&data, &["--status"]);
    assert!(code == Some(0) && text.lines().all(|line| line.ends_with("not applied")), "{text}");
    assert!(!data.exists(), "looking makes nothing");

    let (code, text) = migrate(&data, &[]);
    assert!(code == Some(0) && text.contains("applied 0001_tables\napplied 0002_spend\n"), "{text}");
    let (code, text) = migrate(&data, &[]);
    assert!(code == Some(0) && text.contains("is up to date"), "{text}");
    let (code, text) = migrate(&data, &["--status"]);
    let standing: Vec<_> = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).collect();
    assert_eq!((code, standing.len()), (Some(0), 2), "{text}");
    assert!(standing.iter().all(|words| words.len() == 2 && words[1].ends_with('Z')), "{text}");
}

#[test]
fn looking_and_looking_closer_at_once_is_a_usage_error() {
    let folder = tempfile::tempdir().expect("a folder");
    let (code, text) = migrate(folder.path(), &["--dry-run", "--status"]);
    assert!(code == Some(64) && text.contains("--status"), "{text}");
}
