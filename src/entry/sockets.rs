//! The sockets this process listens on: bound by it, or taken over from the process before it. They are opened before
//! anything serves, so that a port in use is a message, and so that a copy of each can be handed on.

use std::io;
use std::net::{SocketAddr, TcpListener};

/// Connections that may wait to be accepted: the standard library's few would be refused in a rush. The kernel cuts it
/// to what it allows.
const BACKLOG: i32 = 65_535;
/// What a client has not been sent yet may lie in its socket up to here. Without a bound Linux takes some 4 MB for each
/// that reads slowly, and says that there is room again only once a third of them has gone: a client that reads 30 KB a
/// second would be taken for one that has not read for half a minute.
const UNSENT: u32 = 64 << 10;

/// Sockets taken over and not yet asked for, and copies of those that were opened.
#[derive(Debug, Default)]
pub struct Sockets {
    taken: Vec<TcpListener>,
    copies: Vec<TcpListener>,
}

impl Sockets {
    pub fn taken_over(taken: Vec<TcpListener>) -> Self {
        Self { taken, copies: Vec::new() }
    }

    /// Whether the socket at `address` came from the process before, which may still accept on it.
    pub fn is_taken_over(&self, address: SocketAddr) -> bool {
        self.place(address).is_some()
    }

    /// Whether an address can be listened on.
    pub fn check(&self, address: SocketAddr) -> io::Result<()> {
        if self.is_taken_over(address) { Ok(()) } else { TcpListener::bind(address).map(drop) }
    }

    /// A socket that listens at `address` and does not block.
    pub fn open(&mut self, address: SocketAddr) -> io::Result<TcpListener> {
        let listener = match self.place(address) {
            Some(place) => self.taken.swap_remove(place),
            None => TcpListener::bind(address)?,
        };
        listener.set_nonblocking(true)?;
        socket2::SockRef::from(&listener).listen(BACKLOG)?;
        bound_what_is_unsent(&listener);
        self.copies.push(listener.try_clone()?);
        Ok(listener)
    }

    /// Copies of all that were opened. While one is held, connections queue up at its address. What was taken over and
    /// never opened is closed here.
    pub fn into_copies(self) -> Vec<TcpListener> {
        self.copies
    }

    fn place(&self, address: SocketAddr) -> Option<usize> {
        self.taken.iter().position(|listener| listener.local_addr().is_ok_and(|at| at == address))
    }
}

/// Connections have it of their listener. A kernel that does not know it serves all the same.
fn bound_what_is_unsent(listener: &TcpListener) {
    #[cfg(target_os = "linux")]
    if let Err(error) = socket2::SockRef::from(listener).set_tcp_notsent_lowat(UNSENT) {
        tracing::warn!(%error, "what slow readers leave unsent is bounded by the kernel alone");
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (listener, UNSENT);
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::TcpStream;

    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn what_a_client_does_not_read_does_not_pile_up_in_its_socket() {
        let listener = Sockets::default().open(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        listener.set_nonblocking(false).unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut served, _) = listener.accept().unwrap();
        served.set_nonblocking(true).unwrap();
        let (piece, mut taken) = ([b' '; 8 << 10], 0);
        let full = loop {
            match served.write(&piece) {
                Ok(count) => taken += count,
                Err(error) => break error,
            }
        };
        assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
        assert!(taken < 1 << 20, "{taken} bytes, those in the client's own buffer among them");
        drop(client);
    }

    #[test]
    fn a_socket_that_was_taken_over_is_no_port_in_use() {
        let before = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = before.local_addr().unwrap();
        assert_eq!(Sockets::default().check(address).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        let mut sockets = Sockets::taken_over(vec![before.try_clone().unwrap()]);
        assert!(sockets.is_taken_over(address));
        sockets.check(address).unwrap();
        assert_eq!(sockets.open(address).unwrap().local_addr().unwrap(), address);
        assert!(!sockets.is_taken_over(address), "each is given out once");
        assert_eq!(sockets.into_copies().len(), 1);
    }
}
