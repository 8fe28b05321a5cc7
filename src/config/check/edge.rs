//! `cfx.yaml` as a whole, and its small sections.

use std::net::SocketAddr;
use std::time::Duration;

use ipnet::IpNet;

use super::super::problem::{Checked, Report};
use super::super::raw::Node;
use super::super::snapshot::{Edge, Secret, Server};
use super::super::source::Source;
use super::super::telemetry::Telemetry;
use super::read::{At, all};
use super::{entrypoints, guards, identity, ledger, quantity, routes, telemetry, tls, upstreams};

const ADMIN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9090);
const GRACE: Duration = Duration::from_secs(30 * 60);
/// Two questions of a load balancer that asks every two seconds, and half of what containers are given to stop in.
const DRAIN_AFTER: Duration = Duration::from_secs(5);
const MOST_THREADS: usize = 1024;
const SHORTEST_TOKEN: usize = 16;

pub(in crate::config) fn edge(root: &Node, report: &Report, source: &Source) -> Checked<Edge> {
    let root = At::root(root, report);
    let known = [
        "entrypoints",
        "admin",
        "tls",
        "upstreams",
        "routes",
        "trusted_proxies",
        "client_header",
        "guards",
        "identity",
        "control",
        "ledger",
        "telemetry",
        "server",
    ];
    let file = root.fields(&known)?;
    let tls = file.get("tls").map_or_else(|| Ok(tls::Tls::default()), |at| tls::tls(&at, source));
    let has_certificates = !matches!(&tls, Ok(tls) if tls.certificates.is_empty() && tls.issuers.is_empty());
    let listeners = entrypoints::entrypoints(file.get("entrypoints"), has_certificates, source);
    let challenges = tls::refuse_unanswerable(&file, &tls, &listeners);
    let askable = tls::refuse_unaskable(&file, &listeners);
    let admin = file.or("admin", (ADMIN, None), |at| admin(&at));
    let addresses = entrypoints::refuse_shared_addresses(&file);
    let upstreams = file.get("upstreams").map(|at| upstreams::upstreams(&at)).unwrap_or_default();
    let routes = routes::routes(&file, &upstreams, source);
    let trusted_proxies = file.or("trusted_proxies", Vec::new(), |at| all(at.items()?.map(|item| proxies(&item))));
    let client_header = file.or("client_header", Default::default(), |at| guards::client_header(&at));
    let guards = file.or("guards", guards::DEFAULTS, |at| guards::guards(&at));
    let identity = file.or("identity", Default::default(), |at| identity::identity(&at));
    let control =
        file.or("control", None, |at| at.fields(&["address"])?.optional("address", |at| entrypoints::address(&at)));
    let ledger = file.or("ledger", ledger::DEFAULTS, |at| ledger::ledger(&at));
    let telemetry = file.or("telemetry", Telemetry::default(), |at| telemetry::telemetry(&at));
    let server = file.get("server").map_or_else(|| Ok(server_defaults()), |at| server(&at));
    entrypoints::refuse_headers_of_nobody(&file, trusted_proxies.as_ref().is_ok_and(Vec::is_empty))?;
    addresses.and(challenges).and(askable)?;
    let (listeners, tls) = (listeners?, tls?);
    let (admin, admin_token) = admin?;
    Ok(Edge {
        entrypoints: listeners,
        admin,
        admin_token,
        certificates: tls.certificates,
        issuers: tls.issuers,
        min_tls_version: tls.min_version,
        upstreams: upstreams.sound()?,
        routes: routes?,
        trusted_proxies: trusted_proxies?,
        client_header: client_header?,
        guards: guards?,
        identity: identity?,
        control: control?,
        ledger: ledger?,
        telemetry: telemetry?,
        server: server?,
    })
}

/// The admin listener's address and its token.
fn admin(at: &At) -> Checked<(SocketAddr, Option<Secret>)> {
    let fields = at.fields(&["address", "token"])?;
    let address = fields.or("address", ADMIN, |at| entrypoints::address(&at));
    let token = fields.optional("token", |at| token(&at));
    Ok((address?, token?))
}

/// Long enough not to be guessed, and of what a header can carry.
fn token(at: &At) -> Checked<Secret> {
    let text = at.text()?;
    if text.len() < SHORTEST_TOKEN || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        let message = format!("is not {SHORTEST_TOKEN} or more letters, digits and signs");
        return Err(at.problem_with(message, "take what `openssl rand -hex 32` says"));
    }
    Ok(Secret::new(text.to_owned()))
}

/// One address or a network; an address is the network of itself.
pub(super) fn network(at: &At) -> Checked<IpNet> {
    at.parsed("an address or a network such as 10.0.0.0/8", |text| {
        let address = || text.parse().map(|address: std::net::IpAddr| IpNet::from(address));
        text.parse().or_else(|_| address()).map_err(|_| "an address or a network such as 10.0.0.0/8".to_owned())
    })
}

/// Whoever believes everybody believes each client about itself.
fn proxies(at: &At) -> Checked<IpNet> {
    let network = network(at)?;
    if network.prefix_len() == 0 {
        return Err(at.problem_with("every address there is", "name the networks of your own proxies"));
    }
    Ok(network)
}

fn server(at: &At) -> Checked<Server> {
    let fields = at.fields(&["threads", "grace", "drain_after"])?;
    let defaults = server_defaults();
    let threads = fields.or("threads", defaults.threads, |at| {
        if at.is_text("auto") { Ok(defaults.threads) } else { at.whole(1..=MOST_THREADS) }
    });
    let grace = fields.or("grace", defaults.grace, |at| at.parsed("a duration", quantity::duration));
    let drain_after = fields.or("drain_after", defaults.drain_after, |at| {
        at.parsed("a duration, or off", |text| match text {
            "off" => Ok(None),
            text => quantity::duration(text).map(Some).map_err(|wanted| format!("off, or {wanted}")),
        })
    });
    Ok(Server { threads: threads?, grace: grace?, drain_after: drain_after? })
}

fn server_defaults() -> Server {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    Server { threads, grace: GRACE, drain_after: Some(DRAIN_AFTER) }
}
