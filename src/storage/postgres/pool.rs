//! Connections, and the one way every statement goes to the server.
//!
//! A statement runs on the runtime the store was opened on, whoever asks for it: dropping the asker's future does not
//! stop it, so that no connection goes back to the pool with half an answer in it. What takes too long is given up and
//! its connection thrown away.
//!
//! A statement that still waits for a connection is not run once nobody waits for it: else whoever gives up after a
//! quarter of a second would leave it standing in the way of those who come later.
//!
//! Statements are prepared once a session where sessions are ours, and sent unnamed, in one message with their values,
//! where a pooler may hand each to another session. Unnamed is right everywhere, so that is how it begins; the listener
//! finds out whether sessions are ours ([`Pool::sessions_are_ours`]).
//!
//! Failure stance: an error is told to the caller, whose room says what then; nothing is tried again here.

use std::convert::Infallible;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use deadpool_postgres::{Hook, HookError, Manager, ManagerConfig, Object, PoolError, RecyclingMethod, Runtime};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Error, Row};

use super::connect::{CONNECT_LIMIT, Target};
use super::told;
use crate::units::StoreError;

/// How long a call waits for a connection while all are in use, where nothing else is said.
const WAIT: Duration = Duration::from_secs(5);
/// A little more than a session's own `statement_timeout`, which gives the better message.
pub(super) const CALL_LIMIT: Duration = Duration::from_secs(12);
/// Gateways forget connections that are silent for longer, and tell neither end.
const IDLE_LIMIT: Duration = Duration::from_secs(300);

/// A statement's text and the types of its parameters, which spare a round trip to ask for them.
pub(super) struct Statement {
    pub(super) sql: &'static str,
    pub(super) types: &'static [Type],
}

/// A parameter's value, sent from another thread.
pub(super) type Value = Box<dyn ToSql + Sync + Send>;

/// A statement that did not do what it was to do.
#[derive(Debug)]
pub(super) struct Fault {
    /// None: the server did not answer.
    code: Option<SqlState>,
    text: String,
}

#[derive(Clone)]
pub(super) struct Pool {
    pool: deadpool_postgres::Pool,
    target: Target,
    runtime: Handle,
    ours: Arc<AtomicBool>,
    connections: usize,
    wait: Duration,
    /// One for each connection. The pool has a queue too, but whoever leaves that may leave a connection half made.
    places: Arc<Semaphore>,
}

/// A connection, for work that is more than one statement.
pub(super) struct Session {
    object: Object,
    _place: OwnedSemaphorePermit,
}

impl Pool {
    /// Of so many connections at most; connects to nothing yet. Must be called on the runtime that is to do the work.
    pub(super) fn new(target: Target, connections: usize) -> Result<Self, StoreError> {
        let config = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let manager = Manager::from_connect(tokio_postgres::Config::new(), target.clone(), config);
        let fresh_enough = Hook::sync_fn(|_, use_so_far| {
            if use_so_far.last_used() > IDLE_LIMIT { Err(HookError::message("idle for too long")) } else { Ok(()) }
        });
        let pool = deadpool_postgres::Pool::builder(manager)
            .max_size(connections)
            .runtime(Runtime::Tokio1)
            .create_timeout(Some(CONNECT_LIMIT))
            .pre_recycle(fresh_enough)
            .build()
            .map_err(|error| StoreError(error.to_string()))?;
        let runtime = Handle::try_current().map_err(|error| StoreError(error.to_string()))?;
        let places = Arc::new(Semaphore::new(connections));
        Ok(Self { pool, target, runtime, ours: Arc::default(), connections, wait: WAIT, places })
    }

    /// The same pool, whose calls wait for a connection for `wait` at most.
    pub(super) fn waiting(self, wait: Duration) -> Self {
        Self { wait, ..self }
    }

    /// The same pool, whose sessions are ours where `other`'s are: both use one URL.
    pub(super) fn sharing_certainty(self, other: &Pool) -> Self {
        Self { ours: Arc::clone(&other.ours), ..self }
    }

    /// Says whether a session keeps what was prepared in it: not so behind a pooler that hands out sessions by the
    /// transaction.
    pub(super) fn sessions_are_ours(&self, ours: bool) {
        self.ours.store(ours && !self.target.shared_sessions, Ordering::Relaxed);
    }

