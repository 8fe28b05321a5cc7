//! How a database comes to this program's form, whoever comes first and whatever is there already.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use tokio_postgres::Client;

use crate::storage::postgres::migrations::{ALL, apply, pending, status};
use crate::storage::support::postgres::Database;

/// One text a thing in a catalogue, to compare before with after.
async fn texts(client: &Client, query: &str) -> BTreeSet<String> {
    client.query(query, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
}

#[tokio::test]
async fn every_file_is_applied_once_in_order() {
    let database = Database::fresh().await;
    let mut client = database.connect().await;
    assert_eq!(pending(&client).await.unwrap().len(), ALL.len());
    assert_eq!(apply(&mut client).await.unwrap().len(), ALL.len());
    assert_eq!(apply(&mut client).await.unwrap(), []);
    assert_eq!(pending(&client).await.unwrap(), []);
    let standing = status(&client).await.unwrap();
    assert!(standing.iter().all(|one| one.applied_at.as_ref().is_some_and(|at| at.ends_with('Z'))), "{standing:?}");
    let recorded = texts(&client, "select name from cfx.schema_migrations").await;
    assert_eq!(recorded, ALL.iter().map(|known| known.migration.name.to_owned()).collect());
}

#[tokio::test]
async fn files_are_numbered_in_order_and_none_is_forgotten() {
    let numbers: Vec<_> = ALL.iter().map(|known| known.migration.version).collect();
    assert!(numbers.is_sorted_by(|one, next| one < next), "{numbers:?}");
    for known in ALL {
        let migration = known.migration;
        assert!(migration.name.starts_with(&format!("{:04}_", migration.version)), "{}", migration.name);
    }
    let files = std::fs::read_dir("migrations/postgres").unwrap().count();
    assert_eq!(files, ALL.len(), "every file is applied");
}

#[tokio::test]
async fn eight_edges_that_start_at_once_apply_each_file_once() {
    for database in [Database::fresh().await, Database::supabase_shaped().await] {
        let mut edges = join_all((0..8).map(|_| database.connect())).await;
        let applied = join_all(edges.iter_mut().map(apply)).await;
        let applied: Vec<_> = applied.into_iter().map(|applied| applied.unwrap().len()).collect();
        assert_eq!(applied.iter().sum::<usize>(), ALL.len(), "{applied:?}");
        assert_eq!(applied.iter().filter(|&&count| count > 0).count(), 1, "one edge does it all: {applied:?}");
    }
}
