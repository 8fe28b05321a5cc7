//! From `DATABASE_URL` to a connection, and from whatever goes wrong on the way to a sentence that names the setting,
//! what was found and what to do.
//!
//! Failure stance: what only a person can put right (a wrong password, a database that is not there) is told apart
//! from what may pass by itself (nobody answers), so that a start waits for the one and never for the other.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use deadpool_postgres::Connect;
use futures_util::future::BoxFuture;
use rustls::CertificateError;
use tokio::task::JoinHandle;
use tokio_postgres::error::SqlState;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{Client, Config, Connection, Error, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::tls;
use super::url::{self, ParsedUrl};

/// Handshakes included, which the driver's own limit is not.
pub(super) const CONNECT_LIMIT: Duration = Duration::from_secs(10);

type Stream = <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream;

/// A database that can be connected to.
#[derive(Clone)]
pub(super) struct Target {
    /// `DATABASE_URL` or `DIRECT_DATABASE_URL`.
    pub(super) setting: &'static str,
    /// `user@host:port/database`.
    pub(super) place: String,
    /// The URL itself says that it leads to a pooler.
    pub(super) shared_sessions: bool,
    config: Config,
    bare: Config,
    tls: MakeRustlsConnect,
    /// A pooler on the way refuses to pass on what a session is told at its start.
    refuses_options: Arc<AtomicBool>,
}

/// Why there is no connection: the setting, what was found, what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct ConnectProblem {
    text: String,
    /// Waiting does not help: somebody has to change something.
    pub lasting: bool,
}

impl ConnectProblem {
    pub(super) fn lasting(text: String) -> Self {
        Self { text, lasting: true }
    }

    pub(super) fn passing(text: String) -> Self {
        Self { text, lasting: false }
    }
}

impl Target {
    /// Reads the URL that the setting `name` holds. Connects to nothing.
    pub(super) fn parse(name: &'static str, url: &str) -> Result<Self, ConnectProblem> {
        let ParsedUrl { config, bare, roots, place, shared_sessions } = url::parse(name, url)?;
        let tls = tls::connector(&roots).map_err(|what| ConnectProblem::lasting(format!("{name}: {what}")))?;
        Ok(Self { setting: name, place, shared_sessions, config, bare, tls, refuses_options: Arc::default() })
    }

    /// One connection; its second half must be polled for the first to work.
    pub(super) async fn connect(&self) -> Result<(Client, Connection<Socket, Stream>), ConnectProblem> {
        match tokio::time::timeout(CONNECT_LIMIT, self.dial()).await {
            Ok(Ok(connected)) => Ok(connected),
            Ok(Err(error)) => Err(self.explain(&error)),
            Err(_) => Err(self.silent()),
        }
    }

    async fn dial(&self) -> Result<(Client, Connection<Socket, Stream>), Error> {
        if self.refuses_options.load(Ordering::Relaxed) {
            return self.bare.connect(self.tls.clone()).await;
        }
        match self.config.connect(self.tls.clone()).await {
            Err(error) if refuses_options(&error) => {
                self.refuses_options.store(true, Ordering::Relaxed);
                tracing::info!(
                    setting = self.setting,
                    "the pooler on the way takes no settings for a session; statements are bounded in time by cfx alone"
                );
                self.bare.connect(self.tls.clone()).await
            }
            outcome => outcome,
        }
    }

    pub(super) fn silent(&self) -> ConnectProblem {
        self.problem(
            false,
            "nobody answers there",
            "see that host and port are right and that a firewall lets cfx through",
        )
    }

    /// What an error of connecting means to an operator.
    pub(super) fn explain(&self, error: &Error) -> ConnectProblem {
        if let Some(answer) = error.as_db_error() {
            return self.refused(answer.code(), answer.message());
        }
        let cause = cause(error);
        let is_io = io_error(error).is_some();
        match error.to_string().as_str() {
            "error performing TLS handshake" => self.no_tls(error, &cause),
            "invalid configuration" if cause.contains("password") => {
                self.problem(true, "the server asks for a password, and the URL has none", "put it in: USER:PASSWORD@")
            }
            "error connecting to server" if cause.contains("lookup") => self.problem(
                false,
                &format!("there is no such host ({cause})"),
                "correct the name, or start what it names",
            ),
            "error connecting to server" | "timeout waiting for server" => self.problem(
                false,
                &format!("nobody answers there ({cause})"),
                "see that host and port are right and that Postgres runs and listens there",
            ),
            _ if is_io => self.problem(false, &format!("the connection broke ({cause})"), "see the log of Postgres"),
            other => self.problem(false, &format!("{other} ({cause})"), "see the log of Postgres"),
        }
    }

