//! Draws rates. What others have written, such as names of hosts, is made visible first, and cut to its place by the columns that it takes.

#[cfg(test)]
mod tests;

use std::cmp::Ordering;

use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Span;

use super::model::{GateRates, ListenerRates, Named, Rate, Rates, in_a_second};
use super::view::{Extent, Flow, Keys, Panel, Sort, View};
use crate::control::api::{AttachMode, RuleVerdict};
use crate::report::visible;

/// Below this, one panel is all there is room for.
const SMALL: (u16, u16) = (70, 16);
/// Lines above the panels.
const HEAD: u16 = 3;

const HELP: [&str; 14] = [
    "q            end",
    "tab, arrows  another panel; rows of this one",
    "enter        this panel alone, or all again",
    "s            sort by the first column, the second, the name",
    "p, space     pause, go on",
    "/            only hosts whose name has this; esc takes it back",
    "",
    "Rates are differences of counters, and - is a rate that cannot be told:",
    "the first one, and one after counters began anew.",
    "Hosts and rules are the 200 busiest.",
    "SOURCES come from events, of which the kernel sends some a second only",
    "(events_per_second in config.toml). ~ is what they stand for, if the",
    "others came from the same sources.",
    "Any key goes back.",
];

/// Draws all of it. `None` is before the first reading.
pub(crate) fn draw(frame: &mut Frame<'_>, rates: Option<&Rates>, view: &mut View) {
    let area = frame.area();
    let buffer = frame.buffer_mut();
    if view.keys == Keys::Help {
        for (line, text) in (area.top()..area.bottom()).zip(HELP) {
            put(buffer, row(area, line), text, Style::new());
        }
        return;
    }
    let [head, body, foot] = Layout::vertical([
        Constraint::Length(HEAD),
        Constraint::Min(0),
        Constraint::Length(1),
    ])
    .areas(area);
    let nothing = Rates::default();
    heading(buffer, head, rates, view);
    let rates = rates.unwrap_or(&nothing);
    let is_small = area.width < SMALL.0 || area.height < SMALL.1;
    if view.extent == Extent::One || is_small {
        panel(buffer, body, rates, view, view.focus);
    } else {
        let rows = [
            Constraint::Ratio(3, 10),
            Constraint::Ratio(3, 10),
            Constraint::Min(0),
        ];
        let [top, middle, bottom] = Layout::vertical(rows).areas(body);
        let halves = Layout::horizontal([Constraint::Ratio(1, 2); 2]).spacing(1);
        let [reasons, listener] = halves.areas(top);
        let [hosts, sources] = halves.areas(middle);
        for (area, one) in [
            (reasons, Panel::Reasons),
            (listener, Panel::Listener),
            (hosts, Panel::Hosts),
            (sources, Panel::Sources),
            (bottom, Panel::Rules),
        ] {
            panel(buffer, area, rates, view, one);
        }
    }
    footing(buffer, foot, view);
}

fn heading(buffer: &mut Buffer, area: Rect, rates: Option<&Rates>, view: &View) {
    let generation =
        |number: Option<u64>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
    let gate = rates.and_then(|rates| rates.gate.as_ref());
    let listener = rates.and_then(|rates| rates.listener.as_ref());
    let mut title = format!(
        "swf-filter top  generation: gate {}, listener {}",
        generation(gate.map(|gate| gate.generation)),
        generation(listener.and_then(|listener| listener.generation))
    );
    if view.flow == Flow::Paused {
        title.push_str("  PAUSED");
    }
    if !view.filter.is_empty() {
        title.push_str("  host: ");
        title.push_str(&visible(&view.filter));
    }
    let width = usize::from(area.width);
    let title = format!("{title:<width$}");
    put(buffer, row(area, area.top()), &title, reversed());
    put(
        buffer,
        row(area, area.top() + 1),
        &totals(gate, listener),
        bold(),
    );
    let (text, style) = state(rates);
    put(buffer, row(area, area.top() + 2), &text, style);
}

fn totals(gate: Option<&GateRates>, listener: Option<&ListenerRates>) -> String {
    let mut parts = Vec::new();
    if let Some(gate) = gate {
        parts.push(format!("packets {}/s", rate(gate.packets)));
        parts.push(format!("{}B/s", rate(gate.bytes)));
        parts.push(format!("dropped {}/s", rate(gate.dropped)));
    }
    if let Some(listener) = listener {
        let requests: Vec<String> = listener
            .requests
            .iter()
            .map(|one| format!("{} {}/s", visible(&one.name), rate(one.rate)))
            .collect();
        parts.push(format!("requests: {}", requests.join(", ")));
    }
    parts.join("  ")
}

