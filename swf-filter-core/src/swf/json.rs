//! JSON that has one meaning. An object that names a member twice is refused at every level, because readers differ on
//! which of the two counts. Numbers keep no value: nothing that is decided by is a number.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Error as _, MapAccess, SeqAccess, Visitor};
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
        serde_json::from_slice(body)
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

/// An object: its members, sorted by name, no name twice.
#[derive(Debug)]
pub(super) struct Object<'a> {
    members: Box<[(Cow<'a, str>, Json<'a>)]>,
}

impl<'a> Object<'a> {
    /// The members, or the name of one that is there twice.
    fn new(mut members: Vec<(Cow<'a, str>, Json<'a>)>) -> Result<Self, String> {
        members.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        let twice = members.windows(2).find_map(|pair| match pair {
            [(a, _), (b, _)] if a == b => Some(a.to_string()),
            _ => None,
        });
        match twice {
            Some(name) => Err(name),
            None => Ok(Self {
                members: members.into_boxed_slice(),
            }),
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

impl<'de> Deserialize<'de> for Json<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(JsonVisitor)
    }
}

/// A string, which borrows from what is read where that has no escapes. A `Cow` by itself would always be a copy.
#[derive(Deserialize)]
pub(super) struct Text<'a>(#[serde(borrow)] pub(super) Cow<'a, str>);

struct JsonVisitor;

impl<'de> Visitor<'de> for JsonVisitor {
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
        Ok(Json::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Json::Text(Cow::Borrowed(text)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Json::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some((Text(name), value)) = entries.next_entry()? {
            members.push((name, value));
        }
        Object::new(members).map(Json::Object).map_err(|name| {
            A::Error::custom(format_args!("member `{}` is there twice", excerpt(&name)))
        })
    }
}
