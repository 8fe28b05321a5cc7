//! The three YAML files of `conf/`, checked into one [`Snapshot`].
//!
//! Owns: the files' shape, their defaults, `${ENV}` interpolation, what they name (prompts, users, certificates) as far as
//! it is read with them, and every message about a mistake in them.
//! Must not know: requests, sockets, stores. What leaves this room is checked; raw types never do.
//!
//! A file goes three steps: `raw` makes it a tree that knows lines and columns, `check` reads the tree into the types
//! of `snapshot`, and whatever is wrong on the way is a [`Problem`]. No step stops at the first one.

mod certificate;
mod change;
mod check;
mod edits;
mod files;
mod guards;
mod identity;
mod normal_path;
mod problem;
mod raw;
mod route_guards;
mod routes;
pub mod schema;
mod schema_routes;
mod shown;
mod shown_route;
mod snapshot;
mod source;
mod stamp;
mod target;
mod telemetry;
mod timeouts;
mod tls;
mod watching;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use certificate::{Certificate, CertificatePair, CertificateProblem};
pub use change::{Change, changes};
pub use edits::{Compress, Edits, ErrorPage, Fixed, HeaderEdits, Page, PathEdits, Pattern, Redirect, Rewrite, Sticky};
pub use files::files;
pub use guards::{ClientHeader, EncodedSlash, Guards, Underscores};
pub use identity::{Identity, Registration, Supabase};
pub use normal_path::{matched_path, normal_path};
pub use problem::{Mark, Place, Problem, Problems};
pub use route_guards::{BasicAuth, Cors, ForwardAuth, Hash, Maintenance, Rate, RouteGuards, User};
pub use routes::{Action, Asked, HostPattern, Matching, Miss, PathPattern, Route, ValuePattern};
pub use snapshot::*;
pub use source::Source;
pub use stamp::Stamp;
pub use target::{Http2, Target};
pub use telemetry::{Telemetry, Traces};
pub use timeouts::{CommitAfter, TimeoutOverrides, Timeouts};
pub use tls::{Challenge, ClientCertificates, ExternalAccount, Issuer, TlsVersion};
pub use watching::{Breaker, Health};

use problem::{Checked, Report};
use raw::Node;

/// What the command line puts in the place of what the files say. The default changes nothing.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Overrides {
    /// The address of the first plain entrypoint, which is added where the file has none.
    pub http: Option<SocketAddr>,
    /// The address of the first TLS entrypoint, likewise. Redirects to it follow.
    pub https: Option<SocketAddr>,
    pub admin: Option<SocketAddr>,
    /// The only target of every upstream that llm routes use.
    pub upstream_url: Option<String>,
    /// Whether plain entrypoints redirect to the first TLS one.
    pub redirect: Option<bool>,
    /// Whether the route that catches everything else leads to the built-in dashboard, and `/api/`, where no route has it,
    /// to the control API.
    pub dashboard: bool,
    /// The longest that open streams may go on after a stop was asked for, which then waits for nobody to notice.
    pub most_grace: Option<Duration>,
    /// Served where the file names no certificate.
    pub self_signed: Option<CertificateFiles>,
}

/// Reads and checks the whole configuration. `env` looks an environment variable up; None is unset.
///
/// The error holds every problem of every file. `limits.yaml` may be absent; the other two may not.
pub fn load(
    source: &Source,
    overrides: &Overrides,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Snapshot, Problems> {
    if let Source::Directory(directory) = source
        && !directory.is_dir()
    {
        let report = Report::new(directory.display().to_string());
        let reported = report.add(None, "", "no such directory", Some("name yours with --conf DIR".to_owned()));
        return Err(Problems::of([report], reported));
    }
    let reports = ["cfx.yaml", "models.yaml", "limits.yaml"].map(|file| Report::new(source.name(file)));
    let command_line = Report::new("command line");
    let [in_edge, in_models, in_limits] = &reports;
    let edge = tree(source, "cfx.yaml", env, in_edge)
        .and_then(|node| check::edge(&node, in_edge, source))
        .and_then(|edge| check::overridden(edge, overrides, &command_line));
    let models = tree(source, "models.yaml", env, in_models).and_then(|node| check::models(&node, in_models, source));
    let limits = tree(source, "limits.yaml", env, in_limits).and_then(|node| check::limits(&node, in_limits));
    let snapshot = || Ok(Snapshot { edge: Arc::new(edge?), models: Arc::new(models?), limits: Arc::new(limits?) });
    // An unknown key leaves every value sound and is a problem all the same.
    let sound = reports.iter().chain([&command_line]).try_for_each(Report::sound);
    sound
        .and_then(|()| snapshot())
        .map_err(|reported| Problems::of(reports.into_iter().chain([command_line]), reported))
}

/// The tree of one file, with its variables filled in.
fn tree(source: &Source, file: &str, env: raw::Environment, report: &Report) -> Checked<Node> {
    let text = match source.read(file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound && file == "limits.yaml" => String::new(),
        Err(error) => return Err(report.add(None, "", format!("cannot be read: {error}"), None)),
    };
    let mut root = raw::parse(&text).map_err(|syntax| report.add(Some(syntax.mark), "", syntax.message, None))?;
    raw::settle(&mut root, "", env, report);
    Ok(root)
}
