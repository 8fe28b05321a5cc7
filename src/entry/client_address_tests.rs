use super::*;
use crate::config::{Overrides, Source, load};

fn edge(header: ClientHeader) -> Edge {
    let snapshot = load(&Source::Embedded, &Overrides::default(), &|_| None).unwrap();
    let mut edge = Edge::clone(&snapshot.edge);
    edge.trusted_proxies = ["10.0.0.0/8", "2001:db8:ffff::/48"].map(|range| range.parse().unwrap()).to_vec();
    edge.client_header = header;
    edge
}

fn headers(lines: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
    }
    headers
}

fn seen(header: ClientHeader, peer: &str, lines: &[(&str, &str)]) -> Client {
    client(peer.parse().unwrap(), &edge(header), &headers(lines))
}

fn address_by_x_forwarded_for(peer: &str, lines: &[&str]) -> String {
    let lines: Vec<_> = lines.iter().map(|line| ("x-forwarded-for", *line)).collect();
    seen(ClientHeader::XForwardedFor, peer, &lines).address.to_string()
}

#[test]
fn only_trusted_proxies_are_believed() {
    assert_eq!(address_by_x_forwarded_for("203.0.113.9", &["198.51.100.1"]), "203.0.113.9");
    assert_eq!(address_by_x_forwarded_for("10.0.0.1", &["198.51.100.1"]), "198.51.100.1");
    assert_eq!(address_by_x_forwarded_for("::ffff:10.0.0.1", &["198.51.100.1"]), "198.51.100.1");
    assert_eq!(address_by_x_forwarded_for("10.0.0.1", &[]), "10.0.0.1");
    let lied = [("x-forwarded-for", "10.0.0.9"), ("x-forwarded-proto", "https"), ("x-forwarded-host", "a")];
    let wanted = Client { address: [203, 0, 113, 9].into(), https: None, host: None };
    for header in [ClientHeader::XForwardedFor, ClientHeader::Forwarded, ClientHeader::Named(X_FORWARDED_FOR)] {
        assert_eq!(seen(header, "203.0.113.9", &lied), wanted);
    }
}

#[test]
fn what_a_client_writes_itself_is_not_believed() {
    assert_eq!(address_by_x_forwarded_for("10.0.0.1", &["6.6.6.6, 198.51.100.1, 10.0.0.7"]), "198.51.100.1");
    assert_eq!(address_by_x_forwarded_for("10.0.0.1", &["6.6.6.6", "198.51.100.1"]), "198.51.100.1");
    assert_eq!(address_by_x_forwarded_for("10.0.0.1", &["junk, 10.0.0.7"]), "10.0.0.7");
    assert_eq!(address_by_x_forwarded_for("10.0.0.1", &["6.6.6.6, , 10.0.0.7"]), "10.0.0.7");
}

#[test]
fn bytes_that_are_no_text_hide_nobody() {
    for (header, name, line) in [
        (ClientHeader::XForwardedFor, "x-forwarded-for", &b"\xff, 198.51.100.1"[..]),
        (ClientHeader::Forwarded, "forwarded", b"for=\"\xff, for=198.51.100.1"),
        (ClientHeader::Forwarded, "forwarded", b"for=198.51.100.1;host=\"\xe9\", for=10.0.0.7"),
    ] {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_bytes(line).unwrap());
        let found = client([10, 0, 0, 1].into(), &edge(header), &headers).address;
        assert_eq!(found.to_string(), "198.51.100.1", "{}", line.escape_ascii());
    }
    let mut headers = HeaderMap::new();
    headers.insert("x-forwarded-for", HeaderValue::from_bytes(b"198.51.100.1, \xff, 10.0.0.7").unwrap());
    let found = client([10, 0, 0, 1].into(), &edge(ClientHeader::XForwardedFor), &headers).address;
    assert_eq!(found.to_string(), "10.0.0.7", "what stands left of it is not read");
}

