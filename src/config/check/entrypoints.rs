//! The public listeners.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::super::problem::Checked;
use super::super::snapshot::{Entrypoint, Transport};
use super::super::source::Source;
use super::super::tls::ClientCertificates;
use super::read::{At, Fields, Named, all};
use super::suggest::instead_of;
use super::tls::client_certificates;

/// The port is the protocol's own; an absent section opens these on every IPv4 address.
pub(super) const HTTP: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 80);
pub(super) const HTTPS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 443);

/// An entrypoint before the name that `redirect` gives is resolved.
struct Listener<'a> {
    name: &'a str,
    address: Checked<SocketAddr>,
    transport: Checked<Transport>,
    redirect: Option<At<'a>>,
    client_certificates: Checked<Option<ClientCertificates>>,
    proxy_protocol: Checked<bool>,
}

/// Without the section: http, and where certificates are named https, with http redirecting to it.
pub(super) fn entrypoints(section: Option<At>, has_certificates: bool, source: &Source) -> Checked<Vec<Entrypoint>> {
    let Some(section) = section else { return Ok(defaults(has_certificates)) };
    let named = section.entries()?;
    if named.is_empty() {
        return Err(section.problem_with("no entrypoint", "write for example http: { address: \"0.0.0.0:80\" }"));
    }
    let listeners: Vec<Listener> = named.iter().map(|named| listener(named, source)).collect();
    all(listeners.iter().map(|listener| entrypoint(listener, &listeners)))
}

fn defaults(has_certificates: bool) -> Vec<Entrypoint> {
    let http = |redirect_to| Entrypoint {
        name: "http".to_owned(),
        address: HTTP,
        transport: Transport::Plain { redirect_to },
        client_certificates: None,
        proxy_protocol: false,
    };
    if has_certificates { vec![http(Some(HTTPS.port())), https(HTTPS)] } else { vec![http(None)] }
}

pub(super) fn https(address: SocketAddr) -> Entrypoint {
    let transport = Transport::Tls { http2: true };
    let name = "https".to_owned();
    Entrypoint { name, address, transport, client_certificates: None, proxy_protocol: false }
}

fn listener<'a>(named: &Named<'a>, source: &Source) -> Listener<'a> {
    match named.value.fields(&["address", "tls", "http2", "redirect", "client_certificates", "proxy_protocol"]) {
        Err(reported) => Listener {
            name: named.name,
            address: Err(reported),
            transport: Err(reported),
            redirect: None,
            client_certificates: Err(reported),
            proxy_protocol: Err(reported),
        },
        Ok(fields) => Listener {
            name: named.name,
            address: fields
                .required("address", "write for example address: \"0.0.0.0:443\"")
                .and_then(|given| address(&given)),
            transport: transport(&fields),
            redirect: fields.get("redirect"),
            client_certificates: fields.optional("client_certificates", |at| asked_of_clients(&fields, &at, source)),
            proxy_protocol: fields.or("proxy_protocol", false, |at| at.flag()),
        },
    }
}

fn asked_of_clients(fields: &Fields, at: &At, source: &Source) -> Checked<ClientCertificates> {
    if fields.get("tls").is_none_or(|at| at.is_text("false")) {
        return Err(
            at.problem_with("clients are asked for certificates over TLS only", "add tls: true or leave it out")
        );
    }
    client_certificates(at, source)
}

/// With the redirect still to come.
fn transport(fields: &Fields) -> Checked<Transport> {
    let tls = fields.or("tls", false, |at| at.flag());
    let http2 = fields.or("http2", true, |at| at.flag());
    match (tls?, fields.get("http2"), fields.get("redirect")) {
        (false, Some(at), _) => {
            Err(at.problem_with("HTTP/2 is offered over TLS only", "add tls: true or leave it out"))
        }
        (true, _, Some(at)) => Err(at.problem_with("a TLS entrypoint has nothing to redirect to", "leave it out")),
        (true, _, None) => Ok(Transport::Tls { http2: http2? }),
        (false, None, _) => Ok(Transport::Plain { redirect_to: None }),
    }
}

