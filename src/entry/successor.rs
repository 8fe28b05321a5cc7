//! SIGUSR2: this process starts the program that is now in its own program's place, with its own arguments, to take
//! over from it. What the supervisor started may so be replaced from within its group.

use std::ffi::{OsStr, OsString};
use std::process::{Command, ExitStatus};

use tokio::signal::unix::{SignalKind, signal};

use super::drain::Drain;
use super::handover::giver;

/// What the new process is told beside this one's arguments.
pub const TAKE_OVER: &str = "--take-over";

/// From here on the signal does not end this process, which is what it does to one that has not asked for it. One that
/// comes before [`start_on_signal`] starts nothing. Within a runtime.
pub fn bear_signal() {
    if let Err(error) = signal(SignalKind::user_defined2()) {
        tracing::warn!(%error, "SIGUSR2 ends this process");
    }
}

/// Starts a successor at each signal, one at a time, until one has taken over. One that has neither done so nor ended for
/// as long as another has to wait for its turn ([`giver::PATIENCE`]) is left to itself at the next signal.
pub async fn start_on_signal(drain: &Drain) {
    let Ok(mut signal) = signal(SignalKind::user_defined2()) else {
        tracing::warn!("SIGUSR2 cannot be received; an upgrade is started by hand: cfx run {TAKE_OVER}");
        return;
    };
    let mut asked = signal.recv().await.is_some();
    while asked {
        if drain.is_ending() {
            tracing::warn!("no successor is started: this process is ending");
            asked = signal.recv().await.is_some();
            continue;
        }
        let another = async {
            tokio::time::sleep(giver::PATIENCE).await;
            signal.recv().await.is_some()
        };
        let ended = tokio::select! {
            ended = run(command(std::env::args_os())) => ended,
            () = drain.handed_over() => return,
            another = another => {
                tracing::error!("the successor has not taken over, and another is started");
                asked = another;
                continue;
            }
        };
        match ended {
            Ok(status) => tracing::error!(%status, "the successor ended; this process serves on"),
            Err(error) => tracing::error!(%error, "the successor did not start; this process serves on"),
        }
        asked = signal.recv().await.is_some();
    }
}

/// Ends with the child; dropped, it leaves the child alone.
async fn run(command: std::io::Result<Command>) -> std::io::Result<ExitStatus> {
    let mut child = command?.spawn()?;
    tracing::info!(process = child.id(), "a successor was started");
    tokio::task::spawn_blocking(move || child.wait()).await.map_err(std::io::Error::other)?
}

/// The program is found as it was found for this process: by its path, in which a link may lead elsewhere by now, or by
/// its name.
fn command(mut arguments: impl Iterator<Item = OsString>) -> std::io::Result<Command> {
    let missing = || std::io::Error::new(std::io::ErrorKind::NotFound, "this process was started without a name");
    let mut command = Command::new(arguments.next().filter(|name| !name.is_empty()).ok_or_else(missing)?);
    command.args(arguments.filter(|argument| argument != OsStr::new(TAKE_OVER))).arg(TAKE_OVER);
    Ok(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_successor_is_told_once_to_take_over() {
        let of = |line: &str| {
            let command = command(line.split(' ').map(OsString::from)).unwrap();
            let arguments: Vec<_> = command.get_args().map(|word| word.to_str().unwrap()).collect();
            format!("{} {}", command.get_program().to_str().unwrap(), arguments.join(" "))
        };
        assert_eq!(of("/usr/bin/cfx run --conf /etc/cfx"), "/usr/bin/cfx run --conf /etc/cfx --take-over");
        assert_eq!(of("cfx run --take-over --data d"), "cfx run --data d --take-over");
        assert!(command(std::iter::empty()).is_err());
    }
}
