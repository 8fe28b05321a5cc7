//! Word of files that change, and a look at them every few seconds for what nobody tells of.
//!
//! The kernel tells of changes in a folder and of writes to a file. It does not where a link in the middle of the way is
//! turned, where a disk of the network is written to elsewhere, or where it has no room for another watch.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, EventKind};
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc::{self, Receiver};
use tokio::time::{Instant, sleep, timeout};

use super::look::Look;

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(3);
/// Who writes several files, or one in several steps, is done after so long a silence. Nobody tells of some writes: files
/// are the same before and behind it, or are not read.
pub(super) const CALM: Duration = Duration::from_millis(200);
/// Who is never silent is not waited for any longer before the files themselves are looked at.
const MOST_CALM: Duration = Duration::from_secs(2);

/// Ends with this.
pub(super) struct Watch {
    look: Look,
    told: Receiver<()>,
    /// None where the system has no room for another: then only looks find anything.
    _watcher: Option<RecommendedWatcher>,
}

impl Watch {
    /// Watches the files and the folders that they are in. Of a file that is replaced the old one would be watched
    /// further, so this is to be made anew after each change.
    pub(super) fn of(look: Look) -> Self {
        let (teller, told) = mpsc::channel(1);
        let tell = move |event: notify::Result<Event>| {
            if event.is_ok_and(|event| changes(&event.kind)) {
                let _ = teller.try_send(()); // one that was not heard yet is enough
            }
        };
        let watcher = match notify::recommended_watcher(tell) {
            Ok(mut watcher) => {
                let folders = look.files().filter_map(Path::parent);
                for place in look.files().chain(folders).collect::<BTreeSet<_>>() {
                    // Some are not there, and what there is may be more than the system lets a process watch.
                    if let Err(error) = watcher.watch(place, RecursiveMode::NonRecursive) {
                        tracing::debug!(place = %place.display(), %error, "looked at every few seconds only");
                    }
                }
                Some(watcher)
            }
            Err(error) => {
                tracing::debug!(%error, "files are looked at every few seconds only");
                None
            }
        };
        Self { look, told, _watcher: watcher }
    }

    /// Whether it still watches what there is.
    pub(super) fn is_current(&self) -> bool {
        self.look.is_current()
    }

    /// Resolves when something may have changed. Safe to drop and call again.
    pub(super) async fn stirs(&mut self) {
        match timeout(LOOK_EVERY, self.told.recv()).await {
            Ok(Some(())) => {}
            Ok(None) => sleep(LOOK_EVERY).await, // nobody tells
            Err(_look) => return,
        }
        let begun = Instant::now();
        while begun.elapsed() < MOST_CALM && timeout(CALM, self.told.recv()).await.is_ok_and(|told| told.is_some()) {}
    }
}

/// Reading a file is an event, too, and ours among them.
fn changes(kind: &EventKind) -> bool {
    !matches!(kind, EventKind::Access(access) if *access != AccessKind::Close(AccessMode::Write))
}
