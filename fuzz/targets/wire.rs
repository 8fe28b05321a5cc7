//! A connection without a network: both its ends in one thread, what comes through it cut as one likes.

use std::net;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::runtime::{Builder, Runtime};
use tokio::task::yield_now;

/// What it comes to, on this thread.
pub fn outcome<T>(work: impl Future<Output = T>) -> T {
    thread_local! {
        static RUNTIME: Runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    }
    RUNTIME.with(|runtime| runtime.block_on(work))
}

/// What comes of a connection whose client sends `bytes` in pieces of `piece` and then no more, and all that it is sent.
///
/// The sockets are a pair, of which one is taken for TCP's: it reads, peeks and ends like one, without a port that stays
/// taken for a minute behind each of ten thousand connections a second.
pub fn served<T>(bytes: &[u8], piece: usize, serve: impl AsyncFnOnce(TcpStream) -> T) -> (T, Vec<u8>) {
    outcome(async {
        let (client, served) = StdUnixStream::pair().expect("a pair of sockets");
        client.set_nonblocking(true).and_then(|()| served.set_nonblocking(true)).expect("sockets that do not block");
        let mut client = UnixStream::from_std(client).expect("a socket");
        let served = TcpStream::from_std(net::TcpStream::from(OwnedFd::from(served))).expect("a socket");
        let speak = async {
            for piece in bytes.chunks(piece) {
                if client.write_all(piece).await.is_err() {
                    break; // it has heard enough
                }
                yield_now().await;
            }
            let _ = client.shutdown().await;
            let mut heard = Vec::new();
            let _ = client.read_to_end(&mut heard).await; // as far as it came
            heard
        };
        tokio::join!(serve(served), speak)
    })
}

/// What a connection brings, so many bytes a read.
pub struct Pieces<'a> {
    pub left: &'a [u8],
    pub piece: usize,
}

impl AsyncRead for Pieces<'_> {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, room: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        let (piece, left) = self.left.split_at(self.piece.min(self.left.len()).min(room.remaining()));
        room.put_slice(piece);
        self.left = left;
        Poll::Ready(Ok(()))
    }
}
