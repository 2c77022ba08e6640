//! Finds the statements that can be about a request without looking at each.
//!
//! Statements are numbered, and sets of them are words of bits. Three questions are asked: whom a statement names, which
//! resources, and which value one of its conditions needs. Each is answered with a set, and what is in all of them is
//! judged in full. So an answer may hold too many statements, but never lacks one that applies.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use super::arn::ArnPattern;
use super::authorize::Request;
use super::condition::{Condition, Missing, Quantifier, Sense, Test, TextForm, Values};
use super::pattern::Pattern;
use super::principal::{Principal, role_name};
use super::{Choice, Document, Statement};
use crate::prefix::{Address, Prefix};
use crate::swf::Action;

/// Documents, with their statements indexed by what requests have to show.
#[derive(Clone, Debug, Default)]
pub struct Index {
    documents: Vec<Arc<Document>>,
    /// Where each statement stands: its document and its place there.
    places: Vec<(usize, usize)>,
    /// In the order of [`Action::ALL`].
    actions: Vec<Bits>,
    /// Statements about roles.
    roles: Bits,
    principals: Facet,
    resources: Facet,
    conditions: Facet,
}

impl Index {
    /// Indexes documents.
    #[must_use]
    pub fn new(documents: Vec<Arc<Document>>) -> Self {
        let numbered = documents.iter().enumerate();
        let places: Vec<(usize, usize)> = numbered
            .flat_map(|(document, own)| {
                (0..own.statements.len()).map(move |place| (document, place))
            })
            .collect();
        let statements: Vec<&Statement> = documents
            .iter()
            .flat_map(|document| &document.statements)
            .collect();
        let all_that = |is: &dyn Fn(&Statement) -> bool| {
            let mut bits = Bits::none(statements.len());
            for (number, statement) in statements.iter().enumerate() {
                if is(statement) {
                    bits.insert(number);
                }
            }
            bits
        };
        let actions = Action::ALL
            .into_iter()
            .map(|action| all_that(&|statement| statement.actions.set.contains(action)));
        Self {
            actions: actions.collect(),
            roles: all_that(&|statement| !statement.actions.sts.is_empty()),
            principals: Facet::new(&statements, principals),
            resources: Facet::new(&statements, resources),
            conditions: Facet::new(&statements, conditions),
            places,
            documents,
        }
    }

    /// The documents.
    #[must_use]
    pub fn documents(&self) -> &[Arc<Document>] {
        &self.documents
    }

    /// The statements that can be about a request, in their order. The caller may be bounded by a permission boundary.
    pub(super) fn candidates(
        &self,
        request: Request<'_>,
        bounded: bool,
    ) -> impl Iterator<Item = &Statement> {
        let mut found = match request.action {
            super::Asked::Sts(_) => Some(self.roles.clone()),
            super::Asked::Swf(action) => self.actions.get(action.index()).cloned(),
        };
        request.context.spend(found.iter().map(Bits::words).sum());
        if let Some(found) = &mut found {
            let caller = request.caller;
            let role = caller.role().and_then(|role| role_key(role));
            let names = [&**caller.account(), &**caller.arn()];
            let shown = |_| names.into_iter().chain(role);
            // Of those who have a boundary, a Deny with `NotPrincipal` spares none.
            self.principals.narrow(None, shown, !bounded, found);
            let mut parts = request.resource.splitn(6, ':').skip(4);
            let (account, name) = (parts.next(), parts.next());
            let shown = |part| if part == ACCOUNT { account } else { name }.into_iter();
            self.resources.narrow(None, shown, true, found);
            let context = request.context;
            let shown = |key| context.values(key);
            // Of many keys that statements ask for, a request has few.
            let keys = (self.conditions.subjects() > context.count()).then(|| context.keys());
            let keys = keys.as_ref();
            context.spend_looks(keys.map_or(self.conditions.subjects(), BTreeSet::len));
            context.spend(self.conditions.work(keys, &shown));
            self.conditions.narrow(keys, shown, true, found);
        }
        let numbers = found.into_iter().flat_map(Bits::into_numbers);
        numbers.filter_map(|number| {
            let (document, place) = self.places.get(number)?;
            self.documents.get(*document)?.statements.get(*place)
        })
    }
}

