//! The old process: hands its listening sockets to whoever of the same user asks, and leaves when that one serves.
//!
//! Failure stance: everything that goes wrong is said in the log, and this process serves on.

use std::fs::{File, OpenOptions, Permissions, TryLockError};
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use tokio::io::{AsyncReadExt, Interest};
use tokio::net::{UnixListener, UnixStream};

use super::{FAILED, GREETING, MOST_SOCKETS, SERVING, WITHDRAWN};
use crate::entry::drain::Drain;

/// A longer last word than this is cut.
const LONGEST_WORD: u64 = 4096;

/// What a new process may take before another that asks has its turn. One that waits for its store takes longer, and may
/// as long as nobody else asks.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Beside the place: who holds it is asked. It is never removed, or two could hold it.
const LOCK: &str = "handover.lock";

const SOON: Duration = Duration::from_millis(20);

/// Where asking fails as such, too many open files for instance, and where somebody else is asked.
const AGAIN: Duration = Duration::from_secs(1);

/// How a process came to serve, which says who may be asked for sockets in its data folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Descent {
    /// It took over from the process that was asked before it.
    Heir,
    /// It was started beside whoever else serves that folder.
    Founder,
}

/// Offers `sockets` to other processes until one has taken them over, or the listeners are closed for another reason.
/// Then they are closed here. Of several that serve one folder, the first and its heirs are those who are asked.
pub async fn offer(data: &Path, descent: Descent, sockets: Vec<TcpListener>, drain: &Drain) {
    offer_with(data, descent, sockets, drain, PATIENCE).await;
}

pub(super) async fn offer_with(
    data: &Path,
    descent: Descent,
    sockets: Vec<TcpListener>,
    drain: &Drain,
    patience: Duration,
) {
    tokio::select! {
        biased;
        () = drain.closed() => {}
        () = serve(data, descent, &sockets, drain, patience) => {}
    }
}

/// Holds the place in `data` for as long as it is kept, against others who were started on the same folder. Waits for
/// whoever has it: that is a process which an heir has just relieved, or one which a founder leaves alone.
async fn place_held(data: &Path, descent: Descent) -> io::Result<File> {
    let lock = OpenOptions::new().create(true).append(true).mode(0o600).open(data.join(LOCK))?;
    // The process that an heir has relieved lets go in a moment, and the heir should not lose its place to a founder.
    let (mut told, again) = match descent {
        Descent::Heir => (true, SOON),
        Descent::Founder => (false, AGAIN),
    };
    loop {
        match lock.try_lock() {
            Ok(()) => return Ok(lock),
            Err(TryLockError::Error(error)) => return Err(error),
            Err(TryLockError::WouldBlock) if std::mem::replace(&mut told, true) => {}
            Err(TryLockError::WouldBlock) => tracing::warn!(
                data = %data.display(),
                "another cfx serves this data folder and is the one to take over from; this one is when that one has left"
            ),
        }
        tokio::time::sleep(again).await;
    }
}

/// Made beside its place and moved there, so that there is no moment without it, nor one in which others may use it.
fn bind(at: &Path) -> io::Result<UnixListener> {
    let new = at.with_extension(std::process::id().to_string());
    let _ = std::fs::remove_file(&new); // of a process of the same number, long ago
    let listener = UnixListener::bind(&new)?;
    std::fs::set_permissions(&new, Permissions::from_mode(0o600))?;
    std::fs::rename(&new, at)?;
    Ok(listener)
}

/// Returns when another process has taken over.
async fn serve(data: &Path, descent: Descent, sockets: &[TcpListener], drain: &Drain, patience: Duration) {
    let offered: io::Result<()> = async {
        match descent {
            // The one before it goes on holding the place for a moment, and nobody else is to find it empty.
            Descent::Heir => {
                let listener = bind(&super::place(data))?;
                let holding = async {
                    let _held = place_held(data, descent).await?;
                    std::future::pending().await
                };
                tokio::select! {
                    () = heard(&listener, sockets, patience) => Ok(()),
                    failed = holding => failed,
                }
            }
            Descent::Founder => {
                let _held = place_held(data, descent).await?;
                heard(&bind(&super::place(data))?, sockets, patience).await;
                Ok(())
            }
        }
    }
    .await;
    match offered {
        Ok(()) => drain.hand_over(),
        Err(error) => {
            tracing::warn!(data = %data.display(), %error, "no other process can take over from this one");
            std::future::pending().await
        }
    }
}

/// Returns when one of those who asked has taken over. They have their turns one at a time, and others wait in the
/// queue; but nobody waits for longer than `patience` for one that neither takes over nor goes away.
async fn heard(listener: &UnixListener, sockets: &[TcpListener], patience: Duration) {
    let mut next = None;
    loop {
        let mut stream = match next.take() {
            Some(stream) => stream,
            None => asked(listener).await,
        };
        let another = async {
            tokio::time::sleep(patience).await;
            asked(listener).await
        };
        tokio::select! {
            biased;
            taken = has_taken_over(&mut stream, sockets) => if taken { return },
            another = another => {
                tracing::error!(?patience, "the new process did not take over, and another has its turn");
                let _ = stream.try_write(format!("{WITHDRAWN}\n").as_bytes());
                next = Some(another);
            }
        }
    }
}

async fn asked(listener: &UnixListener) -> UnixStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(error) => {
                tracing::warn!(%error, "a process that would take over was not heard");
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}

async fn has_taken_over(stream: &mut UnixStream, sockets: &[TcpListener]) -> bool {
    match hand_to(stream, sockets).await {
        Ok((process, word)) if word == SERVING => {
            tracing::info!(process, "the new process serves");
            true
        }
        Ok((process, word)) => {
            let why = word.strip_prefix(FAILED).map_or("it went away", str::trim);
            tracing::error!(process, why, "the new process did not take over; this one serves on");
            false
        }
        Err(error) => {
            tracing::error!(%error, "the sockets were not handed over; this process serves on");
            false
        }
    }
}

/// The other's process id, where it is known, and its last word.
async fn hand_to(stream: &mut UnixStream, sockets: &[TcpListener]) -> io::Result<(i32, String)> {
    let other = stream.peer_cred()?;
    if ![0, rustix::process::geteuid().as_raw()].contains(&other.uid()) {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "asked for by another user"));
    }
    stream.writable().await?;
    stream.async_io(Interest::WRITABLE, || send(stream, sockets)).await?;
    tracing::info!(sockets = sockets.len(), process = other.pid(), "another process has the sockets and starts");
    let mut word = String::new();
    stream.take(LONGEST_WORD).read_to_string(&mut word).await?;
    Ok((other.pid().unwrap_or_default(), word.trim().to_owned()))
}

/// All in one message, which fits into an empty socket's buffer.
fn send(stream: &UnixStream, sockets: &[TcpListener]) -> io::Result<()> {
    let greeting = format!("{GREETING} {} {}\n", std::process::id(), sockets.len());
    let borrowed: Vec<_> = sockets.iter().map(AsFd::as_fd).collect();
    let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_SOCKETS))];
    let mut control = SendAncillaryBuffer::new(&mut room);
    if !control.push(SendAncillaryMessage::ScmRights(&borrowed)) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many listeners for one message"));
    }
    let sent = rustix::net::sendmsg(stream, &[IoSlice::new(greeting.as_bytes())], &mut control, SendFlags::empty())?;
    if sent == greeting.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
}
