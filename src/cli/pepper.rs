//! The pepper that keys are hashed with: `KEY_HASH_PEPPER`, else the file `pepper` beside the database.
//!
//! The file is a convenience of `cfx dev`. `cfx run` reads the environment alone ([`from_environment`]).

use std::io::Write;
use std::path::Path;

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
}
