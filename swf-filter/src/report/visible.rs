//! Text from files and file names, made safe to print.
//!
//! A file that is being refused may be hostile: an escape sequence would be obeyed by the terminal that shows it, and an
//! override of the writing direction would make it read as something else.

use std::io;

use serde::Serialize;
use serde_json::Serializer;
use serde_json::ser::Formatter;

/// `text` with everything escaped that does not show as itself: control characters, writing direction, blanks of no width.
pub(crate) fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        push_character(character, &mut shown);
    }
    shown
}

/// JSON with everything in its texts escaped, by its code, that [`visible`] escapes: it reads as the same, and shows as it is.
pub(crate) fn write_json(to: impl io::Write, value: &impl Serialize) -> serde_json::Result<()> {
    value.serialize(&mut Serializer::with_formatter(to, Visible))
}

struct Visible;

impl Formatter for Visible {
    fn write_string_fragment<W>(&mut self, to: &mut W, fragment: &str) -> io::Result<()>
    where
        W: ?Sized + io::Write,
    {
        let mut rest = fragment;
        while let Some((at, hidden)) = rest.char_indices().find(|(_, one)| !shows(*one)) {
            let (before, after) = rest.split_at(at);
            to.write_all(before.as_bytes())?;
            for unit in hidden.encode_utf16(&mut [0; 2]) {
                write!(to, "\\u{unit:04x}")?;
            }
            rest = after.strip_prefix(hidden).unwrap_or_default();
        }
        to.write_all(rest.as_bytes())
    }
}

/// Whether [`visible`] leaves a character as it is.
fn shows(character: char) -> bool {
    matches!(character, '"' | '\'' | '\\' | ' '..='~') || character.escape_debug().len() == 1
}

/// Appends `character` as [`visible`] does.
pub(super) fn push_character(character: char, into: &mut String) {
    match character {
        '"' | '\'' | '\\' => into.push(character),
        _ => into.extend(character.escape_debug()),
    }
}

/// Appends a byte that is not part of any character.
pub(super) fn push_byte(byte: u8, into: &mut String) {
    into.extend(byte.escape_ascii().map(char::from));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_or_hide_is_escaped() {
        let cases = [
            ("\x1b[31mred", "\\u{1b}[31mred"),
            ("a\u{9b}31mb", "a\\u{9b}31mb"),
            ("admin\u{202e}moc", "admin\\u{202e}moc"),
            (
                "a\u{2066}b\u{200b}c\u{feff}",
                "a\\u{2066}b\\u{200b}c\\u{feff}",
            ),
            ("two\nlines\r", "two\\nlines\\r"),
            ("\u{7f}\0", "\\u{7f}\\0"),
        ];
        for (text, shown) in cases {
            assert_eq!(visible(text), shown);
        }
    }

    #[test]
    fn what_shows_as_itself_stays() {
        for text in [
            "set \"a\" isn't \\",
            "größe 大きさ",
            "10.0.0.0/8 — 2001:db8::/32",
        ] {
            assert_eq!(visible(text), text);
        }
    }

    #[test]
    fn json_reads_as_the_same_and_shows_as_it_is() {
        let text = "a\u{9b}31m\u{9b}\u{9b}b\u{202e}c\u{7f}\n\"d\\ \u{e0001}größe";
        let mut json = Vec::new();
        write_json(&mut json, &[text, ""]).unwrap();
        let json = String::from_utf8(json).unwrap();
        let shown = r#"["a\u009b31m\u009b\u009bb\u202ec\u007f\n\"d\\ \udb40\udc01größe",""]"#;
        assert_eq!(json, shown);
        assert_eq!(visible(&json), json);
        let read: Vec<String> = serde_json::from_str(&json).unwrap();
        assert_eq!(read, [text, ""]);
    }

    #[test]
    fn what_is_escaped_stays_as_it_is() {
        let once = visible("\x1b\u{202e}\\");
        assert_eq!(visible(&once), once);
    }
}
