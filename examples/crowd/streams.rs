//! Open streams: what each takes of the edge's memory, and how late its tokens are.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use clap::Args;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::Edge;
use crate::client::{Door, chat, head, read_head};
use crate::figures::{Times, Troubles, memory, now, say};
use crate::model::{self, DONE, Model};

#[derive(Args)]
pub struct Arguments {
    #[command(flatten)]
    edge: Edge,
    #[arg(long, default_value_t = 10_000)]
    streams: u32,
    /// With all of them open.
    #[arg(long, default_value_t = 180)]
    seconds: u64,
    /// Milliseconds between two tokens of a stream.
    #[arg(long, default_value_t = 1_000)]
    every: u64,
    /// Streams opened in a second. Their tokens keep the distance at which they came.
    #[arg(long, default_value_t = 500)]
    rate: u32,
    /// How long the memory is watched after the last stream has ended.
    #[arg(long, default_value_t = 60)]
    after: u64,
    /// The model speaks HTTP/2, to an edge that takes this for granted.
    #[arg(long, conflicts_with = "direct")]
    http2: bool,
    /// Ask the model itself: what the way through this program alone takes.
    #[arg(long)]
    direct: bool,
}

struct Seen {
    /// From a stream's request to its first token.
    firsts: Times,
    /// From a token's leaving the model to its coming here.
    delays: Times,
    /// By how much that differs from the token's before.
    jitters: Times,
    troubles: Troubles,
    whole: AtomicU64,
    /// Tokens that came in one read with another.
    merged: AtomicU64,
    /// Tokens before that are not counted: the streams are still being opened.
    from: AtomicU64,
}

/// A stream that hears nothing for so long is given up; the model's tokens come far more often.
const PATIENCE: Duration = Duration::from_secs(60);

pub fn run(arguments: Arguments) -> io::Result<()> {
    let (end, over) = watch::channel(false);
    let every = Duration::from_millis(arguments.every);
    model::start(arguments.edge.model, Model::Streams { every, over, http2: arguments.http2 })?;
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(crowd(arguments, end))
}

async fn crowd(arguments: Arguments, end: watch::Sender<bool>) -> io::Result<()> {
    let Arguments { edge, streams, seconds, rate, after, direct, .. } = arguments;
    let edge = if direct { Edge { address: edge.model, tls: false, ..edge } } else { edge };
    let door = Door::of(&edge)?;
    let seen = Arc::new(Seen {
        firsts: Times::default(),
        delays: Times::default(),
        jitters: Times::default(),
        troubles: Troubles::default(),
        whole: AtomicU64::new(0),
        merged: AtomicU64::new(0),
        from: AtomicU64::new(u64::MAX),
    });
    let body = chat(2_048, true);
    let request: Arc<str> = format!("{}{body}", head(&edge.key, body.len())).into();
    let before = memory(edge.pid, "VmRSS")?;
    let (opened, mut opening) = mpsc::unbounded_channel();
    let (mut crowd, began) = (JoinSet::new(), Instant::now());
    for number in 0..streams {
        tokio::time::sleep_until(began + Duration::from_secs(1) * number / rate).await;
        let (door, seen, request, opened) = (door.clone(), Arc::clone(&seen), Arc::clone(&request), opened.clone());
        crowd.spawn(async move {
            if let Err(trouble) = one(&door, number, &request, &seen, opened).await {
                seen.troubles.note(&trouble);
            }
        });
    }
    drop(opened);
    let mut open = 0u32;
    while open < streams && opening.recv().await.is_some() {
        open += 1;
    }
    say("opened", open);
    say("opening_s", format_args!("{:.1}", began.elapsed().as_secs_f64()));
    seen.from.store(now(), Ordering::Relaxed);
    sleep(Duration::from_secs(seconds)).await;
    let with = memory(edge.pid, "VmRSS")?;
    seen.from.store(u64::MAX, Ordering::Relaxed);
    let _ = end.send(true);
    while crowd.join_next().await.is_some() {}
    say("whole", seen.whole.load(Ordering::Relaxed));
    say("merged", seen.merged.load(Ordering::Relaxed));
    seen.troubles.tell("errors");
    seen.firsts.tell("first");
    seen.delays.tell("delay");
    seen.jitters.tell("jitter");
    say("rss_before_kib", before);
    say("rss_with_kib", with);
    if !direct {
        let closed = Instant::now();
        while closed.elapsed() < Duration::from_secs(after) && memory(edge.pid, "VmRSS")? > before + before / 10 {
            sleep(Duration::from_millis(50)).await; // nobody asks for anything: an edge at rest gives back by itself
        }
        say("rss_after_kib", memory(edge.pid, "VmRSS")?);
        say("rss_after_s", format_args!("{:.1}", closed.elapsed().as_secs_f64()));
    }
    Ok(())
}

