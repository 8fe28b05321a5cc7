//! A configuration as it can be shown to its operator: every value that holds, defaults included, by the names that the files
//! have for them. Secrets are `***`.
//!
//! Each type is taken apart whole, so that a value that is new has to be given its place here.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::CertificatePair;
use super::guards::{ClientHeader, EncodedSlash, Guards, Underscores};
use super::identity::{Identity, Registration, Supabase};
use super::shown_route::route;
use super::snapshot::*;
use super::telemetry::{Telemetry, Traces};
use super::timeouts::{CommitAfter, TimeoutOverrides, Timeouts};
use super::tls::{Challenge, ClientCertificates, ExternalAccount, Issuer, TlsVersion};
use super::watching::{Breaker, Health};
use super::{Http2, Target};
use crate::telemetry::fields::Field;
use crate::telemetry::redact;

/// What stands in the place of a secret.
pub(super) const HIDDEN: &str = "***";

impl Snapshot {
    /// By file, then by the ways to values as problems have them.
    pub fn shown(&self) -> Value {
        let Self { edge: in_edge, models: in_models, limits: in_limits } = self;
        json!({ "cfx.yaml": edge(in_edge), "models.yaml": models(in_models), "limits.yaml": limits(in_limits) })
    }
}

fn edge(edge: &Edge) -> Value {
    let Edge {
        entrypoints,
        admin,
        admin_token,
        certificates,
        issuers,
        min_tls_version,
        upstreams,
        routes,
        trusted_proxies,
        client_header,
        guards,
        identity: Identity { registration, session, supabase },
        control,
        ledger,
        server,
        telemetry: Telemetry { access_log, traces },
    } = edge;
    let Ledger { retention, spool: Spool { size, fsync, on_full } } = ledger;
    let Server { threads, grace, drain_after } = server;
    let pair = |CertificatePair { files: CertificateFiles { cert, key }, .. }: &CertificatePair| json!({ "cert": cert, "key": key });
    json!({
        "entrypoints": named(entrypoints.iter().map(|entrypoint| (entrypoint.name.as_str(), self::entrypoint(entrypoint)))),
        "admin": { "address": admin, "token": admin_token.as_ref().map(|_| HIDDEN) },
        "tls": {
            "certificates": certificates.iter().map(pair).collect::<Vec<_>>(),
            "min_version": match min_tls_version { TlsVersion::V1_2 => "1.2", TlsVersion::V1_3 => "1.3" },
            "acme": issuers.iter().map(issuer).collect::<Vec<_>>(),
        },
        "upstreams": named(upstreams.iter().map(|(name, upstream)| (name.as_str(), self::upstream(upstream)))),
        "routes": routes.iter().map(|one| route(one)).collect::<Vec<_>>(),
        "trusted_proxies": trusted_proxies.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "client_header": match client_header {
            ClientHeader::XForwardedFor => "x-forwarded-for",
            ClientHeader::Forwarded => "forwarded",
            ClientHeader::Named(name) => name.as_str(),
        },
        "guards": self::guards(guards),
        "identity": {
            "registration": match registration {
                Registration::Closed => "closed",
                Registration::Invited => "invited",
                Registration::Open => "open",
            },
            "session": span(*session),
            "supabase": supabase.as_ref().map(|Supabase { url, jwt_secret, anon_key, audience }| {
                let hidden = |secret: &Option<Secret>| secret.as_ref().map(|_| HIDDEN);
                json!({
                    "url": redact::url(url), "jwt_secret": hidden(jwt_secret), "anon_key": hidden(anon_key), "audience": audience,
                })
            }),
        },
        "control": { "address": control },
        "ledger": {
            "retention": format!("{retention} months"),
            "spool": {
                "size": size,
                "fsync": match fsync { Fsync::Off => "off", Fsync::Each => "each" },
                "on_full": match on_full { OnSpoolFull::Refuse => "refuse", OnSpoolFull::Drop => "drop" },
            },
        },
        "telemetry": {
            "access_log": { "fields": Field::ALL.iter().filter(|field| access_log.has(**field)).map(|field| field.name()).collect::<Vec<_>>() },
            "traces": traces.as_ref().map(|Traces { endpoint, sample }| json!({ "endpoint": redact::url(endpoint), "sample": sample })),
        },
        "server": { "threads": threads, "grace": span(*grace), "drain_after": drain_after.map_or_else(off, span) },
    })
}

