//! The evaluator.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::{Case, Outcome};

/// What becomes of a request.
#[must_use]
pub fn evaluate(case: &Case) -> Outcome {
    let boundary: Vec<Value> = case.boundary.iter().cloned().collect();
    let session = case.session.clone().unwrap_or_default();
    let everywhere = [&case.identity, &boundary, &session, &case.resource];
    if everywhere
        .iter()
        .any(|documents| has(case, documents, "Deny"))
    {
        return Outcome::Denied;
    }
    let own_account = case.caller.split(':').nth(4) == Some(&case.account);
    let by_identity = has(case, &case.identity, "Allow");
    let by_resource = has(case, &case.resource, "Allow");
    let named = has_for(case, &case.resource, "Allow", names);
    let granted = has_for(case, &case.resource, "Allow", |case, statement| {
        whom(case, statement) && !is_only_the_account(case, statement)
    });
    let by_account = if own_account {
        by_identity || granted
    } else {
        by_identity && by_resource
    };
    let within = case.boundary.is_none() || has(case, &boundary, "Allow");
    let within = within && (case.session.is_none() || has(case, &session, "Allow"));
    if own_account && named || by_account && within {
        Outcome::Allowed
    } else {
        Outcome::NotAllowed
    }
}

/// Whether a statement of this effect matches.
fn has(case: &Case, documents: &[Value], effect: &str) -> bool {
    has_for(case, documents, effect, |_, _| true)
}

/// Whether a statement of this effect matches, of which something else is true too.
fn has_for(
    case: &Case,
    documents: &[Value],
    effect: &str,
    also: impl Fn(&Case, &Value) -> bool,
) -> bool {
    documents.iter().any(|document| {
        let expand = document["Version"] == "2012-10-17";
        list(&document["Statement"]).into_iter().any(|statement| {
            statement["Effect"] == effect
                && either(statement, "Action", |value| is_action(case, value))
                && either(statement, "Resource", |value| {
                    is_resource(case, value, expand)
                })
                && whom(case, statement)
                && also(case, statement)
                && holds(case, &statement["Condition"], expand)
        })
    })
}

/// Whether one of the texts of `element` matches, or none of those of its negation.
fn either(statement: &Value, element: &str, matches: impl Fn(&str) -> bool) -> bool {
    let texts = |value: &Value| {
        list(value)
            .into_iter()
            .filter_map(Value::as_str)
            .any(&matches)
    };
    let negated = &statement[format!("Not{element}")];
    match (&statement[element], negated) {
        (Value::Null, Value::Null) => true,
        (Value::Null, negated) => !texts(negated),
        (plain, _) => texts(plain),
    }
}

fn is_action(case: &Case, pattern: &str) -> bool {
    pattern == "*" || like(&wild(&pattern.to_lowercase()), &case.action.to_lowercase())
}

fn is_resource(case: &Case, pattern: &str, expand: bool) -> bool {
    pattern == "*" || is_like_arn(case, pattern, &case.arn, expand, true)
}

/// Whether each of six parts matches.
fn is_like_arn(case: &Case, pattern: &str, arn: &str, expand: bool, any_region: bool) -> bool {
    let Some(pattern) = tokens(case, pattern, expand, true) else {
        return false;
    };
    let colon = Token::Character(':');
    let parts: Vec<&[Token]> = pattern.splitn(6, |token| *token == colon).collect();
    let subject: Vec<&str> = arn.splitn(6, ':').collect();
    parts.len() == 6
        && subject.len() == 6
        && parts
            .iter()
            .zip(subject)
            .enumerate()
            .all(|(number, (part, subject))| {
                any_region && number == 3 && part.is_empty() || like(part, subject)
            })
}

