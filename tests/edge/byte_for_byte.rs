//! A request is not ours to tidy up: but for the fields cfx owns, the upstream gets the bytes the client sent.

use crate::harness::{CHAT, Harness, Reply, wire};

const SYSTEM: &str = "PLAN: say what you would do, write no code.";

#[test]
fn five_megabytes_with_everything_odd_in_json_arrive_as_they_were() {
    let edge = Harness::start();
    let nested = format!("{}1{}", "[".repeat(200), "]".repeat(200));
    let long = "a line of code \\\" with \\u00e9, é, 漢字, \\ud83d\\ude00 and \\/ \\t\\n ".repeat(80_000);
    let before = format!(
        "{{ \"zeta\" : 1e400 ,\t\"big\":123456789012345678901234567890, \"minus\": -0.0, \"exp\":1E+2,\r\n \
         \"same\":1, \"same\" : 2,\"nested\":{nested}, \"empty\":{{}}, \"modelx\": \"model\", \"a\\u0062c\":\"\\u0000\",\n \"model\" : "
    );
    let between = " , \"messages\": [";
    let after = format!(
        "{{\"role\":\"user\", \"content\":\"{long}\"}} , {{\"content\":[{{\"type\":\"text\",\"text\":\"hi\"}}],\"role\":\"user\"}} ] ,\"seed\":  1.50 }}"
    );
    let asked = format!("{before}\"plan\"{between}{after}\n");
    assert!(asked.len() > 5_000_000);

    let answer = edge.post_bytes(CHAT, asked.clone());
    assert_eq!(answer.status, 200, "{answer}");

    let seen = edge.upstream.last();
    let seen = std::str::from_utf8(&seen.body).expect("UTF-8");
    let message = format!(r#"{{"role":"system","content":"{SYSTEM}"}}"#);
    let expected = format!("{before}\"upstream-smart\"{between}{message},{after}\n");
    assert_same(seen, &expected);
}

/// Finds the first difference instead of printing ten megabytes.
fn assert_same(seen: &str, expected: &str) {
    let differs = seen.bytes().zip(expected.bytes()).position(|(left, right)| left != right);
    let at = differs.unwrap_or(seen.len().min(expected.len()));
    let around = |text: &str| {
        String::from_utf8_lossy(&text.as_bytes()[at.saturating_sub(40)..text.len().min(at + 80)]).into_owned()
    };
    assert!(seen == expected, "they differ at byte {at}:\nseen     {}\nexpected {}", around(seen), around(expected));
}

#[test]
fn an_answer_passes_as_it_came_too() {
    let edge = Harness::start();
    let body = "{ \"id\" : \"x\",\t\"choices\":[{\"message\":{\"role\":\"assistant\",\"content\":\"caf\\u00e9 é\"}}] , \"odd\":1e400,\"usage\": {\"prompt_tokens\":3,\"completion_tokens\":1,\"total_tokens\":4} }\n";
    edge.upstream.then(Reply::json(200, body));
    assert_eq!(edge.chat().text(), body);
}

#[test]
fn events_pass_as_they_came_whatever_their_form() {
    let edge = Harness::start();
    let odd = vec![
        ": a comment".to_string(),
        "event: message\nid: 7\nretry: 10\ndata: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"é\"}}]}"
            .to_string(),
        "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}],\"unknown\":[1e400]}".to_string(),
        wire::DONE.to_string(),
    ];
    edge.upstream.then(Reply::events(odd.clone()));
    assert_eq!(edge.chat_stream().rest(), (odd, true));
}
