//! What is wrong or doubtful about files, ready to be shown: as lines, as drawings, as JSON.

mod drawing;
mod visible;

use std::fmt::{self, Write as _};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use swf_filter_core::compile::{TooLarge, forest};
use swf_filter_core::policy::{
    Fault, Kind, LED_ASTRAY, NOT_READABLE, Origin, Place, Problem, Problems, Severity, SourceFile,
};

use self::drawing::{Title, draw};
pub(crate) use self::visible::{visible, write_json};
use crate::confine;

/// Problems of one read of the files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The first ones.
    pub problems: Vec<Shown>,
    /// How many more there are.
    pub more: usize,
}

/// A problem as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// `error`, `warning` or `advice`.
    pub severity: String,
    /// Where.
    pub at: Origin,
    /// What is wrong, in one line.
    pub message: String,
    /// The way out.
    pub help: Option<String>,
    /// The other place that has to do with it, in words, and where it is.
    pub other: Option<(String, Origin)>,
    /// The lines of the source that it is about, with marks; without the message and the help.
    pub drawing: Option<String>,
}

/// Why files are refused.
#[derive(Debug, thiserror::Error)]
pub enum Rejected {
    /// The compiled engine, which config.toml asks for, cannot hold what they say.
    #[error(transparent)]
    Forest(#[from] forest::TooLarge),
    /// A file or directory cannot be read.
    #[error("cannot read {input} `{}`: {}", visible(&path.to_string_lossy()), reason(*.input, .error))]
    Unreadable {
        /// What it is.
        input: Input,
        /// Which.
        path: PathBuf,
        /// The system's word.
        error: io::Error,
    },
    /// What they say is wrong.
    #[error("{0}")]
    Problems(Report),
    /// What they say does not fit.
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
}

/// What is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// listener.toml.
    Listener,
    /// A directory of policy files.
    PolicyDirectory,
    /// A policy file.
    PolicyFile,
    /// config.toml.
    Settings,
}

impl fmt::Display for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Listener => "the listener's settings",
            Self::PolicyDirectory => "the policy directory",
            Self::PolicyFile => "the policy file",
            Self::Settings => "the settings",
        })
    }
}

/// A problem of any file, before it is drawn.
#[derive(Clone, Debug)]
pub(crate) struct Finding {
    /// How bad it is.
    pub(crate) severity: Severity,
    /// What is wrong, in one line.
    pub(crate) message: String,
    /// The way out.
    pub(crate) help: Option<String>,
    /// Where, and what to write beside it.
    pub(crate) at: (&'static str, Place),
    /// The other place that has to do with it.
    pub(crate) other: Option<(&'static str, Place)>,
}

impl From<&Problem> for Finding {
    fn from(problem: &Problem) -> Self {
        let other = problem.other.clone();
        let advice = match &problem.kind {
            Kind::Fault(Fault::DocumentFile { error, .. } | Fault::SetFile { error, .. }) => {
                confine::advice(*error)
            }
            _ => None,
        };
        Self {
            severity: problem.severity(),
            message: problem.kind.to_string(),
            help: advice.map(str::to_owned).or_else(|| problem.help()),
            at: (problem.label(), problem.at.clone()),
            other: other.map(|place| (problem.other_label(), place)),
        }
    }
}

impl Report {
    /// Draws `problems` with the lines of `files` that they stand in.
    #[must_use]
    pub fn new(problems: &Problems, files: &[SourceFile]) -> Self {
        let findings = problems.list.iter().map(Finding::from);
        Self::of(findings, problems.more, files)
    }

    /// The same for problems of any kind.
    pub(crate) fn of(
        findings: impl IntoIterator<Item = Finding>,
        more: usize,
        files: &[SourceFile],
    ) -> Self {
        let problems = findings.into_iter();
        Self {
            problems: problems.map(|finding| Shown::new(finding, files)).collect(),
            more,
        }
    }

    /// Whether there is nothing to report.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.problems.is_empty()
    }

    /// One line for each problem.
    pub fn lines(&self) -> impl Iterator<Item = String> + '_ {
        self.problems.iter().map(Shown::line)
    }
}

/// Bytes of drawings. The journal takes a datagram of 208 KiB, and more only as a file in memory, which a confined process cannot make.
const MOST_TEXT: usize = 100 << 10;

/// All problems with their drawings, an empty line between them, each line ended.
///
/// Those beyond [`MOST_TEXT`] are only counted.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut length = 0;
        let mut shown = 0;
        for problem in &self.problems {
            let text = problem.to_string();
            length += text.len();
            if length > MOST_TEXT && shown > 0 {
                break;
            }
            let separator = if shown == 0 { "" } else { "\n" };
            write!(f, "{separator}{text}")?;
            shown += 1;
        }
        match self.more + self.problems.len() - shown {
            0 => Ok(()),
            more => writeln!(f, "\n... and {more} more"),
        }
    }
}

impl Shown {
    fn new(finding: Finding, files: &[SourceFile]) -> Self {
        let drawing = draw_all(&finding, files);
        let Finding { at, other, .. } = finding;
        Self {
            severity: finding.severity.to_string(),
            at: at.1.origin,
            message: brief(&finding.message),
            help: finding.help.as_deref().map(brief),
            other: other.map(|(label, place)| (label.to_owned(), place.origin)),
            drawing,
        }
    }

