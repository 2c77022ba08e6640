//! Any bytes as the body of any call, and as the answer to a poll.

#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use swf_filter_core::swf::{Action, Scope, read_call, task_token};

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
    if let Ok(Some(token)) = task_token(body) {
        let value: Value = serde_json::from_slice(body).expect("what is read is JSON");
        assert_eq!(value["taskToken"], *token);
    }
});
