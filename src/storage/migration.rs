//! What the migrations of every database have in common: numbered files, each applied once, in order.

/// One file of `migrations/`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Migration {
    /// The number its file's name begins with. They ascend; what is recorded in a database is this.
    pub version: u32,
    pub name: &'static str,
    pub(super) sql: &'static str,
}

/// A migration this program knows, and whether the database has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    pub migration: Migration,
    /// RFC 3339; none: not applied yet.
    pub applied_at: Option<String>,
}

/// The database was brought further than this program knows: to write into it could break what the newer one relies on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the database is at schema version {found}, this cfx knows versions up to {known}: run a newer cfx, or restore \
     the copy made before the upgrade"
)]
pub struct Newer {
    pub found: u32,
    pub known: u32,
}
