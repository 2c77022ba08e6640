//! What is wrong or doubtful about files, ready to be shown: as lines, as drawings with carets, as JSON.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use miette::{
    GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteDiagnostic, NamedSource, Severity,
};
use serde::{Deserialize, Serialize};
use swf_filter_core::compile::TooLarge;
use swf_filter_core::policy::{self, Origin, Place, Problem, Problems, SourceFile};

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
    /// The source text with carets, where it could be drawn.
    pub drawing: Option<String>,
}

/// Why files are refused.
#[derive(Debug, thiserror::Error)]
pub enum Rejected {
    /// A file or directory cannot be read.
    #[error("cannot read {what} {path}: {error}", path = path.display())]
    Unreadable {
        /// What it is.
        what: &'static str,
        /// Which.
        path: PathBuf,
        /// The system's word.
        error: std::io::Error,
    },
    /// What they say is wrong.
    #[error("{0}")]
    Problems(Report),
    /// What they say does not fit.
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
}

impl Report {
    /// Draws `problems` with the lines of `files` that they stand in.
    #[must_use]
    pub fn new(problems: &Problems, files: &[SourceFile]) -> Self {
        Self {
            problems: problems
                .list
                .iter()
                .map(|problem| Shown::new(problem, files))
                .collect(),
            more: problems.more,
        }
    }

    /// One error about the settings as a whole.
    pub(crate) fn of_settings(file: &SourceFile, message: String) -> Self {
        let at = Origin {
            file: Arc::clone(&file.name),
            line: 1,
            column: 1,
        };
        let problem = Shown {
            severity: "error".to_owned(),
            at,
            message,
            help: None,
            other: None,
            drawing: None,
        };
        Self {
            problems: vec![problem],
            more: 0,
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

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.problems {
            writeln!(f, "{}", problem.line())?;
            f.write_str(problem.drawing.as_deref().unwrap_or_default())?;
        }
        match self.more {
            0 => Ok(()),
            more => writeln!(f, "... and {more} more"),
        }
    }
}

impl Shown {
    fn new(problem: &Problem, files: &[SourceFile]) -> Self {
        Self {
            severity: problem.severity().to_string(),
            at: problem.at.origin.clone(),
            message: problem.kind.to_string(),
            help: problem.help(),
            other: problem
                .other
                .as_ref()
                .map(|place| (problem.other_label().to_owned(), place.origin.clone())),
            drawing: draw(problem, files),
        }
    }

    /// One line: `policy.d/a.toml:3:14: error: ...`.
    #[must_use]
    pub fn line(&self) -> String {
        let line = format!("{}: {}: {}", self.at, self.severity, self.message);
        match &self.other {
            Some((label, origin)) => format!("{line} ({label} at {origin})"),
            None => line,
        }
    }
}

fn draw(problem: &Problem, files: &[SourceFile]) -> Option<String> {
    let file = files
        .iter()
        .find(|file| file.name == problem.at.origin.file)?;
    let source = std::str::from_utf8(&file.bytes).ok()?;
    let label = |place: &Place, words: &str| LabeledSpan::at(place.span.clone(), words.to_owned());
    let mut labels = vec![label(&problem.at, problem.label())];
    if let Some(other) = problem
        .other
        .as_ref()
        .filter(|other| other.origin.file == file.name)
    {
        labels.push(label(other, problem.other_label()));
    }
    let diagnostic = MietteDiagnostic::new(problem.kind.to_string())
        .with_severity(match problem.severity() {
            policy::Severity::Advice => Severity::Advice,
            policy::Severity::Warning => Severity::Warning,
            policy::Severity::Error => Severity::Error,
        })
        .with_labels(labels);
    let diagnostic = match problem.help() {
        Some(help) => diagnostic.with_help(help),
        None => diagnostic,
    };
    let report = miette::Report::new(diagnostic)
        .with_source_code(NamedSource::new(&*file.name, source.to_owned()));
    let mut drawing = String::new();
    let handler = GraphicalReportHandler::new_themed(GraphicalTheme::unicode_nocolor());
    handler.render_report(&mut drawing, report.as_ref()).ok()?;
    Some(drawing)
}