/// The worst that there is to say.
fn state(rates: Option<&Rates>) -> (String, Style) {
    let Some(rates) = rates else {
        return ("asking...".to_owned(), Style::new());
    };
    if let Some(why) = &rates.gate_error {
        let text = format!("NO DAEMON ANSWERS, trying again: {}", visible(why));
        return (text, warning());
    }
    let more = match rates.warnings.len() {
        0 | 1 => String::new(),
        count => format!(" (and {} more)", count - 1),
    };
    if let Some(first) = rates.warnings.first() {
        return (format!("warning{more}: {}", visible(first)), warning());
    }
    let interfaces = rates.gate.iter().flat_map(|gate| &gate.interfaces);
    let interfaces: Vec<String> = interfaces
        .map(|interface| {
            let how = match interface.mode {
                Some(AttachMode::Driver) => "driver",
                Some(AttachMode::Generic) => "generic",
                None => "NOT ATTACHED",
            };
            format!("{} {how}", visible(&interface.name))
        })
        .collect();
    (interfaces.join(", "), Style::new())
}

fn footing(buffer: &mut Buffer, area: Rect, view: &View) {
    let text = match view.keys {
        Keys::Filter => format!(
            "host has: {}_  (enter keeps it, esc takes it back)",
            visible(&view.filter)
        ),
        _ => "q end  tab panel  up/down rows  enter one panel  s sort  p pause  / host  ? help"
            .to_owned(),
    };
    put(
        buffer,
        area,
        &text,
        Style::new().add_modifier(Modifier::DIM),
    );
}

/// What a panel shows.
struct Table {
    title: String,
    columns: String,
    rows: Vec<Row>,
}

struct Row {
    /// What it is sorted by.
    first: f64,
    second: f64,
    name: String,
    text: String,
    style: Style,
}

fn panel(buffer: &mut Buffer, area: Rect, rates: &Rates, view: &mut View, panel: Panel) {
    if area.height < 2 {
        return;
    }
    let mut table = match panel {
        Panel::Hosts => hosts(rates, view),
        Panel::Listener => listener(rates, view),
        Panel::Reasons => reasons(rates),
        Panel::Rules => rules(rates, view, area.width),
        Panel::Sources => sources(rates, view),
    };
    // The listener's rows belong together as they are.
    if panel != Panel::Listener {
        let order = view.sort(panel);
        table.rows.sort_by(|a, b| compare(a, b, order));
    }
    let room = usize::from(area.height - 2);
    view.bound(panel, table.rows.len().saturating_sub(room));
    let above = view.scroll(panel);
    let below = table.rows.len().saturating_sub(above + room);
    let more = match (above, below) {
        (0, 0) => String::new(),
        (above, below) => format!(" ({above} above, {below} below)"),
    };
    let title = format!("{}{more}", table.title);
    let style = if view.focus == panel {
        reversed()
    } else {
        bold()
    };
    let width = usize::from(area.width);
    put(
        buffer,
        row(area, area.top()),
        &format!("{title:<width$}"),
        style,
    );
    let dim = Style::new().add_modifier(Modifier::DIM);
    put(buffer, row(area, area.top() + 1), &table.columns, dim);
    let rows = table.rows.iter().skip(above);
    for (line, one) in (area.top() + 2..area.bottom()).zip(rows) {
        put(buffer, row(area, line), &one.text, one.style);
    }
}

fn compare(a: &Row, b: &Row, order: Sort) -> Ordering {
    let by = match order {
        Sort::First => b.first.total_cmp(&a.first),
        Sort::Name => Ordering::Equal,
        Sort::Second => b.second.total_cmp(&a.second),
    };
    by.then_with(|| a.name.cmp(&b.name))
}

fn reasons(rates: &Rates) -> Table {
    let reasons = rates.gate.iter().flat_map(|gate| &gate.reasons);
    let rows = reasons
        .filter(|reason| reason.packets.total > 0)
        .map(|reason| {
            let name = visible(&reason.reason);
            Row {
                first: reason.packets.per_second.unwrap_or_default(),
                second: large(reason.packets.total),
                text: format!(
                    "{:>8} {:>8}  {name}",
                    rate(reason.packets),
                    number(large(reason.packets.total))
                ),
                name,
                style: if reason.drops {
                    dropping()
                } else {
                    Style::new()
                },
            }
        });
    Table {
        title: "REASONS".to_owned(),
        columns: format!("{:>8} {:>8}  reason", "packet/s", "packets"),
        rows: rows.collect(),
    }
}

