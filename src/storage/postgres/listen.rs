//! What other processes say: one connection of its own that listens where keys and quotas are spoken of.
//!
//! Every login of a database can listen and speak wherever it knows the name of, so these names are the database's secret:
//! only its owner reads them. They are read anew for each connection.
//!
//! That a connection is open does not prove that it hears: behind a pooler that hands out sessions by the transaction,
//! LISTEN is accepted and nothing ever comes. So it is tried: every 15 s a notice is sent by way of the pool, and must
//! arrive here. The same trial shows whether the pool's sessions are ours, where both use one URL.
//!
//! Failure stance: open. While nothing is heard, keys are served for as long as their cache holds them fresh, and the
//! quota's leases are of one request. Whatever was said in the meantime is taken to have been said: on each
//! reconnection every cached key is asked for again, and no exhaustion remembered is trusted.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::poll_fn;
use tokio::sync::{broadcast, mpsc};
use tokio::time::Instant;
use tokio_postgres::types::Type;
use tokio_postgres::{AsyncMessage, Notification};
use uuid::Uuid;

use super::changes::Log;
use super::connect::{ConnectProblem, Target};
use super::pool::{Fault, Pool, Statement, value};
use super::rows::column;
use super::words::Said;
use crate::admission::{Changes, PublicId};
use crate::units::StoreError;

/// Words kept for an edge that does not listen at the moment; past them it is told that it missed some.
const KEPT: usize = 4_096;
const TRIAL_EVERY: Duration = Duration::from_secs(15);
const TRIAL_LIMIT: Duration = Duration::from_secs(5);
/// Between attempts to connect: doubled from the first to the last.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

const CHANNELS: Statement = Statement {
    sql: "select keys.value as keys, quota.value as quota from cfx.settings as keys, cfx.settings as quota
           where keys.name = 'key_channel' and quota.name = 'quota_channel'",
    types: &[],
};
const NOTIFY: Statement = Statement { sql: "select pg_notify($1, $2)", types: &[Type::TEXT, Type::TEXT] };

/// What has been heard so far. Shared between the listening task and the ports.
pub(super) struct Heard {
    keys: Mutex<Log>,
    hears: AtomicBool,
    words: broadcast::Sender<Said>,
}

/// Where is spoken of what.
struct Channels {
    keys: String,
    quota: String,
    /// Ours alone.
    trial: String,
}

/// Why listening ended.
enum Ended {
    Connect(ConnectProblem),
    /// The names of the channels could not be read.
    NoNames(StoreError),
    /// The connection closed.
    Closed,
    /// The trial could not be sent: the store is away.
    NotSent(Fault),
    /// The trial was sent and did not arrive.
    Deaf,
}

impl Heard {
    pub(super) fn new() -> Arc<Self> {
        let (words, _) = broadcast::channel(KEPT);
        Arc::new(Self { keys: Mutex::default(), hears: AtomicBool::new(false), words })
    }

    /// Which keys may have changed since an earlier answer.
    pub(super) fn changes(&self, since: Option<u64>) -> Changes {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner).since(since)
    }

    /// A key changed or, without a name, any may have.
    pub(super) fn note_change(&self, name: Option<PublicId>) {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner).note(name);
    }

    pub(super) fn hears(&self) -> bool {
        self.hears.load(Ordering::Acquire)
    }

    pub(super) fn words(&self) -> broadcast::Receiver<Said> {
        self.words.subscribe()
    }

    fn tell(&self, word: Said) {
        // Nobody hears it where no edge runs.
        let _ = self.words.send(word);
    }

    fn take(&self, notification: &Notification, channels: &Channels) {
        match notification.channel() {
            // What names no key is an account, many keys, or an operator's own word.
            channel if channel == channels.keys => self.note_change(PublicId::parse(notification.payload())),
            channel if channel == channels.quota => match Said::parse(notification.payload()) {
                Some(word) => self.tell(word),
                None => {
                    tracing::debug!(payload = notification.payload(), "a word about quotas that means nothing here")
                }
            },
            _ => {}
        }
    }
}

impl Channels {
    async fn read(pool: &Pool) -> Result<Self, StoreError> {
        let rows = pool.query(&CHANNELS, vec![]).await?;
        let missing = || StoreError("cfx.settings has no key_channel and quota_channel".to_owned());
        let row = rows.first().ok_or_else(missing)?;
        let trial = format!("cfx_trial_{}", Uuid::new_v4().simple());
        Ok(Self { keys: column(row, "keys")?, quota: column(row, "quota")?, trial })
    }

