//! The page at `/` of `cfx dev`: what this is and how to connect. One document that fetches nothing and runs no script.

use std::fmt::Write;

/// What the page shows. Every text is escaped.
#[derive(Debug, Clone)]
pub struct Welcome {
    /// Where clients are pointed, `http://127.0.0.1:8080/v1`.
    pub api_base: String,
    /// The models that may be named, by alias.
    pub aliases: Vec<String>,
    /// Requests of this UTC day. None: not known.
    pub today: Option<u64>,
    /// Requests the shown user may make a day.
    pub limit: u32,
    /// The admin listener's address, `127.0.0.1:9090`.
    pub admin: String,
    pub version: &'static str,
}

/// The `Content-Security-Policy` to send with the page: its one style sheet, and nothing else from anywhere.
pub const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; style-src \
    'sha256-a+7+XbeH6yOC8CSfIfRgK76fCYjpjQ79w0asGkXpH0Y='; img-src data:; base-uri 'none'; \
    form-action 'none'; frame-ancestors 'none'";

/// The whole page, HTML.
pub fn page(view: &Welcome) -> String {
    let api_base = escaped(&view.api_base);
    let version = escaped(view.version);
    format!(
        r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="dark">
<title>cfx is running</title>
<link rel="icon" href="data:,">
<style>{STYLE}</style>
</head>
<body>
<main>
<header>
<p class="status">running</p>
<h1>cfx</h1>
<p>The edge of your AI coding platform. Coding agents and SDKs point at one address with one key; cfx checks the key and
the daily quota, chooses a model by stage, streams the answer and keeps the account.</p>
</header>
{today}
<section aria-labelledby="connect">
<h2 id="connect">Connect</h2>
<dl>
<dt>Base URL</dt><dd><code>{api_base}</code></dd>
<dt>API key</dt><dd>the one <code>cfx dev</code> printed when it was first started, kept in <code>dev-key</code> in its
data directory</dd>
<dt>Model</dt><dd><code>plan</code>, <code>code</code> or <code>review</code> for a stage{aliases}</dd>
</dl>
{recipes}
</section>
<footer>
<p>cfx {version} · <a href="/health">health</a> · metrics at <code>http://{admin}/metrics</code></p>
</footer>
</main>
</body>
</html>
"#,
        today = today(view),
        aliases = aliases(&view.aliases),
        recipes = recipes(&api_base),
        admin = escaped(&view.admin),
    )
}

fn today(view: &Welcome) -> String {
    let Some(today) = view.today else { return String::new() };
    let limit = view.limit;
    let noun = if today == 1 { "request" } else { "requests" };
    format!(
        r#"<section aria-labelledby="today">
<h2 id="today">Today</h2>
<p class="count"><strong>{today}</strong> {noun} · the limit is {limit} a day · quotas reset at 00:00 UTC</p>
<progress aria-labelledby="today" max="{most}" value="{shown}">{today} of {limit}</progress>
</section>"#,
        most = limit.max(1),
        shown = today.min(limit.into()),
    )
}

fn aliases(aliases: &[String]) -> String {
    let mut text = String::new();
    for alias in aliases {
        let _ = write!(
            text,
            "{} <code>{}</code>",
            if text.is_empty() { "; listed for agents as" } else { "," },
            escaped(alias)
        );
    }
    text
}

fn recipes(api_base: &str) -> String {
    let mut text = String::new();
    recipe(
        &mut text,
        "curl",
        &format!(
            r#"curl -N {api_base}/chat/completions \
  -H "Authorization: Bearer $CFX_API_KEY" \
  -H "Content-Type: application/json" \
  -d '{{"model": "plan", "stream": true,
       "messages": [{{"role": "user", "content": "Hello"}}]}}'"#
        ),
    );
    recipe(
        &mut text,
        "OpenAI SDK (Python)",
        &format!(
            r#"from openai import OpenAI

client = OpenAI(base_url="{api_base}", api_key="cfx_live_…")
stream = client.chat.completions.create(
    model="code",
    messages=[{{"role": "user", "content": "Hello"}}],
    stream=True,
)
for chunk in stream:
    print(chunk.choices[0].delta.content or "", end="", flush=True)"#
        ),
    );
    recipe(
        &mut text,
        "Roo Code",
        &format!(
            "Settings → Providers\nAPI Provider   OpenAI Compatible\nBase URL       {api_base}\nAPI Key        cfx_live_…\n\
             Model          plan for Architect, code for Code, one profile a mode"
        ),
    );
    recipe(
        &mut text,
        "Cline",
        &format!(
            "Settings → API Configuration\nAPI Provider   OpenAI Compatible\nBase URL       {api_base}\n\
             API Key        cfx_live_…\nModel ID       plan in Plan mode, code in Act mode"
        ),
    );
    text
}

