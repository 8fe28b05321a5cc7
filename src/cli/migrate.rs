//! `cfx migrate`: brings the database to this version's form.
#![expect(clippy::print_stdout, reason = "a command's output is its purpose")]

use clap::Args;

use crate::cli::Failure;
use crate::cli::store::DataArgs;
use crate::storage::Standing;
use crate::storage::sqlite::Sqlite;

#[derive(Debug, Args)]
pub struct MigrateArgs {
    #[command(flatten)]
    pub data: DataArgs,
    /// Only say what would be applied
    #[arg(long, conflicts_with = "status")]
    pub dry_run: bool,
    /// List every migration and when it was applied
    #[arg(long)]
    pub status: bool,
}

pub fn run(args: MigrateArgs) -> Result<(), Failure> {
    let path = args.data.database()?;
    let standing = Sqlite::status(&path)?;
    if args.status {
        show(&standing);
        return Ok(());
    }
    if !args.dry_run {
        args.data.open()?;
    }
    let done = if args.dry_run { "would apply" } else { "applied" };
    let missing: Vec<_> = standing.iter().filter(|one| one.applied_at.is_none()).collect();
    for one in &missing {
        println!("{done} {}", one.migration.name);
    }
    if missing.is_empty() {
        println!("{} is up to date", path.display());
    }
    Ok(())
}

/// One line a migration, in order.
fn show(standing: &[Standing]) {
    for one in standing {
        println!("{:<24} {}", one.migration.name, one.applied_at.as_deref().unwrap_or("not applied"));
    }
}
