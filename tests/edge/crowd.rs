//! Many clients leave at random moments while as many stay: who stays notices nothing, and of who left nothing is left but
//! a row.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;

use crate::harness::client::PATIENCE;
use crate::harness::rows::Store;
use crate::harness::{CHAT, Harness, Reply, Row, chat_body, gate};
use crate::leavers::client::{self, Http2};
use crate::leavers::upstream::{self, Upstream};
use crate::leavers::{AT_ONCE, Chance, Lateness, MANNERS, MOMENTS, Manner, Moment, Part};

/// Streams on one shared HTTP/2 connection: half of them stay, half are cancelled.
const ON_ONE: usize = 40;

/// One who left: when, and when the upstream saw it. None where it was never asked.
struct Gone {
    moment: Moment,
    manner: Manner,
    noticed: Option<Duration>,
}

#[test]
fn sixty_leave_while_sixty_stay() {
    crowd(60, Duration::from_secs(2), 7);
}

#[test]
#[ignore = "long: `make soak`"]
fn a_thousand_leave_while_a_thousand_stay() {
    crowd(1_000, Duration::from_secs(20), 11);
}

/// `each` leave within `span`, and `each` come at its beginning and stay for about as long.
fn crowd(each: usize, span: Duration, seed: u64) {
    let upstream = Arc::new(Upstream::start(span));
    let edge = Harness::builder()
        .upstream_target(&format!("http://{}", upstream.address))
        .streams(u32::try_from(2 * each).expect("a few thousand"))
        .limit(&format!("concurrent_requests: {}", 2 * each))
        .timeouts("connect: 10s, first_byte: 60s, between_chunks: 60s, total: 120s")
        .edge("guards: { connections: 10000, connections_per_address: 10000 }")
        .start();
    let (mut edge, lateness) = (Arc::new(edge), Lateness::watch());
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let gone = runtime.block_on(all(&edge, &upstream, each, span, seed));
    drop(runtime);

    let late = lateness.worst();
    let mut noticed: Vec<_> = gone.iter().filter_map(|gone| gone.noticed).collect();
    noticed.sort();
    let at = |percent: usize| noticed[(noticed.len() - 1) * percent / 100];
    println!(
        "{} of {each} had asked the upstream; it saw them go after p50 {:?}, p99 {:?}, at most {:?}; this machine wakes \
         a thread {late:?} late at most",
        noticed.len(),
        at(50),
        at(99),
        at(100)
    );
    for Gone { moment, manner, noticed } in &gone {
        assert!(noticed.is_none_or(|after| after < AT_ONCE + late), "{moment:?}, {manner:?}: seen after {noticed:?}");
    }

    edge.assert_metric("cfx_streams_in_flight", &[], 0.0);
    let store = Arc::get_mut(&mut edge).expect("all tasks are over").stop_and_read();
    hold_rows(&store, each, &gone, upstream.count());
}

async fn all(edge: &Arc<Harness>, upstream: &Arc<Upstream>, each: usize, span: Duration, seed: u64) -> Vec<Gone> {
    let mut chance = Chance::new(seed);
    let span = usize::try_from(span.as_millis()).expect("seconds");
    let mut shared = Vec::new();
    for _ in 0..=each / ON_ONE {
        shared.push(Http2::connect(edge).await);
    }
    let (mut leaving, mut staying) = (Vec::new(), Vec::new());
    for number in 0..2 * each {
        let (edge, upstream) = (edge.clone(), upstream.clone());
        let connection = shared[number / 2 % shared.len()].clone();
        if number % 2 == 0 {
            let (moment, manner) = (chance.one(&MOMENTS), chance.one(&MANNERS));
            let (begin, pause) = (chance.millis(span), chance.millis(60));
            leaving.push(tokio::spawn(async move {
                tokio::time::sleep(begin).await;
                let way = (moment, manner);
                let left = client::leaves(&edge, &upstream, number, way, pause, Some(&connection)).await;
                let asked = moment != Moment::Upload;
                let closed = if asked { Some(upstream.closed(number).await) } else { None };
                let noticed = closed.map(|closed| closed.saturating_duration_since(left));
                Gone { moment, manner, noticed }
            }));
        } else {
            let part = if chance.below(4) == 0 { Part::StaysForADocument } else { Part::Stays };
            let connection = Some(connection).filter(|_| chance.below(2) == 0);
            let begin = chance.millis(span / 5);
            staying.push(tokio::spawn(async move {
                tokio::time::sleep(begin).await;
                let answer =
                    tokio::time::timeout(2 * PATIENCE, client::stays(&edge, number, part, connection.as_ref()));
                let (body, complete) = answer.await.expect("an answer that ends");
                let expected = upstream::whole(number, part);
                assert!(
                    complete && body == expected,
                    "{number} stayed for {} bytes, got {}",
                    expected.len(),
                    body.len()
                );
            }));
        }
    }
    for task in staying {
        task.await.expect("who stays gets what the upstream said");
    }
    let mut gone = Vec::new();
    for task in leaving {
        gone.push(task.await.expect("who leaves can"));
    }
    gone
}

