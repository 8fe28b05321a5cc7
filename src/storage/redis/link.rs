//! The connection that every call shares, and what the answers mean where they are no values.
//!
//! One multiplexed connection; lost, it is built again in the background, and calls fail at once meanwhile: whoever
//! asks has a stance of its own for that. A connection is used only after a greeting: the scripts are loaded and the
//! epoch of the data is agreed on, so that a server that came back with older data is never taken for the same.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, ErrorKind, FromRedisValue, RedisError, ServerErrorKind, Value};
use tokio::sync::Notify;
use uuid::Uuid;

use super::address::{RedisAddress, VARIABLE};
use super::scripts;
use crate::units::StoreError;

/// For a connection with its greeting.
const CONNECT: Duration = Duration::from_secs(2);
/// After this a connection counts as dead. Requests have long stopped waiting.
const ANSWER: Duration = Duration::from_secs(2);
const FIRST_RETRY: Duration = Duration::from_millis(50);
const LAST_RETRY: Duration = Duration::from_secs(2);
/// How long lost days are opened with a pause in which the edges say what they hold of them.
const YOUNG: Duration = Duration::from_secs(3);

pub(super) struct Link {
    pub(super) address: RedisAddress,
    state: Mutex<State>,
    lost: Notify,
}

/// Which life of the server's data it is, and whether that has just begun.
#[derive(Debug, Clone)]
pub(super) struct Epoch {
    pub(super) name: Arc<str>,
    pub(super) young: bool,
}

/// Why there is no connection.
pub(super) struct Unconnected {
    pub(super) problem: StoreError,
    /// The server has refused us, and will again.
    pub(super) refused: bool,
}

struct State {
    connection: Option<MultiplexedConnection>,
    /// Connections so far: tells a failure of this one from one of the last.
    number: u64,
    epoch: Arc<str>,
    run_id: String,
    /// Why there is no connection.
    problem: Option<StoreError>,
}

impl Link {
    pub(super) fn new(address: RedisAddress) -> Self {
        let problem = Some(StoreError(format!("{VARIABLE} ({}): not connected yet", address.shown)));
        let epoch = Arc::from("");
        let state = State { connection: None, number: 0, epoch, run_id: String::new(), problem };
        Self { address, state: Mutex::new(state), lost: Notify::new() }
    }

    /// Why calls fail now; None while they do not.
    pub(super) fn problem(&self) -> Option<StoreError> {
        self.lock().problem.clone()
    }

    pub(super) fn epoch(&self) -> Arc<str> {
        Arc::clone(&self.lock().epoch)
    }

