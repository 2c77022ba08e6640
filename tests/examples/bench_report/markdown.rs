//! The report as a text to read.

use std::collections::BTreeSet;
use std::fmt::{self, Write as _};

use swf_filter_tests::figure::Figure;

use crate::Report;

pub(crate) fn write(report: &Report) -> Result<String, fmt::Error> {
    let machine = &report.machine;
    let mut text = format!(
        "# What swf-filter costs\n\n\
         {} of {}, kernel {}, load {}. A {} run.\n\n\
         Each cell has the best, the median and the worst round, and after `=` the ratio of the best to that of the baseline. Only \
         ratios can be compared with those of other runs.\n\n",
        machine.cpus, machine.cpu, machine.kernel, machine.load, report.effort
    );
    for (program, version) in &machine.versions {
        writeln!(text, "* {program}: {version}")?;
    }
    for part in firsts(&report.figures, |figure| figure.part.clone()) {
        let of_part: Vec<&Figure> = report
            .figures
            .iter()
            .filter(|figure| figure.part == part)
            .collect();
        writeln!(text, "\n## {part}")?;
        if of_part.iter().all(|figure| figure.size.is_none()) {
            plain(&mut text, &of_part)?;
            continue;
        }
        for case in firsts(&of_part, |figure| figure.case.clone()) {
            let of_case: Vec<&Figure> = of_part
                .iter()
                .copied()
                .filter(|figure| figure.case == case)
                .collect();
            by_size(&mut text, &case, &of_case)?;
        }
    }
    if !report.notes.is_empty() {
        text.push_str("\n## Left out\n\n");
        for note in &report.notes {
            writeln!(text, "* {note}")?;
        }
    }
    Ok(text)
}

/// A line for each contender, and a column for each number of prefixes.
fn by_size(text: &mut String, case: &str, figures: &[&Figure]) -> fmt::Result {
    let sizes: BTreeSet<usize> = figures.iter().filter_map(|figure| figure.size).collect();
    write!(text, "\n### {case}: {}\n\n|", figures[0].unit)?;
    for size in &sizes {
        write!(text, " | {size}")?;
    }
    text.push_str(" |\n| ---");
    text.push_str(&" | ---".repeat(sizes.len()));
    text.push_str(" |\n");
    for series in firsts(figures, |figure| figure.series.clone()) {
        write!(text, "| {series}")?;
        for size in &sizes {
            let mut of_series = figures.iter().filter(|figure| figure.series == series);
            let cell = of_series.find(|figure| figure.size == Some(*size));
            write!(
                text,
                " | {}",
                cell.map_or_else(|| "-".to_owned(), |figure| with_ratio(figure))
            )?;
        }
        text.push_str(" |\n");
    }
    Ok(())
}

/// A line for each figure.
fn plain(text: &mut String, figures: &[&Figure]) -> fmt::Result {
    text.push_str(
        "\n| | | best / median / worst | ratio | to |\n| --- | --- | --- | --- | --- |\n",
    );
    for figure in figures {
        let Figure {
            series,
            case,
            unit,
            baseline,
            ..
        } = figure;
        let ratio = figure
            .ratio
            .map_or_else(String::new, |ratio| format!("{ratio:.2}"));
        writeln!(
            text,
            "| {series} | {case} | {} {unit} | {ratio} | {baseline} |",
            rounds(figure)
        )?;
    }
    Ok(())
}

/// The best, the median and the worst round, and after `=` the ratio of the best.
fn with_ratio(figure: &Figure) -> String {
    let mut cell = rounds(figure);
    if let Some(ratio) = figure.ratio {
        let _written = write!(cell, " = {ratio:.2}");
    }
    cell
}

fn rounds(figure: &Figure) -> String {
    [figure.best, figure.median, figure.worst]
        .map(short)
        .join(" / ")
}

/// Three digits that count, or all before the point.
fn short(value: f64) -> String {
    match value.abs() {
        0.0..1.0 => format!("{value:.3}"),
        1.0..10.0 => format!("{value:.2}"),
        10.0..100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

/// What there is of something, in the order of first appearance.
fn firsts<F: std::borrow::Borrow<Figure>>(
    figures: &[F],
    of: impl Fn(&Figure) -> String,
) -> Vec<String> {
    let mut known = Vec::new();
    for figure in figures {
        let one = of(figure.borrow());
        if !known.contains(&one) {
            known.push(one);
        }
    }
    known
}
