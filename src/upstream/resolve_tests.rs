use std::sync::Mutex;

use super::*;

/// Says one list after the other, the last one for ever, and counts how often it was asked. An empty list is a failure.
pub struct Scripted(Mutex<(Vec<Vec<&'static str>>, usize)>);

impl Scripted {
    pub fn new(lists: &[&[&'static str]]) -> Self {
        Self(Mutex::new((lists.iter().map(|list| list.to_vec()).collect(), 0)))
    }

    pub fn asked(&self) -> usize {
        self.0.lock().unwrap().1
    }
}

#[async_trait]
impl Resolver for Scripted {
    async fn look_up(&self, _host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let mut script = self.0.lock().unwrap();
        script.1 += 1;
        let list = if script.0.len() > 1 { script.0.remove(0) } else { script.0[0].clone() };
        match list.is_empty() {
            true => Err(io::Error::other("no such name, for now")),
            false => Ok(list.iter().map(|ip| SocketAddr::new(ip.parse().unwrap(), port)).collect()),
        }
    }
}

fn ips(known: &Known) -> Vec<String> {
    known.list.iter().map(|address| address.ip().to_string()).collect()
}

impl Addresses {
    /// As if it had been found a while ago.
    pub fn age(&self) {
        let known = self.known.load_full().unwrap();
        let at = Instant::now().checked_sub(FRESH).unwrap();
        self.known.store(Some(Arc::new(Known { list: known.list.clone(), at })));
    }
}

#[tokio::test]
async fn an_address_is_never_looked_up() {
    let resolver = Scripted::new(&[&["10.0.0.9"]]);
    for host in ["10.0.0.1", "::1"] {
        let addresses = Addresses::of(host, 4000);
        addresses.doubt();
        assert_eq!(ips(&addresses.current(&resolver).await.unwrap()), [host]);
        assert_eq!(ips(&addresses.look_up(&resolver).await.unwrap()), [host]);
        assert!(!addresses.is_name());
    }
    assert_eq!(resolver.asked(), 0);
}

#[tokio::test]
async fn a_name_is_looked_up_once_for_many_requests_and_again_once_it_is_in_doubt() {
    let resolver = Scripted::new(&[&["10.0.0.1"], &["10.0.0.2"]]);
    let addresses = Addresses::of("litellm", 4000);
    for _ in 0..5 {
        assert_eq!(ips(&addresses.current(&resolver).await.unwrap()), ["10.0.0.1"]);
    }
    assert_eq!(resolver.asked(), 1);
    addresses.doubt();
    assert_eq!(ips(&addresses.current(&resolver).await.unwrap()), ["10.0.0.1"], "too fresh to be doubted");
    addresses.age();
    assert_eq!(ips(&addresses.current(&resolver).await.unwrap()), ["10.0.0.2"]);
    assert_eq!(ips(&addresses.current(&resolver).await.unwrap()), ["10.0.0.2"]);
    assert_eq!(resolver.asked(), 2, "the doubt is settled");
}

#[tokio::test]
async fn a_name_that_cannot_be_looked_up_is_where_it_was() {
    let resolver = Scripted::new(&[&["10.0.0.1"], &[], &["10.0.0.2"]]);
    let addresses = Addresses::of("litellm", 4000);
    let tried = addresses.current(&resolver).await.unwrap();
    addresses.age();
    assert!(addresses.others(&resolver, &tried).await.is_none());
    assert!(addresses.others(&resolver, &tried).await.is_none());
    assert_eq!(resolver.asked(), 2, "it was looked for just now");
    addresses.age();
    assert_eq!(ips(&addresses.others(&resolver, &tried).await.unwrap()), ["10.0.0.2"]);
    let nowhere = Addresses::of("nowhere", 1);
    assert!(nowhere.current(&Scripted::new(&[&[]])).await.is_err());
}

#[test]
fn families_take_turns_and_nothing_is_tried_twice() {
    let parse = |list: &[&str]| list.iter().map(|ip| SocketAddr::new(ip.parse().unwrap(), 1)).collect::<Vec<_>>();
    for (found, wanted) in [
        (&["::1", "::2", "::3", "10.0.0.1"][..], &["::1", "10.0.0.1", "::2", "::3"][..]),
        (&["10.0.0.1", "10.0.0.1", "::1"], &["10.0.0.1", "::1"]),
        (&["10.0.0.1", "::1", "::2", "::3"], &["10.0.0.1", "::1", "::2", "::3"]),
        (&[], &[]),
    ] {
        assert_eq!(by_turns(parse(found)), parse(wanted));
    }
}

/// Knows a name once, and never says anything again.
struct Mute(AtomicBool);

#[async_trait]
impl Resolver for Mute {
    async fn look_up(&self, _host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        if self.0.swap(true, Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        Ok(vec![SocketAddr::from(([10, 0, 0, 1], port))])
    }
}

#[tokio::test(start_paused = true)]
async fn a_resolver_that_hangs_holds_no_request_up_for_long() {
    let (resolver, addresses) = (Mute(AtomicBool::new(false)), Addresses::of("litellm", 4000));
    addresses.current(&resolver).await.unwrap();
    addresses.age();
    addresses.doubt();
    let started = tokio::time::Instant::now();
    for _ in 0..5 {
        assert_eq!(ips(&addresses.current(&resolver).await.unwrap()), ["10.0.0.1"]);
    }
    assert_eq!(started.elapsed(), DOUBTED_FOR, "one of them waited, once");
}
