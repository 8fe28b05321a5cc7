//! Just enough of Rust's grammar to see which names a file uses, and where.

/// A room that code names, and the line it does so on.
pub struct Import {
    pub room: String,
    pub line: usize,
}

/// The first segment behind every `crate::`, and behind every chain of `super::` that leaves the room.
pub fn imports(code: &str, depth: usize, rooms: &[(&str, &[&str])]) -> Vec<Import> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        if !code[..at].ends_with(is_word) {
            heads(code, at + "crate::".len(), &mut found);
        }
    }
    let chain = "super::".repeat(depth);
    for (at, _) in code.match_indices(&chain) {
        let rest = at + chain.len();
        if depth > 0 && !code[..at].ends_with([':', '_']) && !code[..at].ends_with(is_word) {
            let mut reached = Vec::new();
            heads(code, rest, &mut reached);
            // From an inline module the same chain ends inside the room: only the name of a room counts here.
            reached.retain(|import| rooms.iter().any(|(room, _)| *room == import.room));
            found.extend(reached);
        }
    }
    found
}

/// The names directly at `at`: one, or those of a group in braces.
fn heads(code: &str, at: usize, found: &mut Vec<Import>) {
    let line = |at: usize| code[..at].matches('\n').count() + 1;
    let first_word = |at: usize| -> String {
        let rest = &code[at..];
        if rest.starts_with('*') { "*".into() } else { rest.chars().take_while(|c| is_word(*c)).collect() }
    };
    if !code[at..].starts_with('{') {
        found.push(Import { room: first_word(at), line: line(at) });
        return;
    }
    let (mut depth, mut expecting) = (0, false);
    for (offset, letter) in code[at..].char_indices() {
        match letter {
            '{' => {
                depth += 1;
                expecting = depth == 1;
            }
            '}' if depth == 1 => return,
            '}' => depth -= 1,
            ',' if depth == 1 => expecting = true,
            letter if expecting && !letter.is_whitespace() => {
                expecting = false;
                found.push(Import { room: first_word(at + offset), line: line(at + offset) });
            }
            _ => {}
        }
    }
}

/// Every name that begins a path, with its line: `serde` in `use serde::Serialize` and in `::serde::Serialize`. A name
/// under which the file imports a module of ours is none.
pub fn path_heads(code: &str) -> Vec<(usize, String)> {
    let begins_path = |before: &str| match before.strip_suffix("::") {
        Some(before) => !before.ends_with(is_word) && !before.ends_with('>'),
        None => true,
    };
    // `use async_trait::async_trait;` names the crate all the same.
    let imported = |name: &str, written: &str| code.match_indices(written).any(|(at, _)| !code[..at].ends_with(name));
    let ours =
        |name: &str| [";", ",", " as ", "::{self"].iter().any(|after| imported(name, &format!("::{name}{after}")));
    let mut found = Vec::new();
    for (at, _) in code.match_indices("::") {
        let before = code[..at].trim_end_matches(is_word);
        let name = &code[before.len()..at];
        if !name.is_empty() && begins_path(before) && !ours(name) {
            found.push((code[..at].matches('\n').count() + 1, name.to_string()));
        }
    }
    found
}

/// Every identifier with its line.
pub fn words(code: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (number, line) in code.lines().enumerate() {
        let parts = line.split(|letter| !is_word(letter)).filter(|word| !word.is_empty());
        found.extend(parts.map(|word| (number + 1, word.to_string())));
    }
    found
}

fn is_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

/// The same text with comments and literals blanked, every line where it was.
pub fn without_comments_and_strings(source: &str) -> String {
    let text: Vec<char> = source.chars().collect();
    let at = |index: usize| text.get(index).copied().unwrap_or('\0');
    let mut code = String::with_capacity(source.len());
    let mut index = 0;
    while index < text.len() {
        let start = index;
        let after_word = start > 0 && is_word(at(start - 1));
        let hashes = (start + 1..).take_while(|next| at(*next) == '#').count();
        if at(index) == '/' && at(index + 1) == '/' {
            while index < text.len() && at(index) != '\n' {
                index += 1;
            }
        } else if at(index) == '/' && at(index + 1) == '*' {
            let mut depth = 0;
            loop {
                match (at(index), at(index + 1)) {
                    ('/', '*') => (depth, index) = (depth + 1, index + 2),
                    ('*', '/') => (depth, index) = (depth - 1, index + 2),
                    _ => index += 1,
                }
                if depth == 0 || index >= text.len() {
                    break;
                }
            }
        } else if at(index) == 'r' && !after_word && at(index + 1 + hashes) == '"' {
            index += hashes + 2;
            let closes = |index: usize| at(index) == '"' && (1..=hashes).all(|next| at(index + next) == '#');
            while index < text.len() && !closes(index) {
                index += 1;
            }
            index += hashes + 1;
        } else if at(index) == '"' || at(index) == '\'' && (at(index + 1) == '\\' || at(index + 2) == '\'') {
            let quote = at(index);
            index += 1;
            while index < text.len() && at(index) != quote {
                index += if at(index) == '\\' { 2 } else { 1 };
            }
            index += 1;
        } else {
            code.push(at(index));
            index += 1;
            continue;
        }
        code.extend((start..index.min(text.len())).map(|blanked| if at(blanked) == '\n' { '\n' } else { ' ' }));
    }
    code
}
