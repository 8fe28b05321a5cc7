//! Holds the table in `docs/headers.md`, cell by cell.

use std::collections::BTreeMap;

use crate::harness::{CHAT, Harness, Reply, Request, chat_body, gate, streaming, wire};

type Headers = Vec<(String, String)>;

#[test]
fn every_answer_carries_what_the_table_says() {
    let (cases, rows) = table();
    let answers = answers();
    let mut wrong = Vec::new();
    for (name, cells) in &rows {
        for (case, wanted) in cases.iter().zip(cells) {
            let headers = answers.get(case.as_str()).unwrap_or_else(|| panic!("no such case: {case}"));
            let found = headers.iter().any(|(have, _)| have.eq_ignore_ascii_case(name));
            if found != *wanted {
                wrong.push(format!(
                    "{name} on {case}: {}",
                    if found { "there, but the table says no" } else { "missing" }
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
    assert!(cases.len() == 10 && rows.len() > 15, "the table was read");
}

#[test]
fn nothing_of_litellm_is_in_any_answer() {
    for (case, headers) in answers() {
        for (name, value) in headers {
            let foreign =
                name.starts_with("x-litellm") || name.starts_with("llm_provider") || value.contains("uvicorn");
            let leaked = value.contains("10.0.0.7") || value.contains("chosen-by-litellm") || value == "4999";
            // The web page comes from an application of the operator's own.
            assert!(!(foreign || leaked) || case == "web page", "{case}: {name}: {value}");
        }
    }
}

#[test]
fn both_names_of_the_request_id_agree_with_the_row_and_the_upstream() {
    let edge = Harness::start();
    let answer = edge.chat();
    let id = answer.header("x-cfx-request-id").expect("an id");
    assert_eq!(answer.header("x-request-id"), Some(id));
    assert_eq!(edge.upstream.last().header("x-request-id"), Some(id));
    assert_eq!(edge.row().text("request_id"), id);
    assert_eq!(uuid::Uuid::parse_str(id).map(|id| id.get_version_num()), Ok(7));
}

#[test]
fn an_id_that_a_client_brings_is_never_adopted() {
    let edge = Harness::start();
    let request = edge.request(CHAT, &chat_body()).header("X-Request-Id", "mine").header("X-CFX-Request-Id", "mine");
    let answer = edge.ask(&request);
    assert_ne!(answer.header("x-request-id"), Some("mine"));
    assert_ne!(edge.upstream.last().header("x-request-id"), Some("mine"));
}

/// The headers of one answer of each kind.
fn answers() -> BTreeMap<&'static str, Headers> {
    let mut answers: BTreeMap<&'static str, Headers> = BTreeMap::new();
    let edge = Harness::builder().streams(1).limit("body: 100KiB").start();
    answers.insert("200", ok(edge.chat(), 200));
    answers.insert("400", ok(edge.post_bytes(CHAT, "{nope"), 400));
    answers.insert("401", ok(edge.ask(&Request::post(CHAT, "{}").key("cfx_live_nonsense")), 401));
    answers.insert("413", ok(edge.post_bytes(CHAT, vec![b' '; 200 * 1024]), 413));
    edge.web.then(Reply::raw(
        "HTTP/1.1 200 OK\r\nset-cookie: a=b\r\ncontent-type: text/html\r\ncontent-length: 2\r\n\r\nhi",
    ));
    answers.insert("web page", ok(edge.ask(&Request::get("/")), 200));
    edge.upstream.always(|_| Some(Reply::hang_up())); // once more where the first died on a kept connection
    answers.insert("502", ok(edge.chat(), 502));

    let (opener, closed) = gate();
    edge.upstream.then(Reply::gated(wire::chat_events("m", &wire::WORDS, false), closed));
    opener.open();
    let mut stream = edge.chat_stream();
    stream.event();
    answers.insert("stream", stream.headers.clone());
    answers.insert("stream-cap 429", ok(edge.post(CHAT, &streaming(chat_body())), 429));

    let down = Harness::builder().upstream_target("http://127.0.0.1:9").start();
    answers.insert("503", ok(down.chat(), 503));
    let spent = Harness::builder().quota(1).start();
    spent.chat();
    spent.chat(); // the refusal after which the exhaustion is remembered
    answers.insert("quota 429", ok(spent.chat(), 429));
    answers
}

fn ok(answer: crate::harness::Answer, status: u16) -> Headers {
    assert_eq!(answer.status, status, "{answer}");
    answer.headers
}

/// The cases in the table's head, and for each header whether it is there.
fn table() -> (Vec<String>, Vec<(String, Vec<bool>)>) {
    let text = std::fs::read_to_string("docs/headers.md").expect("docs/headers.md");
    let cells = |line: &str| -> Vec<String> {
        line.trim_matches('|').split('|').map(|cell| cell.trim().trim_matches('`').to_string()).collect()
    };
    let mut lines = text.lines().skip_while(|line| !line.starts_with("| header | 200 |"));
    let cases = cells(lines.next().expect("the table")).split_off(1);
    let rows = lines.skip(1).take_while(|line| line.starts_with('|')).map(|line| {
        let mut cells = cells(line);
        let said = cells.split_off(1).into_iter().map(|cell| match cell.as_str() {
            "yes" => true,
            "no" => false,
            other => panic!("{other:?} in {line}"),
        });
        (cells.remove(0), said.collect())
    });
    (cases, rows.collect())
}
