//! Classes of SWF domains, which no pattern of some policy tells apart.
//!
//! Patterns are run side by side, as one automaton, over every name that a domain can have. Where it can stop, it tells
//! which of them match there: all combinations that some name has, and no others.

use std::collections::{HashMap, HashSet};

use crate::iam::Pattern;
use crate::iam::pattern::{Case, Symbol};

/// Whether something is so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Certainty {
    /// It is not.
    Never,
    /// It may be.
    Possible,
    /// It is.
    Sure,
}

impl Certainty {
    pub(super) fn certain(yes: bool) -> Self {
        if yes { Self::Sure } else { Self::Never }
    }

    pub(super) fn not(self) -> Self {
        match self {
            Self::Never => Self::Sure,
            Self::Possible => Self::Possible,
            Self::Sure => Self::Never,
        }
    }
}

/// Which of some patterns match, or may match, the domains of a class: their places, ascending.
pub(super) type Class = Vec<(usize, Certainty)>;

/// The last part of the ARNs that domains have.
const NAMES: &str = "/domain/?*";

/// The classes into which patterns of the last part of ARNs divide all domains.
///
/// Only patterns with a wildcard before their end can make many. Where it takes more than the steps that are left to
/// find the classes of such patterns, it is not known whether they match.
pub(super) fn classes(patterns: &[&Pattern], steps: &mut Steps) -> HashSet<Class> {
    if patterns.iter().all(|pattern| is_plain(pattern)) {
        return plain_classes(patterns);
    }
    if let Some(classes) = Automaton::new(patterns).run(steps) {
        return classes;
    }
    let numbered = patterns.iter().copied().enumerate();
    let (plain, tangled): (Vec<_>, Vec<_>) = numbered.partition(|(_, pattern)| is_plain(pattern));
    let tangled = tangled
        .iter()
        .map(|(place, _)| (*place, Certainty::Possible));
    let all: Vec<&Pattern> = plain.iter().map(|(_, pattern)| *pattern).collect();
    let known = classes(&all, steps).into_iter().map(|class| {
        let known = class
            .into_iter()
            .filter_map(|(place, certainty)| Some((plain.get(place)?.0, certainty)));
        let mut class: Class = known.chain(tangled.clone()).collect();
        class.sort_unstable();
        class
    });
    known.collect()
}

/// Steps that may be taken to find classes, for all patterns of a host together: the work of a second, about.
#[derive(Clone, Copy, Debug)]
pub(super) struct Steps(usize);

impl Steps {
    fn take(&mut self, steps: usize) -> Option<()> {
        let left = self.0.checked_sub(steps);
        self.0 = left.unwrap_or_default();
        left.map(|_| ())
    }
}

impl Default for Steps {
    fn default() -> Self {
        Self(16 << 20)
    }
}

/// The classes that plain patterns make: one for each of their texts, one for what starts with it and is none of the others,
/// and one for what starts with none of them.
///
/// In their order, what starts with a text follows it. So the starts of one text are at hand when it is looked at, and all
/// takes as long as sorting, besides what the classes hold. An automaton would go through each character of each.
fn plain_classes(patterns: &[&Pattern]) -> HashSet<Class> {
    let mut all: Vec<Plain> = patterns
        .iter()
        .copied()
        .enumerate()
        .map(Plain::of)
        .collect();
    all.sort_unstable();
    let whatever = all
        .iter()
        .filter(|one| one.end == End::Open && DOMAIN.starts_with(&one.text));
    let mut classes = HashSet::from([class_of(whatever)]);
    let mut around: Vec<&Plain> = Vec::new();
    for same in all.chunk_by(|one, other| one.text == other.text) {
        let Some(text) = same.first().map(|one| &*one.text) else {
            continue;
        };
        while (around.last()).is_some_and(|outer| !text.starts_with(&*outer.text)) {
            around.pop();
        }
        around.extend(same.iter().filter(|one| one.end == End::Open));
        let Some(name) = text.strip_prefix(DOMAIN) else {
            continue;
        };
        classes.insert(class_of(around.iter().copied()));
        if !name.is_empty() {
            let closed = same.iter().filter(|one| one.end == End::Closed);
            classes.insert(class_of(around.iter().copied().chain(closed)));
        }
    }
    classes
}

