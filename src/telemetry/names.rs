//! Every metric and label name, with its help text. Dashboards and alert rules are written against these.

/// A metric's name and what its number means.
pub struct Name {
    pub name: &'static str,
    pub help: &'static str,
}

pub const REQUESTS: Name = Name {
    name: "cfx_requests_total",
    help: "Requests answered, refusals included. stage and model are empty outside the LLM routes.",
};
pub const REFUSALS: Name = Name { name: "cfx_refusals_total", help: "Requests cfx itself refused, by reason." };
pub const DURATION: Name = Name {
    name: "cfx_request_duration_seconds",
    help: "From a request's head to the last byte of its answer, streams included.",
};
pub const FIRST_TOKEN: Name = Name {
    name: "cfx_time_to_first_token_seconds",
    help: "From a request's head to the first byte of a streamed answer's body.",
};
pub const OVERHEAD: Name =
    Name { name: "cfx_overhead_seconds", help: "Time from a request's head to its answer's that cfx itself spent." };
pub const TOKENS: Name = Name {
    name: "cfx_tokens_total",
    help: "Tokens of answers. cached_input and cache_write are parts of input, reasoning is a part of output.",
};
pub const COST: Name =
    Name { name: "cfx_cost_usd_total", help: "What answers cost, in US dollars, at configured prices." };
pub const STREAMS: Name = Name { name: "cfx_streams_in_flight", help: "Streamed answers under way." };
pub const IN_FLIGHT: Name =
    Name { name: "cfx_requests_in_flight", help: "Admitted requests under way, streams included." };
pub const BODY_MEMORY: Name =
    Name { name: "cfx_body_memory_bytes", help: "Bytes of request bodies held, those still arriving included." };
pub const ANSWER_MEMORY: Name = Name {
    name: "cfx_answer_memory_bytes",
    help: "Bytes of web answers that wait for their clients, those read behind them included.",
};
pub const SHED: Name = Name {
    name: "cfx_shed_total",
    help: "Requests turned away because this edge was full, by the key of limits.yaml that says how full it may be.",
};
pub const GUARD: Name = Name {
    name: "cfx_guard_total",
    help: "Connections and requests turned away before anybody asked what they want, by reason (docs/guards.md).",
};
pub const ATTEMPTS: Name =
    Name { name: "cfx_upstream_attempts_total", help: "Requests sent to an upstream, retries included, by outcome." };
pub const BREAKER_STATE: Name = Name {
    name: "cfx_breaker_state",
    help: "0 closed, 1 half-open, 2 open. A target's breaker has no model, a model's no target.",
};
pub const BREAKER_TURNS: Name =
    Name { name: "cfx_breaker_transitions_total", help: "How often a breaker came into a state." };
pub const BREAKER_FAILURES: Name = Name {
    name: "cfx_breaker_failures_total",
    help: "Failures that were held against a target or a model, whether or not they opened its breaker.",
};
pub const TARGET_HEALTHY: Name =
    Name { name: "cfx_target_healthy", help: "1 while a target passes its health checks; only where there are any." };
pub const HEALTH_TURNS: Name = Name {
    name: "cfx_target_health_transitions_total",
    help: "How often health checks found a target ill, or well again.",
};
pub const RETRIES_REFUSED: Name = Name {
    name: "cfx_upstream_retries_refused_total",
    help: "Second attempts not made, because an upstream had been sent too many already.",
};
pub const LEDGER_QUEUE: Name = Name { name: "cfx_ledger_queue", help: "Ledger records that wait to be stored." };
pub const LEDGER_DROPPED: Name =
    Name { name: "cfx_ledger_dropped_total", help: "Ledger records lost because disk and memory had no room." };
pub const LEDGER_QUARANTINED: Name = Name {
    name: "cfx_ledger_quarantined_total",
    help: "Ledger records that the store refused and that are kept in the data folder's spool/quarantine.",
};
pub const LEDGER_LAG: Name =
    Name { name: "cfx_ledger_lag_seconds", help: "How long the oldest ledger record has waited to be stored." };
