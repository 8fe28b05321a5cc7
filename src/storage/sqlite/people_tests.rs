//! Accounts, sessions and links of the embedded store, beside what every store must do with them.

use std::sync::mpsc;
use std::time::Duration;

use super::tests::Disk;
use crate::admission::KeyStore;
use crate::identity::{Account, AccountStore, Email, SessionStore};
use crate::storage::conformance::NOON;

#[tokio::test]
async fn an_account_that_cannot_be_read_hides_no_other() {
    let disk = Disk::new();
    let store = disk.open();
    let ada = Account::new(Email::parse("ada@example.org").unwrap(), NOON);
    assert!(store.create(ada.clone(), None).await.unwrap());
    let broken = "insert into accounts (id, email, created_at) values ('no id', 'eve@example.org', 'no time')";
    disk.sql().execute(broken, ()).unwrap();
    assert_eq!(store.list().await.unwrap(), [ada]);
}

#[tokio::test]
async fn a_key_is_found_while_the_questions_of_people_stand_still() {
    let disk = Disk::new();
    let store = disk.open();
    let (go_on, held) = mpsc::channel::<()>();
    let holding = store.people.run(move |_| Ok(held.recv().is_err()));
    let asked = async {
        let signed = tokio::time::timeout(Duration::from_millis(1), store.signed([7; 32], NOON)).await;
        assert!(signed.is_err(), "it stands behind what holds the thread");
        let find = tokio::time::timeout(Duration::from_secs(20), KeyStore::find(&*store, "000000000000"));
        assert!(find.await.expect("it has a thread of its own").unwrap().is_none());
        drop(go_on);
    };
    let (ended, ()) = tokio::join!(holding, asked);
    assert!(ended.unwrap());
    assert!(store.signed([7; 32], NOON).await.unwrap().is_none());
}
