//! The file of the log: whole lines with one write, and reopened when its name stands for another file.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::files::identity;

/// Who may do what with the file: its group may read it.
const MODE: u32 = 0o640;
/// The same for its directory, if that is made.
const DIRECTORY_MODE: u32 = 0o750;

/// The file of the log.
#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    open: Option<Opened>,
}

#[derive(Debug)]
struct Opened {
    file: File,
    /// Device and inode.
    identity: (u64, u64),
    /// Whether the last line has no end, because a crash or a full disk cut it off.
    torn: bool,
}

impl LogFile {
    /// Opens or makes it.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            open: Some(open(path)?),
        })
    }

    /// Opens it again at the next line.
    pub(super) fn close(&mut self) {
        self.open = None;
    }

    /// Appends lines, which include their ends, and says how many bytes of them are written, also in vain.
    pub(super) fn write(&mut self, lines: &[u8]) -> (usize, io::Result<()>) {
        let opened = match self.current() {
            Ok(opened) => opened,
            Err(error) => return (0, Err(error)),
        };
        let ended;
        let (before, bytes) = if opened.torn {
            ended = [b"\n", lines].concat();
            (1, &ended[..])
        } else {
            (0, lines)
        };
        let written = loop {
            match opened.file.write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return (0, Err(error)),
                Ok(written) => break written,
            }
        };
        if written == bytes.len() {
            opened.torn = false;
            return (lines.len(), Ok(()));
        }
        // What is missing is not written later: another line may come between, and it counts as lost.
        opened.torn = match bytes.get(..written).and_then(<[u8]>::last) {
            None => opened.torn,
            Some(last) => *last != b'\n',
        };
        let error = io::ErrorKind::StorageFull.into();
        (written.saturating_sub(before), Err(error))
    }

    /// The file that has the name now.
    fn current(&mut self) -> io::Result<&mut Opened> {
        let there = fs::metadata(&self.path).map(|metadata| identity(&metadata));
        let opened = match self.open.take() {
            Some(opened) if there.is_ok_and(|there| there == opened.identity) => opened,
            _ => open(&self.path)?,
        };
        Ok(self.open.insert(opened))
    }
}

fn open(path: &Path) -> io::Result<Opened> {
    if let Some(directory) = path.parent() {
        DirBuilder::new()
            .recursive(true)
            .mode(DIRECTORY_MODE)
            .create(directory)?;
    }
    let file = OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(MODE)
        .open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        let words = "it is not a regular file";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, words));
    }
    let torn = match metadata.len().checked_sub(1) {
        None => false,
        Some(last) => {
            let mut byte = [0];
            file.read_exact_at(&mut byte, last)?;
            byte != *b"\n"
        }
    };
    Ok(Opened {
        identity: identity(&metadata),
        file,
        torn,
    })
}
