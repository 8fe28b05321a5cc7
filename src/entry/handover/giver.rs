//! The old process: hands its listening sockets to whoever of the same user asks, and leaves when that one serves.
//!
//! Failure stance: everything that goes wrong is said in the log, and this process serves on.

use std::fs::Permissions;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use tokio::io::{AsyncReadExt, Interest};
use tokio::net::{UnixListener, UnixStream};

use super::{FAILED, GREETING, MOST_SOCKETS, SERVING};
use crate::entry::drain::Drain;

/// A longer last word than this is cut.
const LONGEST_WORD: u64 = 4096;

/// Where asking fails as such, too many open files for instance.
const AGAIN: Duration = Duration::from_secs(1);

/// Offers `sockets` to other processes until one has taken them over, or the listeners are closed for another reason.
/// Then they are closed here.
pub async fn offer(data: &Path, sockets: Vec<TcpListener>, drain: &Drain) {
    let at = super::place(data);
    let open = bind(&at);
    if let Err(error) = &open {
        tracing::warn!(at = %at.display(), %error, "no other process can take over from this one");
    }
    tokio::select! {
        biased;
        () = drain.closed() => {}
        () = serve(open, &sockets, drain) => {}
    }
}

/// Made beside its place and moved there, so that there is no moment without it, nor one in which others may use it.
/// Who comes last has the place: that is the process to take over from.
fn bind(at: &Path) -> io::Result<UnixListener> {
    let new = at.with_extension(std::process::id().to_string());
    let _ = std::fs::remove_file(&new); // of a process of the same number, long ago
    let listener = UnixListener::bind(&new)?;
    std::fs::set_permissions(&new, Permissions::from_mode(0o600))?;
    std::fs::rename(&new, at)?;
    Ok(listener)
}

/// Returns when another process has taken over.
async fn serve(open: io::Result<UnixListener>, sockets: &[TcpListener], drain: &Drain) {
    let Ok(listener) = open else { return std::future::pending().await };
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                if has_taken_over(stream, sockets).await {
                    return drain.hand_over();
                }
            }
            Err(error) => {
                tracing::warn!(%error, "a process that would take over was not heard");
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}

/// One at a time: others wait in the queue.
async fn has_taken_over(stream: UnixStream, sockets: &[TcpListener]) -> bool {
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
async fn hand_to(mut stream: UnixStream, sockets: &[TcpListener]) -> io::Result<(i32, String)> {
    let other = stream.peer_cred()?;
    if ![0, rustix::process::geteuid().as_raw()].contains(&other.uid()) {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "asked for by another user"));
    }
    stream.writable().await?;
    stream.async_io(Interest::WRITABLE, || send(&stream, sockets)).await?;
    tracing::info!(sockets = sockets.len(), process = other.pid(), "another process has the sockets and starts");
    let mut word = String::new();
    (&mut stream).take(LONGEST_WORD).read_to_string(&mut word).await?;
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