/// The parts of a resource that patterns are told apart by.
const ACCOUNT: &str = "account";
const NAME: &str = "name";

/// What a statement asks of the texts that a request shows, each of which is of some subject: a key of a condition, say.
#[derive(Default)]
struct Asked<'a> {
    /// Of each list, some text has to match one: all of these are necessary.
    needs: Vec<(&'a str, Vec<Form<'a>>)>,
    /// No text must match one.
    bars: Vec<(&'a str, Vec<Form<'a>>)>,
}

/// Which texts match.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Form<'a> {
    /// Those that end with it.
    End(&'a str),
    /// Those that are it.
    Is(&'a str),
    /// Addresses in it.
    Net4(Prefix<u32>),
    /// Addresses in it.
    Net6(Prefix<u128>),
    /// Those that start with it.
    Start(&'a str),
}

fn principals(statement: &Statement) -> Asked<'_> {
    let mut asked = Asked::default();
    match &statement.principals {
        None => {}
        Some(Choice::Of(principals)) => {
            let forms: Option<Vec<_>> = principals.iter().map(name_of).collect();
            asked.needs.extend(forms.map(|forms| ("", forms)));
        }
        Some(Choice::Not(principals)) => {
            // A role of that name may be of another account.
            let sure = principals.iter().filter(
                |principal| !matches!(principal, Principal::Arn(arn) if role_key(arn).is_some()),
            );
            asked.bars.push(("", sure.filter_map(name_of).collect()));
        }
    }
    asked
}

fn name_of(principal: &Principal) -> Option<Form<'_>> {
    match principal {
        Principal::Account { id, .. } => Some(Form::Is(id)),
        Principal::Anyone => None,
        Principal::Arn(arn) => Some(Form::Is(role_key(arn).unwrap_or(arn))),
        // It matches nobody. No caller shows an empty name.
        Principal::Other { .. } => Some(Form::Is("")),
    }
}

/// The name of a role with the slash before it, which neither accounts nor ARNs start with.
fn role_key(arn: &str) -> Option<&str> {
    role_name(arn)?;
    arn.get(arn.rfind('/')?..)
}

fn resources(statement: &Statement) -> Asked<'_> {
    let mut asked = Asked::default();
    if let Some(Choice::Of(patterns)) = &statement.resources {
        for (subject, part) in [(ACCOUNT, 4), (NAME, 5)] {
            let forms: Option<Vec<_>> = patterns
                .iter()
                .map(|pattern| form(pattern.parts()?.get(part)?))
                .collect();
            asked.needs.extend(forms.map(|forms| (subject, forms)));
        }
    }
    asked
}

fn conditions(statement: &Statement) -> Asked<'_> {
    let mut asked = Asked::default();
    for condition in &statement.conditions {
        let key = condition.key.name();
        match condition.operator.test.sense() {
            Sense::Plain if needs_value(condition) => {
                asked
                    .needs
                    .extend(forms(condition).map(|forms| (key, forms)));
            }
            Sense::Negated if condition.operator.quantifier != Quantifier::Any => {
                let exact = forms(condition).into_iter().flatten();
                let exact = exact.filter(|form| !matches!(form, Form::End(_) | Form::Start(_)));
                asked.bars.push((key, exact.collect()));
            }
            Sense::Negated | Sense::Plain => {}
        }
    }
    asked
}

/// Whether a condition cannot hold unless the key has a value that matches.
fn needs_value(condition: &Condition) -> bool {
    condition.operator.missing == Missing::Plain && condition.operator.quantifier != Quantifier::All
}

/// Forms of which a text that matches one of the condition's values has at least one.
fn forms(condition: &Condition) -> Option<Vec<Form<'_>>> {
    match (&condition.values, condition.operator.test) {
        (Values::Addresses(set), _) => {
            let prefixes = set.prefixes();
            let v4 = prefixes.v4.into_iter().map(Form::Net4);
            Some(v4.chain(prefixes.v6.into_iter().map(Form::Net6)).collect())
        }
        // Where case does not count, it is not known how a request writes it.
        (Values::Texts(patterns), Test::Text(TextForm::Equals | TextForm::Like, _)) => {
            patterns.iter().map(form).collect()
        }
        (Values::Arns(patterns), _) => patterns.iter().map(form_of_arn).collect(),
        _ => None,
    }
}

