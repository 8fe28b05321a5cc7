//! The model: answers every request alike, by a stream of stamped tokens or, after a while, by one JSON.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, sleep};

use crate::figures::now;
use crate::http2;

const ANSWER: &str = concat!(
    r#"{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"finish_reason":"stop","#,
    r#""message":{"role":"assistant","content":"First read, then write."}}],"#,
    r#""usage":{"prompt_tokens":10,"completion_tokens":20,"total_tokens":30}}"#
);

pub const DONE: &str = "data: [DONE]";

/// How every request is answered.
#[derive(Clone)]
pub enum Model {
    /// A token every so often, until it is over. `http2`: spoken without having been agreed upon.
    Streams { every: Duration, over: watch::Receiver<bool>, http2: bool },
    /// One answer, after so long.
    Answers { think: Duration },
    /// These chunks as fast as they are taken.
    Events(Arc<[String]>),
}

/// Serves on a thread of its own, for as long as the process lives.
pub fn start(address: SocketAddr, model: Model) -> io::Result<()> {
    let (runtime, listener) = listening(address)?;
    std::thread::spawn(move || runtime.block_on(accept(listener, Arc::new(model))));
    Ok(())
}

/// Serves on this thread, for as long as the process lives.
pub fn serve_here(address: SocketAddr, model: Model) -> io::Result<()> {
    let (runtime, listener) = listening(address)?;
    runtime.block_on(accept(listener, Arc::new(model)));
    Ok(())
}

fn listening(address: SocketAddr) -> io::Result<(Runtime, TcpListener)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let listener = runtime.block_on(async { listen(address) })?;
    Ok((runtime, listener))
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(4_096)
}

async fn accept(listener: TcpListener, model: Arc<Model>) {
    loop {
        match listener.accept().await {
            Ok((socket, _)) => {
                let model = Arc::clone(&model);
                // Whoever hangs up ends the task; its client sees what came of it.
                tokio::spawn(async move { serve(socket, &model).await });
            }
            Err(_) => sleep(Duration::from_millis(10)).await,
        }
    }
}

async fn serve(mut socket: TcpStream, model: &Model) -> io::Result<()> {
    socket.set_nodelay(true)?;
    if let Model::Streams { every, over, http2: true } = model {
        return http2::serve(socket, *every, over).await.map_err(io::Error::other);
    }
    while take_request(&mut socket).await? {
        match model {
            Model::Streams { every, over, .. } => stream(&mut socket, Tokens::new(*every, over.clone())).await?,
            Model::Answers { think } => {
                sleep(*think).await;
                let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: ";
                socket.write_all(format!("{head}{}\r\n\r\n{ANSWER}", ANSWER.len()).as_bytes()).await?;
            }
            Model::Events(chunks) => events(&mut socket, chunks).await?,
        }
    }
    Ok(())
}

/// Reads one request and forgets it. False at the end of the connection.
async fn take_request(socket: &mut TcpStream) -> io::Result<bool> {
    let mut buffer = vec![0; 16 << 10];
    let mut held = 0;
    let head = loop {
        if let Some(end) = buffer[..held].windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        match socket.read(&mut buffer[held..]).await? {
            0 if held == 0 => return Ok(false),
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => held += read,
        }
    };
    let text = String::from_utf8_lossy(&buffer[..head]).to_ascii_lowercase();
    if text.contains("\r\ntransfer-encoding: chunked\r\n") {
        while !buffer[head..held].ends_with(b"0\r\n\r\n") {
            if held == buffer.len() {
                buffer.resize(2 * held, 0);
            }
            match socket.read(&mut buffer[held..]).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => held += read,
            }
        }
        return Ok(true);
    }
    let length = text.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
    let mut left = length.unwrap_or(0).saturating_sub(held - head);
    while left > 0 {
        match socket.read(&mut buffer).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => left = left.saturating_sub(read),
        }
    }
    Ok(true)
}

// nginx passes on what comes as it comes only where it is asked to.
const STREAM: &str = concat!(
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\nx-accel-buffering: no\r\n",
    "transfer-encoding: chunked\r\n\r\n"
);

/// Each token is an event, a chunk and a write of its own.
async fn stream(socket: &mut TcpStream, mut tokens: Tokens) -> io::Result<()> {
    socket.write_all(STREAM.as_bytes()).await?;
    loop {
        let (event, last) = tokens.next().await;
        let end = if last { "0\r\n\r\n" } else { "" };
        socket.write_all(format!("{}{end}", chunk(&event)).as_bytes()).await?;
        if last {
            return Ok(());
        }
    }
}

/// Each chunk is a write of its own, and behind each it is the next stream's turn.
async fn events(socket: &mut TcpStream, chunks: &[String]) -> io::Result<()> {
    socket.write_all(STREAM.as_bytes()).await?;
    for chunk in chunks {
        socket.write_all(chunk.as_bytes()).await?;
        tokio::task::yield_now().await;
    }
    socket.write_all(b"0\r\n\r\n").await
}

/// What is said on one stream, each event when it is due.
pub struct Tokens {
    ticks: Interval,
    over: watch::Receiver<bool>,
    number: u32,
}

impl Tokens {
    pub fn new(every: Duration, over: watch::Receiver<bool>) -> Self {
        let mut ticks = interval_at(Instant::now(), every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { ticks, over, number: 0 }
    }

    /// The next event, and whether it is the last.
    pub async fn next(&mut self) -> (String, bool) {
        let mut over = *self.over.borrow_and_update();
        if !over {
            tokio::select! {
                _ = self.ticks.tick() => {}
                _ = self.over.changed() => over = true,
            }
        }
        if over {
            // All at once would be a burst that no model makes.
            self.ticks.tick().await;
            return (format!("{DONE}\n\n"), true);
        }
        self.number += 1;
        (event(self.number - 1), false)
    }
}

/// As it is framed on HTTP/1.1.
pub fn chunk(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}

fn event(number: u32) -> String {
    format!(
        "data: {{\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[{{\
         \"index\":0,\"delta\":{{\"content\":\"@{:020}:{number:010}@\"}},\"finish_reason\":null}}]}}\n\n",
        now()
    )
}

/// When an event's token was sent, and the how manyth it is.
pub fn stamp(event: &[u8]) -> Option<(u64, u32)> {
    let text = std::str::from_utf8(event).ok()?;
    let (at, number) = text.split('@').nth(1)?.split_once(':')?;
    Some((at.parse().ok()?, number.parse().ok()?))
}