/// Each request has its row, or its share of one; who left is in the ledger as who left.
fn hold_rows(store: &Store, each: usize, gone: &[Gone], asked: usize) {
    let of = |wanted: fn(Moment) -> bool| gone.iter().filter(|gone| wanted(gone.moment)).count();
    let in_upload = of(|moment| moment == Moment::Upload);
    let rows = store.rows();
    let (admitted, refused): (Vec<&Row>, Vec<&Row>) = rows.iter().partition(|row| row.number("attempts") > 0);
    assert_eq!((admitted.len(), asked), (2 * each - in_upload, 2 * each - in_upload), "admitted, and seen upstream");
    let stands_for = |row: &&Row| match row.text("error_message").split_once(" ×") {
        Some((reason, count)) => {
            assert_eq!(reason, "cancelled");
            count.parse().expect("a count")
        }
        None => 1,
    };
    assert_eq!(refused.iter().map(stands_for).sum::<usize>(), in_upload, "rows of who left during the upload");
    assert!(refused.iter().all(|row| (row.text("status"), row.number("http_status")) == ("cancelled", 499)));
    assert_eq!(usize::try_from(store.counted_requests()), Ok(admitted.len()), "only what was asked is counted");

    let with = |status: &str| admitted.iter().filter(|row| row.text("status") == status).collect::<Vec<_>>();
    let (whole, cancelled) = (with("success"), with("cancelled"));
    assert_eq!(whole.len(), each + of(|moment| moment == Moment::LastWord), "who stayed, and who heard the last word");
    assert!(whole.iter().all(|row| !row.flag("estimated") && row.tokens() == (21, 4, 25)));
    assert_eq!(whole.len() + cancelled.len(), admitted.len(), "no other end");
    for row in &cancelled {
        assert_eq!(row.number("http_status"), 499);
        assert!(row.flag("estimated") && row.number("input_tokens") > 0, "the prompt is paid for: {row:?}");
    }
    let of_documents = cancelled.iter().filter(|row| !row.flag("stream")).count();
    assert_eq!(of_documents, of(|moment| moment == Moment::Document));
    let heard = cancelled.iter().filter(|row| row.number("output_tokens") > 0).count();
    assert_eq!(heard, of(Moment::has_text), "and what was said of an answer");
}

/// One edge, one moment, every manner: each leaves its row, and nothing else.
fn each_manner(moment: Moment, hold: impl Fn(&Row)) {
    let upstream = Upstream::start(Duration::ZERO);
    // One stream at a time: a place that is not given back is the end.
    let mut edge = Harness::builder()
        .upstream_target(&format!("http://{}", upstream.address))
        .streams(1)
        .limit("concurrent_requests: 1")
        .start();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let lateness = Lateness::watch();
    for (number, manner) in MANNERS.into_iter().enumerate() {
        let left = runtime.block_on(client::leaves(&edge, &upstream, number, (moment, manner), Duration::ZERO, None));
        if moment != Moment::Upload {
            let noticed = runtime.block_on(upstream.closed(number)).saturating_duration_since(left);
            let bound = AT_ONCE + lateness.worst();
            assert!(noticed < bound, "{manner:?}: the upstream saw it after {noticed:?}");
        }
        let rows = edge.rows(number + 1);
        assert_eq!(rows.len(), number + 1, "{manner:?}: one request, one row");
        hold(&rows[number]);
    }
    edge.assert_metric("cfx_streams_in_flight", &[], 0.0);
    let asked = if moment == Moment::Upload { 0 } else { MANNERS.len() };
    assert_eq!(upstream.count(), asked);
    let store = edge.stop_and_read();
    assert_eq!(usize::try_from(store.counted_requests()), Ok(asked), "a request that was never asked costs no quota");
}

