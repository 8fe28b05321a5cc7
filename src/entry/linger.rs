//! Reading what nobody answers, behind the last word on a connection: closing one with bytes unread resets it, and a reset
//! can overtake the answer.

use std::future::Future;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use pingora_timeout::fast_timeout::fast_sleep;
use tokio::io::{AsyncRead, ReadBuf};

/// How long it is read, and how much.
pub const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 1 << 20;

/// How long and how much is still to be read.
pub struct Linger {
    over: Pin<Box<dyn Future<Output = ()> + Send + Sync>>,
    left: usize,
}

impl Default for Linger {
    fn default() -> Self {
        Self { over: Box::pin(fast_sleep(LINGER)), left: LINGER_BYTES }
    }
}

impl Linger {
    /// Reads until the client has ended its side as well, or has had its time or its bytes.
    pub fn poll(&mut self, context: &mut Context<'_>, mut stream: Pin<&mut impl AsyncRead>) -> Poll<()> {
        while self.left > 0 && self.over.as_mut().poll(context).is_pending() {
            let mut room = [MaybeUninit::<u8>::uninit(); 4 << 10];
            let mut read = ReadBuf::uninit(&mut room);
            match stream.as_mut().poll_read(context, &mut read) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(())) if !read.filled().is_empty() => {
                    self.left = self.left.saturating_sub(read.filled().len())
                }
                Poll::Ready(_) => break,
            }
        }
        Poll::Ready(())
    }
}
