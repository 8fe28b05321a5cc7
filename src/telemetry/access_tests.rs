use std::io;
use std::sync::mpsc;

use super::*;

/// Hands every write to the test, which may hold the writer up by not taking it.
struct Pipe(mpsc::SyncSender<Vec<u8>>);

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.send(bytes.to_vec()).map_err(|_| io::ErrorKind::BrokenPipe)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn a_line(path: &str) -> AccessLine<'_> {
    AccessLine {
        at: Timestamp(0),
        request: RequestId(uuid::Uuid::nil()),
        client: None,
        method: "GET",
        host: "",
        path,
        query: None,
        user_agent: None,
        status: 200,
        route: "/",
        reason: None,
        user: None,
        key: None,
        stage: None,
        stage_source: None,
        model: None,
        stream: false,
        bytes_in: 0,
        bytes_out: 0,
        usage: None,
        estimated: false,
        cost: NanoUsd(0),
        duration: Duration::ZERO,
        first_token: None,
        overhead: None,
        attempts: 0,
        fields: Fields::DEFAULT,
    }
}

#[test]
fn lines_arrive_in_batches_and_in_order() {
    let (sender, written) = mpsc::sync_channel(1_000);
    let log = AccessLog::to(Format::Json, Pipe(sender)).unwrap();
    for n in 0..100 {
        log.write(&a_line(&format!("/{n}")));
    }
    assert!(log.flush());
    let batches: Vec<Vec<u8>> = written.try_iter().collect();
    assert!(batches.len() < 100, "{} writes for 100 lines", batches.len());
    let text = String::from_utf8(batches.concat()).unwrap();
    let paths: Vec<String> = text
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["path"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(paths, (0..100).map(|n| format!("/{n}")).collect::<Vec<_>>());
    assert_eq!(log.dropped(), 0);
}

#[test]
fn a_line_shows_without_a_flush() {
    let (sender, written) = mpsc::sync_channel(10);
    let log = AccessLog::to(Format::Json, Pipe(sender)).unwrap();
    log.write(&a_line("/alone"));
    let batch = written.recv_timeout(Duration::from_secs(10)).unwrap();
    assert!(String::from_utf8(batch).unwrap().contains("/alone"));
}

#[test]
fn a_stuck_stream_costs_lines_and_never_time() {
    let (sender, written) = mpsc::sync_channel(0);
    let log = AccessLog::to(Format::Json, Pipe(sender)).unwrap();
    let path = "x".repeat(2_000);
    let lines = 3 * (CAPACITY / path.len()) as u64;
    for _ in 0..lines {
        log.write(&a_line(&path));
    }
    assert!(log.dropped() > 0);
    assert!(!log.flush(), "nothing takes the lines");
    let mut shown = 0;
    while shown + log.dropped() < lines {
        let batch = written.recv_timeout(Duration::from_secs(10)).unwrap();
        shown += batch.iter().map(|byte| u64::from(*byte == b'\n')).sum::<u64>();
    }
    assert!(log.flush());
    assert_eq!(shown + log.dropped(), lines);
}
