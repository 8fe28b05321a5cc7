//! What the command line puts in the place of what the files say.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use super::super::Overrides;
use super::super::certificate::CertificatePair;
use super::super::edits::Edits;
use super::super::problem::{Checked, Report};
use super::super::routes::{Action, Route};
use super::super::snapshot::{Edge, Entrypoint, Transport, Upstream};
use super::super::target::{Http2, Target};
use super::entrypoints::{clash, https, is_tls};
use super::routes_control::CONTROL;
use super::upstreams::target;
use super::{routes, routes_match};

/// The checked edge with the overrides in it. The report is about the command line, so its problems have no line.
pub(in crate::config) fn overridden(mut edge: Edge, overrides: &Overrides, report: &Report) -> Checked<Edge> {
    move_listeners(&mut edge, overrides);
    let redirect = redirect(&mut edge, overrides.redirect, report);
    let addresses = refuse_shared_addresses(&edge, report);
    let upstream = overrides.upstream_url.as_deref().map_or(Ok(()), |url| point_llm_routes(&mut edge, url, report));
    if overrides.dashboard {
        show_dashboard(&mut edge);
    }
    if let Some(most) = overrides.most_grace {
        edge.server.grace = edge.server.grace.min(most);
        edge.server.drain_after = None;
    }
    let certificate = match &overrides.self_signed {
        Some(files) if edge.certificates.is_empty() => {
            CertificatePair::read(files.clone(), None).map(|pair| edge.certificates.push(pair)).or_else(|problems| {
                let told = problems.iter().map(|problem| report.add(None, "", problem.to_string(), None));
                told.reduce(|_, last| last).map_or(Ok(()), Err)
            })
        }
        _ => Ok(()),
    };
    redirect.and(addresses).and(upstream).and(certificate)?;
    Ok(edge)
}

fn move_listeners(edge: &mut Edge, overrides: &Overrides) {
    if let Some(address) = overrides.http {
        match edge.entrypoints.iter_mut().find(|entrypoint| !is_tls(entrypoint)) {
            Some(entrypoint) => entrypoint.address = address,
            None => {
                let transport = Transport::Plain { redirect_to: None };
                edge.entrypoints.push(Entrypoint {
                    name: "http".to_owned(),
                    address,
                    transport,
                    client_certificates: None,
                    proxy_protocol: false,
                });
            }
        }
    }
    if let Some(address) = overrides.https {
        match edge.entrypoints.iter_mut().find(|entrypoint| is_tls(entrypoint)) {
            Some(entrypoint) => {
                let before = std::mem::replace(&mut entrypoint.address, address);
                follow(edge, before, address);
            }
            None => edge.entrypoints.push(https(address)),
        }
    }
    edge.admin = overrides.admin.unwrap_or(edge.admin);
}

/// Redirects go on leading to a TLS entrypoint that moved.
fn follow(edge: &mut Edge, before: SocketAddr, now: SocketAddr) {
    for entrypoint in &mut edge.entrypoints {
        if entrypoint.transport == (Transport::Plain { redirect_to: Some(before.port()) }) {
            entrypoint.transport = Transport::Plain { redirect_to: Some(now.port()) };
        }
    }
}

fn redirect(edge: &mut Edge, wanted: Option<bool>, report: &Report) -> Checked<()> {
    let Some(wanted) = wanted else { return Ok(()) };
    let tls = edge.entrypoints.iter().find(|entrypoint| is_tls(entrypoint)).map(|tls| tls.address.port());
    if wanted && tls.is_none() {
        let remedy = "add one with tls: true".to_owned();
        return Err(report.add(None, "", "no https entrypoint to redirect to", Some(remedy)));
    }
    let redirect_to = tls.filter(|_| wanted);
    for entrypoint in edge.entrypoints.iter_mut().filter(|entrypoint| !is_tls(entrypoint)) {
        entrypoint.transport = Transport::Plain { redirect_to };
    }
    Ok(())
}