    /// The server, or a pooler before it, answered with an error.
    fn refused(&self, code: &SqlState, message: &str) -> ConnectProblem {
        let found = format!("{} ({})", message, code.code());
        match *code {
            SqlState::INVALID_PASSWORD => self.problem(
                true,
                &format!("the password is refused: {found}"),
                "correct the password or the user in the URL",
            ),
            SqlState::INVALID_AUTHORIZATION_SPECIFICATION if message.contains("no encryption") => self.problem(
                true,
                &format!("the server demands TLS or does not let this host in: {found}"),
                "add sslmode=verify-full to the URL, or let the host in by pg_hba.conf",
            ),
            SqlState::INVALID_AUTHORIZATION_SPECIFICATION => self.problem(
                true,
                &format!("the user is not let in: {found}"),
                "correct the user, or let it in by pg_hba.conf",
            ),
            SqlState::INVALID_CATALOG_NAME => self.problem(
                true,
                &format!("there is no such database: {found}"),
                "create it, or correct the URL's last part",
            ),
            SqlState::INSUFFICIENT_PRIVILEGE => {
                self.problem(true, &format!("the user has no right to: {found}"), "grant it CONNECT on the database")
            }
            SqlState::TOO_MANY_CONNECTIONS => self.problem(
                false,
                &format!("there is no connection left: {found}"),
                "raise max_connections, or put a pooler before it",
            ),
            SqlState::CANNOT_CONNECT_NOW => {
                self.problem(false, &format!("the server is starting or stopping: {found}"), "wait for it")
            }
            _ => self.problem(false, &format!("the server refuses the connection: {found}"), "see its log"),
        }
    }

    fn no_tls(&self, error: &Error, cause: &str) -> ConnectProblem {
        let certificate = io_error(error).and_then(|io| io.get_ref()?.downcast_ref::<rustls::Error>());
        match certificate {
            Some(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer)) => self.problem(
                true,
                "its certificate comes from nobody this machine trusts",
                "name the authority's certificate with sslrootcert=FILE",
            ),
            Some(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => self.problem(
                true,
                "its certificate is for another name than the URL's host",
                "write the host as the certificate does",
            ),
            Some(rustls::Error::InvalidCertificate(why)) => {
                self.problem(true, &format!("its certificate is not valid ({why:?})"), "give the server a valid one")
            }
            _ if cause.contains("does not support TLS") => self.problem(
                true,
                "the server speaks no TLS, which is demanded of every host but this machine",
                "turn on `ssl` there; on a network that nobody else can listen on, add sslmode=disable to the URL",
            ),
            _ => self.problem(false, &format!("the TLS handshake failed ({cause})"), "see the log of Postgres"),
        }
    }

    fn problem(&self, lasting: bool, found: &str, remedy: &str) -> ConnectProblem {
        let text = format!("{} names {}: {found}: {remedy}", self.setting, self.place);
        if lasting { ConnectProblem::lasting(text) } else { ConnectProblem::passing(text) }
    }
}

impl Connect for Target {
    fn connect(&self, _: &Config) -> BoxFuture<'_, Result<(Client, JoinHandle<()>), Error>> {
        Box::pin(async move {
            let (client, connection) = self.dial().await?;
            // Why a connection ended is told to whoever used it.
            Ok((client, tokio::spawn(async move { drop(connection.await) })))
        })
    }
}

/// PgBouncer, unless told to ignore them, ends the handshake over settings it cannot keep for a client.
fn refuses_options(error: &Error) -> bool {
    let text = error.as_db_error().map(|answer| answer.message()).unwrap_or_default();
    text.contains("unsupported startup parameter")
}

/// The innermost error's words.
fn cause(error: &Error) -> String {
    let mut innermost: &dyn std::error::Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

fn io_error(error: &Error) -> Option<&std::io::Error> {
    std::error::Error::source(error)?.downcast_ref()
}
