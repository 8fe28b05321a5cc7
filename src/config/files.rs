//! The files that a configuration consists of, found without checking it: also those of one with a mistake in it, which may be
//! that a file is missing.

use std::path::PathBuf;

use super::problem::Report;
use super::raw::{self, Environment, Node, Value};
use super::source::Source;

/// Values under keys of these names, and of any that ends in `_file`, name files.
const NAMES_A_FILE: [&str; 4] = ["cert", "key", "ca", "file"];
/// What stands under it are pages by status.
const PAGES: &str = "errors";

/// Every file that would be read, or would be if it were there. Empty where all of them are built in. Names are relative
/// to the directory or to what is beside it, by what they are for: each is listed as both.
pub fn files(source: &Source, env: Environment) -> Vec<PathBuf> {
    let Source::Directory(directory) = source else { return Vec::new() };
    let mut found = Vec::new();
    for file in ["cfx.yaml", "models.yaml", "limits.yaml"] {
        found.push(directory.join(file));
        let Ok(text) = source.read(file) else { continue };
        let Ok(mut root) = raw::parse(&text) else { continue };
        raw::settle(&mut root, "", env, &Report::new(file)); // what is wrong with it is for the checks to say
        let mut names = Vec::new();
        gather(&root, &mut names);
        found.extend(names.iter().flat_map(|name| [directory.join(name), source.beside_directory(name)]));
    }
    found.sort_unstable();
    found.dedup();
    found
}

fn gather<'a>(node: &'a Node, names: &mut Vec<&'a str>) {
    match &node.value {
        Value::List(items) => items.iter().for_each(|item| gather(item, names)),
        Value::Map(entries) => {
            for entry in entries {
                match &entry.value.value {
                    Value::Scalar(scalar) if names_a_file(&entry.key) => names.push(&scalar.text),
                    Value::Map(pages) if entry.key == PAGES => names.extend(pages.iter().filter_map(|page| {
                        let Value::Scalar(scalar) = &page.value.value else { return None };
                        Some(scalar.text.as_str())
                    })),
                    _ => gather(&entry.value, names),
                }
            }
        }
        Value::Null | Value::Scalar(_) | Value::Broken(_) => {}
    }
}

fn names_a_file(key: &str) -> bool {
    NAMES_A_FILE.contains(&key) || key.ends_with("_file")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_known_by_what_names_them_whatever_else_is_wrong() {
        let root = tempfile::tempdir().unwrap();
        let conf = root.path().join("conf");
        std::fs::create_dir(&conf).unwrap();
        let edge = "tls: { certificates: [{ cert: \"${CERT:-}\", key: certs/a.key }] }\nnobody: [knows, this]\n\
            routes: [{ basic_auth: { file: /users }, errors: { \"404\": /404.html } }]\n";
        std::fs::write(conf.join("cfx.yaml"), edge).unwrap();
        std::fs::write(conf.join("models.yaml"), "stages: { plan: { system_file: prompts/plan.md } }\n").unwrap();
        std::fs::write(conf.join("limits.yaml"), "no: [yaml\n").unwrap();
        let env = |name: &str| (name == "CERT").then(|| "/secrets/a.pem".to_owned());
        let found = files(&Source::Directory(conf.clone()), &env);
        let mut expected = vec![
            PathBuf::from("/404.html"),
            PathBuf::from("/secrets/a.pem"),
            PathBuf::from("/users"),
            root.path().join("certs/a.key"),
            root.path().join("prompts/plan.md"),
            conf.join("certs/a.key"),
            conf.join("cfx.yaml"),
            conf.join("limits.yaml"),
            conf.join("models.yaml"),
            conf.join("prompts/plan.md"),
        ];
        expected.sort_unstable();
        assert_eq!(found, expected);
        assert!(files(&Source::Embedded, &env).is_empty());
    }
}
