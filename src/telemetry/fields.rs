//! What an access line says, by name. The names are those of the JSON members, which programs read: they are never changed.

/// One bit a field, and what stands before its value in a line that has begun: one piece to copy.
macro_rules! fields {
    ($($(#[$doc:meta])* $field:ident $name:literal,)*) => {
        /// A member of an access line. `at` and `request_id` are none: they stand in every line.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Field {
            $($(#[$doc])* $field,)*
        }

        impl Field {
            pub const ALL: &[Field] = &[$(Field::$field,)*];
            const NAMES: &[&str] = &[$($name,)*];
            const MEMBERS: &[&str] = &[$(concat!(",\"", $name, "\":"),)*];
        }
    };
}

fields! {
    Client "client",
    Method "method",
    Host "host",
    /// Without the query. API keys in it are masked.
    Path "path",
    /// The query's names, each value masked. Not in a line unless asked for.
    Query "query",
    /// Not in a line unless asked for.
    UserAgent "user_agent",
    Status "status",
    Route "route",
    Reason "reason",
    User "user",
    Key "key",
    Stage "stage",
    StageSource "stage_source",
    Model "model",
    Stream "stream",
    BytesIn "bytes_in",
    BytesOut "bytes_out",
    InputTokens "input_tokens",
    CachedInputTokens "cached_input_tokens",
    CacheWriteTokens "cache_write_tokens",
    OutputTokens "output_tokens",
    ReasoningTokens "reasoning_tokens",
    Estimated "estimated",
    CostUsd "cost_usd",
    DurationMs "duration_ms",
    FirstTokenMs "first_token_ms",
    OverheadMs "overhead_ms",
    Attempts "attempts",
}

impl Field {
    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }

    /// `,"name":`
    pub(super) fn member(self) -> &'static str {
        Self::MEMBERS[self as usize]
    }

    const fn bit(self) -> u32 {
        1 << self as u32
    }
}

/// Which fields stand in a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fields(u32);

impl Fields {
    /// All but those that somebody must ask for.
    pub const DEFAULT: Fields = Fields(!(Field::Query.bit() | Field::UserAgent.bit()));

    pub fn of(fields: &[Field]) -> Self {
        Self(fields.iter().fold(0, |bits, field| bits | field.bit()))
    }

    pub const fn has(self, field: Field) -> bool {
        self.0 & field.bit() != 0
    }
}

impl Default for Fields {
    fn default() -> Self {
        Self::DEFAULT
    }
}
