//! Who may send a request now: API keys, the daily quota, concurrency, and the room left on this edge.
//!
//! Owns: the order-free checks and the values they yield; the ports [`KeyStore`], [`KeyRegistry`], [`PepperStore`],
//! [`QuotaStore`] and [`ConcurrencyStore`].
//! Must not know: HTTP, pingora, SQL, models.

mod brake;
mod calls;
mod capacity;
mod concurrency;
mod denial;
mod edges;
mod hold;
mod key;
mod key_store;
mod keys;
mod known;
mod lease;
mod lookup;
mod memory;
mod outage;
mod pace;
mod pepper;
mod places;
mod principal;
mod quota;
mod quota_store;
mod registry;
mod slot;
#[cfg(test)]
pub(crate) mod testing;

pub use capacity::{AnswerMemory, BodyMemory, Cap, Capacity, Fullness, InFlight, Overloaded};
pub use concurrency::{Concurrency, ConcurrencyRefusal, Permit};
pub use hold::Hold;
pub use key::{KeyHash, MalformedKey, Pepper, PublicId, RawKey};
pub use key_store::{Changed, Changes, KeyStore, StoredKey};
pub use keys::{KeyRefusal, KeySettings, Keys, Proved};
pub use pepper::{PepperProblem, PepperStore};
pub use places::{ConcurrencyStore, PLACE_LIFE, PlaceId, SharedPlaces};
pub use principal::Principal;
pub use quota::{OnStoreOutage, QuotaRefusal, QuotaSettings, RateLimiter};
pub use quota_store::{
    Ask, Grant, LARGEST_LEASE, OpenLease, Posting, PostingId, QuotaStore, Remembered, Settlement, Subject, Word,
    largest_lease, lease_size,
};
pub use registry::{KeyRegistry, KeyRow, KeyState, KeyStatus, NewKey, ShortLived};
