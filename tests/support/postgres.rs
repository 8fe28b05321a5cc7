//! Databases for tests, each of its own, on the Postgres that `scripts/servers` started; and whole servers for tests
//! that stop them.
//!
//! Roles belong to the whole server and are shared by tests that run at once: they are made when missing, never
//! changed and never dropped.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, UNIX_EPOCH};

use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, NoTls};
use uuid::Uuid;

/// Not every program that includes this file uses all of it.
const _: fn() = || {
    let _ = (Database::fresh, Database::supabase_shaped, Database::url, Database::url_as, Database::connect);
    let _ = (Database::connect_as, Server::private, Server::database, Server::supabase_shaped, Server::halt);
    let _ = (Server::resume, authority, login, Database::copy::<std::future::Ready<()>>);
};

/// A database of one test's own, dropped at its end, whoever is still connected.
pub struct Database {
    /// `postgres://…@host:port/postgres`, as the superuser.
    server: String,
    name: String,
    /// The role that owns it and migrates it.
    owner: &'static str,
}

/// The role that stands for Supabase's own `postgres`: not a superuser, but one that may make roles and is above row
/// security.
pub const SUPABASE_OWNER: &str = "supabase_postgres";

impl Database {
    /// Empty, owned by the superuser.
    pub async fn fresh() -> Self {
        Self::on(&shared(), "postgres").await
    }

    /// A copy of a database that `fill`, which is given its URL, was run on once for all tests of a program that were built
    /// together. Sooner there than a fresh one that is filled.
    pub async fn copy<F: Future<Output = ()>>(name: &str, fill: fn(String) -> F) -> Self {
        let built = std::env::current_exe().and_then(|program| program.metadata()?.modified());
        let built = built.expect("a program with a date").duration_since(UNIX_EPOCH).expect("a date since 1970");
        let template = format!("cfx_test_{name}_{}", built.as_nanos());
        let server = shared();
        let superuser = connect(&server).await;
        superuser.batch_execute("select pg_advisory_lock(20260131)").await.expect("a lock");
        let found =
            superuser.query("select from pg_database where datname = $1", &[&template]).await.expect("an answer");
        if found.is_empty() {
            let making = format!("{template}_in_the_making");
            superuser
                .batch_execute(&format!("drop database if exists {making} with (force)"))
                .await
                .expect("it is gone");
            superuser.batch_execute(&format!("create database {making}")).await.expect("a database can be made");
            fill(login(&server, "postgres", &making)).await;
            superuser
                .batch_execute(&format!("alter database {making} rename to {template}"))
                .await
                .expect("a new name");
        }
        superuser.batch_execute("select pg_advisory_unlock(20260131)").await.expect("a lock");
        Self::create(&server, "postgres", &format!("template {template}")).await
    }

    /// With the schema `auth`, the roles and the default privileges that a Supabase project has before anyone adds
    /// anything to it, owned by [`SUPABASE_OWNER`].
    pub async fn supabase_shaped() -> Self {
        Self::supabase_shaped_on(&shared()).await
    }

    async fn supabase_shaped_on(server: &str) -> Self {
        let superuser = connect(server).await;
        superuser.batch_execute(include_str!("supabase_roles.sql")).await.expect("the roles can be made");
        let database = Self::on(server, SUPABASE_OWNER).await;
        let superuser = database.connect_as("postgres").await;
        superuser.batch_execute(include_str!("supabase_database.sql")).await.expect("the schema can be made");
        database
    }

    async fn on(server: &str, owner: &'static str) -> Self {
        Self::create(server, owner, "").await
    }

    async fn create(server: &str, owner: &'static str, how: &str) -> Self {
        let name = format!("cfx_test_{}", Uuid::new_v4().simple());
        let create = format!("create database {name} owner {owner} {how}");
        connect(server).await.batch_execute(&create).await.expect("a database can be made");
        Self { server: server.to_owned(), name, owner }
    }

