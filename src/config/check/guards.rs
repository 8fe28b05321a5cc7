//! The `guards` section of `cfx.yaml`, and which header names the client.

use std::time::Duration;

use http::HeaderName;

use super::super::guards::{ClientHeader, EncodedSlash, Guards, Underscores};
use super::super::problem::Checked;
use super::quantity;
use super::read::At;

pub(super) const DEFAULTS: Guards = Guards {
    header_timeout: Duration::from_secs(15),
    header_bytes: 32 << 10,
    headers: 100,
    idle: Duration::from_secs(60),
    requests_per_connection: None,
    connection_age: None,
    connections: None,
    connections_per_address: None,
    http2_streams: 128,
    encoded_slash: EncodedSlash::Refuse,
    underscores: Underscores::Drop,
};

const KNOWN: [&str; 11] = [
    "header_timeout",
    "header_bytes",
    "headers",
    "idle",
    "requests_per_connection",
    "connection_age",
    "connections",
    "connections_per_address",
    "http2_streams",
    "encoded_slash",
    "underscores",
];

/// Below it ordinary cookies would not fit; above it pingora reads no head.
const HEADER_BYTES: std::ops::RangeInclusive<usize> = 1 << 10..=1 << 20;
/// pingora's own most.
const MOST_HEADERS: usize = 256;
const MOST_CONNECTIONS: usize = 10_000_000;

pub(super) fn guards(at: &At) -> Checked<Guards> {
    let fields = at.fields(&KNOWN)?;
    let span = |key, default| fields.or(key, default, |at| at.parsed("a duration", quantity::duration));
    let header_timeout = span("header_timeout", DEFAULTS.header_timeout);
    let idle = span("idle", DEFAULTS.idle);
    let header_bytes = fields.or("header_bytes", DEFAULTS.header_bytes, |at| {
        at.parsed("a size", |text| match quantity::size(text)? {
            size if HEADER_BYTES.contains(&size) => Ok(size),
            _ => Err("a size from 1KiB to 1MiB".to_owned()),
        })
    });
    let headers = fields.or("headers", DEFAULTS.headers, |at| at.whole(1..=MOST_HEADERS));
    let requests_per_connection =
        fields.or("requests_per_connection", None, |at| unless(&at, "off", |at| at.whole(1..=u32::MAX)));
    let connection_age = fields.or("connection_age", None, |at| {
        unless(&at, "off", |at| {
            at.parsed("a duration, or off", |text| {
                quantity::duration(text).map_err(|wanted| format!("off, or {wanted}"))
            })
        })
    });
    let connections = fields.or("connections", None, |at| unless(&at, "auto", |at| at.whole(1..=MOST_CONNECTIONS)));
    let connections_per_address =
        fields.or("connections_per_address", None, |at| unless(&at, "auto", |at| at.whole(1..=MOST_CONNECTIONS)));
    let http2_streams = fields.or("http2_streams", DEFAULTS.http2_streams, |at| at.whole(1..=10_000));
    let slashes = [("refuse", EncodedSlash::Refuse), ("pass", EncodedSlash::Pass)];
    let encoded_slash =
        fields.or("encoded_slash", DEFAULTS.encoded_slash, |at| at.one_of("way with an encoded slash", &slashes));
    let ways = [("drop", Underscores::Drop), ("pass", Underscores::Pass), ("refuse", Underscores::Refuse)];
    let underscores = fields.or("underscores", DEFAULTS.underscores, |at| at.one_of("way with underscores", &ways));
    Ok(Guards {
        header_timeout: header_timeout?,
        header_bytes: header_bytes?,
        headers: headers?,
        idle: idle?,
        requests_per_connection: requests_per_connection?,
        connection_age: connection_age?,
        connections: connections?,
        connections_per_address: connections_per_address?,
        http2_streams: http2_streams?,
        encoded_slash: encoded_slash?,
        underscores: underscores?,
    })
}

/// None where the word stands there.
fn unless<T>(at: &At, word: &str, read: impl FnOnce(&At) -> Checked<T>) -> Checked<Option<T>> {
    if at.is_text(word) { Ok(None) } else { read(at).map(Some) }
}

/// `x-forwarded-for`, `forwarded`, or the name of any header that holds one address.
pub(super) fn client_header(at: &At) -> Checked<ClientHeader> {
    at.parsed("the name of a header", |text| match HeaderName::from_bytes(text.as_bytes()) {
        Ok(name) if name == "x-forwarded-for" => Ok(ClientHeader::XForwardedFor),
        Ok(name) if name == "forwarded" => Ok(ClientHeader::Forwarded),
        Ok(name) => Ok(ClientHeader::Named(name)),
        Err(_) => Err("the name of a header, such as x-forwarded-for, forwarded or cf-connecting-ip".to_owned()),
    })
}
