//! What holds a connection to its share: how many there may be, how long they may be idle and how often they are used.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::bad_bytes::health::open_connections;
use crate::harness::client::PATIENCE;
use crate::harness::process::run_of;
use crate::harness::{Client, Harness, Process, Reply, Request};

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn health(client: &mut Client) -> u16 {
    client.ask(&Request::get("/health")).status
}

#[test]
fn an_address_has_so_many_connections_and_no_more() {
    let edge = Harness::builder().edge("guards: { connections_per_address: 3 }").start();
    let mut held: Vec<_> = (0..3).map(|_| edge.client()).collect();
    assert!(held.iter_mut().all(|client| health(client) == 200));
    assert!(edge.client().read_to_close().is_empty(), "a fourth is closed");
    edge.assert_metric("cfx_guard_total", &["connections_per_address"], 1.0);
    assert_eq!(health(&mut held[0]), 200, "the others stay");
    held.pop();
    eventually("who leaves makes room", || {
        let mut client = edge.client();
        client.send(&Request::get("/health").bytes());
        client.answer_if_any().is_some_and(|answer| answer.status == 200)
    });
}

#[test]
fn there_are_so_many_connections_and_no_more_but_trusted_proxies_are_no_one_address() {
    let edge = Harness::builder()
        .edge("guards: { connections: 4, connections_per_address: 1 }")
        .edge("trusted_proxies: [127.0.0.1]")
        .start();
    let mut held: Vec<_> = (0..4).map(|_| edge.client()).collect();
    assert!(held.iter_mut().all(|client| health(client) == 200));
    assert!(edge.client().read_to_close().is_empty());
    edge.assert_metric("cfx_guard_total", &["connections"], 1.0);
    edge.assert_metric("cfx_guard_total", &["connections_per_address"], 0.0);
    assert!(edge.process.log().contains("guards.connections"), "{}", edge.process.log());
}

/// `cfx run` on the installation of `edge`, which is stopped, by a shell that first says how many files may be opened.
fn run_with_files(edge: &mut Harness, limits: &str) {
    edge.process.stop();
    let run = run_of(&edge.conf(), &edge.data());
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(format!("{limits} && exec \"$0\" \"$@\"")).arg(run.get_program()).args(run.get_args());
    shell.env_clear().envs(run.get_envs().filter_map(|(name, value)| Some((name, value?))));
    edge.process = Process::spawn(shell);
    edge.process.wait_for_line("cfx is ready").expect("cfx starts");
}

#[test]
fn all_the_files_that_may_be_opened_are_used_and_few_of_them_are_told() {
    let mut edge = Harness::start();
    run_with_files(&mut edge, "ulimit -Sn 256 && ulimit -Hn 4500");
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", edge.process.id())).expect("a process");
    let files = limits.lines().find(|line| line.starts_with("Max open files")).expect("a line");
    assert!(files.split_whitespace().filter(|word| *word == "4500").count() == 2, "{files}");
    let mut held: Vec<_> = (0..300).map(|_| edge.client()).collect();
    assert!(held.iter_mut().all(|client| health(client) == 200), "more than it was started with");
    drop(held);
    assert!(!edge.process.log().contains("few files"), "{}", edge.process.log());
    run_with_files(&mut edge, "ulimit -Sn 256 && ulimit -Hn 600");
    assert!(edge.process.log().contains("few files may be opened"), "{}", edge.process.log());
    let held: Vec<_> = (0..87).map(|_| edge.client()).collect();
    edge.assert_metric("cfx_guard_total", &["connections_per_address"], 1.0);
    drop(held);
}

#[test]
fn idle_connections_are_closed_and_nobody_is_blamed() {
    let edge = Harness::builder().edge("guards: { idle: 300ms }").start();
    for mut client in [edge.client(), edge.tls_client()] {
        assert_eq!(health(&mut client), 200);
        assert_eq!(health(&mut client), 200);
        assert!(client.read_to_close().is_empty(), "without a word");
    }
    assert_eq!(edge.metric("cfx_guard_total", &[]), 0.0);
}