#[test]
fn addresses_may_have_ports_and_brackets() {
    for (written, wanted) in [
        ("198.51.100.1:4711", "198.51.100.1"),
        ("[2001:db8::1]:4711", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("::ffff:198.51.100.1", "198.51.100.1"),
        ("2001:db8::1, 2001:db8:ffff::5", "2001:db8::1"),
    ] {
        assert_eq!(address_by_x_forwarded_for("10.0.0.1", &[written]), wanted, "{written}");
    }
}

#[test]
fn scheme_and_host_are_those_that_stand_beside_the_client() {
    let by = |lines: &[(&str, &str)]| seen(ClientHeader::XForwardedFor, "10.0.0.1", lines);
    let two = [("x-forwarded-for", "198.51.100.1, 10.0.0.7"), ("x-forwarded-proto", "https,http")];
    assert_eq!(by(&two).https, Some(true));
    let lied = [("x-forwarded-for", "6.6.6.6, 198.51.100.1"), ("x-forwarded-proto", "https, http")];
    assert_eq!(by(&lied).https, Some(false), "the client's own word is the left one");
    let set =
        [("x-forwarded-for", "198.51.100.1, 10.0.0.7"), ("x-forwarded-proto", "https"), ("x-forwarded-host", "a.b")];
    assert_eq!((by(&set).https, by(&set).host.as_deref()), (Some(true), Some("a.b")));
    assert_eq!(by(&[("x-forwarded-proto", "https")]).https, Some(true), "a proxy that says no more than that");
}

#[test]
fn forwarded_is_read_where_it_is_what_proxies_write() {
    let by = |lines: &[(&str, &str)]| seen(ClientHeader::Forwarded, "10.0.0.1", lines);
    let one =
        by(&[("forwarded", r#"for=6.6.6.6;proto=http, for="[2001:db8::1]:99";proto=https;host=a.b, for=10.0.0.7"#)]);
    assert_eq!(
        one,
        Client { address: "2001:db8::1".parse().unwrap(), https: Some(true), host: Some("a.b".to_owned()) }
    );
    let unquoted = by(&[("forwarded", r#"for=""#), ("forwarded", "for=198.51.100.1")]);
    assert_eq!(unquoted.address.to_string(), "198.51.100.1");
    assert_eq!(by(&[("forwarded", "for=unknown, for=10.0.0.7")]).address.to_string(), "10.0.0.7");
    assert_eq!(by(&[("forwarded", r#"for=", for=10.0.0.7"#)]).address.to_string(), "10.0.0.7");
    let other = by(&[("x-forwarded-for", "198.51.100.1"), ("x-forwarded-proto", "https")]);
    assert_eq!(other, Client { address: [10, 0, 0, 1].into(), https: None, host: None }, "the other is not read");
    let other = [("forwarded", "for=6.6.6.6"), ("x-forwarded-for", "198.51.100.1")];
    assert_eq!(seen(ClientHeader::XForwardedFor, "10.0.0.1", &other).address.to_string(), "198.51.100.1");
}

#[test]
fn a_cdn_may_have_a_header_of_its_own() {
    let header = || ClientHeader::Named(HeaderName::from_static("cf-connecting-ip"));
    let by = |lines: &[(&str, &str)]| seen(header(), "10.0.0.1", lines);
    let one =
        by(&[("cf-connecting-ip", "198.51.100.1"), ("x-forwarded-proto", "https"), ("x-forwarded-for", "6.6.6.6")]);
    assert_eq!((one.address.to_string().as_str(), one.https), ("198.51.100.1", Some(true)));
    for lines in
        [&[("cf-connecting-ip", "6.6.6.6"), ("cf-connecting-ip", "1.1.1.1")][..], &[("cf-connecting-ip", "a")], &[]]
    {
        assert_eq!(by(lines).address.to_string(), "10.0.0.1", "{lines:?}");
    }
}
