//! Ports that no other test takes meanwhile, in this process or another.
//!
//! A port that was found free and is bound a moment later may have gone to somebody else by then, so each process has
//! blocks of ports to itself: whoever holds the lock of a block's file may use its ports, for as long as it lives. They
//! are below the range from which the system takes the ports of outgoing connections.

use std::fs::{File, OpenOptions};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::sync::{Mutex, PoisonError};

const FIRST: u16 = 10_000;
const BLOCKS: u16 = 250;
const PORTS: u16 = 40;

struct Block {
    left: Range<u16>,
    /// Locked; the lock ends with the process.
    _file: File,
}

static BLOCK: Mutex<Option<Block>> = Mutex::new(None);

/// Addresses on which nobody listens, of loopback. None of them comes twice.
pub fn free_addresses() -> [SocketAddr; 3] {
    std::array::from_fn(|_| free_address())
}

fn free_address() -> SocketAddr {
    let mut held = BLOCK.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        let next = held.as_mut().and_then(|block| block.left.next());
        let Some(port) = next else {
            // The block before is not let go: its ports are still in use.
            std::mem::forget(held.replace(own_block()));
            continue;
        };
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}

/// One that nobody has, looked for from anywhere so that two who begin at once are rarely in each other's way.
fn own_block() -> Block {
    let own = tempfile::tempfile().and_then(|file| file.metadata()).expect("a file").uid();
    let folder = std::env::temp_dir().join(format!("cfx-test-ports-{own}"));
    std::fs::create_dir_all(&folder).expect("a folder");
    let mut seed = [0; 2];
    getrandom::fill(&mut seed).expect("randomness");
    let start = u16::from_le_bytes(seed) % BLOCKS;
    let blocks = (start..BLOCKS).chain(0..start);
    let free = |block: u16| {
        let path = folder.join(block.to_string());
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(path).expect("a lock file");
        file.try_lock().ok().map(|()| file)
    };
    let (block, file) = blocks
        .filter_map(|block| free(block).map(|file| (block, file)))
        .next()
        .expect("one of the blocks of ports, each of which a test process holds");
    let first = FIRST + block * PORTS;
    Block { left: first..first + PORTS, _file: file }
}
