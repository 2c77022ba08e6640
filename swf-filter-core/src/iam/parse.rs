//! From the text of a document to a [`Document`].
//!
//! The tree of the JSON reader is walked by hand: every problem is found at once, each with its place, and nothing that
//! is not understood gets through.

use std::borrow::Cow;
use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use jsonc_parser::ast::{Object, ObjectProp, Value};
use jsonc_parser::common::Ranged;
use jsonc_parser::{CollectOptions, ParseOptions, parse_to_ast};
use serde::de::IgnoredAny;

use super::addresses::AddressSet;
use super::arn::{ArnPattern, NotArn, ResourcePattern, is_partition};
use super::condition::{Condition, Operator, Test, TextForm, Values};
use super::fault::{DocumentFault, Place, Service};
use super::key::{self, Key};
use super::limits::{self, Limit};
use super::lists::{Arns, Patterns, Principals};
use super::pattern::{BadVariable, Case, Pattern, Variables, Wildcards};
use super::principal::{Principal, is_account, is_path};
use super::{
    ActionSet, Actions, Choice, Document, Effect, Kind, Statement, StsActions, Version, value,
};
use crate::policy::fault::nearest;
use crate::policy::{Fault, Problem, Problems, SourceFile, SourceIndex};
use crate::prefix::PrefixList;
use crate::sts;
use crate::swf::Action;

/// Reads a document. None if there is a problem.
#[must_use]
pub fn parse(file: &SourceFile, kind: Kind, problems: &mut Problems) -> Option<Document> {
    let index = SourceIndex::new(file);
    let found = problems.list.len() + problems.more;
    let mut reader = Reader {
        index: &index,
        kind,
        variables: Variables::Literal,
        problems,
    };
    let document = reader.document();
    (problems.list.len() + problems.more == found)
        .then_some(document)
        .flatten()
}

/// A text and its bytes, quotes included.
struct Text<'a> {
    value: Cow<'a, str>,
    span: Range<usize>,
}

struct Reader<'a, 'b> {
    index: &'a SourceIndex<'a>,
    kind: Kind,
    variables: Variables,
    problems: &'b mut Problems,
}

impl Reader<'_, '_> {
    fn report(&mut self, fault: impl Into<Fault>, span: Range<usize>) {
        let index = self.index;
        self.problems
            .add(|| Problem::new(fault.into(), index.place(span)));
    }

