//! One line of a file, with the words that matter marked and labelled.
//!
//! Only bytes near the span are looked at, so that drawing costs the same in a file of any size, with lines of any length.

use std::fmt;
use std::ops::Range;

use miette::{
    Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteError,
    MietteSpanContents, SourceCode, SourceSpan, SpanContents,
};
use swf_filter_core::policy::Place;

use super::visible::{push_byte, push_character, visible};

/// Bytes that are shown before a span, if its line has as many.
const BEFORE: usize = 60;
/// Bytes that are shown from the start of a span, if its line has as many.
const AFTER: usize = 80;
/// Stands where a line is cut.
const CUT: &str = "…";
/// Stands for a tab, so that the marks below a line stand where they should.
const TAB: &str = "    ";

/// Draws the line of `bytes` that `place` starts in. With a `title`, the drawing says where that is.
pub(super) fn draw(place: &Place, label: &str, title: Title, bytes: &[u8]) -> Option<String> {
    let line = Line::new(place, label, title, bytes);
    let handler = GraphicalReportHandler::new_themed(GraphicalTheme::unicode_nocolor())
        .with_links(false)
        .without_primary_span_start();
    let mut drawing = String::new();
    handler.render_report(&mut drawing, &line).ok()?;
    // The first line is the renderer's heading. It is empty, as the message stands before the drawing.
    let (_heading, drawing) = drawing.split_once('\n')?;
    Some(drawing.to_owned())
}

/// What a drawing says at its top.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Title {
    /// Nothing: the place was named before.
    None,
    /// File, line and column.
    Place,
}

/// A line as it is drawn.
#[derive(Debug)]
struct Line {
    text: String,
    /// Its number, from 0.
    number: usize,
    /// The part that is marked.
    marked: Range<usize>,
    label: String,
    title: Option<String>,
}

impl Line {
    fn new(place: &Place, label: &str, title: Title, bytes: &[u8]) -> Self {
        let window = Window::around(place.span.start, bytes);
        let (text, marked) = window.show(&place.span, bytes);
        let number = usize::try_from(place.origin.line).unwrap_or(usize::MAX);
        Self {
            text,
            number: number.saturating_sub(1),
            marked,
            label: label.to_owned(),
            title: (title == Title::Place).then(|| visible(&place.origin.to_string())),
        }
    }
}

/// The part of a line that is shown.
#[derive(Debug, PartialEq, Eq)]
struct Window {
    range: Range<usize>,
    cut_before: bool,
    cut_after: bool,
}

impl Window {
    /// The line around `offset`, no more than [`BEFORE`] and [`AFTER`] it.
    fn around(offset: usize, bytes: &[u8]) -> Self {
        let (before, after) = bytes.split_at(offset.min(bytes.len()));
        let (start, cut_before) = line_start(before);
        let (length, cut_after) = line_end(after);
        Self {
            range: start..before.len() + length,
            cut_before,
            cut_after,
        }
    }

    /// The text of the window as it is safe to print, and which part of it is `span`.
    fn show(&self, span: &Range<usize>, bytes: &[u8]) -> (String, Range<usize>) {
        let mut shown = Marked {
            text: String::new(),
            span: span.start..span.end.max(span.start + 1),
            range: None,
        };
        if self.cut_before {
            shown.text.push_str(CUT);
        }
        let bytes = bytes.get(self.range.clone()).unwrap_or_default();
        let mut offset = self.range.start;
        for chunk in bytes.strip_suffix(b"\r").unwrap_or(bytes).utf8_chunks() {
            for character in chunk.valid().chars() {
                shown.push(offset, |text| match character {
                    '\t' => text.push_str(TAB),
                    _ => push_character(character, text),
                });
                offset += character.len_utf8();
            }
            for byte in chunk.invalid() {
                shown.push(offset, |text| push_byte(*byte, text));
                offset += 1;
            }
        }
        if shown.range.is_none() {
            // The end of a line: the renderer draws no mark without a character above it.
            shown.push(span.start, |text| text.push(' '));
        }
        if self.cut_after {
            shown.text.push_str(CUT);
        }
        (shown.text, shown.range.unwrap_or_default())
    }
}

