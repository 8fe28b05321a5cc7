//! What becomes of a web answer's body on its way to the client.

use bytes::Bytes;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora_core::{Error, Result};

use super::compress::Compressor;
use super::edit::{self, Replacement};
use super::exchange::Exchange;
use super::stand_in::StandIn;

pub enum WebBody {
    AsItComes,
    /// A page of the route's, which goes out with the first piece; None once it has.
    Replaced(Option<Bytes>),
    Compressed(Box<Compressor>),
}

impl WebBody {
    /// Edits the head of an answer, and says what that means for its body.
    pub fn of(exchange: &Exchange, request: &RequestHeader, response: &mut ResponseHeader) -> Result<Self> {
        let Some(edits) = exchange.edits().filter(|_| !response.status.is_informational()) else {
            return Ok(Self::AsItComes);
        };
        if let Some(Replacement { body, of_nothing }) = edit::response(edits, response, &request.method)? {
            if of_nothing {
                // pingora would end the answer with its head: it is given up, and written by us.
                let _ = exchange.stand_in.set(StandIn { head: Box::new(response.clone()), body });
                return Error::e_explain(edit::REPLACED, "a page takes its place");
            }
            return Ok(Self::Replaced(Some(body)));
        }
        let Some(compress) = edits.compress else { return Ok(Self::AsItComes) };
        let compressor = Compressor::of(compress, request, response)?;
        Ok(compressor.map_or(Self::AsItComes, |compressor| Self::Compressed(Box::new(compressor))))
    }

    /// One piece as it goes out. The last may be none at all.
    pub fn pass(&mut self, piece: &mut Option<Bytes>, end: bool) -> Result<()> {
        match self {
            Self::AsItComes => {}
            Self::Replaced(page) => *piece = page.take().filter(|page| !page.is_empty()),
            Self::Compressed(compressor) => compressor.pass(piece, end)?,
        }
        Ok(())
    }
}
