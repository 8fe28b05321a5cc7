//! The POST routes under `/v1` that are relayed, and the dialect each speaks.

/// A relayed route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Endpoint {
    ChatCompletions,
    Completions,
    Embeddings,
    Responses,
    Messages,
    /// Anthropic's token count: a messages body without an answer.
    CountTokens,
}

/// The shape of a request, of its stream and of its usage object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dialect {
    Chat,
    Completions,
    Embeddings,
    Responses,
    Messages,
}

impl Endpoint {
    pub const ALL: [Endpoint; 6] = [
        Endpoint::ChatCompletions,
        Endpoint::Completions,
        Endpoint::Embeddings,
        Endpoint::Responses,
        Endpoint::Messages,
        Endpoint::CountTokens,
    ];

    /// The route of an exact path, without query.
    pub fn from_path(path: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|endpoint| endpoint.path() == path)
    }

    /// The path it has here and upstream.
    pub fn path(self) -> &'static str {
        match self {
            Endpoint::ChatCompletions => "/v1/chat/completions",
            Endpoint::Completions => "/v1/completions",
            Endpoint::Embeddings => "/v1/embeddings",
            Endpoint::Responses => "/v1/responses",
            Endpoint::Messages => "/v1/messages",
            Endpoint::CountTokens => "/v1/messages/count_tokens",
        }
    }

    pub fn dialect(self) -> Dialect {
        match self {
            Endpoint::ChatCompletions => Dialect::Chat,
            Endpoint::Completions => Dialect::Completions,
            Endpoint::Embeddings => Dialect::Embeddings,
            Endpoint::Responses => Dialect::Responses,
            Endpoint::Messages | Endpoint::CountTokens => Dialect::Messages,
        }
    }

    /// Whether a request counts against the daily quota. Counting tokens produces no answer, so it does not.
    pub fn is_metered(self) -> bool {
        self != Endpoint::CountTokens
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_leads_back_to_its_endpoint() {
        for endpoint in Endpoint::ALL {
            assert_eq!(Endpoint::from_path(endpoint.path()), Some(endpoint));
        }
        for unknown in ["/v1/chat/completions/", "/v1/models", "/chat/completions", ""] {
            assert_eq!(Endpoint::from_path(unknown), None);
        }
        assert!(!Endpoint::CountTokens.is_metered() && Endpoint::Messages.is_metered());
    }
}
