//! `cfx migrate`: brings the database to this version's form.
#![expect(clippy::print_stdout, reason = "a command's output is its purpose")]

use clap::Args;

use crate::cli::Failure;
use crate::cli::store::DataArgs;
use crate::storage::sqlite::Sqlite;

#[derive(Debug, Args)]
pub struct MigrateArgs {
    #[command(flatten)]
    pub data: DataArgs,
    /// Only say what would be applied
    #[arg(long)]
    pub dry_run: bool,
}

pub fn run(args: MigrateArgs) -> Result<(), Failure> {
    let path = args.data.database()?;
    let pending = Sqlite::pending(&path)?;
    if !args.dry_run {
        args.data.open()?;
    }
    let done = if args.dry_run { "would apply" } else { "applied" };
    for migration in &pending {
        println!("{done} {}", migration.name);
    }
    if pending.is_empty() {
        println!("{} is up to date", path.display());
    }
    Ok(())
}
