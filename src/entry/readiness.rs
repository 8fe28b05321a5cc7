//! Ready means: every public listener accepts connections.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::net::TcpStream;

/// How often a listener that does not accept yet is asked again.
const ASK_EVERY: Duration = Duration::from_millis(5);

#[derive(Debug, Default)]
pub struct Readiness(AtomicBool);

impl Readiness {
    pub fn is_ready(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    /// Waits until all of `listeners` accept, then is ready. pingora opens its sockets inside its own runtimes and
    /// tells nobody, so a connection is the only proof.
    pub async fn wait_for(&self, listeners: &[SocketAddr]) {
        for listener in listeners {
            while TcpStream::connect(reachable(*listener)).await.is_err() {
                tokio::time::sleep(ASK_EVERY).await;
            }
        }
        self.0.store(true, Ordering::Release);
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
