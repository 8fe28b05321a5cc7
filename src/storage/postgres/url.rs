//! What `DATABASE_URL` says, before anything is connected.
//!
//! Parameters that `tokio-postgres` does not know (`sslrootcert`, the stricter words of `sslmode`, `pgbouncer`) are
//! taken out first. No message repeats any part of the URL but host, port, database and user.

use std::net::IpAddr;
use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};

use super::connect::ConnectProblem;
use super::tls::Roots;

const FORM: &str = "postgres://USER:PASSWORD@HOST:PORT/DATABASE";
/// To a host that does not answer at all. Requests have long stopped waiting.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A peer that vanished without a word is noticed within about a minute.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_RETRIES: u32 = 3;
/// Bytes sent and not acknowledged for this long end a connection.
const UNACKNOWLEDGED: Duration = Duration::from_secs(15);
/// What every session is told, unless a pooler refuses to pass it on: no statement of ours takes longer, and what was
/// left open by an edge that hangs does not hold its locks for ever.
const SESSION: &str = "-c statement_timeout=10s -c idle_in_transaction_session_timeout=30s";

/// A URL that was understood.
#[derive(Debug, Clone)]
pub(super) struct ParsedUrl {
    pub(super) config: Config,
    /// The same without what a session is told at its start, for poolers that refuse to pass it on.
    pub(super) bare: Config,
    pub(super) roots: Roots,
    /// `user@host:port/database`, for messages.
    pub(super) place: String,
    /// `pgbouncer=true`: the URL itself says that sessions are shared.
    pub(super) shared_sessions: bool,
}

/// Reads `url`, the value of the setting `name`.
pub(super) fn parse(name: &'static str, url: &str) -> Result<ParsedUrl, ConnectProblem> {
    let malformed = |what: &str| ConnectProblem::lasting(format!("{name} {what}: its form is {FORM}"));
    let rest = ["postgres://", "postgresql://"].iter().find_map(|scheme| url.strip_prefix(scheme));
    let rest = rest.ok_or_else(|| malformed("does not begin with postgres://"))?;
    let (before, query) = rest.split_once('?').unwrap_or((rest, ""));
    if before.matches('@').count() > 1 {
        return Err(malformed("holds more than one @ (one in a password is written %40)"));
    }
    let parameters = Parameters::take(query).map_err(|what| malformed(&what))?;
    let cleaned = format!("postgres://{before}?{}", parameters.left.join("&"));
    let mut config: Config = cleaned.trim_end_matches('?').parse().map_err(|error| malformed(&reason(&error)))?;
    if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
        return Err(malformed("names no host"));
    }
    if config.get_user().is_none() {
        return Err(malformed("names no user"));
    }
    let local = is_local(&config);
    let mode = parameters.mode.unwrap_or(if local { SslMode::Disable } else { SslMode::Require });
    let roots = match (mode, parameters.root_certificate) {
        (SslMode::Disable, _) => Roots::None,
        (_, Some(path)) if path != "system" => Roots::File(path),
        _ => Roots::System,
    };
    config.ssl_mode(mode);
    dress(&mut config);
    let bare = config.clone();
    if config.get_options().is_none() {
        config.options(SESSION);
    }
    let place = place(&config);
    Ok(ParsedUrl { config, bare, roots, place, shared_sessions: parameters.shared_sessions })
}

/// The query of a URL, with what is ours taken out.
struct Parameters<'url> {
    left: Vec<&'url str>,
    mode: Option<SslMode>,
    root_certificate: Option<String>,
    shared_sessions: bool,
}

impl<'url> Parameters<'url> {
    fn take(query: &'url str) -> Result<Self, String> {
        let mut parameters = Self { left: Vec::new(), mode: None, root_certificate: None, shared_sessions: false };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=') {
                Some(("sslmode", mode)) => parameters.mode = Some(ssl_mode(mode)?),
                Some(("sslrootcert", path)) => parameters.root_certificate = Some(percent_decoded(path)),
                Some(("pgbouncer", value)) => parameters.shared_sessions = value == "true",
                _ => parameters.left.push(pair),
            }
        }
        Ok(parameters)
    }
}

/// Where TLS is spoken at all the certificate is checked in full, so the last three are one.
fn ssl_mode(word: &str) -> Result<SslMode, String> {
    match word {
        "disable" => Ok(SslMode::Disable),
        "allow" | "prefer" => Ok(SslMode::Prefer),
        "require" | "verify-ca" | "verify-full" => Ok(SslMode::Require),
        _ => Err("has an sslmode that is none of disable, prefer, require, verify-full".to_owned()),
    }
}

/// Settings of ours where the URL has none of its own.
fn dress(config: &mut Config) {
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(CONNECT_TIMEOUT);
    }
    if config.get_tcp_user_timeout().is_none() {
        config.tcp_user_timeout(UNACKNOWLEDGED);
    }
    if config.get_keepalives_interval().is_none() {
        config.keepalives_idle(KEEPALIVE_IDLE);
        config.keepalives_interval(KEEPALIVE_INTERVAL);
        config.keepalives_retries(KEEPALIVE_RETRIES);
    }
    if config.get_application_name().is_none() {
        config.application_name("cfx");
    }
}

