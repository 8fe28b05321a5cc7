//! Which target of an upstream a web request goes to: by weight, or the one that its cookie names.

use std::collections::BTreeSet;
use std::sync::{Arc, Barrier};

use sha2::{Digest as _, Sha256};

use crate::harness::{Harness, Reply, Request, Scripted};

fn answering(count: usize) -> Vec<Scripted> {
    let start = |_| {
        let target = Scripted::start();
        target.always(|_| {
            Some(Reply::script(|exchange| exchange.send(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi")))
        });
        target
    };
    (0..count).map(start).collect()
}

fn edge(targets: &str, fields: &str) -> Harness {
    let builder = Harness::builder().also("app", &format!("targets: [{targets}]"));
    builder.route(&format!("match: {{ path: /app }}, upstream: app{fields}")).start()
}

fn weighted(targets: &[Scripted], weights: [u32; 3]) -> String {
    let entry =
        |(target, weight): (&Scripted, u32)| format!("{{ url: \"http://{}\", weight: {weight} }}", target.address);
    targets.iter().zip(weights).map(entry).collect::<Vec<_>>().join(", ")
}

#[test]
fn targets_get_their_share_by_weight() {
    let targets = answering(3);
    let edge = edge(&weighted(&targets, [30, 20, 10]), "");
    let mut client = edge.client();
    for _ in 0..120 {
        assert_eq!(client.ask(&Request::get("/app")).status, 200);
    }
    let counts: Vec<usize> = targets.iter().map(Scripted::count).collect();
    let near = |count: usize, share: usize| count.abs_diff(share) <= 3;
    assert!(near(counts[0], 60) && near(counts[1], 40) && near(counts[2], 20), "{counts:?}");
}

/// How many a target has in hand counts as well: so this holds however long each of them takes.
#[test]
fn targets_get_their_share_of_many_at_once() {
    const AT_ONCE: usize = 12;
    let all_are_here = Arc::new(Barrier::new(AT_ONCE));
    let targets = answering(3);
    for target in &targets {
        let all_are_here = Arc::clone(&all_are_here);
        target.always(move |_| {
            let all_are_here = Arc::clone(&all_are_here);
            Some(Reply::script(move |exchange| {
                all_are_here.wait();
                exchange.send(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi");
            }))
        });
    }
    let edge = edge(&weighted(&targets, [30, 20, 10]), "");
    for _ in 0..5 {
        std::thread::scope(|scope| {
            for _ in 0..AT_ONCE {
                scope.spawn(|| assert_eq!(edge.ask(&Request::get("/app")).status, 200));
            }
        });
    }
    let counts: Vec<usize> = targets.iter().map(Scripted::count).collect();
    // Each of the edge's threads may choose before it hears of the other's choice.
    let near = |count: usize, share: usize| count.abs_diff(share) <= 7;
    assert!(near(counts[0], 30) && near(counts[1], 20) && near(counts[2], 10), "{counts:?}");
}

#[test]
fn a_client_keeps_to_its_target_and_is_given_another_when_that_is_gone() {
    let targets = answering(3);
    let list: Vec<String> = targets.iter().map(|target| format!("\"http://{}\"", target.address)).collect();
    let edge = edge(&list.join(", "), ", sticky: { cookie: app, max_age: 1h }");
    let ask = |cookie: &str| edge.ask(&Request::get("/app").header("Cookie", cookie));
    let mut used = BTreeSet::new();
    let mut cookie = String::new();
    for _ in 0..6 {
        let given = ask("other=1").header("set-cookie").expect("a cookie").to_string();
        assert!(
            given.ends_with("; Path=/; HttpOnly; SameSite=Lax; Max-Age=3600") && given.starts_with("app="),
            "{given}"
        );
        cookie = given.split(';').next().expect("a cookie").to_string();
        used.insert(cookie.clone());
    }
    assert_eq!(used.len(), 3, "new clients are spread: {used:?}");
    assert!(!cookie.contains("127.0.0.1"), "{cookie}");
    for target in &targets {
        let digest = Sha256::digest(format!("http://{}", target.address));
        let unkeyed: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        assert!(used.iter().all(|cookie| !cookie.contains(&unkeyed)), "anyone could find {unkeyed} by trying");
    }
    targets.iter().for_each(Scripted::forget);
    for _ in 0..9 {
        assert_eq!(ask(&format!("a=b; {cookie}")).header("set-cookie"), None, "it has its cookie already");
    }
    let counts: Vec<usize> = targets.iter().map(Scripted::count).collect();
    assert_eq!(counts.iter().filter(|count| **count == 9).count(), 1, "{counts:?}");
    let elsewhere = ask("app=0123456789abcdef");
    assert!(elsewhere.header("set-cookie").is_some_and(|given| used.contains(given.split(';').next().unwrap_or(""))));
    let over_tls = edge.tls_client().ask(&Request::get("/app"));
    assert!(over_tls.header("set-cookie").is_some_and(|given| given.contains("; Secure")));
}
