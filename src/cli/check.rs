//! `cfx check`: says offline what is wrong with a configuration, all of it at once.

use std::path::PathBuf;

use serde_json::json;

use super::diff::{self, Before};
use super::{Failure, counted, pepper, store};
use crate::app::reload::untimely;
use crate::clock::{Clock, SystemClock};
use crate::config::{Overrides, Problem, Secret, Snapshot, Source, Transport, load};
use crate::storage::redis;

/// Check the configuration without starting anything; exits with 78 where it is wrong
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The directory of cfx.yaml, models.yaml and limits.yaml
    #[arg(long, env = "CFX_CONF", value_name = "DIR", default_value = "conf")]
    conf: PathBuf,
    /// Print the problems as JSON on standard output
    #[arg(long)]
    json: bool,
    /// Say what it would change of the configuration that an edge runs on (the URL of its admin listener; without a value
    /// the one named here), or of another folder's
    #[arg(long, value_name = "URL|DIR", num_args = 0..=1, default_missing_value = "")]
    diff: Option<String>,
}

pub fn run(args: Args) -> Result<(), Failure> {
    let read = store::from_environment;
    let on_redis = matches!(read(redis::VARIABLE), Ok(Some(_)));
    let source = Source::Directory(args.conf.clone());
    let pepper = pepper::from_environment();
    match checked(&source, &read, &pepper) {
        Ok(snapshot) if args.diff.is_some() => compare(&args, &source, snapshot),
        Ok(snapshot) if args.json => {
            let (warnings, notes) = (warnings(&snapshot, &pepper), notes(&snapshot, on_redis));
            say!("{}", json!({ "ok": true, "problems": [], "warnings": warnings, "notes": notes }));
            Ok(())
        }
        Ok(snapshot) => {
            say!("{}: {}", args.conf.display(), summary(&snapshot));
            for warning in warnings(&snapshot, &pepper) {
                say!("warning: {warning}");
            }
            for note in notes(&snapshot, on_redis) {
                say!("note: {note}");
            }
            Ok(())
        }
        Err(problems) if args.json => {
            say!("{}", json!({ "ok": false, "problems": problems }));
            Err(Failure::Configuration(counted(problems.len(), "problem")))
        }
        Err(problems) => {
            let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
            Err(Failure::Configuration(lines.join("\n")))
        }
    }
}

/// Prints what `--diff` asks for.
fn compare(args: &Args, source: &Source, mut snapshot: Snapshot) -> Result<(), Failure> {
    let named = args.diff.clone().filter(|named| !named.is_empty());
    let before = named.unwrap_or_else(|| format!("http://{}", snapshot.edge.admin));
    let changes = match Before::parse(&before) {
        Before::Edge(edge) => {
            let running = diff::ask(&edge, snapshot.edge.admin_token.as_ref().map(Secret::expose))?;
            // What stands above its files there stands above these, too.
            snapshot = load(source, &running.flags, &|name| std::env::var(name).ok())
                .map_err(|problems| Failure::Configuration(problems.to_string()))?;
            running.changes_to(&snapshot)
        }
        Before::Folder(folder) => diff::between(folder, &snapshot)?,
    };
    if args.json {
        let (restart, at_once): (Vec<_>, Vec<_>) = changes.iter().partition(|change| change.takes_restart());
        say!("{}", json!({ "ok": true, "changed": at_once, "restart": restart }));
        return Ok(());
    }
    if changes.is_empty() {
        say!("nothing differs from {before}, values of secrets aside");
    }
    for change in &changes {
        say!("{change}{}", if change.takes_restart() { " (takes a restart)" } else { "" });
    }
    Ok(())
}

/// The configuration, with what a start would find out only afterwards held against it too. `read`: the variables that
/// name stores.
fn checked(
    source: &Source,
    read: &dyn Fn(&str) -> Result<Option<String>, Failure>,
    pepper: &Result<Option<Secret>, Failure>,
) -> Result<Snapshot, Vec<Problem>> {
    let loaded = load(source, &Overrides::default(), &|name| std::env::var(name).ok());
    let (mut problems, snapshot) = match loaded {
        Ok(snapshot) => (Vec::new(), Some(snapshot)),
        Err(problems) => (problems.iter().cloned().collect(), None),
    };
    let of_pepper = pepper.as_ref().err().map(ToString::to_string);
    problems.extend(store::problems(read).into_iter().chain(of_pepper).map(in_the_environment));
    match snapshot {
        Some(snapshot) if problems.is_empty() => Ok(snapshot),
        _ => Err(problems),
    }
}