/// Whether every host is this machine, where there is no wire to listen on.
fn is_local(config: &Config) -> bool {
    let name_is_local = |host: &Host| match host {
        Host::Tcp(name) => name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback()),
        Host::Unix(_) => true,
    };
    let addresses = config.get_hostaddrs();
    if !addresses.is_empty() {
        return addresses.iter().all(IpAddr::is_loopback);
    }
    config.get_hosts().iter().all(name_is_local)
}

fn place(config: &Config) -> String {
    let user = config.get_user().unwrap_or_default();
    let hosts: Vec<String> = if config.get_hosts().is_empty() {
        config.get_hostaddrs().iter().map(ToString::to_string).collect()
    } else {
        let name = |host: &Host| match host {
            Host::Tcp(name) if name.contains(':') => format!("[{name}]"),
            Host::Tcp(name) => name.clone(),
            Host::Unix(path) => path.display().to_string(),
        };
        config.get_hosts().iter().map(name).collect()
    };
    let ports = config.get_ports();
    let port = |at: usize| ports.get(at).or(ports.first()).copied().unwrap_or(5432);
    let hosts: Vec<String> = hosts.iter().enumerate().map(|(at, host)| format!("{host}:{}", port(at))).collect();
    format!("{user}@{}/{}", hosts.join(","), config.get_dbname().unwrap_or(user))
}

/// Why `tokio-postgres` did not take a URL. Its own words name the option and never repeat a value.
fn reason(error: &tokio_postgres::Error) -> String {
    let cause = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    format!("cannot be read ({cause})")
}

/// A path as it was before it was put into a URL; what is no escape stays as it is.
fn percent_decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escape = text.get(at + 1..at + 3).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match (bytes[at], escape) {
            (b'%', Some(byte)) => {
                decoded.push(byte);
                at += 3;
            }
            (byte, _) => {
                decoded.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(url: &str) -> ParsedUrl {
        parse("DATABASE_URL", url).unwrap()
    }

    fn refusal(url: &str) -> String {
        parse("DATABASE_URL", url).unwrap_err().to_string()
    }

    #[test]
    fn tls_is_demanded_of_every_host_that_is_not_this_machine() {
        let mode = |url: &str| (parsed(url).config.get_ssl_mode(), parsed(url).roots);
        assert_eq!(mode("postgres://cfx@db.example.org/cfx"), (SslMode::Require, Roots::System));
        assert_eq!(mode("postgres://cfx@10.0.0.5:6432/cfx?sslmode=verify-full"), (SslMode::Require, Roots::System));
        assert_eq!(mode("postgres://cfx@db/cfx?sslmode=disable"), (SslMode::Disable, Roots::None));
        for here in ["localhost", "127.0.0.1", "[::1]", "%2Fvar%2Frun%2Fpostgresql"] {
            assert_eq!(mode(&format!("postgresql://cfx@{here}/cfx")), (SslMode::Disable, Roots::None), "{here}");
        }
        let private = "postgres://cfx@db/cfx?sslmode=verify-ca&sslrootcert=%2Fetc%2Fdb%20ca.pem&connect_timeout=2";
        assert_eq!(mode(private), (SslMode::Require, Roots::File("/etc/db ca.pem".to_owned())));
        assert_eq!(parsed(private).config.get_connect_timeout(), Some(&Duration::from_secs(2)));
        let system = "postgres://cfx@localhost/cfx?sslmode=require&sslrootcert=system";
        assert_eq!(mode(system), (SslMode::Require, Roots::System));
    }

    #[test]
    fn a_place_is_named_without_the_password() {
        assert_eq!(parsed("postgres://cfx:s3cret@db:6432/edge?sslmode=disable").place, "cfx@db:6432/edge");
        assert_eq!(parsed("postgres://cfx:s%40cret@[::1]").place, "cfx@[::1]:5432/cfx");
        assert_eq!(parsed("postgres://cfx@a,b:6000/edge").place, "cfx@a:5432,b:6000/edge");
        assert!(parsed("postgres://cfx@db/cfx?pgbouncer=true").shared_sessions);
    }

    #[test]
    fn what_cannot_be_read_is_named_and_never_repeated() {
        let secret = "hunter2";
        for (url, what) in [
            (format!("mysql://cfx:{secret}@db/cfx"), "does not begin with postgres://"),
            (format!("host=db password={secret}"), "does not begin with postgres://"),
            (format!("postgres://cfx:{secret}@{secret}@db/cfx"), "more than one @ (one in a password is written %40)"),
            (format!("postgres://cfx:{secret}@db:{secret}/cfx"), "port"),
            (format!("postgres://cfx:{secret}@/cfx"), "names no host"),
            (format!("postgres://:{secret}@db/cfx?colour=blue"), "colour"),
            (format!("postgres://cfx:{secret}@db/cfx?sslmode={secret}"), "none of disable, prefer, require"),
            ("postgres://db/cfx".to_owned(), "names no user"),
            (String::new(), "does not begin with postgres://"),
        ] {
            let text = refusal(&url);
            assert!(text.starts_with("DATABASE_URL ") && text.contains(what) && text.contains(FORM), "{text}");
            assert!(!text.contains(secret), "{text}");
        }
    }
}
