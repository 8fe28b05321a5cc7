//! A connection that gives each head of a request a time of its own, from its first byte to its last: a connection that is
//! kept idle is something else, and waits longer.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// Fails to read where a head takes longer than `within`.
pub struct Heads<S> {
    stream: S,
    within: Duration,
    expected: Expected,
    /// Of which head, and runs since its first byte.
    over: Option<(u32, Pin<Box<Sleep>>)>,
}

/// Which head is expected: the first, then every other number; none at those between. Whoever serves the connection counts.
#[derive(Debug, Clone)]
pub struct Expected(Arc<AtomicU32>);

impl Expected {
    /// A head is whole, and its request is served.
    pub fn came(&self) {
        self.0.fetch_or(1, Ordering::Relaxed);
    }

    /// It is answered: what comes next is another.
    pub fn next(&self) {
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |turn| Some((turn | 1).wrapping_add(1)));
    }
}

impl<S> Heads<S> {
    pub fn new(stream: S, within: Duration) -> (Self, Expected) {
        let expected = Expected(Arc::new(AtomicU32::new(0)));
        (Self { stream, within, expected: expected.clone(), over: None }, expected)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Heads<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        let turn = self.expected.0.load(Ordering::Relaxed);
        self.over.take_if(|(of, _)| *of != turn);
        if turn.is_multiple_of(2) && self.over.is_none() && buffer.filled().len() > before {
            self.over = Some((turn, Box::pin(sleep(self.within))));
        }
        let is_over = self.over.as_mut().is_some_and(|(_, over)| over.as_mut().poll(context).is_ready());
        if is_over { Poll::Ready(Err(io::ErrorKind::TimedOut.into())) } else { read }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Heads<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio::time::{advance, timeout};

    use super::*;

    const WITHIN: Duration = Duration::from_secs(15);

    #[tokio::test(start_paused = true)]
    async fn a_head_has_its_time_from_its_first_byte_on() {
        let (mut client, server) = duplex(64);
        let (mut heads, _expected) = Heads::new(server, WITHIN);
        assert!(timeout(WITHIN * 8, heads.read_u8()).await.is_err(), "an idle connection waits");
        client.write_all(b"GE").await.unwrap();
        assert_eq!(heads.read(&mut [0; 8]).await.unwrap(), 2);
        advance(WITHIN - Duration::from_secs(1)).await;
        client.write_all(b"T").await.unwrap();
        assert_eq!(heads.read(&mut [0; 8]).await.unwrap(), 1, "another byte is no other head");
        assert_eq!(heads.read_u8().await.unwrap_err().kind(), io::ErrorKind::TimedOut);

        let (mut client, server) = duplex(64);
        let (mut heads, expected) = Heads::new(server, WITHIN);
        client.write_all(b"head").await.unwrap();
        assert_eq!(heads.read(&mut [0; 8]).await.unwrap(), 4);
        expected.came();
        assert!(timeout(WITHIN * 8, heads.read_u8()).await.is_err(), "a body has times of its own");
        expected.next();
        assert!(timeout(WITHIN * 8, heads.read_u8()).await.is_err(), "and then it is idle");
        client.write_all(b"head").await.unwrap();
        assert_eq!(heads.read(&mut [0; 8]).await.unwrap(), 4);
        expected.came();
        expected.next();
        advance(WITHIN * 8).await;
        client.write_all(b"h").await.unwrap();
        assert_eq!(
            heads.read(&mut [0; 8]).await.unwrap(),
            1,
            "the next has a time of its own, though nothing was read between"
        );
        assert_eq!(heads.read_u8().await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