fn in_the_environment(message: String) -> Problem {
    Problem { file: "environment".to_owned(), line: None, column: None, path: String::new(), message, remedy: None }
}

fn summary(snapshot: &Snapshot) -> String {
    let Snapshot { edge, models, limits } = snapshot;
    format!(
        "good: {}, {}, {}, {}, {} a day per user",
        counted(edge.entrypoints.len(), "entrypoint"),
        counted(edge.upstreams.len(), "upstream"),
        counted(edge.routes.len(), "route"),
        counted(models.aliases.len(), "model"),
        counted(limits.daily_requests, "request"),
    )
}

/// What `cfx run` would be started with all the same, or be refused for if it had no more of an environment than this: a
/// configuration is mostly checked where its secrets are not.
fn warnings(snapshot: &Snapshot, pepper: &Result<Option<Secret>, Failure>) -> Vec<Problem> {
    let mut warnings = untimely(snapshot, SystemClock.now());
    if matches!(pepper, Ok(None)) {
        let message = "is not set here, and cfx run does not start without it (cfx dev makes its own)";
        warnings.push(in_the_environment(format!("{} {message}", pepper::VARIABLE)));
    }
    let tls = snapshot.edge.entrypoints.iter().find(|entrypoint| matches!(entrypoint.transport, Transport::Tls { .. }));
    if let (Some(tls), true) = (tls, snapshot.edge.certificates.is_empty() && snapshot.edge.issuers.is_empty()) {
        warnings.push(without_certificate(&tls.name));
    }
    warnings
}

fn without_certificate(entrypoint: &str) -> Problem {
    Problem {
        file: "cfx.yaml".to_owned(),
        line: None,
        column: None,
        path: format!("entrypoints.{entrypoint}"),
        message: "has no certificate, and cfx run does not start without one (cfx dev makes its own)".to_owned(),
        remedy: Some("name a pair under tls.certificates, or a CA under tls.acme".to_owned()),
    }
}

