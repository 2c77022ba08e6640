//! Plots of figures over the number of prefixes, as one SVG.
//!
//! Both axes are logarithmic: costs range over three powers of ten, and lists over six.

use std::fmt::Write as _;

use swf_filter_tests::figure::Figure;

const WIDTH: f64 = 520.0;
const HEIGHT: f64 = 360.0;
/// Around the axes: left, right, top and bottom.
const MARGINS: [f64; 4] = [60.0, 20.0, 40.0, 120.0];
const COLUMNS: usize = 2;
/// Told apart also by those who see few colours (Okabe and Ito, 2008).
const COLORS: [&str; 7] = [
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000",
];
/// What is only of use to check the method.
const HIDDEN: &str = "stream before bare XDP_DROP";

/// One plot.
struct Plot<'a> {
    title: String,
    /// Lines by name.
    lines: Vec<(&'a str, Vec<(f64, f64)>)>,
}

/// A logarithmic axis, from one power of ten to another, on some pixels.
#[derive(Clone, Copy)]
struct Axis {
    least: i32,
    most: i32,
    from: f64,
    to: f64,
}

pub(crate) fn draw(figures: &[Figure]) -> String {
    let plots = plots(figures);
    let rows = plots.len().div_ceil(COLUMNS);
    let (width, height) = (WIDTH * number(COLUMNS), HEIGHT * number(rows));
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" \
         font-family=\"sans-serif\" font-size=\"11\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    for (place, plot) in plots.iter().enumerate() {
        let (column, row) = (place % COLUMNS, place / COLUMNS);
        let (x, y) = (WIDTH * number(column), HEIGHT * number(row));
        let _written = writeln!(
            svg,
            "<g transform=\"translate({x} {y})\">\n{}</g>",
            plot.draw()
        );
    }
    svg + "</svg>\n"
}

/// A plot for each case that has lines.
fn plots(figures: &[Figure]) -> Vec<Plot<'_>> {
    let mut plots: Vec<Plot<'_>> = Vec::new();
    let shown = figures
        .iter()
        .filter(|figure| figure.series != HIDDEN && figure.best > 0.0);
    for figure in shown {
        let Some(size) = figure.size else { continue };
        let title = format!("{}: {}, {}", figure.part, figure.case, figure.unit);
        let place = plots.iter().position(|plot| plot.title == title);
        let place = place.unwrap_or_else(|| {
            plots.push(Plot {
                title,
                lines: Vec::new(),
            });
            plots.len() - 1
        });
        let point = (number(size), figure.best);
        let lines = &mut plots[place].lines;
        match lines.iter_mut().find(|(name, _)| *name == figure.series) {
            Some((_, points)) => points.push(point),
            None => lines.push((&figure.series, vec![point])),
        }
    }
    // One alone shows nothing beside which it could be seen.
    plots.retain(|plot| {
        plot.lines.len() > 1 && plot.lines.iter().any(|(_, points)| points.len() > 1)
    });
    plots
}

impl Plot<'_> {
    fn draw(&self) -> String {
        let [left, right, top, bottom] = MARGINS;
        let points = || self.lines.iter().flat_map(|(_, points)| points);
        let x = Axis::new(points().map(|point| point.0), left, WIDTH - right);
        let y = Axis::new(points().map(|point| point.1), HEIGHT - bottom, top);
        let mut svg = format!(
            "<text x=\"{}\" y=\"22\" font-size=\"13\" text-anchor=\"middle\">{}</text>\n",
            WIDTH / 2.0,
            escaped(&self.title)
        );
        for (value, place) in x.ticks() {
            let _written = writeln!(
                svg,
                "<path d=\"M{place:.1} {top}V{:.1}\" stroke=\"#ddd\"/>\
                 <text x=\"{place:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{value}</text>",
                y.from,
                y.from + 14.0
            );
        }
        for (value, place) in y.ticks() {
            let _written = writeln!(
                svg,
                "<path d=\"M{left} {place:.1}H{:.1}\" stroke=\"#ddd\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{value}</text>",
                x.to,
                left - 6.0,
                place + 4.0
            );
        }
        for (place, (name, points)) in self.lines.iter().enumerate() {
            let color = COLORS[place % COLORS.len()];
            let path: Vec<String> = points
                .iter()
                .map(|(a, b)| format!("{:.1},{:.1}", x.place(*a), y.place(*b)))
                .collect();
            let _written = writeln!(
                svg,
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{color}\" stroke-width=\"2\"/>",
                path.join(" ")
            );
            for (a, b) in points {
                let _written = writeln!(
                    svg,
                    "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\" fill=\"{color}\"><title>{}: {b:.2}</title></circle>",
                    x.place(*a),
                    y.place(*b),
                    escaped(name)
                );
            }
            let (column, row) = (place % 2, place / 2);
            let key = (
                left + number(column) * 220.0,
                y.from + 36.0 + number(row) * 16.0,
            );
            let _written = writeln!(
                svg,
                "<path d=\"M{:.1} {:.1}h16\" stroke=\"{color}\" stroke-width=\"3\"/><text x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                key.0,
                key.1 - 4.0,
                key.0 + 22.0,
                key.1,
                escaped(name)
            );
        }
        svg
    }
}

impl Axis {
    fn new(values: impl Iterator<Item = f64> + Clone, from: f64, to: f64) -> Self {
        let least = values.clone().fold(f64::INFINITY, f64::min);
        let most = values.fold(0.0, f64::max);
        #[expect(clippy::cast_possible_truncation, reason = "powers of ten")]
        let [least, most] = [least.log10().floor() as i32, most.log10().ceil() as i32];
        Self {
            least,
            most: most.max(least + 1),
            from,
            to,
        }
    }

    fn place(self, value: f64) -> f64 {
        let part = (value.log10() - f64::from(self.least)) / f64::from(self.most - self.least);
        self.from + (self.to - self.from) * part
    }

    fn ticks(self) -> impl Iterator<Item = (f64, f64)> {
        (self.least..=self.most).map(move |power| {
            let value = 10_f64.powi(power);
            (value, self.place(value))
        })
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[expect(
    clippy::cast_precision_loss,
    reason = "there are no more than some millions"
)]
fn number(count: usize) -> f64 {
    count as f64
}
