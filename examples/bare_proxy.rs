//! The yardstick of `make bench`: a stock pingora proxy with nothing on, of the same crates as cfx.
//!
//! Usage: `bare_proxy UPSTREAM PLAIN TLS CERT KEY THREADS`, the first three as addresses.
#![expect(clippy::print_stderr, reason = "a tool of the benchmark's, run by hand")]

use std::net::SocketAddr;
use std::process::ExitCode;

use async_trait::async_trait;
use pingora_core::listeners::tls::TlsSettings;
use pingora_core::server::Server;
use pingora_core::server::configuration::ServerConf;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_proxy::{ProxyHttp, Session, http_proxy_service};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

struct Bare {
    upstream: SocketAddr,
}

#[async_trait]
impl ProxyHttp for Bare {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _session: &mut Session, (): &mut ()) -> pingora_core::Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new(self.upstream, false, String::new())))
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [upstream, plain, tls, certificate, key, threads] = arguments.as_slice() else {
        eprintln!("usage: bare_proxy UPSTREAM PLAIN TLS CERT KEY THREADS");
        return ExitCode::from(64);
    };
    let (Ok(upstream), Ok(threads)) = (upstream.parse(), threads.parse()) else {
        eprintln!("bare_proxy: UPSTREAM is an address, THREADS a number");
        return ExitCode::from(64);
    };
    // As in cfx: a runtime a thread measured a better p99 than stolen work.
    // And a connection kept for every request that may be under way: of itself it keeps 128, and makes the rest anew.
    let configuration =
        ServerConf { threads, work_stealing: false, upstream_keepalive_pool_size: 4_096, ..ServerConf::default() };
    let mut server = Server::new_with_opt_and_conf(None, configuration);
    server.bootstrap();
    let mut service = http_proxy_service(&server.configuration, Bare { upstream });
    service.add_tcp(plain);
    let mut settings = match TlsSettings::intermediate(certificate, key) {
        Ok(settings) => settings,
        Err(error) => {
            eprintln!("bare_proxy: {error}");
            return ExitCode::FAILURE;
        }
    };
    settings.enable_h2();
    service.add_tls_with_settings(tls, None, settings);
    server.add_service(service);
    server.run_forever()
}