    fn document(&mut self) -> Option<Document> {
        let bytes = self.index.bytes();
        if bytes.len() > limits::DOCUMENT {
            let limit = Limit::Document;
            self.report(DocumentFault::TooMany { limit }, 0..0);
            return None;
        }
        let text = match str::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => {
                let start = error.valid_up_to();
                self.report(Fault::NotUtf8, start..start + 1);
                return None;
            }
        };
        if text.starts_with('\u{feff}') {
            let message = "it starts with a byte order mark, which JSON has not".into();
            self.report(DocumentFault::Syntax { message }, 0..0);
            return None;
        }
        let tree = match parse_to_ast(text, &CollectOptions::default(), &STRICT) {
            Ok(tree) => tree.value,
            Err(error) => {
                let range = error.range();
                let message = error.kind().to_string();
                let message = lower_first(message.trim_end_matches('.'));
                self.report(DocumentFault::Syntax { message }, range.start..range.end);
                return None;
            }
        };
        let Some(tree) = tree else {
            let message = "there is nothing in it".into();
            self.report(DocumentFault::Syntax { message }, 0..0);
            return None;
        };
        // The reader takes line breaks in strings, and blanks that JSON has not.
        if let Err(error) = serde_json::from_str::<IgnoredAny>(text) {
            let lines = text
                .split_inclusive('\n')
                .take(error.line().saturating_sub(1));
            let start = lines.map(str::len).sum::<usize>() + error.column();
            let start = start.saturating_sub(1);
            let message = error.to_string();
            let message = message.split(" at line ").next().unwrap_or_default().into();
            self.report(DocumentFault::Syntax { message }, start..start);
            return None;
        }
        let root = self.object("the document", &tree)?;
        self.members(root, Place::Document);
        let version = self.version(root);
        self.variables = match version {
            Version::V2008 => Variables::Literal,
            Version::V2012 => Variables::Expand,
        };
        let id = member(root, "Id")
            .and_then(|prop| self.text("Id", &prop.value))
            .map(|text| Arc::from(&*text.value));
        let statements = self.statements(root);
        Some(Document {
            name: Arc::clone(self.index.name()),
            kind: self.kind,
            version,
            id,
            statements,
        })
    }

    fn version(&mut self, root: &Object<'_>) -> Version {
        let Some(prop) = member(root, "Version") else {
            return Version::default();
        };
        let Some(text) = self.text("Version", &prop.value) else {
            return Version::default();
        };
        match &*text.value {
            "2008-10-17" => Version::V2008,
            "2012-10-17" => Version::V2012,
            found => {
                let found = found.into();
                self.report(DocumentFault::Version { found }, text.span);
                Version::default()
            }
        }
    }

    fn statements(&mut self, root: &Object<'_>) -> Vec<Statement> {
        let Some(prop) = member(root, "Statement") else {
            let element = "Statement";
            self.report(DocumentFault::Missing { element }, span(root));
            return Vec::new();
        };
        let list = items(&prop.value);
        if list.is_empty() {
            let element = "Statement".into();
            self.report(DocumentFault::Empty { element }, span(&prop.value));
        }
        let mut sids = HashSet::new();
        let mut statements = Vec::with_capacity(list.len().min(limits::STATEMENTS));
        for (number, item) in list.into_iter().enumerate() {
            if number == limits::STATEMENTS {
                let limit = Limit::Statements;
                self.report(DocumentFault::TooMany { limit }, span(item));
                break;
            }
            let Some(object) = self.object("Statement", item) else {
                continue;
            };
            let statement = self.statement(object);
            if let Some(sid) = statement
                .as_ref()
                .and_then(|statement| statement.sid.clone())
                && !sids.insert(sid.clone())
            {
                let at = member(object, "Sid").map_or(span(object), |prop| span(&prop.value));
                let sid = sid.to_string();
                self.report(DocumentFault::DuplicateSid { sid }, at);
            }
            statements.extend(statement);
        }
        statements
    }

    fn statement(&mut self, object: &Object<'_>) -> Option<Statement> {
        self.members(object, Place::Statement);
        let sid = member(object, "Sid").and_then(|prop| self.sid(&prop.value));
        let effect = self.effect(object);
        let principals = self.principals(object);
        let actions = self.actions(object);
        let resources = self.resources(object);
        let conditions = self.conditions(object);
        Some(Statement {
            sid,
            origin: self.index.origin(object.range.start),
            effect: effect?,
            principals,
            actions: actions?,
            resources,
            conditions,
        })
    }

    fn sid(&mut self, value: &Value<'_>) -> Option<Arc<str>> {
        let text = self.text("Sid", value)?;
        // Documents of AWS's own services have blanks in the Sids of resource policies.
        let fine = |character: char| match self.kind {
            Kind::Identity => character.is_ascii_alphanumeric(),
            Kind::Resource | Kind::Trust => !character.is_control(),
        };
        if !text.value.chars().all(fine) {
            let fault = DocumentFault::Sid {
                text: text.value.into(),
            };
            self.report(fault, text.span);
            return None;
        }
        // An empty Sid is none.
        (!text.value.is_empty()).then(|| Arc::from(&*text.value))
    }

    fn effect(&mut self, object: &Object<'_>) -> Option<Effect> {
        let value = &self.required(object, "Effect")?.value;
        let text = self.text("Effect", value)?;
        match &*text.value {
            "Allow" => Some(Effect::Allow),
            "Deny" => Some(Effect::Deny),
            found => {
                let found = found.into();
                self.report(DocumentFault::Effect { found }, text.span);
                None
            }
        }
    }

    /// The member `element`, or `not_element`, of which there must be exactly one.
    fn choice<'o, 't>(
        &mut self,
        object: &'o Object<'t>,
        element: &'static str,
        not_element: &'static str,
    ) -> Option<Choice<&'o ObjectProp<'t>>> {
        match (member(object, element), member(object, not_element)) {
            (Some(plain), None) => Some(Choice::Of(plain)),
            (None, Some(negated)) => Some(Choice::Not(negated)),
            (None, None) => {
                self.report(DocumentFault::Missing { element }, span(object));
                None
            }
            (Some(plain), Some(negated)) => {
                let (later, fault) = if plain.range.start > negated.range.start {
                    (plain, (element, not_element))
                } else {
                    (negated, (not_element, element))
                };
                let (element, other) = fault;
                self.report(DocumentFault::Both { element, other }, span(&later.name));
                None
            }
        }
    }

    /// The texts of `element` or `not_element`, and which of them it is.
    fn texts_of<'o>(
        &mut self,
        object: &'o Object<'_>,
        element: &'static str,
        not_element: &'static str,
    ) -> Option<(bool, Vec<Text<'o>>)> {
        match self.choice(object, element, not_element)? {
            Choice::Of(prop) => Some((false, self.texts(element, &prop.value))),
            Choice::Not(prop) => Some((true, self.texts(not_element, &prop.value))),
        }
    }

    fn actions(&mut self, object: &Object<'_>) -> Option<Actions> {
        let (negated, texts) = self.texts_of(object, "Action", "NotAction")?;
        let mut set = 0;
        let mut named = ActionSet::default();
        let mut named_sts = StsActions::default();
        let mut patterns = Vec::with_capacity(texts.len());
        for text in texts {
            match actions_of(&text.value) {
                Ok((found, found_sts)) => {
                    named = ActionSet(named.0 | found.0);
                    named_sts = named_sts.or(found_sts);
                    patterns.push(Arc::from(&*text.value));
                    set += 1;
                }
                Err(fault) => self.report(fault, text.span),
            }
        }
        (set > 0).then(|| Actions {
            set: if negated { named.complement() } else { named },
            sts: if negated {
                named_sts.complement()
            } else {
                named_sts
            },
            patterns: choice_of(negated, patterns),
        })
    }

    fn resources(&mut self, object: &Object<'_>) -> Option<Choice<Arns<ResourcePattern>>> {
        if self.kind == Kind::Trust {
            self.refuse(object, &["Resource", "NotResource"]);
            return None;
        }
        let (negated, texts) = self.texts_of(object, "Resource", "NotResource")?;
        let mut patterns = Vec::with_capacity(texts.len());
        for text in texts {
            match ResourcePattern::new(&text.value, self.variables) {
                Ok(pattern) => {
                    self.variables(pattern.variables(), &text);
                    patterns.push(pattern);
                }
                Err(not_arn) => self.not_arn(not_arn, &text),
            }
        }
        Some(choice_of(negated, Arns::new(patterns)))
    }

    fn principals(&mut self, object: &Object<'_>) -> Option<Choice<Principals>> {
        if self.kind == Kind::Identity {
            self.refuse(object, &["Principal", "NotPrincipal"]);
            return None;
        }
        let choice = self.choice(object, "Principal", "NotPrincipal")?;
        let negated = matches!(choice, Choice::Not(_));
        let element = if negated { "NotPrincipal" } else { "Principal" };
        let value = &choice.list().value;
        let mut principals = Vec::new();
        if let Value::StringLit(text) = value {
            if text.value == "*" {
                principals.push(Principal::Anyone);
            } else {
                let text = text.value.to_string();
                self.report(DocumentFault::Principal { text }, span(value));
            }
            return Some(choice_of(negated, Principals::new(principals)));
        }
        let Value::Object(members) = value else {
            self.wrong_type(element, "`\"*\"` or an object", value);
            return None;
        };
        self.members(members, Place::Principal);
        if members.properties.is_empty() {
            let element = element.into();
            self.report(DocumentFault::Empty { element }, span(members));
        }
        for prop in &members.properties {
            let kind = prop.name.as_str();
            for text in self.texts(kind, &prop.value) {
                if let Some(principal) = principal(kind, &text.value) {
                    principals.push(principal);
                } else {
                    let fault = DocumentFault::Principal {
                        text: text.value.into(),
                    };
                    self.report(fault, text.span);
                }
            }
        }
        Some(choice_of(negated, Principals::new(principals)))
    }

    fn conditions(&mut self, object: &Object<'_>) -> Vec<Condition> {
        let mut conditions = Vec::new();
        let Some(block) =
            member(object, "Condition").and_then(|prop| self.object("Condition", &prop.value))
        else {
            return conditions;
        };
        self.duplicates(block, str::to_owned);
        for prop in &block.properties {
            let name = prop.name.as_str();
            let operator = Operator::from_name(name);
            if operator.is_none() {
                let fault = DocumentFault::Operator { text: name.into() };
                self.report(fault, span(&prop.name));
            }
            let Some(keys) = self.object(name, &prop.value) else {
                continue;
            };
            // Keys compare without case.
            self.duplicates(keys, str::to_ascii_lowercase);
            if keys.properties.is_empty() {
                let element = name.into();
                self.report(DocumentFault::Empty { element }, span(keys));
            }
            for prop in &keys.properties {
                conditions.extend(self.condition(operator, prop));
            }
        }
        conditions
    }

    fn condition(
        &mut self,
        operator: Option<Operator>,
        prop: &ObjectProp<'_>,
    ) -> Option<Condition> {
        let name = prop.name.as_str();
        let key = self.key(name, span(&prop.name));
        let texts = self.scalars(name, &prop.value);
        let (operator, key) = (operator?, key?);
        if !comparable(operator.test, key.kind()) {
            let fault = DocumentFault::OperatorKey {
                operator: operator.to_string(),
                key: name.into(),
                kind: key.kind(),
            };
            self.report(fault, span(&prop.name));
            return None;
        }
        Some(Condition {
            operator,
            key,
            values: self.values(operator, &texts)?,
            texts: texts.iter().map(|text| Arc::from(&*text.value)).collect(),
            origin: self.index.origin(prop.range.start),
        })
    }

    fn key(&mut self, name: &str, at: Range<usize>) -> Option<Key> {
        match Key::new(name) {
            Ok(key) => Some(key),
            Err(reason) => {
                let text = name.into();
                self.report(DocumentFault::Key { text, reason }, at);
                None
            }
        }
    }

    fn values(&mut self, operator: Operator, texts: &[Text<'_>]) -> Option<Values> {
        if !matches!(operator.test, Test::Arn(..) | Test::Text(..))
            && self.variables == Variables::Expand
            && let Some(text) = texts.iter().find(|text| text.value.contains("${"))
        {
            let fault = DocumentFault::VariableHere {
                text: text.value.to_string(),
                operator: operator.to_string(),
            };
            self.report(fault, text.span.clone());
            return None;
        }
        match operator.test {
            Test::Address(_) => {
                let mut list = PrefixList::default();
                self.each(texts, "an address or a CIDR", |text| {
                    value::prefix(text, &mut list)
                })?;
                Some(Values::Addresses(AddressSet::of(&list)))
            }
            Test::Arn(..) => {
                let mut patterns = Vec::with_capacity(texts.len());
                for text in texts {
                    match ArnPattern::new(&text.value, self.variables) {
                        Ok(pattern) => {
                            self.variables(pattern.variables(), text);
                            patterns.push(pattern);
                        }
                        Err(not_arn) => self.not_arn(not_arn, text),
                    }
                }
                Some(Values::Arns(Arns::new(patterns)))
            }
            Test::Binary => self
                .each(texts, "base64", value::binary)
                .map(|list| Values::Binary(list.into_iter().collect())),
            Test::Bool => self
                .each(texts, "`true` or `false`", value::boolean)
                .map(Values::Bools),
            Test::Date(_) => self
                .each(
                    texts,
                    "a date in ISO 8601, or seconds since 1970",
                    value::written_date,
                )
                .map(Values::Dates),
            Test::Null => self
                .each(texts, "`true` or `false`", value::boolean)
                .map(Values::Missing),
            Test::Number(_) => self
                .each(texts, "a number", value::number)
                .map(Values::Numbers),
            Test::Text(form, _) => {
                let (wildcards, case) = match form {
                    TextForm::Equals => (Wildcards::Literal, Case::Keep),
                    TextForm::EqualsIgnoreCase => (Wildcards::Literal, Case::Fold),
                    TextForm::Like => (Wildcards::Match, Case::Keep),
                };
                let mut patterns = Vec::with_capacity(texts.len());
                for text in texts {
                    match Pattern::new(&text.value, wildcards, self.variables, case) {
                        Ok(pattern) => {
                            self.variables(pattern.variables(), text);
                            patterns.push(pattern);
                        }
                        Err(bad) => self.bad_variable(&bad, text),
                    }
                }
                Some(Values::Texts(Patterns::new(patterns, case)))
            }
        }
    }

    /// What `read` makes of each text, if it can read all of them.
    fn each<T>(
        &mut self,
        texts: &[Text<'_>],
        expected: &'static str,
        mut read: impl FnMut(&str) -> Option<T>,
    ) -> Option<Vec<T>> {
        let mut values = Vec::with_capacity(texts.len());
        for text in texts {
            if let Some(value) = read(&text.value) {
                values.push(value);
            } else {
                let fault = DocumentFault::Value {
                    expected,
                    text: text.value.to_string(),
                };
                self.report(fault, text.span.clone());
            }
        }
        (values.len() == texts.len()).then_some(values)
    }

    /// Reports the variables whose keys are not known.
    fn variables<'k>(&mut self, keys: impl Iterator<Item = &'k str>, text: &Text<'_>) {
        for key in keys {
            self.key(key, text.span.clone());
        }
    }

    fn not_arn(&mut self, not_arn: NotArn, text: &Text<'_>) {
        match not_arn {
            NotArn::Parts => {
                let fault = DocumentFault::Arn {
                    text: text.value.to_string(),
                };
                self.report(fault, text.span.clone());
            }
            NotArn::NoDomain => {
                let fault = DocumentFault::NoDomain {
                    text: text.value.to_string(),
                };
                self.report(fault, text.span.clone());
            }
            NotArn::Variable(bad) => self.bad_variable(&bad, text),
        }
    }

    fn bad_variable(&mut self, bad: &BadVariable, text: &Text<'_>) {
        let fault = DocumentFault::Variable {
            text: text
                .value
                .get(bad.span.clone())
                .unwrap_or(&text.value)
                .into(),
            wrong: bad.wrong,
        };
        self.report(fault, text.span.clone());
    }

    /// Reports members of which `same` makes the name of another.
    fn duplicates(&mut self, object: &Object<'_>, same: fn(&str) -> String) {
        let mut seen = HashSet::with_capacity(object.properties.len());
        for prop in &object.properties {
            if !seen.insert(same(prop.name.as_str())) {
                let name = prop.name.as_str().into();
                self.report(DocumentFault::Duplicate { name }, span(&prop.name));
            }
        }
    }

    /// Reports members that stand there twice, or that `place` does not have.
    fn members(&mut self, object: &Object<'_>, place: Place) {
        self.duplicates(object, str::to_owned);
        for prop in &object.properties {
            let name = prop.name.as_str();
            if !place.elements().contains(&name) {
                let fault = DocumentFault::Unknown {
                    place,
                    element: name.into(),
                };
                self.report(fault, span(&prop.name));
            }
        }
    }

    fn refuse(&mut self, object: &Object<'_>, elements: &[&'static str]) {
        for element in elements {
            if let Some(prop) = member(object, element) {
                let kind = self.kind;
                self.report(DocumentFault::NotHere { element, kind }, span(&prop.name));
            }
        }
    }

    fn required<'o, 't>(
        &mut self,
        object: &'o Object<'t>,
        element: &'static str,
    ) -> Option<&'o ObjectProp<'t>> {
        let found = member(object, element);
        if found.is_none() {
            self.report(DocumentFault::Missing { element }, span(object));
        }
        found
    }

    fn object<'o, 't>(&mut self, element: &str, value: &'o Value<'t>) -> Option<&'o Object<'t>> {
        if let Value::Object(object) = value {
            return Some(object);
        }
        self.wrong_type(element, "an object", value);
        None
    }

    fn text<'o>(&mut self, element: &str, value: &'o Value<'_>) -> Option<Text<'o>> {
        if let Value::StringLit(text) = value {
            let text = Text {
                value: Cow::Borrowed(&text.value),
                span: span(value),
            };
            return self.fits(text);
        }
        self.wrong_type(element, "a string", value);
        None
    }

    /// The texts of a string, or of a list of strings.
    fn texts<'o>(&mut self, element: &str, value: &'o Value<'_>) -> Vec<Text<'o>> {
        self.list(element, value, |reader, item| {
            if matches!(item, Value::StringLit(_)) {
                return reader.text(element, item);
            }
            reader.wrong_type(element, "a string or a list of strings", item);
            None
        })
    }

    /// The same, with numbers and truth values besides strings.
    fn scalars<'o>(&mut self, element: &str, value: &'o Value<'_>) -> Vec<Text<'o>> {
        self.list(element, value, |reader, item| {
            let value = match item {
                Value::StringLit(text) => Cow::Borrowed(&*text.value),
                Value::NumberLit(number) => Cow::Borrowed(number.value),
                Value::BooleanLit(boolean) => {
                    Cow::Borrowed(if boolean.value { "true" } else { "false" })
                }
                Value::Array(_) | Value::NullKeyword(_) | Value::Object(_) => {
                    reader.wrong_type(element, "strings, numbers, or true and false", item);
                    return None;
                }
            };
            reader.fits(Text {
                value,
                span: span(item),
            })
        })
    }

    fn list<'o, 't>(
        &mut self,
        element: &str,
        value: &'o Value<'t>,
        mut read: impl FnMut(&mut Self, &'o Value<'t>) -> Option<Text<'o>>,
    ) -> Vec<Text<'o>> {
        let list = items(value);
        if list.is_empty() {
            let element = element.into();
            self.report(DocumentFault::Empty { element }, span(value));
        }
        if let Some(item) = list.get(limits::VALUES) {
            let limit = Limit::Values;
            self.report(DocumentFault::TooMany { limit }, span(*item));
            return Vec::new();
        }
        list.into_iter()
            .filter_map(|item| read(self, item))
            .collect()
    }

    fn fits<'o>(&mut self, text: Text<'o>) -> Option<Text<'o>> {
        if text.value.len() > limits::TEXT && text.value.chars().count() > limits::TEXT {
            let limit = Limit::Text;
            self.report(DocumentFault::TooMany { limit }, text.span);
            return None;
        }
        Some(text)
    }

    fn wrong_type(&mut self, element: &str, expected: &'static str, value: &Value<'_>) {
        let fault = DocumentFault::WrongType {
            element: element.into(),
            expected,
            found: type_name(value),
        };
        self.report(fault, span(value));
    }
}

