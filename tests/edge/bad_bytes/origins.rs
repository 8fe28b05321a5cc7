//! What stands behind the edge, and what it has seen: a socket that remembers all, nginx, uvicorn.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::cases::INNER;
use crate::harness::client::PATIENCE;
use crate::harness::ports::free_addresses;
use crate::harness::{Reply, Scripted};

pub trait Origin {
    /// As a target of an upstream.
    fn target(&self) -> String;

    /// `METHOD target` of every request so far, in order.
    fn seen(&self) -> Vec<String>;
}

/// Sockets, and every byte that came.
pub struct Raw(pub Scripted);

impl Raw {
    pub fn start() -> Self {
        let web = Scripted::start();
        web.always(|_| Some(Reply::json(200, "{}")));
        Self(web)
    }
}

impl Origin for Raw {
    fn target(&self) -> String {
        format!("http://{}", self.0.address)
    }

    fn seen(&self) -> Vec<String> {
        let requests = self.0.requests();
        for request in &requests {
            let head = request.head.to_ascii_lowercase();
            assert!(!head.contains("h2c") && !head.contains("http2-settings"), "no upgrade is passed on: {head}");
            assert!(head.matches("content-length").count() + head.matches("transfer-encoding").count() <= 1, "{head}");
            assert!([&b""[..], b"hello", INNER.as_bytes()].contains(&&request.body[..]), "{request:?}");
            assert!(!head.contains("trailer") && request.header("host").is_some(), "{head}");
        }
        requests.iter().map(|request| request.line().trim_end_matches(" HTTP/1.1").to_string()).collect()
    }
}

/// A server in a process of its own, which writes a line for each request.
struct Server {
    address: SocketAddr,
    lines: PathBuf,
    process: Child,
    _folder: tempfile::TempDir,
}

impl Server {
    /// Starts what `command` makes of an address, a folder, and the file for the lines.
    fn start(command: impl Fn(SocketAddr, &Path, &Path) -> Command) -> Self {
        let [address, ..] = free_addresses();
        let folder = tempfile::tempdir().expect("a folder");
        let lines = folder.path().join("lines");
        std::fs::write(&lines, "").expect("a file");
        let mut command = command(address, folder.path(), &lines);
        let process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("what `make soak` brings");
        let server = Self { address, lines, process, _folder: folder };
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(address).is_err() {
            assert!(Instant::now() < deadline, "it does not listen");
            std::thread::sleep(Duration::from_millis(10));
        }
        server
    }

    fn seen(&self) -> Vec<String> {
        std::fs::read_to_string(&self.lines).expect("a file").lines().map(str::to_string).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// nginx, which reads a body to its end before it asks behind itself: its reading of chunks is a second opinion on ours.
pub struct Nginx(Server);

impl Nginx {
    pub fn start() -> Self {
        Self::with("proxy_pass http://unix:PLACE/behind;")
    }

    /// One that answers by itself, for thousands at once.
    pub fn quick() -> Self {
        Self::with("return 200 'ok';")
    }

    fn with(location: &str) -> Self {
        Self(Server::start(|address, folder, lines| {
            let (place, lines) = (folder.display(), lines.display());
            let location = location.replace("PLACE", &place.to_string());
            let conf = format!(
                "daemon off; master_process off; pid {place}/pid; error_log {place}/error.log;\n\
                 worker_rlimit_nofile 16384; events {{ worker_connections 16000; }}\n\
                 http {{\n\
                   log_format seen '$request_method $request_uri'; access_log {lines} seen;\n\
                   client_body_temp_path {place}/body; proxy_temp_path {place}/proxy;\n\
                   fastcgi_temp_path {place}/f; uwsgi_temp_path {place}/u; scgi_temp_path {place}/s;\n\
                   server {{ listen {address} backlog=16384; location / {{ {location} }} }}\n\
                   server {{ listen unix:{place}/behind; access_log off; location / {{ return 200 'ok'; }} }}\n\
                 }}\n"
            );
            let file = folder.join("nginx.conf");
            std::fs::write(&file, conf).expect("a file");
            // Debian has it where the path of ordinary users does not lead.
            let debian = "/usr/sbin/nginx";
            let mut command = Command::new(if Path::new(debian).exists() { debian } else { "nginx" });
            command.arg("-p").arg(folder).arg("-c").arg(file);
            command
        }))
    }
}

impl Origin for Nginx {
    fn target(&self) -> String {
        format!("http://{}", self.0.address)
    }

    fn seen(&self) -> Vec<String> {
        self.0.seen()
    }
}

/// An application that reads the body to its end, and writes down the raw path that it was asked for.
const APPLICATION: &str = r#"
import sys
lines = open(LINES, "ab", buffering=0)
async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body"):
        pass
    query = scope["query_string"]
    target = scope["raw_path"] + (b"?" + query if query else b"")
    lines.write(scope["method"].encode() + b" " + target + b"\n")
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})
"#;

pub struct Uvicorn(Server);

impl Uvicorn {
    pub fn start() -> Self {
        let python = std::env::var("CFX_TEST_PYTHON").expect("a Python that has uvicorn, which `make soak` brings");
        Self(Server::start(|address, folder, lines| {
            let application = APPLICATION.replace("LINES", &format!("{:?}", lines.display().to_string()));
            let mut file = std::fs::File::create(folder.join("app.py")).expect("a file");
            file.write_all(application.as_bytes()).expect("a file");
            let mut command = Command::new(&python);
            let (host, port) = (address.ip().to_string(), address.port().to_string());
            command.args(["-m", "uvicorn", "app:app", "--host", &host, "--port", &port]).current_dir(folder);
            command
        }))
    }
}

impl Origin for Uvicorn {
    fn target(&self) -> String {
        format!("http://{}", self.0.address)
    }

    fn seen(&self) -> Vec<String> {
        self.0.seen()
    }
}
