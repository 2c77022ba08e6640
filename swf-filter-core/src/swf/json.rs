//! JSON that has one meaning. An object that names a member twice is refused at every level, because readers differ on
//! which of the two counts.
//!
//! Only what decides is kept: the members that [`call`](super::call) reads, and no numbers. A tree of everything took 64 times
//! the bytes of a hostile body, before it was known who sent it.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::prefix::text::excerpt;

/// A JSON value, which borrows its text from the body where that has no escapes.
#[derive(Debug)]
pub(super) enum Json<'a> {
    /// `true` or `false`.
    Bool,
    /// `[...]`
    List(Vec<Self>),
    /// `null`
    Null,
    /// Any number.
    Number,
    /// `{...}`
    Object(Object<'a>),
    /// `"..."`
    Text(Cow<'a, str>),
}

impl<'a> Json<'a> {
    /// Reads all of `body`. The depth that `serde_json` allows keeps the stack bounded.
    pub(super) fn read(body: &'a [u8]) -> serde_json::Result<Self> {
        let mut reader = serde_json::Deserializer::from_slice(body);
        let json = Kept::Members.deserialize(&mut reader)?;
        reader.end()?;
        Ok(json)
    }

    /// What it is, with an article.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Bool => "a boolean",
            Self::List(_) => "a list",
            Self::Null => "null",
            Self::Number => "a number",
            Self::Object(_) => "an object",
            Self::Text(_) => "a string",
        }
    }
}

/// An object: those of its members that decide, sorted by name, no name twice.
#[derive(Debug)]
pub(super) struct Object<'a> {
    members: Box<[(Cow<'a, str>, Json<'a>)]>,
}

impl<'a> Object<'a> {
    fn new(mut members: Vec<(Cow<'a, str>, Json<'a>)>) -> Self {
        members.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        Self {
            members: members.into_boxed_slice(),
        }
    }

    /// The value of a member.
    pub(super) fn get(&self, name: &str) -> Option<&Json<'a>> {
        let place = self
            .members
            .binary_search_by(|(other, _)| (**other).cmp(name))
            .ok()?;
        self.members.get(place).map(|(_, value)| value)
    }
}

/// What is kept of a value while it is read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kept {
    /// Its type, and the members that decide.
    Members,
    /// The same, and what is in it if it is a list.
    Items,
    /// Nothing but that no object in it names a member twice.
    Nothing,
}

impl Kept {
    /// What is kept of a member of an object that is kept.
    fn of_member(name: &str) -> Self {
        match name {
            "decisions" | "tagKeys" | "tagList" | "tags" => Self::Items,
            "activityType"
            | "decisionType"
            | "defaultTaskList"
            | "domain"
            | "key"
            | "name"
            | "resourceArn"
            | "tag"
            | "tagFilter"
            | "taskList"
            | "taskToken"
            | "typeFilter"
            | "value"
            | "version"
            | "workflowType"
            | "workflowTypeVersion" => Self::Members,
            _ if name.ends_with("DecisionAttributes") => Self::Members,
            _ => Self::Nothing,
        }
    }
}

/// A string, which borrows from what is read where that has no escapes. A `Cow` by itself would always be a copy.
#[derive(Deserialize)]
pub(super) struct Text<'a>(#[serde(borrow)] pub(super) Cow<'a, str>);

impl<'de> DeserializeSeed<'de> for Kept {
    type Value = Json<'de>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Kept {
    type Value = Json<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Json::Bool)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(Json::Number)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(Json::Number)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Json::Number)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Json::Null)
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Json::Text(match self {
            Self::Items | Self::Members => Cow::Owned(text.to_owned()),
            Self::Nothing => Cow::Borrowed(""),
        }))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Json::Text(Cow::Borrowed(text)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut list = Vec::new();
        if self == Self::Items {
            while let Some(item) = items.next_element_seed(Self::Members)? {
                list.push(item);
            }
        } else {
            while items.next_element_seed(Self::Nothing)?.is_some() {}
        }
        Ok(Json::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let mut names = Vec::new();
        let mut members = Vec::new();
        while let Some(Text(name)) = entries.next_key()? {
            let kept = match self {
                Self::Items | Self::Members => Self::of_member(&name),
                Self::Nothing => Self::Nothing,
            };
            let value = entries.next_value_seed(kept)?;
            if kept != Self::Nothing {
                members.push((name.clone(), value));
            }
            names.push(name);
        }
        if let Some(name) = twice(&mut names) {
            let name = excerpt(name);
            return Err(A::Error::custom(format_args!(
                "member `{name}` is there twice"
            )));
        }
        Ok(Json::Object(Object::new(members)))
    }
}

/// A name that is there twice.
fn twice<'a>(names: &'a mut [Cow<'_, str>]) -> Option<&'a str> {
    names.sort_unstable();
    let mut pairs = names.windows(2);
    pairs.find_map(|pair| match pair {
        [one, other] if one == other => Some(&**one),
        _ => None,
    })
}
