//! What `cfx dev` and `cfx run` print when they are ready: where to point a client, with what, and how to try it.

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::Path;

/// What there is to say. Addresses are the ones really bound.
#[derive(Debug, Clone, Copy)]
pub struct Banner<'a> {
    pub version: &'a str,
    pub http: Option<SocketAddr>,
    pub https: Option<SocketAddr>,
    pub admin: SocketAddr,
    /// Where clients are pointed, `http://127.0.0.1:8080/v1`.
    pub api_base: &'a str,
    /// The dashboard in a browser, with a link that signs in once.
    pub page: Option<&'a str>,
    /// The development key; `cfx run` shows none.
    pub key: Option<Key<'a>>,
    /// The model the line to paste asks for: a stage or an alias.
    pub model: &'a str,
    /// No `LITELLM_BASE_URL` is set: the built-in echo model answers.
    pub echo: bool,
    /// Where the models are asked, when it is not the echo model.
    pub upstream: Option<&'a str>,
    /// Which database is used.
    pub store: Option<&'a str>,
    pub data_dir: Option<&'a Path>,
    /// Whether a terminal reads it: colours, or none.
    pub colour: bool,
}

/// A key, shown in full.
#[derive(Debug, Clone, Copy)]
pub struct Key<'a> {
    pub text: &'a str,
    /// Made by this start, and not shown again.
    pub is_new: bool,
    /// Where it is also kept.
    pub file: Option<&'a Path>,
}

/// The banner, its last newline included.
pub fn banner(banner: &Banner<'_>) -> String {
    let paint = Paint { colour: banner.colour };
    let mut text = format!("\n  {} {} is ready\n\n", paint.bold("cfx"), banner.version);
    let mut row = |name: &str, value: String| {
        let _ = writeln!(text, "  {}{value}", paint.dim(&format!("{name:<9}")));
    };
    row("API", paint.bold(banner.api_base));
    if let Some(page) = banner.page {
        row("sign in", page.to_owned());
    }
    if let Some(key) = &banner.key {
        row("key", key_row(key, &paint));
    }
    row("models", models_row(banner, &paint));
    for (name, address) in [("http", banner.http), ("https", banner.https)] {
        if let Some(address) = address {
            row(name, address.to_string());
        }
    }
    row("metrics", format!("http://{}/metrics", banner.admin));
    row("logs", "one line a request on stdout, the rest on stderr (CFX_LOG=debug shows more)".to_owned());
    if let Some(store) = banner.store {
        row("database", store.to_owned());
    }
    if let Some(data_dir) = banner.data_dir {
        row("data", data_dir.display().to_string());
    }
    let key = banner.key.map_or("$CFX_API_KEY", |key| key.text);
    let _ = write!(text, "\n  Try it:\n\n  {}\n\n  Ctrl-C stops it.\n\n", curl(banner.api_base, key, banner.model));
    text
}

/// A request that works when pasted into a shell. `-N` shows the words as they come.
fn curl(api_base: &str, key: &str, model: &str) -> String {
    // Only the development certificate needs it, and only over TLS.
    let insecure = if api_base.starts_with("https://") { "k" } else { "" };
    let model = serde_json::Value::from(model);
    let messages = r#"[{"role":"user","content":"Hello from the command line"}]"#;
    let body = format!(r#"{{"model":{model},"stream":true,"messages":{messages}}}"#);
    format!(
        "curl -{insecure}N {api_base}/chat/completions -H \"Authorization: Bearer {key}\" \
         -H 'Content-Type: application/json' -d '{body}'"
    )
}

fn key_row(key: &Key<'_>, paint: &Paint) -> String {
    let kept = key.file.map(|file| format!("also in {}", file.display()));
    let notes: Vec<String> = key.is_new.then(|| "new".to_owned()).into_iter().chain(kept).collect();
    let notes = if notes.is_empty() { String::new() } else { format!("  ({})", notes.join(", ")) };
    format!("{}{}", paint.bold(key.text), paint.dim(&notes))
}

fn models_row(banner: &Banner<'_>, paint: &Paint) -> String {
    if banner.echo {
        let hint = paint.dim("(no provider is called; set LITELLM_BASE_URL for real ones)");
        return format!("built-in echo model {hint}");
    }
    banner.upstream.unwrap_or("as configured").to_owned()
}

struct Paint {
    colour: bool,
}

impl Paint {
    fn bold(&self, text: &str) -> String {
        self.with("1", text)
    }

    fn dim(&self, text: &str) -> String {
        self.with("2", text)
    }

    fn with(&self, code: &str, text: &str) -> String {
        if self.colour && !text.is_empty() { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_dev() -> Banner<'static> {
        Banner {
            version: "0.1.0",
            http: "127.0.0.1:8080".parse().ok(),
            https: "127.0.0.1:8443".parse().ok(),
            admin: SocketAddr::from(([127, 0, 0, 1], 9090)),
            api_base: "http://127.0.0.1:8080/v1",
            page: Some("http://127.0.0.1:8080/sign-in/link#cfx_link_abc"),
            key: Some(Key { text: "cfx_live_abc", is_new: true, file: Some(Path::new("data/dev-key")) }),
            model: "plan",
            echo: true,
            upstream: None,
            store: Some("SQLite, in data/cfx.db"),
            data_dir: Some(Path::new("data")),
            colour: false,
        }
    }

    #[test]
    fn says_where_with_what_and_how() {
        let text = banner(&of_dev());
        for said in [
            "cfx 0.1.0 is ready",
            "API      http://127.0.0.1:8080/v1\n",
            "sign in  http://127.0.0.1:8080/sign-in/link#cfx_link_abc\n",
            "key      cfx_live_abc  (new, also in data/dev-key)\n",
            "built-in echo model (no provider is called",
            "https    127.0.0.1:8443\n",
            "http://127.0.0.1:9090/metrics",
            "database SQLite, in data/cfx.db\n",
            "data     data\n",
            "Ctrl-C stops it",
        ] {
            assert!(text.contains(said), "no `{said}` in:\n{text}");
        }
        assert!(!text.contains('\x1b'));
    }

    #[test]
    fn the_line_to_paste_is_one_line_of_shell() {
        let text = banner(&of_dev());
        let line = text.lines().find(|line| line.trim_start().starts_with("curl")).unwrap().trim();
        let body = line.split('\'').nth(3).unwrap();
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!((&body["model"], &body["stream"]), (&"plan".into(), &true.into()));
        assert!(line.starts_with(
            "curl -N http://127.0.0.1:8080/v1/chat/completions -H \"Authorization: Bearer cfx_live_abc\""
        ));
        assert!(curl("https://localhost:8443/v1", "k", "plan").starts_with("curl -kN https://"));
    }

    #[test]
    fn run_shows_no_key_and_its_upstream() {
        let run = Banner {
            key: None,
            echo: false,
            upstream: Some("http://litellm:4000"),
            page: None,
            data_dir: None,
            ..of_dev()
        };
        let text = banner(&run);
        assert!(text.contains("models   http://litellm:4000\n") && text.contains("Bearer $CFX_API_KEY"));
        assert!(!text.contains("cfx_live_") && !text.contains("sign in"));
    }

    #[test]
    fn a_terminal_gets_colour() {
        assert!(banner(&Banner { colour: true, ..of_dev() }).contains("\x1b[1mcfx\x1b[0m"));
    }
}
