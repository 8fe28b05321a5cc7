//! What is fuzzed: each target takes any bytes and panics where cfx would be wrong. libFuzzer drives them from
//! `fuzz_targets`, the test `fuzzed` from the seeds on any toolchain.

use std::cell::RefCell;
use std::net::IpAddr;
use std::path::Path;
use std::sync::LazyLock;

use bytes::Bytes;
use cfx::admission::RawKey;
use cfx::config::{ClientHeader, Edge, Overrides, Snapshot, Source, load};
use cfx::entry::client_address::client;
use cfx::llm::{AnswerTap, Dialect, Endpoint, KeyScope, Request, StreamReport, Tap, choose, rewrite};
use cfx::telemetry::trace_context::TraceContext;
use cfx::units::RequestId;
use http::header::FORWARDED;
use http::{HeaderMap, HeaderName, HeaderValue};

/// An event of up to so many bytes is read in one go.
const HELD: usize = 16 * 1024;

pub type Target = fn(&[u8]);

/// Every target by its name, which is that of its seeds' folder.
pub const ALL: [(&str, Target); 6] = [
    ("configuration", configuration),
    ("rewrite", rewriting),
    ("tap", tap),
    ("key", key),
    ("client_address", forwarded),
    ("trace", trace),
];

static SHIPPED: LazyLock<Snapshot> =
    LazyLock::new(|| match load(&Source::Embedded, &Overrides::default(), &|_| None) {
        Ok(snapshot) => snapshot,
        Err(problems) => panic!("{problems}"),
    });

/// Three files, one behind the other with a zero byte between. Whatever they say, they load, or each problem has a place.
pub fn configuration(bytes: &[u8]) {
    thread_local! {
        static FOLDER: RefCell<Option<tempfile::TempDir>> = const { RefCell::new(None) };
    }
    // A file that is named may be any of the machine's: not those that never end.
    if bytes.windows(4).any(|window| window == b"/dev" || window == b"/pro") {
        return;
    }
    FOLDER.with_borrow_mut(|folder| {
        let folder = folder.get_or_insert_with(|| tempfile::tempdir().expect("a folder"));
        let mut files = bytes.splitn(3, |byte| *byte == 0);
        for name in ["cfx.yaml", "models.yaml", "limits.yaml"] {
            std::fs::write(folder.path().join(name), files.next().unwrap_or_default()).expect("a file");
        }
        let source = Source::Directory(folder.path().to_path_buf());
        if let Err(problems) = load(&source, &Overrides::default(), &|name| (name == "SET").then(|| "set".to_owned())) {
            let text = problems.to_string();
            assert!(text.contains(".yaml:") || text.contains(".yaml "), "a problem without a place: {text}");
        }
    });
}

/// A body, behind a byte that chooses its endpoint and stage. What is sent upstream is JSON where what came was, names
/// the stage's model, and is as long as it says.
pub fn rewriting(bytes: &[u8]) {
    let Some((how, body)) = bytes.split_first() else { return };
    let endpoint = Endpoint::ALL[usize::from(how & 7) % Endpoint::ALL.len()];
    let header = [None, Some("plan"), Some("code"), Some("review")][usize::from(how >> 3 & 3)];
    let body = Bytes::copy_from_slice(body);
    let Ok(request) = Request::parse(endpoint, body.clone()) else { return };
    assert_eq!(request.body(), &body);
    let _ = (request.model(), request.last_user_text(), request.thinking_budget(), request.text_bytes());
    let Ok(choice) = choose(&SHIPPED.models, &request, header, KeyScope::default()) else { return };
    let sent = rewrite(&request, &choice, &choice.model);
    let text = sent.segments.concat();
    assert_eq!(text.len(), sent.len);
    assert!(Request::parse(endpoint, text.clone().into()).is_ok(), "cfx would not take what it sends");
    let (Ok(_), Ok(sent)) = (json(&body), json(&text)) else {
        // Where the other parser stops at its own limits (depth, an exponent), it must do so on both sides.
        assert!(json(&body).is_err(), "what came was JSON, what is sent is not: {}", String::from_utf8_lossy(&text));
        return;
    };
    assert_eq!(sent["model"], *choice.model.upstream_model, "{}", String::from_utf8_lossy(&text));
}

fn json(bytes: &[u8]) -> serde_json::Result<serde_json::Value> {
    serde_json::from_slice(bytes)
}