    /// Runs one statement, which is a transaction of its own.
    pub(super) async fn query(&self, statement: &'static Statement, values: Vec<Value>) -> Result<Vec<Row>, Fault> {
        let pool = self.clone();
        // Ends with this future, whether that comes to its end or is dropped.
        let (_asker, nobody_waits) = oneshot::channel::<Infallible>();
        let call = self.runtime.spawn(async move {
            let place = tokio::select! {
                biased;
                _ = nobody_waits => Err(Fault::unanswered("nobody waits for it any more".to_owned())),
                place = pool.place() => place,
            };
            pool.run(place?, statement, &values).await
        });
        call.await.unwrap_or_else(|_| Err(Fault::unanswered("the store is closed".to_owned())))
    }

    /// A session for work that is more than one statement. It must not be dropped in the midst of one.
    pub(super) async fn session(&self) -> Result<Session, Fault> {
        let place = self.place().await?;
        self.session_at(place).await
    }

    pub(super) async fn session_at(&self, place: OwnedSemaphorePermit) -> Result<Session, Fault> {
        let object = self.pool.get().await.map_err(|error| self.no_session(error))?;
        Ok(Session { object, _place: place })
    }

    /// Where the work is done.
    pub(super) fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// In the order of arrival.
    pub(super) async fn place(&self) -> Result<OwnedSemaphorePermit, Fault> {
        let place = tokio::time::timeout(self.wait, Arc::clone(&self.places).acquire_owned()).await;
        let (at, connections) = (&self.target.place, self.connections);
        let in_use = || Fault::unanswered(format!("{at}: all {connections} connections are in use"));
        place.ok().and_then(Result::ok).ok_or_else(in_use)
    }

    async fn run(
        &self,
        place: OwnedSemaphorePermit,
        statement: &Statement,
        values: &[Value],
    ) -> Result<Vec<Row>, Fault> {
        let session = self.session_at(place).await?;
        let ours = self.ours.load(Ordering::Relaxed);
        match tokio::time::timeout(CALL_LIMIT, ask(&session, statement, values, ours)).await {
            Ok(Ok(rows)) => Ok(rows),
            Ok(Err(error)) => {
                if leads_nowhere(&error) {
                    session.throw_away();
                }
                Err(Fault::of(&error))
            }
            Err(_) => {
                session.throw_away();
                Err(Fault::unanswered(format!("{}: a statement was not answered in {CALL_LIMIT:?}", self.target.place)))
            }
        }
    }

    fn no_session(&self, error: PoolError) -> Fault {
        match error {
            PoolError::Backend(error) => Fault::unanswered(self.target.explain(&error).to_string()),
            PoolError::Timeout(_) => Fault::unanswered(self.target.silent().to_string()),
            other => Fault::unanswered(other.to_string()),
        }
    }
}

async fn ask(session: &Session, statement: &Statement, values: &[Value], ours: bool) -> Result<Vec<Row>, Error> {
    if ours {
        let prepared = session.prepare_typed_cached(statement.sql, statement.types).await?;
        let values: Vec<&(dyn ToSql + Sync)> = values.iter().map(|value| &**value as _).collect();
        return session.query(&prepared, &values).await;
    }
    let typed: Vec<(&(dyn ToSql + Sync), Type)> =
        values.iter().zip(statement.types).map(|(value, kind)| (&**value as _, kind.clone())).collect();
    session.query_typed(statement.sql, &typed).await
}

/// Whether the next statement on this connection would fare no better: the server became a standby, or is going.
fn leads_nowhere(error: &Error) -> bool {
    let Some(code) = error.code() else { return true };
    code == &SqlState::READ_ONLY_SQL_TRANSACTION || code.code().starts_with("57P") || code.code().starts_with("08")
}

impl Session {
    pub(super) fn throw_away(self) {
        drop(Object::take(self.object));
    }
}

impl Deref for Session {
    type Target = Object;

    fn deref(&self) -> &Object {
        &self.object
    }
}

impl Fault {
    pub(super) fn of(error: &Error) -> Self {
        Self { code: error.code().cloned(), text: told(error) }
    }

    pub(super) fn unanswered(text: String) -> Self {
        Self { code: None, text }
    }

    /// Whether the server understood and will say no every time: a value that does not fit (class 22), a constraint
    /// (class 23).
    pub(super) fn is_final(&self) -> bool {
        self.code.as_ref().is_some_and(|code| code.code().starts_with("22") || code.code().starts_with("23"))
    }

    pub(super) fn is(&self, code: &SqlState) -> bool {
        self.code.as_ref() == Some(code)
    }
}

impl From<Fault> for StoreError {
    fn from(fault: Fault) -> Self {
        StoreError(fault.text)
    }
}

/// A value on its way to [`Pool::query`].
pub(super) fn value(value: impl ToSql + Sync + Send + 'static) -> Value {
    Box::new(value)
}
