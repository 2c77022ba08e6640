//! Text with wildcards and policy variables.
//!
//! A pattern is split into pieces once, at load. Matching takes time in proportion to the product of both lengths at
//! worst, whatever the pattern: only the last `*` is ever tried again.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use super::context::Context;

/// A text of a policy that is compared with a text of a request.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pattern {
    text: Arc<str>,
    pieces: Vec<Piece>,
    case: Case,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Piece {
    /// `*`: any run of characters.
    AnyRun,
    /// `?`: any one character.
    AnyOne,
    /// These characters.
    Literal(Box<str>),
    /// What a key of the request has.
    Variable {
        key: Box<str>,
        default: Option<Box<str>>,
    },
}

/// Whether upper and lower case differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Case {
    /// They are the same.
    Fold,
    /// They differ.
    Keep,
}

/// Whether `*` and `?` are wildcards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wildcards {
    /// They stand for themselves.
    Literal,
    /// They match any run of characters, and any one.
    Match,
}

/// Whether `${...}` is a variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variables {
    /// It stands for what a key of the request has.
    Expand,
    /// It stands for itself, as in version 2008-10-17.
    Literal,
}

/// What is wrong with a variable, and which bytes of the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadVariable {
    /// The bytes.
    pub span: Range<usize>,
    /// What is wrong.
    pub wrong: Wrong,
}

/// What is wrong with a variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// What follows the key is not `, 'default'`.
    Default,
    /// It names nothing.
    Empty,
    /// Its `}` is missing.
    Unclosed,
}

impl Pattern {
    /// Reads a pattern. Keys of variables are returned by [`Pattern::variables`]; whether they are known is the caller's
    /// question.
    pub fn new(
        text: &str,
        wildcards: Wildcards,
        variables: Variables,
        case: Case,
    ) -> Result<Self, BadVariable> {
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(next) = rest.chars().next() {
            let before = text.len() - rest.len();
            if variables == Variables::Expand && rest.starts_with("${") {
                let (variable, after) = variable(rest).map_err(|wrong| BadVariable {
                    span: before..rest.find('}').map_or(text.len(), |end| before + end + 1),
                    wrong,
                })?;
                match variable {
                    Variable::Escaped(character) => literal.push(character),
                    Variable::Key { key, default } => {
                        flush(&mut literal, case, &mut pieces);
                        pieces.push(Piece::Variable {
                            key: key.to_ascii_lowercase().into(),
                            default: default.map(|text| fold(text, case).into()),
                        });
                    }
                }
                rest = after;
                continue;
            }
            match (wildcards, next) {
                (Wildcards::Match, '*') => {
                    flush(&mut literal, case, &mut pieces);
                    // Two in a row are one, so that retrying stays cheap.
                    if pieces.last() != Some(&Piece::AnyRun) {
                        pieces.push(Piece::AnyRun);
                    }
                }
                (Wildcards::Match, '?') => {
                    flush(&mut literal, case, &mut pieces);
                    pieces.push(Piece::AnyOne);
                }
                (_, character) => literal.push(character),
            }
            rest = rest.get(next.len_utf8()..).unwrap_or_default();
        }
        flush(&mut literal, case, &mut pieces);
        Ok(Self {
            text: text.into(),
            pieces,
            case,
        })
    }

    /// A pattern of wildcards without variables, which is always right.
    #[must_use]
    pub fn glob(text: &str, case: Case) -> Self {
        let none = Self {
            text: text.into(),
            pieces: Vec::new(),
            case,
        };
        Self::new(text, Wildcards::Match, Variables::Literal, case).unwrap_or(none)
    }

    /// As it was written.
    #[must_use]
    pub fn text(&self) -> &Arc<str> {
        &self.text
    }

