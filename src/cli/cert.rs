//! `cfx cert`: the certificates of an installation, from its files. Works beside a running edge and without one.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, Subcommand};
use serde_json::json;

use super::Failure;
use super::serve;
use crate::clock::{Clock, SystemClock};
use crate::config::{Overrides, Snapshot, Source};
use crate::entry::acme::{Book, Domain};
use crate::units::Timestamp;

#[derive(Debug, Args)]
pub struct CertArgs {
    #[command(subcommand)]
    pub command: CertCommand,
}

#[derive(Debug, Subcommand)]
pub enum CertCommand {
    /// Each certificate: where it comes from, when it expires, and when another is ordered
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        places: Places,
    },
    /// Have the running edge order certificates from their CA now, whatever the plan says
    Renew {
        /// For these domains only
        domains: Vec<String>,
        #[command(flatten)]
        places: Places,
    },
}

#[derive(Debug, Args)]
pub struct Places {
    /// The directory of cfx.yaml
    #[arg(long, value_name = "DIR", env = "CFX_CONF", default_value = "conf")]
    conf: PathBuf,
    /// The data folder, which holds what CAs have issued
    #[arg(long, value_name = "DIR", env = "CFX_DATA", default_value = "data")]
    data: PathBuf,
}

/// One certificate, or one that there should be.
struct Row {
    name: String,
    from: String,
    expires: Option<Timestamp>,
    /// None: it is not ordered by us.
    ordered: Option<Timestamp>,
    problem: Option<String>,
}

pub fn run(args: CertArgs) -> Result<(), Failure> {
    match args.command {
        CertCommand::List { json, places } => list(json, &places),
        CertCommand::Renew { domains, places } => renew(&domains, &places),
    }
}

fn list(as_json: bool, places: &Places) -> Result<(), Failure> {
    let (snapshot, book) = open(places)?;
    let now = SystemClock.now();
    let files = snapshot.edge.certificates.iter().map(|pair| Row {
        name: pair.certificate.names.join(", "),
        from: pair.files.cert.display().to_string(),
        expires: Some(pair.certificate.expires),
        ordered: None,
        problem: pair.untimely(now).map(|problem| problem.message),
    });
    let rows: Vec<Row> = files.chain(book.domains().iter().map(|domain| of_ca(domain))).collect();
    match as_json {
        true => say!("{}", rows.iter().map(as_value).collect::<serde_json::Value>()),
        false => say!("{}", as_text(&rows, now)),
    }
    Ok(())
}

fn of_ca(domain: &Domain) -> Row {
    let standing = domain.standing();
    let failed = standing.problem.map(|problem| match standing.failures {
        1 => format!("the last order failed: {problem}"),
        failures => format!("the last {failures} orders failed: {problem}"),
    });
    let problems: Vec<String> = standing.unread.into_iter().chain(failed).collect();
    Row {
        name: domain.name.clone(),
        from: domain.directory().to_owned(),
        expires: standing.certificate.map(|served| served.expires),
        ordered: Some(standing.due),
        problem: (!problems.is_empty()).then(|| problems.join("; ")),
    }
}

fn as_value(row: &Row) -> serde_json::Value {
    json!({
        "name": row.name,
        "from": row.from,
        "expires": row.expires.map(Timestamp::rfc3339),
        "next_order": row.ordered.map(Timestamp::rfc3339),
        "problem": row.problem,
    })
}

fn as_text(rows: &[Row], now: Timestamp) -> String {
    if rows.is_empty() {
        return "no certificate is configured: name one under tls.certificates or tls.acme in cfx.yaml".to_owned();
    }
    let mut text = String::new();
    for row in rows {
        let expires = row.expires.map_or_else(|| "none yet".to_owned(), |at| format!("expires {}", at.rfc3339()));
        let _ = write!(text, "{}\n  {}, {expires}", row.name, row.from);
        match row.ordered {
            Some(at) if at.0 <= now.0 => text += ", ordered next: now",
            Some(at) => text += &format!(", ordered next: {}", at.rfc3339()),
            None => {}
        }
        text.push('\n');
        if let Some(problem) = &row.problem {
            let _ = writeln!(text, "  {problem}");
        }
    }
    text.trim_end().to_owned()
}

fn renew(domains: &[String], places: &Places) -> Result<(), Failure> {
    let (_, book) = open(places)?;
    let known: Vec<&Arc<Domain>> = book.domains().iter().collect();
    let wanted = |domain: &&&Arc<Domain>| domains.is_empty() || domains.iter().any(|name| *name == domain.name);
    if let Some(name) = domains.iter().find(|name| known.iter().all(|domain| domain.name != **name)) {
        return Err(Failure::Failed(format!("{name} is not ordered from a CA: tls.acme in cfx.yaml does not name it")));
    }
    if known.is_empty() {
        return Err(Failure::Failed("nothing is ordered from a CA: cfx.yaml has no tls.acme".to_owned()));
    }
    for domain in known.iter().filter(wanted) {
        domain.ask_for().map_err(|problem| Failure::Failed(problem.to_string()))?;
        say!("{}: a certificate is ordered within seconds where cfx runs, else when it starts", domain.name);
    }
    Ok(())
}

fn open(places: &Places) -> Result<(Snapshot, Book), Failure> {
    let snapshot = serve::load(&Source::Directory(places.conf.clone()), &Overrides::default())?;
    let book = Book::open(&places.data, &snapshot.edge.issuers, &Book::default(), SystemClock.now());
    Ok((snapshot, book))
}