/// The reader takes JSON as RFC 8259 has it, and nothing else.
const STRICT: ParseOptions = ParseOptions {
    allow_comments: false,
    allow_loose_object_property_names: false,
    allow_trailing_commas: false,
    allow_missing_commas: false,
    allow_single_quoted_strings: false,
    allow_hexadecimal_numbers: false,
    allow_unary_plus_numbers: false,
    allow_bare_decimal_point_numbers: false,
    allow_non_finite_numbers: false,
    allow_extended_string_escapes: false,
};

fn member<'o, 't>(object: &'o Object<'t>, name: &str) -> Option<&'o ObjectProp<'t>> {
    object
        .properties
        .iter()
        .find(|prop| prop.name.as_str() == name)
}

fn items<'o, 't>(value: &'o Value<'t>) -> Vec<&'o Value<'t>> {
    match value {
        Value::Array(list) => list.elements.iter().collect(),
        single => vec![single],
    }
}

fn span(node: &impl Ranged) -> Range<usize> {
    let range = node.range();
    range.start..range.end
}

fn choice_of<L>(negated: bool, list: L) -> Choice<L> {
    if negated {
        Choice::Not(list)
    } else {
        Choice::Of(list)
    }
}

fn type_name(value: &Value<'_>) -> &'static str {
    match value {
        Value::Array(_) => "a list",
        Value::BooleanLit(_) => "true or false",
        Value::NullKeyword(_) => "null",
        Value::NumberLit(_) => "a number",
        Value::Object(_) => "an object",
        Value::StringLit(_) => "a string",
    }
}

/// The actions of SWF and of STS that a pattern names.
fn actions_of(text: &str) -> Result<(ActionSet, StsActions), DocumentFault> {
    if text == "*" {
        return Ok((ActionSet::all(), StsActions::all()));
    }
    let wrong = || DocumentFault::Action { text: text.into() };
    let (service, name) = text.split_once(':').ok_or_else(wrong)?;
    let is_service = !service.is_empty()
        && service
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    let is_name = !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'*' | b'?'));
    if !is_service || !is_name {
        return Err(wrong());
    }
    let pattern = Pattern::glob(name, Case::Fold);
    let none = super::Context::default();
    let is_meant = |name: &str| pattern.matches(name, &none);
    let unknown = |service, near: Option<&str>| DocumentFault::ActionUnknown {
        service,
        text: text.into(),
        nearest: near.map(|name| format!("{}:{name}", service.prefix())),
    };
    if service.eq_ignore_ascii_case("sts") {
        // Most of them are not decided about here, but a name that STS does not have is a slip.
        if !sts::NAMES.into_iter().any(is_meant) {
            return Err(unknown(Service::Sts, nearest(name, sts::NAMES)));
        }
        let all = sts::Action::ALL.into_iter();
        let found = all.filter(|action| is_meant(action.name())).collect();
        return Ok((ActionSet::default(), found));
    }
    if !service.eq_ignore_ascii_case("swf") {
        let meant = strsim::damerau_levenshtein(service, "swf") == 1 || service == TARGET;
        return match Action::from_name(name).filter(|_| meant) {
            Some(action) => Err(unknown(Service::Swf, Some(action.name()))),
            None => Ok(Default::default()),
        };
    }
    let all = Action::ALL.into_iter();
    let found: ActionSet = all.filter(|action| is_meant(action.name())).collect();
    if found.is_empty() {
        let names = Action::ALL.iter().map(|action| action.name());
        return Err(unknown(Service::Swf, nearest(name, names)));
    }
    Ok((found, StsActions::default()))
}

