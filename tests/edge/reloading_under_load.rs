//! Reloads, a third of them with a mistake, under streams and visitors: nothing is cut, nobody is refused, every mistake is
//! told with its place, and memory stays.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::draining::{allow_open_files, assert_whole};
use crate::harness::{Harness, Reply, Streaming, wire};
use crate::nothing_leaks::resident;
use crate::reloading::{RELOADS, SUCCESS, reload, rewrite, told};
use crate::upgrading::Visitors;

/// What a hand may do wrong: the file, what stood there, and what stands there instead. `¶` marks where cfx is to see it.
const MISTAKES: [(&str, &str, &str); 14] = [
    ("limits.yaml", "concurrent_streams: ", "concurrent_streams: ¶many # "),
    ("limits.yaml", "concurrent_streams: ", "¶concurrent_stream: "),
    ("limits.yaml", "concurrent_requests: ", "body: ¶-1\nconcurrent_requests: "),
    ("cfx.yaml", "llm: litellm", "llm: ¶litelm"),
    ("cfx.yaml", "upstream: web", "upstream: ¶wbe"),
    ("cfx.yaml", "server: {", "¶sever: {"),
    ("cfx.yaml", "total: 20m", "total: ¶soon"),
    ("cfx.yaml", "path: /v1/ }", "path: ¶v1 }"),
    ("cfx.yaml", "cfx.test.key\"", "cfx.tset.key\", ¶kye: \"\""),
    ("models.yaml", "model: quick", "model: ¶quik"),
    ("models.yaml", "'(?i)\\breview\\b'", "¶'(?i)[review'"),
    ("models.yaml", "has_diff: true", "has_diff: ¶perhaps"),
    ("models.yaml", "system: \"CODE: answer with unified diffs only.\"", "system_file: ¶nowhere.md"),
    ("models.yaml", "default_stage: plan", "default_stage: ¶plna"),
];

/// Numbers that are the same in each run, and follow no rhythm.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).expect("31 bits") % bound
    }
}

/// Line and column of the mark in a text.
fn place(marked: &str) -> (usize, usize) {
    let before = marked.split('¶').next().unwrap_or_default();
    (before.matches('\n').count() + 1, before.chars().rev().take_while(|c| *c != '\n').count() + 1)
}

/// Makes a mistake, has it refused by all that tell of it, and takes it back.
fn mistaken(edge: &Harness, (file, from, to): (&str, &str, &str), refused: u32) {
    let path = edge.conf().join(file);
    let good = std::fs::read_to_string(&path).expect("a file");
    let (line, column) = place(&good.replacen(from, to, 1));
    rewrite(edge, file, from, &to.replace('¶', ""));
    let answer = reload(edge);
    assert_eq!(answer.status, 422, "{to}: {answer}");
    let problems = answer.json()["problems"].clone();
    let there = |problem: &serde_json::Value| {
        problem["file"].as_str().is_some_and(|named| Path::new(named) == path)
            && problem["line"] == line
            && problem["column"] == column
    };
    assert!(problems.as_array().is_some_and(|all| all.iter().any(there)), "{to}, at {line}:{column}: {answer}");
    let said = edge.process.wait_for_line("the configuration is not taken").expect("the log tells of it");
    assert!(said.contains(&format!("{}:{line}:{column} ", path.display())), "{to}: {said}");
    assert_eq!(edge.metric(SUCCESS, &[]), 0.0, "{to}");
    assert_eq!(edge.metric(RELOADS, &["\"refused\""]), f64::from(refused), "{to}");
    std::fs::write(&path, good).expect("a file");
}

/// Changes something that is applied at once: prices, limits, the rules of an upstream, or an upstream's targets.
fn change(edge: &Harness, round: usize, chance: &mut Chance) {
    let line = |file: &str, beginning: &str, to: String| {
        let path = edge.conf().join(file);
        let text = std::fs::read_to_string(&path).expect("a file");
        let lines =
            text.lines().map(|line| if line.trim_start().starts_with(beginning) { to.clone() } else { line.into() });
        std::fs::write(&path, lines.collect::<Vec<_>>().join("\n") + "\n").expect("a file");
    };
    let web = edge.web.address;
    match chance.below(4) {
        0 => line("limits.yaml", "concurrent_requests", format!("concurrent_requests: {}", 1_000 + round)),
        1 => {
            let price = format!("price: {{ input: 0.{round:05}, output: 2.00 }}");
            line("models.yaml", "complete:", format!("  complete: {{ upstream_model: upstream-complete, {price} }}"));
        }
        2 => line("cfx.yaml", "breaker:", format!("    breaker: {{ failures: {} }}", 5 + round % 900)),
        _ => line(
            "cfx.yaml",
            "web:",
            format!("  web: {{ targets: [\"http://{web}\", \"http://127.0.0.1:{}\"] }}", 100 + round),
        ),
    }
}