    /// As `DATABASE_URL` would be: the owner's.
    pub fn url(&self) -> String {
        self.url_as(self.owner)
    }

    /// The same for another login. The server trusts every role but `test_password` (`correct horse`) and lets
    /// `test_tls` in over TLS alone; `test_nobody` has no rights of its own.
    pub fn url_as(&self, role: &str) -> String {
        login(&self.server, role, &self.name)
    }

    /// A connection as the owner.
    pub async fn connect(&self) -> Client {
        connect(&self.url()).await
    }

    pub async fn connect_as(&self, role: &str) -> Client {
        connect(&self.url_as(role)).await
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let (server, drop) = (self.server.clone(), format!("drop database if exists {} with (force)", self.name));
        // On a thread of its own: a test's runtime cannot be waited on from inside it. A server that is gone took the
        // database with it.
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                if let Ok(client) = try_connect(&server).await {
                    let _ = client.batch_execute(&drop).await;
                }
            });
        });
        let _ = dropped.join();
    }
}

/// A Postgres of one test's own, to be stopped and started again under it. Slower than a [`Database`] by about a second.
pub struct Server {
    folder: String,
    url: String,
}

impl Server {
    pub fn private() -> Self {
        let exports = servers(&["start", "postgres"]);
        let value = |name: &str| {
            let line = exports.lines().find_map(|line| line.strip_prefix(&format!("export {name}=")));
            line.expect("scripts/servers prints it").to_owned()
        };
        Self { folder: value("CFX_TEST_SERVERS"), url: value("CFX_TEST_POSTGRES") }
    }

    /// An empty database on it, owned by the superuser.
    pub async fn database(&self) -> Database {
        Database::on(&self.url, "postgres").await
    }

    /// See [`Database::supabase_shaped`].
    pub async fn supabase_shaped(&self) -> Database {
        Database::supabase_shaped_on(&self.url).await
    }

    /// Ends it as a crash would: nothing is said to its clients, what was committed is kept.
    pub fn halt(&self) {
        servers(&["halt", &self.folder]);
    }

    /// Starts it again on the same port, and waits until it answers.
    pub fn resume(&self) {
        servers(&["resume", &self.folder]);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        servers(&["stop", &self.folder]);
    }
}

/// The file with the certificate of the authority that the server's own is from; that one is for `localhost` and
/// 127.0.0.1.
pub fn authority() -> String {
    from_environment("CFX_TEST_POSTGRES_CA")
}

/// `server`, a URL, for another role and another database.
pub fn login(server: &str, role: &str, database: &str) -> String {
    let (_, rest) = server.split_once('@').expect("a URL with a user");
    let (address, _) = rest.split_once('/').expect("a URL with a database");
    format!("postgres://{role}@{address}/{database}")
}

/// A connection that lives as long as the client is held.
pub async fn connect(url: &str) -> Client {
    let mut left = 100;
    loop {
        match try_connect(url).await {
            Ok(client) => return client,
            // Other tests hold the server's last connections, or it is still starting: both pass.
            Err(error) if left > 0 && is_passing(&error) => left -= 1,
            Err(error) => panic!("{url}: {error:?}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn is_passing(error: &tokio_postgres::Error) -> bool {
    [Some(&SqlState::TOO_MANY_CONNECTIONS), Some(&SqlState::CANNOT_CONNECT_NOW)].contains(&error.code())
}

async fn try_connect(url: &str) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

fn shared() -> String {
    from_environment("CFX_TEST_POSTGRES")
}

fn from_environment(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: `make test` starts the servers and sets it"))
}

/// Runs `scripts/servers` and yields what it prints.
fn servers(arguments: &[&str]) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/servers");
    let output = Command::new(script).args(arguments).stderr(Stdio::inherit()).output().expect("the script can be run");
    assert!(output.status.success(), "scripts/servers {arguments:?}: {}", output.status);
    String::from_utf8(output.stdout).expect("the script prints text")
}
