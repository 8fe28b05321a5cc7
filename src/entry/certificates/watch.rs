//! A look at the files now and then, for those that nobody says have changed.

use std::sync::Arc;
use std::time::Duration;

use super::{Certificates, Look};
use crate::clock::Clock;
use crate::telemetry::metrics::Metrics;
use crate::units::Timestamp;

/// What asks the system for nothing but the times of files.
const EVERY: Duration = Duration::from_secs(60);

/// Looks at the files for as long as the process lives.
pub async fn watch(certificates: Arc<Certificates>, clock: Arc<dyn Clock>, metrics: Arc<Metrics>) {
    let mut before = clock.now();
    loop {
        tokio::time::sleep(EVERY).await;
        let now = clock.now();
        let files = Arc::clone(&certificates);
        match tokio::task::spawn_blocking(move || files.look()).await {
            Ok(look) => tell(&look, now, &metrics),
            Err(error) => tracing::error!(%error, "the files of certificates were not looked at"),
        }
        tell_expired(&certificates, before, now);
        show(&certificates, &metrics);
        before = now;
    }
}

/// Brings the metrics up to what is shown now.
pub fn show(certificates: &Certificates, metrics: &Metrics) {
    let expiries = certificates.expiries();
    metrics.set_certificates(expiries.iter().map(|(name, expiry)| (name.as_str(), *expiry)));
}

fn tell(look: &Look, now: Timestamp, metrics: &Metrics) {
    for read in &look.changed {
        let (name, expires) = (read.label(), read.expires.rfc3339());
        if read.expires <= now {
            tracing::error!(name, expires, "a certificate was read anew, and has expired");
        } else if read.is_early(now) {
            let begins = read.begins.rfc3339();
            tracing::error!(name, begins, "a certificate was read anew, and is not valid yet");
        } else {
            tracing::info!(name, expires, "a certificate was read anew");
        }
    }
    for problem in &look.problems {
        metrics.certificate_unreadable();
        tracing::error!(%problem, "a certificate has changed and cannot be served; the one before goes on");
    }
}

fn tell_expired(certificates: &Certificates, before: Timestamp, now: Timestamp) {
    for served in certificates.table().all().iter().filter(|served| before < served.expires && served.expires <= now) {
        tracing::error!(name = served.label(), "a certificate that is served has expired");
    }
}
