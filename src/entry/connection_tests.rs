use std::sync::Mutex;

use tokio::net::TcpListener;

use super::*;
use crate::config::{Overrides, Snapshot, Source, load};
use crate::entry::guard::Porter;

#[derive(Default)]
struct Counting(Mutex<Vec<Guard>>);

impl Porter for Counting {
    fn rules(&self) -> Arc<Snapshot> {
        Arc::new(load(&Source::Embedded, &Overrides::default(), &|_| None).unwrap())
    }

    fn count(&self, guard: Guard) {
        self.0.lock().unwrap().push(guard);
    }

    fn refuse(&self, guard: Guard, _arrival: &Arrival) -> Bytes {
        self.count(guard);
        Bytes::from_static(b"in our words")
    }
}

/// A client's end, and what serves it.
async fn pair(porter: &Arc<Counting>) -> (TcpStream, Connection<WriteBuffer<TcpStream>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (served, peer) = listener.accept().await.unwrap();
    let arrival = Arc::new(Arrival::new(peer, Arc::clone(porter) as Arc<dyn Porter>));
    (client, Connection::plain(served, arrival, Duration::from_millis(50)).unwrap())
}

#[tokio::test]
async fn a_write_that_nobody_takes_fails_in_time_and_is_counted_once() {
    let porter = Arc::<Counting>::default();
    let (_client, mut served) = pair(&porter).await;
    served.arrival.note_head();
    let piece = [b' '; 64 << 10];
    let failed = loop {
        if let Err(error) = served.write_all(&piece).await {
            break error;
        }
    };
    assert_eq!(failed.kind(), io::ErrorKind::TimedOut);
    assert_eq!(*porter.0.lock().unwrap(), [Guard::WriteStall]);
}

#[tokio::test]
async fn what_is_said_to_a_head_that_is_none_is_said_in_our_words() {
    use tokio::io::AsyncReadExt;
    for (words, guard) in [("HTTP/1.1 400 Bad Request\r\n", Guard::InvalidHead), ("HTTP/1.1 405 No\r\n", Guard::Method)]
    {
        let porter = Arc::<Counting>::default();
        let (mut client, mut served) = pair(&porter).await;
        served.write_all(words.as_bytes()).await.unwrap();
        served.write_all(b"\r\n").await.unwrap();
        served.flush().await.unwrap();
        drop(served);
        let mut heard = String::new();
        client.read_to_string(&mut heard).await.unwrap();
        assert_eq!((heard.as_str(), &porter.0.lock().unwrap()[..]), ("in our words", &[guard][..]));
    }
}