/// Streams that say a word every few seconds until `enough`.
fn flowing_streams(edge: &Harness, count: usize, enough: &Arc<AtomicBool>) -> Vec<Streaming> {
    let open = |_| {
        let enough = Arc::clone(enough);
        edge.upstream.then(Reply::script(move |exchange| {
            let events = wire::chat_events("m", &wire::WORDS, true);
            let (first, rest) = events.split_at(2);
            exchange.begin_events();
            first.iter().for_each(|event| exchange.event(event));
            let mut tick = 0;
            while !enough.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(100));
                tick += 1;
                if tick % 30 == 0 {
                    exchange.event(&first[1]);
                }
            }
            rest.iter().for_each(|event| exchange.event(event));
            exchange.end();
        }));
        let mut stream = edge.chat_stream();
        assert_eq!(stream.status, 200);
        stream.event();
        stream
    };
    (0..count).map(open).collect()
}

struct Load {
    reloads: usize,
    streams: usize,
    visitors_a_second: u32,
    /// All reloads together take at least this long.
    over: Duration,
}

fn reloads_under_load(load: Load) {
    allow_open_files();
    let edge = told()
        .timeouts("connect: 2s, first_byte: 20s, between_chunks: 20s, total: 20m")
        .stopping("grace: 60s, drain_after: off")
        .upstream("breaker: { failures: 5 }")
        .start();
    let enough = Arc::<AtomicBool>::default();
    let streams = flowing_streams(&edge, load.streams, &enough);
    let visitors = Visitors::come(&edge, load.visitors_a_second);
    visitors.wait_for_more(20);
    let (mut chance, mut refused, mut applied) = (Chance(5), 0, 0);
    let mut memory = 0;
    let pause = load.over / u32::try_from(load.reloads).expect("few");
    let mut next = Instant::now();
    for round in 0..load.reloads {
        if chance.below(3) == 0 {
            refused += 1;
            mistaken(&edge, MISTAKES[chance.below(MISTAKES.len())], refused);
        } else {
            change(&edge, round, &mut chance);
            let answer = reload(&edge);
            assert_eq!(answer.status, 200, "round {round}: {answer}");
            applied += 1;
        }
        if round == load.reloads / 5 {
            memory = resident(&edge);
        }
        next += pause;
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    let after = resident(&edge);
    visitors.wait_for_more(20);
    let visits = visitors.leave();
    assert!(visits > 0 && edge.metric("cfx_streams_in_flight", &[]) >= load.streams as f64, "all are open still");
    enough.store(true, Ordering::Relaxed);
    assert_whole(streams);
    println!(
        "{applied} applied, {refused} refused, {visits} visitors; {memory} KiB after a fifth, {after} KiB at the end"
    );
    assert!(refused * 2 > applied / 2 && applied + 1 >= refused, "about a third: {refused} of {}", load.reloads);
    let done = edge.metric(RELOADS, &["\"applied\""]) + edge.metric(RELOADS, &["\"unchanged\""]);
    assert_eq!(done, f64::from(applied));
    assert!(after < memory + memory / 10 + 8_192, "{memory} KiB grew to {after} KiB");
    assert_eq!(reload(&edge).status, 200, "the last good configuration is on disk, and serves");
    edge.assert_healthy();
}

#[test]
fn nobody_notices_fifty_reloads() {
    reloads_under_load(Load { reloads: 50, streams: 20, visitors_a_second: 50, over: Duration::ZERO });
}

#[test]
#[ignore = "three minutes; `make soak` runs it"]
fn nobody_notices_a_thousand_reloads_in_three_minutes() {
    let over = Duration::from_secs(170);
    reloads_under_load(Load { reloads: 1_000, streams: 500, visitors_a_second: 200, over });
}
