//! Which pages of other origins may read a route's answers.

use http::{HeaderName, HeaderValue};

use super::super::problem::Checked;
use super::super::route_guards::Cors;
use super::quantity;
use super::read::{At, all};
use super::routes_match;

const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE";
/// What browsers ask leave for with almost every request that carries JSON and a key.
const HEADERS: &str = "authorization, content-type";

pub(super) fn cors(at: &At) -> Checked<Cors> {
    let fields = at.fields(&["origins", "methods", "headers", "expose", "credentials", "max_age"])?;
    let remedy = "write for example origins: [https://app.example.org]";
    let origins = fields.required("origins", remedy).and_then(|at| origins(&at));
    let credentials = fields.or("credentials", false, |at| at.flag());
    let methods = fields.or("methods", HeaderValue::from_static(METHODS), |at| {
        routes_match::methods(&at).map(|methods| joined(&methods))
    });
    let headers = fields.or("headers", HeaderValue::from_static(HEADERS), |at| names(&at));
    let expose = fields.optional("expose", |at| names(&at));
    let max_age = fields.optional("max_age", |at| {
        at.parsed("a duration", quantity::duration).map(|age| HeaderValue::from(age.as_secs()))
    });
    let (origins, credentials) = (origins?, credentials?);
    let cors = Cors { origins, methods: methods?, headers: headers?, expose: expose?, credentials, max_age: max_age? };
    if credentials && (cors.origins.is_none() || cors.headers == "*") {
        let message = "every page on the internet could act as whoever looks at it";
        return Err(at.problem_with(message, "with credentials, name the origins and the headers"));
    }
    Ok(cors)
}

/// None for all of them.
fn origins(at: &At) -> Checked<Option<Vec<HeaderValue>>> {
    let origins: Vec<HeaderValue> = all(at.items()?.map(|at| at.parsed("an origin", origin)))?;
    if origins.is_empty() {
        return Err(at.problem_with("no origin", "write for example [https://app.example.org], or [\"*\"]"));
    }
    Ok((!origins.iter().any(|origin| origin == "*")).then_some(origins))
}

fn origin(text: &str) -> Result<HeaderValue, String> {
    let wanted = || "an origin such as https://app.example.org, without a path, or \"*\"".to_owned();
    let url = |text: &str| {
        let url: http::Uri = text.parse().ok()?;
        let whole = url.path() == "/" && !text.ends_with('/') && url.query().is_none();
        (url.scheme().is_some() && url.host().is_some() && whole).then_some(())
    };
    match text {
        "*" => Ok(HeaderValue::from_static("*")),
        _ if url(text).is_none() || text.contains('@') => Err(wanted()),
        // As browsers write it.
        text => HeaderValue::try_from(text.to_ascii_lowercase()).map_err(|_| wanted()),
    }
}

fn names(at: &At) -> Checked<HeaderValue> {
    let names = all(at.items()?.map(|at| {
        at.parsed("a header's name", |text| {
            let sound = text == "*" || HeaderName::from_bytes(text.as_bytes()).is_ok();
            if sound { Ok(text.to_ascii_lowercase()) } else { Err("a header's name such as x-version".to_owned()) }
        })
    }))?;
    Ok(joined(&names))
}

fn joined(names: &[String]) -> HeaderValue {
    HeaderValue::try_from(names.join(", ")).unwrap_or_else(|_| HeaderValue::from_static(""))
}
