//! Dashboard and alert rules ask for no metric and no label that there is not, as far as names can be read without all of `PromQL`.

use serde_json::Value;

use super::*;

/// A metric that is asked for, and the labels that it is asked by.
type Asked = (String, Vec<String>);

/// What an expression asks for: metrics with the labels of their selectors, and the labels that it groups and joins by.
fn asked(expression: &str) -> (Vec<Asked>, Vec<String>) {
    let mut metrics: Vec<Asked> = Vec::new();
    let mut labels = Vec::new();
    let mut rest = expression;
    let mut joins = false;
    while let Some(first) = rest.chars().next() {
        let word = |text: &str| {
            text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
                .unwrap_or(text.len())
        };
        let taken = match first {
            '"' => quoted(rest),
            '[' => rest.find(']').expect("a range ends") + 1,
            '{' => {
                let length = end_of_selector(rest);
                let (_, of_metric) = metrics.last_mut().expect("a selector has a metric");
                of_metric.extend(selected(&rest[1..length - 1]));
                length
            }
            '(' if joins => {
                joins = false;
                let length = rest.find(')').expect("a list ends") + 1;
                let list = rest[1..length - 1].split(',').map(str::trim);
                labels.extend(list.filter(|label| !label.is_empty()).map(String::from));
                length
            }
            '$' => 1 + word(&rest[1..]),
            '0'..='9' => word(rest),
            'a'..='z' | 'A'..='Z' | '_' => {
                let length = word(rest);
                let (name, after) = rest.split_at(length);
                match name {
                    "by" | "without" | "on" | "ignoring" | "group_left" | "group_right" => {
                        joins = true;
                    }
                    "and" | "or" | "unless" | "offset" | "bool" => {}
                    _ if after.trim_start().starts_with('(') => {}
                    // Of an aggregation, its labels may come first: `sum by (instance) (...)`.
                    "sum" | "min" | "max" | "count" | "avg" | "topk" => {}
                    _ => metrics.push((name.to_owned(), Vec::new())),
                }
                length
            }
            _ => first.len_utf8(),
        };
        rest = &rest[taken..];
    }
    (metrics, labels)
}