/// What stands before the names of actions in `X-Amz-Target`.
const TARGET: &str = "SimpleWorkflowService";

/// The principal that `text`, under the member `kind`, names.
fn principal(kind: &str, text: &str) -> Option<Principal> {
    if kind != "AWS" {
        return (!text.is_empty()).then(|| Principal::Other {
            kind: kind.into(),
            text: text.into(),
        });
    }
    if text == "*" {
        return Some(Principal::Anyone);
    }
    let account = |id: &str| Principal::Account {
        id: id.into(),
        text: text.into(),
    };
    if is_account(text) {
        return Some(account(text));
    }
    let parts: Vec<&str> = text.splitn(6, ':').collect();
    let ["arn", partition, service, "", id, name] = *parts else {
        return None;
    };
    if !is_account(id) || !is_partition(partition) {
        return None;
    }
    if (service, name) == ("iam", "root") {
        return Some(account(id));
    }
    let (kind, name) = name.split_once('/')?;
    let names = match (service, kind) {
        ("iam", "role" | "user") | ("sts", "federated-user") => true,
        // Of a role, its name and that of the session; the path is left out.
        ("sts", "assumed-role") => name.split('/').count() == 2 && !name.starts_with('/'),
        _ => false,
    };
    (names && is_path(name)).then(|| Principal::Arn(text.into()))
}

/// Whether values of a key can be what the operator compares.
fn comparable(test: Test, kind: key::Kind) -> bool {
    match (test, kind) {
        (Test::Null | Test::Text(..), _) | (_, key::Kind::Text) => true,
        (Test::Address(_), kind) => kind == key::Kind::Address,
        (Test::Arn(..), kind) => kind == key::Kind::Arn,
        (Test::Binary, _) => false,
        (Test::Bool, kind) => kind == key::Kind::Bool,
        (Test::Date(_), kind) => kind == key::Kind::Date,
        // A date may be given as a number of seconds.
        (Test::Number(_), kind) => matches!(kind, key::Kind::Date | key::Kind::Number),
    }
}

fn lower_first(text: &str) -> String {
    let mut characters = text.chars();
    characters
        .next()
        .map(|first| first.to_lowercase().chain(characters).collect())
        .unwrap_or_default()
}
