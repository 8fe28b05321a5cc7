//! `REDIS_URL`: which Redis, and under which prefix our keys stand there. Its password is never shown.

use redis::{Client, ConnectionAddr, IntoConnectionInfo};

/// The setting every message names.
pub const VARIABLE: &str = "REDIS_URL";
const DEFAULT_PREFIX: &str = "cfx:";
const LONGEST_PREFIX: usize = 64;

/// A checked `REDIS_URL`: `redis[s]://[USER:PASSWORD@]HOST[:PORT][/DATABASE][?prefix=PREFIX]`.
pub struct RedisAddress {
    pub(super) client: Client,
    /// What every key begins with.
    pub(super) prefix: String,
    /// Where edges speak to each other. Channels know no databases, so its number is part of the name.
    pub(super) channel: String,
    /// `host:port`, for messages.
    pub(super) shown: String,
    pub(super) tls: bool,
}

/// Why a `REDIS_URL` cannot be used. Says what to write instead, and shows nothing of a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{VARIABLE} {0}")]
pub struct BadAddress(String);

impl RedisAddress {
    pub fn parse(text: &str) -> Result<Self, BadAddress> {
        let shape = "write redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE], or rediss:// for TLS";
        let Some(mut url) = redis::parse_redis_url(text.trim()) else {
            return Err(BadAddress(format!("is no address of a Redis ({}): {shape}", kind_of(text))));
        };
        if url.scheme().contains("unix") {
            return Err(BadAddress(format!("names a Unix socket, which several edges cannot share: {shape}")));
        }
        let mut prefix = DEFAULT_PREFIX.to_owned();
        let mut others = Vec::new();
        for (name, value) in url.query_pairs() {
            match &*name {
                "prefix" => prefix = value.into_owned(),
                _ => others.push(name.into_owned()),
            }
        }
        if !others.is_empty() {
            return Err(BadAddress(format!("has ?{}=, which is not known: only ?prefix= is", others.join("=, ?"))));
        }
        check_prefix(&prefix)?;
        url.set_query(None);
        let problem = |error: redis::RedisError| {
            let what = error.to_string();
            let what = what.trim_end_matches(" - InvalidClientConfig");
            BadAddress(format!("cannot be used ({what}): {shape}"))
        };
        let info = url.into_connection_info().map_err(problem)?;
        let (shown, tls) = match info.addr() {
            ConnectionAddr::TcpTls { host, port, .. } => (format!("{host}:{port}"), true),
            ConnectionAddr::Tcp(host, port) => (format!("{host}:{port}"), false),
            _ => return Err(BadAddress(format!("names no host: {shape}"))),
        };
        let channel = format!("{prefix}words:{}", info.redis_settings().db());
        let client = Client::open(info).map_err(problem)?;
        Ok(Self { client, prefix, channel, shown, tls })
    }
}

/// Braces would decide which slot a key is in; blanks would cut our words on the channel.
fn check_prefix(prefix: &str) -> Result<(), BadAddress> {
    let good = |byte: u8| byte.is_ascii_graphic() && !b"{}".contains(&byte);
    if prefix.is_empty() || prefix.len() > LONGEST_PREFIX || !prefix.bytes().all(good) {
        return Err(BadAddress(format!(
            "has a bad ?prefix=: 1 to {LONGEST_PREFIX} printable ASCII characters without blanks and braces, like cfx:"
        )));
    }
    Ok(())
}

/// What was found, by its scheme alone: the rest may hold a password.
fn kind_of(text: &str) -> String {
    match text.split_once("://") {
        _ if text.trim().is_empty() => "it is empty".to_owned(),
        Some((scheme, _)) if scheme.len() <= 16 => format!("it begins with {scheme}://"),
        _ => "it has no scheme".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(text: &str) -> String {
        RedisAddress::parse(text).err().unwrap().to_string()
    }

    #[test]
    fn an_address_has_a_host_and_perhaps_a_prefix() {
        let plain = RedisAddress::parse("redis://cache").unwrap();
        assert_eq!((&*plain.shown, &*plain.prefix, plain.tls), ("cache:6379", "cfx:", false));
        let full = RedisAddress::parse("rediss://ada:secret@cache.example.org:6380/2?prefix=edge7:").unwrap();
        assert_eq!((&*full.shown, &*full.prefix, full.tls), ("cache.example.org:6380", "edge7:", true));
    }

    #[test]
    fn a_mistake_is_named_and_the_password_is_not() {
        for (text, part) in [
            ("", "it is empty"),
            ("cache:6379", "it has no scheme"),
            ("http://:secret@cache", "it begins with http://"),
            ("redis://:secret@cache:port", "it begins with redis://"),
            ("redis://:secret@cache/first", "Invalid database number"),
            ("redis+unix:///run/redis.sock", "Unix socket"),
            ("redis://:secret@cache?prefx=a", "?prefx=, which is not known"),
            ("redis://:secret@cache?prefix={a}", "bad ?prefix="),
            ("redis://:secret@cache?prefix=", "bad ?prefix="),
        ] {
            let message = problem(text);
            assert!(message.starts_with("REDIS_URL ") && message.contains(part), "{text:?}: {message}");
            assert!(!message.contains("secret"), "{message}");
        }
    }
}
