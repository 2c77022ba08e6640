//! Any bytes as the body of any call, and as the answer to a poll.

#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use swf_filter_core::swf::{Action, Scope, TokenFinder, read_call};

fuzz_target!(|input: (u8, &[u8])| {
    let (number, body) = input;
    let action = Action::ALL[usize::from(number) % Action::ALL.len()];
    if let Ok(call) = read_call(action, body) {
        // Another reader finds the same.
        let value: Value = serde_json::from_slice(body).expect("what is read is JSON");
        assert!(value.is_object() && !action.is_decision());
        match call.scope {
            Scope::Domain(name) => assert!(value["domain"] == *name || value["name"] == *name),
            Scope::ResourceArn(arn) => assert_eq!(value["resourceArn"], *arn),
            Scope::TaskToken(token) => assert_eq!(value["taskToken"], *token),
            Scope::EveryDomain => {}
        }
    }
    let found = token([body]);
    let (start, end) = body.split_at(usize::from(number).min(body.len()));
    assert_eq!(found, token([start, end]), "in pieces, as in one");
    if let (Some(found), Ok(value)) = (found, serde_json::from_slice::<Value>(body))
        && value.is_object()
        && is_named_once(body)
    {
        assert_eq!(value["taskToken"], *found);
    }
});

/// The last token that ends in any of these pieces of an answer.
fn token<const PIECES: usize>(pieces: [&[u8]; PIECES]) -> Option<String> {
    let mut finder = TokenFinder::default();
    let tokens = pieces.into_iter().filter_map(|piece| finder.push(piece));
    tokens.last()
}

/// Of several members with one name, readers may take another than the finder.
fn is_named_once(body: &[u8]) -> bool {
    let name = b"\"taskToken\"";
    !body.contains(&b'\\') && body.windows(name.len()).filter(|part| part == name).count() == 1
}
