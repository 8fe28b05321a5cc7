//! Every operation that the description has, so that a new one is asked for too.

use hyper::Method;
use serde_json::{Value, json};

use crate::harness::{Asking, Harness};

pub struct Operation {
    pub name: String,
    pub method: Method,
    pub path: String,
    pub public: bool,
    pub responses: Vec<u16>,
}

pub async fn operations(harness: &Harness) -> Vec<Operation> {
    let document = harness.get("/api/openapi.json").send().await.ok(200);
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, of) in item.as_object().unwrap() {
            let method: Method = method.to_uppercase().parse().unwrap();
            let responses = of["responses"].as_object().unwrap().keys();
            found.push(Operation {
                name: format!("{method} {path}"),
                method,
                path: path.clone(),
                public: of["security"] == json!([{}]),
                responses: responses.map(|status| status.parse().unwrap()).collect(),
            });
        }
    }
    assert!(found.len() > 25, "{}", found.len());
    found
}

/// With an id that is somebody's, and a body where one could be.
pub fn asked<'a>(harness: &'a Harness, operation: &Operation, id: &str) -> Asking<'a> {
    let path = operation.path.replace("{id}", id).replace("{request_id}", id);
    let asking = harness.ask(operation.method.clone(), &path);
    if operation.method == Method::GET { asking } else { asking.json(&body(&operation.name)) }
}

/// One that would be taken.
fn body(operation: &str) -> Value {
    match operation {
        "POST /api/keys" | "PATCH /api/keys/{id}" => json!({ "label": "a" }),
        "PUT /api/me/password" => json!({ "new": "a new password" }),
        "POST /api/operator/users" => json!({ "email": "new@example.org" }),
        _ => json!({}),
    }
}
