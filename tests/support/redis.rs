//! Redis for tests: a numbered database of one test's own on the server that `scripts/servers` started, or a whole
//! server for tests that stop it or count its commands.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Not every program that includes this file uses all of it.
const _: fn() = || {
    let _ = (database, Server::private, Server::with, Server::url, Server::kill, Server::restart);
};

/// A URL with a database number that no other test of this run has been given. Publishing knows no numbers: channels
/// are shared by all.
pub async fn database() -> String {
    let server = from_environment("CFX_TEST_REDIS");
    let client = redis::Client::open(server.as_str()).expect("CFX_TEST_REDIS is a URL");
    let mut connection = client.get_multiplexed_async_connection().await.expect("the server of the tests answers");
    let number: u32 = redis::cmd("INCR").arg("databases given").query_async(&mut connection).await.expect("a number");
    assert!(number < 4096, "every database of this server has been given to a test: start another");
    format!("{server}/{number}")
}

/// A Redis of one test's own, without persistence: killed, it has forgotten everything when it comes back.
pub struct Server {
    folder: TempDir,
    port: u16,
    options: Vec<String>,
    process: Child,
}

impl Server {
    pub fn private() -> Self {
        Self::with(&[])
    }

    /// With further options of redis-server; `PORT` in them stands for the one it is to listen on.
    pub fn with(options: &[&str]) -> Self {
        let options: Vec<String> = options.iter().map(ToString::to_string).collect();
        // Another process may take the port between its choice and its use.
        for _ in 0..20 {
            let folder = TempDir::new().expect("a folder");
            let chosen = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
            let port = chosen.expect("a free port").port();
            let mut process = start(&folder, port, &options);
            if answers(&mut process, port) {
                return Self { folder, port, options, process };
            }
            stop(&mut process);
        }
        panic!("redis-server does not start: run scripts/setup test");
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub fn kill(&mut self) {
        stop(&mut self.process);
    }

    /// Starts it again on the same port, empty, and waits until it answers.
    pub fn restart(&mut self) {
        stop(&mut self.process);
        self.process = start(&self.folder, self.port, &self.options);
        assert!(answers(&mut self.process, self.port), "redis-server does not start again on its port");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        stop(&mut self.process);
    }
}

fn start(folder: &TempDir, port: u16, options: &[String]) -> Child {
    let mut command = Command::new("redis-server");
    command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir"]);
    command.arg(folder.path()).args(options.iter().map(|option| option.replace("PORT", &port.to_string())));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("redis-server can be started: run scripts/setup test")
}

/// Waits until the port answers; false when the process has ended instead.
fn answers(process: &mut Child, port: u16) -> bool {
    let deadline = Instant::now() + Duration::from_secs(10);
    while Instant::now() < deadline {
        if process.try_wait().expect("a child can be waited for").is_some() {
            return false;
        }
        if TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    false
}

fn stop(process: &mut Child) {
    let _ = process.kill();
    let _ = process.wait();
}

fn from_environment(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: `make test` starts the servers and sets it"))
}
