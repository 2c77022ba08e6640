//! Set files: one address, prefix or range a line.
//!
//! Lines are checked one by one, so that a single line of binary is found by its number and the rest is still read.

use std::net::IpAddr;
use std::ops::Range;
use std::str;

use ipnetwork::IpNetwork;

use super::super::limits::{Limit, SET_FILE, WIDEST_V4, WIDEST_V6};
use super::super::{Fault, Origin, Place, Problem, Problems, SourceFile, Upkeep};
use super::entries::too_many;
use crate::prefix::{PrefixList, text};

/// Appends the prefixes of `file` to `into`. Stops at the line that reaches a limit.
pub(super) fn read(
    file: &SourceFile,
    upkeep: Upkeep,
    into: &mut PrefixList,
    problems: &mut Problems,
) {
    if file.bytes.len() > SET_FILE {
        report(
            file,
            &Line {
                number: 1,
                start: 0,
                bytes: &[],
            },
            0..0,
            Limit::SetFile.into(),
            problems,
        );
        return;
    }
    for line in lines(&file.bytes) {
        let before = (into.v4.len(), into.v6.len());
        if let Err((span, fault)) = read_line(line.bytes, into) {
            report(file, &line, span, fault, problems);
        }
        if upkeep == Upkeep::Follow
            && let Some(prefix) = too_wide(into, before)
        {
            let fault = Fault::TooWide { prefix };
            report(file, &line, 0..line.bytes.len(), fault, problems);
        }
        if too_many(into) {
            report(
                file,
                &line,
                0..line.bytes.len(),
                Limit::Prefixes.into(),
                problems,
            );
            return;
        }
    }
}

/// The first prefix, from places `v4` and `v6` on, that is wider than a followed file may have.
fn too_wide(list: &PrefixList, (v4, v6): (usize, usize)) -> Option<IpNetwork> {
    let mut new_v4 = list.v4.get(v4..).unwrap_or_default().iter();
    let mut new_v6 = list.v6.get(v6..).unwrap_or_default().iter();
    let v4 = new_v4.find(|prefix| prefix.length() < WIDEST_V4);
    let v6 = new_v6.find(|prefix| prefix.length() < WIDEST_V6);
    v4.map(|prefix| IpNetwork::from(*prefix))
        .or(v6.map(|prefix| IpNetwork::from(*prefix)))
}

/// The first line of a set file that has the longest prefix which an address lies in, and that prefix.
#[must_use]
pub fn line_of(bytes: &[u8], address: IpAddr) -> Option<(u32, IpNetwork)> {
    let mut found: Option<(u32, IpNetwork)> = None;
    for line in lines(bytes) {
        let mut prefixes = PrefixList::default();
        if read_line(line.bytes, &mut prefixes).is_err() {
            continue;
        }
        let longest = prefixes.longest(address);
        if let Some(prefix) = longest
            && found.is_none_or(|(_, other)| other.prefix() < prefix.prefix())
        {
            found = Some((line.number, prefix));
        }
    }
    found
}

struct Line<'a> {
    number: u32,
    start: usize,
    bytes: &'a [u8],
}

/// The lines of `bytes`, without a byte order mark before the first.
fn lines(bytes: &[u8]) -> impl Iterator<Item = Line<'_>> {
    let mark = if bytes.starts_with(BYTE_ORDER_MARK) {
        BYTE_ORDER_MARK.len()
    } else {
        0
    };
    let mut next = mark;
    let lines = bytes
        .get(mark..)
        .unwrap_or_default()
        .split(|byte| *byte == b'\n');
    lines.zip(1..).map(move |(bytes, number)| {
        let start = next;
        next += bytes.len() + 1;
        Line {
            number,
            start,
            bytes,
        }
    })
}

/// Reads one line; an error has the bytes of the line that it is about.
fn read_line(line: &[u8], into: &mut PrefixList) -> Result<(), (Range<usize>, Fault)> {
    let line = str::from_utf8(line).map_err(|error| {
        let start = error.valid_up_to();
        (
            start..start + error.error_len().unwrap_or(1),
            Fault::NotUtf8,
        )
    })?;
    let content = line
        .split_once('#')
        .map_or(line, |(content, _)| content)
        .trim_ascii_end();
    let item = content.trim_ascii_start();
    if item.is_empty() {
        return Ok(());
    }
    text::parse(item, into)
        .map_err(|error| (content.len() - item.len()..content.len(), error.into()))
}

fn report(
    file: &SourceFile,
    line: &Line<'_>,
    span: Range<usize>,
    fault: Fault,
    problems: &mut Problems,
) {
    problems.add(|| {
        let before = line.bytes.get(..span.start).unwrap_or_default();
        let column = String::from_utf8_lossy(before).chars().count() + 1;
        let origin = Origin {
            file: file.name.clone(),
            line: line.number,
            column: u32::try_from(column).unwrap_or(u32::MAX),
        };
        Problem::new(
            fault,
            Place {
                origin,
                span: line.start + span.start..line.start + span.end,
            },
        )
    });
}

const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_an_address_is_the_first_with_its_longest_prefix() {
        let file = b"\xEF\xBB\xBF10.0.0.0/8 # all\n\n10.1.0.0/16\nnonsense\n10.1.0.0/16\n2001:db8::1-2001:db8::6\n";
        let line = |address: &str| {
            line_of(file, address.parse().unwrap()).map(|(line, prefix)| (line, prefix.to_string()))
        };
        assert_eq!(line("10.2.0.1"), Some((1, "10.0.0.0/8".to_owned())));
        assert_eq!(line("10.1.2.3"), Some((3, "10.1.0.0/16".to_owned())));
        assert_eq!(line("2001:db8::4"), Some((6, "2001:db8::4/127".to_owned())));
        assert_eq!(line("2001:db8::7"), None);
        assert_eq!(line("11.0.0.1"), None);
    }
}
