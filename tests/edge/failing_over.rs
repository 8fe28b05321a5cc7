//! Several targets: the least busy is asked, one that is ill or dead is stepped around, and what comes back is used again.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::harness::client::PATIENCE;
use crate::harness::{
    CHAT, Harness, Http2, Next, Reply, Request, Scripted, Switch, chat_body, gate, several, streaming, wire,
};

const HEALTHY: &str = "cfx_target_healthy";
const HEALTH: &str = "health: { path: /health/liveliness, interval: 40ms, timeout: 40ms, healthy: 2, unhealthy: 2 }";

fn labelled(address: SocketAddr) -> String {
    format!("target=\"http://{address}\"")
}

/// Answers health checks as it is told, and everything else as usual.
fn patient(well: &Arc<AtomicBool>) -> Scripted {
    let (upstream, well) = (Scripted::start(), well.clone());
    upstream.always(move |request| {
        let status = if well.load(Ordering::SeqCst) { 200 } else { 503 };
        (request.path() == "/health/liveliness").then(|| Reply::json(status, "{}"))
    });
    upstream
}

fn chats(upstream: &Scripted) -> usize {
    upstream.requests().iter().filter(|request| request.path() == CHAT).count()
}

#[test]
fn the_least_busy_target_is_asked_for_as_long_as_the_others_are_still_answering() {
    let (one, other) = (Scripted::start(), Scripted::start());
    // One thread: an answer is off its target before the next request is read, and not only before the client has it.
    let targets = several(&[one.address, other.address]);
    let edge = Harness::builder().threads(1).upstream_target(&targets).start();
    let events = wire::chat_events("m", &wire::WORDS, true);
    let (opener, closed) = gate();
    let gates = std::sync::Arc::new(std::sync::Mutex::new(Some(closed)));
    for upstream in [&one, &other] {
        let (gates, events) = (gates.clone(), events.clone());
        upstream.always(move |request| {
            let stream = request.json()["stream"] == true;
            let gate = stream.then(|| gates.lock().ok()?.take()).flatten();
            gate.map(|gate| Reply::gated(events.clone(), gate))
        });
    }
    let mut held = edge.chat_stream_opening(&opener);
    let (busy, idle) = if one.count() == 1 { (&one, &other) } else { (&other, &one) };
    for n in 1..=6 {
        edge.assert_healthy();
        assert_eq!((busy.count(), idle.count()), (1, n), "all go to the one that has nothing to do");
    }
    drop(opener);
    while held.next() != Next::End {}
    let asked = (busy.count(), idle.count());
    (0..4).for_each(|_| edge.assert_healthy());
    assert_eq!((busy.count() - asked.0, idle.count() - asked.1), (2, 2), "equals take turns again");
}

#[test]
fn a_target_that_fails_its_health_checks_is_left_out_until_it_passes_them() {
    let health = [true, true].map(|well| Arc::new(AtomicBool::new(well)));
    let [one, other] = [patient(&health[0]), patient(&health[1])];
    let targets = several(&[one.address, other.address]);
    let edge = Harness::builder().upstream_target(&targets).upstream(HEALTH).start();
    let state = |upstream: &Scripted, wanted| edge.assert_metric(HEALTHY, &[&labelled(upstream.address)], wanted);
    (0..4).for_each(|_| edge.assert_healthy());
    assert_eq!((chats(&one), chats(&other)), (2, 2));

    health[0].store(false, Ordering::SeqCst);
    state(&one, 0.0);
    (0..4).for_each(|_| edge.assert_healthy());
    assert_eq!((chats(&one), chats(&other)), (2, 6), "not even one attempt goes to it");
    let said = edge.readiness().text();
    assert!(said.contains(&format!("upstream litellm: http://{} fails its health check", one.address)), "{said}");

    health[1].store(false, Ordering::SeqCst);
    state(&other, 0.0);
    // What fails may be the checks: with none left they are asked as though none did.
    (0..2).for_each(|_| edge.assert_healthy());
    assert_eq!((chats(&one), chats(&other)), (3, 7));
    let said = edge.readiness();
    assert!(said.text().contains("upstream litellm: none passes, and all are asked as if they did"), "{said}");

    health.iter().for_each(|well| well.store(true, Ordering::SeqCst));
    state(&one, 1.0);
    state(&other, 1.0);
    (0..4).for_each(|_| edge.assert_healthy());
    assert_eq!((chats(&one), chats(&other)), (5, 9));
    for upstream in [&one, &other] {
        for state in ["ill", "well"] {
            let labels = [&*labelled(upstream.address), &format!("state=\"{state}\"")];
            edge.assert_metric("cfx_target_health_transitions_total", &labels, 1.0);
        }
        let check = upstream.requests().into_iter().find(|request| request.path() != CHAT).expect("a check");
        assert!(check.line().starts_with("GET ") && check.header("authorization").is_none(), "{}", check.head);
    }
    assert_eq!(edge.readiness().text(), "ready\n");
}

