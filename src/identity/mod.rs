//! Accounts: the people keys belong to, how they sign in, and what may be done with it.
//!
//! Owns: e-mail addresses, accounts and their roles, passwords, sessions, one-time links, which letters labels and addresses
//! may hold, and which addresses of the internet are one household's; the ports to where they are kept.
//! Must not know: HTTP, SQL.
//! Failure stance: every call is somebody's own act and simply fails when the store is away.

mod account;
mod email;
mod letters;
mod link;
mod network;
mod password;
mod session;
mod token;

pub use account::{Account, AccountStore, Change, Role};
pub use email::{Email, NotAnEmail};
pub use letters::{made_visible, unseen};
pub use link::{Link, LinkStore, LinkToken, Purpose};
pub use network::network;
pub use password::{LONGEST_PASSWORD, NotAPassword, Password, PasswordHash, SHORTEST_PASSWORD};
pub use session::{OVERLAP, Renewal, Session, SessionStore, SessionToken, Shown, Signed};