fn hosts(rates: &Rates, view: &View) -> Table {
    let busiest = rates.gate.as_ref().and_then(|gate| gate.busiest.as_ref());
    let hosts = busiest.iter().flat_map(|busiest| {
        let shown = busiest.hosts.iter().filter(|host| view.shows(&host.host));
        shown.map(|host| (*busiest, host))
    });
    let rows = hosts.map(|(busiest, host)| {
        let of = |counted| in_a_second(busiest, counted);
        let name = visible(&host.host);
        Row {
            first: of(host.packets()).unwrap_or_default(),
            second: of(host.dropped + host.would_drop).unwrap_or_default(),
            text: format!(
                "{:>7} {:>7} {:>7}  {name}",
                told(of(host.passed)),
                told(of(host.dropped)),
                told(of(host.would_drop))
            ),
            name,
            style: if host.dropped > 0 {
                dropping()
            } else {
                Style::new()
            },
        }
    });
    let rows: Vec<Row> = rows.collect();
    let count = busiest.map_or(0, |busiest| busiest.host_count);
    Table {
        title: format!("HOSTS {} of {count}", rows.len()),
        columns: format!("{:>7} {:>7} {:>7}  host", "pass/s", "drop/s", "audit/s"),
        rows,
    }
}

/// What is left of the width is shared by a rule and the place where it stands.
fn rules(rates: &Rates, view: &View, width: u16) -> Table {
    const HOST: usize = 16;
    const LIST: usize = 15;
    const FIXED: usize = 8 + 1 + 10 + 1 + HOST + 1 + LIST + 1;
    let left = usize::from(width).saturating_sub(FIXED);
    let columns = |rate: &str, verdict: &str, host: &str, list: &str, rule: &str, at: &str| {
        let fixed = format!(
            "{rate:>8} {verdict:<10} {} {}",
            cell(host, HOST),
            cell(list, LIST)
        );
        // Where there is little room, the rule is worth more than its place.
        if left < 40 {
            format!("{fixed} {rule}")
        } else {
            format!("{fixed} {} {at}", cell(rule, left / 2))
        }
    };
    let busiest = rates.gate.as_ref().and_then(|gate| gate.busiest.as_ref());
    let shown = busiest.iter().flat_map(|busiest| {
        let shown = busiest.rules.iter().filter(|rule| view.shows(&rule.host));
        shown.map(|rule| (*busiest, rule))
    });
    let rows = shown.map(|(busiest, rule)| {
        let packets = in_a_second(busiest, rule.packets);
        let (verdict, style) = match rule.verdict {
            RuleVerdict::Drop => ("drop", dropping()),
            RuleVerdict::Pass => ("pass", Style::new()),
            RuleVerdict::WouldDrop => ("would drop", warning()),
        };
        let (host, name) = (visible(&rule.host), visible(&rule.rule));
        let at = visible(&rule.origin.to_string());
        Row {
            first: packets.unwrap_or_default(),
            second: in_a_second(busiest, rule.bytes).unwrap_or_default(),
            text: columns(&told(packets), verdict, &host, rule.list.name(), &name, &at),
            name: format!("{host} {name}"),
            style,
        }
    });
    let rows: Vec<Row> = rows.collect();
    let count = busiest.map_or(0, |busiest| busiest.rule_count);
    Table {
        title: format!("RULES {} of {count}", rows.len()),
        columns: columns("packet/s", "does", "host", "list", "rule", "at"),
        rows,
    }
}

fn sources(rates: &Rates, view: &View) -> Table {
    let nothing = super::model::Sources::default();
    let sources = rates.gate.as_ref().map_or(&nothing, |gate| &gate.sources);
    let shown = sources.busiest.iter().filter(|one| {
        let host = one.host.as_deref().unwrap_or_default();
        view.shows(host)
    });
    let rows = shown.map(|one| {
        let host = one.host.as_deref().map(visible).unwrap_or_default();
        Row {
            first: one.estimated_per_second.unwrap_or_default(),
            second: large(one.events),
            text: format!(
                "{:>8} {:>6}  {} {host}",
                told(one.estimated_per_second),
                one.events,
                one.source
            ),
            name: format!("{} {host}", one.source),
            style: Style::new(),
        }
    });
    let sampled = match sources.packets {
        Some(packets) if packets > sources.events => {
            format!(
                ", sampled: {} of {}",
                number(large(sources.events)),
                number(large(packets))
            )
        }
        _ => String::new(),
    };
    Table {
        title: format!("SOURCES of drops{sampled}"),
        columns: format!("{:>8} {:>6}  source, host", "~drop/s", "events"),
        rows: rows.collect(),
    }
}