fn class_of<'a>(matching: impl Iterator<Item = &'a Plain>) -> Class {
    let mut class: Class = matching.map(|one| (one.place, one.certainty)).collect();
    class.sort_unstable();
    class
}

/// What all names of domains start with.
const DOMAIN: &str = "/domain/";

/// A plain pattern, by its text.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Plain {
    text: String,
    end: End,
    place: usize,
    certainty: Certainty,
}

/// Whether a plain pattern goes on after its text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    Closed,
    Open,
}

impl Plain {
    fn of((place, pattern): (usize, &Pattern)) -> Self {
        let characters = pattern.symbols().map_while(|symbol| match symbol {
            Symbol::Character(character) => Some(character),
            Symbol::One | Symbol::Run => None,
        });
        let is_open = pattern.symbols().last() == Some(Symbol::Run);
        Self {
            text: characters.collect(),
            end: if is_open { End::Open } else { End::Closed },
            place,
            certainty: certainty_of(pattern),
        }
    }
}

/// How sure it is that a pattern matches where its text does: what a variable stands for may be any.
fn certainty_of(pattern: &Pattern) -> Certainty {
    match pattern.variables().next() {
        Some(_) => Certainty::Possible,
        None => Certainty::Sure,
    }
}

/// Whether a pattern is a text, or all that starts with one.
fn is_plain(pattern: &Pattern) -> bool {
    let mut wild = pattern
        .symbols()
        .skip_while(|symbol| matches!(symbol, Symbol::Character(_)));
    wild.next().is_none_or(|symbol| symbol == Symbol::Run) && wild.next().is_none()
}

struct Automaton {
    /// The symbols of all patterns, one after the other, each with its end. The first are those of [`NAMES`].
    places: Vec<Place>,
    /// Where each pattern starts.
    starts: Vec<usize>,
    /// What is known of each where it ends. That of a variable takes the place of any text.
    ends: Vec<Certainty>,
}

#[derive(Clone, Copy)]
struct Place {
    pattern: usize,
    /// None where the pattern ends.
    symbol: Option<Symbol>,
}

/// Where all patterns are after some text: ascending, as indices of places.
type State = Vec<usize>;

impl Automaton {
    fn new(patterns: &[&Pattern]) -> Self {
        let names = Pattern::glob(NAMES, Case::Keep);
        let mut automaton = Self {
            places: Vec::new(),
            starts: Vec::new(),
            ends: Vec::new(),
        };
        for (number, pattern) in std::iter::once(&names)
            .chain(patterns.iter().copied())
            .enumerate()
        {
            automaton.starts.push(automaton.places.len());
            let symbols = pattern.symbols().map(Some).chain([None]);
            automaton.places.extend(symbols.map(|symbol| Place {
                pattern: number,
                symbol,
            }));
            automaton.ends.push(certainty_of(pattern));
        }
        automaton
    }

    fn run(&self, steps: &mut Steps) -> Option<HashSet<Class>> {
        let mut start = State::new();
        for place in &self.starts {
            self.enter(*place, &mut start);
        }
        let mut classes = HashSet::new();
        let mut seen = HashSet::from([start.clone()]);
        let mut open = vec![start];
        while let Some(state) = open.pop() {
            classes.extend(self.class(&state));
            for next in self.next(&state, steps)? {
                if !seen.contains(&next) {
                    seen.insert(next.clone());
                    open.push(next);
                }
            }
        }
        Some(classes)
    }