/// What is no mistake, but may not be what the operator has in mind.
fn notes(snapshot: &Snapshot, on_redis: bool) -> Vec<String> {
    let (streams, requests) = (snapshot.limits.concurrent_streams, snapshot.limits.concurrent_requests);
    vec![match on_redis {
        true => format!(
            "Redis counts the {streams} streams per user on all edges together; the cap of {requests} requests under \
             way per user is per edge all the same"
        ),
        false => format!(
            "without Redis the cap of {streams} streams per user is per edge: behind several edges a user may have \
             {streams} on each"
        ),
    }]
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn check(directory: &str, json: bool) -> Result<(), Failure> {
        run(Args { conf: Path::new(env!("CARGO_MANIFEST_DIR")).join(directory), json, diff: None })
    }

    #[test]
    fn the_shipped_configuration_passes() {
        check("conf", false).unwrap();
        check("conf", true).unwrap();
    }

    #[test]
    fn what_there_is_one_of_is_not_spoken_of_as_several() {
        let root = tempfile::tempdir().unwrap();
        let edge = "upstreams: { a: { targets: [\"http://a\"] } }\nroutes: [{ match: { path: /v1/ }, llm: a }]\n\
                    entrypoints: { http: { address: \"127.0.0.1:80\" } }\n";
        let models =
            "models: { m: {}, n: {} }\nstages: { plan: { model: m }, code: { model: m }, review: { model: m } }\n";
        std::fs::write(root.path().join("cfx.yaml"), edge).unwrap();
        std::fs::write(root.path().join("models.yaml"), models).unwrap();
        std::fs::write(root.path().join("limits.yaml"), "daily_requests: 1\n").unwrap();
        let snapshot = checked(&Source::Directory(root.path().to_owned()), &|_| Ok(None), &Ok(None)).unwrap();
        let said = "good: 1 entrypoint, 1 upstream, 1 route, 2 models, 1 request a day per user";
        assert_eq!(summary(&snapshot), said);
    }

    #[test]
    fn an_https_entrypoint_without_a_certificate_is_a_warning_for_a_start_needs_one() {
        let root = tempfile::tempdir().unwrap();
        let checked = |entrypoints: &str| {
            let edge = format!(
                "upstreams: {{ a: {{ targets: [\"http://a\"] }} }}\nroutes: [{{ match: {{ path: /v1/ }}, llm: a }}]\n\
                 entrypoints: {{ {entrypoints} }}\n"
            );
            let models =
                "models: { m: {} }\nstages: { plan: { model: m }, code: { model: m }, review: { model: m } }\n";
            std::fs::write(root.path().join("cfx.yaml"), edge).unwrap();
            std::fs::write(root.path().join("models.yaml"), models).unwrap();
            let pepper = Ok(Some(Secret::new("a pepper that is long enough".to_owned())));
            let snapshot = checked(&Source::Directory(root.path().to_owned()), &|_| Ok(None), &pepper).unwrap();
            assert!(notes(&snapshot, false).iter().all(|note| !note.contains("certificate")));
            warnings(&snapshot, &pepper).iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(checked("http: { address: \"127.0.0.1:80\" }"), [""; 0]);
        let said = checked("web: { address: \"127.0.0.1:443\", tls: true }");
        let wanted = "cfx.yaml entrypoints.web: has no certificate, and cfx run does not start without one";
        assert!(said.len() == 1 && said[0].starts_with(wanted), "{said:?}");
    }

    #[test]
    fn a_certificate_that_has_expired_is_a_warning_and_no_mistake() {
        let root = tempfile::tempdir().unwrap();
        let conf = root.path().join("conf");
        std::fs::create_dir(&conf).unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec!["cfx.test".to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(2020, 1, 1);
        std::fs::write(root.path().join("old.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
        std::fs::write(root.path().join("old.key"), key.serialize_pem()).unwrap();
        let edge = "upstreams: { a: { targets: [\"http://a\"] } }\nroutes: [{ match: { path: /v1/ }, llm: a }]\n\
                    tls: { certificates: [{ cert: old.pem, key: old.key }] }\n";
        let models = "models: { m: {} }\nstages: { plan: { model: m }, code: { model: m }, review: { model: m } }\n";
        std::fs::write(conf.join("cfx.yaml"), edge).unwrap();
        std::fs::write(conf.join("models.yaml"), models).unwrap();
        let snapshot = checked(&Source::Directory(conf.clone()), &|_| Ok(None), &Ok(None)).unwrap();
        let warnings = untimely(&snapshot, SystemClock.now());
        let text = warnings[0].to_string();
        assert!(
            text.contains("cfx.yaml:3:31 tls.certificates[0].cert: ") && text.contains("old.pem expired at 2020-01-01"),
            "{text}"
        );
        assert_eq!(warnings.len(), 1);
        run(Args { conf: conf.clone(), json: false, diff: None }).unwrap();
        run(Args { conf, json: true, diff: None }).unwrap();
    }

    #[test]
    fn the_urls_of_stores_are_looked_at_and_a_redis_changes_what_is_noted() {
        let conf = Source::Directory(Path::new(env!("CARGO_MANIFEST_DIR")).join("conf"));
        let with = |variables: &'static [(&'static str, &'static str)]| {
            let value = move |name: &str| variables.iter().find(|(known, _)| *known == name);
            checked(&conf, &|name| Ok(value(name).map(|(_, value)| (*value).to_owned())), &Ok(None))
        };
        let wrong = [
            (&[("REDIS_URL", "http://:secret@cache")][..], &["REDIS_URL is no address"][..]),
            (&[("DATABASE_URL", "mysql://cfx:secret@db/cfx")], &["DATABASE_URL does not begin with postgres://"]),
            (&[("DATABASE_URL", "postgres://cfx:secret@db:secret/cfx")], &["DATABASE_URL cannot be read"]),
            (&[("DIRECT_DATABASE_URL", "postgres://cfx:secret@db/cfx")], &["DIRECT_DATABASE_URL is set, but"]),
            (
                &[("DATABASE_URL", "postgres://cfx@db/cfx"), ("DIRECT_DATABASE_URL", "cfx:secret@db/cfx")],
                &["DIRECT_DATABASE_URL does not begin with"],
            ),
            (
                &[("DATABASE_URL", "secret"), ("DIRECT_DATABASE_URL", "secret"), ("REDIS_URL", "secret")],
                &["DATABASE_URL does not begin", "DIRECT_DATABASE_URL does not begin", "REDIS_URL is no address"],
            ),
        ];
        for (variables, wanted) in wrong {
            let problems: Vec<_> = with(variables).unwrap_err().iter().map(ToString::to_string).collect();
            assert_eq!(problems.len(), wanted.len(), "{problems:?}");
            for (problem, wanted) in problems.iter().zip(wanted) {
                assert!(problem.starts_with(&format!("environment: {wanted}")), "{problem}");
                assert!(!problem.contains("secret"), "{problem}");
            }
        }
        let snapshot =
            with(&[("REDIS_URL", "redis://cache"), ("DATABASE_URL", "postgres://cfx:secret@db/cfx")]).unwrap();
        assert!(notes(&snapshot, true)[0].contains("on all edges together"));
        assert!(notes(&snapshot, false)[0].contains("without Redis"));
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
