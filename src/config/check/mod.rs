//! Raw trees to the checked snapshot. Every reader goes on past a mistake, so that one run reports them all.

mod acme;
mod edge;
mod entrypoints;
mod guards;
mod identity;
mod ledger;
mod limits;
mod models;
mod names;
mod overrides;
mod pattern;
mod prices;
mod quantity;
mod read;
mod routes;
mod routes_control;
mod routes_cors;
mod routes_edits;
mod routes_guards;
mod routes_keys;
mod routes_match;
mod stages;
mod suggest;
mod telemetry;
mod tls;
mod upstreams;
mod watching;

pub(super) use edge::edge;
pub(super) use limits::limits;
pub(super) use models::models;
pub(super) use overrides::overridden;
