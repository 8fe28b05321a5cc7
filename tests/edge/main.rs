//! cfx as its users meet it: the real binary over real sockets, in front of a scripted upstream.
//!
//! One file a behaviour; `harness` starts what they need. They are one program, so that they are linked once.
#![cfg(test)]

#[path = "../support/gotrue.rs"]
mod gotrue;
mod harness;
#[path = "../support/mod.rs"]
mod support;

mod access_lines;
mod acme;
mod acme_in_time;
mod acme_limits;
mod bad_bytes;
mod bad_input;
mod bad_upstreams;
mod broken_framing;
mod byte_for_byte;
mod catalog;
mod command_line;
mod concurrent_streams;
mod crowd;
mod direct_mode;
mod draining;
mod early_status;
mod failing_over;
mod faults;
mod flood_of_keys;
mod guards;
mod headers;
mod honest_endings;
mod keys_at_the_door;
mod leavers;
mod leaving_clients;
mod ledger_rows;
mod limits_hold;
mod many_at_once;
mod migrating;
mod nothing_crosses;
mod nothing_leaks;
mod on_postgres;
mod on_postgres_badly;
mod on_redis;
mod protocols;
mod quota_is_exact;
mod relay;
mod reloading;
mod reloading_under_load;
mod routing;
mod routing_compressed;
mod routing_edits;
mod routing_explained;
mod routing_guards;
mod routing_targets;
mod shedding;
mod signed_in;
mod silence_behind_nginx;
mod silent_streams;
mod slow_attacks;
mod slow_readers;
mod spool;
mod stages_upstream;
mod starting;
mod store_away_for_long;
mod supabase_projects;
mod timeouts;
mod tls;
mod tls_reloads;
mod tls_scanned;
mod tls_swaps;
mod traces;
mod two_edges;
mod unread_answers;
mod upgrading;
mod upstream_over_http2;
mod upstream_over_http2_by_hand;
mod upstream_over_http2_fails;
mod upstream_over_tls;
mod upstreams_fail;
mod watching_files;
mod web_answers;
mod web_failures;
mod web_sockets;
mod who_asks;
