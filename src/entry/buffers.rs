//! Buffers of a socket that take memory only while something lies in them: of ten thousand open streams hardly one has
//! bytes that wait, and a thread that serves them has the same block again for each.

use std::io;
use std::mem::{MaybeUninit, take};
use std::os::fd::{AsRawFd, RawFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A head and a short body leave in one system call.
const WRITE_BUFFER: usize = 4 << 10;
/// What a record of TLS carries at most, of which rustls asks for a quarter at a time.
const READ_AHEAD: usize = 16 << 10;

/// Holds what is written until it is flushed, is more than 4 KB, or its reader would have to wait: who has nothing to say
/// until the other side goes on has said all there is for now. pingora flushes an answer of known length at its end alone.
pub struct WriteBuffer<S> {
    stream: S,
    held: Vec<u8>,
    /// Of `held`, from its start.
    written: usize,
}

/// Reads more than it is asked for, where there is more.
pub struct ReadAhead<S> {
    stream: S,
    ahead: Bytes,
}

impl<S> WriteBuffer<S> {
    pub fn new(stream: S) -> Self {
        Self { stream, held: Vec::new(), written: 0 }
    }

    fn hold(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() && self.held.capacity() == 0 {
            self.held.reserve_exact(WRITE_BUFFER);
        }
        self.held.extend_from_slice(bytes);
    }
}

impl<S> ReadAhead<S> {
    pub fn new(stream: S) -> Self {
        Self { stream, ahead: Bytes::new() }
    }
}

impl<S: AsyncWrite + Unpin> WriteBuffer<S> {
    /// Writes what is held, where `more` does not fit behind it.
    fn poll_room(&mut self, context: &mut Context<'_>, more: usize) -> Poll<io::Result<()>> {
        if self.held.len() + more > WRITE_BUFFER { self.poll_held(context) } else { Poll::Ready(Ok(())) }
    }

    fn poll_held(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.held.len() {
            match ready!(Pin::new(&mut self.stream).poll_write(context, &self.held[self.written..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.written += count,
            }
        }
        self.written = 0;
        drop(take(&mut self.held));
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WriteBuffer<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_room(context, bytes.len()))?;
        if bytes.len() >= WRITE_BUFFER {
            return Pin::new(&mut self.stream).poll_write(context, bytes);
        }
        self.hold(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let total = pieces.iter().map(|piece| piece.len()).sum();
        ready!(self.poll_room(context, total))?;
        if total >= WRITE_BUFFER {
            return Pin::new(&mut self.stream).poll_write_vectored(context, pieces);
        }
        pieces.iter().for_each(|piece| self.hold(piece));
        Poll::Ready(Ok(total))
    }

    /// Pieces are held side by side, whatever the stream does with them.
    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_held(context))?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_held(context))?;
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for WriteBuffer<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if read.is_pending() {
            ready!(self.poll_held(context))?; // whoever reads and whoever writes is one task
        }
        read
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ReadAhead<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.ahead.is_empty() {
            let mut room = [MaybeUninit::<u8>::uninit(); READ_AHEAD];
            let mut read = ReadBuf::uninit(&mut room);
            ready!(Pin::new(&mut self.stream).poll_read(context, &mut read))?;
            let (asked, ahead) = read.filled().split_at(read.filled().len().min(buffer.remaining()));
            buffer.put_slice(asked);
            self.ahead = Bytes::copy_from_slice(ahead);
        } else {
            let count = self.ahead.len().min(buffer.remaining());
            buffer.put_slice(&self.ahead.split_to(count));
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ReadAhead<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, pieces)
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

impl<S: AsRawFd> AsRawFd for WriteBuffer<S> {
    fn as_raw_fd(&self) -> RawFd {
        self.stream.as_raw_fd()
    }
}

impl<S: AsRawFd> AsRawFd for ReadAhead<S> {
    fn as_raw_fd(&self) -> RawFd {
        self.stream.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::io::IoSlice;

    use futures_util::FutureExt;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    /// A connection between the two ends, of which the server's is buffered.
    fn pair() -> (DuplexStream, ReadAhead<WriteBuffer<DuplexStream>>) {
        let (client, server) = duplex(3 * READ_AHEAD);
        (client, ReadAhead::new(WriteBuffer::new(server)))
    }

    fn run<T>(test: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(test)
    }

    #[tokio::test]
    async fn short_pieces_leave_together_when_they_are_flushed_and_then_nothing_is_set_aside() {
        let (mut client, mut server) = pair();
        server.write_all(b"a head, ").await.unwrap();
        let body = [IoSlice::new(b"a "), IoSlice::new(b"body")];
        assert_eq!(server.write_vectored(&body).await.unwrap(), 6);
        assert_eq!(server.stream.held, b"a head, a body");
        server.flush().await.unwrap();
        assert_eq!(server.stream.held.capacity(), 0);
        let mut seen = [0; 32];
        assert_eq!(client.read(&mut seen).await.unwrap(), 14);
        assert_eq!(&seen[..14], b"a head, a body");
    }

    /// A whole answer leaves at once, and half of one no later than its other half is waited for.
    #[tokio::test]
    async fn what_is_held_leaves_when_there_is_nothing_to_read_and_not_before() {
        let (mut client, server) = duplex(READ_AHEAD);
        let mut server = WriteBuffer::new(server);
        let (mut asked, mut seen) = ([0; 4], [0; 32]);
        client.write_all(b"a bit").await.unwrap();
        server.write_all(b"half ").await.unwrap();
        assert_eq!(server.read(&mut asked).await.unwrap(), 4);
        assert_eq!(server.read(&mut asked).await.unwrap(), 1);
        assert_eq!(server.held, b"half ");
        assert!(server.read(&mut asked).now_or_never().is_none());
        assert_eq!(client.read(&mut seen).await.unwrap(), 5);
        assert_eq!(server.held.capacity(), 0);
        drop(client);
        server.write_all(b"nobody").await.unwrap();
        assert_eq!(server.read(&mut asked).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn more_than_is_asked_for_is_read_and_given_up_as_it_is_taken() {
        let (mut client, mut server) = pair();
        client.write_all(&[7; READ_AHEAD + 1]).await.unwrap();
        let mut asked = [0; 4 << 10];
        for left in [12 << 10, 8 << 10, 4 << 10, 0] {
            assert_eq!(server.read(&mut asked).await.unwrap(), asked.len());
            assert_eq!(server.ahead.len(), left);
        }
        assert_eq!(server.read(&mut asked).await.unwrap(), 1);
        drop(client);
        assert_eq!(server.read(&mut asked).await.unwrap(), 0);
    }

    async fn write_all_vectored(writer: &mut WriteBuffer<DuplexStream>, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (one, rest) = bytes.split_at(bytes.len() / 3);
            let (other, third) = rest.split_at(rest.len() / 2);
            let pieces = [one, other, third].map(IoSlice::new);
            let taken = writer.write_vectored(&pieces).await.unwrap();
            bytes = &bytes[taken..];
        }
    }

    proptest! {
        /// Whatever the sizes of what is written, and with a reader in whose way the writer comes.
        #[test]
        fn every_byte_arrives_in_its_place(sizes in vec(0..3 * WRITE_BUFFER, 0..12), room in 1..2 * WRITE_BUFFER) {
            let pieces: Vec<Vec<u8>> =
                sizes.iter().enumerate().map(|(index, size)| vec![index.to_le_bytes()[0]; *size]).collect();
            let arrived = run(async {
                let (near, far) = duplex(room);
                let (mut writer, mut reader) = (WriteBuffer::new(near), ReadAhead::new(far));
                let mut arrived = Vec::new();
                let writing = async {
                    for (index, piece) in pieces.iter().enumerate() {
                        if index % 3 == 0 {
                            writer.flush().await.unwrap();
                        }
                        if index % 2 == 0 {
                            writer.write_all(piece).await.unwrap();
                        } else {
                            write_all_vectored(&mut writer, piece).await;
                        }
                    }
                    writer.shutdown().await.unwrap();
                };
                tokio::join!(writing, async { reader.read_to_end(&mut arrived).await.unwrap() });
                arrived
            });
            prop_assert_eq!(arrived, pieces.concat());
        }
    }
}
