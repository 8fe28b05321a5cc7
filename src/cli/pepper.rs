//! The pepper that keys are hashed with: `KEY_HASH_PEPPER`, else the file `pepper` beside the database.
//!
//! The file is a convenience of `cfx dev`. `cfx run` reads the environment alone ([`from_environment`]).

use std::io::Write;
use std::path::Path;

use crate::admission::{Pepper, PepperProblem, PepperStore};
use crate::cli::Failure;
use crate::config::Secret;

pub const VARIABLE: &str = "KEY_HASH_PEPPER";
const FILE: &str = "pepper";
/// Shorter ones can be guessed by whoever gets hold of the hashes.
const SHORTEST: usize = 16;

/// The pepper of `cfx dev`: from the environment, else from the file, which is made on the first start.
pub fn for_dev(data: &Path) -> Result<Secret, Failure> {
    from_environment()?.map_or_else(|| kept(data), Ok)
}

/// The pepper that keys in `data` were made with, for commands.
pub fn existing(data: &Path) -> Result<Secret, Failure> {
    from_environment()?.map_or_else(|| found(data), Ok)
}

/// The pepper ready for use, if the keys in `store` were made with it.
pub async fn checked_against(store: &dyn PepperStore, pepper: &Secret) -> Result<Pepper, Failure> {
    let pepper = Pepper::new(pepper.expose().as_bytes());
    pepper.check(store).await.map_err(|problem| match problem {
        PepperProblem::Another { .. } => Failure::Configuration(problem.to_string()),
        PepperProblem::Store(_) => Failure::Failed(problem.to_string()),
    })?;
    Ok(pepper)
}

/// None where the variable is not set. A set one that is empty or short is refused: it is never what was meant.
pub fn from_environment() -> Result<Option<Secret>, Failure> {
    match std::env::var(VARIABLE) {
        Ok(pepper) => checked(VARIABLE, pepper).map(Some),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(std::env::VarError::NotUnicode(_)) => Err(Failure::Configuration(format!("{VARIABLE} is not text"))),
    }
}

/// From the file, made if missing.
fn kept(data: &Path) -> Result<Secret, Failure> {
    let path = data.join(FILE);
    if !path.exists() {
        let mut random = [0_u8; 32];
        getrandom::fill(&mut random).map_err(|error| Failure::Failed(format!("no randomness: {error}")))?;
        let text: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        write_private(&path, &text)?;
    }
    from_file(&path)
}

fn found(data: &Path) -> Result<Secret, Failure> {
    let path = data.join(FILE);
    if path.exists() {
        return from_file(&path);
    }
    Err(Failure::Configuration(format!(
        "{VARIABLE} is not set and there is no {}: set it to the value the server runs with, or start `cfx dev` once, \
         which makes the file",
        path.display()
    )))
}

fn from_file(path: &Path) -> Result<Secret, Failure> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| Failure::Configuration(format!("{name}: {error}")))?;
    checked(&name, text.trim().to_owned())
}

fn checked(name: &str, pepper: String) -> Result<Secret, Failure> {
    if pepper.is_empty() {
        return Err(Failure::Configuration(format!(
            "{name} is empty, as it is in .env.example: set it to a secret of your own (`openssl rand -hex 32` makes one)"
        )));
    }
    if pepper.len() < SHORTEST {
        return Err(Failure::Configuration(format!(
            "{name} holds {} characters; a pepper has {SHORTEST} or more (`openssl rand -hex 32` makes one)",
            pepper.len()
        )));
    }
    Ok(Secret::new(pepper))
}

/// Writes a file that only its owner can read, whole or not at all.
pub(super) fn write_private(path: &Path, text: &str) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::Failed(format!("{}: {error}", path.display()));
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).map_err(failed)?;
    let draft = path.with_extension(format!("draft-{}", std::process::id()));
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&draft).map_err(failed)?;
    file.write_all(text.as_bytes()).and_then(|()| file.write_all(b"\n")).map_err(failed)?;
    file.sync_all().map_err(failed)?;
    std::fs::rename(&draft, path).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_made_once_and_read_by_commands() {
        let data = tempfile::tempdir().unwrap();
        let data = data.path().join("data");
        assert!(matches!(found(&data), Err(Failure::Configuration(text)) if text.contains(VARIABLE)));
        let pepper = kept(&data).unwrap();
        assert_eq!(pepper.expose().len(), 64);
        assert!(kept(&data).unwrap() == pepper && found(&data).unwrap() == pepper);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = std::fs::metadata(data.join(FILE)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }

    #[test]
    fn a_short_pepper_is_named_and_refused() {
        let data = tempfile::tempdir().unwrap();
        std::fs::write(data.path().join(FILE), "short\n").unwrap();
        let Err(Failure::Configuration(text)) = found(data.path()) else { panic!("it was taken") };
        assert!(text.contains("pepper holds 5 characters"), "{text}");
        assert!(checked(VARIABLE, String::new()).is_err());
    }

    #[test]
    fn the_pepper_of_the_example_is_none() {
        let example = std::fs::read_to_string(".env.example").unwrap();
        let line = example.lines().find_map(|line| line.strip_prefix("KEY_HASH_PEPPER=")).unwrap();
        let Err(Failure::Configuration(text)) = checked(VARIABLE, line.to_owned()) else { panic!("it was taken") };
        assert!(text.contains("KEY_HASH_PEPPER is empty") && text.contains("openssl rand -hex 32"), "{text}");
    }
}
