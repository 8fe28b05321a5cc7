//! The public listeners: which addresses, plain or TLS, and how pingora is to treat their connections.

use std::sync::Arc;
use std::time::Duration;

use pingora_core::apps::HttpServerOptions;
use pingora_core::listeners::ListenerConfig;
use pingora_core::listeners::tls::TlsSettings;
use pingora_core::protocols::http::v2::server::H2Options;
use pingora_core::protocols::l4::stream::L4BufferSettings;
use pingora_core::server::configuration::ServerConf;

use super::certificates::Certificates;
use crate::config::{Entrypoint, Server, Transport};

/// pingora's default of 64 KB a connection is what an open stream costs most. A plain connection needs none: pingora
/// reads heads and bodies into room of their own. A TLS one reads its records from it.
const READ_BUFFER: usize = 0;
const TLS_READ_BUFFER: usize = 8 << 10;
/// A head and a short body leave in one system call.
const WRITE_BUFFER: usize = 4 << 10;
/// Without a limit idle HTTP/2 connections pile up for ever.
const H2_IDLE: Duration = Duration::from_secs(300);
/// A window that lets a 10 MB prompt come in without a round trip every 64 KB.
const H2_WINDOW: u32 = 1 << 20;
const H2_STREAMS: u32 = 128;

/// pingora's settings for the whole process. Shutting down is decided by our own signal watch, so its grace is none.
pub fn server_conf(server: Server) -> ServerConf {
    ServerConf {
        threads: server.threads,
        work_stealing: false, // a thread owns its connections: better p99, and pools without locks
        grace_period_seconds: Some(0),
        graceful_shutdown_timeout_seconds: Some(0),
        max_retries: 2,
        ..ServerConf::default()
    }
}

/// What holds for every connection.
pub fn server_options() -> HttpServerOptions {
    let mut options = HttpServerOptions::default();
    options.h2_idle_timeout = Some(H2_IDLE);
    options
}

pub fn h2_options() -> H2Options {
    let mut options = H2Options::new();
    options
        .initial_window_size(H2_WINDOW)
        .initial_connection_window_size(H2_WINDOW * 4)
        .max_concurrent_streams(H2_STREAMS)
        .max_header_list_size(64 << 10);
    options
}

/// One listener as pingora wants it.
pub fn listener(
    entrypoint: &Entrypoint,
    certificates: Option<&Arc<Certificates>>,
) -> pingora_core::Result<ListenerConfig> {
    let config = ListenerConfig::tcp(entrypoint.address.to_string());
    match entrypoint.transport {
        Transport::Plain { .. } => Ok(config.l4_buffer(L4BufferSettings::new(READ_BUFFER, WRITE_BUFFER))),
        Transport::Tls { http2 } => {
            let mut settings = TlsSettings::with_callbacks(Box::new(NoCallbacks))?;
            if let Some(certificates) = certificates {
                settings.set_cert_resolver(Arc::clone(certificates) as _);
            }
            if http2 {
                settings.enable_h2();
            }
            Ok(config.l4_buffer(L4BufferSettings::new(TLS_READ_BUFFER, WRITE_BUFFER)).tls(settings))
        }
    }
}

struct NoCallbacks;

impl pingora_core::listeners::TlsAccept for NoCallbacks {}
