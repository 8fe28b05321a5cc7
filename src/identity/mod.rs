//! Accounts: the people keys belong to.
//!
//! Owns: e-mail addresses and the port to where accounts are kept. Must not know: HTTP, SQL.
