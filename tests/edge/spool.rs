//! The ledger outlives its process: what was let in is on disk, whoever dies, and a second process does no harm.

use std::path::PathBuf;

use serde_json::Value;

use crate::harness::{CHAT, Harness, Process, Reply, cfx, chat_body, gate, ports, process, streaming, wire};

/// `cfx ledger status --json`.
fn status(edge: &Harness) -> Value {
    let output = cfx().args(["ledger", "status", "--json", "--data"]).arg(edge.data()).output().expect("cfx starts");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", process::printed(&output)))
}

/// What `cfx run` says on its way out, and its exit code.
fn refused_start(edge: &Harness) -> (String, Option<i32>) {
    let output = cfx().arg("run").arg("--conf").arg(edge.conf()).arg("--data").arg(edge.data()).output();
    let output = output.expect("cfx starts");
    (process::printed(&output), output.status.code())
}

fn segments(edge: &Harness) -> Vec<PathBuf> {
    let folders = std::fs::read_dir(edge.data().join("spool")).expect("a spool").flatten();
    let files = folders.filter_map(|folder| std::fs::read_dir(folder.path()).ok()).flat_map(Iterator::flatten);
    files.map(|file| file.path()).filter(|path| path.extension().is_some_and(|end| end == "spool")).collect()
}

#[test]
fn a_stream_that_the_edge_did_not_outlive_has_its_row() {
    let mut edge = Harness::start();
    let (opener, closed) = gate();
    edge.upstream.then(Reply::gated(wire::chat_events("m", &wire::WORDS, true), closed));
    let stream = edge.chat_stream_opening(&opener);
    let id = stream.header("x-request-id").expect("an id").to_string();
    assert_eq!(status(&edge)["edges"][0]["open"], 1, "{}", status(&edge));
    edge.process.kill();
    edge.process = Process::run(&edge.conf(), &edge.data(), edge.admin).expect("cfx starts again");
    let row = edge.row();
    assert_eq!((row.text("request_id"), row.text("stage"), row.text("model")), (id.as_str(), "plan", "smart"));
    assert_eq!((row.text("status"), row.text("error_message"), row.number("attempts")), ("error", "edge stopped", 0));
    drop(opener);
}