/// What tells the texts of a pattern from most others.
fn form(pattern: &Pattern) -> Option<Form<'_>> {
    match pattern.as_literal() {
        Some(text) => Some(Form::Is(text)),
        None => longer(pattern.edges()),
    }
}

fn form_of_arn(pattern: &ArnPattern) -> Option<Form<'_>> {
    let special = ['*', '?', '$', '{', '}'];
    let text = pattern.text();
    match text.find(special) {
        None => Some(Form::Is(text)),
        Some(start) => longer((text.get(..start)?, text.rsplit(special).next()?)),
    }
}

/// Of what texts start and end with, that which is likely to be in fewer of them.
fn longer<'a>((start, end): (&'a str, &'a str)) -> Option<Form<'a>> {
    // What stands before the last colon or slash, many have in common.
    let own = |text: &str| text.rsplit([':', '/']).next().map_or(0, str::len);
    if !start.is_empty() && (own(start) >= own(end) || end.is_empty()) {
        Some(Form::Start(start))
    } else {
        (!end.is_empty()).then_some(Form::End(end))
    }
}

/// The statements by what they ask in one respect.
#[derive(Clone, Debug, Default)]
struct Facet {
    /// Those that need nothing.
    free: Bits,
    needing: HashMap<Box<str>, Forms>,
    barring: HashMap<Box<str>, Forms>,
}

