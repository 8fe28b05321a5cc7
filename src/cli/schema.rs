//! `cfx schema`: the shape of the three files, for editors.

use std::path::{Path, PathBuf};

use super::Failure;
use crate::config::schema;

/// Print the JSON Schema of a file, or write all three into a folder
///
/// conf/ has them in conf/schema/, and its files name them in their first lines, where editors look.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Whose schema: that of cfx.yaml, models.yaml or limits.yaml
    #[arg(value_parser = schema::FILES, required_unless_present = "out", conflicts_with = "out")]
    file: Option<String>,
    /// Write cfx.json, models.json and limits.json into this folder
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

pub fn run(args: Args) -> Result<(), Failure> {
    match (&args.out, &args.file) {
        (Some(folder), _) => schema::FILES.into_iter().try_for_each(|file| write(folder, file)),
        (None, file) => {
            say!("{}", text(file.as_deref().unwrap_or_default()).trim_end());
            Ok(())
        }
    }
}

fn write(folder: &Path, file: &str) -> Result<(), Failure> {
    let path = folder.join(format!("{file}.json"));
    let failed = |error| Failure::Failed(format!("cannot write {}: {error}", path.display()));
    std::fs::create_dir_all(folder).and_then(|()| std::fs::write(&path, text(file))).map_err(failed)
}

/// As the shipped files have it.
pub fn text(file: &str) -> String {
    let schema = schema::schema(file).unwrap_or_default();
    format!("{schema:#}\n")
}