#[test]
fn rows_that_the_store_had_not_taken_come_with_the_next_start() {
    let mut edge = Harness::start();
    let busy = rusqlite::Connection::open(edge.data().join("cfx.db")).expect("the store opens");
    edge.chat(); // leases are there
    edge.rows(1);
    busy.execute_batch("begin immediate").expect("the only place for a writer");
    for _ in 0..20 {
        assert_eq!(edge.chat().status, 200, "nobody waits for the store");
    }
    let waiting = || status(&edge)["edges"][0]["waiting"].as_u64();
    let deadline = std::time::Instant::now() + crate::harness::client::PATIENCE;
    while waiting() != Some(20) {
        assert!(std::time::Instant::now() < deadline, "{}", status(&edge));
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    edge.process.kill();
    drop(busy);
    edge.process = Process::run(&edge.conf(), &edge.data(), edge.admin).expect("cfx starts again");
    let rows = edge.rows(21);
    assert!(rows.iter().all(|row| row.text("status") == "success"), "{rows:?}");
}

#[test]
fn two_processes_on_one_data_folder_keep_out_of_each_others_spool() {
    let edge = Harness::start();
    let (opener, closed) = gate();
    edge.upstream.then(Reply::gated(wire::chat_events("m", &wire::WORDS, true), closed));
    let stream = edge.chat_stream_opening(&opener);
    // The second takes the ports of nobody: it has a configuration of its own.
    let second = Harness::start();
    let mut other = cfx();
    other.arg("run").arg("--conf").arg(second.conf()).arg("--data").arg(edge.data());
    let [http, https, admin] = ports::free_addresses();
    for (flag, address) in [("--http", http), ("--https", https), ("--admin", admin)] {
        other.arg(flag).arg(address.to_string());
    }
    let mut other = Process::spawn(other);
    other.wait_for_line("ready").expect("the second starts");
    let edges = status(&edge)["edges"].as_array().cloned().unwrap_or_default();
    assert_eq!(edges.iter().filter(|edge| edge["in_use"] == true).count(), 2, "{edges:?}");
    other.stop();
    drop(opener);
    assert!(stream.rest().1, "the first one's stream goes on");
    assert_eq!(edge.row().text("status"), "success", "and was not taken for a dead one's");
}

#[test]
fn a_full_spool_refuses_with_503_or_serves_without_as_configured() {
    for (on_full, expected) in [("refuse", 503), ("drop", 200)] {
        let line = format!("ledger: {{ spool: {{ size: 1MiB, on_full: {on_full} }} }}");
        let edge = Harness::builder().edge(&line).start();
        edge.chat(); // leases and the key are there
        edge.rows(1);
        let busy = rusqlite::Connection::open(edge.data().join("cfx.db")).expect("the store opens");
        busy.execute_batch("begin immediate").expect("the only place for a writer");
        let session = "s".repeat(128);
        let request = edge.request(CHAT, &chat_body()).header("X-CFX-Session-Id", &session);
        let mut client = edge.client();
        let last = (0..3_000).map(|_| client.ask(&request)).find(|answer| answer.status != 200);
        match last {
            Some(answer) => {
                assert_eq!((answer.status, answer.code().as_str()), (expected, "store_unavailable"), "{answer}");
                assert!(answer.header("retry-after").is_some());
            }
            None => assert_eq!(expected, 200),
        }
        assert!(edge.metric("cfx_ledger_spool_bytes", &[]) <= f64::from(1 << 20));
        drop(busy);
    }
}

#[test]
fn a_spool_that_cannot_be_used_keeps_the_edge_from_starting() {
    let mut edge = Harness::start();
    edge.chat();
    edge.process.kill();
    let segment = segments(&edge).remove(0);
    let mut bytes = std::fs::read(&segment).expect("a segment");
    let whole = bytes.clone();
    bytes[8] += 1;
    let checksum = crc32fast::hash(&bytes[..12]);
    bytes[12..16].copy_from_slice(&checksum.to_le_bytes());
    std::fs::write(&segment, &bytes).expect("a file");
    let (said, code) = refused_start(&edge);
    assert_eq!(code, Some(78), "{said}");
    assert!(said.contains("format 2") && said.contains("--data (CFX_DATA)"), "{said}");

    std::fs::write(&segment, whole).expect("a file");
    let spool = edge.data().join("spool");
    std::fs::rename(&spool, edge.data().join("elsewhere")).expect("a folder");
    std::fs::write(&spool, "").expect("a file");
    let (said, code) = refused_start(&edge);
    assert_eq!(code, Some(78), "{said}");
    assert!(said.contains("spool") && said.contains("--data (CFX_DATA)") && !said.contains("panicked"), "{said}");
}

#[test]
fn an_ordinary_stop_leaves_nothing_to_be_done() {
    let mut edge = Harness::start();
    (0..5).for_each(|_| drop(edge.chat()));
    let body = streaming(chat_body());
    assert!(edge.client().stream(&edge.request(CHAT, &body)).rest().1);
    edge.process.stop();
    let found = status(&edge);
    let edges = found["edges"].as_array().cloned().unwrap_or_default();
    assert_eq!(edges.len(), 1);
    assert_eq!((&edges[0]["waiting"], &edges[0]["open"], &edges[0]["in_use"]), (&0.into(), &0.into(), &false.into()));
    let text = cfx().args(["ledger", "status", "--data"]).arg(edge.data()).output().expect("cfx starts");
    let text = process::printed(&text);
    for part in
        ["no process", "waiting for the store: 0 rows; still without an end: 0 requests\n", "quarantine: 0 rows"]
    {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
    let nowhere = cfx().args(["ledger", "status", "--data"]).arg(edge.data().join("nowhere")).output();
    let nowhere = nowhere.expect("cfx starts");
    assert_eq!(nowhere.status.code(), Some(1));
    assert!(process::printed(&nowhere).contains("--data (CFX_DATA)"));
}

#[test]
fn with_fsync_each_requests_of_many_connections_share_the_disk() {
    let edge = Harness::builder().edge("ledger: { spool: { fsync: each } }").start();
    let request = std::sync::Arc::new(edge.request(CHAT, &chat_body()));
    let asking: Vec<_> = (0..8)
        .map(|_| {
            let (mut client, request) = (edge.client(), request.clone());
            std::thread::spawn(move || (0..10).filter(|_| client.ask(&request).status == 200).count())
        })
        .collect();
    let served: usize = asking.into_iter().map(|thread| thread.join().expect("a client")).sum();
    assert_eq!(served, 80);
    assert_eq!(edge.rows(80).len(), 80);
}
