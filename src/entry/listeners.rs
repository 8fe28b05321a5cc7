//! How pingora is to treat connections.

use std::time::Duration;

use pingora_core::apps::HttpServerOptions;
use pingora_core::protocols::http::v2::server::H2Options;
use pingora_core::server::configuration::ServerConf;

use crate::config::{Guards, Server};

/// Without a limit idle HTTP/2 connections pile up for ever.
const H2_IDLE: Duration = Duration::from_secs(300);
/// A window that lets a 10 MB prompt come in without a round trip every 64 KB.
const H2_WINDOW: u32 = 1 << 20;

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

pub fn h2_options(guards: &Guards) -> H2Options {
    let mut options = H2Options::new();
    options
        .initial_window_size(H2_WINDOW)
        .initial_connection_window_size(H2_WINDOW * 4)
        .max_concurrent_streams(guards.http2_streams)
        // What is beyond this is answered by h2 itself, with a bare 431: heads that are only too large are ours.
        .max_header_list_size(u32::try_from(2 * guards.header_bytes).unwrap_or(u32::MAX));
    options
}