#[test]
fn a_target_is_found_at_any_of_its_names_addresses() {
    let upstream = Scripted::start();
    // Most machines know two addresses by this name; the upstream listens at one of them.
    let edge = Harness::builder().upstream_target(&format!("http://localhost:{}", upstream.address.port())).start();
    edge.assert_healthy();
    assert_eq!(upstream.count(), 1);
}

#[test]
fn a_web_target_that_is_dead_is_stepped_around_and_then_left_alone() {
    let web = Scripted::start();
    web.always(|_| Some(Reply::json(200, "{}")));
    let nobody = "http://127.0.0.1:9";
    let edge = Harness::builder().web_target(&format!("{nobody}\", \"http://{}", web.address)).start();
    for n in 1..=14 {
        assert_eq!(edge.ask(&Request::get("/page")).status, 200, "request {n}");
    }
    assert_eq!(web.count(), 14);
    edge.assert_metric("cfx_breaker_state", &["upstream=\"web\"", nobody], 2.0);
}

type Answering = fn() -> Reply;

#[test]
fn a_target_that_answers_in_vain_draws_no_requests_to_itself() {
    let cases: [(&str, Answering); 4] = [
        ("500", || Reply::json(500, "{}")),
        ("503", || Reply::json(503, "{}")),
        ("another's key", || Reply::json(401, "{}")),
        ("no HTTP", || Reply::raw("what?\r\n\r\n")),
    ];
    for (name, reply) in cases {
        let (ill, well) = (Scripted::start(), Scripted::start());
        ill.always(move |_| Some(reply()));
        let edge = Harness::builder().upstream_target(&several(&[ill.address, well.address])).start();
        let keys = [edge.key.clone(), edge.new_key("bob@example.org", &[]), edge.new_key("cyd@example.org", &[])];
        let answered = AtomicUsize::new(0);
        const EACH: usize = 20;
        std::thread::scope(|scope| {
            for key in &keys {
                scope.spawn(|| {
                    for _ in 0..EACH {
                        let request = Request::post(CHAT, chat_body().to_string()).key(key);
                        answered.fetch_add(usize::from(edge.ask(&request).status == 200), Ordering::SeqCst);
                    }
                });
            }
        });
        let (answered, asked) = (answered.into_inner(), ill.count());
        // The three that set out before the first came back, and one whenever its time is over.
        assert!(answered >= keys.len() * EACH - 8 && asked <= 8, "{name}: {answered} answered, {asked} in vain");
        edge.assert_metric("cfx_breaker_state", &["model=\"upstream-smart\""], 0.0);
    }
}

#[test]
fn a_target_that_breaks_its_streams_off_draws_no_requests_to_itself() {
    let (ill, well) = (Scripted::start(), Scripted::start());
    ill.always(|_| Some(Reply::cut_after(wire::chat_events("m", &wire::WORDS, true)[..1].to_vec())));
    let edge = Harness::builder().upstream_target(&several(&[ill.address, well.address])).start();
    const REQUESTS: usize = 24;
    let whole = (0..REQUESTS).filter(|_| edge.chat_stream().rest().1).count();
    // One whenever its time is over, and that doubles.
    assert!(ill.count() <= 6 && whole == REQUESTS - ill.count(), "{} broken, {whole} whole", ill.count());
}

