//! The way to an upstream: its targets and which of them is asked, their addresses, the connections kept to them, one
//! attempt at an exchange; and what was learnt of targets and models on the way, their breakers.
//!
//! Owns: when a connection is made, kept and thrown away, what can go wrong before and after an answer's head, and what
//! is left alone after it did.
//! Must not know: who asks, what the bytes mean, whether a second attempt is due.

mod answer;
mod attempt;
mod balancer;
mod breaker;
mod budget;
mod care;
mod connect;
mod favour;
mod framing;
mod head;
mod health;
mod http2;
mod member;
mod patience;
mod pool;
mod request;
mod resolve;
mod shared_breaker;
mod turns;
mod wire;

pub use answer::{Answer, Broken};
pub use attempt::{AttemptError, Limits, Standing, send};
pub use balancer::{Balancer, Group};
pub use breaker::{By, Stand};
pub use care::look_after;
pub use connect::Dialer;
pub use head::Head;
pub use member::{Member, Seat};
pub use patience::{Alarm, within};
pub use request::OutgoingRequest;
pub use shared_breaker::{Reading, Subject, Trial};
pub use turns::Turn;