fn entrypoint(entrypoint: &Entrypoint) -> Value {
    let Entrypoint { name: _, address, transport, client_certificates, proxy_protocol } = entrypoint;
    let asked = |ClientCertificates { ca, required, taken }: &ClientCertificates| {
        let taken: Vec<String> = taken.iter().map(|ca| fingerprint(ca)).collect();
        json!({ "ca": ca, "required": required, "sha256": taken })
    };
    match transport {
        Transport::Plain { redirect_to } => {
            json!({ "address": address, "redirect": redirect_to, "proxy_protocol": proxy_protocol })
        }
        Transport::Tls { http2 } => json!({
            "address": address,
            "tls": true,
            "http2": http2,
            "client_certificates": client_certificates.as_ref().map(asked),
            "proxy_protocol": proxy_protocol,
        }),
    }
}

/// Enough of it to tell one certificate from another, as `openssl x509 -fingerprint -sha256` begins.
fn fingerprint(certificate: &[u8]) -> String {
    Sha256::digest(certificate).iter().take(8).map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(":")
}

fn guards(guards: &Guards) -> Value {
    let Guards {
        header_timeout,
        header_bytes,
        headers,
        idle,
        requests_per_connection,
        connection_age,
        connections,
        connections_per_address,
        http2_streams,
        encoded_slash,
        underscores,
    } = guards;
    let or_auto = |most: &Option<usize>| most.map_or_else(|| json!("auto"), |most| json!(most));
    json!({
        "header_timeout": span(*header_timeout),
        "header_bytes": header_bytes,
        "headers": headers,
        "idle": span(*idle),
        "requests_per_connection": requests_per_connection.map_or_else(off, |most| json!(most)),
        "connection_age": connection_age.map_or_else(off, span),
        "connections": or_auto(connections),
        "connections_per_address": or_auto(connections_per_address),
        "http2_streams": http2_streams,
        "encoded_slash": match encoded_slash { EncodedSlash::Refuse => "refuse", EncodedSlash::Pass => "pass" },
        "underscores": match underscores {
            Underscores::Drop => "drop",
            Underscores::Pass => "pass",
            Underscores::Refuse => "refuse",
        },
    })
}

fn issuer(Issuer { directory, email, domains, challenge, external_account, trust }: &Issuer) -> Value {
    let account =
        |ExternalAccount { key_id, hmac_key: _ }: &ExternalAccount| json!({ "key_id": key_id, "hmac_key": HIDDEN });
    json!({
        "directory": directory,
        "email": email,
        "domains": domains,
        "challenge": match challenge { Challenge::Http01 => "http-01", Challenge::TlsAlpn01 => "tls-alpn-01" },
        "eab": external_account.as_ref().map(account),
        "ca": trust,
    })
}

fn upstream(upstream: &Upstream) -> Value {
    let Upstream { name: _, targets, authorization, timeouts, keep_alive, breaker, health } = upstream;
    let Breaker { failures, open_for } = breaker;
    let http2 = targets.first().map_or_else(Http2::default, |target| target.http2);
    json!({
        "targets": targets.iter().map(|one| target(one)).collect::<Vec<_>>(),
        "api_key": authorization.as_ref().map(|_| HIDDEN),
        "http2": match http2 { Http2::Auto => "auto", Http2::Off => "off", Http2::Always => "always" },
        "timeouts": self::timeouts(timeouts),
        "keep_alive": keep_alive.map_or_else(off, span),
        "breaker": { "failures": failures, "open_for": span(*open_for) },
        "health": health.as_ref().map(self::health),
    })
}

fn target(target: &Target) -> Value {
    json!({ "url": target.to_string(), "weight": target.weight })
}

fn health(Health { path, interval, timeout, healthy, unhealthy }: &Health) -> Value {
    json!({
        "path": path, "interval": span(*interval), "timeout": span(*timeout), "healthy": healthy, "unhealthy": unhealthy,
    })
}

fn timeouts(Timeouts { connect, first_byte, between_chunks, total, commit_after }: &Timeouts) -> Value {
    json!({
        "connect": span(*connect),
        "first_byte": span(*first_byte),
        "between_chunks": span(*between_chunks),
        "total": span(*total),
        "commit_after": commit_after.map_or_else(off, span),
    })
}

fn models(models: &Models) -> Value {
    let Models { default_stage, plan, code, review, embeddings, completions, infer, direct, aliases } = models;
    let Direct { enabled, allow, deny, max_tokens } = direct;
    let passed = |model: &Option<Arc<Model>>| match model {
        Some(model) => json!({ "model": &*model.alias }),
        None => off(),
    };
    json!({
        "default_stage": default_stage.as_str(),
        "stages": { "plan": stage(plan), "code": stage(code), "review": stage(review) },
        "embeddings": passed(embeddings),
        "completions": passed(completions),
        "infer": infer.iter().map(rule).collect::<Vec<_>>(),
        "direct": { "enabled": enabled, "allow": allow, "deny": deny, "max_tokens": max_tokens },
        "models": named(aliases.iter().map(|(name, model)| (name.as_str(), self::model(model)))),
    })
}

