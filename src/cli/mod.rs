//! The command line: one file a command. Commands print; nothing below them does.

/// A line on standard output. Whoever has closed it, as `head` does, wants no more, and that is no reason to panic.
macro_rules! say {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stdout(), $($text)*);
    }};
}

pub mod banner;
pub mod cert;
pub mod check;
mod dashboard;
mod dev;
pub mod dev_key;
mod diff;
pub mod echo;
pub mod explain;
pub mod key;
pub mod ledger;
pub mod migrate;
mod models;
pub mod pepper;
pub mod quota;
mod run;
pub mod schema;
mod serve;
pub mod store;
pub mod user;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// cfx: one address and one key between coding agents and their models.
///
/// Terminates TLS, checks keys and daily quotas, picks the model for each stage of work (plan, code, review), streams
/// the answer back and accounts for every request.
#[derive(Debug, Parser)]
#[command(name = "cfx", version, about, long_about, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Try it out: everything on this machine, with a key, and an echo model unless LITELLM_BASE_URL is set
    Dev(dev::Args),
    /// Serve: needs a pepper, a data directory and a valid configuration
    Run(run::Args),
    /// Check the configuration and name every mistake in it by file, line and column
    Check(check::Args),
    /// Say what would become of a request: which route takes it, and what is changed
    Explain(explain::Args),
    /// Print the JSON Schemas of the three files, for editors
    Schema(schema::Args),
    /// Create, list, rotate and revoke API keys
    Key(key::KeyArgs),
    /// Create, list and disable users; a link to sign in by
    User(user::UserArgs),
    /// Show what a user may ask for a day and has, and grant another limit
    Quota(quota::QuotaArgs),
    /// Serve the dashboard as a process of its own, behind an edge
    Dashboard(dashboard::Args),
    /// Look at certificates, and have them ordered anew
    Cert(cert::CertArgs),
    /// Look at the ledger's spool: what waits for the store, and what was set aside
    Ledger(ledger::LedgerArgs),
    /// Bring the store to this version's schema
    Migrate(migrate::MigrateArgs),
}

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

/// Reads the command line, does what it says and yields the exit code: 0, 1 failed, 64 usage, 78 configuration.
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(help) => {
            let _ = help.print();
            return if help.use_stderr() { ExitCode::from(64) } else { ExitCode::SUCCESS };
        }
    };
    let outcome = match arguments.command {
        Command::Dev(args) => dev::run(args),
        Command::Run(args) => run::run(args),
        Command::Check(args) => check::run(args),
        Command::Explain(args) => explain::run(args),
        Command::Schema(args) => schema::run(args),
        Command::Key(args) => key::run(args),
        Command::User(args) => user::run(args),
        Command::Quota(args) => quota::run(args),
        Command::Dashboard(args) => dashboard::run(args),
        Command::Cert(args) => cert::run(args),
        Command::Ledger(args) => ledger::run(args),
        Command::Migrate(args) => migrate::run(args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            report(&failure);
            ExitCode::from(failure.exit_code())
        }
    }
}

/// `1 route`, `2 routes`.
fn counted(count: impl TryInto<u64>, noun: &str) -> String {
    let count = count.try_into().unwrap_or(u64::MAX);
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{plural}")
}

#[expect(clippy::print_stderr, reason = "a command's failure belongs on the terminal")]
fn report(failure: &Failure) {
    eprintln!("{failure}");
}
