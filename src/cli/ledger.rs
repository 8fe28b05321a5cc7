//! `cfx ledger`: what the data folder's spool holds. Works beside a running edge, and changes nothing.
#![expect(clippy::print_stdout, reason = "a command's output is its purpose")]

use std::path::Path;

use clap::{Args, Subcommand};
use serde_json::json;

use crate::cli::store::DataArgs;
use crate::cli::{Failure, counted};
use crate::ledger::{self, FolderStatus, SpoolStatus};

#[derive(Debug, Args)]
pub struct LedgerArgs {
    #[command(subcommand)]
    pub command: LedgerCommand,
}

#[derive(Debug, Subcommand)]
pub enum LedgerCommand {
    /// What waits for the store, how much of the disk it takes, and what was set aside
    Status {
        /// Print JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        data: DataArgs,
    },
}

pub fn run(args: LedgerArgs) -> Result<(), Failure> {
    match args.command {
        LedgerCommand::Status { json, data } => show(data.folder(), json),
    }
}

fn show(data: &Path, as_json: bool) -> Result<(), Failure> {
    if !data.is_dir() {
        return Err(Failure::Failed(format!(
            "there is no data folder at {}: name the right one with --data (CFX_DATA)",
            data.display()
        )));
    }
    let found = ledger::status(&data.join("spool")).map_err(|problem| Failure::Failed(problem.to_string()))?;
    match as_json {
        true => say!("{}", as_value(&found)),
        false => print!("{}", as_text(&found)),
    }
    Ok(())
}

fn as_text(found: &SpoolStatus) -> String {
    let mut text = String::new();
    if found.folders.is_empty() {
        text += "no edge has kept a ledger here\n";
    }
    for folder in &found.folders {
        let holder = if folder.held { "in use" } else { "no process; the next start takes it over" };
        text += &format!("edge {} ({holder})\n", folder.edge.0);
        text += &format!("  {}, {}\n", counted(folder.segments, "segment"), counted(folder.bytes, "byte"));
        let oldest = folder.oldest.map(|oldest| format!(", the oldest since {}", oldest.rfc3339())).unwrap_or_default();
        let (rows, open) = (counted(folder.waiting, "row"), counted(folder.open, "request"));
        text += &format!("  waiting for the store: {rows}; still without an end: {open}{oldest}\n");
        if folder.damaged > 0 && !folder.held {
            let damaged = counted(folder.damaged, "damaged segment");
            text += &format!("  {damaged}: cut and reported by the next start\n");
        }
    }
    let set_aside = found.quarantine;
    text += &format!(
        "quarantine: {} that the store refused, {} of segments ({} in {})\n",
        counted(set_aside.rows, "row"),
        counted(set_aside.cuts, "end"),
        counted(set_aside.bytes, "byte"),
        found.quarantine_path.display()
    );
    text
}

fn as_value(found: &SpoolStatus) -> serde_json::Value {
    let folder = |folder: &FolderStatus| {
        json!({
            "edge": folder.edge.0.to_string(),
            "path": folder.path.display().to_string(),
            "in_use": folder.held,
            "segments": folder.segments,
            "bytes": folder.bytes,
            "waiting": folder.waiting,
            "open": folder.open,
            "oldest": folder.oldest.map(|oldest| oldest.rfc3339_micros()),
            "damaged": folder.damaged,
        })
    };
    json!({
        "edges": found.folders.iter().map(folder).collect::<Vec<_>>(),
        "quarantine": {
            "path": found.quarantine_path.display().to_string(),
            "rows": found.quarantine.rows,
            "cuts": found.quarantine.cuts,
            "bytes": found.quarantine.bytes,
        },
    })
}
