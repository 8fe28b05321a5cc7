//! Large uploads, all at once: each comes again where it was shed, until it is through.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use clap::Args;
use tokio::io::{AsyncWriteExt, split};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::Edge;
use crate::client::{Door, chat, head, read_answer};
use crate::figures::{Troubles, memory, say};
use crate::health::Watch;
use crate::model::{self, Model};

#[derive(Args)]
pub struct Arguments {
    #[command(flatten)]
    edge: Edge,
    #[arg(long, default_value_t = 500)]
    clients: u32,
    #[arg(long, default_value_t = 10_000_000)]
    bytes: usize,
    /// All must be through by then.
    #[arg(long, default_value_t = 120)]
    seconds: u64,
    /// Milliseconds that the model takes for an answer, with the body still held.
    #[arg(long, default_value_t = 200)]
    think: u64,
}

#[derive(Default)]
struct Seen {
    whole: AtomicU64,
    shed: AtomicU64,
    /// Shed in the middle of the body, and told by a reset alone.
    reset: AtomicU64,
    troubles: Troubles,
}

pub fn run(arguments: Arguments) -> io::Result<()> {
    let edge = arguments.edge.clone();
    model::start(edge.model, Model::Answers { think: Duration::from_millis(arguments.think) })?;
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let (door, seen, body) = (Door::of(&edge)?, Arc::new(Seen::default()), chat(arguments.bytes, false));
        let request: Arc<[u8]> = format!("{}{body}", head(&edge.key, body.len())).into_bytes().into();
        say("rss_before_kib", memory(edge.pid, "VmRSS")?);
        let (mut crowd, began) = (JoinSet::new(), Instant::now());
        for number in 0..arguments.clients {
            let (door, seen, request) = (door.clone(), Arc::clone(&seen), Arc::clone(&request));
            crowd.spawn(async move { until_through(&door, number, &request, &seen).await });
        }
        let health = Watch::start(&door)?;
        let all = async { while crowd.join_next().await.is_some() {} };
        if timeout(Duration::from_secs(arguments.seconds), all).await.is_err() {
            seen.troubles.note("not all were through in time");
        }
        say("took_s", format_args!("{:.1}", began.elapsed().as_secs_f64()));
        say("through", seen.whole.load(Ordering::Relaxed));
        say("shed", seen.shed.load(Ordering::Relaxed));
        say("reset", seen.reset.load(Ordering::Relaxed));
        say("rss_most_kib", memory(edge.pid, "VmHWM")?);
        health.end();
        seen.troubles.tell("errors");
        Ok(())
    })
}

async fn until_through(door: &Door, number: u32, request: &[u8], seen: &Seen) {
    loop {
        let wait = match once(door, number, request).await {
            Ok((200, _)) => {
                seen.whole.fetch_add(1, Ordering::Relaxed);
                return;
            }
            Ok((503, Some(wait))) => {
                seen.shed.fetch_add(1, Ordering::Relaxed);
                wait
            }
            Ok((status, _)) => return seen.troubles.note(&format!("answered {status}")),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                seen.reset.fetch_add(1, Ordering::Relaxed);
                Duration::from_secs(1)
            }
            Err(error) => return seen.troubles.note(&error.to_string()),
        };
        // Not all in the same moment again, as SDKs have it.
        sleep(wait + wait * (number % 16) / 16).await;
    }
}

/// One upload: what was answered, and how long to wait where it was a shed.
async fn once(door: &Door, number: u32, request: &[u8]) -> io::Result<(u16, Option<Duration>)> {
    let wire = door.connect(number).await?;
    let (mut reading, mut writing) = split(wire);
    let upload = async {
        // A refusal ends it: what it says is read below.
        let _ = writing.write_all(request).await;
        std::future::pending::<()>().await
    };
    let mut held = Vec::with_capacity(2_048);
    let (head, body) = tokio::select! {
        answer = read_answer(&mut reading, &mut held) => answer?,
        () = upload => return Err(io::ErrorKind::Interrupted.into()),
    };
    let shed = head.status == 503 && String::from_utf8_lossy(&body).contains("\"overloaded\"");
    Ok((head.status, head.retry_after().filter(|_| shed)))
}
