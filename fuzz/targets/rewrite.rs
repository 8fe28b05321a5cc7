//! A body, behind a byte that chooses its endpoint and stage. What is sent upstream is JSON where what came was, names
//! the stage's model, and is as long as it says.

use bytes::Bytes;
use cfx::llm::{Endpoint, KeyScope, Request, choose, rewrite};
use serde::Deserialize;
use serde_json::Value;

use super::SHIPPED;

pub fn target(bytes: &[u8]) {
    let Some((how, body)) = bytes.split_first() else { return };
    let endpoint = Endpoint::ALL[usize::from(how & 7) % Endpoint::ALL.len()];
    let header = [None, Some("plan"), Some("code"), Some("review")][usize::from(how >> 3 & 3)];
    let body = Bytes::copy_from_slice(body);
    let Ok(request) = Request::parse(endpoint, body.clone()) else { return };
    assert_eq!(request.body(), &body);
    let _ = (request.model(), request.last_user_text(), request.thinking_budget(), request.text_bytes());
    let Ok(choice) = choose(&SHIPPED.models, &request, header, KeyScope::default()) else { return };
    let sent = rewrite(&request, &choice, &choice.model);
    let text = Bytes::from(sent.segments.concat());
    assert_eq!(text.len(), sent.len);
    assert!(Request::parse(endpoint, text.clone()).is_ok(), "cfx would not take what it sends");
    match serde_json::from_slice::<Sent>(&text) {
        Ok(sent) => assert_eq!(sent.model, *choice.model.upstream_model, "{}", text.escape_ascii()),
        // Where the other parser stops at its own limits (depth, an exponent, half a surrogate), it must do so on both sides.
        Err(error) => assert!(
            serde_json::from_slice::<Value>(&body).is_err(),
            "what came was JSON, what is sent is not ({error}): {}",
            text.escape_ascii()
        ),
    }
}

/// The other parser's view of what is sent: whole, with one model.
#[derive(Deserialize)]
struct Sent {
    model: String,
}
