//! What the tests of this folder do to a redis-server of their own, and a proxy in front of it that can be slow or silent.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::storage::support::redis::Server;

const PATIENCE: Duration = Duration::from_secs(20);

/// One command, as an operator would give it.
pub(super) async fn run(server: &Server, command: &[&str]) -> redis::Value {
    let client = redis::Client::open(server.url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let mut wire = redis::cmd(command[0]);
    wire.arg(&command[1..]);
    wire.query_async(&mut connection).await.unwrap()
}

/// Stands between an edge and its Redis.
pub(super) struct Proxy {
    pub(super) address: SocketAddr,
    delay: Arc<AtomicU64>,
    cut: Arc<AtomicBool>,
}

impl Proxy {
    pub(super) async fn before(server: &Server) -> Self {
        let server = server.url().strip_prefix("redis://").unwrap().to_owned();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let proxy = Self { address, delay: Arc::default(), cut: Arc::default() };
        let (delay, cut) = (Arc::clone(&proxy.delay), Arc::clone(&proxy.cut));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(&server).await else { continue };
                let (from_client, to_client) = client.into_split();
                let (from_server, to_server) = server.into_split();
                tokio::spawn(pass(from_client, to_server, Arc::clone(&delay), Arc::clone(&cut)));
                tokio::spawn(pass(from_server, to_client, Arc::default(), Arc::clone(&cut)));
            }
        });
        proxy
    }

    /// How long everything that is asked takes from now on.
    pub(super) fn delay(&self, delay: Duration) {
        self.delay.store(u64::try_from(delay.as_millis()).unwrap(), Ordering::SeqCst);
    }

    /// Lets nothing through, in silence, or all again.
    pub(super) fn cut(&self, cut: bool) {
        self.cut.store(cut, Ordering::SeqCst);
    }

    pub(super) fn url(&self) -> String {
        format!("redis://{}", self.address)
    }
}

async fn pass(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    delay: Arc<AtomicU64>,
    cut: Arc<AtomicBool>,
) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        tokio::time::sleep(Duration::from_millis(delay.load(Ordering::SeqCst))).await;
        while cut.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}

/// Waits until `holds`, which is asked again and again.
pub(super) async fn until<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let deadline = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < deadline, "not yet: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
