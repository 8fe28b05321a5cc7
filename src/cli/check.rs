//! `cfx check`: says offline what is wrong with a configuration, all of it at once.
#![expect(clippy::print_stdout, reason = "a command's output is its purpose")]

use std::path::PathBuf;

use serde_json::json;

use super::Failure;
use crate::config::{Overrides, Problems, Snapshot, Source, Transport, load};

/// Check the configuration without starting anything; exits with 78 where it is wrong
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The directory of cfx.yaml, models.yaml and limits.yaml
    #[arg(long, env = "CFX_CONF", value_name = "DIR", default_value = "conf")]
    conf: PathBuf,
    /// Print the problems as JSON on standard output
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args) -> Result<(), Failure> {
    let source = Source::Directory(args.conf.clone());
    match load(&source, &Overrides::default(), &|name| std::env::var(name).ok()) {
        Ok(snapshot) if args.json => {
            println!("{}", json!({ "ok": true, "problems": [], "notes": notes(&snapshot) }));
            Ok(())
        }
        Ok(snapshot) => {
            println!("{}: {}", args.conf.display(), summary(&snapshot));
            for note in notes(&snapshot) {
                println!("note: {note}");
            }
            Ok(())
        }
        Err(problems) if args.json => {
            println!("{}", json!({ "ok": false, "problems": problems.iter().collect::<Vec<_>>() }));
            Err(Failure::Configuration(count(&problems)))
        }
        Err(problems) => Err(Failure::Configuration(problems.to_string())),
    }
}

fn count(problems: &Problems) -> String {
    match problems.iter().len() {
        1 => "1 problem".to_owned(),
        several => format!("{several} problems"),
    }
}

fn summary(snapshot: &Snapshot) -> String {
    let Snapshot { edge, models, limits } = snapshot;
    format!(
        "good: {} entrypoints, {} upstreams, {} routes, {} models, {} requests a day per user",
        edge.entrypoints.len(),
        edge.upstreams.len(),
        edge.routes.len(),
        models.aliases.len(),
        limits.daily_requests,
    )
}

/// What is no mistake, but may not be what the operator has in mind.
fn notes(snapshot: &Snapshot) -> Vec<String> {
    let streams = snapshot.limits.concurrent_streams;
    let mut notes = vec![format!(
        "without Redis the cap of {streams} streams per user is per edge: behind several edges a user may have \
         {streams} on each"
    )];
    let tls = snapshot.edge.entrypoints.iter().find(|entrypoint| matches!(entrypoint.transport, Transport::Tls { .. }));
    if let (Some(tls), true) = (tls, snapshot.edge.certificates.is_empty()) {
        notes.push(format!(
            "entrypoint {:?} has no certificate: cfx run needs one under tls.certificates (cfx dev makes its own)",
            tls.name
        ));
    }
    notes
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn check(directory: &str, json: bool) -> Result<(), Failure> {
        run(Args { conf: Path::new(env!("CARGO_MANIFEST_DIR")).join(directory), json })
    }

    #[test]
    fn the_shipped_configuration_passes() {
        check("conf", false).unwrap();
        check("conf", true).unwrap();
    }

    #[test]
    fn every_problem_is_a_line_and_the_exit_code_is_78() {
        let failure = check("tests/fixtures/ten_mistakes", false).unwrap_err();
        assert_eq!(failure.exit_code(), 78);
        assert_eq!(failure.to_string().lines().count(), 10, "{failure}");
        let failure = check("tests/fixtures/ten_mistakes", true).unwrap_err();
        assert_eq!((failure.exit_code(), failure.to_string().as_str()), (78, "10 problems"));
    }
}