/// A block that scrolls sideways where it is narrow, and can be reached by keyboard to do so. `lines` is escaped.
fn recipe(out: &mut String, name: &str, lines: &str) {
    let _ = writeln!(out, "<h3>{name}</h3>");
    let _ = writeln!(out, r#"<pre tabindex="0" role="region" aria-label="{name}"><code>{lines}</code></pre>"#);
}

/// Fit for element content and for quoted attribute values.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

/// Colours reach 7:1 against their ground (WCAG AAA).
const STYLE: &str = "
:root { color-scheme: dark; --ground: #0b0f14; --panel: #121821; --line: #263241; --text: #e3e9f0; --soft: #a9b6c5;
  --accent: #6ee7b7; }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--text); font: 16px/1.6 system-ui, sans-serif; }
main { max-width: 50rem; margin: 0 auto; padding: 3.5rem 1.25rem 2rem; }
h1 { margin: 0 0 .5rem; font-size: 2.75rem; line-height: 1.1; letter-spacing: -.03em; }
h2 { margin: 0 0 .75rem; font-size: 1.15rem; }
h3 { margin: 1.5rem 0 .4rem; font-size: .95rem; color: var(--soft); font-weight: 600; }
header p { margin: 0; color: var(--soft); }
header .status { display: inline-block; margin-bottom: 1rem; padding: .1rem .7rem; border: 1px solid var(--accent);
  border-radius: 1rem; color: var(--accent); font-size: .85rem; }
section { margin-top: 2rem; padding: 1.5rem; background: var(--panel); border: 1px solid var(--line);
  border-radius: .75rem; }
.count { margin: 0 0 .75rem; color: var(--soft); }
.count strong { color: var(--text); font-size: 1.75rem; }
progress { display: block; width: 100%; height: .5rem; accent-color: var(--accent); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .4rem 1.25rem; margin: 0; }
dt { color: var(--soft); }
dd { margin: 0; overflow-wrap: anywhere; }
code { font: .9em ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; color: var(--accent); }
pre { margin: 0; padding: .9rem 1rem; overflow-x: auto; scrollbar-width: thin; scrollbar-color: var(--line) transparent;
  background: var(--ground); border: 1px solid var(--line);
  border-radius: .5rem; line-height: 1.5; }
pre code { color: var(--text); }
a { color: var(--accent); }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
footer { margin-top: 2rem; color: var(--soft); font-size: .9rem; }
@media (max-width: 34rem) { dl { grid-template-columns: 1fr; gap: 0; } dd { margin-bottom: .6rem; } }
";

#[cfg(test)]
mod tests {
    use base64::Engine;
    use sha2::{Digest, Sha256};

    use super::*;

    fn view() -> Welcome {
        Welcome {
            api_base: "http://127.0.0.1:8080/v1".into(),
            aliases: vec!["deepseek".into(), "gpt-mini".into()],
            today: Some(42),
            limit: 1_000,
            admin: "127.0.0.1:9090".into(),
            version: "0.1.0",
        }
    }

    #[test]
    fn says_how_to_connect_and_what_was_used_today() {
        let page = page(&view());
        for said in [
            "curl -N http://127.0.0.1:8080/v1/chat/completions",
            r#"base_url="http://127.0.0.1:8080/v1""#,
            "Roo Code",
            "Cline",
            "<code>deepseek</code>, <code>gpt-mini</code>",
            "<strong>42</strong> requests",
            r#"max="1000" value="42""#,
            "http://127.0.0.1:9090/metrics",
            "cfx 0.1.0",
        ] {
            assert!(page.contains(said), "no `{said}` in:\n{page}");
        }
    }

    #[test]
    fn one_request_is_one() {
        assert!(page(&Welcome { today: Some(1), ..view() }).contains("<strong>1</strong> request ·"));
        assert!(page(&Welcome { today: Some(0), ..view() }).contains("<strong>0</strong> requests ·"));
    }

    #[test]
    fn what_is_not_known_is_not_shown() {
        let page = page(&Welcome { today: None, aliases: Vec::new(), ..view() });
        assert!(!page.contains("Today") && !page.contains("listed for agents"));
    }

    #[test]
    fn a_count_past_the_limit_fills_the_bar() {
        assert!(page(&Welcome { today: Some(2_000), ..view() }).contains(r#"value="1000""#));
        assert!(page(&Welcome { limit: 0, ..view() }).contains(r#"max="1" value="0""#));
    }

    #[test]
    fn every_value_is_escaped() {
        let hostile = r#""><script>alert('1')</script>&"#;
        let view = Welcome {
            api_base: hostile.into(),
            aliases: vec![hostile.into()],
            admin: hostile.into(),
            version: r#""><script>alert('1')</script>&"#,
            ..view()
        };
        let page = page(&view);
        assert!(!page.contains("<script") && !page.contains("alert('1')"));
        assert!(page.contains("&quot;&gt;&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;&amp;"));
    }

    #[test]
    fn the_policy_allows_the_style_sheet_and_the_page_needs_no_more() {
        let hash = base64::engine::general_purpose::STANDARD.encode(Sha256::digest(STYLE));
        assert!(CONTENT_SECURITY_POLICY.contains(&format!("'sha256-{hash}'")), "the style sheet's hash is {hash}");
        let page = page(&view());
        assert!(!page.contains("style=") && !page.contains("<script") && !page.contains("src="));
        assert_eq!(page.matches("<style>").count(), 1);
    }
}
