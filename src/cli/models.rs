//! The model aliases that a key may be kept to, as `models.yaml` has them.
#![expect(clippy::print_stderr, reason = "a command's output is its purpose")]

use std::path::Path;

use crate::cli::Failure;
use crate::config::{self, Overrides, Source};

/// Refuses aliases that the configuration in `conf` does not have: such a key would open nothing. Without a
/// configuration, or with one that has mistakes of its own, nothing can be said, and that is said.
pub fn check(aliases: &[String], conf: &Path) -> Result<(), Failure> {
    if !conf.is_dir() {
        return Ok(());
    }
    let source = Source::Directory(conf.to_owned());
    let Ok(snapshot) = config::load(&source, &Overrides::default(), &|name| std::env::var(name).ok()) else {
        eprintln!(
            "--models was not checked: the configuration in {0} has mistakes (`cfx check --conf {0}`)",
            conf.display()
        );
        return Ok(());
    };
    let known = &snapshot.models.aliases;
    match aliases.iter().find(|alias| !known.contains_key(*alias)) {
        None => Ok(()),
        Some(unknown) => Err(Failure::Usage(format!(
            "--models: {} has no model {unknown:?}; known there: {}",
            conf.join("models.yaml").display(),
            known.keys().map(String::as_str).collect::<Vec<_>>().join(", ")
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn aliases(names: &[&str]) -> Vec<String> {
        names.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn an_alias_that_is_nowhere_is_refused_by_name() {
        let conf = Path::new("conf");
        assert!(check(&aliases(&["deepseek", "claude-sonnet"]), conf).is_ok());
        let Err(Failure::Usage(text)) = check(&aliases(&["deepseek", "deepsek"]), conf) else { panic!("it was taken") };
        assert!(text.contains("\"deepsek\"") && text.contains("deepseek") && text.contains("models.yaml"), "{text}");
    }

    #[test]
    fn without_a_sound_configuration_nothing_is_refused() {
        assert!(check(&aliases(&["anything"]), Path::new("no/such/folder")).is_ok());
        let broken = tempfile::tempdir().unwrap();
        std::fs::write(broken.path().join("models.yaml"), "stages: [").unwrap();
        assert!(check(&aliases(&["anything"]), broken.path()).is_ok());
    }
}
