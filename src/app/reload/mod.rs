//! Another configuration for a running edge: read whole, checked whole, then swapped in at once.
//!
//! Failure stance: where anything is wrong with it, certificates included, everything stays as it was, and the log, the metrics,
//! `/-/ready` and the answer to whoever asked say why. A certificate that has merely expired is no such thing, and is told
//! of loudly: refusing it would hold up what mends something else. What only a restart can change stays as it was, too, and is named.
//! Requests keep what they began with.

mod look;
mod watch;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::tls::{NOTHING_TO_SHOW, Served, shows_nothing, speaks_tls};
use crate::config::{Certificate, Change, Overrides, Problem, Secret, Snapshot, Source, load};
use crate::control::api::{ConfigurationState, Reloaded};
use crate::entry::acme::Acme;
use crate::entry::admin::Control;
use crate::proxy::Services;
use crate::telemetry::metrics::Reload;
use crate::units::Timestamp;
use look::Look;
use watch::{CALM, Watch};

/// Where a configuration comes from.
#[derive(Debug, Clone)]
pub struct Origin {
    pub source: Source,
    pub overrides: Overrides,
    pub triggers: Triggers,
    look: Look,
}

/// What has it read anew, beside whoever asks for that at the admin listener.
#[derive(Debug, Clone, Copy)]
pub struct Triggers {
    /// SIGHUP. Else that signal ends the process, which is what closing a terminal should do.
    pub hangup: bool,
    /// A file that changes.
    pub change: bool,
}

impl Origin {
    /// To be made before the configuration is read for the first time: what changes from then on is a change.
    pub fn new(source: Source, overrides: Overrides, triggers: Triggers) -> Self {
        let look = Look::at(&source);
        Self { source, overrides, triggers, look }
    }
}

/// Reads the configuration anew whenever it is asked to.
pub struct Reloader {
    origin: Origin,
    services: Arc<Services>,
    /// None where no entrypoint speaks TLS.
    tls: Option<Served>,
    acme: Option<Arc<Acme>>,
    standing: ArcSwap<Standing>,
    /// The files as they were when they were last read. Held for as long as one reload takes.
    look: Mutex<Look>,
    /// Whether anything was applied since this was last asked.
    applied: AtomicBool,
}

/// What the edge runs on, and what is wrong with what it should run on.
#[derive(Debug, Clone)]
struct Standing {
    hash: String,
    /// Since when it runs on this.
    since: Timestamp,
    /// What the files say and only a restart brings about.
    restart: Vec<Change>,
    /// Why they were not taken when they were last read; empty where they were.
    problems: Vec<Problem>,
    /// What it does take, and what its clients will not.
    warnings: Vec<Problem>,
}

/// What a reload came to.
#[derive(Debug)]
struct Applied {
    changed: Vec<Change>,
    /// The names of certificates that were not served before.
    certificates: Vec<String>,
}

/// From here on SIGHUP does not end this process. Within a runtime.
pub fn bear_signal() {
    if let Err(error) = signal(SignalKind::hangup()) {
        tracing::warn!(%error, "SIGHUP ends this process");
    }
}

/// Runs until the edge closes its listeners: has the configuration read anew when a file of it changes, and when the operator
/// says so by a signal.
pub async fn run(reloader: Arc<Reloader>) {
    let Triggers { hangup, change } = reloader.origin.triggers;
    let change = change && reloader.look().files().next().is_some(); // those that are built in do not change
    let mut hangup = hangup.then(|| signal(SignalKind::hangup()).ok()).flatten();
    let mut watch = change.then(|| Watch::of(reloader.look()));
    loop {
        let signalled = tokio::select! {
            () = hung_up(&mut hangup) => true,
            () = stirs(&mut watch) => false,
            () = reloader.services.drain.closed() => return,
        };
        let reloader = Arc::clone(&reloader);
        let turn = tokio::task::spawn_blocking(move || {
            let watch = watch.map(|watch| match watch.is_current() {
                true => watch,
                false => Watch::of(Look::at(&reloader.origin.source)),
            });
            // Whatever changes behind this is told of by the watch. What it came to is in the log.
            let _ = if signalled { reloader.reload("SIGHUP").map(Some) } else { reloader.reload_if_changed("a file") };
            watch
        });
        match turn.await {
            Ok(next) => watch = next,
            Err(error) => return tracing::error!(%error, "files are watched no more"),
        }
    }
}

