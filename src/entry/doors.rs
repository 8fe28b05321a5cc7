//! pingora's listening service with our own beginning and end.
//!
//! It is given sockets that are open already, says when it accepts, and closes them when the drain says so. What pingora
//! would do behind that is left out on purpose: its `cleanup` drops every connection that has not sent a whole head yet,
//! which are the kept ones and those that came in a moment ago. They are served, each with a last answer.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::IntoRawFd;
use std::sync::Arc;
use std::task::Poll;

use async_trait::async_trait;
use pingora_core::server::{ListenFds, ShutdownWatch};
use pingora_core::services::Service;
use tokio::sync::oneshot;

use super::drain::Drain;

/// Wraps the service that accepts at the public listeners.
pub struct Doors<S> {
    service: S,
    /// By the address under which the service looks for each.
    sockets: Vec<(SocketAddr, TcpListener)>,
    drain: Arc<Drain>,
    accepting: Option<oneshot::Sender<()>>,
}

impl<S> Doors<S> {
    /// The receiver hears once every listener accepts, and never where pingora could not use one.
    pub fn new(
        service: S,
        sockets: Vec<(SocketAddr, TcpListener)>,
        drain: Arc<Drain>,
    ) -> (Self, oneshot::Receiver<()>) {
        let (sender, accepting) = oneshot::channel();
        (Self { service, sockets, drain, accepting: Some(sender) }, accepting)
    }
}

#[async_trait]
impl<S: Service> Service for Doors<S> {
    async fn start_service(&mut self, fds: Option<ListenFds>, _shutdown: ShutdownWatch, listeners_per_fd: usize) {
        let Self { service, sockets, drain, accepting } = self;
        if let Some(table) = &fds {
            let mut table = table.lock();
            for (address, socket) in sockets.drain(..) {
                table.add(address.to_string(), socket.into_raw_fd()); // pingora owns it from here on
            }
        }
        let mut serving = service.start_service(fds, drain.closing(), listeners_per_fd);
        let mut accepting = accepting.take();
        // It rests for the first time when its accept loops are spawned.
        std::future::poll_fn(|context| {
            if serving.as_mut().poll(context).is_pending()
                && let Some(accepting) = accepting.take()
            {
                let _ = accepting.send(());
            }
            Poll::Ready(())
        })
        .await;
        tokio::select! {
            biased; // or the service might run on to its cleanup
            () = drain.closed() => {}
            () = serving => {}
        }
        std::future::pending().await
    }

    fn name(&self) -> &str {
        self.service.name()
    }

    fn threads(&self) -> Option<usize> {
        self.service.threads()
    }
}
