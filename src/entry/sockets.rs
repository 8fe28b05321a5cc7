//! The sockets this process listens on: bound by it, or taken over from the process before it. pingora is given them
//! open, so that a port in use is a message instead of a panic, and so that a copy of each can be handed on.

use std::io;
use std::net::{SocketAddr, TcpListener};

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

#[cfg(test)]
mod tests {
    use super::*;

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
