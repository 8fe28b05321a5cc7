//! Mistakes in what a route asks and changes, and in what goes with which kind of route.

use super::{hold, problems};

#[test]
fn mistakes_in_what_routes_change() {
    for (text, path, part) in [
        ("strip_prefix: ¶/", "strip_prefix", "changes nothing"),
        ("add_prefix: ¶v2", "add_prefix", "begins with /"),
        ("rewrite: { pattern: ¶'(', to: / }", "rewrite.pattern", "no regular expression"),
        ("rewrite: { pattern: '^/(a)', to: ¶'/$2' }", "rewrite.to", "no group $2"),
        ("rewrite: { pattern: '^/(a)', to: ¶'/$1x' }", "rewrite.to", "no group $1x"),
        ("rewrite: { pattern: a, to: ¶'/b?c' }", "rewrite.to", "the query stays"),
        ("rewrite: ¶{ pattern: a }", "rewrite", "\"to\" is missing"),
        ("request_headers: ¶{}", "request_headers", "changes nothing"),
        ("request_headers: { set: { ¶connection: close } }", "request_headers.set.connection", "about one connection"),
        ("request_headers: { set: { ¶X-Forwarded-For: a } }", "request_headers.set.X-Forwarded-For", "cfx's own"),
        ("response_headers: { remove: [¶x-request-id] }", "response_headers.remove[0]", "cfx's own"),
        ("response_headers: { add: { ¶content-length: 1 } }", "response_headers.add.content-length", "one connection"),
        ("errors: { ¶\"200\": good.json }", "errors.200", "no status of an error"),
        ("errors: { \"404\": ¶blank.md }", "errors.404", "ends in .html"),
        ("errors: { \"404\": ¶none.html }", "errors.404", "cannot be read"),
        ("sticky: { cookie: ¶'a b' }", "sticky.cookie", "a cookie's name"),
        ("compress: ¶yes please", "compress", "true or false"),
        ("compress: { ¶level: 3 }", "compress.level", "unknown key"),
    ] {
        let upstreams = "upstreams: { a: { targets: [\"http://a\"] } }";
        hold(
            "cfx.yaml",
            &format!("{upstreams}\nroutes: [{{ upstream: a, {text} }}]\n"),
            &format!("routes[0].{path}"),
            part,
        );
    }
}

#[test]
fn mistakes_in_what_routes_ask() {
    for (text, path, part) in [
        ("allow: ¶[]", "allow", "no address"),
        ("allow: [¶localhost]", "allow[0]", "an address or a network"),
        ("rate_limit: ¶{ per: 1s }", "rate_limit", "\"requests\" is missing"),
        ("rate_limit: { requests: ¶0 }", "rate_limit.requests", "from 1 to"),
        ("in_flight: ¶0", "in_flight", "from 1 to"),
        ("maintenance: { file: ¶none.html }", "maintenance.file", "cannot be read"),
        ("cors: ¶{}", "cors", "\"origins\" is missing"),
        ("cors: { origins: [¶app.test] }", "cors.origins[0]", "an origin such as"),
        ("cors: { origins: [¶\"https://app.test/\"] }", "cors.origins[0]", "without a path"),
        ("cors: ¶{ origins: [\"*\"], credentials: true }", "cors", "every page on the internet"),
        ("basic_auth: ¶{}", "basic_auth", "\"file\" is missing"),
        ("basic_auth: { file: ¶good.json }", "basic_auth.file", "line 1 of \"good.json\" has no password by bcrypt"),
        ("basic_auth: { file: ¶blank.md }", "basic_auth.file", "names nobody"),
        ("forward_auth: { upstream: ¶b }", "forward_auth.upstream", "no upstream \"b\""),
        ("forward_auth: { upstream: a, copy: [¶forwarded] }", "forward_auth.copy[0]", "cfx's own"),
        ("body: ¶0", "body", "more than nothing"),
        ("timeouts: { total: ¶1s }", "timeouts.total", "is for llm routes"),
    ] {
        let upstreams = "upstreams: { a: { targets: [\"http://a\"] } }";
        hold(
            "cfx.yaml",
            &format!("{upstreams}\nroutes: [{{ upstream: a, {text} }}]\n"),
            &format!("routes[0].{path}"),
            part,
        );
    }
}

#[test]
fn routes_to_models_take_nothing_that_could_lead_around_admission() {
    for text in [
        "strip_prefix: ¶/a",
        "add_prefix: ¶/a",
        "rewrite: ¶{ pattern: a, to: b }",
        "request_headers: ¶{ remove: [a] }",
        "response_headers: ¶{ remove: [a] }",
        "errors: ¶{}",
        "sticky: ¶{}",
        "compress: ¶true",
        "basic_auth: ¶{ file: users }",
        "forward_auth: ¶{ upstream: a }",
        "body: ¶1MiB",
        "timeouts: ¶{ connect: 1s }",
    ] {
        let key = text.split(':').next().unwrap();
        let upstreams = "upstreams: { a: { targets: [\"http://a\"] } }";
        let marked = format!("{upstreams}\nroutes: [{{ llm: a, {text} }}]\n");
        let found = problems("cfx.yaml", &marked.replace('¶', ""));
        assert!(found.contains(&format!("routes[0].{key}: is not for llm routes")), "{text}\n{found}");
    }
    let (redirect, respond) = ("redirect: { to: /b }", "respond: { body: b }");
    for (action, text) in [(redirect, "sticky: ¶{}"), (respond, "add_prefix: ¶/a"), (respond, "compress: ¶true")] {
        let key = text.split(':').next().unwrap();
        hold(
            "cfx.yaml",
            &format!("routes: [{{ {action}, {text} }}]\n"),
            &format!("routes[0].{key}"),
            "routes to an upstream",
        );
    }
    for to in ["//evil.test", "/{path}", "{host}", "ftp://a", "https://", "https://{path}", "/{nobody}", "/a\\b"] {
        let text = format!("routes: [{{ redirect: {{ to: ¶'{to}' }} }}]\n");
        hold(
            "cfx.yaml",
            &text,
            "routes[0].redirect.to",
            if to.contains("nobody") { "no braces but" } else { "an address such as" },
        );
    }
}