/// A stream, behind a byte that chooses its dialect and where it is cut into pieces. Cutting changes nothing, and
/// without stripping every byte passes.
pub fn tap(bytes: &[u8]) {
    const DIALECTS: [Dialect; 5] =
        [Dialect::Chat, Dialect::Completions, Dialect::Embeddings, Dialect::Responses, Dialect::Messages];
    let Some((how, stream)) = bytes.split_first() else { return };
    let dialect = DIALECTS[usize::from(how & 7) % DIALECTS.len()];
    let strip = how & 8 != 0;
    let piece = usize::from(how >> 4) + 1;
    let (whole, said) = tapped(dialect, strip, stream, stream.len().max(1));
    let (cut, said_cut) = tapped(dialect, strip, stream, piece);
    assert!(whole == cut, "pieces of {piece} bytes differ from the whole");
    let facts = |said: &StreamReport| (said.usage, said.saw_event, said.saw_end, said.error, said.at_boundary);
    assert_eq!(facts(&said), facts(&said_cut), "in pieces of {piece} bytes");
    // Of an event too long to be held, what was said is reckoned.
    if stream.len() <= HELD {
        assert_eq!(said, said_cut, "in pieces of {piece} bytes");
    }
    if strip {
        assert!(whole.len() <= stream.len());
    } else {
        assert!(whole == stream, "a stream was changed");
    }
    let mut answer = AnswerTap::new(dialect);
    stream.chunks(piece).for_each(|piece| answer.push(piece));
    let mut at_once = AnswerTap::new(dialect);
    at_once.push(stream);
    assert_eq!(format!("{:?}", answer.report()), format!("{:?}", at_once.report()));
}

fn tapped(dialect: Dialect, strip: bool, stream: &[u8], piece: usize) -> (Vec<u8>, StreamReport) {
    let (mut tap, mut out) = (Tap::new(dialect, strip), Vec::new());
    for piece in stream.chunks(piece) {
        tap.push(Bytes::copy_from_slice(piece), &mut out);
    }
    tap.finish(&mut out);
    (out.concat(), tap.report())
}

/// What a client shows as its key. One that is taken is shown as it came, and no neighbour of it is one.
pub fn key(bytes: &[u8]) {
    let Ok(presented) = std::str::from_utf8(bytes) else { return };
    let Ok(key) = RawKey::parse(presented) else { return };
    assert_eq!(key.expose(), presented);
    assert!(presented.starts_with(key.display_prefix()) && key.display_prefix().len() == 21);
    assert!(!format!("{key:?}").contains(&presented[21..]), "a key shows itself");
    for place in 0..presented.len() {
        let mut other = bytes.to_vec();
        other[place] = if other[place] == b'a' { b'b' } else { b'a' };
        if let Ok(other) = std::str::from_utf8(&other) {
            assert!(RawKey::parse(other).is_err(), "{other} passes too");
        }
    }
}

/// Lines of a header that names the client, behind the connection's own address, from a trusted network and from none.
pub fn forwarded(bytes: &[u8]) {
    let Some((peer, text)) = bytes.split_at_checked(4) else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    let peer = IpAddr::from([peer[0], peer[1], peer[2], peer[3]]);
    let everybody = ["0.0.0.0/0", "::/0"].map(|range| range.parse().expect("a range"));
    let named = HeaderName::from_static("cf-connecting-ip");
    for (name, header) in [
        (HeaderName::from_static("x-forwarded-for"), ClientHeader::XForwardedFor),
        (FORWARDED, ClientHeader::Forwarded),
        (named.clone(), ClientHeader::Named(named)),
    ] {
        let values = text.lines().filter_map(|line| HeaderValue::from_str(line).ok());
        let headers = values.map(|value| (name.clone(), value)).collect::<HeaderMap>();
        let mut edge = Edge::clone(&SHIPPED.edge);
        edge.client_header = header;
        assert_eq!(client(peer, &edge, &headers).address, peer, "an untrusted address was believed");
        for trusted in [&everybody[..], &everybody[..1], &["10.0.0.0/8".parse().expect("a range")]] {
            edge.trusted_proxies = trusted.to_vec();
            let client = client(peer, &edge, &headers).address;
            assert!(client == peer || edge.trusts(peer), "an untrusted address was believed");
            assert_eq!(client, client.to_canonical());
        }
    }
}

/// A `traceparent`. One of ours is well-formed whatever came, and goes on where ours went.
pub fn trace(bytes: &[u8]) {
    let Ok(header) = std::str::from_utf8(bytes) else { return };
    let id = RequestId(uuid::Uuid::from_u128(0x0198_0000_0000_7000_8000_0000_0000_0001));
    let context = TraceContext::of(Some(header), id, Some(0.5));
    for sent in [context.to_model(), context.to_web()] {
        let text = std::str::from_utf8(&sent).expect("ASCII");
        let next = TraceContext::of(Some(text), id, Some(0.0));
        assert_eq!(next.is_sampled(), context.is_sampled());
        assert_eq!(next.to_model()[..36], sent[..36], "the trace was lost: {header:?}");
    }
}

/// The seeds of a target, in the order of their names.
pub fn seeds(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = [folder.join("fuzz/seeds"), folder.join("seeds")].into_iter().find(|folder| folder.is_dir());
    let mut files: Vec<_> = std::fs::read_dir(folder.expect("seeds").join(target))
        .expect("a folder of seeds")
        .map(|file| file.expect("a file").path())
        .collect();
    files.sort();
    files.iter().map(|file| std::fs::read(file).expect("a seed")).collect()
}