    /// The statements that listen to all of them.
    fn listen(&self) -> String {
        let quoted = |name: &String| format!("listen \"{}\"", name.replace('"', "\"\""));
        [&self.keys, &self.quota, &self.trial].map(quoted).join("; ")
    }
}

/// Listens for the life of the process.
pub(super) async fn listen(target: Target, pool: Pool, heard: Arc<Heard>, shares_url: bool) {
    let mut pause = BACKOFF.0;
    let mut silent = false;
    loop {
        let (ended, heard_something) = listen_once(&target, &pool, &heard, shares_url).await;
        heard.hears.store(false, Ordering::Release);
        if heard_something {
            (pause, silent) = (BACKOFF.0, false);
        }
        // Once an outage: what follows is the same again.
        if !std::mem::replace(&mut silent, true) {
            warn(&target, &ended);
        }
        let deaf = matches!(ended, Ended::Deaf);
        if deaf && shares_url {
            pool.sessions_are_ours(false);
        }
        tokio::time::sleep(if deaf { TRIAL_EVERY } else { pause }).await;
        pause = (pause * 2).min(BACKOFF.1);
    }
}

fn warn(target: &Target, ended: &Ended) {
    let meanwhile = "until it hears again, a revoked key is noticed within a minute only, and quota is leased one \
                     request at a time";
    let setting = target.setting;
    match ended {
        Ended::Connect(problem) => tracing::warn!(%problem, meanwhile, "cannot listen to the store"),
        Ended::NoNames(StoreError(said)) => tracing::warn!(said, meanwhile, "the store does not say where to listen"),
        Ended::Closed => tracing::warn!(setting, meanwhile, "the connection that listens to the store was closed"),
        Ended::NotSent(fault) => tracing::warn!(?fault, meanwhile, "the store does not answer"),
        Ended::Deaf => tracing::warn!(
            meanwhile,
            "{setting} names {}: LISTEN is accepted there and nothing is heard, as behind a pooler that hands out \
             sessions by the transaction: set DIRECT_DATABASE_URL to the database itself",
            target.place
        ),
    }
}

/// One connection, from its opening to its end. Also says whether anything was heard on it.
async fn listen_once(target: &Target, pool: &Pool, heard: &Heard, shares_url: bool) -> (Ended, bool) {
    let (client, mut connection) = match target.connect().await {
        Ok(connected) => connected,
        Err(problem) => return (Ended::Connect(problem), false),
    };
    let (sender, mut notices) = mpsc::unbounded_channel();
    let mut driver = tokio::spawn(async move {
        while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
            if let AsyncMessage::Notification(notification) = message {
                let _ = sender.send(notification);
            }
        }
    });
    let ended = tokio::select! {
        ended = async {
            let channels = match Channels::read(pool).await {
                Ok(channels) => channels,
                Err(error) => return Ended::NoNames(error),
            };
            if client.batch_execute(&channels.listen()).await.is_err() {
                return Ended::Closed;
            }
            // Whatever was said before this moment was not heard.
            heard.note_change(None);
            heard.tell(Said::Missed);
            attend(pool, heard, &channels, &mut notices, shares_url).await
        } => ended,
        _ = &mut driver => Ended::Closed,
    };
    driver.abort();
    (ended, heard.hears())
}

/// Hears notices and tries, now and then, whether it still does.
async fn attend(
    pool: &Pool,
    heard: &Heard,
    channels: &Channels,
    notices: &mut mpsc::UnboundedReceiver<Notification>,
    shares_url: bool,
) -> Ended {
    loop {
        let trial = Uuid::new_v4().to_string();
        let said = pool.query(&NOTIFY, vec![value(channels.trial.clone()), value(trial.clone())]).await;
        if let Err(fault) = said {
            return Ended::NotSent(fault);
        }
        let limit = Instant::now() + TRIAL_LIMIT;
        loop {
            match tokio::time::timeout_at(limit, notices.recv()).await {
                Ok(Some(notice)) if notice.channel() == channels.trial && notice.payload() == trial => break,
                Ok(Some(notice)) => heard.take(&notice, channels),
                Ok(None) => return Ended::Closed,
                Err(_) => return Ended::Deaf,
            }
        }
        if shares_url {
            pool.sessions_are_ours(true);
        }
        if !heard.hears.swap(true, Ordering::AcqRel) {
            tracing::info!("listening to the store");
        }
        let next = Instant::now() + TRIAL_EVERY;
        while let Ok(notice) = tokio::time::timeout_at(next, notices.recv()).await {
            match notice {
                Some(notice) => heard.take(&notice, channels),
                None => return Ended::Closed,
            }
        }
    }
}
