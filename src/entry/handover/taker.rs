//! The new process: asks the one that serves the same data for its sockets, and tells it when it serves itself.

use std::io::{self, IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use rustix::io::FdFlags;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};

use super::{FAILED, GREETING, MOST_SOCKETS, SERVING};

/// What the other may take to answer. It answers at once, unless it has handed its sockets to a third one already.
const WITHIN: Duration = Duration::from_secs(5);

/// The process that serves until this one says that it does.
#[derive(Debug)]
pub struct Predecessor {
    stream: UnixStream,
    /// For the log.
    pub process: u32,
}

/// Why nothing could be taken over, though there is somebody.
#[derive(Debug, thiserror::Error)]
pub enum TakeOverProblem {
    #[error("cannot take over from the cfx that serves this data folder: {0}")]
    Broken(#[from] io::Error),
    #[error(
        "the cfx that serves this data folder hands nothing over; perhaps to another one already, or it is stopping"
    )]
    Mute,
    #[error("the cfx that serves this data folder speaks of the hand-over in another version: {0:?}")]
    Foreign(String),
    #[error(
        "whoever answers in this data folder is another user ({0}), whose sockets are not to be trusted; \
         let nobody but the user of cfx write to that folder"
    )]
    Stranger(u32),
}

/// Asks whoever serves `data` for its listening sockets. None: nobody does.
pub fn ask(data: &Path) -> Result<Option<(Predecessor, Vec<TcpListener>)>, TakeOverProblem> {
    let stream = match UnixStream::connect(super::place(data)) {
        // No such file, or one whose process is gone.
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            return Ok(None);
        }
        connected => connected?,
    };
    let other = rustix::net::sockopt::socket_peercred(&stream).map_err(io::Error::from)?.uid.as_raw();
    if !is_trusted(other, rustix::process::geteuid().as_raw(), std::fs::metadata(data)?.uid()) {
        return Err(TakeOverProblem::Stranger(other));
    }
    stream.set_read_timeout(Some(WITHIN))?;
    let (greeting, sockets) = receive(&stream)?;
    let mut words = greeting.split_ascii_whitespace();
    let (Some(GREETING), Some(process), Some(count)) = (words.next(), number(words.next()), number(words.next()))
    else {
        return Err(if greeting.is_empty() { TakeOverProblem::Mute } else { TakeOverProblem::Foreign(greeting) });
    };
    if usize::try_from(count) != Ok(sockets.len()) {
        let text = format!("{} sockets came of {count}; more open files must be allowed (ulimit -n)", sockets.len());
        return Err(io::Error::other(text).into());
    }
    Ok(Some((Predecessor { stream, process }, sockets)))
}

impl Predecessor {
    /// Whether another process has been given its turn in this one's place, so that it must not serve. A predecessor that
    /// is gone has withdrawn nothing.
    pub fn has_withdrawn(&self) -> bool {
        let mut word = [0; 1];
        let received = rustix::net::recv(&self.stream, &mut word, RecvFlags::DONTWAIT);
        matches!(received, Ok((_, count)) if count > 0)
    }

    /// From here on this process serves, and the other one leaves.
    pub fn relieve(&self) {
        match (&self.stream).write_all(format!("{SERVING}\n").as_bytes()) {
            Ok(()) => tracing::info!(process = self.process, "the process before this one was told to leave"),
            Err(error) => tracing::warn!(process = self.process, %error, "the process before this one is gone already"),
        }
        let _ = self.stream.shutdown(std::net::Shutdown::Write); // the other reads to the end
    }

    /// This process will not serve; the other one stays.
    pub fn give_up(&self, why: &str) {
        let _ = (&self.stream).write_all(format!("{FAILED} {}\n", why.replace('\n', " ")).as_bytes());
    }
}

/// Whether sockets may be had of the user `other`, who keeps copies of them and so hears a part of what comes in. In a
/// folder that others can write to, anybody could answer. Root takes over from whom the folder belongs to.
pub(super) fn is_trusted(other: u32, own: u32, owner_of_folder: u32) -> bool {
    const ROOT: u32 = 0;
    other == ROOT || other == own || (own == ROOT && other == owner_of_folder)
}

fn number(word: Option<&str>) -> Option<u32> {
    word?.parse().ok()
}

/// One line, and the sockets that came with it.
pub(super) fn receive(stream: &UnixStream) -> io::Result<(String, Vec<TcpListener>)> {
    let (mut line, mut sockets) = (Vec::new(), Vec::new());
    while line.last() != Some(&b'\n') {
        let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_SOCKETS))];
        let mut control = RecvAncillaryBuffer::new(&mut room);
        let mut buffer = [0; 256];
        let received =
            rustix::net::recvmsg(stream, &mut [IoSliceMut::new(&mut buffer)], &mut control, RecvFlags::empty());
        let count = match received {
            // The time is over, or the other left before it came to us.
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::CONNRESET) => 0,
            received => received?.bytes,
        };
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(handed) = message {
                sockets.extend(handed.map(own).collect::<io::Result<Vec<_>>>()?);
            }
        }
        match buffer.get(..count) {
            Some(bytes) if !bytes.is_empty() => line.extend_from_slice(bytes),
            _ => break,
        }
    }
    Ok((String::from_utf8_lossy(&line).into_owned(), sockets))
}

/// Not for the children of this process.
fn own(socket: OwnedFd) -> io::Result<TcpListener> {
    rustix::io::fcntl_setfd(&socket, FdFlags::CLOEXEC)?;
    Ok(TcpListener::from(socket))
}
