//! What a start leaves behind where it cannot go on, and what it waits for on its way.

use std::net::TcpListener;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::harness::process::{cfx, printed};
use crate::harness::{Client, Harness, Process, Request};
use crate::on_postgres::{Store, eventually};

/// `cfx run` on the ports of an edge that was stopped, over `store`.
fn run(edge: &Harness, store: &Store, store_wait: &str) -> Command {
    let mut command = cfx();
    command.env("DATABASE_URL", store.database.url()).env("CFX_STORE_WAIT", store_wait).arg("run");
    command.arg("--conf").arg(edge.conf()).arg("--data").arg(edge.data().with_file_name("other"));
    command
}

fn stopped() -> Harness {
    let mut edge = Harness::start();
    edge.process.stop();
    edge
}

#[test]
fn a_port_that_is_taken_is_found_out_before_anything_is_made() {
    let (edge, store) = (stopped(), Store::fresh());
    for (address, what) in [(edge.http, "entrypoint http"), (edge.https, "entrypoint https"), (edge.admin, "admin")] {
        let taken = TcpListener::bind(address).expect("a free port");
        let output = run(&edge, &store, "1s").output().expect("cfx starts");
        let text = printed(&output);
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains(&format!("cannot listen on {address} ({what})")), "{text}");
        drop(taken);
    }
    assert!(!edge.data().with_file_name("other").exists(), "no folder");
    assert_eq!(store.number("select count(*) from pg_namespace where nspname = 'cfx'"), 0, "nor a table");

    let folder = tempfile::tempdir().expect("a folder");
    let taken = TcpListener::bind(edge.http).expect("a free port");
    let mut dev = cfx();
    dev.arg("dev").arg("--http").arg(edge.http.to_string()).current_dir(folder.path());
    dev.arg("--https").arg(edge.https.to_string()).arg("--admin").arg(edge.admin.to_string());
    let output = dev.output().expect("cfx starts");
    assert_eq!(output.status.code(), Some(1), "{}", printed(&output));
    assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 0);
    drop(taken);
}

/// Each step of a start that asks the store something: how to let it fail as in an outage, and how to mend that.
const FAULTS: [(&str, &str, &str); 2] = [
    (
        "the pepper cannot be checked",
        "create function public.away() returns trigger language plpgsql as
         $$ begin raise exception 'the database system is shutting down' using errcode = '57P03'; end $$;
         create trigger away before insert on cfx.settings for each statement execute function public.away()",
        "drop trigger away on cfx.settings",
    ),
    (
        "quota_leases",
        "alter table cfx.quota_leases rename to quota_leases_away",
        "alter table cfx.quota_leases_away rename to quota_leases",
    ),
];

#[test]
fn a_store_that_goes_away_in_the_midst_of_a_start_is_waited_for() {
    let edge = stopped();
    for (said, fault, mended) in FAULTS {
        let store = Store::fresh();
        assert!(run_migrations(&store));
        store.execute(fault);
        let mut process = Process::spawn(run(&edge, &store, "60s"));
        process.wait_for_line("waiting for the store").expect("it says what it waits for");
        assert!(process.log().contains(said), "{}", process.log());
        let ready =
            || Client::plain(edge.admin).ask(&Request::get("/-/ready").instead("Host", &edge.admin.to_string()));
        let answer = ready();
        assert_eq!((answer.status, answer.text().trim()), (503, "starting: waiting for the store"));
        store.execute(mended);
        eventually("it starts", || ready().status == 200);
        assert!(process.stop().success());
    }
}

#[test]
fn a_store_that_stays_away_in_the_midst_of_a_start_is_no_mistake_in_the_configuration() {
    let edge = stopped();
    for (said, fault, _) in FAULTS {
        let store = Store::fresh();
        assert!(run_migrations(&store));
        store.execute(fault);
        let begun = Instant::now();
        let output = run(&edge, &store, "2s").output().expect("cfx starts");
        let text = printed(&output);
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains(said) && text.contains("waited 2s in vain"), "{text}");
        assert!(begun.elapsed() > Duration::from_secs(1), "{:?}", begun.elapsed());
    }
}

fn run_migrations(store: &Store) -> bool {
    let mut command = cfx();
    command.env("DATABASE_URL", store.database.url()).arg("migrate");
    command.output().expect("cfx starts").status.success()
}