/// One stream from its request to its end.
async fn one(
    door: &Door,
    number: u32,
    request: &str,
    seen: &Seen,
    opened: mpsc::UnboundedSender<()>,
) -> Result<(), String> {
    let mut wire = door.connect(number).await.map_err(|error| format!("connecting: {error}"))?;
    let asked_at = now();
    wire.write_all(request.as_bytes()).await.map_err(|error| format!("asking: {error}"))?;
    let mut held = Vec::with_capacity(1_024);
    let answered = timeout(PATIENCE, read_head(&mut wire, &mut held)).await;
    let head = answered.map_err(|_| "no head")?.map_err(|error| format!("the head: {error}"))?;
    if head.status != 200 {
        return Err(format!("answered {}", head.status));
    }
    let (mut next, mut opened, mut before) = (0, Some(opened), None);
    loop {
        let (mut tokens, read_at) = (0u64, now());
        while let Some(end) = held.windows(2).position(|pair| pair == b"\n\n") {
            let event: Vec<u8> = held.drain(..end + 2).collect();
            if let Some((sent, number)) = model::stamp(&event) {
                if number != next {
                    return Err(format!("token {number} in place of {next}"));
                }
                (next, tokens) = (next + 1, tokens + 1);
                let delay = read_at.saturating_sub(sent);
                if sent >= seen.from.load(Ordering::Relaxed) {
                    seen.delays.note(delay);
                    before.inspect(|before| seen.jitters.note(delay.abs_diff(*before)));
                }
                before = Some(delay);
                // Once, and let go: who waits for all to be open is not to wait for one that failed.
                if let Some(opened) = opened.take() {
                    seen.firsts.note(read_at.saturating_sub(asked_at));
                    let _ = opened.send(());
                }
            } else if contains(&event, DONE.as_bytes()) {
                return ended(&mut wire, held, seen).await;
            } else if !contains(&event, b": ") {
                return Err(format!("an event of another kind: {}", String::from_utf8_lossy(&event)));
            }
        }
        seen.merged.fetch_add(tokens.saturating_sub(1), Ordering::Relaxed);
        match timeout(PATIENCE, wire.read_buf(&mut held)).await {
            Ok(Ok(0)) => return Err("cut".to_owned()),
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return Err(format!("reading: {error}")),
            Err(_) => return Err("silence".to_owned()),
        }
    }
}

/// Behind the last word: the last chunk, which says that the answer is whole.
async fn ended(wire: &mut (impl AsyncReadExt + Unpin), mut held: Vec<u8>, seen: &Seen) -> Result<(), String> {
    while !contains(&held, b"0\r\n\r\n") {
        match timeout(PATIENCE, wire.read_buf(&mut held)).await {
            Ok(Ok(read)) if read > 0 => {}
            _ => return Err("no last chunk".to_owned()),
        }
    }
    seen.whole.fetch_add(1, Ordering::Relaxed);
    Ok(())
}

fn contains(text: &[u8], word: &[u8]) -> bool {
    text.windows(word.len()).any(|part| part == word)
}