    /// Connects again whenever the connection was lost; for the life of the process.
    pub(super) async fn keep(&self) {
        let mut pause = FIRST_RETRY;
        loop {
            if self.lock().connection.is_some() {
                pause = FIRST_RETRY;
                self.lost.notified().await;
                continue;
            }
            match self.connect().await {
                Ok(()) => tracing::info!(redis = self.address.shown, "Redis answers"),
                Err(_) => {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LAST_RETRY);
                }
            }
        }
    }

    /// One attempt to connect.
    pub(super) async fn connect(&self) -> Result<(), Unconnected> {
        let outcome = tokio::time::timeout(CONNECT, self.greet()).await.unwrap_or_else(|_| {
            Err(RedisError::from((ErrorKind::Io, "no answer in time", format!("{} s", CONNECT.as_secs()))))
        });
        let mut state = self.lock();
        match outcome {
            Ok((connection, run_id, epoch)) => {
                state.number += 1;
                (state.connection, state.problem) = (Some(connection), None);
                (state.run_id, state.epoch) = (run_id, epoch.name);
                Ok(())
            }
            Err(error) => {
                let unconnected = self.unconnected(&error);
                state.problem = Some(unconnected.problem.clone());
                Err(unconnected)
            }
        }
    }

    pub(super) fn unconnected(&self, error: &RedisError) -> Unconnected {
        Unconnected { problem: self.describe(error), refused: is_refusal(error) }
    }

    async fn greet(&self) -> Result<(MultiplexedConnection, String, Epoch), RedisError> {
        let config =
            AsyncConnectionConfig::new().set_connection_timeout(Some(CONNECT)).set_response_timeout(Some(ANSWER));
        let mut connection = self.address.client.get_multiplexed_async_connection_with_config(&config).await?;
        redis::cmd("PING").exec_async(&mut connection).await?;
        load_scripts(&mut connection).await?;
        // A word that means nothing: the right to the channel is asked for by nothing else before the first recall.
        redis::cmd("PUBLISH").arg(&self.address.channel).arg("").exec_async(&mut connection).await?;
        // A user who may not ask has a server whose restarts are seen only where they lose the data.
        let info: String = redis::cmd("INFO").query_async(&mut connection).await.unwrap_or_default();
        warn_of_eviction(&info, &self.address.shown);
        let run_id = line_of(&info, "run_id").unwrap_or("unknown").to_owned();
        let epoch = Epoch::read(&self.epoch_command(&run_id, "").query_async::<(String, u8)>(&mut connection).await?);
        Ok((connection, run_id, epoch))
    }

    /// Asks which epoch it is, and begins one where there is none.
    pub(super) async fn refresh_epoch(&self) -> Result<Epoch, StoreError> {
        self.epoch_after("").await
    }

    /// Begins another epoch where it is still `epoch`.
    pub(super) async fn end_epoch(&self, epoch: &str) -> Result<(), StoreError> {
        self.epoch_after(epoch).await.map(drop)
    }

    async fn epoch_after(&self, ended: &str) -> Result<Epoch, StoreError> {
        let run_id = self.lock().run_id.clone();
        let epoch = Epoch::read(&self.ask(self.epoch_command(&run_id, ended)).await?);
        self.lock().epoch = Arc::clone(&epoch.name);
        Ok(epoch)
    }

    fn epoch_command(&self, run_id: &str, ended: &str) -> Cmd {
        let prefix = &self.address.prefix;
        let keys = [format!("{prefix}{{epoch}}:name"), format!("{prefix}{{epoch}}:young")];
        let mut command = scripts::EPOCH.over(&[&keys[0], &keys[1]]);
        command.arg(run_id).arg(Uuid::new_v4().simple().to_string()).arg(millis(YOUNG)).arg(ended);
        command
    }

    /// One command and its answer.
    pub(super) async fn ask<T: FromRedisValue>(&self, command: Cmd) -> Result<T, StoreError> {
        let answer = self.ask_all(vec![command]).await?.pop();
        let value = answer.unwrap_or_else(|| Err(StoreError("Redis gave no answer".to_owned())))?;
        redis::from_redis_value(value).map_err(|error| self.unreadable(&error.to_string()))
    }

    /// All commands in one go, each with its own answer: one key that is not ours must not hold up the rest.
    pub(super) async fn ask_all(&self, commands: Vec<Cmd>) -> Result<Vec<Result<Value, StoreError>>, StoreError> {
        let (mut connection, number) = self.connection()?;
        let mut answers = self.pipelined(&mut connection, number, &commands).await?;
        let unknown = |answer: &Result<Value, RedisError>| {
            answer.as_ref().is_err_and(|error| error.kind() == ErrorKind::Server(ServerErrorKind::NoScript))
        };
        let again: Vec<usize> = (0..answers.len()).filter(|index| unknown(&answers[*index])).collect();
        if !again.is_empty() {
            load_scripts(&mut connection).await.map_err(|error| self.fail(number, &error))?;
            let commands: Vec<Cmd> = again.iter().map(|index| commands[*index].clone()).collect();
            let repeated = self.pipelined(&mut connection, number, &commands).await?;
            again.into_iter().zip(repeated).for_each(|(index, answer)| answers[index] = answer);
        }
        let told = |(answer, command): (Result<Value, RedisError>, &Cmd)| {
            answer.map_err(|error| match is_of_another_kind(&error) {
                true => self.foreign(&key_of(command)),
                false => self.fail(number, &error),
            })
        };
        Ok(answers.into_iter().zip(&commands).map(told).collect())
    }

    async fn pipelined(
        &self,
        connection: &mut MultiplexedConnection,
        number: u64,
        commands: &[Cmd],
    ) -> Result<Vec<Result<Value, RedisError>>, StoreError> {
        let mut pipeline = redis::Pipeline::with_capacity(commands.len());
        for command in commands {
            pipeline.add_command(command.clone());
        }
        pipeline.ignore_errors().query_async(connection).await.map_err(|error| self.fail(number, &error))
    }

    fn connection(&self) -> Result<(MultiplexedConnection, u64), StoreError> {
        let state = self.lock();
        match (&state.connection, &state.problem) {
            (Some(connection), _) => Ok((connection.clone(), state.number)),
            (None, Some(problem)) => Err(problem.clone()),
            (None, None) => Err(StoreError("Redis is not connected".to_owned())),
        }
    }

    /// What an error means for the operator; gives the connection up where it is of no more use.
    fn fail(&self, number: u64, error: &RedisError) -> StoreError {
        let told = self.describe(error);
        let dead = error.is_io_error()
            || error.is_timeout()
            || error.is_connection_dropped()
            || error.is_unrecoverable_error()
            // After a failover the name may lead to another server.
            || matches!(
                error.kind(),
                ErrorKind::Server(ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown)
            );
        let mut state = self.lock();
        if dead && state.number == number && state.connection.take().is_some() {
            tracing::warn!(problem = %told, "the connection to Redis is given up");
            state.problem = Some(told.clone());
            self.lost.notify_one();
        }
        told
    }

    pub(super) fn unreadable(&self, what: &str) -> StoreError {
        StoreError(format!("{VARIABLE} ({}): an answer that makes no sense: {what}", self.address.shown))
    }

    /// A key under our prefix that holds something of another program.
    pub(super) fn foreign(&self, key: &str) -> StoreError {
        StoreError(format!(
            "{VARIABLE} ({}): the key {key} is not ours: another program writes under {:?}. Delete the key, or give \
             cfx a prefix or a database of its own: ?prefix=… or /NUMBER in {VARIABLE}",
            self.address.shown, self.address.prefix
        ))
    }

    /// The setting, what was found, what to do.
    pub(super) fn describe(&self, error: &RedisError) -> StoreError {
        let text = error.to_string();
        let what = match error.kind() {
            _ if is_authentication(error) => {
                "the user or password is refused: put the right ones in REDIS_URL, as USER:PASSWORD@ or :PASSWORD@"
                    .to_owned()
            }
            _ if is_of_another_kind(error) => {
                return self.foreign(&format!("{}{{epoch}}:name", self.address.prefix));
            }
            ErrorKind::Server(ServerErrorKind::NoPerm) => format!(
                "its user may not do what cfx needs ({text}): allow it the keys, the channels and all commands on them, \
                 as ACL SETUSER NAME ~{prefix}* &{prefix}* +@all does",
                prefix = self.address.prefix
            ),
            ErrorKind::Server(ServerErrorKind::ReadOnly) => "this is a read-only replica: name the primary".to_owned(),
            ErrorKind::Server(ServerErrorKind::Moved | ServerErrorKind::Ask) => {
                "this is one node of a cluster and sends us to another: name a proxy of the cluster, or a single server"
                    .to_owned()
            }
            ErrorKind::InvalidClientConfig => format!("it cannot be used: {text}"),
            _ if error.is_connection_refusal() => {
                "nothing listens there (connection refused): start Redis, or correct the address".to_owned()
            }
            _ if self.address.tls && error.is_io_error() => format!(
                "no TLS with it ({text}): where the server does not speak TLS write redis://, else its certificate \
                 must be one this machine trusts"
            ),
            _ if error.is_connection_dropped() => {
                "the connection was closed: at the start that is what a server does that demands TLS (write rediss://)"
                    .to_owned()
            }
            _ if error.is_timeout() => format!("no answer ({text})"),
            _ => text,
        };
        StoreError(format!("{VARIABLE} ({}): {what}", self.address.shown))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Epoch {
    fn read((name, young): &(String, u8)) -> Self {
        Self { name: Arc::from(name.as_str()), young: *young == 1 }
    }
}

pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

async fn load_scripts(connection: &mut MultiplexedConnection) -> Result<(), RedisError> {
    let mut pipeline = redis::pipe();
    for script in scripts::ALL {
        pipeline.add_command(script.load());
    }
    pipeline.query_async::<Vec<String>>(connection).await.map(drop)
}

fn is_authentication(error: &RedisError) -> bool {
    error.kind() == ErrorKind::AuthenticationFailed || matches!(error.code(), Some("NOAUTH" | "WRONGPASS"))
}

/// Whether trying again is useless until somebody changes a setting.
fn is_refusal(error: &RedisError) -> bool {
    is_authentication(error)
        || error.kind() == ErrorKind::InvalidClientConfig
        || matches!(error.kind(), ErrorKind::Server(ServerErrorKind::NoPerm | ServerErrorKind::Moved))
        || is_of_another_kind(error)
}

/// A key holds something that ours do not. Older servers say so in the midst of a script's error.
fn is_of_another_kind(error: &RedisError) -> bool {
    error.code() == Some("WRONGTYPE") || error.to_string().contains("WRONGTYPE")
}

/// The key a command works on: behind the digest and the count of keys where it is a script.
fn key_of(command: &Cmd) -> String {
    let arguments: Vec<&[u8]> = command
        .args_iter()
        .filter_map(|argument| match argument {
            redis::Arg::Simple(bytes) => Some(bytes),
            _ => None,
        })
        .collect();
    let place = if arguments.first() == Some(&b"EVALSHA".as_slice()) { 3 } else { 1 };
    String::from_utf8_lossy(arguments.get(place).copied().unwrap_or_default()).into_owned()
}

fn warn_of_eviction(info: &str, redis: &str) {
    let bounded = line_of(info, "maxmemory").is_some_and(|most| most != "0");
    if let Some(policy) = line_of(info, "maxmemory_policy").filter(|policy| bounded && *policy != "noeviction") {
        tracing::warn!(redis, policy, "Redis may drop counts when its memory is full: set maxmemory-policy noeviction");
    }
}

fn line_of<'info>(info: &'info str, name: &str) -> Option<&'info str> {
    info.lines().find_map(|line| line.trim_end().strip_prefix(name)?.strip_prefix(':'))
}