fn whom(case: &Case, statement: &Value) -> bool {
    match (&statement["Principal"], &statement["NotPrincipal"]) {
        (Value::Null, Value::Null) => true,
        (Value::Null, _) if statement["Effect"] == "Deny" && case.boundary.is_some() => true,
        (Value::Null, negated) => !is_among(case, negated),
        (plain, _) => is_among(case, plain),
    }
}

fn is_among(case: &Case, principals: &Value) -> bool {
    if principals == "*" {
        return true;
    }
    let account = case.caller.split(':').nth(4).unwrap_or_default();
    let mine = [
        "*".to_owned(),
        account.to_owned(),
        format!("arn:aws:iam::{account}:root"),
        case.caller.clone(),
        role(case).unwrap_or_default(),
    ];
    list(&principals["AWS"])
        .into_iter()
        .filter_map(Value::as_str)
        .any(|text| mine.iter().any(|mine| mine == text))
}

/// The ARN of the caller's role. Roles of these tests have no path.
fn role(case: &Case) -> Option<String> {
    let (start, rest) = case.caller.split_once(":assumed-role/")?;
    let name = rest.split('/').next()?;
    Some(format!("{}:role/{name}", start.replace(":sts:", ":iam:")))
}

/// Whether the statement's Principal says nothing closer than the caller's account.
fn is_only_the_account(case: &Case, statement: &Value) -> bool {
    let principal = &statement["Principal"];
    let texts = list(&principal["AWS"]);
    let closer = ["*", &case.caller, &role(case).unwrap_or_default()];
    !principal.is_null()
        && *principal != "*"
        && !texts
            .iter()
            .any(|text| closer.iter().any(|closer| **text == **closer))
}

fn names(case: &Case, statement: &Value) -> bool {
    list(&statement["Principal"]["AWS"])
        .into_iter()
        .any(|text| *text == case.caller)
}

fn holds(case: &Case, block: &Value, expand: bool) -> bool {
    let none = Map::new();
    let operators = block.as_object().unwrap_or(&none);
    operators.iter().all(|(operator, keys)| {
        keys.as_object()
            .unwrap_or(&none)
            .iter()
            .all(|(key, values)| {
                let values: Vec<String> = list(values).into_iter().map(text).collect();
                test(case, operator, key, &values, expand)
            })
    })
}

fn test(case: &Case, operator: &str, key: &str, wanted: &[String], expand: bool) -> bool {
    let found = find(case, key);
    if operator == "Null" {
        return wanted
            .iter()
            .any(|wanted| (wanted == "true") == found.is_empty());
    }
    let (quantifier, name) = operator.split_once(':').unwrap_or(("", operator));
    let (name, if_exists) = match name.strip_suffix("IfExists") {
        Some(name) => (name, true),
        None => (name, false),
    };
    let negated = name.contains("Not");
    let plain = name.replace("Not", "");
    let matches = |value: &String| {
        wanted
            .iter()
            .any(|wanted| compare(case, &plain, value, wanted, expand))
    };
    match quantifier {
        "ForAllValues" => found.iter().all(|value| matches(value) != negated),
        "ForAnyValue" if found.is_empty() => if_exists,
        "ForAnyValue" => found.iter().any(|value| matches(value) != negated),
        _ if found.is_empty() => if_exists || negated,
        _ => found.iter().any(matches) != negated,
    }
}

fn find<'a>(case: &'a Case, key: &str) -> &'a [String] {
    let found = case
        .context
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(key));
    found.map_or(&[], |(_, values)| values)
}

