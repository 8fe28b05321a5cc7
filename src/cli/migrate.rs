//! `cfx migrate`: brings the database to this version's form.

use clap::Args;

use crate::app::stores::StoreChoice;
use crate::cli::Failure;
use crate::cli::store::{DataArgs, make_folder, wait};
use crate::storage::Standing;

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
    wait(migrate(args))
}

async fn migrate(args: MigrateArgs) -> Result<(), Failure> {
    let store = args.data.store()?;
    if args.status {
        show(&store.status().await?);
        return Ok(());
    }
    let (done, names): (_, Vec<_>) = if args.dry_run {
        let missing = store.status().await?.into_iter().filter(|one| one.applied_at.is_none());
        ("would apply", missing.map(|one| one.migration.name).collect())
    } else {
        if let StoreChoice::Embedded(_) = &store {
            make_folder(args.data.folder())?;
        }
        ("applied", store.migrate().await?.into_iter().map(|migration| migration.name).collect())
    };
    for name in &names {
        say!("{done} {name}");
    }
    if names.is_empty() {
        say!("{} is up to date", store.place());
    }
    Ok(())
}

/// One line a migration, in order.
fn show(standing: &[Standing]) {
    for one in standing {
        say!("{:<24} {}", one.migration.name, one.applied_at.as_deref().unwrap_or("not applied"));
    }
}