fn entrypoint(listener: &Listener, all: &[Listener]) -> Checked<Entrypoint> {
    let redirect_to = match (&listener.redirect, listener.transport?) {
        (Some(at), Transport::Plain { .. }) => Some(redirect_port(at, all)?),
        _ => None,
    };
    let transport = match listener.transport? {
        Transport::Plain { .. } => Transport::Plain { redirect_to },
        tls => tls,
    };
    Ok(Entrypoint {
        name: listener.name.to_owned(),
        address: listener.address?,
        transport,
        client_certificates: listener.client_certificates.clone()?,
        proxy_protocol: listener.proxy_protocol?,
    })
}

/// The port of the TLS entrypoint that is named.
fn redirect_port(at: &At, all: &[Listener]) -> Checked<u16> {
    let name = at.text()?;
    // One whose transport is broken may well be meant to be TLS.
    let tls = || all.iter().filter(|other| !matches!(other.transport, Ok(Transport::Plain { .. })));
    match tls().find(|other| other.name == name) {
        Some(target) => Ok(target.address?.port()),
        None => {
            let remedy = instead_of(name, tls().map(|other| other.name));
            Err(at.problem_with(format!("no entrypoint {} with tls: true", at.quoted()), remedy))
        }
    }
}

pub(super) fn is_tls(entrypoint: &Entrypoint) -> bool {
    matches!(entrypoint.transport, Transport::Tls { .. })
}

/// An IP address with its port. Names are not looked up: what a listener binds to must not depend on DNS.
pub(super) fn address(at: &At) -> Checked<SocketAddr> {
    const WANTED: &str = "an IP address with a port, such as \"0.0.0.0:443\"";
    at.parsed(WANTED, |text| text.parse().map_err(|_| WANTED.to_owned()))
}

/// Refuses each listener of the file that could not bind beside one before it. Reads only what is well formed: the rest
/// is reported where it is checked.
pub(super) fn refuse_shared_addresses(file: &Fields) -> Checked<()> {
    let sections = file.get("entrypoints").map(|at| at.children()).unwrap_or_default();
    let mut taken: Vec<(String, SocketAddr)> = Vec::new();
    let places = sections
        .into_iter()
        .chain(file.get("admin"))
        .chain(file.get("control"))
        .filter_map(|section| section.child("address"));
    let checks = places.map(|at| {
        let Some(address) = at.peek().and_then(|text| text.parse().ok()) else { return Ok(()) };
        match taken.iter().find(|(_, other)| clash(address, *other)) {
            Some((path, _)) => {
                let message = format!("{} is taken by {path}", at.quoted());
                Err(at.problem_with(message, "give it a port of its own"))
            }
            None => {
                taken.push((at.path().to_owned(), address));
                Ok(())
            }
        }
    });
    all(checks).map(drop)
}

/// PROXY headers are read from trusted proxies alone: where there are none, an entrypoint that asks for them asks nobody.
pub(super) fn refuse_headers_of_nobody(file: &Fields, trusts_nobody: bool) -> Checked<()> {
    let sections = file.get("entrypoints").map(|at| at.children()).unwrap_or_default();
    let asking = sections.into_iter().filter_map(|section| section.child("proxy_protocol"));
    let checks = asking.filter(|at| trusts_nobody && at.is_text("true")).map(|at| -> Checked<()> {
        let remedy = "name the proxies that send PROXY headers there, or leave it out";
        Err(at.problem_with("PROXY headers are read from trusted_proxies alone, which names none", remedy))
    });
    all(checks).map(drop)
}

/// Whether one of the two keeps the other from binding. Port 0 is any free port.
pub(super) fn clash(one: SocketAddr, other: SocketAddr) -> bool {
    let same_address = one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() != 0 && one.port() == other.port() && same_address
}
