use proptest::prelude::*;

use super::*;

/// The definition, tried in every way.
fn matches(pieces: &[Piece], text: &str, context: &Context<'_>) -> bool {
    let Some((piece, after)) = pieces.split_first() else {
        return text.is_empty();
    };
    match piece {
        Piece::AnyRun => {
            let starts = text.char_indices().map(|(start, _)| start);
            let mut starts = starts.chain([text.len()]);
            starts.any(|start| matches(after, &text[start..], context))
        }
        Piece::AnyOne => skip_first(text).is_some_and(|rest| matches(after, rest, context)),
        Piece::Literal(literal) => text
            .strip_prefix(&**literal)
            .is_some_and(|rest| matches(after, rest, context)),
        Piece::Variable { key, default } => {
            let value = context.single(key).or(default.as_deref());
            let rest = value.and_then(|value| text.strip_prefix(value));
            rest.is_some_and(|rest| matches(after, rest, context))
        }
    }
}

fn pattern(text: &str) -> Pattern {
    Pattern::new(text, Wildcards::Match, Variables::Expand, Case::Keep).unwrap()
}

proptest! {
    #[test]
    fn a_pattern_matches_what_its_definition_does(
        text in "(a|b|\u{e9}|\\*|\\?|\\$\\{swf:name\\}|\\$\\{swf:version, 'b'\\}){0,9}",
        subject in "(a|b|\u{e9}){0,12}",
        name in proptest::option::of("(a|b|\u{e9}){0,3}"),
    ) {
        let pattern = pattern(&text);
        let mut context = Context::default();
        if let Some(name) = &name {
            context.add("swf:name", name.as_str());
        }
        let has_value = pattern.variables().all(|key| key == "swf:version" || name.is_some());
        prop_assert_eq!(
            pattern.matches(&subject, &context),
            has_value && matches(&pattern.pieces, &subject, &context)
        );
    }

    #[test]
    fn long_searches_cross_words(
        wanted in proptest::collection::vec(prop_oneof![Just('?'), Just('a'), Just('b')], 60..140),
        subject in "[ab]{0,300}",
    ) {
        let wanted: String = wanted.into_iter().collect();
        let text = format!("*{wanted}*");
        let found = (0..=subject.len()).any(|start| {
            let here = subject[start..].chars();
            here.clone().count() >= wanted.len()
                && wanted.chars().zip(here).all(|(wanted, one)| wanted == '?' || wanted == one)
        });
        prop_assert_eq!(pattern(&text).matches(&subject, &Context::default()), found);
    }
}

#[test]
fn work_is_linear_in_pattern_and_text() {
    let hostile = [
        format!("*{}x*", "a".repeat(1_000)),
        format!("*{}x*", "?a".repeat(1_000)),
        format!("*{}x", "?".repeat(2_000)),
        format!("{}x", "*a?".repeat(700)),
        "*${swf:name}x*${swf:name}y*?a?*".to_owned(),
    ];
    for text in hostile {
        let pattern = pattern(&text);
        let work = |length: usize| {
            let (name, subject) = ("a".repeat(length / 2), "a".repeat(length));
            let meter = crate::iam::Meter::new(u64::MAX);
            let mut context = Context::default().metered(&meter);
            context.add("swf:name", name.as_str());
            assert!(!pattern.matches(&subject, &context), "{text}");
            meter.spent()
        };
        let (short, long) = (work(100_000), work(200_000));
        assert!(long <= short * 2 + 10_000, "{text}: {short}, {long}");
        // Each 64 characters of a pattern with `?` between others cost one word a character.
        assert!(
            long <= 200_000 * (text.len() as u64 / 64 + 64),
            "{text}: {long}"
        );
    }
}

#[test]
fn variables_cost_no_more_than_the_text_that_they_are_looked_for_in() {
    let text = format!("*{}?x*", "${aws:referer}".repeat(130));
    let pattern = pattern(&text);
    let referer = "a".repeat(10_000);
    let work = |meter: &crate::iam::Meter| {
        let mut context = Context::default().metered(meter);
        context.add("aws:referer", referer.as_str());
        assert!(!pattern.matches("AssumedRole", &context));
        meter.spent()
    };
    // One look at the first value says that it is too long.
    assert!(work(&crate::iam::Meter::new(u64::MAX)) < 20_000);
    // Without work left, no value is looked at.
    assert!(work(&crate::iam::Meter::new(10)) < 4_000);
}

#[test]
fn nothing_matches_without_work_left() {
    let meter = crate::iam::Meter::new(10);
    let context = Context::default().metered(&meter);
    assert!(pattern("ab*").matches("abc", &context));
    assert!(!meter.is_spent());
    assert!(!pattern("ab*").matches("abc", &context));
    assert!(meter.is_spent());
}