fn stage(policy: &StagePolicy) -> Value {
    let StagePolicy { model, system, placement, max_tokens, temperature, fallback, timeouts } = policy;
    json!({
        "model": &*model.alias,
        "system": system.as_ref().map(Prompt::text),
        "placement": match placement { Placement::Prepend => "prepend", Placement::Append => "append" },
        "max_tokens": max_tokens,
        "temperature": temperature.map(|(min, max)| json!({ "min": min, "max": max })),
        "fallback": fallback.as_ref().map(|model| &*model.alias),
        "timeouts": overrides(timeouts),
    })
}

pub(super) fn overrides(timeouts: &TimeoutOverrides) -> Value {
    let TimeoutOverrides { connect, first_byte, between_chunks, total, commit_after } = timeouts;
    let commit_after = commit_after.map(|after| match after {
        CommitAfter::Off => off(),
        CommitAfter::Silence(silence) => span(silence),
    });
    json!({
        "connect": connect.map(span),
        "first_byte": first_byte.map(span),
        "between_chunks": between_chunks.map(span),
        "total": total.map(span),
        "commit_after": commit_after,
    })
}

fn rule(InferRule { last_user_message, has_diff, has_tools, stage }: &InferRule) -> Value {
    json!({
        "last_user_message": last_user_message.as_ref().map(regex::Regex::as_str),
        "has_diff": has_diff,
        "has_tools": has_tools,
        "stage": stage.as_str(),
    })
}

fn model(model: &Model) -> Value {
    let Model { alias: _, upstream_model, price, context_window, max_output_tokens, vision } = model;
    let Price { input, cached_input, cache_write, output, reasoning } = *price;
    json!({
        "upstream_model": &**upstream_model,
        "price": {
            "input": dollars(input),
            "cached_input": dollars(cached_input),
            "cache_write": dollars(cache_write),
            "output": dollars(output),
            "reasoning": dollars(reasoning),
        },
        "context_window": context_window,
        "max_output_tokens": max_output_tokens,
        "vision": vision,
    })
}

fn limits(limits: &Limits) -> Value {
    let Limits {
        daily_requests,
        concurrent_streams,
        concurrent_requests,
        body,
        in_flight,
        streams_in_flight,
        body_memory,
        answer_memory,
        upload_stall,
        read_stall,
        on_store_outage,
        users,
    } = limits;
    let user = |UserLimits { daily_requests, concurrent_streams, concurrent_requests }: &UserLimits| {
        json!({
            "daily_requests": daily_requests,
            "concurrent_streams": concurrent_streams,
            "concurrent_requests": concurrent_requests,
        })
    };
    json!({
        "daily_requests": daily_requests,
        "concurrent_streams": concurrent_streams,
        "concurrent_requests": concurrent_requests,
        "body": body,
        "in_flight": in_flight,
        "streams_in_flight": streams_in_flight,
        "body_memory": body_memory,
        "answer_memory": answer_memory,
        "upload_stall": span(*upload_stall),
        "read_stall": span(*read_stall),
        "on_store_outage": match on_store_outage { OnStoreOutage::Local => "local", OnStoreOutage::Refuse => "refuse" },
        "users": named(users.iter().map(|(email, limits)| (email.as_str(), user(limits)))),
    })
}

fn named<'a>(values: impl Iterator<Item = (&'a str, Value)>) -> Value {
    Value::Object(values.map(|(name, value)| (name.to_owned(), value)).collect::<Map<_, _>>())
}

fn off() -> Value {
    json!("off")
}

/// In the largest unit of the files that leaves no rest.
pub(super) fn span(time: Duration) -> Value {
    let milliseconds = time.as_millis();
    let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")];
    let fits = |(unit, _): &(u128, &str)| milliseconds > 0 && milliseconds.is_multiple_of(*unit);
    let (unit, name) = units.into_iter().find(fits).unwrap_or((1, "ms"));
    json!(format!("{}{name}", milliseconds / unit))
}

/// From billionths.
fn dollars(nanos: u64) -> Value {
    json!(nanos as f64 / 1e9)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_shown_as_the_files_have_them() {
        for (milliseconds, shown) in [
            (0, "0ms"),
            (250, "250ms"),
            (1_500, "1500ms"),
            (10_000, "10s"),
            (90_000, "90s"),
            (1_800_000, "30m"),
            (3_600_000, "1h"),
            (172_800_000, "2d"),
        ] {
            assert_eq!(span(Duration::from_millis(milliseconds)), shown);
        }
    }
}