    /// The keys of its variables, in lower case.
    pub fn variables(&self) -> impl Iterator<Item = &str> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Variable { key, .. } => Some(&**key),
            _ => None,
        })
    }

    /// Its only text, if it can match no other; in lower case if case does not count.
    #[must_use]
    pub fn as_literal(&self) -> Option<&str> {
        match &*self.pieces {
            [] => Some(""),
            [Piece::Literal(literal)] => Some(literal),
            _ => None,
        }
    }

    /// What every text that it matches starts and ends with; in lower case if case does not count.
    pub(super) fn edges(&self) -> (&str, &str) {
        (literal(self.pieces.first()), literal(self.pieces.last()))
    }

    /// Whether it matches every text.
    #[must_use]
    pub fn matches_all(&self) -> bool {
        matches!(&*self.pieces, [Piece::AnyRun])
    }

    /// Whether it matches `subject`. A variable of which `context` has not exactly one value, and that has no default,
    /// matches nothing. What a variable brings in is literal.
    #[must_use]
    pub fn matches(&self, subject: &str, context: &Context<'_>) -> bool {
        if self.case == Case::Keep
            && let [Piece::Literal(literal)] = &*self.pieces
        {
            return **literal == *subject;
        }
        let subject = fold(subject, self.case);
        self.walk(&subject, context).is_some()
    }

    /// `Some` if the pattern matches.
    fn walk(&self, subject: &str, context: &Context<'_>) -> Option<()> {
        let mut pieces = &*self.pieces;
        let mut rest = subject;
        let mut retry: Option<(&[Piece], &str)> = None;
        loop {
            let step = match pieces.split_first() {
                None => {
                    if rest.is_empty() {
                        return Some(());
                    }
                    None
                }
                Some((Piece::AnyRun, after)) => {
                    if after.is_empty() {
                        return Some(());
                    }
                    retry = Some((after, rest));
                    Some((after, rest))
                }
                Some((Piece::AnyOne, after)) => skip_character(rest).map(|rest| (after, rest)),
                Some((Piece::Literal(literal), after)) => {
                    rest.strip_prefix(&**literal).map(|rest| (after, rest))
                }
                Some((Piece::Variable { key, default }, after)) => {
                    let value = context.single(key).or(default.as_deref())?;
                    let value = fold(value, self.case);
                    rest.strip_prefix(&*value).map(|rest| (after, rest))
                }
            };
            (pieces, rest) = if let Some(next) = step {
                next
            } else {
                let (after, from) = retry?;
                let from = skip_character(from)?;
                retry = Some((after, from));
                (after, from)
            };
        }
    }

    /// What it is made of, where a variable stands for any run of characters.
    pub(crate) fn symbols(&self) -> impl Iterator<Item = Symbol> {
        self.pieces.iter().flat_map(|piece| {
            let (literal, symbol) = match piece {
                Piece::AnyRun | Piece::Variable { .. } => ("", Some(Symbol::Run)),
                Piece::AnyOne => ("", Some(Symbol::One)),
                Piece::Literal(literal) => (&**literal, None),
            };
            literal.chars().map(Symbol::Character).chain(symbol)
        })
    }
}

/// What a pattern asks of a text, one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Symbol {
    /// This character.
    Character(char),
    /// Any one character.
    One,
    /// Any run of characters.
    Run,
}

enum Variable<'a> {
    Escaped(char),
    Key {
        key: &'a str,
        default: Option<&'a str>,
    },
}

/// The variable that `text` starts with, and what follows it.
fn variable(text: &str) -> Result<(Variable<'_>, &str), Wrong> {
    let inner = text.get(2..).unwrap_or_default();
    // A default may hold `}` between its quotes.
    let mut quoted = false;
    let end = inner
        .find(|character| {
            quoted ^= character == '\'';
            character == '}' && !quoted
        })
        .ok_or(Wrong::Unclosed)?;
    let (body, after) = (
        inner.get(..end).unwrap_or_default(),
        inner.get(end + 1..).unwrap_or_default(),
    );
    let variable = match body {
        "*" => Variable::Escaped('*'),
        "?" => Variable::Escaped('?'),
        "$" => Variable::Escaped('$'),
        _ => {
            let (key, default) = match body.split_once(',') {
                None => (body, None),
                Some((key, default)) => {
                    let default = default.trim();
                    let quoted = default
                        .strip_prefix('\'')
                        .and_then(|text| text.strip_suffix('\''))
                        .filter(|text| !text.contains('\''));
                    (key, Some(quoted.ok_or(Wrong::Default)?))
                }
            };
            let key = key.trim();
            if key.is_empty() {
                return Err(Wrong::Empty);
            }
            Variable::Key { key, default }
        }
    };
    Ok((variable, after))
}

fn literal(piece: Option<&Piece>) -> &str {
    match piece {
        Some(Piece::Literal(literal)) => literal,
        _ => "",
    }
}

fn flush(literal: &mut String, case: Case, pieces: &mut Vec<Piece>) {
    if !literal.is_empty() {
        pieces.push(Piece::Literal(fold(literal, case).into()));
        literal.clear();
    }
}

fn fold(text: &str, case: Case) -> Cow<'_, str> {
    match case {
        Case::Fold => text.chars().flat_map(char::to_lowercase).collect(),
        Case::Keep => text.into(),
    }
}

fn skip_character(text: &str) -> Option<&str> {
    let mut characters = text.chars();
    characters.next()?;
    Some(characters.as_str())
}
