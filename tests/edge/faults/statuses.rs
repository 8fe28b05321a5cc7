//! Each status that is not 200, and each 200 that is no answer of a model.

use super::play::{Fault, INNER, Kind, Play, fault, head, json_answer};

pub fn faults() -> Vec<Fault> {
    let mut faults = refused_inside();
    faults.extend(passed_on());
    faults.extend(not_an_answer());
    faults.extend(errors_inside());
    faults
}

fn error(message: &str, kind: &str) -> String {
    format!(r#"{{"error":{{"message":"{message}","type":"{kind}","param":null,"code":"x"}}}}"#)
}

fn refused_inside() -> Vec<Fault> {
    let statuses =
        ["500", "501", "502", "503", "504", "505", "507", "520", "529", "599", "999", "401", "403"].map(String::from);
    let mut faults: Vec<Fault> = statuses
        .into_iter()
        .map(|status| {
            fault(&status.clone(), move |_| json_answer(&format!("{status} Scripted"), "", &error(INNER, "x")))
        })
        .collect();
    faults.extend([
        fault("500 in plain text", |_| {
            let lines = "content-type: text/plain\r\nconnection: close\r\ntransfer-encoding: chunked\r\n";
            Play::new()
                .send(head("500 Internal Server Error", lines))
                .chunks(["Internal Server Error"])
                .send("0\r\n\r\n")
        }),
        fault("502 in HTML", |_| html("502 Bad Gateway")),
        fault("503 with Retry-After", |_| json_answer("503 Scripted", "retry-after: 9\r\n", &error(INNER, "x"))),
        fault("503 without an end", |_| {
            Play::new().send(head("503 Scripted", "content-type: application/json\r\ncontent-length: 99\r\n")).silence()
        }),
        fault("400 for want of a database", |_| {
            json_answer("400 Bad Request", "", &error("No connected db. 10.0.0.7", "no_db_connection"))
        }),
        fault("status 099", |_| json_answer("099 Early", "", "{}")),
        fault("status 20", |_| json_answer("20 Short", "", "{}")),
    ]);
    faults
}

fn passed_on() -> Vec<Fault> {
    let mut faults: Vec<Fault> = ["400", "402", "404", "407", "408", "409", "413", "422", "429"]
        .into_iter()
        .map(|status| fault(status, move |_| json_answer(&format!("{status} Scripted"), "", &error("yours", "x"))))
        .collect();
    faults.extend([
        fault("429 with Retry-After", |_| json_answer("429 Scripted", "retry-after: 7\r\n", &error("slow down", "x"))),
        fault("429 without a word", |_| json_answer("429 Scripted", "", "")),
        fault("404 of plain text under JSON's name", |_| json_answer("404 Not Found", "", "no such page")),
        fault("429 kept open", |_| {
            json_answer("429 Scripted", "connection: close\r\n", &error("slow down", "x")).silence()
        }),
        fault("400 in chunks", |_| {
            let body = error("maximum context length is 8192 tokens", "x");
            let lines = "content-type: application/json\r\ntransfer-encoding: chunked\r\n";
            Play::new().send(head("400 Bad Request", lines)).chunks([body.as_str()]).send("0\r\n\r\n")
        }),
        fault("201", |kind| {
            let lines = format!("{}content-length: {}\r\n", kind.content_type(), kind.usual().len());
            Play::new().send(head("201 Created", &lines)).body(kind.usual())
        }),
    ]);
    faults
}

fn html(status: &str) -> Play {
    let page = format!("<html><body>{INNER}</body></html>");
    let lines = format!("content-type: text/html\r\ncontent-length: {}\r\n", page.len());
    Play::new().send(head(status, &lines)).body(page)
}

fn not_an_answer() -> Vec<Fault> {
    vec![
        fault("200 with HTML", |_| html("200 OK")),
        fault("404 with HTML", |_| html("404 Not Found")),
        fault("204", |_| Play::new().send(head("204 No Content", ""))),
        fault("204 with a length", |kind| {
            Play::new().send(head("204 No Content", &format!("{}content-length: 5\r\n", kind.content_type())))
        }),
        fault("205", |kind| {
            Play::new().send(head("205 Reset Content", &format!("{}content-length: 0\r\n", kind.content_type())))
        }),
        fault("206", |kind| {
            let answer = kind.usual();
            let half = &answer[..answer.len() / 2];
            let range = format!("content-range: bytes 0-{}/{}\r\n", half.len() - 1, answer.len());
            let lines = format!("{}{range}content-length: {}\r\n", kind.content_type(), half.len());
            Play::new().send(head("206 Partial Content", &lines)).body(half)
        }),
        fault("302", |_| Play::new().send(head("302 Found", "location: http://10.0.0.7/\r\ncontent-length: 0\r\n"))),
        fault("304", |kind| Play::new().send(head("304 Not Modified", kind.content_type()))),
        fault("the other kind", |kind| {
            let other = if kind == Kind::Json { Kind::Sse } else { Kind::Json };
            other.framed(&other.usual())
        }),
        fault("the other kind under this one's name", |kind| {
            let body = if kind == Kind::Json { Kind::Sse.usual() } else { Kind::Json.usual() };
            Play::new().send(kind.chunked_head()).chunks([body]).send("0\r\n\r\n")
        }),
    ]
}

fn errors_inside() -> Vec<Fault> {
    let broken = |kind: Kind| match kind {
        Kind::Json => error("The provider fell over", "server_error"),
        Kind::Sse => format!("data: {}\n\n", error("The provider fell over", "server_error")),
    };
    vec![
        fault("an error inside a 200", move |kind| {
            let end = if kind == Kind::Sse { "data: [DONE]\n\n" } else { "" };
            kind.framed(format!("{}{end}", broken(kind)).as_bytes())
        }),
        fault("an error inside a 200, then closed", move |kind| {
            Play::new().send(kind.chunked_head()).chunks([broken(kind)]).close()
        }),
        fault("an error mid-answer", move |kind| {
            let text = String::from_utf8(kind.usual()).expect("text");
            let body = match kind {
                Kind::Json => text.replacen('{', r#"{"error":{"message":"fell over"},"#, 1),
                Kind::Sse => events_before(&text, 2) + &broken(kind) + "data: [DONE]\n\n",
            };
            kind.framed(body.as_bytes())
        }),
        fault("an error that is null", |kind| {
            let text = String::from_utf8(kind.usual()).expect("text");
            kind.framed(text.replacen('{', r#"{"error":null,"#, 1).as_bytes())
        }),
    ]
}

fn events_before(text: &str, count: usize) -> String {
    text.split_inclusive("\n\n").take(count).collect()
}
