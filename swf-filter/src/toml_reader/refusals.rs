//! Tables of files that must be refused, for tests.

use crate::report::{Report, Shown};

/// The only problem of a report.
pub(crate) fn only(report: &Report) -> Shown {
    let [problem] = report.problems.as_slice() else {
        panic!("{report}");
    };
    problem.clone()
}

/// Checks each row of `table`, whose cells stand between `=>`. The last two are line, column and the start of the message, and a
/// part of the help. Of the others, `refuse` makes a file, in which `;` stands for the end of a line, and reads it.
pub(crate) fn check(table: &str, refuse: impl Fn(&[&str]) -> Report) {
    for row in table.lines().filter(|row| !row.is_empty()) {
        let cells: Vec<_> = row.split("=>").map(str::trim).collect();
        let [file @ .., refused, help] = cells.as_slice() else {
            panic!("{row}");
        };
        let problem = only(&refuse(file));
        let words = format!(
            "{}:{}: {}",
            problem.at.line, problem.at.column, problem.message
        );
        assert!(words.starts_with(refused), "{row}\n{problem}");
        assert!(
            problem.help.iter().any(|words| words.contains(help)) || help.is_empty(),
            "{row}\n{problem}"
        );
        assert!(problem.drawing.is_some(), "{row}");
    }
}
