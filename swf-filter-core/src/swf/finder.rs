//! The task token in the answer to a poll, found while the answer passes by.
//!
//! An answer may hold a history of many megabytes, so nothing of it is kept but the string at hand. Only the lexical form of JSON
//! is followed: an answer that is not quite JSON is for the client to refuse.

use super::token::TOKEN;

/// Looks for the token in the pieces of an answer.
#[derive(Debug, Default)]
pub struct TokenFinder {
    place: Place,
    /// Brackets that are open. The answer's own members are at a depth of one.
    depth: usize,
    /// What the string at hand stands for, if it is a member's name or value of the answer itself.
    role: Role,
    /// That string, with its quotation marks.
    text: Vec<u8>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    /// Between strings.
    #[default]
    Outside,
    /// In a string.
    Inside,
    /// In a string, after a backslash.
    Escape,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Role {
    /// The next string of the answer's own is a name.
    #[default]
    Name,
    /// It is a name, and that of the token.
    TokenName,
    /// It is another member's value.
    Value,
    /// It is the token.
    Token,
}

/// Bytes that a token may take in JSON: each character as a pair of `\uXXXX`.
const LONGEST: usize = 12 * TOKEN + 2;

impl TokenFinder {
    /// Looks through the next piece, and gives the token if that ends in it. None if no task was waiting: then there is no token,
    /// or an empty one. Of several the last counts, as for most readers.
    pub fn push(&mut self, piece: &[u8]) -> Option<String> {
        let mut found = None;
        for byte in piece {
            if let Some(token) = self.step(*byte) {
                found = Some(token);
            }
        }
        found
    }

    fn step(&mut self, byte: u8) -> Option<String> {
        match (self.place, byte) {
            (Place::Outside, b'"') => {
                self.place = Place::Inside;
                self.text.clear();
                self.keep(byte);
            }
            (Place::Outside, b'{' | b'[') => self.depth = self.depth.saturating_add(1),
            (Place::Outside, b'}' | b']') => self.depth = self.depth.saturating_sub(1),
            (Place::Outside, b':') if self.depth == 1 => {
                self.role = match self.role {
                    Role::TokenName => Role::Token,
                    _ => Role::Value,
                };
            }
            (Place::Outside, b',') if self.depth == 1 => self.role = Role::Name,
            (Place::Outside, _) => {}
            (Place::Inside, b'"') => {
                self.place = Place::Outside;
                self.keep(byte);
                return self.end();
            }
            (Place::Inside, b'\\') => {
                self.place = Place::Escape;
                self.keep(byte);
            }
            (Place::Inside | Place::Escape, _) => {
                self.place = Place::Inside;
                self.keep(byte);
            }
        }
        None
    }

    /// Keeps a byte of a string that may be looked at. One more than fit tells that it is too long.
    fn keep(&mut self, byte: u8) {
        let is_own = self.depth == 1 && self.role != Role::Value;
        if is_own && self.text.len() <= LONGEST {
            self.text.push(byte);
        }
    }

    fn end(&mut self) -> Option<String> {
        if self.depth != 1 || self.role == Role::Value || self.text.len() > LONGEST {
            return None;
        }
        let text: String = serde_json::from_slice(&self.text).ok()?;
        if self.role == Role::Token {
            return Some(text).filter(|token| !token.is_empty());
        }
        if text == "taskToken" {
            self.role = Role::TokenName;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn found(answer: &[u8]) -> Option<String> {
        TokenFinder::default().push(answer)
    }

    #[test]
    fn the_answers_own_token_is_found() {
        let history = json!({
            "events": [{"eventId": 1, "taskToken": "inner", "input": "{\"taskToken\": \"quoted\"}"}],
            "taskToken": "a/b",
            "startedEventId": 3,
            "input": "taskToken",
        });
        let answer = history.to_string().replace("a/b", "a\\/\\u0062");
        assert_eq!(found(answer.as_bytes()).as_deref(), Some("a/b"));
    }

    #[test]
    fn where_there_is_no_token_none_is_found() {
        let deep = format!(
            "{{\"x\":{}\"taskToken\"{}}}",
            "[".repeat(9_000),
            "]".repeat(9_000)
        );
        let long = format!("{{\"taskToken\":\"{}\"}}", "t".repeat(LONGEST));
        let answers = [
            "",
            "{}",
            r#"{"taskToken":""}"#,
            r#"{"taskToken":null,"x":"t"}"#,
            r#"{"taskToken":1,"x":"t"}"#,
            r#"{"taskToken":["t"]}"#,
            r#"{"taskToken":{"taskToken":"t"}}"#,
            r#"{"x":"taskToken","y":"t"}"#,
            r#"{"taskToken":"t"#,
            r#"["taskToken","t"]"#,
            r#"{"x\"taskToken":"t"}"#,
            &deep,
            &long,
        ];
        for answer in answers {
            assert_eq!(found(answer.as_bytes()), None, "{answer}");
        }
        assert_eq!(found(b"{\"taskToken\":\"\xff\"}"), None);
        assert_eq!(
            found(br#"{"taskToken":null,"taskToken":"t"}"#).as_deref(),
            Some("t")
        );
    }

    fn json() -> impl Strategy<Value = Value> {
        let text = prop::sample::select(vec![
            "taskToken",
            "",
            "t",
            "\\\"",
            "{\"taskToken\":\"x\"}",
            "ü\u{1f600}\n",
        ]);
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<i32>().prop_map(Value::from),
            text.clone().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 4, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::hash_map(text.clone().prop_map(String::from), inner, 0..4)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn it_is_what_a_parser_would_find_however_it_comes(answer in json(), pieces in 1..9usize) {
            let text = answer.to_string();
            let mut finder = TokenFinder::default();
            let found = text
                .as_bytes()
                .chunks(pieces)
                .filter_map(|piece| finder.push(piece))
                .last();
            let token = answer.get("taskToken").and_then(Value::as_str);
            prop_assert_eq!(found.as_deref(), token.filter(|token| !token.is_empty()), "{}", text);
        }
    }
}
