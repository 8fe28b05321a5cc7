//! Letters that are not seen: with them one label or address passes for another, or turns the text around it.

use std::borrow::Cow;

const ZERO_WIDTH_NON_JOINER: char = '\u{200c}';
const ZERO_WIDTH_JOINER: char = '\u{200d}';
const TEXT_STYLE: char = '\u{fe0e}';
const EMOJI_STYLE: char = '\u{fe0f}';
const KEYCAP: char = '\u{20e3}';

/// Whether it is not shown itself and changes how others are shown, or takes no room at all: controls, directions, joiners,
/// fillers, tags, choices between shapes.
pub fn is_unseen(letter: char) -> bool {
    letter.is_control()
        || matches!(letter,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}')
}

/// The first letter of a text that nobody sees and that nothing needs. Joiners are needed within an emoji, and in scripts whose
/// letters join; a choice of style behind what has two.
pub fn unseen(text: &str) -> Option<char> {
    told_apart(text).find(|(_, belongs)| !belongs).map(|(letter, _)| letter)
}

/// A text as it may be shown whatever is in it: what [`unseen`] would find is written out, as `\u{202e}`.
pub fn made_visible(text: &str) -> Cow<'_, str> {
    if unseen(text).is_none() {
        return Cow::Borrowed(text);
    }
    let written = told_apart(text).map(|(letter, belongs)| match belongs {
        true => letter.to_string(),
        false => letter.escape_unicode().to_string(),
    });
    Cow::Owned(written.collect())
}

/// Each letter, and whether it is seen or else needed where it stands.
fn told_apart(text: &str) -> impl Iterator<Item = (char, bool)> {
    let mut letters = text.chars().peekable();
    let mut before = None;
    std::iter::from_fn(move || {
        let letter = letters.next()?;
        let (last, next) = (before.replace(letter), letters.peek().copied());
        let belongs = match letter {
            ZERO_WIDTH_JOINER | ZERO_WIDTH_NON_JOINER => {
                last.is_some_and(|last| last == EMOJI_STYLE || joins(last)) && next.is_some_and(joins)
            }
            TEXT_STYLE | EMOJI_STYLE => last.is_some_and(|last| has_styles(last, next)),
            _ => !is_unseen(letter),
        };
        Some((letter, belongs))
    })
}

/// Of a script that may join its letters, or a symbol: what comes before Arabic joins nothing, nor do Latin and Greek elsewhere.
fn joins(letter: char) -> bool {
    let is_latin_or_greek = matches!(letter, '\u{1d00}'..='\u{1fff}' | '\u{2c60}'..='\u{2c7f}' | '\u{a640}'..='\u{a69f}' | '\u{a720}'..='\u{a7ff}' | '\u{ab30}'..='\u{abbf}' | '\u{fb00}'..='\u{fb4f}' | '\u{ff00}'..='\u{ffef}' | '\u{1d400}'..='\u{1d7ff}');
    letter >= '\u{600}' && !is_latin_or_greek && !is_unseen(letter) && !letter.is_whitespace()
}

fn has_styles(letter: char, after: Option<char>) -> bool {
    match letter {
        '0'..='9' | '#' | '*' => after == Some(KEYCAP),
        _ => !letter.is_ascii() && !letter.is_alphanumeric() && !letter.is_whitespace() && !is_unseen(letter),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_sees_is_found_wherever_it_stands() {
        for bad in [
            '\u{202e}',
            '\u{202a}',
            '\u{2066}',
            '\u{2069}',
            '\u{200b}',
            '\u{200c}',
            '\u{200d}',
            '\u{200e}',
            '\u{200f}',
            '\u{61c}',
            '\u{ad}',
            '\u{34f}',
            '\u{3164}',
            '\u{feff}',
            '\u{fe0f}',
            '\u{2060}',
            '\u{2028}',
            '\u{e0001}',
            '\u{e0041}',
            '\u{e007f}',
            '\u{e0100}',
            '\0',
            '\u{1b}',
            '\u{85}',
        ] {
            for text in [
                format!("lap{bad}top"),
                format!("{bad}laptop"),
                format!("laptop{bad}"),
                format!("é{bad}é"),
                bad.to_string(),
            ] {
                assert_eq!(unseen(&text), Some(bad), "{}", text.escape_unicode());
                assert_eq!(unseen(&made_visible(&text)), None);
            }
        }
        assert_eq!(made_visible("a\u{202e}b\u{e0041}"), r"a\u{202e}b\u{e0041}");
        assert_eq!(unseen("👩\u{200d}\u{200d}👧"), Some('\u{200d}'), "one of them joins nothing");
        assert_eq!(unseen("❤\u{fe0f}\u{fe0f}"), Some('\u{fe0f}'));
    }

    #[test]
    fn scripts_and_emoji_are_left_as_they_are() {
        for good in [
            "laptop",
            "dizüstü 💻",
            "👩\u{200d}💻",
            "👨\u{200d}👩\u{200d}👧\u{200d}👦",
            "❤\u{fe0f}\u{200d}🔥",
            "🏳\u{fe0f}\u{200d}🌈",
            "1\u{fe0f}\u{20e3}",
            "👍🏽",
            "🇹🇷",
            "☎\u{fe0e}",
            "می\u{200c}خواهم",
            "क\u{94d}\u{200d}ष",
            "日本語",
            "שלום",
            "مرحبا",
            "e\u{301}",
        ] {
            assert_eq!(unseen(good), None, "{}", good.escape_unicode());
            assert!(matches!(made_visible(good), Cow::Borrowed(same) if same == good));
        }
    }
}
