//! Ten times as many clients as the edge takes: what those see who are admitted, those who are not, and `/health`.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use clap::Args;
use tokio::io::AsyncWriteExt;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::Edge;
use crate::client::{Door, Head, Wire, chat, head, read_answer};
use crate::figures::{Times, Troubles, memory, nanos, say};
use crate::health::Watch;
use crate::model::{self, Model};

#[derive(Args)]
pub struct Arguments {
    #[command(flatten)]
    edge: Edge,
    /// Requests that the edge takes at once (`in_flight`).
    #[arg(long, default_value_t = 100)]
    cap: u32,
    #[arg(long, default_value_t = 1_000)]
    clients: u32,
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// Milliseconds that the model takes for an answer.
    #[arg(long, default_value_t = 50)]
    think: u64,
    /// Milliseconds after which who was refused comes again, in place of what Retry-After says.
    #[arg(long)]
    pause: Option<u64>,
}

#[derive(Default)]
struct Seen {
    admitted: Times,
    shed: Times,
    /// Of the shed, in cfx itself, as Server-Timing has it.
    own: Times,
    troubles: Troubles,
    over: AtomicBool,
    unserved: AtomicU64,
}

pub fn run(arguments: Arguments) -> io::Result<()> {
    model::start(arguments.edge.model, Model::Answers { think: Duration::from_millis(arguments.think) })?;
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let door = Door::of(&arguments.edge)?;
        let pause = arguments.pause.map(Duration::from_millis);
        say("rss_before_kib", memory(arguments.edge.pid, "VmRSS")?);
        let alone = crowd(&door, &arguments, arguments.cap, pause).await;
        alone.admitted.tell("alone");
        say("alone_shed", alone.shed.count());
        let health = Watch::start(&door)?;
        let seen = crowd(&door, &arguments, arguments.clients, pause).await;
        health.end();
        seen.admitted.tell("admitted");
        seen.shed.tell("shed");
        seen.own.tell("shed_own");
        say("never_served", seen.unserved.load(Ordering::Relaxed));
        say("rss_most_kib", memory(arguments.edge.pid, "VmHWM")?);
        seen.troubles.tell("errors");
        Ok(())
    })
}

/// So many clients at once, each asking again and again.
async fn crowd(door: &Door, arguments: &Arguments, clients: u32, pause: Option<Duration>) -> Arc<Seen> {
    let (seen, body) = (Arc::new(Seen::default()), chat(2_048, false));
    let request: Arc<str> = format!("{}{body}", head(&arguments.edge.key, body.len())).into();
    let mut crowd = JoinSet::new();
    for number in 0..clients {
        let (door, seen, request) = (door.clone(), Arc::clone(&seen), Arc::clone(&request));
        crowd.spawn(async move {
            let mut served = false;
            if let Err(error) = ask_on(&door, number, &request, pause, &seen, &mut served).await {
                seen.troubles.note(&error.to_string());
            }
            seen.unserved.fetch_add(u64::from(!served), Ordering::Relaxed);
        });
    }
    sleep(Duration::from_secs(arguments.seconds)).await;
    seen.over.store(true, Ordering::Relaxed);
    while crowd.join_next().await.is_some() {}
    seen
}

async fn ask_on(
    door: &Door,
    number: u32,
    request: &str,
    pause: Option<Duration>,
    seen: &Seen,
    served: &mut bool,
) -> io::Result<()> {
    let mut wire = door.connect(number).await?;
    while !seen.over.load(Ordering::Relaxed) {
        let asked = Instant::now();
        let (head, body) = ask(&mut wire, request).await?;
        let took = nanos(asked.elapsed());
        match head.status {
            200 => {
                *served = true;
                seen.admitted.note(took);
            }
            503 if String::from_utf8_lossy(&body).contains("\"overloaded\"") => {
                seen.shed.note(took);
                let own = head.header("server-timing").and_then(|timing| timing.strip_prefix("cfx;dur="));
                let own = own.and_then(|own| own.split(',').next()?.parse::<f64>().ok());
                let own = own.ok_or_else(|| io::Error::other("a refusal without Server-Timing"))?;
                seen.own.note(nanos(Duration::from_secs_f64(own / 1e3)));
                let wait = head.retry_after().ok_or_else(|| io::Error::other("a refusal without Retry-After"))?;
                sleep(pause.unwrap_or(wait)).await;
            }
            status => return Err(io::Error::other(format!("answered {status}"))),
        }
        if head.header("connection").is_some_and(|word| word.eq_ignore_ascii_case("close")) {
            wire = door.connect(number).await?;
        }
    }
    Ok(())
}

async fn ask(wire: &mut Box<dyn Wire>, request: &str) -> io::Result<(Head, Vec<u8>)> {
    wire.write_all(request.as_bytes()).await?;
    read_answer(wire, &mut Vec::with_capacity(2_048)).await
}
