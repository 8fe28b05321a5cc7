//! What may stand between a client and its server: a wire that is slow, cut, or keeps some messages to itself.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Not every program that includes this file uses all of it.
const _: fn() = || {
    let _ = (Proxy::before, Proxy::delay, Proxy::swallow_notices, Proxy::cut, Proxy::mend, Proxy::address);
};

/// A TCP proxy on a free port of 127.0.0.1. Its threads end with the connections they carry.
pub struct Proxy {
    address: SocketAddr,
    ways: Arc<Ways>,
}

struct Ways {
    server: SocketAddr,
    /// Of each piece of an answer, in milliseconds.
    delay: AtomicU64,
    swallows: AtomicBool,
    is_cut: AtomicBool,
    open: Mutex<Vec<TcpStream>>,
}

impl Proxy {
    pub fn before(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let ways = Arc::new(Ways {
            server,
            delay: AtomicU64::new(0),
            swallows: AtomicBool::new(false),
            is_cut: AtomicBool::new(false),
            open: Mutex::default(),
        });
        let accepting = Arc::clone(&ways);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                accepting.carry(client);
            }
        });
        Self { address, ways }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Holds every answer of the server back for this long, from now on.
    pub fn delay(&self, delay: Duration) {
        self.ways.delay.store(u64::try_from(delay.as_millis()).expect("a short time"), Ordering::SeqCst);
    }

    /// Passes on everything that Postgres says but notifications, as a pooler does that hands out sessions by the
    /// transaction. Decides connections made from now on.
    pub fn swallow_notices(&self, swallow: bool) {
        self.ways.swallows.store(swallow, Ordering::SeqCst);
    }

    /// Ends every connection and takes no more.
    pub fn cut(&self) {
        self.ways.is_cut.store(true, Ordering::SeqCst);
        for stream in self.ways.open.lock().expect("no thread panics").drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Takes connections again.
    pub fn mend(&self) {
        self.ways.is_cut.store(false, Ordering::SeqCst);
    }
}

impl Ways {
    fn carry(self: &Arc<Self>, client: TcpStream) {
        if self.is_cut.load(Ordering::SeqCst) {
            return;
        }
        let Ok(server) = TcpStream::connect(self.server) else { return };
        let (Ok(from_client), Ok(to_server)) = (client.try_clone(), server.try_clone()) else { return };
        let mut open = self.open.lock().expect("no thread panics");
        open.extend([client.try_clone(), server.try_clone()].into_iter().flatten());
        drop(open);
        std::thread::spawn(move || pump(from_client, to_server));
        let ways = Arc::clone(self);
        std::thread::spawn(move || ways.answer(server, client));
    }

    fn answer(&self, mut server: TcpStream, mut client: TcpStream) {
        let swallows = self.swallows.load(Ordering::SeqCst);
        let mut piece = [0; 16_384];
        let mut held = Vec::new();
        while let Ok(length @ 1..) = server.read(&mut piece) {
            std::thread::sleep(Duration::from_millis(self.delay.load(Ordering::SeqCst)));
            let passed = if swallows {
                held.extend_from_slice(&piece[..length]);
                without_notices(&mut held)
            } else {
                piece[..length].to_vec()
            };
            if client.write_all(&passed).is_err() {
                break;
            }
        }
        let _ = client.shutdown(Shutdown::Both);
        let _ = server.shutdown(Shutdown::Both);
    }
}

fn pump(mut from: TcpStream, mut to: TcpStream) {
    let _ = std::io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Both);
}

/// Takes whole messages from `held` (a letter, four bytes of length, the rest) and leaves out those of letter A.
fn without_notices(held: &mut Vec<u8>) -> Vec<u8> {
    let mut passed = Vec::new();
    let mut at = 0;
    while let Some(length) = held.get(at + 1..at + 5) {
        let length = u32::from_be_bytes(length.try_into().expect("four bytes"));
        let end = at + 1 + usize::try_from(length).expect("a message that fits");
        let Some(message) = held.get(at..end) else { break };
        if message[0] != b'A' {
            passed.extend_from_slice(message);
        }
        at = end;
    }
    held.drain(..at);
    passed
}
