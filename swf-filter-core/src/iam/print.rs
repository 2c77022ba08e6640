//! From a [`Document`] back to JSON.

use serde_json::{Map, Value, json};

use super::principal::Principal;
use super::{Choice, Document, Statement};

impl Document {
    /// The document as JSON, which reads back as the same document.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut members = Map::new();
        members.insert("Version".into(), self.version.name().into());
        if let Some(id) = &self.id {
            members.insert("Id".into(), (**id).into());
        }
        let statements = self.statements.iter().map(statement);
        members.insert("Statement".into(), statements.collect());
        members.into()
    }
}

fn statement(statement: &Statement) -> Value {
    let mut members = Map::new();
    if let Some(sid) = &statement.sid {
        members.insert("Sid".into(), (**sid).into());
    }
    members.insert("Effect".into(), statement.effect.name().into());
    if let Some(principals) = &statement.principals {
        insert(&mut members, "Principal", principals, |list| {
            principal_list(list)
        });
    }
    insert(
        &mut members,
        "Action",
        &statement.actions.patterns,
        |texts| texts.iter().map(|text| &**text).collect(),
    );
    if let Some(resources) = &statement.resources {
        insert(&mut members, "Resource", resources, |patterns| {
            patterns.iter().map(|pattern| &**pattern.text()).collect()
        });
    }
    if !statement.conditions.is_empty() {
        members.insert("Condition".into(), conditions(statement));
    }
    members.into()
}

fn insert<L>(
    members: &mut Map<String, Value>,
    element: &str,
    choice: &Choice<L>,
    value: impl FnOnce(&L) -> Value,
) {
    let (prefix, patterns) = match choice {
        Choice::Of(patterns) => ("", patterns),
        Choice::Not(patterns) => ("Not", patterns),
    };
    members.insert(format!("{prefix}{element}"), value(patterns));
}

fn principal_list(principals: &[Principal]) -> Value {
    let mut members: Map<String, Value> = Map::new();
    for principal in principals {
        let (kind, text) = match principal {
            Principal::Account { text, .. } | Principal::Arn(text) => ("AWS", &**text),
            Principal::Anyone => ("AWS", "*"),
            Principal::Other { kind, text } => (&**kind, &**text),
        };
        let list = members.entry(kind).or_insert_with(|| json!([]));
        if let Value::Array(list) = list {
            list.push(text.into());
        }
    }
    members.into()
}

fn conditions(statement: &Statement) -> Value {
    let mut block: Map<String, Value> = Map::new();
    for condition in &statement.conditions {
        let keys = block
            .entry(condition.operator.to_string())
            .or_insert_with(|| json!({}));
        if let Value::Object(keys) = keys {
            let texts = condition.texts.iter().map(|text| &**text);
            keys.insert(condition.key.text().to_string(), texts.collect());
        }
    }
    block.into()
}