pub const SPOOL_BYTES: Name = Name {
    name: "cfx_ledger_spool_bytes",
    help: "What the ledger's spool takes of the disk, what is set aside for more included.",
};
pub const SPOOL_CUTS: Name = Name {
    name: "cfx_ledger_spool_cuts_total",
    help: "Segments of the ledger's spool that were found damaged at the start and cut at their last good record.",
};
pub const ACCESS_LOG_DROPPED: Name = Name {
    name: "cfx_access_log_dropped_total",
    help: "Lines of the access log given up because stdout took them too slowly.",
};
pub const SPANS_DROPPED: Name = Name {
    name: "cfx_trace_spans_dropped_total",
    help: "Spans of traces given up because the collector was too slow or away.",
};
pub const QUOTA_LEASE: Name = Name {
    name: "cfx_quota_lease_total",
    help: "Quota leases the store granted, and requests admitted locally while it was away, by outcome.",
};
pub const STREAMS_UNSHARED: Name = Name {
    name: "cfx_streams_unshared_total",
    help: "Streams admitted by this edge's cap alone, because Redis did not answer.",
};
pub const STORE_LISTENING: Name = Name {
    name: "cfx_store_listening",
    help: "1 while a revoked key is noticed within a second; 0 while only the cache's time limit is left for that.",
};
pub const QUOTA_LISTENING: Name = Name {
    name: "cfx_quota_listening",
    help: "1 while this edge hears the others about quotas; 0 while it leases one request at a time because it does not.",
};
pub const CERTIFICATE_EXPIRY: Name = Name {
    name: "cfx_certificate_expiry_seconds",
    help: "When a certificate expires, in seconds since the Unix epoch; alert on its distance from time().",
};
pub const RELOAD_SUCCESS: Name = Name {
    name: "cfx_config_last_reload_success",
    help: "1 where the configuration was sound when it was last read, 0 where it was not and the one before is served.",
};
pub const RELOAD_SUCCESS_AT: Name = Name {
    name: "cfx_config_last_reload_success_timestamp_seconds",
    help: "When the configuration was last read and sound, in seconds since the Unix epoch.",
};
pub const RELOADS: Name = Name {
    name: "cfx_config_reloads_total",
    help: "How often the configuration was read anew: applied, unchanged (nothing differed) or refused (a mistake in it).",
};
pub const CERTIFICATE_UNREADABLE: Name = Name {
    name: "cfx_certificate_reload_failures_total",
    help: "Certificates that changed on disk and could not be served; the ones before them go on.",
};
pub const ACME_ORDERS: Name = Name {
    name: "cfx_acme_orders_total",
    help: "Certificates ordered from a CA: issued, refused, rate_limited, or unreachable where it did not answer.",
};
pub const ACME_FAILURES: Name = Name {
    name: "cfx_acme_failures",
    help: "Orders in a row that brought no certificate, by domain; 0 behind one that did.",
};
pub const TLS_HANDSHAKES: Name = Name {
    name: "cfx_tls_handshakes_total",
    help: "TLS handshakes: full, resumed from an earlier one, failed, or a CA's look at a challenge.",
};
pub const BUILD_INFO: Name = Name { name: "cfx_build_info", help: "Always 1; the labels say which build this is." };

pub mod label {
    pub const ROUTE: &str = "route";
    pub const STAGE: &str = "stage";
    pub const MODEL: &str = "model";
    pub const CODE: &str = "code";
    pub const REASON: &str = "reason";
    pub const KIND: &str = "kind";
    pub const UPSTREAM: &str = "upstream";
    pub const OUTCOME: &str = "outcome";
    pub const TARGET: &str = "target";
    pub const CAP: &str = "cap";
    pub const STATE: &str = "state";
    pub const NAME: &str = "name";
    pub const VERSION: &str = "version";
}

/// Values of the `kind` label of [`TOKENS`].
pub mod kind {
    pub const INPUT: &str = "input";
    pub const CACHED_INPUT: &str = "cached_input";
    pub const CACHE_WRITE: &str = "cache_write";
    pub const OUTPUT: &str = "output";
    pub const REASONING: &str = "reasoning";
}