#[test]
fn a_kept_connection_that_died_is_held_against_nobody_also_where_it_ends_the_request() {
    // A dead one is replaced by a fresh one once; the second target's then ends the request.
    in_time(|| {
        let upstreams = [Scripted::start(), Scripted::start()];
        let targets = several(&upstreams.each_ref().map(|one| one.address));
        let edge = Harness::builder().threads(1).upstream_target(&targets).start();
        (0..2).for_each(|_| edge.assert_healthy());
        upstreams.iter().for_each(|one| one.always(|_| Some(Reply::hang_up())));
        assert_eq!(soon(|| edge.chat())?.code(), "upstream_error");
        assert_eq!(edge.metric("cfx_breaker_failures_total", &[]), 1.0, "the fresh one alone counts");
        Some(())
    });
}

/// What `ask` came to, where it took no longer than a kept connection has to show that it was dead. One that shows it
/// later, on a machine with much to do, may have taken the request, and is no dead one.
pub fn soon<T>(ask: impl FnOnce() -> T) -> Option<T> {
    let asked = Instant::now();
    let came = ask();
    (asked.elapsed() < Duration::from_millis(100)).then_some(came)
}

/// Plays until all that has to be [`soon`] was: what was too late says nothing, and what was in time has to hold.
pub fn in_time(play: impl Fn() -> Option<()>) {
    let deadline = Instant::now() + PATIENCE;
    while play().is_none() {
        assert!(Instant::now() < deadline, "nothing was in time for {PATIENCE:?}");
    }
}

#[test]
fn a_web_target_whose_kept_connection_died_is_asked_once_more() {
    let edge = Harness::start();
    // One kept connection ends as it is used again, as at a server that has just given up waiting on it.
    let (seen, died) = (Mutex::new(std::collections::HashSet::new()), Arc::new(AtomicBool::new(false)));
    let dies = died.clone();
    edge.web.always(move |request| {
        let kept = !seen.lock().expect("no rule panics").insert(request.connection);
        Some(if kept && !dies.swap(true, Ordering::SeqCst) { Reply::hang_up() } else { Reply::json(200, "{}") })
    });
    let until = Instant::now() + PATIENCE;
    while !died.load(Ordering::SeqCst) && Instant::now() < until {
        let answer = edge.ask(&Request::get("/page"));
        assert_eq!(answer.status, 200, "{answer}");
    }
    assert!(died.load(Ordering::SeqCst), "no connection was kept");
}

/// Two upstreams that answer their health checks as well, and what they are to be spoken to in.
fn over_http1() -> ([SocketAddr; 2], &'static str) {
    let upstreams = [Scripted::start(), Scripted::start()];
    for upstream in &upstreams {
        upstream.always(|request| (request.path() != CHAT).then(|| Reply::json(200, "{}")));
    }
    (upstreams.map(|upstream| upstream.address), "http2: off")
}

fn over_http2() -> ([SocketAddr; 2], &'static str) {
    let upstreams = [Http2::start(), Http2::start()];
    for upstream in &upstreams {
        upstream.always(|mut exchange| async move {
            if exchange.request.path() == CHAT {
                return exchange.usual().await;
            }
            exchange.json(200, "{}").await;
        });
    }
    (upstreams.map(|upstream| upstream.address), "http2: always")
}

/// How often targets died, and how often the requests found it out before the health checks did.
struct Deaths {
    all: usize,
    by_requests: usize,
}

