//! What a stream has said, counted as far as tokens go by it.
//!
//! Characters alone tell little of tokens: one tokenizer takes 4.5 characters of English to a token and 2.5 of Turkish.
//! Tokenizers cut between words, inside words that they do not know, and at every mark; these are counted apart, in one
//! pass without a branch. What each is worth with a model is learnt (`estimate/text.rs`).

use super::json::Text;

/// What each byte adds, in four lanes of 16 bits: letters, characters beyond ASCII, marks, and whether it is part of a
/// word. So all four are counted by one addition a byte.
static LANES: [u64; 256] = {
    let mut lanes = [0; 256];
    let mut ascii: u8 = 0;
    while ascii < 128 {
        lanes[ascii as usize] = if ascii.is_ascii_alphabetic() {
            1 | WORD
        } else if ascii.is_ascii_punctuation() || ascii.is_ascii_digit() {
            1 << 32
        } else {
            0
        };
        // Of a character beyond ASCII the first byte counts, from 0xC0 on.
        lanes[ascii as usize + 128] = if ascii >= 64 { 1 << 16 | WORD } else { WORD };
        ascii += 1;
    }
    lanes
};

const WORD: u64 = 1 << 48;
const LANE: u64 = 0xFFFF;

/// The text that has passed so far. Counting goes on over the cuts between deltas.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Events that said something.
    pub deltas: u64,
    /// Runs of letters.
    pub words: u64,
    /// Letters of ASCII.
    pub letters: u64,
    /// Characters beyond ASCII.
    pub wide: u64,
    /// Punctuation and digits.
    pub marks: u64,
    pub lines: u64,
    /// The last character was a letter: one that follows goes on with its word.
    in_word: bool,
}

impl Tally {
    /// The text of one delta; whether there was any.
    pub(super) fn count(&mut self, text: Text<'_>) -> bool {
        let raw = text.raw();
        self.deltas += u64::from(!raw.is_empty());
        let mut rest = raw;
        if text.is_escaped() {
            while let Some(at) = memchr::memchr(b'\\', rest) {
                let (plain, escape) = rest.split_at(at);
                self.plain(plain);
                self.escape(escape);
                let length = if escape.get(1) == Some(&b'u') { 6 } else { 2 };
                rest = escape.get(length..).unwrap_or_default();
            }
        }
        self.plain(rest);
        !raw.is_empty()
    }

    /// Text of which only the length is known, because its event was too long to hold: taken for English.
    pub(super) fn unread(&mut self, chars: u64) {
        self.deltas += u64::from(chars > 0);
        self.words += chars / 6;
        self.letters += chars - chars / 6;
    }

    /// What has been said since `before`.
    pub fn since(&self, before: &Self) -> Self {
        Self {
            deltas: self.deltas - before.deltas,
            words: self.words - before.words,
            letters: self.letters - before.letters,
            wide: self.wide - before.wide,
            marks: self.marks - before.marks,
            lines: self.lines - before.lines,
            in_word: self.in_word,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.deltas == 0
    }

    fn plain(&mut self, part: &[u8]) {
        // No lane of a sum overflows in so many bytes.
        for part in part.chunks(usize::from(u16::MAX)) {
            let mut sum = 0;
            let mut before = if self.in_word { WORD } else { 0 };
            for byte in part {
                let lanes = LANES[usize::from(*byte)];
                let in_word = lanes & WORD;
                sum += (lanes ^ in_word) + (in_word & !before);
                before = in_word;
            }
            self.in_word = before != 0;
            self.letters += sum & LANE;
            self.wide += (sum >> 16) & LANE;
            self.marks += (sum >> 32) & LANE;
            self.words += sum >> 48;
        }
    }

    /// The escape that `rest` begins with.
    fn escape(&mut self, rest: &[u8]) {
        let mut in_word = false;
        match rest.get(1) {
            Some(b'n') => self.lines += 1,
            Some(b'"' | b'\\' | b'/') => self.marks += 1,
            Some(b'u') => match rest.get(2..6) {
                // Below U+0080 only marks are worth escaping: `<` and `&` by those who fear for HTML.
                Some([b'0', b'0', b'0'..=b'7', _]) => self.marks += 1,
                // The second half of a pair.
                Some([b'd' | b'D', b'c'..=b'f' | b'C'..=b'F', ..]) => in_word = true,
                _ => {
                    self.words += u64::from(!self.in_word);
                    self.wide += 1;
                    in_word = true;
                }
            },
            _ => {}
        }
        self.in_word = in_word;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::llm::json::Scanner;

    fn tally(deltas: &[&str]) -> Tally {
        let mut tally = Tally::default();
        for delta in deltas {
            tally.count(Scanner::new(delta.as_bytes()).text().unwrap());
        }
        tally
    }

    #[test]
    fn words_marks_and_lines_are_told_apart() {
        let said = tally(&[r#""let güzel_x = 42;\n""#]);
        let counted = (said.deltas, said.words, said.letters, said.wide, said.marks, said.lines);
        assert_eq!(counted, (1, 3, 8, 1, 5, 1));
        assert!(tally(&[r#""""#]).is_empty());
    }

    #[test]
    fn a_word_cut_between_deltas_is_one_word() {
        let (whole, cut) = (tally(&[r#""unbelievable dünya""#]), tally(&[r#""unbel""#, r#""ievable d""#, r#""ünya""#]));
        assert_eq!(cut.deltas, 3);
        assert_eq!(Tally { deltas: 1, ..cut }, whole);
    }

    #[test]
    fn letters_sent_as_escapes_count_as_what_they_are() {
        assert_eq!(tally(&[r#""g\u00fczel \u003cb\u003e""#]), tally(&[r#""güzel <b>""#]));
        assert_eq!(tally(&[r#""\uD83D\uDE00""#]).wide, 1);
    }

    #[test]
    fn what_was_said_since_then_is_the_difference() {
        let first = tally(&[r#""one two""#]);
        let all = tally(&[r#""one two""#, r#"" three\n""#]);
        let rest = all.since(&first);
        assert_eq!((rest.deltas, rest.words, rest.letters, rest.lines), (1, 1, 5, 1));
    }
}
