//! Word to whoever started this process and watches over it, where `NOTIFY_SOCKET` names them: systemd, with
//! `Type=notify`. Elsewhere nothing is said.

use sd_notify::NotifyState;

/// Every public listener accepts. The process that says so last is the service's own: after a take-over it is the new one.
pub fn ready() {
    tell(&[NotifyState::MainPid(std::process::id()), NotifyState::Ready]);
}

pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the supervisor at NOTIFY_SOCKET was not told how this process is");
    }
}
