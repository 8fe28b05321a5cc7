//! The control API as its users meet it: the router over real sockets.
//!
//! `suite` is what holds for every way of signing in and every store, and runs once for each pair: with our own sessions on SQLite
//! and on Postgres; with a Supabase project that signs by a secret on SQLite, and with one that publishes its keys on Postgres.
//! `CFX_TEST_CROSSED` in the environment turns these last two about, which `make soak` does.
//!
//! What is about stores that break, about guessing, or about Supabase itself is beside it, on stores in memory (`doubles`), which
//! follow what the ports say word for word.
#![cfg(test)]
#![expect(clippy::duplicate_mod, reason = "the suite is the same one for each way of signing in and each store")]

mod broken_stores;
mod described;
mod doubles;
#[path = "../support/gotrue.rs"]
mod gotrue;
mod guessing;
mod harness;
mod operations;
#[path = "../support/postgres.rs"]
mod postgres;
mod stores;
mod supabase;
mod supabase_keys;
mod supabase_passwords;
mod surroundings;
mod tail_reader;
mod the_same_rows;

use harness::Harness;
use stores::{Place, Way};

#[path = "."]
mod own_sessions_on_sqlite {
    async fn start() -> super::Harness {
        super::Harness::of(super::Way::Own, super::Place::Sqlite).await
    }
    mod suite;
}

#[path = "."]
mod own_sessions_on_postgres {
    async fn start() -> super::Harness {
        super::Harness::of(super::Way::Own, super::Place::Postgres).await
    }
    mod suite;
}

#[path = "."]
mod supabase_on_sqlite {
    async fn start() -> super::Harness {
        super::Harness::of(super::signed(super::Way::Secret), super::Place::Sqlite).await
    }
    mod suite;
}

#[path = "."]
mod supabase_on_postgres {
    async fn start() -> super::Harness {
        super::Harness::of(super::signed(super::Way::Keys), super::Place::Postgres).await
    }
    mod suite;
    mod tails;
}

/// How the project signs: in this way, or crossed, in the other.
fn signed(way: Way) -> Way {
    match (way, std::env::var_os("CFX_TEST_CROSSED")) {
        (Way::Secret, Some(_)) => Way::Keys,
        (Way::Keys, Some(_)) => Way::Secret,
        (way, _) => way,
    }
}
