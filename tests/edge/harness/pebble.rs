//! pebble, the ACME CA that is made for tests, with a resolver that finds every name on this machine.
//!
//! It forgets everything when it ends: its root, its accounts. A [`super::Switch`] in front keeps it away without that.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};

use super::client::PATIENCE;
use super::ports::free_addresses;
use super::trust::trusting_anybody;
use super::{Client, Request, Switch};

/// A name that leads where nobody listens.
pub const NOWHERE: &str = "nowhere.test";
/// A name that the CA issues nothing for.
pub const FORBIDDEN: &str = "forbidden.test";
/// An account that there is with the CA already, and its key.
pub const EXTERNAL: (&str, &str) = ("kid-1", "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W");

pub struct Pebble {
    children: [Child; 2],
    management: SocketAddr,
    /// In front of it.
    pub switch: Switch,
    folder: tempfile::TempDir,
}

/// What is not as usual with it.
#[derive(Clone, Copy, Default)]
pub struct Manner {
    /// Of a hundred good nonces it rejects so many.
    pub bad_nonces: u32,
    /// It makes no account that is not bound to [`EXTERNAL`].
    pub wants_external: bool,
}

impl Pebble {
    /// One that looks at names at these ports of ours.
    pub fn start(http: u16, tls: u16, manner: Manner) -> Self {
        let [listen, management, dns] = free_addresses();
        let [dns_management, ..] = free_addresses();
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        let own = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_string()]).expect("a certificate");
        std::fs::write(at("ca.pem"), own.cert.pem()).expect("a file");
        std::fs::write(at("ca.key"), own.signing_key.serialize_pem()).expect("a file");
        let config = json!({"pebble": {
            "listenAddress": listen.to_string(),
            "managementListenAddress": management.to_string(),
            "certificate": at("ca.pem"),
            "privateKey": at("ca.key"),
            "httpPort": http,
            "tlsPort": tls,
            "ocspResponderURL": "",
            "externalAccountBindingRequired": manner.wants_external,
            "externalAccountMACKeys": {EXTERNAL.0: EXTERNAL.1},
            "domainBlocklist": [FORBIDDEN],
            "certificateValidityPeriod": 90 * 86_400,
        }});
        std::fs::write(at("config.json"), config.to_string()).expect("a file");
        let names = started(
            Command::new("pebble-challtestsrv")
                .args([
                    "-http01",
                    "",
                    "-https01",
                    "",
                    "-tlsalpn01",
                    "",
                    "-defaultIPv6",
                    "",
                    "-defaultIPv4",
                    "127.0.0.1",
                ])
                .args(["-dns01", &dns.to_string(), "-management", &dns_management.to_string()]),
        );
        let ca = started(
            Command::new("pebble")
                .args(["-strict", "-dnsserver", &dns.to_string(), "-config"])
                .arg(at("config.json"))
                .env("PEBBLE_VA_NOSLEEP", "1")
                .env("PEBBLE_AUTHZREUSE", "0")
                .env("PEBBLE_WFE_NONCEREJECT", manner.bad_nonces.to_string()),
        );
        for address in [dns_management, listen, management] {
            listening(address);
        }
        resolve(dns_management, NOWHERE, "127.0.0.9");
        Self { children: [names, ca], management, switch: Switch::before(listen), folder }
    }

    /// As `tls.acme` has it.
    pub fn issuer(&self, domains: &str, challenge: &str) -> String {
        format!(
            "{{ directory: \"{}\", ca: \"{}\", email: ops@example.org, domains: [{domains}], challenge: {challenge} }}",
            self.directory(),
            self.trust().display()
        )
    }

    pub fn directory(&self) -> String {
        format!("https://{}/dir", self.switch.address)
    }

    /// What its own certificate is trusted by.
    pub fn trust(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// What it signs by.
    pub fn root(&self) -> CertificateDer<'static> {
        let mut client = Client::tls_as(self.management, "127.0.0.1", Arc::new(trusting_anybody(rustls::ALL_VERSIONS)));
        let root = client.ask(&Request::get("/roots/0")).body;
        CertificateDer::from_pem_slice(&root).expect("pebble's root")
    }
}

impl Drop for Pebble {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn started(command: &mut Command) -> Child {
    let program = command.get_program().to_os_string();
    let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap_or_else(|error| {
        panic!("{}: {error}; Debian's package `pebble` has it, and scripts/setup test installs it", program.display())
    })
}

fn listening(address: SocketAddr) {
    let deadline = Instant::now() + PATIENCE;
    while TcpStream::connect(address).is_err() {
        assert!(Instant::now() < deadline, "pebble does not listen at {address}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn resolve(management: SocketAddr, name: &str, address: &str) {
    let body: Value = json!({"host": format!("{name}."), "addresses": [address]});
    let body = body.to_string();
    let mut stream = TcpStream::connect(management).expect("the resolver listens");
    write!(
        stream,
        "POST /add-a HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .expect("a socket");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}