fn refuse_shared_addresses(edge: &Edge, report: &Report) -> Checked<()> {
    let admin = [("admin", Some(edge.admin)), ("control", edge.control)];
    let admin = admin.into_iter().filter_map(|(name, address)| Some((name, address?)));
    let places = edge.entrypoints.iter().map(|entrypoint| (entrypoint.name.as_str(), entrypoint.address));
    let mut taken: Vec<(&str, SocketAddr)> = Vec::new();
    let mut sound = Ok(());
    for (name, address) in places.chain(admin) {
        match taken.iter().find(|(_, other)| clash(address, *other)) {
            Some((other, _)) => {
                let message = format!("{name} and {other} would both listen on {address}");
                let remedy = "give one of them another port".to_owned();
                sound = Err(report.add(None, "", message, Some(remedy)));
            }
            None => taken.push((name, address)),
        }
    }
    sound
}

/// Every upstream that an llm route uses gets this one target. Its credential and its timeouts stay.
fn point_llm_routes(edge: &mut Edge, url: &str, report: &Report) -> Checked<()> {
    let target = target(url).map_err(|wanted| report.add(None, "--upstream", format!("expected {wanted}"), None))?;
    let mut replaced = BTreeMap::new();
    for route in &mut edge.routes {
        if let Action::Llm(upstream) = &route.action {
            let aimed = replaced.entry(upstream.name.clone()).or_insert_with(|| Arc::new(aimed_at(upstream, &target)));
            *route = Arc::new(Route { action: Action::Llm(Arc::clone(aimed)), ..(**route).clone() });
        }
    }
    edge.upstreams.extend(replaced);
    refuse_ways_around(edge, report)
}

/// A route that led elsewhere may lead to what is asked for models now.
fn refuse_ways_around(edge: &Edge, report: &Report) -> Checked<()> {
    let actions: Vec<&Action> = edge.routes.iter().map(|route| &route.action).collect();
    let guarded = routes::guarded(&actions);
    for route in &edge.routes {
        if let Some(name) = routes::way_around(&route.action, &guarded) {
            let message = format!("route {:?} would let requests reach {name:?} without a key", &*route.name);
            return Err(report.add(None, "--upstream", message, Some("name another server".to_owned())));
        }
    }
    Ok(())
}

fn aimed_at(upstream: &Upstream, target: &Target) -> Upstream {
    let http2 = upstream.targets.first().map_or_else(Http2::default, |target| target.http2);
    Upstream {
        name: upstream.name.clone(),
        targets: vec![Arc::new(Target { http2, ..target.clone() })],
        authorization: upstream.authorization.clone(),
        timeouts: upstream.timeouts,
        keep_alive: upstream.keep_alive,
        breaker: upstream.breaker,
        health: upstream.health.clone(),
    }
}

/// The built-in dashboard takes the route that catches everything else, or becomes one. Whom that turned away it turns away
/// still; what it changed of an application's requests was for that application. What the pages change goes by the control API,
/// under the path that it has everywhere but where a route leads to it already.
fn show_dashboard(edge: &mut Edge) {
    let plain = |name: &str, matching, action| Route {
        name: name.into(),
        matching,
        action,
        edits: None,
        guards: None,
        client_certificate: false,
    };
    match edge.routes.iter_mut().find(|route| route.matching.is_everything()) {
        Some(route) => {
            let said = route.edits.as_ref().and_then(|edits| edits.response.clone());
            let edits = said.map(|response| Box::new(Edits { response: Some(response), ..Edits::default() }));
            *route = Arc::new(Route { action: Action::Dashboard, edits, ..Route::clone(route) });
        }
        None => edge.routes.push(Arc::new(plain("/", routes_match::everything(), Action::Dashboard))),
    }
    if !edge.routes.iter().any(|route| route.action == Action::Control) {
        edge.routes.push(Arc::new(plain(CONTROL, routes_match::below(CONTROL), Action::Control)));
        edge.routes.sort_by_key(|route| route.matching.rank());
    }
}
