//! Who may send a request now: API keys, the daily quota, concurrency, and the room left on this edge.
//!
//! Owns: the order-free checks and the values they yield; the ports [`KeyStore`](key) and [`QuotaStore`](quota).
//! Must not know: HTTP, pingora, SQL, models.