impl Facet {
    /// Indexes statements by what `asked` says of them. Of what one needs, that counts which the fewest others need.
    fn new<'a>(statements: &[&'a Statement], asked: fn(&'a Statement) -> Asked<'a>) -> Self {
        let mut facet = Self {
            free: Bits::none(statements.len()),
            ..Self::default()
        };
        let all: Vec<Asked<'a>> = statements
            .iter()
            .map(|statement| asked(statement))
            .collect();
        let mut counts: HashMap<(&str, Form<'_>), usize> = HashMap::new();
        for (subject, forms) in all.iter().flat_map(|asked| &asked.needs) {
            for form in forms {
                *counts.entry((*subject, *form)).or_default() += 1;
            }
        }
        let commonness = |(subject, forms): &&(&'a str, Vec<Form<'a>>)| {
            let counts = forms
                .iter()
                .filter_map(|form| counts.get(&(*subject, *form)));
            counts.max().copied()
        };
        for (number, asked) in all.iter().enumerate() {
            match asked.needs.iter().min_by_key(commonness) {
                None => facet.free.insert(number),
                Some((subject, forms)) => {
                    let known = facet.needing.entry((*subject).into()).or_default();
                    known.add_all(forms, number);
                }
            }
            for (subject, forms) in asked.bars.iter().filter(|(_, forms)| !forms.is_empty()) {
                let known = facet.barring.entry((*subject).into()).or_default();
                known.add_all(forms, number);
            }
        }
        for forms in facet.needing.values_mut().chain(facet.barring.values_mut()) {
            forms.finish(statements.len());
        }
        facet
    }

    /// How many subjects are looked at.
    fn subjects(&self) -> usize {
        self.needing.len() + self.barring.len()
    }

    /// What [`Facet::narrow`] costs at most for what a request shows, in units of work: some words for each text that finds
    /// statements, and each text a few times.
    fn work<'a, I: Iterator<Item = &'a str>>(
        &'a self,
        only: Option<&'a BTreeSet<String>>,
        shown: &impl Fn(&'a str) -> I,
    ) -> usize {
        let subjects = each(&self.needing, only).chain(each(&self.barring, only));
        let texts = subjects.flat_map(|(subject, _)| shown(subject));
        texts.map(|text| 4 * text.len() + self.free.words()).sum()
    }

    /// Takes statements out of `found` that what a request shows of a subject does not meet. It shows nothing of other
    /// subjects than `only`, if these are given.
    fn narrow<'a, I: Iterator<Item = &'a str>>(
        &'a self,
        only: Option<&'a BTreeSet<String>>,
        shown: impl Fn(&'a str) -> I,
        with_bars: bool,
        found: &mut Bits,
    ) {
        if !self.needing.is_empty() {
            let mut met = self.free.clone();
            for (subject, forms) in each(&self.needing, only) {
                for text in shown(subject) {
                    forms.each(text, |posting| posting.put_in(&mut met));
                }
            }
            found.keep(&met);
        }
        if with_bars {
            for (subject, forms) in each(&self.barring, only) {
                for text in shown(subject) {
                    forms.each(text, |posting| posting.take_from(found));
                }
            }
        }
    }
}

/// The forms of all subjects, or of some.
fn each<'a>(
    all: &'a HashMap<Box<str>, Forms>,
    some: Option<&'a BTreeSet<String>>,
) -> impl Iterator<Item = (&'a str, &'a Forms)> {
    let whole = some.is_none().then_some(all).into_iter().flatten();
    let whole = whole.map(|(subject, forms)| (&**subject, forms));
    let some = some.into_iter().flatten();
    whole.chain(some.filter_map(|subject| Some((&**subject, all.get(&**subject)?))))
}

/// Forms of one subject, with the statements that ask for them.
#[derive(Clone, Debug, Default)]
struct Forms {
    texts: HashMap<Box<str>, Posting>,
    starts: Starts,
    /// Turned around.
    ends: Starts,
    v4: Nets<u32>,
    v6: Nets<u128>,
}

impl Forms {
    fn add_all(&mut self, forms: &[Form<'_>], number: usize) {
        for form in forms {
            let posting = match *form {
                Form::End(text) => self.ends.entry(text.chars().rev().collect()),
                Form::Is(text) => self.texts.entry(text.into()).or_default(),
                Form::Net4(prefix) => self.v4.entry(prefix),
                Form::Net6(prefix) => self.v6.entry(prefix),
                Form::Start(text) => self.starts.entry(text.into()),
            };
            posting.add(number);
        }
    }

    fn finish(&mut self, statements: usize) {
        self.starts.finish();
        self.ends.finish();
        let texts = self.texts.values_mut();
        let starts = self.starts.postings().chain(self.ends.postings());
        let nets = self.v4.nets.values_mut().chain(self.v6.nets.values_mut());
        for posting in texts.chain(starts).chain(nets) {
            posting.finish(statements);
        }
    }

    /// The statements of each form that a text has.
    fn each(&self, text: &str, mut found: impl FnMut(&Posting)) {
        self.texts.get(text).into_iter().for_each(&mut found);
        self.starts.each(text, &mut found);
        if !self.ends.list.is_empty() {
            let turned: String = text.chars().rev().collect();
            self.ends.each(&turned, &mut found);
        }
        if !self.v4.nets.is_empty() || !self.v6.nets.is_empty() {
            match text.parse() {
                Ok(IpAddr::V4(address)) => self.v4.each(address.to_bits(), &mut found),
                Ok(IpAddr::V6(address)) => self.v6.each(address.to_bits(), &mut found),
                Err(_) => {}
            }
        }
    }
}

/// Texts that others start with.
#[derive(Clone, Debug, Default)]
struct Starts {
    building: HashMap<Box<str>, Posting>,
    /// Ascending, each with the longest of the others that it starts with.
    list: Vec<(Box<str>, Option<usize>, Posting)>,
}

impl Starts {
    fn entry(&mut self, text: Box<str>) -> &mut Posting {
        self.building.entry(text).or_default()
    }

    fn finish(&mut self) {
        let mut all: Vec<_> = self.building.drain().collect();
        all.sort_unstable_by(|(text, _), (other, _)| text.cmp(other));
        for (text, posting) in all {
            let outer = self.longest(self.list.len().checked_sub(1), &text);
            self.list.push((text, outer, posting));
        }
    }

    fn postings(&mut self) -> impl Iterator<Item = &mut Posting> {
        self.list.iter_mut().map(|(.., posting)| posting)
    }

    /// The longest that `text` starts with, of one in the list and those that it starts with itself.
    ///
    /// Whatever stands between a text and one that it starts with, in their order, starts with that one too. So this
    /// finds it from the last that is not above `text`.
    fn longest(&self, from: Option<usize>, text: &str) -> Option<usize> {
        let mut place = from;
        while let Some((start, outer, _)) = self.list.get(place?) {
            if text.starts_with(&**start) {
                return place;
            }
            place = *outer;
        }
        None
    }

    fn each(&self, text: &str, found: &mut impl FnMut(&Posting)) {
        let below = self.list.partition_point(|(start, ..)| **start <= *text);
        let mut place = self.longest(below.checked_sub(1), text);
        while let Some((_, outer, posting)) = place.and_then(|place| self.list.get(place)) {
            found(posting);
            place = *outer;
        }
    }
}

/// Prefixes, looked up at the lengths that there are.
#[derive(Clone, Debug)]
struct Nets<A> {
    lengths: BTreeSet<u8>,
    nets: HashMap<Prefix<A>, Posting>,
}

impl<A> Default for Nets<A> {
    fn default() -> Self {
        Self {
            lengths: BTreeSet::new(),
            nets: HashMap::new(),
        }
    }
}

impl<A: Address + std::hash::Hash> Nets<A> {
    fn entry(&mut self, prefix: Prefix<A>) -> &mut Posting {
        self.lengths.insert(prefix.length());
        self.nets.entry(prefix).or_default()
    }

    fn each(&self, address: A, found: &mut impl FnMut(&Posting)) {
        for length in &self.lengths {
            let posting = self.nets.get(&Prefix::containing(address, *length));
            posting.into_iter().for_each(&mut *found);
        }
    }
}

/// The statements that ask for one form.
#[derive(Clone, Debug)]
enum Posting {
    Few(Vec<usize>),
    Many(Bits),
}

impl Default for Posting {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

impl Posting {
    fn add(&mut self, number: usize) {
        match self {
            Self::Few(numbers) => numbers.push(number),
            Self::Many(bits) => bits.insert(number),
        }
    }

    /// Turns a list that is longer than the words of bits into them.
    fn finish(&mut self, statements: usize) {
        if let Self::Few(numbers) = self
            && numbers.len() > statements / BITS
        {
            let mut bits = Bits::none(statements);
            for number in numbers {
                bits.insert(*number);
            }
            *self = Self::Many(bits);
        }
    }

    fn put_in(&self, found: &mut Bits) {
        match self {
            Self::Few(numbers) => {
                for number in numbers {
                    found.insert(*number);
                }
            }
            Self::Many(bits) => found.combine(bits, |word, other| word | other),
        }
    }

    fn take_from(&self, found: &mut Bits) {
        match self {
            Self::Few(numbers) => {
                for number in numbers {
                    found.remove(*number);
                }
            }
            Self::Many(bits) => found.combine(bits, |word, other| word & !other),
        }
    }
}

/// A set of statements, by their numbers.
#[derive(Clone, Debug, Default)]
struct Bits(Vec<u64>);

const BITS: usize = 64;

impl Bits {
    fn none(statements: usize) -> Self {
        Self(vec![0; statements.div_ceil(BITS)])
    }

    fn words(&self) -> usize {
        self.0.len()
    }

    fn insert(&mut self, number: usize) {
        if let Some(word) = self.0.get_mut(number / BITS) {
            *word |= 1 << (number % BITS);
        }
    }

    fn remove(&mut self, number: usize) {
        if let Some(word) = self.0.get_mut(number / BITS) {
            *word &= !(1 << (number % BITS));
        }
    }

    fn keep(&mut self, other: &Self) {
        self.combine(other, |word, other| word & other);
    }

    fn combine(&mut self, other: &Self, with: impl Fn(u64, u64) -> u64) {
        for (word, other) in self.0.iter_mut().zip(&other.0) {
            *word = with(*word, *other);
        }
    }

    /// The numbers, ascending.
    fn into_numbers(self) -> impl Iterator<Item = usize> {
        let words = self.0.into_iter().enumerate();
        words.flat_map(|(place, mut word)| {
            std::iter::from_fn(move || {
                let bit = word.trailing_zeros();
                // Without its lowest bit.
                word &= word.checked_sub(1)?;
                Some(place * BITS + usize::try_from(bit).ok()?)
            })
        })
    }
}

#[cfg(test)]
mod tests;