fn compare(case: &Case, name: &str, value: &str, wanted: &str, expand: bool) -> bool {
    match name {
        "IpAddress" => {
            let network: Option<IpNetwork> = wanted.parse().ok();
            let address: Option<IpAddr> = value.parse().ok();
            network
                .zip(address)
                .is_some_and(|(network, address)| network.contains(address))
        }
        "Bool" => {
            value.to_lowercase() == wanted.to_lowercase()
                && ["true", "false"].contains(&&*wanted.to_lowercase())
        }
        "BinaryEquals" => value == wanted,
        "ArnEquals" | "ArnLike" => is_like_arn(case, wanted, value, expand, false),
        _ if name.starts_with("Numeric") => {
            order(&name["Numeric".len()..], number(value), number(wanted))
        }
        _ if name.starts_with("Date") => order(&name["Date".len()..], date(value), date(wanted)),
        _ => {
            let Some(wanted) = tokens(case, wanted, expand, name == "StringLike") else {
                return false;
            };
            if name == "StringEqualsIgnoreCase" {
                let lower = |token: &Token| match token {
                    Token::Character(character) => {
                        character.to_lowercase().map(Token::Character).collect()
                    }
                    other => vec![*other],
                };
                let wanted: Vec<Token> = wanted.iter().flat_map(lower).collect();
                return like(&wanted, &value.to_lowercase());
            }
            like(&wanted, value)
        }
    }
}

fn order<T: PartialOrd>(relation: &str, value: Option<T>, wanted: Option<T>) -> bool {
    let Some((value, wanted)) = value.zip(wanted) else {
        return false;
    };
    match relation {
        "LessThan" => value < wanted,
        "LessThanEquals" => value <= wanted,
        "GreaterThan" => value > wanted,
        "GreaterThanEquals" => value >= wanted,
        _ => value == wanted,
    }
}

fn number(text: &str) -> Option<f64> {
    text.parse().ok()
}

/// Seconds since 1970.
fn date(text: &str) -> Option<f64> {
    let moment = || text.parse::<Timestamp>().ok();
    text.parse()
        .ok()
        .or_else(|| Some(moment()?.as_duration().as_secs_f64()))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    Any,
    Character(char),
    One,
}

fn wild(text: &str) -> Vec<Token> {
    let token = |character| match character {
        '*' => Token::Any,
        '?' => Token::One,
        other => Token::Character(other),
    };
    text.chars().map(token).collect()
}

/// A pattern with its variables put in; none if one has no value.
fn tokens(case: &Case, text: &str, expand: bool, wildcards: bool) -> Option<Vec<Token>> {
    let plain = |text: &str| -> Vec<Token> {
        if wildcards {
            wild(text)
        } else {
            text.chars().map(Token::Character).collect()
        }
    };
    let mut all = Vec::new();
    let mut rest = text;
    while expand && let Some((before, after)) = rest.split_once("${") {
        all.extend(plain(before));
        let (variable, after) = after.split_once('}')?;
        rest = after;
        let value = match variable {
            "*" | "?" | "$" => variable.to_owned(),
            _ => {
                let (key, default) = match variable.split_once(", ") {
                    Some((key, default)) => (key, Some(default.trim_matches('\'').to_owned())),
                    None => (variable, None),
                };
                match find(case, key) {
                    [value] => value.clone(),
                    _ => default?,
                }
            }
        };
        all.extend(value.chars().map(Token::Character));
    }
    all.extend(plain(rest));
    Some(all)
}

/// Whether a pattern matches, by a table: what the first i tokens match of the first j characters.
fn like(pattern: &[Token], subject: &str) -> bool {
    let subject: Vec<char> = subject.chars().collect();
    let mut table = vec![vec![false; subject.len() + 1]; pattern.len() + 1];
    table[0][0] = true;
    for i in 1..=pattern.len() {
        for j in 0..=subject.len() {
            table[i][j] = match pattern[i - 1] {
                Token::Any => table[i - 1][j] || j > 0 && table[i][j - 1],
                Token::One => j > 0 && table[i - 1][j - 1],
                Token::Character(character) => {
                    j > 0 && table[i - 1][j - 1] && subject[j - 1] == character
                }
            };
        }
    }
    table[pattern.len()][subject.len()]
}

fn list(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(items) => items.iter().collect(),
        Value::Null => Vec::new(),
        single => vec![single],
    }
}

fn text(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}