#[test]
fn an_answer_that_nobody_reads_ends_its_connection() {
    let edge = Harness::builder().limit("read_stall: 300ms").start();
    edge.web.always(|_| Some(Reply::json(200, "a".repeat(32 << 20)))); // more than sockets hold
    for (number, connect) in [Harness::client, Harness::tls_client].into_iter().enumerate() {
        let mut client = connect(&edge);
        client.send(&Request::get("/").bytes());
        edge.web.wait_for(number + 1);
        eventually("its window stays closed", || open_connections(&edge) == 0);
        assert!(!client.answer().complete);
    }
    edge.assert_metric("cfx_refusals_total", &["client_too_slow"], 2.0);
    edge.assert_healthy();
}

#[test]
fn a_connection_ends_after_its_last_request_or_when_it_is_old() {
    let said = |client: &mut Client| {
        let answer = client.ask(&Request::get("/health"));
        assert_eq!(answer.status, 200);
        answer.header("connection").map(str::to_owned)
    };
    let edge = Harness::builder().edge("guards: { requests_per_connection: 2 }").start();
    let mut client = edge.client();
    assert_eq!([(); 2].map(|()| said(&mut client)), [Some("keep-alive".to_owned()), Some("close".to_owned())]);
    assert!(client.read_to_close().is_empty());

    let edge = Harness::builder().edge("guards: { connection_age: 1ms }").start();
    let mut client = edge.client();
    // Its age is the edge's to reckon, from when it took the connection.
    let asked = (0..1_000).take_while(|_| said(&mut client).as_deref() == Some("keep-alive")).count();
    assert!(asked < 1_000, "a thousand requests take longer than a millisecond");
    assert!(client.read_to_close().is_empty());
}

#[test]
fn header_names_with_an_underscore_are_dropped_passed_or_refused() {
    let request =
        || Request::get("/").header("X_Forwarded_For", "6.6.6.6").header("My_Header", "a").header("X-Fine", "b");
    for (way, passes) in [("drop", false), ("pass", true)] {
        let edge = Harness::builder().edge(&format!("guards: {{ underscores: {way} }}")).start();
        edge.web.always(|_| Some(Reply::json(200, "{}")));
        assert_eq!(edge.ask(&request()).status, 200);
        let seen = edge.web.last();
        assert_eq!(
            (seen.header("my_header").is_some(), seen.header("x_forwarded_for").is_some()),
            (passes, passes),
            "{way}"
        );
        assert_eq!(seen.header("x-fine"), Some("b"), "{way}");
    }
    let edge = Harness::builder().edge("guards: { underscores: refuse }").start();
    let answer = edge.ask(&request());
    assert_eq!((answer.status, answer.code().as_str()), (400, "invalid_request"), "{answer}");
    edge.assert_metric("cfx_guard_total", &["underscore"], 1.0);
    assert_eq!(edge.web.count(), 0);
}

#[test]
fn an_encoded_slash_passes_where_that_is_wanted() {
    let edge = Harness::builder().edge("guards: { encoded_slash: pass }").start();
    edge.web.always(|_| Some(Reply::json(200, "{}")));
    assert_eq!(edge.ask(&Request::get("/@scope%2Fname")).status, 200);
    assert_eq!(edge.web.last().path(), "/@scope%2Fname", "as it was written");
    assert_eq!(edge.ask(&Request::get("/a%2F..%2Fb")).status, 400);
}

#[test]
fn a_head_that_is_too_large_over_http_2_is_told_so() {
    use crate::harness::ordinary::http2_with;
    let edge = Harness::builder().edge("guards: { headers: 20, header_bytes: 4KiB }").start();
    let few = [("x-long".to_string(), "a".repeat(5_000))];
    let many: Vec<_> = (0..30).map(|number| (format!("x-{number}"), "a".to_string())).collect();
    for headers in [&few[..], &many] {
        let answer = http2_with(&edge, "/v1/models", headers);
        assert_eq!((answer.status, answer.code().as_str()), (431, "headers_too_large"), "{answer}");
    }
    let answer = http2_with(&edge, &format!("/{}", "a".repeat(5_000)), &[]);
    assert_eq!((answer.status, answer.code().as_str()), (431, "headers_too_large"), "the target counts: {answer}");
    edge.assert_metric("cfx_guard_total", &["headers_too_large"], 3.0);
}

#[test]
fn the_page_of_guards_knows_every_reason_and_no_other() {
    let page = std::fs::read_to_string("docs/guards.md").expect("the page");
    for guard in cfx::entry::guard::Guard::ALL {
        assert!(page.contains(&format!("`{}`", guard.label())), "{guard:?} is not in docs/guards.md");
    }
}
