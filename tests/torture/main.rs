//! The account survives: the real edge is killed again and again under load, at random moments and at the worst ones,
//! and its spool is damaged. Then every request that reached the upstream must have exactly one row.
//!
//! `make torture`, which runs it on either store. `TORTURE_SEED` repeats the choices of an earlier run (not its timing),
//! `TORTURE_KILLS` says how often it is killed (200), `TORTURE_STORE=postgres` puts a database made for this, on the
//! server of the tests, in the place of the embedded store.
#![cfg(test)]

#[path = "../edge/harness/mod.rs"]
#[expect(dead_code, unused_imports, reason = "the harness serves other tests too")]
mod harness;
#[path = "../support/postgres.rs"]
mod postgres;

mod chance;
mod clients;
mod count;
mod damage;
mod store;

use std::collections::HashSet;
use std::os::unix::process::ExitStatusExt;
use std::time::{Duration, Instant};

use chance::Chance;
use clients::Clients;
use count::{Expected, Life};
use harness::client::PATIENCE;
use harness::process::cfx_of;
use harness::scripted::{Recorded, Reply, Scripted};
use harness::{Harness, Process, wire};
use store::Store;

const FAILPOINTS: [&str; 5] = ["after_grant", "after_open", "after_first_byte", "after_end", "after_commit"];

/// The signal of a process that ends itself at once.
const ABORTED: i32 = 6;

/// An answer that was whole for this long before a death must be written as what it was: its END lags 5 ms behind, and
/// the machine may be busy.
const SURELY_WRITTEN: Duration = Duration::from_secs(1);

/// What the run has seen, beside what the upstream and the store say.
#[derive(Default)]
struct Story {
    /// Answers that were whole and written for sure when the edge died.
    finished: HashSet<String>,
    /// The processes that died, in their order.
    lives: Vec<Life>,
    damages: usize,
    /// Deaths of processes that had counted without their store for a while: what they had not posted is lost with them.
    alone: usize,
}

impl Story {
    /// To be called at each death, at once. `damaged`: what it left is to be harmed.
    fn died(&mut self, process: &Process, clients: &Clients, damaged: bool) {
        self.lives.push(Life::over(damaged));
        self.damages += usize::from(damaged);
        self.alone += usize::from(process.log().contains("requests are counted without it"));
        self.finished.extend(clients.take_finished_before(Instant::now() - SURELY_WRITTEN));
    }
}

#[test]
#[ignore = "takes minutes: make torture"]
fn every_request_that_reached_the_upstream_has_exactly_one_row() {
    let kills = number("TORTURE_KILLS").unwrap_or(200);
    let seed = number("TORTURE_SEED").unwrap_or_else(Chance::fresh_seed);
    let store = Store::chosen();
    eprintln!("TORTURE_STORE={store} TORTURE_SEED={seed} TORTURE_KILLS={kills}");
    let mut chance = Chance::new(seed);
    let mut edge = Harness::builder().quota(1_000_000).start();
    answer_in_many_ways(&edge.upstream);
    let clients = Clients::start(&edge, chance.next());
    let mut story = Story::default();

    for round in 0..kills {
        match round % 10 {
            // A tenth of the deaths each: at a place in the code, and with a damaged spool.
            4 => {
                let failpoint = FAILPOINTS[(round / 10) as usize % FAILPOINTS.len()];
                die_at(&mut edge, &clients, failpoint, &mut chance, &mut story);
            }
            9 => die_damaged(&mut edge, &clients, &mut chance, &mut story),
            _ => {
                // Now and then long enough for answers to be sure of their row.
                let most = if round % 10 == 7 { 2_500 } else { 400 };
                std::thread::sleep(Duration::from_millis(5 + chance.below(most)));
                edge.process.kill();
                story.died(&edge.process, &clients, false);
            }
        }
        if round % 10 != 9 {
            edge.process = start(&edge);
        }
        if round % 20 == 19 {
            eprintln!("{} deaths, {} requests at the upstream", story.lives.len(), edge.upstream.count());
        }
    }

    clients.stop();
    assert!(edge.process.stop().success(), "a last, ordinary stop writes what there is");
    check(&edge, &store, &story);
}

