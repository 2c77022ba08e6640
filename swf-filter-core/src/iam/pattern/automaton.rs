//! Searches a text for characters of which some may be any, in time that is linear in the text.
//!
//! The shift-and algorithm: a set of bits says how many of the wanted characters the text read so far ends with, and one
//! character of the text moves them all at once. Baeza-Yates and Gonnet, "A new approach to text searching" (1992).

use std::collections::BTreeMap;

/// Wanted characters, as bits.
pub(super) struct Automaton {
    /// Which places take a character that no place names.
    any: Vec<u64>,
    /// Which places take a character that some name.
    named: BTreeMap<char, Vec<u64>>,
    /// How many characters are wanted.
    length: usize,
}

const BITS: usize = u64::BITS as usize;
/// What it takes to look a character up.
const LOOK_UP: usize = 24;

impl Automaton {
    /// Takes what is wanted, in order; none stands for any one character.
    pub(super) fn new(wanted: &[Option<char>]) -> Self {
        let mut any = vec![0; wanted.len().div_ceil(BITS)];
        for (place, _) in (0..).zip(wanted).filter(|(_, one)| one.is_none()) {
            set(&mut any, place);
        }
        let mut named = BTreeMap::new();
        for (place, character) in (0..).zip(wanted) {
            if let Some(character) = character {
                set(
                    named.entry(*character).or_insert_with(|| any.clone()),
                    place,
                );
            }
        }
        Self {
            any,
            named,
            length: wanted.len(),
        }
    }

    /// What it takes for so many bytes, in units of work: each character is looked up, and moves all words.
    pub(super) fn work(&self, bytes: usize) -> usize {
        (self.any.len() + LOOK_UP).saturating_mul(bytes)
    }

    /// What follows the first place in `text` where all that is wanted stands.
    pub(super) fn rest_after<'t>(&self, text: &'t str) -> Option<&'t str> {
        let Some(last) = self.length.checked_sub(1) else {
            return Some(text);
        };
        let mut state = vec![0; self.any.len()];
        let mut rest = text.chars();
        while let Some(character) = rest.next() {
            let taking = self.named.get(&character).unwrap_or(&self.any);
            // The first character may stand at any place.
            let mut carry = 1;
            for (word, taking) in state.iter_mut().zip(taking) {
                let moved = *word << 1 | carry;
                carry = *word >> (BITS - 1);
                *word = moved & taking;
            }
            if is_set(&state, last) {
                return Some(rest.as_str());
            }
        }
        None
    }
}

fn set(words: &mut [u64], place: usize) {
    if let Some(word) = words.get_mut(place / BITS) {
        *word |= 1 << (place % BITS);
    }
}

fn is_set(words: &[u64], place: usize) -> bool {
    words
        .get(place / BITS)
        .is_some_and(|word| word >> (place % BITS) & 1 == 1)
}
