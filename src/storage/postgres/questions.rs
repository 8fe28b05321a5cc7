//! Questions to the log: each a transaction of its own that can only read, is given up after two seconds, and is for the
//! session that it begins by presenting.
//!
//! All of it goes out at once and is waited for together, so that a question takes one round trip. What a session presents
//! and how long a statement may take hold for the transaction alone: behind a pooler that hands out sessions by the
//! transaction the next one is another's. Statements are unnamed, there and everywhere: they are planned for the values
//! they come with, because what is not asked for is to cost nothing.
//!
//! Failure stance: an error is told to the caller. A transaction that could not be begun answers nothing, and neither does
//! one whose session is not, or no longer, the user's: it says so ([`SESSION_OVER`]).

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::{OptionFuture, join4};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::timeout;
use tokio_postgres::Row;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{ToSql, Type};

use super::pool::{CALL_LIMIT, Fault, Pool, Statement, Value};
use crate::identity::SessionToken;
use crate::ledger::{QUESTION_LIMIT, SESSION_OVER, TOO_LONG};
use crate::units::{StoreError, UserId};

/// Of one user's at once, on fewer connections than there are: others have the rest, however much there is to look through.
const AT_ONCE: usize = 2;
/// Users whose turns are kept before those are let go that nobody waits for.
const KEPT: usize = 1_000;

/// Whose session it is, once it is presented: of a `case` the first part comes first.
const PRESENT: &str =
    "select case when set_config('cfx.session', $1, true) is not null then cfx.session_user_id() end as user_id";

/// A pool that is asked for somebody.
#[derive(Clone)]
pub(super) struct Questions {
    pool: Pool,
    /// Presented, and must be this user's. None: the database lets this login see everything.
    session: Option<(SessionToken, UserId)>,
    /// What a user's questions wait for before they wait for a connection.
    turn: Option<Arc<Semaphore>>,
}

/// Whose questions are under way.
#[derive(Default)]
pub(super) struct Askers {
    turns: Mutex<HashMap<UserId, Arc<Semaphore>>>,
}

impl Askers {
    fn turn(&self, user: UserId) -> Arc<Semaphore> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        if turns.len() >= KEPT && !turns.contains_key(&user) {
            turns.retain(|_, turn| Arc::strong_count(turn) > 1);
        }
        Arc::clone(turns.entry(user).or_insert_with(|| Arc::new(Semaphore::new(AT_ONCE))))
    }
}

impl Questions {
    pub(super) fn of_any(pool: Pool) -> Self {
        Self { pool, session: None, turn: None }
    }

    pub(super) fn of_session(pool: Pool, token: SessionToken, user: UserId) -> Self {
        Self { pool, session: Some((token, user)), turn: None }
    }

    /// The same, in turn with all else that is asked for `user`.
    pub(super) fn for_user(self, askers: &Askers, user: UserId) -> Self {
        Self { turn: Some(askers.turn(user)), ..self }
    }

    /// Asks one question. Its error is [`TOO_LONG`] where it took longer than [`QUESTION_LIMIT`].
    pub(super) async fn ask(&self, statement: &'static Statement, values: Vec<Value>) -> Result<Vec<Row>, StoreError> {
        let asked = self.clone();
        // As with every statement: see `pool`.
        let (_asker, nobody_waits) = oneshot::channel::<Infallible>();
        let call = self.pool.runtime().spawn(async move {
            let (_turn, place) = tokio::select! {
                biased;
                _ = nobody_waits => return Err(Fault::unanswered("nobody waits for it any more".to_owned())),
                places = asked.places() => places?,
            };
            let session = asked.pool.session_at(place).await?;
            let transaction = Box::pin(transaction(&session, asked.session.as_ref(), statement, &values));
            let answer = timeout(CALL_LIMIT, transaction).await;
            let answer = answer.unwrap_or_else(|_| Err(Fault::unanswered("a question was not answered".to_owned())));
            if answer.as_ref().is_err_and(|fault| !is_given_up(fault)) {
                // Whatever state its transaction is in.
                session.throw_away();
            }
            answer
        });
        let answer = call.await.unwrap_or_else(|_| Err(Fault::unanswered("the store is closed".to_owned())));
        let told = |fault| if is_given_up(&fault) { StoreError(TOO_LONG.to_owned()) } else { fault.into() };
        answer.map_err(told)?.ok_or_else(|| StoreError(SESSION_OVER.to_owned()))
    }
}

impl Questions {
    /// A turn of the user's, and then a connection's place.
    async fn places(&self) -> Result<(Option<OwnedSemaphorePermit>, OwnedSemaphorePermit), Fault> {
        let turn = match &self.turn {
            Some(turn) => Some(timeout(CALL_LIMIT, Arc::clone(turn).acquire_owned()).await),
            None => None,
        };
        let late = || Fault::unanswered("other questions of this user are still under way".to_owned());
        let turn = turn.map(|turn| turn.ok().and_then(Result::ok).ok_or_else(late)).transpose()?;
        Ok((turn, self.pool.place().await?))
    }
}

/// None: the session is not that user's.
async fn transaction(
    client: &tokio_postgres::Client,
    session: Option<&(SessionToken, UserId)>,
    statement: &Statement,
    values: &[Value],
) -> Result<Option<Vec<Row>>, Fault> {
    let begin = format!("begin read only; set local statement_timeout = {}", QUESTION_LIMIT.as_millis());
    let present = session.map(|(token, _)| async {
        let shown: (&(dyn ToSql + Sync), Type) = (&token.expose(), Type::TEXT);
        client.query_typed_one(PRESENT, &[shown]).await
    });
    let typed: Vec<(&(dyn ToSql + Sync), Type)> =
        values.iter().zip(statement.types).map(|(value, kind)| (&**value as _, kind.clone())).collect();
    let (began, presented, answer, ended) = join4(
        client.batch_execute(&begin),
        OptionFuture::from(present),
        client.query_typed(statement.sql, &typed),
        client.batch_execute("commit"),
    )
    .await;
    let told = |error: tokio_postgres::Error| Fault::of(&error);
    began.map_err(told)?;
    let found = match presented.transpose().map_err(told)? {
        Some(row) => row.try_get::<_, Option<uuid::Uuid>>("user_id").map_err(told)?,
        None => None,
    };
    let rows = answer.map_err(told)?;
    ended.map_err(told)?;
    Ok((found == session.map(|(_, user)| user.0)).then_some(rows))
}

fn is_given_up(fault: &Fault) -> bool {
    fault.is(&SqlState::QUERY_CANCELED)
}
