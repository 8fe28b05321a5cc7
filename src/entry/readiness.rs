//! Ready means: the store is open and every public listener accepts connections.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use tokio::net::TcpStream;

/// How often a listener that does not accept yet is asked again.
const ASK_EVERY: Duration = Duration::from_millis(5);

/// How far a start has come. Goes forward only.
#[derive(Debug, Default)]
pub struct Readiness(AtomicU8);

/// A start's way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stand {
    Starting,
    /// The store does not answer yet.
    WaitingForStore,
    Ready,
}

const WAITING: u8 = 1;
const READY: u8 = 2;

impl Readiness {
    pub fn stand(&self) -> Stand {
        match self.0.load(Ordering::Acquire) {
            READY => Stand::Ready,
            WAITING => Stand::WaitingForStore,
            _ => Stand::Starting,
        }
    }

    /// Says that the store is waited for.
    pub fn note_waiting(&self) {
        self.0.fetch_max(WAITING, Ordering::AcqRel);
    }

    /// Waits until all of `listeners` accept, then is ready. pingora opens its sockets inside its own runtimes and
    /// tells nobody, so a connection is the only proof.
    pub async fn wait_for(&self, listeners: &[SocketAddr]) {
        for listener in listeners {
            while TcpStream::connect(reachable(*listener)).await.is_err() {
                tokio::time::sleep(ASK_EVERY).await;
            }
        }
        self.0.store(READY, Ordering::Release);
    }
}

/// A listener on every address is reached by loopback.
fn reachable(listener: SocketAddr) -> SocketAddr {
    match listener {
        SocketAddr::V4(address) if address.ip().is_unspecified() => ([127, 0, 0, 1], address.port()).into(),
        SocketAddr::V6(address) if address.ip().is_unspecified() => {
            (std::net::Ipv6Addr::LOCALHOST, address.port()).into()
        }
        address => address,
    }
}