/// Bytes of a text in quotes, at the start of `text`.
fn quoted(text: &str) -> usize {
    let mut escaped = false;
    for (at, character) in text.char_indices().skip(1) {
        match character {
            '"' if !escaped => return at + 1,
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    panic!("no end of {text}");
}

fn end_of_selector(text: &str) -> usize {
    let mut at = 1;
    while !text[at..].starts_with('}') {
        at += if text[at..].starts_with('"') {
            quoted(&text[at..])
        } else {
            1
        };
    }
    at + 1
}

/// Labels of a selector.
fn selected(inside: &str) -> Vec<String> {
    let mut labels = Vec::new();
    let mut rest = inside.trim_start_matches(',').trim();
    while !rest.is_empty() {
        let end = rest.find(['=', '!']).expect("a label is compared");
        labels.push(rest[..end].trim().to_owned());
        let value = rest.find('"').expect("a value is in quotes");
        rest = rest[value + quoted(&rest[value..])..]
            .trim_start_matches(',')
            .trim();
    }
    labels
}

/// Labels that Prometheus gives to all that it scrapes, and one that an alert makes.
const FROM_OUTSIDE: [&str; 3] = ["instance", "job", "machine"];

/// What is wrong with an expression, and the metrics that it asks for.
fn check(expression: &str) -> Result<BTreeSet<String>, String> {
    let samples = samples(&text());
    let (metrics, labels) = asked(expression);
    let mut known: BTreeSet<&str> = FROM_OUTSIDE.into();
    for (metric, labels) in &metrics {
        let own = match samples.get(metric) {
            Some(own) => own.clone(),
            None if metric == "up" => BTreeSet::new(),
            None => return Err(format!("there is no metric `{metric}`: {expression}")),
        };
        for label in labels {
            if !own.contains(label) && !FROM_OUTSIDE.contains(&&**label) {
                return Err(format!("`{metric}` has no label `{label}`: {expression}"));
            }
        }
        known.extend(
            samples
                .get(metric)
                .into_iter()
                .flatten()
                .map(String::as_str),
        );
    }
    for label in &labels {
        if !known.contains(&**label) {
            return Err(format!("nothing has a label `{label}`: {expression}"));
        }
    }
    if metrics.is_empty() {
        return Err(format!("nothing is asked for: {expression}"));
    }
    Ok(metrics.into_iter().map(|(metric, _)| metric).collect())
}

/// Names between `before` and `after`, as in `{{ $labels.name }}`.
fn templates(text: &str, before: &str) -> Vec<String> {
    let found = text.split(before).skip(1);
    let end = |rest: &str| rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    found
        .map(|rest| rest[..end(rest).unwrap_or(rest.len())].to_owned())
        .collect()
}

/// Name, expression and text of each alert rule.
fn alerts() -> Vec<(String, String, String)> {
    let file = file("contrib/prometheus/alerts.yaml");
    let rules = file.split("- alert: ").skip(1);
    rules
        .map(|rule| {
            let (name, rest) = rule.split_once('\n').expect("a rule has lines");
            let expression = rest
                .lines()
                .find_map(|line| line.trim().strip_prefix("expr: "));
            let expression = expression.unwrap_or_else(|| panic!("{name} has no `expr: `"));
            (name.to_owned(), expression.to_owned(), rest.to_owned())
        })
        .collect()
}

/// Each object with an `expr`, wherever it stands.
fn queries<'a>(value: &'a Value, found: &mut Vec<&'a Value>) {
    match value {
        Value::Object(fields) => {
            if fields.contains_key("expr") {
                found.push(value);
            }
            fields.values().for_each(|value| queries(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| queries(value, found)),
        _ => {}
    }
}

#[test]
fn alert_rules_ask_for_what_there_is() {
    let alerts = alerts();
    let names: BTreeSet<&str> = alerts.iter().map(|(name, ..)| &**name).collect();
    assert_eq!(names.len(), alerts.len(), "two rules have one name");
    assert!(alerts.len() >= 20);
    let samples = samples(&text());
    for (name, expression, text) in &alerts {
        let metrics = check(expression).unwrap_or_else(|error| panic!("{name}: {error}"));
        let labels: Vec<_> = metrics
            .iter()
            .filter_map(|metric| samples.get(metric))
            .collect();
        for label in templates(text, "$labels.") {
            let known = labels.iter().any(|labels| labels.contains(&label));
            assert!(
                known || FROM_OUTSIDE.contains(&&*label),
                "{name}: `{label}`"
            );
        }
        assert!(
            text.contains("severity: ") && text.contains("summary: "),
            "{name}"
        );
    }
}

#[test]
fn the_dashboard_asks_for_what_there_is_and_shows_all_of_it() {
    let dashboard: Value = serde_json::from_str(&file("contrib/grafana/swf-filter.json")).unwrap();
    let mut found = Vec::new();
    queries(&dashboard, &mut found);
    let mut shown = BTreeSet::new();
    for query in found {
        let expression = query["expr"].as_str().unwrap();
        let metrics = check(expression).unwrap_or_else(|error| panic!("{error}"));
        let samples = samples(&text());
        let labels: BTreeSet<&String> = metrics
            .iter()
            .filter_map(|metric| samples.get(metric))
            .flatten()
            .collect();
        for label in templates(query["legendFormat"].as_str().unwrap_or_default(), "{{") {
            assert!(labels.contains(&label), "{expression}: `{label}`");
        }
        shown.extend(metrics);
    }
    let variable = dashboard["templating"]["list"][1]["definition"]
        .as_str()
        .unwrap();
    for name in variable
        .split(['"', '|'])
        .filter(|part| part.starts_with("swf_"))
    {
        assert!(samples(&text()).contains_key(name), "{name}");
    }
    // A histogram shows by its buckets.
    let all = samples(&text());
    let not_shown = all.keys().filter(|name| !shown.contains(*name));
    let not_shown: Vec<_> = not_shown
        .filter(|name| !name.ends_with("_sum") && !name.ends_with("_count"))
        .collect();
    assert!(not_shown.is_empty(), "{not_shown:?}");
}

#[test]
fn a_wrong_name_is_noticed_wherever_it_stands() {
    for (expression, wrong) in [
        (
            "swf_filter_packet_total",
            "metric `swf_filter_packet_total`",
        ),
        (
            "rate(swf_filter_packets_total{cause=\"x\"}[5m])",
            "label `cause`",
        ),
        ("sum by (cause) (swf_filter_packets_total)", "label `cause`"),
        ("swf_filter_hosts + on (a) swf_filter_zones", "label `a`"),
        ("swf_filter_hosts{instance=\"}\",x=~\"y\"}", "label `x`"),
        ("time() - 7", "nothing is asked for"),
    ] {
        let error = check(expression).unwrap_err();
        assert!(error.contains(wrong), "{error}");
    }
    let fine = "topk(3, sum by (reason) (rate(swf_filter_packets_total{outcome!=\"pass\"}[5m] offset 1h))) > 2";
    assert_eq!(
        check(fine).unwrap(),
        ["swf_filter_packets_total".to_owned()].into()
    );
}
