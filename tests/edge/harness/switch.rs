//! A target that dies and comes back at the same address: a door in front of a scripted upstream. Shut, it refuses
//! connections, and those that stood are reset.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use super::ports::free_addresses;
use super::{Scripted, several};

pub struct Switch {
    pub address: SocketAddr,
    behind: SocketAddr,
    open: Mutex<Option<Door>>,
}

struct Door {
    shut: Arc<AtomicBool>,
    connections: Arc<Mutex<Vec<TcpStream>>>,
    accepting: JoinHandle<()>,
}

impl Switch {
    /// A scripted upstream behind a switch, and what an edge calls it as its target.
    pub fn before_scripted() -> (Scripted, Self, String) {
        let upstream = Scripted::start();
        let switch = Self::before(upstream.address);
        let target = several(&[switch.address]);
        (upstream, switch, target)
    }

    /// Open from the start.
    pub fn before(behind: SocketAddr) -> Self {
        let [address, ..] = free_addresses();
        let switch = Self { address, behind, open: Mutex::new(None) };
        switch.revive();
        switch
    }

    pub fn kill(&self) {
        let Some(door) = self.open.lock().expect("one test").take() else { return };
        door.shut.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address); // wakes the thread that accepts
        door.accepting.join().expect("it accepts until it is told not to");
        for connection in door.connections.lock().expect("the pumps do not panic").drain(..) {
            let _ = connection.shutdown(Shutdown::Both);
        }
    }

    pub fn revive(&self) {
        let mut open = self.open.lock().expect("one test");
        if open.is_some() {
            return;
        }
        let listener = TcpListener::bind(self.address).expect("the port it had");
        let (shut, connections) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let (told, kept, behind) = (shut.clone(), connections.clone(), self.behind);
        let accepting = std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if told.load(Ordering::SeqCst) {
                    return;
                }
                if let Ok(upstream) = TcpStream::connect(behind) {
                    let mut kept = kept.lock().expect("the pumps do not panic");
                    kept.extend([client.try_clone(), upstream.try_clone()].into_iter().flatten());
                    pump(&client, &upstream);
                    pump(&upstream, &client);
                }
            }
        });
        *open = Some(Door { shut, connections, accepting });
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        self.kill();
    }
}

fn pump(from: &TcpStream, to: &TcpStream) {
    let (Ok(mut from), Ok(mut to)) = (from.try_clone(), to.try_clone()) else { return };
    let _ = to.set_nodelay(true);
    std::thread::spawn(move || {
        let mut buffer = [0; 16 * 1024];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            if to.write_all(&buffer[..count]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Both);
        let _ = from.shutdown(Shutdown::Both);
    });
}
