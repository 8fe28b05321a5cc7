//! `GET /api/openapi.json`, and a page to read it: made here from the document, without scripts.

use axum::Router;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::response::IntoResponse;
use axum::routing::get;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::Shared;

/// It is the same until the binary is another.
const A_WHILE: &str = "max-age=300";
const STYLE: &str = include_str!("page.css");

/// Both, made once. The document is JSON by a test.
pub(super) fn routes(text: &'static str) -> Router<Shared> {
    let page = page(&serde_json::from_str(text).unwrap_or_default()).into_string();
    let style = BASE64_STANDARD.encode(Sha256::digest(STYLE));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{style}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    let json = [(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, A_WHILE)];
    let html = [
        (CONTENT_TYPE, "text/html; charset=utf-8".to_owned()),
        (CACHE_CONTROL, A_WHILE.to_owned()),
        (CONTENT_SECURITY_POLICY, policy),
    ];
    Router::new()
        .route("/api/openapi.json", get(move || async move { (json, text).into_response() }))
        .route("/api/docs", get(move || async move { (html, page).into_response() }))
}

fn page(document: &Value) -> Markup {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let info = &document["info"];
    let tags = document["tags"].as_array().map(Vec::as_slice).unwrap_or_default();
    let operations = operations(document);
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (text(&info["title"])) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header {
                    h1 { (text(&info["title"])) }
                    p { (text(&info["description"])) }
                    p { a href="/api/openapi.json" { "OpenAPI " (text(&document["openapi"])) } }
                }
                nav aria-label="Operations" {
                    @for tag in tags {
                        h2 { (text(&tag["name"])) }
                        ul {
                            @for one in operations.iter().filter(|one| one.is_of(&tag["name"])) {
                                li { a href={ "#" (one.anchor()) } { code { (one.name()) } } }
                            }
                        }
                    }
                }
                main {
                    @for tag in tags {
                        h2 { (text(&tag["description"])) }
                        @for one in operations.iter().filter(|one| one.is_of(&tag["name"])) { (one.section()) }
                    }
                    h2 { "Shapes" }
                    @for (name, schema) in document["components"]["schemas"].as_object().into_iter().flatten() {
                        section id={ "schema-" (name) } {
                            h3 { (name) }
                            pre { code { (serde_json::to_string_pretty(schema).unwrap_or_default()) } }
                        }
                    }
                }
            }
        }
    }
}

struct Operation<'a> {
    path: &'a str,
    method: String,
    of: &'a Value,
}

fn operations(document: &Value) -> Vec<Operation<'_>> {
    let paths = document["paths"].as_object().into_iter().flatten();
    let all = paths.flat_map(|(path, item)| {
        let methods = item.as_object().into_iter().flatten();
        methods.map(move |(method, of)| Operation { path, method: method.to_uppercase(), of })
    });
    all.collect()
}

impl Operation<'_> {
    fn is_of(&self, tag: &Value) -> bool {
        self.of["tags"].as_array().is_some_and(|tags| tags.contains(tag))
    }

    fn name(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    fn anchor(&self) -> String {
        self.of["operationId"].as_str().unwrap_or_default().to_owned()
    }

    fn section(&self) -> Markup {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let parameters = self.of["parameters"].as_array().map(Vec::as_slice).unwrap_or_default();
        html! {
            section id=(self.anchor()) {
                h3 { code { (self.name()) } }
                p { strong { (text(&self.of["summary"])) } ". " (text(&self.of["description"])) }
                @if let Some(name) = schema_name(&self.of["requestBody"]["content"]) {
                    p { "Body: " (link(&name)) }
                }
                @if !parameters.is_empty() {
                    div.wide { table {
                        thead { tr { th { "Parameter" } th { "In" } th { "What" } } }
                        tbody { @for one in parameters { tr {
                            td { code { (text(&one["name"])) } }
                            td { (text(&one["in"])) }
                            td { (text(&one["description"])) }
                        } } }
                    } }
                }
                div.wide { table {
                    thead { tr { th { "Status" } th { "When" } th { "Shape" } } }
                    tbody { @for (status, response) in self.of["responses"].as_object().into_iter().flatten() { tr {
                        td { code { (status) } }
                        td { (text(&response["description"])) }
                        td { @if let Some(name) = schema_name(&response["content"]) { (link(&name)) } }
                    } } }
                } }
            }
        }
    }
}

fn link(name: &str) -> Markup {
    html! { a href={ "#schema-" (name) } { (name) } }
}

/// What a body is one of, or a list of.
fn schema_name(content: &Value) -> Option<String> {
    let schema = &content.as_object()?.values().next()?["schema"];
    let reference = schema["$ref"].as_str().or_else(|| schema["items"]["$ref"].as_str())?;
    reference.rsplit('/').next().map(str::to_owned)
}
