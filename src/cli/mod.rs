//! The command line: one file a command. Commands print; nothing below them does.
#![expect(clippy::print_stderr, reason = "a command's output is its purpose")]

pub mod check;

/// Why a command failed, with its exit code. The text is printed on stderr as it stands.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Exit code 1.
    #[error("{0}")]
    Failed(String),
    /// Exit code 64.
    #[error("{0}")]
    Usage(String),
    /// Exit code 78: the configuration is wrong; the text holds one problem a line.
    #[error("{0}")]
    Configuration(String),
}

impl Failure {
    pub fn exit_code(&self) -> u8 {
        match self {
            Failure::Failed(_) => 1,
            Failure::Usage(_) => 64,
            Failure::Configuration(_) => 78,
        }
    }
}

/// Prints a failed command's reason.
pub fn report(failure: &Failure) {
    eprintln!("{failure}");
}