fn listener(rates: &Rates, view: &View) -> Table {
    let mut rows = Vec::new();
    let mut add = |rate: Rate, what: String, style: Style| {
        rows.push(Row {
            first: 0.0,
            second: 0.0,
            name: String::new(),
            text: format!(
                "{:>8} {:>8}  {what}",
                self::rate(rate),
                number(large(rate.total))
            ),
            style,
        });
    };
    let listener = rates.listener.as_ref();
    for one in listener.iter().flat_map(|listener| &listener.requests) {
        let style = if one.name == "allowed" {
            Style::new()
        } else {
            dropping()
        };
        add(one.rate, format!("requests {}", visible(&one.name)), style);
    }
    let fronts = listener.iter().flat_map(|listener| &listener.listeners);
    for front in fronts.filter(|front| view.shows(&front.host)) {
        let name = visible(&front.name);
        add(
            front.accepted,
            format!("{name}: connections, {} open", front.open),
            Style::new(),
        );
        let kinds = [
            ("turned away", &front.turned_away),
            ("handshake", &front.handshakes_refused),
        ];
        for (kind, all) in kinds {
            for Named { name: reason, rate } in all {
                add(
                    *rate,
                    format!("{name}: {kind} {}", visible(reason)),
                    dropping(),
                );
            }
        }
    }
    for one in listener.iter().flat_map(|listener| &listener.upstreams) {
        let style = if one.healthy { Style::new() } else { warning() };
        let health = if one.healthy { "up" } else { "DOWN" };
        let called = format!("{} {}", visible(&one.name), visible(&one.address));
        add(one.requests, format!("upstream {health} {called}"), style);
        if one.failures.total > 0 {
            add(one.failures, format!("failures of {called}"), dropping());
        }
    }
    if let Some(lost) = listener.map(|listener| listener.audit_lost)
        && lost.total > 0
    {
        add(lost, "audit records lost".to_owned(), warning());
    }
    let title = match (&rates.listener_error, listener) {
        (Some(why), _) => format!("LISTENER: none answers: {}", visible(why)),
        (None, _) => "LISTENER".to_owned(),
    };
    Table {
        title,
        columns: format!("{:>8} {:>8}  what", "a second", "total"),
        rows,
    }
}

/// One line of an area.
fn row(area: Rect, line: u16) -> Rect {
    Rect {
        y: line,
        height: 1,
        ..area
    }
    .intersection(area)
}

/// Writes a text into one line, and no further.
fn put(buffer: &mut Buffer, area: Rect, text: &str, style: Style) {
    let area = area.intersection(buffer.area);
    if !area.is_empty() {
        let text = cut(text, usize::from(area.width));
        buffer.set_stringn(area.x, area.y, text, usize::from(area.width), style);
    }
}

/// As much of a text as fits, and a mark if that is not all.
fn cut(text: &str, width: usize) -> String {
    if Span::raw(text).width() <= width {
        return text.to_owned();
    }
    let mut kept = String::new();
    let mut used = 0;
    for character in text.chars() {
        used += Span::raw(character.to_string()).width();
        if used >= width {
            break;
        }
        kept.push(character);
    }
    if width > 0 {
        kept.push('…');
    }
    kept
}

/// The same, filled up with blanks.
fn cell(text: &str, width: usize) -> String {
    let mut cut = cut(text, width);
    let used = Span::raw(cut.as_str()).width();
    cut.extend(std::iter::repeat_n(' ', width.saturating_sub(used)));
    cut
}

fn rate(rate: Rate) -> String {
    told(rate.per_second)
}

fn told(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), number)
}

/// A number in six characters.
fn number(value: f64) -> String {
    let (divisor, unit) = match value {
        _ if value < 1e5 => (1.0, ""),
        _ if value < 1e6 => (1e3, "k"),
        _ if value < 1e9 => (1e6, "M"),
        _ if value < 1e12 => (1e9, "G"),
        _ => (1e12, "T"),
    };
    let scaled = value / divisor;
    if scaled < 1000.0 && scaled.fract() > 0.0 {
        format!("{scaled:.1}{unit}")
    } else {
        format!("{scaled:.0}{unit}")
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "it is shown with three or four digits"
)]
fn large(count: u64) -> f64 {
    count as f64
}

fn bold() -> Style {
    Style::new().add_modifier(Modifier::BOLD)
}

fn reversed() -> Style {
    Style::new().add_modifier(Modifier::REVERSED)
}

fn dropping() -> Style {
    Style::new().fg(Color::Red)
}

fn warning() -> Style {
    Style::new().fg(Color::Yellow).add_modifier(Modifier::BOLD)
}