/// Resolves when the signal comes, where it is listened to.
async fn hung_up(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

/// Resolves when a file may have changed, where that is of interest.
async fn stirs(watch: &mut Option<Watch>) {
    match watch {
        Some(watch) => watch.stirs().await,
        None => std::future::pending().await,
    }
}

impl Reloader {
    pub(super) fn new(origin: Origin, services: Arc<Services>, tls: Option<Served>, acme: Option<Arc<Acme>>) -> Self {
        let (snapshot, since) = (services.snapshot.load(), services.clock.now());
        let warnings = untimely(&snapshot, since);
        warn(&warnings);
        let hash = hash_of(&snapshot.shown());
        drop(snapshot);
        let standing = Standing { hash, since, restart: Vec::new(), problems: Vec::new(), warnings };
        Self {
            look: Mutex::new(origin.look.clone()),
            origin,
            services,
            tls,
            acme,
            standing: ArcSwap::from_pointee(standing),
            applied: AtomicBool::new(false),
        }
    }

    /// Whether another configuration was applied since this was last asked.
    pub(super) fn has_applied(&self) -> bool {
        self.applied.swap(false, Ordering::Relaxed)
    }

    /// What is wrong with the configuration on disk, for the operator.
    pub(super) fn problem(&self) -> Option<String> {
        let standing = self.standing.load();
        let first = standing.problems.first()?;
        let more = standing.problems.len() - 1;
        let more = if more > 0 { format!(" (and {more} more)") } else { String::new() };
        Some(format!("the configuration on disk is not served: {first}{more}"))
    }

    /// The files as they were when they were last read.
    fn look(&self) -> Look {
        self.look.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads everything anew. Blocks for as long as that takes. `cause` is for the log.
    fn reload(&self, cause: &str) -> Result<Applied, Vec<Problem>> {
        let mut look = self.look.lock().unwrap_or_else(PoisonError::into_inner);
        *look = Look::at(&self.origin.source);
        self.taken(cause)
    }

    /// The same, where any file is another than when it was last read. None: none is, or one is changing at this moment,
    /// and is left to the next look.
    fn reload_if_changed(&self, cause: &str) -> Result<Option<Applied>, Vec<Problem>> {
        if self.look().is_current() {
            return Ok(None);
        }
        let Some(settled) = Look::settled(&self.origin.source, || std::thread::sleep(CALM)) else {
            tracing::debug!("the files of the configuration are being written");
            return Ok(None);
        };
        let mut look = self.look.lock().unwrap_or_else(PoisonError::into_inner);
        if look.is_current() {
            return Ok(None); // read meanwhile, as somebody else has asked for
        }
        *look = settled;
        self.taken(cause).map(Some)
    }

    fn taken(&self, cause: &str) -> Result<Applied, Vec<Problem>> {
        let outcome = self.read().and_then(|next| self.apply(next));
        let what = match &outcome {
            Ok(Applied { changed, certificates }) if changed.is_empty() && certificates.is_empty() => Reload::Unchanged,
            Ok(_) => Reload::Applied,
            Err(_) => Reload::Refused,
        };
        self.services.metrics.reloaded(what, self.services.clock.now());
        match &outcome {
            Ok(applied) => self.say_applied(cause, applied),
            Err(problems) => {
                let standing = Standing { problems: problems.clone(), ..Standing::clone(&self.standing.load()) };
                self.standing.store(Arc::new(standing));
                let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
                tracing::error!(cause, problems = problems.join("; "), "the configuration is not taken: it is wrong");
            }
        }
        outcome
    }

    fn read(&self) -> Result<Snapshot, Vec<Problem>> {
        let Origin { source, overrides, .. } = &self.origin;
        let next = load(source, overrides, &|name| std::env::var(name).ok());
        next.map_err(|problems| problems.iter().cloned().collect())
    }

    /// What can fail comes first.
    fn apply(&self, wanted: Snapshot) -> Result<Applied, Vec<Problem>> {
        let services = &self.services;
        let now = services.clock.now();
        // Where none is left that speaks TLS, those that do go with the next start, and show what they have until then:
        // what is ordered of CAs stays, too.
        let shown = self.tls.as_ref().filter(|_| wanted.edge.entrypoints.iter().any(speaks_tls));
        if shown.is_some() && shows_nothing(&wanted.edge) {
            return Err(vec![self.problem_of("tls", NOTHING_TO_SHOW.to_owned())]);
        }
        let running = services.snapshot.load_full();
        let (files, warnings) = (wanted.edge.certificates.clone(), untimely(&wanted, now));
        let next = wanted.clone().beside(&running);
        let spoken = self.tls.as_ref().map(|tls| tls.prepare(&next.edge)).transpose();
        let spoken = spoken.map_err(|problem| vec![self.problem_of("tls", problem.to_string())])?;

        let acme = self.acme.as_deref().filter(|_| shown.is_some());
        let ordered = acme.and_then(|acme| Some((acme, acme.prepare(&next.edge.issuers)?)));

        if let (Some(tls), Some(spoken)) = (&self.tls, spoken) {
            tls.speak(spoken);
        }
        let certificates = shown.map_or_else(Vec::new, |tls| tls.show(&files, ordered));
        let (changed, restart) = (next.changes_since(&running), wanted.changes_since(&next));
        let before = self.standing.load();
        let mut standing = Standing { problems: Vec::new(), restart, warnings, ..Standing::clone(&before) };
        if next != *running {
            standing.hash = hash_of(&next.shown());
            standing.since = now;
            services.balancer.adopt(next.edge.upstreams.values(), next.models.asked_for());
            services.snapshot.store(Arc::new(next));
            self.applied.store(true, Ordering::Relaxed);
        }
        if let Some(shown) = shown {
            shown.count(&services.metrics);
        }
        self.standing.store(Arc::new(standing));
        Ok(Applied { changed, certificates })
    }

    fn problem_of(&self, path: &str, message: String) -> Problem {
        let (file, path) = (self.origin.source.name("cfx.yaml"), path.to_owned());
        Problem { file, line: None, column: None, path, message, remedy: None }
    }

    fn say_applied(&self, cause: &str, Applied { changed, certificates }: &Applied) {
        let standing = self.standing.load();
        let paths =
            |changes: &[Change]| changes.iter().map(|change| change.path.clone()).collect::<Vec<_>>().join(", ");
        let (changed, hash) = (paths(changed), &standing.hash);
        match (changed.is_empty(), certificates.is_empty()) {
            (true, true) => tracing::info!(cause, hash, "the configuration was read anew: nothing has changed"),
            _ => {
                let certificates = certificates.join(", ");
                tracing::info!(cause, hash, changed, certificates, "the configuration was read anew");
            }
        }
        if !standing.restart.is_empty() {
            let values = paths(&standing.restart);
            tracing::warn!(values, "what has changed here takes a restart, and stays as it was until then");
        }
        warn(&standing.warnings);
    }
}

/// For the control API.
impl Reloader {
    pub(super) fn state(&self) -> ConfigurationState {
        let standing = self.standing.load();
        ConfigurationState {
            since: standing.since.rfc3339(),
            hash: standing.hash.clone(),
            problems: standing.problems.iter().map(ToString::to_string).collect(),
            warnings: standing.warnings.iter().map(ToString::to_string).collect(),
            restart: standing.restart.iter().map(ToString::to_string).collect(),
        }
    }

    /// Blocks while files are read.
    pub(super) fn reload_for_operator(&self) -> Reloaded {
        match self.reload("POST /api/operator/reload") {
            Ok(Applied { changed, .. }) => {
                Reloaded { ok: true, problems: Vec::new(), changed: changed.iter().map(ToString::to_string).collect() }
            }
            Err(problems) => {
                let problems = problems.iter().map(ToString::to_string).collect();
                Reloaded { ok: false, problems, changed: Vec::new() }
            }
        }
    }

    /// What is shown to TLS clients, and whether a CA was asked for it by this edge.
    pub(super) fn certificates(&self) -> Vec<(Arc<Certificate>, bool)> {
        self.tls.as_ref().map_or_else(Vec::new, Served::listed)
    }
}

impl Control for Reloader {
    fn token(&self) -> Option<Secret> {
        self.services.snapshot.load().edge.admin_token.clone()
    }

    fn reload(&self) -> Result<Value, Vec<Problem>> {
        let Applied { changed, certificates } = Reloader::reload(self, "POST /-/reload")?;
        let standing = self.standing.load();
        Ok(json!({
            "ok": true,
            "changed": changed,
            "certificates": certificates,
            "restart": standing.restart,
            "warnings": standing.warnings,
            "hash": standing.hash,
            "since": standing.since.rfc3339(),
        }))
    }

    fn configuration(&self) -> Value {
        let (standing, snapshot) = (self.standing.load(), self.services.snapshot.load());
        json!({
            "hash": standing.hash,
            "since": standing.since.rfc3339(),
            "restart": standing.restart,
            "problems": standing.problems,
            "warnings": standing.warnings,
            "flags": self.origin.overrides,
            "configuration": snapshot.shown(),
        })
    }
}

/// What is taken and no client takes: certificates that have expired, or whose life has not begun.
pub fn untimely(snapshot: &Snapshot, now: Timestamp) -> Vec<Problem> {
    snapshot.edge.certificates.iter().filter_map(|pair| pair.untimely(now)).collect()
}

fn warn(warnings: &[Problem]) {
    warnings.iter().for_each(|warning| tracing::error!(%warning, "a certificate is served that no client takes"));
}

/// Edges that show the same configuration have the same one. Secrets are no part of it: they could be guessed by it.
fn hash_of(shown: &Value) -> String {
    let digest = Sha256::digest(shown.to_string().as_bytes());
    digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}