/// Where the last line of `bytes` starts, or is cut.
fn line_start(bytes: &[u8]) -> (usize, bool) {
    let first = bytes.len().saturating_sub(BEFORE);
    let searched = first.saturating_sub(1);
    let near = bytes.get(searched..).unwrap_or_default();
    match near.iter().rposition(|byte| *byte == b'\n') {
        Some(newline) => (searched + newline + 1, false),
        None if first == 0 => (0, false),
        None => (first + continuation(bytes, first), true),
    }
}

/// Where the first line of `bytes` ends, or is cut.
fn line_end(bytes: &[u8]) -> (usize, bool) {
    let near = bytes.get(..=AFTER).unwrap_or(bytes);
    match near.iter().position(|byte| *byte == b'\n') {
        Some(newline) => (newline, false),
        None if near.len() <= AFTER => (near.len(), false),
        None => (AFTER + continuation(bytes, AFTER), true),
    }
}

/// How many bytes at `offset` belong to a character that starts before it (RFC 3629, section 3).
fn continuation(bytes: &[u8], offset: usize) -> usize {
    let rest = bytes.get(offset..).unwrap_or_default().iter().take(3);
    rest.take_while(|byte| **byte & 0b1100_0000 == 0b1000_0000)
        .count()
}

/// Text being made, and the range of it that comes from `span`.
struct Marked {
    text: String,
    span: Range<usize>,
    range: Option<Range<usize>>,
}

impl Marked {
    fn push(&mut self, offset: usize, push: impl FnOnce(&mut String)) {
        let start = self.text.len();
        push(&mut self.text);
        if self.span.contains(&offset) {
            let start = self.range.take().map_or(start, |range| range.start);
            self.range = Some(start..self.text.len());
        }
    }
}

impl fmt::Display for Line {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        Ok(())
    }
}

impl std::error::Error for Line {}

impl Diagnostic for Line {
    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(self)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let label = LabeledSpan::at(self.marked.clone(), self.label.clone());
        Some(Box::new(std::iter::once(label)))
    }
}

impl SourceCode for Line {
    fn read_span<'a>(
        &'a self,
        _: &SourceSpan,
        _: usize,
        _: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let (text, span) = (self.text.as_bytes(), (0..self.text.len()).into());
        Ok(Box::new(match &self.title {
            Some(title) => {
                MietteSpanContents::new_named(title.clone(), text, span, self.number, 0, 1)
            }
            None => MietteSpanContents::new(text, span, self.number, 0, 1),
        }))
    }
}

#[cfg(test)]
mod tests {
    use swf_filter_core::policy::Origin;

    use super::*;

    fn place(line: u32, span: Range<usize>) -> Place {
        let origin = Origin {
            file: "a.toml".into(),
            line,
            column: 9,
        };
        Place { origin, span }
    }

    fn drawing(line: u32, span: Range<usize>, bytes: &[u8]) -> String {
        draw(&place(line, span), "here", Title::None, bytes).unwrap()
    }

    #[test]
    fn a_line_is_drawn_with_its_number_and_its_mark() {
        let text = b"version = 1\nports = [70000]\nmore = 1\n";
        let expected = "    ╭────
 12 │ ports = [70000]
    ·          ──┬──
    ·            ╰── here
    ╰────
";
        assert_eq!(drawing(12, 21..26, text), expected);
        let titled = draw(&place(12, 21..26), "here", Title::Place, text).unwrap();
        assert_eq!(titled, expected.replacen("╭────", "╭─[a.toml:12:9]", 1));
    }

