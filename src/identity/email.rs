//! E-mail addresses as names for accounts.

use super::letters::is_unseen;

/// The longest address that can be delivered to (RFC 5321, 4.5.3.1.3, less its angle brackets).
const LONGEST: usize = 254;

/// An e-mail address as a name for an account: lower case, one `@`, something on both sides.
///
/// Whether mail reaches it is not asked: `dev@localhost` is one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Email(String);

/// A text that is not an e-mail address, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an e-mail address: {why}")]
pub struct NotAnEmail {
    text: String,
    why: &'static str,
}

impl Email {
    /// As somebody writes it.
    pub fn parse(text: &str) -> Result<Self, NotAnEmail> {
        // None is needed here, not even within an emoji: one address would pass for another.
        if text.chars().any(is_unseen) {
            return Err(NotAnEmail { text: text.to_owned(), why: "it holds a character that nobody sees" });
        }
        Self::kept(text)
    }

    /// As it stands in a store, which may have taken it when more characters were taken.
    pub fn kept(text: &str) -> Result<Self, NotAnEmail> {
        let given = text;
        let no = |why| NotAnEmail { text: given.to_owned(), why };
        // What is measured is what is kept, and some letters are longer in lower case.
        let text = text.to_lowercase();
        let Some((local, domain)) = text.split_once('@') else { return Err(no("it has no @")) };
        if local.is_empty() || domain.is_empty() {
            return Err(no("something is missing beside the @"));
        }
        if domain.contains('@') {
            return Err(no("it has more than one @"));
        }
        if text.len() > LONGEST {
            return Err(no("it is longer than 254 bytes"));
        }
        if text.chars().any(|letter| letter.is_whitespace() || letter.is_control() || "<>\"',;".contains(letter)) {
            return Err(no("it holds a character that no address needs"));
        }
        Ok(Self(text))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for Email {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::str::FromStr for Email {
    type Err = NotAnEmail;

    fn from_str(text: &str) -> Result<Self, NotAnEmail> {
        Self::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_compared_in_lower_case() {
        assert_eq!(Email::parse("Ada@Example.org").unwrap().as_str(), "ada@example.org");
        assert_eq!(Email::parse("dev@localhost").unwrap().to_string(), "dev@localhost");
    }

    #[test]
    fn what_was_taken_once_is_taken_again() {
        for text in ["Ada@Example.org", "ΟΔΥΣΣΕΥΣ@example.org", "İ@example.org"] {
            let email = Email::parse(text).unwrap();
            assert_eq!(Email::parse(email.as_str()).unwrap(), email);
        }
        assert!(Email::parse(&format!("{}@ab.cd", "İ".repeat(120))).is_err(), "246 bytes, and 366 in lower case");
    }

    #[test]
    fn what_is_no_address_says_why() {
        let long = format!("{}@example.org", "a".repeat(250));
        for text in [
            "",
            "ada",
            "@example.org",
            "ada@",
            "a@b@c",
            "ada @example.org",
            "ada@exam\nple",
            "\u{202e}a@x.org",
            "a\u{e0041}@x.org",
            "a\u{200d}@x.org",
            "a\u{2066}@x.org",
            &long,
        ] {
            assert!(Email::parse(text).is_err(), "{text:?}");
        }
        let before = "a\u{3164}@x.org";
        assert!(Email::parse(before).is_err());
        assert_eq!(Email::kept(before).unwrap().as_str(), before, "whoever has it already keeps it");
        assert_eq!(Email::parse("ada").unwrap_err().to_string(), r#""ada" is not an e-mail address: it has no @"#);
    }
}
