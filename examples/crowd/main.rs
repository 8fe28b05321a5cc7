//! Load that no ordinary tool makes: thousands of open streams whose tokens say when they were sent, ten times as many
//! clients as an edge takes, hundreds of large uploads at once. The model behind the edge is played here too, so that
//! both ends of a token are read off one clock.
//!
//! Started by `scripts/streams` and `scripts/shed`, which start cfx and judge the figures: one line `name value` each. For
//! `make bench` the model stands alone.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "tools of measurement, run by hand")]

mod client;
mod events;
mod figures;
mod health;
mod http2;
mod model;
mod shed;
mod streams;
#[path = "../../tests/support/trust.rs"]
mod trust;
mod uploads;

use std::net::SocketAddr;
use std::process::ExitCode;

use clap::{Args, Parser};

#[derive(Parser)]
enum Command {
    /// Streams that stay open, one token each every so often.
    Streams(streams::Arguments),
    /// As many clients as the edge takes, then more.
    Shed(shed::Arguments),
    /// Large bodies, all at once.
    Uploads(uploads::Arguments),
    /// The model alone: streams whose events come as fast as they are taken.
    Events(events::Arguments),
}

/// The edge that is asked, and the model that it is to ask.
#[derive(Args, Clone)]
struct Edge {
    /// Where the edge listens.
    #[arg(long)]
    address: SocketAddr,
    #[arg(long)]
    tls: bool,
    #[arg(long)]
    key: String,
    /// Its process.
    #[arg(long)]
    pid: u32,
    /// Where the model is to listen.
    #[arg(long)]
    model: SocketAddr,
}

fn main() -> ExitCode {
    let outcome = match Command::parse() {
        Command::Streams(arguments) => streams::run(arguments),
        Command::Shed(arguments) => shed::run(arguments),
        Command::Uploads(arguments) => uploads::run(arguments),
        Command::Events(arguments) => events::run(arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("crowd: {error}");
            ExitCode::FAILURE
        }
    }
}
