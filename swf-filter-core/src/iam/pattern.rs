//! Text with wildcards and policy variables.
//!
//! A pattern is split into pieces once, at load. What stands between two `*` is searched for from the left and never looked
//! for again, as the first place where it is found leaves most room for the rest. Each search is linear in the text: one
//! without `?` is the standard library's, which is linear whatever the texts, and one with `?` is a shift-and automaton
//! ([`Automaton`]), which takes a step of one word for each character of the text and each 64 characters of the pattern.
//! Trying a `*` again at each place was rejected: a client chooses the text, a session policy the pattern, and some 2,000
//! characters against a name of a megabyte held a thread for seconds.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use super::context::Context;

mod automaton;

use automaton::Automaton;

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
    ///
    /// Where `context` has no work left, nothing matches; whoever judges by it has to ask whether that is so.
    #[must_use]
    pub fn matches(&self, subject: &str, context: &Context<'_>) -> bool {
        context.spend(fold_work(subject, self.case))
            && self.matches_folded(&fold(subject, self.case), context)
    }

    /// The same for a subject that is in lower case already if case does not count.
    pub(super) fn matches_folded(&self, subject: &str, context: &Context<'_>) -> bool {
        if !context.spend(1 + self.text.len() + subject.len()) {
            return false;
        }
        match &*self.pieces {
            [Piece::Literal(literal)] => **literal == *subject,
            _ => self.walk(subject, context).is_some(),
        }
    }

    /// `Some` if the pattern matches.
    fn walk(&self, subject: &str, context: &Context<'_>) -> Option<()> {
        let mut segments = self.pieces.split(|piece| *piece == Piece::AnyRun);
        let first = segments.next().unwrap_or_default();
        let mut rest = self.strip_start(subject, first, context)?;
        let Some(last) = segments.next_back() else {
            return rest.is_empty().then_some(());
        };
        rest = self.strip_end(rest, last, context)?;
        for segment in segments {
            rest = self.strip_first(rest, segment, context)?;
        }
        Some(())
    }

    /// What follows a segment that `text` starts with.
    fn strip_start<'t>(
        &self,
        text: &'t str,
        segment: &[Piece],
        context: &Context<'_>,
    ) -> Option<&'t str> {
        segment
            .iter()
            .try_fold(text, |rest, piece| match self.wanted(piece, context)? {
                Wanted::AnyOne => skip_first(rest),
                Wanted::Text(text) => rest.strip_prefix(&*text),
            })
    }

    /// What stands before a segment that `text` ends with.
    fn strip_end<'t>(
        &self,
        text: &'t str,
        segment: &[Piece],
        context: &Context<'_>,
    ) -> Option<&'t str> {
        segment
            .iter()
            .try_rfold(text, |rest, piece| match self.wanted(piece, context)? {
                Wanted::AnyOne => skip_last(rest),
                Wanted::Text(text) => rest.strip_suffix(&*text),
            })
    }

    /// What follows the first place in `text` where a segment stands.
    fn strip_first<'t>(
        &self,
        text: &'t str,
        segment: &[Piece],
        context: &Context<'_>,
    ) -> Option<&'t str> {
        if let [Piece::Literal(literal)] = segment {
            return text.split_once(&**literal).map(|(_, rest)| rest);
        }
        // What is longer than the text is not in it, however much longer variables make it.
        let room = text.len();
        let mut wanted = Vec::with_capacity(segment.len());
        for piece in segment {
            match self.wanted(piece, context)? {
                Wanted::AnyOne => wanted.push(None),
                Wanted::Text(text) => wanted.extend(text.chars().map(Some).take(room + 1)),
            }
            if wanted.len() > room {
                return None;
            }
        }
        if !context.spend(CHARACTER * wanted.len()) {
            return None;
        }
        // Any characters that a search begins with only need to be there.
        let free = wanted.iter().take_while(|one| one.is_none()).count();
        let text = (0..free).try_fold(text, |rest, _| skip_first(rest))?;
        let wanted = wanted.get(free..).unwrap_or_default();
        if let Some(literal) = wanted.iter().copied().collect::<Option<String>>() {
            return text.split_once(&literal).map(|(_, rest)| rest);
        }
        let automaton = Automaton::new(wanted);
        let rest = automaton.rest_after(text);
        let looked_at = text.len() - rest.map_or(0, str::len);
        let is_paid = context.spend(automaton.work(looked_at));
        rest.filter(|_| is_paid)
    }

    /// What a piece of a segment stands for; none if its variable has no value.
    fn wanted<'a>(&self, piece: &'a Piece, context: &'a Context<'_>) -> Option<Wanted<'a>> {
        match piece {
            Piece::AnyOne | Piece::AnyRun => Some(Wanted::AnyOne),
            Piece::Literal(literal) => Some(Wanted::Text(Cow::Borrowed(literal))),
            Piece::Variable { key, default } => {
                context.spend_looks(1);
                let value = context.single(key).or(default.as_deref())?;
                if !context.spend(value.len() + fold_work(value, self.case)) {
                    return None;
                }
                Some(Wanted::Text(fold(value, self.case)))
            }
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

/// What a segment asks for at one place.
enum Wanted<'a> {
    AnyOne,
    Text(Cow<'a, str>),
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

/// What it takes to look at a character by itself, in units of work.
const CHARACTER: usize = 32;

/// What [`fold`] takes, in units of work.
pub(super) fn fold_work(text: &str, case: Case) -> usize {
    match case {
        Case::Fold if text.is_ascii() => text.len(),
        Case::Fold => CHARACTER * text.len(),
        Case::Keep => 1,
    }
}

/// A text as patterns hold it.
pub(super) fn fold(text: &str, case: Case) -> Cow<'_, str> {
    match case {
        Case::Fold if text.is_ascii() => text.to_ascii_lowercase().into(),
        Case::Fold => text.chars().flat_map(char::to_lowercase).collect(),
        Case::Keep => text.into(),
    }
}

fn skip_first(text: &str) -> Option<&str> {
    let mut characters = text.chars();
    characters.next()?;
    Some(characters.as_str())
}

fn skip_last(text: &str) -> Option<&str> {
    let mut characters = text.chars();
    characters.next_back()?;
    Some(characters.as_str())
}

#[cfg(test)]
mod tests;