    /// One line: `policy.d/a.toml:3:14: error: ...`.
    #[must_use]
    pub fn line(&self) -> String {
        match &self.other {
            Some((label, origin)) => {
                let origin = visible(&origin.to_string());
                format!("{} ({label} at {origin})", self.heading())
            }
            None => self.heading(),
        }
    }

    fn heading(&self) -> String {
        let at = visible(&self.at.to_string());
        format!("{at}: {}: {}", self.severity, self.message)
    }
}

/// The message after its place, what it is about, and the way out.
impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.drawing {
            Some(drawing) => write!(f, "{}\n{drawing}", self.heading())?,
            None => writeln!(f, "{}", self.line())?,
        }
        match &self.help {
            Some(help) => writeln!(f, "  help: {help}"),
            None => Ok(()),
        }
    }
}

/// Both places of a problem, or nothing if one of them cannot be drawn.
fn draw_all(finding: &Finding, files: &[SourceFile]) -> Option<String> {
    let bytes = |place: &Place| {
        let file = files.iter().find(|file| file.name == place.origin.file);
        file.map(|file| &*file.bytes)
    };
    let (label, place) = &finding.at;
    let mut drawing = draw(place, label, Title::None, bytes(place)?)?;
    if let Some((label, place)) = &finding.other {
        drawing.push_str(&draw(place, label, Title::Place, bytes(place)?)?);
    }
    Some(drawing)
}

/// `text` as it is safe to print, and no longer than anyone reads: it may hold words of the file.
fn brief(text: &str) -> String {
    const LONGEST: usize = 400;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => visible(text.get(..end).unwrap_or_default()) + "…",
        None => visible(text),
    }
}

/// Why something cannot be read, and what to do about it.
fn reason(input: Input, error: &io::Error) -> String {
    let link_loop = error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error());
    let advice = match (input, error.kind()) {
        (Input::PolicyDirectory, io::ErrorKind::NotFound) => {
            return "there is no such directory; make it, or name another, with the command or as `paths.policy` in config.toml"
                .to_owned();
        }
        (Input::PolicyFile, io::ErrorKind::NotFound) => {
            return "there is no such file; is it a link to one that is gone?".to_owned();
        }
        (Input::Listener, io::ErrorKind::NotFound) => {
            return "there is no such file; docs/listener.md says what to write into it".to_owned();
        }
        (Input::Settings, io::ErrorKind::NotFound) => {
            return "there is no such file; write it, or name another with `--config`".to_owned();
        }
        (_, io::ErrorKind::PermissionDenied) if confine::advice(error.kind()).is_none() => {
            NOT_READABLE
        }
        (Input::PolicyDirectory, io::ErrorKind::NotADirectory) => {
            "name the directory that the policy files are in"
        }
        (Input::Listener | Input::Settings, io::ErrorKind::IsADirectory) => "name a file in it",
        (_, io::ErrorKind::InvalidData) => LED_ASTRAY,
        (Input::PolicyFile, io::ErrorKind::InvalidInput) => {
            "move it away, or take `.toml` from its name"
        }
        _ if link_loop => "mend the link",
        _ => return error.to_string(),
    };
    format!("{error}; {advice}")
}

impl Rejected {
    pub(crate) fn unreadable(input: Input, path: &Path, error: io::Error) -> Self {
        Self::Unreadable {
            input,
            path: path.to_owned(),
            error,
        }
    }
}

/// Why something failed, for those who may not see what files hold that are not in force: where, and not what stands there.
pub(crate) fn for_others(error: &anyhow::Error) -> String {
    match error.downcast_ref() {
        None => format!("{error:#}"),
        Some(error @ Rejected::Unreadable { .. }) => error.to_string(),
        Some(Rejected::Problems(report)) => {
            let at = report.problems.first().map(|first| first.at.to_string());
            let at = at.map_or_else(|| "the files".to_owned(), |at| visible(&at));
            format!("{at} is refused; {FOR_OWNERS}")
        }
        Some(Rejected::Forest(_) | Rejected::TooLarge(_)) => {
            format!("the files are refused; {FOR_OWNERS}")
        }
    }
}

/// Whom to ask for more.
const FOR_OWNERS: &str = "root is told what is wrong there";

/// Lines of text without anything in them that a terminal obeys or hides, whoever wrote it.
pub(crate) fn printable(text: &str) -> String {
    let lines: Vec<String> = text.split('\n').map(visible).collect();
    lines.join("\n")
}

/// The same for JSON. Outside of strings it has no other characters than these, and inside it has ways to write all.
pub(crate) fn printable_json(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        let mut as_shown = String::new();
        visible::push_character(character, &mut as_shown);
        if as_shown.len() == character.len_utf8() {
            shown.push(character);
            continue;
        }
        for unit in character.encode_utf16(&mut [0; 2]) {
            let _never_fails = write!(shown, "\\u{unit:04x}");
        }
    }
    shown
}

/// A number with what it counts.
pub(crate) fn counted(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

#[cfg(test)]
mod tests;
