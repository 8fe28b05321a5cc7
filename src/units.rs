//! The nouns every room shares: identifiers, money, tokens, stages. No logic and no imports from other rooms.

use uuid::Uuid;

/// One request as cfx numbers it (UUIDv7, so that it sorts by time). Sent to the client, to the upstream and into the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(pub Uuid);

/// An account (`auth.users.id` on Supabase, `accounts.id` elsewhere).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UserId(pub Uuid);

/// A row of `api_keys`; never the key itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId(pub Uuid);

/// One edge: what counts and writes from one data folder. A restart on the same folder is the same edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EdgeId(pub Uuid);

/// Requests set aside for one edge. Chosen by the edge, so that it can ask again after a lost answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LeaseId(pub Uuid);

/// A UTC calendar day, counted from 1970-01-01.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Day(pub i32);

/// An instant, in microseconds since the Unix epoch, UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timestamp(pub i64);

/// Money in billionths of a US dollar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, PartialOrd, Ord)]
pub struct NanoUsd(pub i64);

/// Tokens of one answer, as the upstream reported them or as estimated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Prompt tokens in all, the cached and cache-writing ones included.
    pub input: u64,
    /// The part of `input` that was read from the provider's cache.
    pub cached_input: u64,
    /// The part of `input` that was written to the provider's cache.
    pub cache_write: u64,
    /// Completion tokens in all, reasoning included.
    pub output: u64,
    /// The part of `output` spent on reasoning.
    pub reasoning: u64,
}

/// What a request is for. `Direct` names a model itself and carries no stage prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stage {
    Plan,
    Code,
    Review,
    Direct,
}

/// How the stage came to be chosen: the `X-CFX-Stage-Source` header and the ledger's column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StageSource {
    Header,
    Model,
    Inferred,
    Default,
}

/// A store that did not answer, or refused. The text is for the operator's log and never reaches a client.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct StoreError(pub String);

impl Stage {
    pub const ALL: [Stage; 4] = [Stage::Plan, Stage::Code, Stage::Review, Stage::Direct];

    pub fn as_str(self) -> &'static str {
        match self {
            Stage::Plan => "plan",
            Stage::Code => "code",
            Stage::Review => "review",
            Stage::Direct => "direct",
        }
    }

    /// What a client sends as `model` to ask for it, as lists of models have it. The bare name does as well. None: direct mode is
    /// asked for by a model's own name.
    pub fn as_model(self) -> Option<&'static str> {
        match self {
            Stage::Plan => Some("cfx-plan"),
            Stage::Code => Some("cfx-code"),
            Stage::Review => Some("cfx-review"),
            Stage::Direct => None,
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|stage| stage.as_str() == text)
    }
}

impl StageSource {
    pub const ALL: [StageSource; 4] =
        [StageSource::Header, StageSource::Model, StageSource::Inferred, StageSource::Default];

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|source| source.as_str() == text)
    }

    pub fn as_str(self) -> &'static str {
        match self {
            StageSource::Header => "header",
            StageSource::Model => "model",
            StageSource::Inferred => "inferred",
            StageSource::Default => "default",
        }
    }
}