    /// Which patterns match the text so far, if it names a domain.
    fn class(&self, state: &State) -> Option<Class> {
        let ended = state.iter().filter_map(|place| self.place(*place));
        let mut ended = ended.filter(|place| place.symbol.is_none());
        // The first are the names of domains.
        ended.next().filter(|place| place.pattern == 0)?;
        let class = ended.map(|place| {
            let certainty = self.ends.get(place.pattern).copied();
            let certainty = certainty.unwrap_or(Certainty::Possible);
            (place.pattern - 1, certainty)
        });
        Some(class.collect())
    }

    /// The states after one character more: one for each that some pattern asks for, and one for any other.
    fn next(&self, state: &State, steps: &mut Steps) -> Option<Vec<State>> {
        let mut wild = State::new();
        let mut asked: HashMap<char, State> = HashMap::new();
        for place in state {
            match self.place(*place)?.symbol {
                None => {}
                Some(Symbol::Character(character)) => {
                    asked.entry(character).or_default().push(*place);
                }
                Some(Symbol::One | Symbol::Run) => wild.push(*place),
            }
        }
        steps.take(state.len() + wild.len() * asked.len())?;
        let after = |moving: State| {
            let mut next = State::new();
            for place in moving {
                let is_run = self.place(place)?.symbol == Some(Symbol::Run);
                self.enter(if is_run { place } else { place + 1 }, &mut next);
            }
            // What is in no domain's name is of no use.
            let names = self.starts.get(1).copied().unwrap_or(self.places.len());
            (next.first()? < &names).then(|| self.without_overtaken(next))
        };
        let mut states: Vec<State> = after(wild.clone()).into_iter().collect();
        for mut moving in asked.into_values() {
            moving.extend(&wild);
            moving.sort_unstable();
            states.extend(after(moving));
        }
        Some(states)
    }

    fn place(&self, place: usize) -> Option<Place> {
        self.places.get(place).copied()
    }

    /// Adds a place, and what follows it without a character.
    fn enter(&self, place: usize, state: &mut State) {
        state.push(place);
        let is_run = self.place(place).and_then(|place| place.symbol) == Some(Symbol::Run);
        if is_run {
            self.enter(place + 1, state);
        }
    }

