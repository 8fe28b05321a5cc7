//! Who is at the door, as the edge in front of this listener says: address, scheme, host.

use std::convert::Infallible;
use std::net::IpAddr;

use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::header::HOST;
use axum::http::request::Parts;

/// Headers that the edge writes, and clients cannot.
const ADDRESS: &str = "x-real-ip";
const SCHEME: &str = "x-forwarded-proto";
const ASKED_HOST: &str = "x-forwarded-host";

/// One request's sender.
#[derive(Debug, Clone)]
pub(super) struct Visitor {
    /// None: nobody says.
    pub address: Option<IpAddr>,
    pub https: bool,
    /// With its port, where it has one; lower case.
    pub host: String,
}

impl<S: Send + Sync> FromRequestParts<S> for Visitor {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::of(&parts.headers))
    }
}

impl Visitor {
    pub fn of(headers: &HeaderMap) -> Self {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
        let host = text(ASKED_HOST).or_else(|| text(HOST.as_str())).unwrap_or_default();
        Self {
            address: text(ADDRESS).and_then(|address| address.parse().ok()),
            https: text(SCHEME).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https")),
            host: host.to_ascii_lowercase(),
        }
    }

    /// Whether what is said here stays on this machine whatever the scheme. The host is the client's own word: an address that
    /// is known and is not this machine's has the last.
    pub fn is_on_loopback(&self) -> bool {
        self.has_loopback_host() && self.address.is_none_or(|address| address.to_canonical().is_loopback())
    }

    fn has_loopback_host(&self) -> bool {
        let name = match self.host.strip_prefix('[') {
            Some(rest) => rest.split(']').next().unwrap_or_default(),
            None => self.host.split(':').next().unwrap_or_default(),
        };
        name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn visitor(headers: &[(&'static str, &str)]) -> Visitor {
        Visitor::of(&headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect())
    }

    #[test]
    fn the_edge_says_who_it_is() {
        let told = visitor(&[
            ("host", "127.0.0.1:4000"),
            ("x-real-ip", "2001:db8::7"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "App.Example.org"),
        ]);
        assert_eq!(told.address, "2001:db8::7".parse().ok());
        assert!(told.https);
        assert_eq!(told.host, "app.example.org");
    }

    #[test]
    fn loopback_is_known_by_its_names() {
        for host in ["localhost", "localhost:8080", "127.0.0.1:8080", "127.8.8.8", "[::1]:8080", "[::1]"] {
            assert!(visitor(&[("host", host)]).is_on_loopback(), "{host}");
        }
        for host in
            ["", "example.org", "localhost.example.org", "127.0.0.1.example.org", "[2001:db8::1]:80", "10.0.0.1"]
        {
            assert!(!visitor(&[("host", host)]).is_on_loopback(), "{host}");
        }
    }

    #[test]
    fn nobody_elsewhere_is_on_this_machine_by_calling_it_localhost() {
        for address in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
            assert!(visitor(&[("host", "localhost"), ("x-real-ip", address)]).is_on_loopback(), "{address}");
        }
        for address in ["192.0.2.1", "10.0.0.7", "2001:db8::1", "::ffff:192.0.2.1"] {
            assert!(!visitor(&[("host", "localhost"), ("x-real-ip", address)]).is_on_loopback(), "{address}");
        }
    }
}
