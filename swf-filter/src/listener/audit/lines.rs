//! Reads the log, also while it is written and replaced.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Seek};
use std::path::{Path, PathBuf};

use super::record::Entry;
use crate::files::{identity, open_regular};

/// Bytes of a line at most: several times what the longest record takes.
const LINE: usize = 1 << 20;

/// The lines of a log.
#[derive(Debug)]
pub struct Lines {
    path: PathBuf,
    reader: BufReader<File>,
    /// A line whose end is not there yet.
    partial: Vec<u8>,
    /// Whether that line is longer than any is, and its beginning was dropped.
    too_long: bool,
}

/// A line of a log.
#[derive(Debug)]
pub enum Line {
    /// One that can be read, with its text.
    Entry(Box<Entry>, String),
    /// One that cannot: cut off, or not of this program.
    Unreadable,
}

impl Lines {
    /// Opens a log at its beginning.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            reader: BufReader::new(open_regular(path)?.file),
            partial: Vec::new(),
            too_long: false,
        })
    }

    /// The next whole line; none if there is none yet.
    pub fn read(&mut self) -> io::Result<Option<Line>> {
        loop {
            let bytes = match self.reader.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                bytes => bytes?,
            };
            if bytes.is_empty() {
                return Ok(None);
            }
            let end = bytes.iter().position(|byte| *byte == b'\n');
            let part = end.unwrap_or(bytes.len());
            self.partial.extend_from_slice(&bytes[..part]);
            self.reader.consume(end.map_or(part, |end| end + 1));
            if self.partial.len() > LINE {
                self.partial.clear();
                self.too_long = true;
            }
            if end.is_some() {
                let line = std::mem::take(&mut self.partial);
                if std::mem::take(&mut self.too_long) {
                    return Ok(Some(Line::Unreadable));
                }
                // A blank one ends a line that was cut off.
                if !line.is_empty() {
                    return Ok(Some(understood(line)));
                }
            }
        }
    }

    /// Whether there is the beginning of a line after the last whole one.
    #[must_use]
    pub fn is_torn(&self) -> bool {
        self.too_long || !self.partial.is_empty()
    }

    /// Whether the log's name stands for another file now, or the file was emptied.
    pub fn is_replaced(&mut self) -> io::Result<bool> {
        let there = match fs::metadata(&self.path) {
            // Between a rename and the next record.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            there => there?,
        };
        let own = self.reader.get_ref().metadata()?;
        let is_other = identity(&there) != identity(&own);
        Ok(is_other || own.len() < self.reader.stream_position()?)
    }
}

fn understood(line: Vec<u8>) -> Line {
    let entry = serde_json::from_slice(&line);
    match (entry, String::from_utf8(line)) {
        (Ok(entry), Ok(text)) => Line::Entry(Box::new(entry), text),
        _ => Line::Unreadable,
    }
}
