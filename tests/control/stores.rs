//! How somebody signs in, and where everything is stored.

use std::sync::Arc;

use cfx::admission::{KeyRegistry, Posting, PostingId, QuotaStore, Subject};
use cfx::app::stores::{StoreChoice, Stores as Opened};
use cfx::identity::{AccountStore, LinkStore, SessionStore};
use cfx::ledger::{LedgerStore, LogRow, ReportStore, Row};
use cfx::storage::postgres::Address;
use cfx::units::{Usage, UserId};
use tempfile::TempDir;
use tokio_postgres::Client;
use uuid::Uuid;

use crate::doubles::{AllReports, Memory};
use crate::gotrue::Signer;
use crate::postgres::{Database, connect};

/// How somebody comes by a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// By an account of ours.
    Own,
    /// By a Supabase project that signs with its secret (HS256).
    Secret,
    /// By one that signs with a key whose public half it publishes.
    Keys,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Memory,
    Sqlite,
    Postgres,
}

/// A project's secret.
pub const SECRET: &str = "a secret of the project's, of some length";

impl Way {
    /// None: nothing is signed.
    pub fn signer(self) -> Option<Signer> {
        match self {
            Way::Own => None,
            Way::Secret => Some(Signer::secret(SECRET)),
            Way::Keys => Some(Signer::curve("first")),
        }
    }
}

/// A test's own stores, by port.
pub struct Stores {
    pub accounts: Arc<dyn AccountStore>,
    pub sessions: Arc<dyn SessionStore>,
    pub links: Arc<dyn LinkStore>,
    pub registry: Arc<dyn KeyRegistry>,
    pub reports: Arc<dyn ReportStore>,
    behind: Behind,
}

enum Behind {
    Memory(Arc<Memory>),
    Sqlite { ledger: Arc<dyn LedgerStore>, quota: Arc<dyn QuotaStore>, folder: TempDir },
    Postgres { ledger: Arc<dyn LedgerStore>, quota: Arc<dyn QuotaStore>, database: Database },
}

impl Stores {
    pub async fn open(place: Place) -> Self {
        match place {
            Place::Memory => {
                let memory = Arc::new(Memory::default());
                Self {
                    accounts: memory.clone(),
                    sessions: memory.clone(),
                    links: memory.clone(),
                    registry: memory.clone(),
                    reports: Arc::new(AllReports(memory.clone())),
                    behind: Behind::Memory(memory),
                }
            }
            Place::Sqlite => {
                let folder = TempDir::new().unwrap();
                let opened = StoreChoice::Embedded(folder.path().join("cfx.db")).open().await.unwrap();
                let (ledger, quota) = (opened.ledger.clone(), opened.quota.clone());
                Self::of(opened, Behind::Sqlite { ledger, quota, folder })
            }
            Place::Postgres => {
                let database = Database::copy("control", migrate).await;
                let address = Address::parse(&database.url(), None).unwrap();
                let opened = StoreChoice::Postgres(Box::new(address)).open().await.unwrap();
                let (ledger, quota) = (opened.ledger.clone(), opened.quota.clone());
                Self::of(opened, Behind::Postgres { ledger, quota, database })
            }
        }
    }

    fn of(opened: Opened, behind: Behind) -> Self {
        let Opened { accounts, sessions, links, registry, reports, .. } = opened;
        Self { accounts, sessions, links, registry, reports, behind }
    }

    /// To be broken on purpose.
    pub fn memory(&self) -> &Memory {
        match &self.behind {
            Behind::Memory(memory) => memory,
            _ => panic!("it is in no memory"),
        }
    }

    pub fn database(&self) -> &Database {
        match &self.behind {
            Behind::Postgres { database, .. } => database,
            _ => panic!("it is no Postgres"),
        }
    }

    /// As the edge writes them, behind requests that it counted.
    pub async fn log(&self, user: UserId, rows: Vec<LogRow>) {
        let (ledger, quota) = match &self.behind {
            Behind::Memory(memory) => return rows.into_iter().for_each(|row| memory.log(user, row)),
            Behind::Sqlite { ledger, quota, .. } | Behind::Postgres { ledger, quota, .. } => (ledger, quota),
        };
        let mut days: Vec<_> = rows.iter().map(|row| row.created_at.day()).collect();
        days.sort();
        for day in days.chunk_by(|one, other| one == other) {
            let (id, count) = (PostingId(Uuid::new_v4()), u32::try_from(day.len()).unwrap());
            quota.post(Posting { id, subject: Subject::User(user), day: day[0], count }).await.unwrap();
        }
        let rows: Vec<Row> = rows.into_iter().map(|row| written(user, row)).collect();
        for batch in rows.chunks(1_000) {
            ledger.append(batch.into()).await.unwrap();
        }
    }

    /// Behind everybody's back: no port does this.
    pub async fn delete_account(&self, user: UserId) {
        match &self.behind {
            Behind::Memory(memory) => memory.delete_account(user),
            Behind::Sqlite { folder, .. } => {
                let database = rusqlite::Connection::open(folder.path().join("cfx.db")).unwrap();
                database.execute("delete from accounts where id = ?1", [user.0.to_string()]).unwrap();
            }
            Behind::Postgres { database, .. } => {
                let owner: Client = database.connect().await;
                owner.execute("delete from cfx.accounts where id = $1", &[&user.0]).await.unwrap();
            }
        }
    }
}

/// With the month of the tests' day, and those around it.
async fn migrate(url: String) {
    Address::parse(&url, None).unwrap().migrate().await.unwrap();
    connect(&url).await.batch_execute("select cfx.ensure_partitions('2025-12-01', 4)").await.unwrap();
}

fn written(user: UserId, row: LogRow) -> Row {
    let number = |of: Option<u64>| of.unwrap_or_default();
    Row {
        request: row.request,
        created_at: row.created_at,
        user,
        key: row.key,
        session_id: row.session_id,
        stage: row.stage,
        source: row.source,
        model: row.model.map(Arc::from),
        stream: row.stream,
        body_bytes: row.body_bytes,
        status: row.status,
        http_status: row.http_status,
        usage: row.input_tokens.map(|input| Usage {
            input,
            cached_input: number(row.cached_input_tokens),
            cache_write: number(row.cache_write_tokens),
            output: number(row.output_tokens),
            reasoning: number(row.reasoning_tokens),
        }),
        estimated: row.estimated,
        cost: row.cost,
        latency: std::time::Duration::from_millis(row.latency_ms),
        first_token: row.first_token_ms.map(std::time::Duration::from_millis),
        attempts: row.attempts,
        error: row.error,
    }
}