/// Kills and revives two targets by turns under load, until `over` says that these were rounds enough. The targets are
/// asked how they are every `interval`; two failures are an ill target.
fn killed_and_revived_by_turns(
    (upstreams, spoken): ([SocketAddr; 2], &str),
    clients: usize,
    interval: &str,
    over: impl Fn(usize) -> bool,
) -> Deaths {
    let targets = upstreams.map(Switch::before);
    let health = format!("path: /health/liveliness, interval: {interval}, timeout: {interval}");
    let edge = Harness::builder()
        .upstream_target(&several(&targets.each_ref().map(|target| target.address)))
        .upstream("breaker: { failures: 5, open_for: 200ms }")
        .upstream(&format!("health: {{ {health}, healthy: 2, unhealthy: 2 }}"))
        .upstream(spoken)
        .quota(100_000_000)
        .start();
    let (answered, refused, stop) = (AtomicUsize::new(0), Mutex::new(Vec::new()), AtomicBool::new(false));
    // Each a user of their own: what one of them alone sees break opens no target's breaker.
    let keys: Vec<_> = (0..clients).map(|client| edge.new_key(&format!("user{client}@example.org"), &[])).collect();
    let (mut rounds, mut by_requests) = (0, [0; 2]);
    std::thread::scope(|scope| {
        for (client, key) in keys.iter().enumerate() {
            let (edge, answered, refused, stop) = (&edge, &answered, &refused, &stop);
            scope.spawn(move || {
                let body = if client % 2 == 0 { chat_body() } else { streaming(chat_body()) };
                while !stop.load(Ordering::SeqCst) {
                    let answer = edge.ask(&Request::post(CHAT, body.to_string()).key(key));
                    answered.fetch_add(1, Ordering::SeqCst);
                    // What was cut behind its head is no error before the first byte.
                    if answer.status != 200 {
                        refused.lock().expect("no client panics").push(answer.to_string());
                    }
                }
            });
        }
        let stops = StopOnDrop(&stop);
        while !over(rounds) {
            let target = &targets[rounds % 2];
            let labels = labelled(target.address);
            let opened = || edge.metric("cfx_breaker_transitions_total", &[&labels, "state=\"open\""]);
            let before = opened();
            target.kill();
            // On a machine with much else to do, and where streams share what dies, the checks may find it before five
            // requests have.
            let ill = || edge.metric(HEALTHY, &[&labels]) == 0.0;
            until("its death is found out", || opened() > before || ill());
            by_requests[rounds % 2] += usize::from(opened() > before);
            edge.assert_metric(HEALTHY, &[&labels], 0.0);
            target.revive();
            edge.assert_metric(HEALTHY, &[&labels], 1.0);
            edge.assert_metric("cfx_breaker_state", &[&labels], 0.0);
            rounds += 1;
        }
        drop(stops);
    });
    let refused = refused.into_inner().expect("no client panics");
    let answered = answered.into_inner();
    println!("{answered} requests while a target was killed {rounds} times, {} refused", refused.len());
    assert!(refused.is_empty(), "{} of {answered} refused, the first: {}", refused.len(), refused[0]);
    for (n, target) in targets.iter().enumerate() {
        let turns = (rounds + 1 - n) / 2;
        for state in ["ill", "well"] {
            let labels = [&*labelled(target.address), &format!("state=\"{state}\"")];
            edge.assert_metric("cfx_target_health_transitions_total", &labels, turns as f64);
        }
        // Opened by each death and closed by each return; in between as often as a probe found nobody.
        let turned = |state: &str| {
            edge.metric("cfx_breaker_transitions_total", &[&labelled(target.address), &format!("state=\"{state}\"")])
        };
        let (closed, half_open, opened) = (turned("closed"), turned("half_open"), turned("open"));
        assert_eq!(half_open, opened, "killed {turns} times, opened {opened} times");
        let found = by_requests[n] as f64;
        assert!(
            found <= closed && closed <= turns as f64 && opened >= closed,
            "killed {turns} times, {found} of them found by requests, opened {opened}, closed {closed} times"
        );
    }
    edge.rows(answered);
    Deaths { all: rounds, by_requests: by_requests.iter().sum() }
}

/// Also where the script panics: the clients would go on for ever.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

fn until(what: &str, reached: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !reached() {
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} until {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn no_client_hears_of_a_target_that_dies_while_another_stands() {
    killed_and_revived_by_turns(over_http1(), 4, "250ms", |rounds| rounds == 4);
}

#[test]
fn no_client_hears_of_an_http_2_target_that_dies_while_another_stands() {
    killed_and_revived_by_turns(over_http2(), 4, "250ms", |rounds| rounds == 4);
}

#[test]
#[ignore = "two minutes; `make soak` runs it"]
fn no_client_hears_of_targets_that_die_for_two_minutes() {
    let end = Instant::now() + Duration::from_secs(120);
    let deaths = killed_and_revived_by_turns(over_http1(), 16, "1s", |_| Instant::now() >= end);
    assert_eq!(deaths.by_requests, deaths.all, "two seconds of sixteen clients find out first");
}

#[test]
#[ignore = "two minutes; `make soak` runs it"]
fn no_client_hears_of_http_2_targets_that_die_for_two_minutes() {
    let end = Instant::now() + Duration::from_secs(120);
    killed_and_revived_by_turns(over_http2(), 16, "1s", |_| Instant::now() >= end);
}
