//! What a request to a model says and how it is changed: stages, the JSON scan and its splices, SSE, usage and price.
//!
//! Owns: the four dialects, and the rule that every byte cfx does not own passes as it came.
//! Must not know: sockets, pingora, who is asking.
