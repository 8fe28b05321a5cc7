//! What edges are told of keys that changed: enough to forget the right ones, and never a flood.

use std::time::Duration;

use futures_util::future::poll_fn;
use tokio::sync::mpsc;
use tokio_postgres::{AsyncMessage, Client, NoTls};

use super::{ADA_AND_BOB, migrated};
use crate::storage::support::postgres::Database;

/// Hears one channel, on a connection of its own.
pub(super) struct Listener {
    client: Client,
    channel: String,
    heard: mpsc::UnboundedReceiver<String>,
}

/// Where edges speak of keys.
pub(super) async fn key_channel(owner: &Client) -> String {
    let named = "select value from cfx.settings where name = 'key_channel'";
    owner.query_one(named, &[]).await.unwrap().get(0)
}

impl Listener {
    pub(super) async fn on(url: &str, channel: String) -> Self {
        let (client, mut connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
        let (said, heard) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
                if let AsyncMessage::Notification(notice) = message {
                    let _ = said.send(notice.payload().to_owned());
                }
            }
        });
        client.batch_execute(&format!("listen {channel}")).await.unwrap();
        Self { client, channel, heard }
    }

    /// What `statement`, run by somebody else, made heard. A notice of our own marks the end: they come in order.
    pub(super) async fn after(&mut self, other: &Client, statement: &str) -> Vec<String> {
        other.batch_execute(statement).await.unwrap();
        self.client.batch_execute(&format!("notify {}, 'end'", self.channel)).await.unwrap();
        let mut heard = Vec::new();
        loop {
            let next = tokio::time::timeout(Duration::from_secs(10), self.heard.recv()).await;
            match next.expect("the end is heard").expect("the connection lives") {
                end if end == "end" => return heard,
                payload => heard.push(payload),
            }
        }
    }
}

#[tokio::test]
async fn one_key_is_named_and_many_are_one_notice() {
    let database = Database::fresh().await;
    let client = migrated(&database).await;
    client.batch_execute(ADA_AND_BOB).await.unwrap();
    let mut listener = Listener::on(&database.url(), key_channel(&client).await).await;
    let insert = |keys: u32| {
        format!(
            "insert into public.api_keys (user_id, public_id, prefix, key_hash, label)
             select '00000000-0000-0000-0000-00000000000a', 'key{keys}_' || n, 'cfx_live_', 'hash', 'load'
             from generate_series(1, {keys}) as n"
        )
    };
    let cases = [
        (insert(1), vec!["key1_1"]),
        (insert(20_000), vec!["*"]),
        (
            "update public.api_keys set status = 'revoked', revoked_at = now() where public_id = 'ada'".to_owned(),
            vec!["ada"],
        ),
        ("update public.api_keys set retires_at = now() where public_id = 'bob'".to_owned(), vec!["bob"]),
        ("update public.api_keys set label = 'x'".to_owned(), vec!["*"]),
        ("update public.api_keys set public_id = 'eve' where public_id = 'bob'".to_owned(), vec!["*"]),
        ("delete from public.api_keys where public_id = 'eve'".to_owned(), vec!["eve"]),
        ("delete from public.api_keys where public_id = 'nobody'".to_owned(), vec![]),
        ("delete from public.api_keys where label = 'x'".to_owned(), vec!["*"]),
        (insert(2), vec!["*"]),
        ("truncate public.api_keys".to_owned(), vec!["*"]),
    ];
    for (statement, wanted) in cases {
        assert_eq!(listener.after(&client, &statement).await, wanted, "{statement}");
    }
}

#[tokio::test]
async fn the_use_of_a_key_is_no_change_of_it() {
    let database = Database::fresh().await;
    let client = migrated(&database).await;
    client.batch_execute(ADA_AND_BOB).await.unwrap();
    let mut listener = Listener::on(&database.url(), key_channel(&client).await).await;
    for statement in [
        "update public.api_keys set last_used_at = now()",
        "update public.api_keys set label = label, status = status",
        "begin; update public.api_keys set status = 'revoked'; rollback",
    ] {
        assert_eq!(listener.after(&client, statement).await, Vec::<String>::new(), "{statement}");
    }
}

#[tokio::test]
async fn a_change_of_an_account_is_one_of_all_its_keys() {
    let database = Database::fresh().await;
    let client = migrated(&database).await;
    let mut listener = Listener::on(&database.url(), key_channel(&client).await).await;
    let cases = [
        ("insert into cfx.accounts (id, email) values (gen_random_uuid(), 'eve@example.org')", vec![]),
        ("update cfx.accounts set email = email", vec![]),
        ("update cfx.accounts set daily_requests = 5", vec!["*"]),
        ("update cfx.accounts set disabled_at = now()", vec!["*"]),
        ("delete from cfx.accounts", vec!["*"]),
    ];
    for (statement, wanted) in cases {
        assert_eq!(listener.after(&client, statement).await, wanted, "{statement}");
    }
}
