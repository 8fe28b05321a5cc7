//! How the description of the API is made: from the handlers, completed by what holds for all of them. A release has it
//! ready (`openapi.json`), and none of what makes it.

use serde_json::{Map, Value, json};
use utoipa::OpenApi;

use super::{DOCUMENT, api, routes};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "cfx control API",
        description = "Who signs in, their keys, what they used, what was logged; and what operators see and turn. \
            Sign in for a session: browsers have it as a cookie and send `X-CSRF-Token` (see `GET /api/me`) with whatever \
            changes something; others send its token as `Authorization: Bearer`. API keys are for `/v1` and not for this.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    tags(
        (name = "session", description = "Signing in and out"),
        (name = "keys", description = "API keys for /v1"),
        (name = "usage", description = "What was used"),
        (name = "logs", description = "The requests themselves"),
        (name = "models", description = "What may be asked for"),
        (name = "operator", description = "For the role `operator` alone"),
    ),
    components(schemas(api::Problem, api::ProblemBody)),
)]
struct Head;

/// The document as it is served. Every refusal that an operation can answer besides its own follows from what the
/// operation takes, so that no handler can forget one.
fn complete(described: &utoipa::openapi::OpenApi) -> Value {
    let mut document = serde_json::to_value(described).unwrap();
    document["components"]["securitySchemes"] = json!({
        "bearer": { "type": "http", "scheme": "bearer", "description": "The token of a session, `cfx_session_…`" },
        "cookie": {
            "type": "apiKey", "in": "cookie", "name": "__Host-cfx_session",
            "description": "The same token. Whatever is not GET or HEAD needs the header X-CSRF-Token besides. \
                Over plain http to localhost the cookie's name is `cfx_session`.",
        },
    });
    document["security"] = json!([{ "bearer": [] }, { "cookie": [] }]);
    let Some(paths) = document["paths"].as_object_mut() else { return document };
    for (path, item) in paths {
        let Some(item) = item.as_object_mut() else { continue };
        for (method, operation) in item {
            if let Some(operation) = operation.as_object_mut() {
                complete_operation(path, method, operation);
            }
        }
    }
    document
}

fn complete_operation(path: &str, method: &str, operation: &mut Map<String, Value>) {
    // Handlers of one name stand in several rooms; a method and a path are one operation.
    let words = path.split(['/', '{', '}', '.']).filter(|word| !word.is_empty() && *word != "api");
    let name = words.fold(method.to_owned(), |name, word| name + "_" + word);
    operation.insert("operationId".to_owned(), name.into());
    let is_public = operation.get("security").is_some_and(|security| *security == json!([{}]));
    let takes_body = operation.contains_key("requestBody");
    let takes = |place: &str| {
        let parameters = operation.get("parameters").and_then(Value::as_array);
        parameters.is_some_and(|all| all.iter().any(|one| one["in"] == place))
    };
    let mut also = vec![("400", "Something in it is wrong; `param` says what"), ("503", "Try again in a moment")];
    if !is_public {
        also.push(("401", "Nobody is signed in, or not any more"));
    }
    if method != "get" || path.starts_with("/api/operator/") {
        also.push(("403", "This may not be done, or not from there"));
    }
    if takes("path") {
        also.push(("404", "There is nothing of this id, or it is somebody else's"));
    }
    if path.starts_with("/api/logs") || path.contains("/usage") {
        also.push(("422", "There is too much to look through: narrow the time"));
    }
    if takes_body {
        also.extend([
            ("408", "The body did not come in time"),
            ("413", "The body is larger than 64 KiB"),
            ("415", "The body is not said to be JSON"),
        ]);
    }
    let Some(responses) = operation.get_mut("responses").and_then(Value::as_object_mut) else { return };
    for (status, description) in also {
        responses.entry(status).or_insert(json!({ "description": description }));
    }
    // What comes as a table comes as lines of JSON too, if asked for (`format`).
    if let Some(content) = responses.get_mut("200").and_then(|response| response["content"].as_object_mut())
        && let Some(table) = content.get("text/csv").cloned()
    {
        content.insert("application/jsonl".to_owned(), table);
    }
    let problem = json!({ "application/json": { "schema": { "$ref": "#/components/schemas/Problem" } } });
    for (status, response) in responses {
        if !status.starts_with('2') {
            response["content"] = problem.clone();
        }
        if status == "429" || status == "503" {
            let seconds = json!({ "description": "Seconds to wait", "schema": { "type": "integer", "minimum": 0 } });
            response["headers"] = json!({ "Retry-After": seconds });
        }
    }
}

/// With a line for each operation and each shape, so that a change is seen where it is.
fn laid_out(value: &Value, depth: u32) -> String {
    match value {
        Value::Object(map) if depth > 0 => {
            let line = |(name, value)| format!("{}:{}", Value::from(String::clone(name)), laid_out(value, depth - 1));
            format!("{{\n{}\n}}", map.iter().map(line).collect::<Vec<_>>().join(",\n"))
        }
        other => other.to_string(),
    }
}

#[test]
fn the_document_is_what_the_handlers_say() {
    let document = laid_out(&complete(&routes::described(Head::openapi())), 3) + "\n";
    if std::env::var_os("CFX_ACCEPT").is_some() {
        std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/src/control/openapi.json"), &document).unwrap();
    } else {
        let anew = "`CFX_ACCEPT=1 cargo test --lib control::openapi` writes it anew";
        assert!(document == DOCUMENT, "src/control/openapi.json is not what the handlers say: {anew}");
    }
}

#[test]
fn each_handler_is_served_where_it_says() {
    for (path, method, said) in routes::each() {
        let said = serde_json::to_value(said).unwrap();
        assert_eq!(said.as_object().unwrap().keys().collect::<Vec<_>>(), [path], "{said}");
        assert_eq!(said[path].as_object().unwrap().keys().collect::<Vec<_>>(), [method], "{path}: {said}");
    }
}
