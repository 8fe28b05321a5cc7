//! Rows as RFC 4180 has them, made safe for the programs that open such files.

use super::super::api::LogEntry;

pub(super) const HEAD: &str = "request_id,created_at,key_id,session_id,stage,stage_source,model,stream,body_bytes,status,\
    http_status,input_tokens,cached_input_tokens,cache_write_tokens,output_tokens,reasoning_tokens,total_tokens,estimated,\
    cost_usd,latency_ms,first_token_ms,attempts,error\r\n";

pub(super) fn line(entry: &LogEntry) -> String {
    let LogEntry {
        request_id,
        created_at,
        key_id,
        session_id,
        stage,
        stage_source,
        model,
        stream,
        body_bytes,
        status,
        http_status,
        input_tokens,
        cached_input_tokens,
        cache_write_tokens,
        output_tokens,
        reasoning_tokens,
        total_tokens,
        estimated,
        cost_usd,
        latency_ms,
        first_token_ms,
        attempts,
        error,
    } = entry;
    let count = |count: &Option<u64>| count.map(|count| count.to_string()).unwrap_or_default();
    let text = |text: &Option<String>| text.as_deref().map(cell).unwrap_or_default();
    [
        request_id.to_string(),
        created_at.clone(),
        key_id.to_string(),
        text(session_id),
        text(stage),
        text(stage_source),
        text(model),
        stream.to_string(),
        body_bytes.to_string(),
        status.clone(),
        http_status.to_string(),
        count(input_tokens),
        count(cached_input_tokens),
        count(cache_write_tokens),
        count(output_tokens),
        count(reasoning_tokens),
        count(total_tokens),
        estimated.to_string(),
        format!("{cost_usd:.9}"),
        latency_ms.to_string(),
        count(first_token_ms),
        attempts.to_string(),
        text(error),
    ]
    .join(",")
        + "\r\n"
}

/// What spreadsheets take for the beginning of a formula (OWASP, CSV Injection), the wide forms of East Asian keyboards among
/// it.
const FORMULAS: [char; 11] = ['=', '+', '-', '@', '\t', '\r', '\n', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}'];

/// A text of somebody's. What a spreadsheet would take for a formula gets an apostrophe before it: also behind what it may take
/// for the end of a cell. Where its list separator is `;` or a tab, as in much of Europe, commas part nothing, and quotes behind
/// them hold nothing together.
fn cell(text: &str) -> String {
    let mut safe = String::with_capacity(text.len() + 1);
    let mut begins = true;
    for letter in text.chars() {
        if begins && FORMULAS.contains(&letter) {
            safe.push('\'');
        }
        safe.push(letter);
        begins = match letter {
            ';' | '\t' | '\r' | '\n' => true,
            ' ' | '"' => begins,
            _ => false,
        };
    }
    if safe.contains(['"', ',', '\r', '\n']) { format!("\"{}\"", safe.replace('"', "\"\"")) } else { safe }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_texts_to_every_program() {
        assert_eq!(cell("plain"), "plain");
        assert_eq!(cell("a,b"), "\"a,b\"");
        assert_eq!(cell("a \"b\"\n"), "\"a \"\"b\"\"\n\"");
        assert_eq!(
            cell("=HYPERLINK(\"http://evil.example\",\"x\")"),
            "\"'=HYPERLINK(\"\"http://evil.example\"\",\"\"x\"\")\""
        );
        for formula in ["+1", "-1", "@sum", "\u{ff1d}1"] {
            assert_eq!(cell(formula), format!("'{formula}"));
        }
        for (text, safe) in [
            (";=cmd|'/C calc'!A0;x", ";'=cmd|'/C calc'!A0;x"),
            ("a; =1", "a; '=1"),
            ("a;b=1;-2", "a;b=1;'-2"),
            ("\t=1", "'\t'=1"),
            ("a\t@b", "a\t'@b"),
            ("a;\"=1\"", "\"a;\"\"'=1\"\"\""),
            ("a\r\n=1", "\"a\r'\n'=1\""),
            ("2026-01-31;a-b", "2026-01-31;a-b"),
        ] {
            assert_eq!(cell(text), safe, "{text:?}");
        }
    }
}
