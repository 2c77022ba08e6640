//! Text from files and file names, made safe to print.
//!
//! A file that is being refused may be hostile: an escape sequence would be obeyed by the terminal that shows it, and an
//! override of the writing direction would make it read as something else.

/// `text` with everything escaped that does not show as itself: control characters, writing direction, blanks of no width.
pub(crate) fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        push_character(character, &mut shown);
    }
    shown
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
    fn what_is_escaped_stays_as_it_is() {
        let once = visible("\x1b\u{202e}\\");
        assert_eq!(visible(&once), once);
    }
}
