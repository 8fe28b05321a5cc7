//! What may stand in a route, beside `schema`.

use serde_json::Value;

use super::schema::{any, flag, list, named, object, size, span, text, timeouts, whole, words};

pub(super) fn route() -> Value {
    let addresses = |what| list(text("An address or a network."), what);
    let page = || text("A file that ends in .html, .json or .txt, of 1 MiB at the most.");
    let rewrite = object(&[
        ("pattern", text("A regular expression that the path is held against.")),
        ("to", text("What stands in its place, with $1 for what its first group took.")),
    ]);
    let redirect = object(&[
        ("to", text("Where to, with {host}, {path} and {query} for those of the request.")),
        ("status", any(&[whole(""), words(&["301", "302", "303", "307", "308"], "")], "Default: 308.")),
    ]);
    let respond = object(&[
        ("status", whole("From 200 to 599. Default: 200.")),
        ("body", text("Its text.")),
        ("file", page()),
        ("content_type", text("Default: text/plain, or what the file's name says.")),
    ]);
    let sticky = object(&[
        ("cookie", text("Its name. Default: cfx_target.")),
        ("max_age", span("How long a browser keeps it. Absent: until it is closed.")),
    ]);
    let compress = object(&[("at_least", size("Smaller answers are left as they are."))]);
    object(&[
        ("name", text("For logs and the label `route`. Default: its path.")),
        ("match", matching()),
        ("client_certificate", words(&["required", "optional"], "Whether only clients that showed one are served.")),
        ("llm", text("The upstream of models: keys, quotas, stages, metering.")),
        ("upstream", text("The upstream of a web application.")),
        ("redirect", redirect),
        ("respond", respond),
        ("control", flag("Whether the control API is served here.")),
        ("dashboard", flag("Whether the built-in dashboard is served here; at / alone.")),
        ("strip_prefix", text("Cut off the path before it goes on.")),
        ("add_prefix", text("Put in front of the path, after all else.")),
        ("rewrite", rewrite),
        ("request_headers", headers("Of what goes to the upstream.")),
        ("response_headers", headers("Of what goes to the client.")),
        ("errors", named(page(), "Pages by status or range of them, such as 500-599.")),
        ("sticky", sticky),
        ("compress", any(&[flag(""), compress], "Whether answers that gain from it are compressed.")),
        ("allow", addresses("Who may come. Absent: everybody.")),
        ("rate_limit", rate()),
        ("in_flight", whole("Requests under way at once, by address.")),
        ("maintenance", maintenance(addresses("Who is served all the same."), page())),
        ("cors", cors()),
        ("basic_auth", basic()),
        ("forward_auth", forward()),
        ("body", size("Of a request.")),
        ("timeouts", timeouts()),
    ])
}

fn matching() -> Value {
    object(&[
        ("host", text("Without a port; *.example.org for all names below one. Absent: any host.")),
        ("path", text("A prefix that ends at a segment: /v1/ matches /v1 and /v1/models, not /v1x. Default: /.")),
        ("exact", text("This path and no other, in the place of `path`.")),
        ("methods", list(text("Such as GET."), "Absent: any.")),
        ("headers", named(any(&[flag(""), text("")], ""), "What each must say, or true: that it is there.")),
    ])
}

fn headers(what: &str) -> Value {
    let lines = |what| named(text(""), what);
    let mut edits = object(&[
        ("set", lines("In the place of what there is.")),
        ("add", lines("Beside what there is.")),
        ("remove", list(text("A header's name."), "Taken away first.")),
    ]);
    edits["description"] = what.into();
    edits
}

fn rate() -> Value {
    object(&[
        ("requests", whole("By address.")),
        ("per", span("Default: 1s.")),
        ("burst", whole("At once. Default: as many as `requests`.")),
    ])
}

fn maintenance(except: Value, page: Value) -> Value {
    object(&[("file", page), ("retry_after", span("What clients are told to wait.")), ("except", except)])
}

fn cors() -> Value {
    object(&[
        ("origins", list(text("An origin such as https://app.example.org, or *."), "")),
        ("methods", list(text("Such as GET."), "")),
        ("headers", list(text("A header's name."), "What pages may send.")),
        ("expose", list(text("A header's name."), "What pages may read.")),
        ("credentials", flag("Whether cookies go along.")),
        ("max_age", span("How long a browser may remember.")),
    ])
}

fn basic() -> Value {
    object(&[
        ("file", text("Lines as htpasswd -B writes them.")),
        ("realm", text("What a browser shows.")),
        ("user_header", text("The header that tells the upstream the user's name.")),
    ])
}

fn forward() -> Value {
    object(&[
        ("upstream", text("Who is asked about every request.")),
        ("path", text("What is asked for. Default: /.")),
        ("timeout", span("Of the whole question.")),
        ("copy", list(text("A header's name."), "Headers of a 2xx that the request goes on with.")),
    ])
}
