//! What an operator can get wrong in `DATABASE_URL`, against a real server: each mistake has a message that names the
//! setting, what was found and what to do, never the password, and says whether waiting helps.

use std::io::{Read, Write};
use std::net::TcpListener;

use super::ports;
use crate::storage::postgres::{Address, ConnectProblem};
use crate::storage::support::postgres::{Database, authority};

async fn problem(url: &str) -> ConnectProblem {
    match Address::parse(url, None) {
        Ok(address) => address.open().await.err().expect("it cannot be opened"),
        Err(problem) => problem,
    }
}

/// The problem of a URL, which must say all of `words` and that a person is needed.
async fn needs_a_person(url: &str, words: &[&str]) {
    let problem = problem(url).await;
    assert!(problem.lasting, "{problem}");
    says(&problem, words);
}

async fn may_pass(url: &str, words: &[&str]) {
    let problem = problem(url).await;
    assert!(!problem.lasting, "{problem}");
    says(&problem, words);
}

fn says(problem: &ConnectProblem, words: &[&str]) {
    let text = problem.to_string();
    assert!(text.starts_with("DATABASE_URL"), "{text}");
    assert!(!text.contains("horse"), "a password is never shown: {text}");
    for word in words {
        assert!(text.contains(word), "{word:?} is not in: {text}");
    }
}

/// The URL of the server's database `name`, as somebody else.
fn as_user(database: &Database, user: &str) -> String {
    let url = database.url();
    let (_, rest) = url.split_once('@').unwrap();
    format!("postgres://{user}@{rest}")
}

#[tokio::test]
async fn a_wrong_password_a_missing_one_and_an_unknown_user_need_a_person() {
    let database = Database::fresh().await;
    let wrong = as_user(&database, "test_password:wrong%20horse");
    needs_a_person(&wrong, &["names test_password@127.0.0.1:", "the password is refused", "28P01", "correct"]).await;
    let none = as_user(&database, "test_password");
    needs_a_person(&none, &["asks for a password", "USER:PASSWORD@"]).await;
    let stranger = as_user(&database, "nobody_of_that_name");
    needs_a_person(&stranger, &["the user is not let in", "nobody_of_that_name"]).await;
}

#[tokio::test]
async fn a_missing_database_and_missing_rights_need_a_person() {
    let database = Database::fresh().await;
    let (server, _) =
        database.url().rsplit_once('/').map(|(server, name)| (server.to_owned(), name.to_owned())).unwrap();
    needs_a_person(&format!("{server}/nothing_here"), &["there is no such database", "nothing_here", "create it"])
        .await;
    let no_rights = database.url_as("test_nobody");
    needs_a_person(&no_rights, &["test_nobody", "may not bring the database", "cfx migrate"]).await;
}

#[tokio::test]
async fn a_host_that_is_not_there_may_come() {
    may_pass("postgres://cfx:horse@127.0.0.1:9/cfx", &["cfx@127.0.0.1:9/cfx", "nobody answers there", "port"]).await;
    let unknown = "postgres://cfx:horse@no-such-host.invalid/cfx?sslmode=disable";
    may_pass(unknown, &["no-such-host.invalid:5432", "there is no such host", "correct the name"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_host_that_says_nothing_is_not_waited_for_long() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("postgres://cfx:horse@{}/cfx", silent.local_addr().unwrap());
    may_pass(&url, &["nobody answers there"]).await;
}

#[tokio::test]
async fn tls_that_one_side_demands_and_the_other_does_not_speak_needs_a_person() {
    let database = Database::fresh().await;
    let demanded = as_user(&database, "test_tls");
    needs_a_person(&demanded, &["the server demands TLS", "sslmode=verify-full"]).await;

    let plain = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("postgres://cfx@{}/cfx?sslmode=verify-full", plain.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        let (mut client, _) = plain.accept().unwrap();
        // The request for TLS is eight bytes; N is a server's no.
        client.read_exact(&mut [0; 8]).unwrap();
        client.write_all(b"N").unwrap();
    });
    needs_a_person(&url, &["speaks no TLS", "sslmode=disable"]).await;
    server.join().unwrap();
}

#[tokio::test]
async fn a_certificate_is_checked_and_the_checked_connection_works() {
    let database = Database::fresh().await;
    let over_tls = as_user(&database, "test_tls");
    let authority = authority();
    needs_a_person(&format!("{over_tls}?sslmode=require"), &["nobody this machine trusts", "sslrootcert=FILE"]).await;
    let elsewhere = over_tls.replace("@127.0.0.1", "@db.example.org");
    let elsewhere = format!("{elsewhere}?hostaddr=127.0.0.1&sslmode=verify-full&sslrootcert={authority}");
    needs_a_person(&elsewhere, &["for another name", "write the host as the certificate does"]).await;
    let missing = format!("{over_tls}?sslmode=verify-full&sslrootcert=/nonexistent/ca.pem");
    needs_a_person(&missing, &["sslrootcert names /nonexistent/ca.pem"]).await;

    let trusted = format!("{}?sslmode=verify-full&sslrootcert={authority}", database.url());
    let store = Address::parse(&trusted, None).unwrap().open().await.unwrap();
    let query = "select ssl from pg_stat_ssl where pid = pg_backend_pid()";
    let encrypted: bool = store.pool.session().await.unwrap().query_one(query, &[]).await.unwrap().get(0);
    assert!(encrypted);
}

#[tokio::test]
async fn a_database_of_a_newer_cfx_needs_a_person() {
    let database = Database::fresh().await;
    drop(ports::open(&database).await);
    let newer = "insert into cfx.schema_migrations (version, name, checksum) values (999, '0999_later', '')";
    database.connect().await.batch_execute(newer).await.unwrap();
    needs_a_person(&database.url(), &["schema version 999", "run a newer cfx"]).await;
}

#[tokio::test]
async fn a_session_is_bounded_in_time_on_the_server_too() {
    let database = Database::fresh().await;
    let store = ports::open(&database).await;
    let session = store.pool.session().await.unwrap();
    let bound: String = session.query_one("show statement_timeout", &[]).await.unwrap().get(0);
    assert_eq!(bound, "10s");
}
