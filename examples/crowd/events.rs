//! A model that streams as fast as it is read, in LiteLLM's form.

use std::io;
use std::net::SocketAddr;

use clap::Args;

use crate::model::{self, DONE, Model};

const ABOUT: &str = r#""id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"upstream-bench""#;

#[derive(Args)]
pub struct Arguments {
    #[arg(long)]
    listen: SocketAddr,
    /// Of an answer, the last two of them its usage and `[DONE]`.
    #[arg(long, default_value_t = 200)]
    events: usize,
}

/// For as long as the process lives.
pub fn run(arguments: Arguments) -> io::Result<()> {
    model::serve_here(arguments.listen, Model::Events(chunks(arguments.events).into()))
}

fn chunks(count: usize) -> Vec<String> {
    let tokens = count.saturating_sub(3);
    // No two alike: LiteLLM takes a model that repeats itself for a broken one.
    let said = (0..tokens).map(|number| event(&format!(r#"{{"content":"word {number:03} or two "}}"#), ""));
    let stop = event("{}", r#","finish_reason":"stop""#);
    let usage = format!(r#"{{"prompt_tokens":500,"completion_tokens":{tokens},"total_tokens":{}}}"#, 500 + tokens);
    let usage = format!("data: {{{ABOUT},\"choices\":[],\"usage\":{usage}}}\n\n");
    said.chain([stop, usage, format!("{DONE}\n\n")]).map(|event| model::chunk(&event)).collect()
}

fn event(delta: &str, more: &str) -> String {
    format!("data: {{{ABOUT},\"choices\":[{{\"index\":0,\"delta\":{delta}{more}}}]}}\n\n")
}
