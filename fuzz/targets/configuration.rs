//! Three files, one behind the other with a zero byte between. Whatever they say, they load, or each problem has a place.

use std::cell::RefCell;

use cfx::config::{Overrides, Source, load};

pub fn target(bytes: &[u8]) {
    thread_local! {
        static FOLDER: RefCell<Option<tempfile::TempDir>> = const { RefCell::new(None) };
    }
    // A file that is named may be any of the machine's: not those that never end.
    if bytes.windows(4).any(|window| window == b"/dev" || window == b"/pro") {
        return;
    }
    FOLDER.with_borrow_mut(|folder| {
        let folder = folder.get_or_insert_with(|| tempfile::tempdir().expect("a folder"));
        let mut files = bytes.splitn(3, |byte| *byte == 0);
        for name in ["cfx.yaml", "models.yaml", "limits.yaml"] {
            std::fs::write(folder.path().join(name), files.next().unwrap_or_default()).expect("a file");
        }
        let source = Source::Directory(folder.path().to_path_buf());
        if let Err(problems) = load(&source, &Overrides::default(), &|name| (name == "SET").then(|| "set".to_owned())) {
            let text = problems.to_string();
            assert!(text.contains(".yaml:") || text.contains(".yaml "), "a problem without a place: {text}");
        }
    });
}
