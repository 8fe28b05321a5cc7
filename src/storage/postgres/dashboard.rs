//! The dashboard's own way into the database: a login that row-level security holds, and that shows a session's token in
//! each transaction. It reads what is the session's user's, and nothing without a session: whose it is, is asked in that very
//! transaction, so that a session that was ended a moment ago reads nothing.
//!
//! Failure stance: a login that could see or do more is refused at the start, because nothing that the dashboard does
//! would look different until the day it is broken into.

use std::sync::Arc;

use async_trait::async_trait;
use tokio_postgres::{Client, Error};

use super::connect::{ConnectProblem, Target};
use super::pool::Pool;
use super::questions::{Askers, Questions};
use super::reports::Reading;
use crate::identity::SessionToken;
use crate::ledger::{Reports, SessionReports};
use crate::units::{StoreError, UserId};

const SETTING: &str = "DASHBOARD_DATABASE_URL";
const REMEDY: &str = "log in as cfx_dashboard, which the migrations make (docs/database.md)";
/// A page asks all at once on one; many pages at once wait for each other and not the server for them.
const CONNECTIONS: usize = 4;

/// From the catalogue, which every login can read, whatever it may see. Whoever can become a role has what that has.
const STANDING: &str = "
    with reachable as (
        select role.oid, role.rolsuper, role.rolbypassrls, role.rolname = current_user as itself
          from pg_catalog.pg_roles as role
         where role.rolname = current_user or pg_has_role(current_user, role.oid, 'member')
    ), ours as (
        select class.oid, class.relname, class.relowner
          from pg_catalog.pg_class as class
          join pg_catalog.pg_namespace as schema on schema.oid = class.relnamespace
         where class.relkind in ('r', 'p')
           and (schema.nspname = 'cfx' or (schema.nspname = 'public'
                and class.relname in ('api_keys', 'usage_counters', 'request_logs')))
    )
    select current_user::text as role,
           bool_or(rolsuper) as is_super,
           bool_or(rolbypassrls) as bypasses,
           exists (select from ours join reachable on reachable.oid = ours.relowner) as owns,
           exists (select from ours
                    where has_table_privilege(current_user, ours.oid, 'insert, update, delete, truncate')
                       or has_any_column_privilege(current_user, ours.oid, 'insert, update')) as writes,
           exists (select from pg_catalog.pg_proc as function
                     join pg_catalog.pg_namespace as schema on schema.oid = function.pronamespace
                    where schema.nspname = 'cfx' and function.proname = 'overview') as is_migrated,
           coalesce((select bool_and(has_function_privilege(current_user, function.oid, 'execute'))
                       from pg_catalog.pg_proc as function
                       join pg_catalog.pg_namespace as schema on schema.oid = function.pronamespace
                      where schema.nspname = 'cfx' and function.proname in ('overview', 'session_user_id')), false) and
           coalesce((select bool_and(has_table_privilege(current_user, ours.oid, 'select')) from ours
                      where relname in ('usage_counters', 'usage_splits', 'request_logs')), false) as reads
      from reachable";

/// Where the dashboard's database is, as the environment says it.
#[derive(Clone)]
pub struct DashboardAddress(Target);

/// The database as the dashboard may see it.
pub struct DashboardDatabase {
    pool: Pool,
    askers: Askers,
}

impl DashboardAddress {
    /// Reads the value of `DASHBOARD_DATABASE_URL`. Connects to nothing.
    pub fn parse(url: &str) -> Result<Self, ConnectProblem> {
        Target::parse(SETTING, url).map(Self)
    }

    /// `user@host:port/database`.
    pub fn place(&self) -> &str {
        &self.0.place
    }

    /// Opens the database, which lives on the runtime that this is called on. What a person must put right is told apart
    /// from what may pass: a database that the edge has not migrated yet will be.
    pub async fn open(&self) -> Result<Arc<DashboardDatabase>, ConnectProblem> {
        let (client, connection) = self.0.connect().await?;
        tokio::spawn(async move { drop(connection.await) });
        self.judge(&client).await?;
        let pool =
            Pool::new(self.0.clone(), CONNECTIONS).map_err(|error| ConnectProblem::lasting(error.to_string()))?;
        Ok(Arc::new(DashboardDatabase { pool, askers: Askers::default() }))
    }

    async fn judge(&self, client: &Client) -> Result<(), ConnectProblem> {
        let place = &self.0.place;
        let failed = |error: Error| {
            ConnectProblem::passing(format!(
                "{SETTING} names {place}: its rights cannot be read: {}",
                super::told(&error)
            ))
        };
        let standing = client.query_typed_one(STANDING, &[]).await.map_err(failed)?;
        let is = |name: &str| standing.try_get::<_, bool>(name).map_err(failed);
        let role: &str = standing.try_get("role").map_err(failed)?;
        let refused = |what: &str| {
            Err(ConnectProblem::lasting(format!(
                "{SETTING} names {place}: the role {role} {what}, so that row-level security does not hold it: {REMEDY}"
            )))
        };
        if is("is_super")? {
            return refused("is a superuser, or can become one");
        }
        if is("bypasses")? {
            return refused("bypasses row-level security, or can become a role that does");
        }
        if is("owns")? {
            return refused("owns tables of cfx, or can become their owner");
        }
        if is("writes")? {
            return Err(ConnectProblem::lasting(format!(
                "{SETTING} names {place}: the role {role} may write to tables of cfx, and the dashboard is to read: {REMEDY}"
            )));
        }
        if !is("is_migrated")? {
            return Err(ConnectProblem::passing(format!(
                "{SETTING} names {place}: there are no tables of this cfx yet: start the edge, or run `cfx migrate`"
            )));
        }
        if !is("reads")? {
            return Err(ConnectProblem::lasting(format!(
                "{SETTING} names {place}: the role {role} may not read the tables of cfx: {REMEDY}"
            )));
        }
        Ok(())
    }
}

#[async_trait]
impl SessionReports for DashboardDatabase {
    async fn of(&self, token: &str, user: UserId) -> Result<Option<Box<dyn Reports>>, StoreError> {
        let Some(token) = SessionToken::parse(token) else { return Ok(None) };
        let questions = Questions::of_session(self.pool.clone(), token, user).for_user(&self.askers, user);
        Ok(Some(Box::new(Reading { questions, user })))
    }
}