/// Runs into a place at which the process dies by itself, perhaps before anybody could see that it was ready.
fn die_at(edge: &mut Harness, clients: &Clients, failpoint: &str, chance: &mut Chance, story: &mut Story) {
    edge.process.kill();
    story.died(&edge.process, clients, false);
    let place = format!("{failpoint}:{}", 1 + chance.below(20));
    let mut command = cfx_of(&edge.data());
    command.env("CFX_FAILPOINT", &place).arg("run").arg("--conf").arg(edge.conf()).arg("--data").arg(edge.data());
    edge.process = Process::spawn(command);
    let status = edge.process.wait_for_exit();
    story.died(&edge.process, clients, false);
    assert_eq!(status.signal(), Some(ABORTED), "{place}: it was to die there: {status}: {}", edge.process.log());
}

/// Dies with nothing under way, so that the last record is no OPEN: to lose it loses no row. Then it is damaged, and
/// the next start must say so.
fn die_damaged(edge: &mut Harness, clients: &Clients, chance: &mut Chance, story: &mut Story) {
    edge.upstream.wait_for(edge.upstream.count() + 20); // so that the newest segment is one of requests
    clients.pause();
    damage::wait_until_nothing_is_open(&edge.data());
    edge.process.kill();
    story.died(&edge.process, clients, true);
    damage::harm_the_newest_segment(&edge.data(), chance);
    edge.process = start(edge);
    edge.assert_metric("cfx_ledger_spool_cuts_total", &[], 1.0);
    assert!(edge.process.log().contains("is damaged; it was cut"), "the damage is in the log: {}", edge.process.log());
    assert_eq!(damage::cuts_kept(&edge.data()), story.damages, "what was cut is kept");
    clients.resume();
}

fn start(edge: &Harness) -> Process {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match Process::run(&edge.conf(), &edge.data(), edge.admin) {
            Ok(process) => return process,
            Err(log) => assert!(Instant::now() < deadline, "cfx does not start again:\n{log}"),
        }
    }
}

/// By the request's own id, so that the answer is the same whoever asks: at once, as a slow stream, or never.
fn answer_in_many_ways(upstream: &Scripted) {
    upstream.always(|request: &Recorded| {
        let id = request.header("x-request-id").unwrap_or_default();
        let dice = id.bytes().last().unwrap_or_default() % 8;
        let streams = request.json()["stream"] == true;
        match dice {
            0 => Some(Reply::never()),
            1..4 if streams => Some(Reply::script(|exchange| {
                exchange.begin_events();
                for event in wire::chat_events("m", &wire::WORDS.repeat(12), true) {
                    exchange.event(&event);
                    std::thread::sleep(Duration::from_millis(4)); // the pace of a model, not a wait for anything
                }
                exchange.end();
            })),
            _ => None,
        }
    });
}

fn check(edge: &Harness, store: &Store, story: &Story) {
    let reached: HashSet<String> = edge
        .upstream
        .requests()
        .iter()
        .map(|request| request.header("x-request-id").expect("every request has an id").to_string())
        .collect();
    let found = store.read(&edge.data());
    let written: HashSet<&str> = found.rows.iter().map(|row| row.request.as_str()).collect();
    assert_eq!(written.len(), found.rows.len(), "no request has two rows");
    let missing: Vec<_> = reached.iter().filter(|id| !written.contains(id.as_str())).collect();
    assert!(missing.is_empty(), "{} requests reached the upstream and have no row: {missing:?}", missing.len());

    let stopped = found.rows.iter().filter(|row| row.was_stopped());
    stopped.clone().for_each(|row| assert_eq!((row.status.as_str(), row.attempts), ("error", 0), "{row:?}"));
    let hit = count::hit(&story.lives, &found.rows);
    let whole = found.rows.iter().filter(|row| story.finished.contains(&row.request));
    let forgotten: Vec<_> =
        whole.filter(|row| row.status != "success" && !hit.contains(row.request.as_str())).collect();
    assert!(forgotten.is_empty(), "whole answers are written as such: {forgotten:?}");

    let expected = Expected::by(&story.lives, &found.rows, &reached);
    eprintln!(
        "{} deaths, {} of them after counting alone, {} damaged spools that took {} ends: {} requests at the upstream, \
         {} rows, {} of them edge stopped; {} counted, {expected:?}",
        story.lives.len(),
        story.alone,
        story.damages,
        hit.len(),
        reached.len(),
        found.rows.len(),
        stopped.count(),
        found.counted
    );
    let counted = usize::try_from(found.counted).expect("a count");
    assert!(
        expected.allowed().contains(&counted),
        "{counted} counted by the quota, {:?} by the rows: {:#?}",
        expected.allowed(),
        story.lives
    );
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok().filter(|text| !text.is_empty())?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}
