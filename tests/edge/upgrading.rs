//! One process takes over from another: nobody is refused, nothing is cut, and where it cannot, nothing has happened.

use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::draining::{UNHURRIED, allow_open_files, assert_whole, open_streams};
use crate::harness::client::PATIENCE;
use crate::harness::ports::free_addresses;
use crate::harness::process::run_of;
use crate::harness::{CHAT, Client, Harness, Process, Request, chat_body};
use crate::on_postgres::eventually;

const PATIENT: &str = "grace: 60s, drain_after: off";

/// Requests at a steady rate, each on a connection of its own, over HTTP and TLS in turns.
pub struct Visitors {
    served: Arc<AtomicUsize>,
    enough: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Visitors {
    const THREADS: u32 = 4;

    pub fn come(edge: &Harness, a_second: u32) -> Self {
        let (served, enough) = (Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
        let visit = |thread: u32| {
            let (http, https, certificate) = (edge.http, edge.https, edge.certificate.clone());
            let request = edge.request(CHAT, &chat_body());
            let (served, enough) = (Arc::clone(&served), Arc::clone(&enough));
            let pause = Duration::from_secs(1) * Self::THREADS / a_second;
            std::thread::spawn(move || {
                let mut next = Instant::now();
                while !enough.load(Ordering::Relaxed) {
                    let over_tls = thread == 0;
                    let mut client = if over_tls { Client::tls(https, &certificate) } else { Client::plain(http) };
                    let answer = client.ask(&request);
                    assert!(answer.status == 200 && answer.complete, "over TLS: {over_tls}: {answer}");
                    served.fetch_add(1, Ordering::Relaxed);
                    next += pause;
                    std::thread::sleep(next.saturating_duration_since(Instant::now()));
                }
            })
        };
        let threads = (0..Self::THREADS).map(visit).collect();
        Self { served, enough, threads }
    }

    pub fn wait_for_more(&self, count: usize) {
        let wanted = self.served.load(Ordering::Relaxed) + count;
        eventually("visitors are served", || self.served.load(Ordering::Relaxed) >= wanted || self.any_failed());
    }

    fn any_failed(&self) -> bool {
        self.threads.iter().any(JoinHandle::is_finished)
    }

    /// How many were served, which is all who came.
    pub fn leave(self) -> usize {
        self.enough.store(true, Ordering::Relaxed);
        self.threads.into_iter().for_each(|thread| thread.join().expect("every visitor was served"));
        self.served.load(Ordering::Relaxed)
    }
}

fn an_upgrade_under_load(streams: usize, a_second: u32, beside: usize) {
    allow_open_files();
    let mut edge = Harness::builder().stopping(PATIENT).timeouts(UNHURRIED).start();
    let mut kept = edge.client();
    assert_eq!(kept.ask(&edge.request(CHAT, &chat_body())).status, 200);
    let (openers, open) = open_streams(&edge, streams);
    let visitors = Visitors::come(&edge, a_second);
    visitors.wait_for_more(beside);
    let mut old = edge.take_over();
    old.wait_for_line("another cfx has taken over").expect("it says that it leaves");
    assert_eq!(edge.readiness().text(), "ready\n");
    let last = kept.ask(&edge.request(CHAT, &chat_body()));
    assert_eq!((last.status, last.header("connection")), (200, Some("close")), "{last}");
    visitors.wait_for_more(beside);
    let visits = visitors.leave();
    drop(openers);
    assert_whole(open);
    assert!(old.wait_for_exit().success());
    assert_eq!(edge.chat().status, 200);
    let store = edge.stop_and_read();
    let wanted = streams + visits + 3;
    assert_eq!(store.rows().iter().filter(|row| row.text("status") == "success").count(), wanted, "one row each");
    assert_eq!(store.counted_requests(), i64::try_from(wanted).unwrap());
}

#[test]
fn a_new_process_takes_over_and_nobody_is_refused_or_cut() {
    an_upgrade_under_load(100, 100, 50);
}

#[test]
#[ignore = "half a minute; `make soak` runs it"]
fn a_new_process_takes_over_from_five_hundred_streams_and_two_hundred_visitors_a_second() {
    for _ in 0..3 {
        an_upgrade_under_load(500, 200, 400);
    }
}

#[test]
fn a_day_has_no_more_requests_because_two_processes_served_it() {
    let mut edge = Harness::builder().stopping(PATIENT).quota(40).start();
    let admitted = |edge: &Harness, of: usize| (0..of).filter(|_| edge.chat().status == 200).count();
    assert_eq!(admitted(&edge, 10), 10);
    let mut old = edge.take_over();
    let during = admitted(&edge, 10);
    assert!(old.wait_for_exit().success(), "and with it goes what it held unused");
    assert_eq!(during + admitted(&edge, 60), 30);
    assert_eq!(edge.stop_and_read().counted_requests(), 40);
}

/// What a process that could not take over printed, and its exit code.
fn failed(mut command: Command) -> (Option<i32>, String) {
    let output = command.arg("--take-over").output().expect("cfx starts");
    (output.status.code(), crate::harness::process::printed(&output))
}

#[test]
fn a_new_process_that_cannot_start_leaves_the_old_one_serving() {
    let edge = Harness::builder().stopping(PATIENT).start();
    let (openers, streams) = open_streams(&edge, 1);
    let file = edge.conf().join("cfx.yaml");
    let good = std::fs::read_to_string(&file).expect("a file");

    std::fs::write(&file, good.replace("grace: 60s", "grace: soon")).expect("a file");
    let (code, text) = failed(run_of(&edge.conf(), &edge.data()));
    assert!(code == Some(78) && text.contains("server.grace"), "{text}");
    std::fs::write(&file, &good).expect("a file");

    let mut other_pepper = run_of(&edge.conf(), &edge.data());
    other_pepper.env("KEY_HASH_PEPPER", "another pepper of thirty-two bytes or more");
    let (code, text) = failed(other_pepper);
    assert!(code == Some(78) && text.contains("pepper"), "{text}");
    let said = edge.process.wait_for_line("did not take over").expect("the old one heard of it");
    assert!(said.contains("pepper"), "and why: {said}");

    let mut store_away = run_of(&edge.conf(), &edge.data());
    store_away.env("DATABASE_URL", "postgres://cfx@127.0.0.1:9/cfx").env("CFX_STORE_WAIT", "1s");
    let (code, text) = failed(store_away);
    assert!(code == Some(1) && text.contains("cannot open the store"), "{text}");
    edge.process.wait_for_line("did not take over").expect("the old one heard of it");

    let mut killed = run_of(&edge.conf(), &edge.data());
    killed.env("DATABASE_URL", "postgres://cfx@127.0.0.1:9/cfx").arg("--take-over");
    let mut killed = Process::spawn(killed);
    killed.wait_for_line("waiting for the store").expect("it waits");
    assert_eq!(edge.readiness().text(), "ready\n", "who waits does not answer for the one that serves");
    killed.kill();
    let said = edge.process.wait_for_line("did not take over").expect("the old one heard of it");
    assert!(said.contains("it went away"), "{said}");

    assert_eq!(edge.chat().status, 200);
    drop(openers);
    assert_whole(streams);
}

#[test]
fn a_listener_that_is_new_is_opened_and_one_that_is_gone_is_closed() {
    let mut edge = Harness::builder().stopping(PATIENT).start();
    let [moved, ..] = free_addresses();
    let file = edge.conf().join("cfx.yaml");
    let text = std::fs::read_to_string(&file).expect("a file");
    std::fs::write(&file, text.replace(&edge.http.to_string(), &moved.to_string())).expect("a file");
    let _old = edge.take_over();
    let before = std::mem::replace(&mut edge.http, moved);
    assert_eq!(edge.chat().status, 200);
    eventually("nobody holds it any more", || TcpStream::connect(before).is_err());
}

/// A supervisor that stops its group signals all of it once, and that is no order to cut what a relieved process has left.
#[test]
fn a_relieved_process_is_hurried_by_a_second_signal_and_not_by_the_first() {
    let mut edge = Harness::builder().stopping(PATIENT).start();
    let (mut openers, mut streams) = open_streams(&edge, 1);
    let (opener, mut stream) = (openers.remove(0), streams.remove(0));
    let mut old = edge.take_over();
    old.wait_for_line("requests in flight run out").expect("it was relieved");
    old.signal("TERM");
    old.wait_for_line("stopping already").expect("its first signal changes nothing");
    opener.open();
    assert!(!stream.event().contains("shutting_down"), "the stream goes on");
    old.signal("TERM");
    let (events, whole) = stream.rest();
    assert!(!whole && events.iter().any(|event| event.contains("shutting_down")), "told, and cut: {events:?}");
    assert!(old.wait_for_exit().success());
    assert_eq!(edge.row().text("error_message"), "shutting_down");
    edge.assert_healthy();
}

#[test]
fn who_is_to_take_over_from_nobody_just_starts() {
    let mut edge = Harness::start();
    edge.process.stop();
    drop(edge.take_over());
    assert_eq!(edge.chat().status, 200);
    assert!(edge.process.log().contains("nothing is taken over"), "{}", edge.process.log());
}

/// Ends a process that is nobody's child here.
struct Orphan(u32);

impl Drop for Orphan {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg("-KILL").arg(self.0.to_string()).status();
    }
}

/// What a supervisor hears, a message at a time.
fn heard(supervisor: &UnixDatagram) -> String {
    let mut message = [0; 512];
    let length = supervisor.recv(&mut message).expect("a message to the supervisor");
    String::from_utf8_lossy(&message[..length]).into_owned()
}

fn process_named_in(message: &str) -> u32 {
    let named = message.lines().find_map(|line| line.strip_prefix("MAINPID="));
    named.and_then(|id| id.parse().ok()).unwrap_or_else(|| panic!("no process is named: {message}"))
}

#[test]
fn a_signal_has_a_process_replaced_from_within_and_its_supervisor_told() {
    let edge = {
        let mut edge = Harness::builder().stopping(PATIENT).start();
        edge.process.stop();
        edge
    };
    let place = edge.data().with_file_name("supervisor");
    let supervisor = UnixDatagram::bind(&place).expect("a socket");
    supervisor.set_read_timeout(Some(PATIENCE)).expect("a deadline");
    let mut command = run_of(&edge.conf(), &edge.data());
    command.env("NOTIFY_SOCKET", &place);
    let mut first = Process::spawn(command);
    let message = heard(&supervisor);
    assert!(message.lines().any(|line| line == "READY=1"), "{message}");
    assert_eq!(process_named_in(&message), first.id());

    let (openers, streams) = open_streams(&edge, 1);
    first.signal("USR2");
    let message = heard(&supervisor);
    let second = Orphan(process_named_in(&message));
    assert!(message.lines().any(|line| line == "READY=1") && second.0 != first.id(), "{message}");
    first.wait_for_line("another cfx has taken over").expect("it leaves");
    assert_eq!(edge.chat().status, 200);
    first.signal("TERM");
    first.wait_for_line("stopping already").expect("its first signal changes nothing");
    drop(openers);
    assert_whole(streams);
    eventually("the first has gone", || !first.is_running());
    assert_eq!(edge.chat().status, 200, "the second serves");
    let status = Command::new("kill").arg("-TERM").arg(second.0.to_string()).status();
    assert!(status.is_ok_and(|status| status.success()));
    assert_eq!(heard(&supervisor).trim(), "STOPPING=1", "said by the one that serves, and by no other");
    eventually("the second has gone", || TcpStream::connect(edge.http).is_err());
}

#[test]
fn a_signal_that_comes_while_a_process_starts_does_not_end_it() {
    let mut edge = Harness::builder().stopping(PATIENT).start();
    edge.process.stop();
    let mut command = run_of(&edge.conf(), &edge.data());
    command.env("DATABASE_URL", "postgres://cfx@127.0.0.1:9/cfx").env("CFX_STORE_WAIT", "1s");
    let mut starting = Process::spawn(command);
    starting.wait_for_line("waiting for the store").expect("it waits");
    ["USR2", "HUP"].into_iter().for_each(|signal| starting.signal(signal));
    assert_eq!(starting.wait_for_exit().code(), Some(1), "its store ended it: {}", starting.log());
}

/// Containers hand no sockets on: the new one has addresses of its own, and whoever is in front of both turns to it.
#[test]
fn two_processes_on_ports_of_their_own_relieve_each_other() {
    let mut old = Harness::builder().stopping("grace: 60s, drain_after: 60s").start();
    let (openers, streams) = open_streams(&old, 5);
    let [http, https, admin] = free_addresses();
    let conf = old.conf().with_file_name("conf-of-the-new-one");
    copy(&old.conf(), &conf);
    let text = std::fs::read_to_string(old.conf().join("cfx.yaml")).expect("a file");
    let moved = [(old.http, http), (old.https, https), (old.admin, admin)]
        .iter()
        .fold(text, |text, (from, to): &(SocketAddr, SocketAddr)| text.replace(&from.to_string(), &to.to_string()));
    std::fs::write(conf.join("cfx.yaml"), moved.replace("drain_after: 60s", "drain_after: off")).expect("a file");
    let mut new = Process::run(&conf, &old.data(), admin).expect("both run");
    let is_ready = |address| Client::plain(address).ask(&Request::get("/ready")).status == 200;
    let ask = |address: SocketAddr| {
        is_ready(address).then(|| Client::plain(address).ask(&old.request(CHAT, &chat_body())).status)
    };
    assert_eq!((ask(old.http), ask(http)), (Some(200), Some(200)), "either may be turned to");
    old.process.signal("TERM");
    // Readiness alone is asked: while it still holds, whoever asked for more would be served and have a row.
    eventually("the old one is not turned to any more", || !is_ready(old.http));
    assert_eq!(ask(http), Some(200));
    old.process.signal("USR2");
    old.process.wait_for_line("no successor is started").expect("it is leaving");
    drop(openers);
    assert_whole(streams);
    assert!(new.stop().success());
    old.process.signal("TERM"); // not the whole minute
    assert!(old.process.wait_for_exit().success());
    assert_eq!(crate::harness::rows::Store::open(&old.data()).rows().len(), 5 + 3);
}

pub fn copy(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir(to).expect("a folder");
    for file in std::fs::read_dir(from).expect("a folder").flatten() {
        std::fs::copy(file.path(), to.join(file.file_name())).expect("a file");
    }
}
