//! Source files, and where in them a byte stands.

use std::ops::Range;
use std::sync::Arc;

use super::Origin;

/// A file as it was read. Neither field need be valid: names are only shown, and bytes may be anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFile {
    /// How the file is called in problems and origins.
    pub name: Arc<str>,
    /// What it holds.
    pub bytes: Arc<[u8]>,
}

/// A stretch of a source file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// File, line and column of its first byte.
    pub origin: Origin,
    /// Its bytes, counted from the start of the file.
    pub span: Range<usize>,
}

/// A source file with an index that finds the line and column of a byte, whatever the length of its lines.
#[derive(Debug)]
pub struct SourceIndex<'a> {
    file: &'a SourceFile,
    /// Offset of the first byte of each line.
    lines: Vec<usize>,
    /// How many characters start before each multiple of [`STRIDE`] bytes.
    characters: Vec<usize>,
}

impl<'a> SourceIndex<'a> {
    /// Reads through `file` once.
    #[must_use]
    pub fn new(file: &'a SourceFile) -> Self {
        let breaks = file
            .bytes
            .iter()
            .enumerate()
            .filter(|(_, byte)| **byte == b'\n');
        let lines = std::iter::once(0)
            .chain(breaks.map(|(offset, _)| offset + 1))
            .collect();
        let mut characters = vec![0];
        let mut total = 0;
        for chunk in file.bytes.chunks(STRIDE) {
            total += count_characters(chunk);
            characters.push(total);
        }
        Self {
            file,
            lines,
            characters,
        }
    }

    /// The file's name.
    #[must_use]
    pub fn name(&self) -> &'a Arc<str> {
        &self.file.name
    }

    /// The file's bytes.
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        &self.file.bytes
    }

    /// The place of the bytes `span`, cut to the end of the file.
    #[must_use]
    pub fn place(&self, span: Range<usize>) -> Place {
        let end = span.end.min(self.file.bytes.len());
        let start = span.start.min(end);
        Place {
            origin: self.origin(start),
            span: start..end,
        }
    }

    /// Line and column of the byte at `offset`.
    #[must_use]
    pub fn origin(&self, offset: usize) -> Origin {
        let line = self.lines.partition_point(|start| *start <= offset);
        let start = line
            .checked_sub(1)
            .and_then(|line| self.lines.get(line))
            .copied()
            .unwrap_or_default();
        let column = self
            .characters_before(offset)
            .saturating_sub(self.characters_before(start))
            + 1;
        Origin {
            file: self.file.name.clone(),
            line: saturate(line),
            column: saturate(column),
        }
    }

    /// The place of the TOML value or table header that starts at `origin`, which this source gave out.
    #[must_use]
    pub fn find(&self, origin: &Origin) -> Place {
        let line = usize::try_from(origin.line)
            .unwrap_or_default()
            .saturating_sub(1);
        let line = self
            .lines
            .get(line)
            .copied()
            .unwrap_or(self.file.bytes.len());
        let column = usize::try_from(origin.column)
            .unwrap_or_default()
            .saturating_sub(1);
        let before = self.characters_before(line) + column;
        // The last chunk that starts before the character or with it, as lines may be as long as files.
        let chunk = self.characters.partition_point(|known| *known <= before);
        let near = line.max(chunk.saturating_sub(1) * STRIDE);
        let near = near.min(self.file.bytes.len());
        let left = before.saturating_sub(self.characters_before(near));
        let rest = self.file.bytes.get(near..).unwrap_or_default();
        let skipped = rest
            .iter()
            .enumerate()
            .filter(|(_, byte)| starts_character(**byte))
            .nth(left);
        let start = near + skipped.map_or(rest.len(), |(offset, _)| offset);
        let token = token_length(self.file.bytes.get(start..).unwrap_or_default());
        Place {
            origin: origin.clone(),
            span: start..start + token,
        }
    }

    fn characters_before(&self, offset: usize) -> usize {
        let chunk = offset / STRIDE;
        let before = self.characters.get(chunk).copied().unwrap_or_default();
        let rest = self
            .file
            .bytes
            .get(chunk * STRIDE..offset)
            .unwrap_or_default();
        before + count_characters(rest)
    }
}

fn count_characters(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| starts_character(**byte)).count()
}

/// Whether a byte of UTF-8 is anything but a continuation byte (RFC 3629, section 3).
fn starts_character(byte: u8) -> bool {
    byte & 0b1100_0000 != 0b1000_0000
}

/// Length of the quoted string or table header that `bytes` start with, else of what runs to the next delimiter.
fn token_length(bytes: &[u8]) -> usize {
    let ends = |byte: &u8| matches!(byte, b'\n' | b'\r' | b',' | b' ' | b'\t' | b'#');
    let (skip, close) = match bytes {
        [quote @ (b'"' | b'\''), ..] => (1, *quote),
        [b'[', ..] => {
            return bytes
                .iter()
                .take_while(|byte| **byte != b'\n' && **byte != b'\r')
                .count();
        }
        _ => return bytes.iter().take_while(|byte| !ends(byte)).count(),
    };
    let mut escaped = false;
    let inner = bytes.iter().skip(skip).take_while(|byte| {
        let closed = **byte == close && !escaped;
        escaped = **byte == b'\\' && close == b'"' && !escaped;
        !closed
    });
    (skip + inner.count() + 1).min(bytes.len())
}

fn saturate(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// Small enough to count quickly, large enough that the index is small beside the file.
const STRIDE: usize = 256;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_a_source_gave_out_is_found_in_lines_of_any_length(
            parts in prop::collection::vec(("[a\u{e9}\u{1d11e},]{0,3}", 0..900usize), 1..9),
        ) {
            let parts = parts.iter().map(|(part, times)| part.repeat(*times));
            let text = parts.collect::<Vec<_>>().join("\n");
            let file = SourceFile {
                name: "a.toml".into(),
                bytes: text.as_bytes().into(),
            };
            let index = SourceIndex::new(&file);
            let starts = text.char_indices().map(|(start, _)| start).step_by(97);
            for start in starts.chain([text.len()]) {
                prop_assert_eq!(index.find(&index.origin(start)).span.start, start);
            }
        }
    }
}
