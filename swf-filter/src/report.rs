//! Draws problems with source text and carets.

use std::fmt::Write;

use miette::{
    GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteDiagnostic, NamedSource, Report,
    Severity,
};
use swf_filter_core::policy::{self, Place, Problem, Problems, SourceFile};

/// Problems as text for a terminal, with the lines of `files` that they stand in.
#[must_use]
pub fn render(problems: &Problems, files: &[SourceFile]) -> String {
    let mut text = String::new();
    for problem in &problems.list {
        let _never_fails = writeln!(text, "{problem}");
        if let Some(drawing) = draw(problem, files) {
            text.push_str(&drawing);
        }
    }
    if problems.more > 0 {
        let _never_fails = writeln!(text, "... and {} more", problems.more);
    }
    text
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
    let report =
        Report::new(diagnostic).with_source_code(NamedSource::new(&*file.name, source.to_owned()));
    let mut drawing = String::new();
    let handler = GraphicalReportHandler::new_themed(GraphicalTheme::unicode_nocolor());
    handler.render_report(&mut drawing, report.as_ref()).ok()?;
    Some(drawing)
}
