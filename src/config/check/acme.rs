//! `tls.acme`: one CA, or a list of them.

use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::super::problem::Checked;
use super::super::snapshot::Secret;
use super::super::source::Source;
use super::super::tls::{Challenge, ExternalAccount, Issuer};
use super::read::{At, all};

/// By the names that `directory` may give in place of a URL.
const KNOWN: [(&str, &str); 4] = [
    ("letsencrypt", "https://acme-v02.api.letsencrypt.org/directory"),
    ("letsencrypt-staging", "https://acme-staging-v02.api.letsencrypt.org/directory"),
    ("zerossl", "https://acme.zerossl.com/v2/DV90"),
    ("google", "https://dv.acme-v02.api.pki.goog/directory"),
];

const CHALLENGES: [(&str, Challenge); 2] = [("http-01", Challenge::Http01), ("tls-alpn-01", Challenge::TlsAlpn01)];

pub(super) fn issuers(at: &At, source: &Source) -> Checked<Vec<Issuer>> {
    let sections: Vec<At> = if at.is_list() { at.items()?.collect() } else { vec![at.clone()] };
    let issuers = all(sections.iter().map(|section| issuer(section, source)));
    refuse_shared_domains(&sections)?;
    issuers
}

fn issuer(at: &At, source: &Source) -> Checked<Issuer> {
    let fields = at.fields(&["email", "domains", "challenge", "directory", "eab", "ca"])?;
    let email = fields.optional("email", |at| at.parsed("an e-mail address", email));
    let domains = fields.required("domains", "write for example domains: [example.org]").and_then(|at| {
        match all(at.items()?.map(|item| item.parsed("a domain name", domain)))? {
            none if none.is_empty() => Err(at.problem_with("no domain", "write for example domains: [example.org]")),
            domains => Ok(domains),
        }
    });
    let challenge = fields.or("challenge", Challenge::default(), |at| at.one_of("challenge", &CHALLENGES));
    let letsencrypt = KNOWN[0].1.to_owned();
    let directory = fields.or("directory", letsencrypt, |at| at.parsed("the URL of a CA's directory", directory));
    let external_account = fields.optional("eab", |at| external_account(&at));
    let trust = fields.optional("ca", |at| {
        let path = source.beside_directory(at.text()?);
        super::tls::chain(&at, &path).map(|_| path)
    });
    Ok(Issuer {
        directory: directory?,
        email: email?,
        domains: domains?,
        challenge: challenge?,
        external_account: external_account?,
        trust: trust?,
    })
}

fn external_account(at: &At) -> Checked<ExternalAccount> {
    let fields = at.fields(&["key_id", "hmac_key"])?;
    let key_id = fields.required("key_id", "the CA names it").and_then(|at| at.text().map(str::to_owned));
    let hmac_key = fields.required("hmac_key", "the CA names it").and_then(|at| {
        at.parsed("a key in base64url, as the CA gave it", |text| {
            match URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')) {
                Ok(key) if !key.is_empty() => Ok(Secret::new(text.trim_end_matches('=').to_owned())),
                _ => Err("a key in base64url, as the CA gave it".to_owned()),
            }
        })
    });
    Ok(ExternalAccount { key_id: key_id?, hmac_key: hmac_key? })
}

fn email(text: &str) -> Result<String, String> {
    let sound = text.split_once('@').is_some_and(|(who, place)| !who.is_empty() && place.contains('.'));
    let plain = text.chars().all(|c| c.is_ascii_graphic() && !"<>,?".contains(c));
    if sound && plain { Ok(text.to_owned()) } else { Err("an e-mail address such as ops@example.org".to_owned()) }
}

fn directory(text: &str) -> Result<String, String> {
    let known = KNOWN.iter().find(|(name, _)| *name == text).map(|(_, url)| (*url).to_owned());
    let names = || KNOWN.map(|(name, _)| name).join(", ");
    let is_url = text.parse::<http::Uri>().is_ok_and(|url| url.scheme_str() == Some("https") && url.host().is_some());
    match known {
        Some(url) => Ok(url),
        None if is_url => Ok(text.to_owned()),
        None => Err(format!("an https URL, or one of {names}", names = names())),
    }
}

/// A name that a CA can reach: neither challenge is for wildcards, and addresses take certificates of another kind.
fn domain(text: &str) -> Result<String, String> {
    if text.starts_with("*.") {
        return Err(
            "a name without wildcard: those are issued by DNS challenges only, which cfx does not answer".to_owned()
        );
    }
    let label = |label: &str| {
        let letters = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        (1..=63).contains(&label.len()) && letters && !label.starts_with('-') && !label.ends_with('-')
    };
    let labels = text.split('.').count() > 1 && text.split('.').all(label);
    let address = text.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
    if labels && !address && text.len() <= 253 {
        Ok(text.to_ascii_lowercase())
    } else {
        Err("a domain name such as example.org".to_owned())
    }
}

/// Two CAs would take turns in replacing each other's certificate.
fn refuse_shared_domains(sections: &[At]) -> Checked<()> {
    let mut first: HashMap<String, String> = HashMap::new();
    let places =
        sections.iter().filter_map(|section| section.child("domains").filter(At::is_list)?.items().ok()).flatten();
    let checks = places.map(|at| {
        let Some(name) = at.peek().map(str::to_ascii_lowercase) else { return Ok(()) };
        match first.get(&name) {
            Some(other) => Err(at.problem_with(format!("{} is ordered at {other} already", at.quoted()), "remove one")),
            None => {
                first.insert(name, at.path().to_owned());
                Ok(())
            }
        }
    });
    all(checks).map(drop)
}
