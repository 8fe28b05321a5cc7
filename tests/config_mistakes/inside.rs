//! Mistakes in who may have an account, and in routes to what cfx serves itself.

use super::hold;

#[test]
fn mistakes_in_who_may_have_an_account() {
    for (text, path, part) in [
        ("identity: { registration: ¶invite }", "identity.registration", "did you mean \"invited\"?"),
        ("identity: { session: ¶90d }", "identity.session", "from a minute to 30 days"),
        ("identity: { supabase: { url: ¶abc.supabase.co } }", "identity.supabase.url", "a whole URL"),
        (
            "identity: { supabase: ¶{ jwt_secret: a-secret-of-more-than-thirty-two-letters } }",
            "identity.supabase",
            "no project",
        ),
        (
            "identity: { supabase: { url: \"https://a.supabase.co\", jwt_secret: ¶short } }",
            "identity.supabase.jwt_secret",
            "fewer than 32",
        ),
        ("identity: { supabase: ¶{ anon_key: public } }", "identity.supabase", "a key and no project"),
        (
            "identity: { supabase: { url: \"https://a.supabase.co\", anon_key: ¶\"two words\" } }",
            "identity.supabase.anon_key",
            "no key",
        ),
        (
            "identity: { supabase: ¶{ url: \"http://kong:8000\", anon_key: public } }",
            "identity.supabase",
            "passwords would be shown",
        ),
        ("control: { address: ¶nine }", "control.address", "address"),
    ] {
        let needed = "upstreams: { a: { targets: [\"http://a\"] } }\nroutes: [{ llm: a }]";
        hold("cfx.yaml", &format!("{needed}\n{text}\n"), path, part);
    }
}

#[test]
fn mistakes_in_routes_to_what_cfx_serves_itself() {
    for (text, path, part) in [
        ("[{ llm: a, control: ¶true }]", "routes[0].control", "beside llm"),
        ("[{ match: { path: /api/ }, control: ¶no-word }]", "routes[0].control", "true"),
        ("[¶{ match: { exact: /api }, control: true }]", "routes[0]", "more than one path"),
        ("[¶{ match: { path: /app/ }, dashboard: true }]", "routes[0]", "at / alone"),
        ("[{ dashboard: true, strip_prefix: ¶/a }]", "routes[0].strip_prefix", "is for routes to an upstream"),
    ] {
        let upstreams = "upstreams: { a: { targets: [\"http://a\"] } }";
        hold("cfx.yaml", &format!("{upstreams}\nroutes: {text}\n"), path, part);
    }
}
