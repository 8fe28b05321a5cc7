//! `identity` in `cfx.yaml`.

use std::net::IpAddr;
use std::time::Duration;

use http::Uri;

use super::super::identity::{Identity, Registration, Supabase};
use super::super::problem::Checked;
use super::super::snapshot::Secret;
use super::quantity;
use super::read::At;

/// A session that never ends is one that a thief keeps.
const LONGEST: Duration = Duration::from_secs(30 * 24 * 3600);
const SHORTEST: Duration = Duration::from_secs(60);
/// Of what HS256 is keyed with (RFC 7518 §3.2).
const SHORTEST_SECRET: usize = 32;
const AUDIENCE: &str = "authenticated";

pub(super) fn identity(at: &At) -> Checked<Identity> {
    let fields = at.fields(&["registration", "session", "supabase"])?;
    let defaults = Identity::default();
    let registration = fields.or("registration", defaults.registration, |at| {
        let words =
            [("closed", Registration::Closed), ("invited", Registration::Invited), ("open", Registration::Open)];
        at.one_of("word for who may register", &words)
    });
    let session = fields.or("session", defaults.session, |at| {
        let session = at.parsed("a duration", quantity::duration)?;
        if (SHORTEST..=LONGEST).contains(&session) {
            Ok(session)
        } else {
            Err(at.problem_with("a session lasts from a minute to 30 days", "leave it out: 12h"))
        }
    });
    let supabase = fields.or("supabase", None, |at| supabase(&at));
    Ok(Identity { registration: registration?, session: session?, supabase: supabase? })
}

/// None where no project is named, so that the section may stand there with empty variables.
fn supabase(at: &At) -> Checked<Option<Supabase>> {
    let fields = at.fields(&["url", "jwt_secret", "anon_key", "audience"])?;
    let url = fields.optional("url", |at| {
        at.parsed("the URL of a Supabase project, such as https://abc.supabase.co", |text| {
            let complete = |uri: &Uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some();
            match text.parse::<Uri>() {
                Ok(uri) if complete(&uri) && uri.query().is_none() => Ok(text.trim_end_matches('/').to_owned()),
                _ => Err("a whole URL of http or https, such as https://abc.supabase.co".to_owned()),
            }
        })
    });
    let jwt_secret = fields.optional("jwt_secret", |at| {
        let text = at.text()?;
        if text.len() < SHORTEST_SECRET {
            let message = format!("has fewer than {SHORTEST_SECRET} characters, and can be found by trying");
            return Err(
                at.problem_with(message, "copy the whole of it, or leave it out to use the project's public keys")
            );
        }
        Ok(Secret::new(text.to_owned()))
    });
    let anon_key = fields.optional("anon_key", |at| {
        let text = at.text()?;
        if text.bytes().all(|byte| byte.is_ascii_graphic()) {
            Ok(Secret::new(text.to_owned()))
        } else {
            Err(at
                .problem_with("is no key: it has a blank, or a letter that is none of ASCII's", "copy the whole of it"))
        }
    });
    let audience = fields.or("audience", AUDIENCE.to_owned(), |at| at.text().map(str::to_owned));
    let (url, jwt_secret, anon_key, audience) = (url?, jwt_secret?, anon_key?, audience?);
    let no_project = |what: &str| fields.at().problem_with(what.to_owned(), "add url: https://abc.supabase.co");
    match (url, &jwt_secret, &anon_key) {
        (Some(url), _, Some(_)) if is_read_on_its_way(&url) => Err(fields.at().problem_with(
            "a key, and a URL of http on another machine: passwords would be shown to whoever is on the way",
            "give its URL of https, or leave anon_key out",
        )),
        (Some(url), ..) => Ok(Some(Supabase { url, jwt_secret, anon_key, audience })),
        (None, Some(_), _) => Err(no_project("a secret and no project")),
        (None, None, Some(_)) => Err(no_project("a key and no project")),
        (None, None, None) => Ok(None),
    }
}

/// Supabase's own stack on a developer's machine has no TLS; nothing else may do without.
fn is_read_on_its_way(url: &str) -> bool {
    let uri = url.parse::<Uri>().unwrap_or_default();
    let host = uri.host().unwrap_or_default();
    let is_here = host == "localhost"
        || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    uri.scheme_str() != Some("https") && !is_here
}