fn cancelled(row: &Row) {
    assert_eq!((row.text("status"), row.number("http_status")), ("cancelled", 499), "{row:?}");
    assert_eq!(row.text("error_message"), "cancelled");
}

fn cancelled_with_output(row: &Row) {
    cancelled(row);
    assert!(row.flag("estimated"), "{row:?}");
    let (input, output, total) = row.tokens();
    assert!(input > 0 && output > 0 && total == input + output && row.nano_usd() > 0, "{row:?}");
}

#[test]
fn leaving_during_the_upload_in_every_manner() {
    each_manner(Moment::Upload, |row| {
        cancelled(row);
        assert!(row.is_null("input_tokens") && !row.flag("estimated"), "nothing was used: {row:?}");
    });
}

#[test]
fn leaving_before_the_first_byte_in_every_manner() {
    each_manner(Moment::FirstByte, |row| {
        cancelled(row);
        assert!(row.flag("estimated") && row.number("input_tokens") > 0 && row.number("output_tokens") == 0, "{row:?}");
    });
}

/// The edge is halted from before the answer comes until its client has left: it finds both at once, and cannot write as
/// much as a head.
#[test]
fn what_had_come_when_no_head_could_be_written_is_paid_for() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    for manner in [Manner::Close, Manner::Reset, Manner::CloseHttp2] {
        let edge = Harness::start();
        let (opener, passed) = gate();
        let (said, heard) = std::sync::mpsc::channel();
        edge.upstream.then(Reply::script(move |exchange| {
            passed.pass();
            let half = r#"{"choices":[{"index":0,"message":{"role":"assistant","content":"half of a word and"#;
            let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n";
            exchange.send(format!("{head}{half}").as_bytes());
            let _ = said.send(());
            exchange.wait_for_close();
        }));
        let meanwhile = || {
            edge.upstream.wait_for(1);
            edge.process.halt();
            drop(opener);
            heard.recv_timeout(PATIENCE).expect("half of an answer");
        };
        runtime.block_on(async {
            let body = chat_body();
            if manner == Manner::CloseHttp2 {
                let (connection, body) = (Http2::connect(&edge).await, body.to_string().into_bytes());
                let asked = connection.send(&edge, &body, body.len()).await;
                tokio::task::spawn_blocking({
                    let state = edge.upstream.clone();
                    move || state.wait_for(1)
                })
                .await
                .expect("a request");
                meanwhile();
                connection.close().await;
                drop(asked);
            } else {
                let mut socket = tokio::net::TcpStream::connect(edge.http).await.expect("cfx accepts connections");
                socket.write_all(&edge.request(CHAT, &body).bytes()).await.expect("cfx reads");
                meanwhile();
                if manner == Manner::Reset {
                    socket.set_zero_linger().expect("a socket");
                }
                drop(socket);
            }
        });
        edge.process.signal("CONT");
        cancelled_with_output(&edge.row());
    }
}

#[test]
fn leaving_between_events_in_every_manner() {
    each_manner(Moment::BetweenEvents, cancelled_with_output);
}

#[test]
fn leaving_in_the_middle_of_an_event_in_every_manner() {
    each_manner(Moment::MidEvent, cancelled_with_output);
}

#[test]
fn leaving_in_the_middle_of_a_document_in_every_manner() {
    each_manner(Moment::Document, cancelled_with_output);
}

#[test]
fn hanging_up_behind_the_last_word_is_no_leaving_in_any_manner() {
    each_manner(Moment::LastWord, |row| {
        assert_eq!((row.text("status"), row.number("http_status")), ("success", 200), "{row:?}");
        assert_eq!((row.tokens(), row.flag("estimated")), ((21, 4, 25), false), "{row:?}");
    });
}
