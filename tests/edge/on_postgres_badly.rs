//! What can be wrong with the database when cfx starts: what only a person can put right ends the start at once with
//! 78, what may pass is waited for, and every message names the setting, what was found and what to do.

use std::process::{Command, Output};

use crate::harness::process::{cfx, printed};
use crate::harness::{Client, Harness, Process, Request};
use crate::on_postgres::{Store, eventually};
use crate::support::postgres::authority;

const SECRET: &str = "horse";

/// An installation to start with other settings; its own edge is stopped.
struct Installation(Harness);

impl Installation {
    fn new() -> Self {
        let mut edge = Harness::start();
        edge.process.stop();
        Self(edge)
    }

    fn run(&self, url: &str, store_wait: &str) -> Command {
        let mut command = cfx();
        command.env("DATABASE_URL", url).env("CFX_STORE_WAIT", store_wait).arg("run");
        command.arg("--conf").arg(self.0.conf()).arg("--data").arg(self.0.data());
        command
    }

    fn refused(&self, url: &str, code: i32, words: &[&str]) {
        says(&self.run(url, "1s").output().expect("cfx starts"), code, words);
    }
}

fn says(output: &Output, code: i32, words: &[&str]) {
    let text = printed(output);
    assert_eq!(output.status.code(), Some(code), "{text}");
    assert!(!text.contains(SECRET) && !text.contains("panicked"), "{text}");
    for word in words {
        assert!(text.contains(word), "{word:?} is not in: {text}");
    }
}

fn as_user(store: &Store, user: &str) -> String {
    let url = store.database.url();
    let (_, rest) = url.split_once('@').expect("a user");
    format!("postgres://{user}@{rest}")
}

#[test]
fn what_only_a_person_can_put_right_ends_the_start_at_once() {
    let (installation, store) = (Installation::new(), Store::fresh());
    let refused = |url: &str, words: &[&str]| installation.refused(url, 78, words);
    refused(
        "localhost:5432/cfx",
        &["DATABASE_URL does not begin with postgres://", "USER:PASSWORD@HOST:PORT/DATABASE"],
    );
    refused(&format!("postgres://cfx:{SECRET}@db:{SECRET}/cfx"), &["DATABASE_URL cannot be read", "port"]);
    refused(&as_user(&store, "test_password:wrong%20horse"), &["DATABASE_URL names test_password@", "is refused"]);
    refused(&as_user(&store, "test_tls"), &["the server demands TLS", "sslmode=verify-full"]);
    refused(&format!("{}?sslmode=verify-full", store.database.url()), &["nobody this machine trusts", "sslrootcert"]);
    refused(&format!("{}_gone", store.database.url()), &["there is no such database", "create it"]);
    refused(&store.database.url_as("test_nobody"), &["test_nobody", "cfx migrate"]);
    let trusted = format!("{}?sslmode=verify-full&sslrootcert={}", store.database.url(), authority());
    let migrated = cfx().env("DATABASE_URL", trusted).arg("migrate").output().expect("cfx starts");
    says(&migrated, 0, &["applied 0001", "applied 0010_quota"]);
    store.execute("insert into cfx.schema_migrations (version, name, checksum) values (999, '0999_later', '')");
    refused(&store.database.url(), &["schema version 999", "run a newer cfx"]);
}

#[test]
fn a_database_that_does_not_answer_is_waited_for_and_then_given_up() {
    let installation = Installation::new();
    let nobody = format!("postgres://cfx:{SECRET}@127.0.0.1:9/cfx");
    installation.refused(
        &nobody,
        1,
        &["waiting for the store", "cfx@127.0.0.1:9/cfx", "nobody answers there", "in vain"],
    );
    let nowhere = format!("postgres://cfx:{SECRET}@no-such-host.invalid/cfx?sslmode=disable");
    installation.refused(&nowhere, 1, &["there is no such host", "correct the name"]);
}

#[test]
fn a_start_waits_for_its_database_and_says_so() {
    let (installation, store) = (Installation::new(), Store::fresh());
    let (proxy, url) = store.proxied();
    proxy.cut();
    let admin = installation.0.admin;
    let mut process = Process::spawn(installation.run(&url, "60s"));
    process.wait_for_line("waiting for the store").expect("it says what it waits for");
    let ready = || Client::plain(admin).ask(&Request::get("/-/ready").instead("Host", &admin.to_string()));
    let answer = ready();
    assert_eq!((answer.status, answer.text().trim()), (503, "starting: waiting for the store"));
    proxy.mend();
    eventually("it starts", || ready().status == 200);
    assert!(process.stop().success());
}

#[test]
fn commands_work_on_the_database_and_say_when_it_has_no_tables() {
    let store = Store::fresh();
    let folder = tempfile::tempdir().expect("a folder");
    let run = |arguments: &[&str]| {
        let mut command = cfx();
        command.env("DATABASE_URL", store.database.url()).args(arguments).current_dir(folder.path());
        command.output().expect("cfx starts")
    };
    says(&run(&["key", "list"]), 1, &["DATABASE_URL names postgres@", "`cfx migrate`"]);
    says(&run(&["migrate", "--dry-run"]), 0, &["would apply 0001", "would apply 0010_quota"]);
    says(&run(&["migrate"]), 0, &["applied 0010_quota"]);
    says(&run(&["migrate"]), 0, &["is up to date"]);
    says(&run(&["migrate", "--status"]), 0, &["0010_quota"]);
    says(&run(&["user", "create", "ada@example.org"]), 0, &["created user ada@example.org"]);
    says(&run(&["user", "create", "ada@example.org"]), 1, &["there is a user ada@example.org already"]);
    says(&run(&["key", "create", "--user", "ada@example.org", "--label", "laptop"]), 0, &["cfx_live_"]);
    says(&run(&["key", "list"]), 0, &["ada@example.org", "laptop"]);
    assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 0, "nothing is kept beside the database");
    let mut lone = cfx();
    lone.env("DIRECT_DATABASE_URL", store.database.url()).args(["key", "list"]);
    says(&lone.output().expect("cfx starts"), 78, &["DIRECT_DATABASE_URL is set, but DATABASE_URL"]);
}