    /// Without places before a pattern's last `*`, from which on it matches whatever they would lead to.
    fn without_overtaken(&self, mut state: State) -> State {
        state.sort_unstable();
        state.dedup();
        let mut kept = State::with_capacity(state.len());
        let mut overtaken = None;
        for place in state.into_iter().rev() {
            let Some(Place { pattern, symbol }) = self.place(place) else {
                continue;
            };
            if overtaken == Some(pattern) {
                continue;
            }
            kept.push(place);
            if symbol == Some(Symbol::Run) {
                overtaken = Some(pattern);
            }
        }
        kept.reverse();
        kept
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::iam::Context;
    use crate::iam::pattern::{Variables, Wildcards};

    fn of(texts: &[&str]) -> HashSet<String> {
        let patterns: Vec<Pattern> = texts
            .iter()
            .map(|text| {
                Pattern::new(text, Wildcards::Match, Variables::Expand, Case::Keep)
                    .expect("a pattern")
            })
            .collect();
        let patterns: Vec<&Pattern> = patterns.iter().collect();
        let symbol = |certainty: &Certainty| match certainty {
            Certainty::Never => '-',
            Certainty::Possible => '?',
            Certainty::Sure => '+',
        };
        let all = 0..patterns.len();
        classes(&patterns, &mut Steps::default())
            .into_iter()
            .map(|class| {
                let class: HashMap<usize, Certainty> = class.into_iter().collect();
                let certainty = |place| class.get(&place).unwrap_or(&Certainty::Never);
                all.clone().map(|place| symbol(certainty(place))).collect()
            })
            .collect()
    }

    fn set(classes: &[&str]) -> HashSet<String> {
        classes.iter().copied().map(String::from).collect()
    }

    #[test]
    fn several_patterns_may_leave_nothing_over() {
        assert_eq!(of(&[]), set(&[""]));
        assert_eq!(of(&["*", "/domain/*", "/other/*"]), set(&["++-"]));
        assert_eq!(
            of(&["/domain/orders*", "/domain/orders", "/domain/orders?*"]),
            set(&["---", "++-", "+-+"])
        );
        assert_eq!(
            of(&["/domain/", "/domain/?", "/domain/??*"]),
            set(&["-+-", "--+"])
        );
        assert_eq!(of(&["/domain/${aws:username}"]), set(&["?"]));
    }

    #[test]
    fn what_takes_too_long_is_not_known() {
        // Whether the 25th character from the end is an `a` takes 2^25 states to tell.
        let text = format!("*a{}", "?".repeat(24));
        assert_eq!(
            of(&[&text, "/domain/b", "*", "/domain/b?"]),
            set(&["?-+?", "?++?"])
        );
    }

    #[test]
    fn thousands_of_names_are_thousands_of_classes() {
        let texts: Vec<String> = (0..3000).map(|n| format!("/domain/team-{n}")).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        assert_eq!(of(&texts).len(), 3001);
    }

    #[test]
    fn long_names_with_a_common_start_take_what_sorting_them_does() {
        // As states of an automaton, these are some 16 million places.
        let start = format!("/domain/{}", "x".repeat(1_900));
        let mut texts: Vec<String> = (0..8_000).map(|n| format!("{start}{n}")).collect();
        texts.push(format!("{start}*"));
        let patterns = texts.iter().map(|text| Pattern::glob(text, Case::Keep));
        let patterns: Vec<Pattern> = patterns.collect();
        let patterns: Vec<&Pattern> = patterns.iter().collect();
        let classes = classes(&patterns, &mut Steps(0));
        assert_eq!(classes.len(), 8_002);
        assert_eq!(classes.iter().map(Vec::len).sum::<usize>(), 16_001);
    }

    proptest! {
        #[test]
        fn plain_classes_are_those_of_the_automaton(
            texts in prop::collection::vec(
                "|/|/dom|/domain|/domain/[ab]{0,3}|/other/a", 0..6),
            ends in prop::collection::vec(prop::sample::select(vec!["", "*", "${aws:username}"]), 6),
        ) {
            let texts = texts.iter().zip(ends).map(|(text, end)| format!("{text}{end}"));
            let patterns = texts.map(|text| {
                Pattern::new(&text, Wildcards::Match, Variables::Expand, Case::Keep)
                    .expect("a pattern")
            });
            let patterns: Vec<Pattern> = patterns.collect();
            let patterns: Vec<&Pattern> = patterns.iter().collect();
            prop_assert!(patterns.iter().all(|pattern| is_plain(pattern)));
            let known = Automaton::new(&patterns).run(&mut Steps(usize::MAX));
            prop_assert_eq!(Some(plain_classes(&patterns)), known);
        }

        #[test]
        fn classes_are_those_of_all_short_names(
            texts in prop::collection::vec("[ab*?]{0,4}", 0..4),
        ) {
            let texts: Vec<String> = texts.iter().map(|text| format!("/domain/{text}")).collect();
            let patterns: Vec<Pattern> =
                texts.iter().map(|text| Pattern::glob(text, Case::Keep)).collect();
            let mut names = vec![String::new()];
            let mut found = HashSet::new();
            // Three patterns of four symbols need no longer names to be told apart.
            for _ in 0..7 {
                names = names
                    .iter()
                    .flat_map(|name| ["a", "b", "c"].map(|letter| format!("{name}{letter}")))
                    .collect();
                for name in &names {
                    let name = format!("/domain/{name}");
                    let matched = patterns
                        .iter()
                        .enumerate()
                        .filter(|(_, pattern)| pattern.matches(&name, &Context::default()));
                    let class: Class =
                        matched.map(|(place, _)| (place, Certainty::Sure)).collect();
                    found.insert(class);
                }
            }
            let patterns: Vec<&Pattern> = patterns.iter().collect();
            prop_assert_eq!(classes(&patterns, &mut Steps::default()), found);
        }
    }
}
