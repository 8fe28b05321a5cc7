//! What an operator sees of the configuration: the shipped files load, every mistake has its line.

use std::path::Path;

use cfx::config::{Overrides, Problems, Snapshot, Source, load};

fn unset(_: &str) -> Option<String> {
    None
}

fn shipped() -> Source {
    Source::Directory(Path::new(env!("CARGO_MANIFEST_DIR")).join("conf"))
}

fn load_plain(source: &Source) -> Result<Snapshot, Problems> {
    load(source, &Overrides::default(), &unset)
}

#[test]
fn the_shipped_directory_and_the_built_in_files_are_the_same_configuration() {
    let directory = load_plain(&shipped()).unwrap_or_else(|problems| panic!("{problems}"));
    let embedded = load_plain(&Source::Embedded).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(format!("{directory:#?}"), format!("{embedded:#?}"));
}