    #[test]
    fn a_mark_stays_on_its_line_and_is_never_without_width() {
        for (span, marks) in [
            (4..30, "──┬──"),
            (9..9, "┬"),
            (4..4, "┬"),
            (9..12, "┬"),
            (17..17, "┬"),
        ] {
            let drawing = drawing(2, span.clone(), b"abc\ndefgh\nijklmno");
            let below = drawing.lines().nth(2).unwrap();
            assert!(below.ends_with(&format!(" {marks}")), "{span:?}\n{drawing}");
            assert_eq!(drawing.lines().count(), 5, "{drawing}");
        }
    }

    #[test]
    fn a_mark_past_the_end_of_the_file_is_drawn() {
        for bytes in [&b""[..], b"abc", b"abc\n"] {
            let drawing = drawing(1, 90..95, bytes);
            assert!(drawing.contains("╰── here"), "{drawing}");
        }
    }

    #[test]
    fn a_long_line_is_cut_around_the_mark() {
        let line = format!("{}MARK{}", "ä".repeat(1 << 20), "ö".repeat(1 << 20));
        let drawing = drawing(1, 2 << 20..(2 << 20) + 4, line.as_bytes());
        let shown = drawing.lines().nth(1).unwrap();
        assert!(shown.contains("…ää") && shown.ends_with("öö…"), "{drawing}");
        assert!(
            shown.contains("äMARKö") && !shown.contains('\\'),
            "{drawing}"
        );
        assert!(drawing.len() < 2000, "{drawing}");
    }

    #[test]
    fn a_line_that_just_fits_is_not_cut() {
        let line = format!("x\n{}{}\nx", "a".repeat(BEFORE), "b".repeat(AFTER));
        let fits = drawing(1, 2 + BEFORE..3 + BEFORE, line.as_bytes());
        assert!(!fits.contains(CUT) && fits.contains(" aa"), "{fits}");
        let line = line.replace('a', "aa").replace('b', "bb");
        let cut = drawing(1, 2 + 2 * BEFORE..3 + 2 * BEFORE, line.as_bytes());
        assert!(cut.contains("…aa") && cut.contains("bb…"), "{cut}");
    }

    #[test]
    fn a_mark_that_is_longer_than_what_is_shown_is_cut() {
        let line = "x".repeat(1 << 20);
        let drawing = drawing(1, 0..line.len(), line.as_bytes());
        assert!(drawing.len() < 2000 && drawing.contains("x…"), "{drawing}");
    }

    #[test]
    fn what_is_not_text_is_drawn_escaped() {
        let drawing = drawing(1, 4..6, b"a\x1b[m\xff\xfe \xe2\x80\xae\tb\r\n");
        assert!(
            drawing.contains(r"a\u{1b}[m\xff\xfe \u{202e}    b"),
            "{drawing}"
        );
        let marks = drawing.lines().nth(2).unwrap();
        assert!(marks.ends_with("·          ────┬───"), "{drawing}");
        assert!(!drawing.contains(['\x1b', '\r', '\t', '\u{202e}']));
    }

    #[test]
    fn any_span_of_any_bytes_is_drawn_with_its_mark() {
        let bytes = b"a\xff\t\x1b\r\n\n\xe2\x80\xae\xe2\x80\n\r\xf0\x9f\x98\x80 e\xcc\x81\0\r\n";
        let long = [
            bytes.repeat(20),
            b"\x80".repeat(300),
            "大".repeat(300).into(),
        ]
        .concat();
        for bytes in [&bytes[..], &long] {
            for start in 0..=bytes.len() + 1 {
                for length in [0, 1, 2, 5, 100] {
                    let drawing = drawing(7, start..start + length, bytes);
                    assert_eq!(drawing.lines().count(), 5, "{drawing:?}");
                    assert!(drawing.contains('┬'), "{drawing}");
                    assert!(
                        drawing.chars().all(|c| c == '\n' || !c.is_control()),
                        "{drawing:?}"
                    );
                }
            }
        }
    }
}
