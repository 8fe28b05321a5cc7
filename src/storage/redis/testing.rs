//! A redis-server of a test's own, and a proxy in front of it that can be slow or cut.

use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const PATIENCE: Duration = Duration::from_secs(20);

/// Killed on drop.
pub(super) struct Server {
    pub(super) port: u16,
    options: Vec<String>,
    folder: tempfile::TempDir,
    child: Option<Child>,
}

impl Server {
    pub(super) fn start() -> Self {
        Self::with(&["--save", "", "--appendonly", "no"])
    }

    pub(super) fn with(options: &[&str]) -> Self {
        let options = options.iter().map(ToString::to_string).collect();
        let folder = tempfile::tempdir().unwrap();
        let mut server = Self { port: free_port(), options, folder, child: None };
        server.restart();
        server
    }

    /// Kills the process, without a chance to save anything.
    pub(super) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Comes up on the same port, with what is on disk.
    pub(super) fn restart(&mut self) {
        self.kill();
        let mut command = Command::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--port"]).arg(self.port.to_string()).arg("--dir").arg(self.folder.path());
        command.args(&self.options).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.child = Some(command.spawn().expect("redis-server is installed"));
        let deadline = Instant::now() + PATIENCE;
        while std::net::TcpStream::connect(self.address()).is_err() {
            assert!(Instant::now() < deadline, "redis-server did not come up");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub(super) fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }

    pub(super) fn url(&self) -> String {
        format!("redis://{}", self.address())
    }

    /// One command, as an operator would give it.
    pub(super) async fn run(&self, command: &[&str]) -> redis::Value {
        let client = redis::Client::open(self.url()).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        let mut wire = redis::cmd(command[0]);
        wire.arg(&command[1..]);
        wire.query_async(&mut connection).await.unwrap()
    }

    /// Calls of one command so far, by the server's own count.
    pub(super) async fn calls(&self, command: &str) -> u64 {
        let text: String = redis::from_redis_value(self.run(&["INFO", "commandstats"]).await).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls="))?.split(',').next());
        line.map_or(0, |calls| calls.parse().unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Stands between an edge and its Redis.
pub(super) struct Proxy {
    pub(super) address: SocketAddr,
    delay: Arc<AtomicU64>,
    cut: Arc<AtomicBool>,
}

impl Proxy {
    pub(super) async fn before(server: SocketAddr) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let proxy = Self { address, delay: Arc::default(), cut: Arc::default() };
        let (delay, cut) = (Arc::clone(&proxy.delay), Arc::clone(&proxy.cut));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(server).await else { continue };
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

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
