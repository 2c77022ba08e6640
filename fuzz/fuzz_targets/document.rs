//! Any bytes as a policy document: read or refused, and what is read prints as what reads the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use swf_filter_core::iam::{Document, Kind, parse};
use swf_filter_core::policy::{Problems, SourceFile};

fn read(bytes: &[u8], kind: Kind) -> Option<Document> {
    let file = SourceFile {
        name: "fuzzed.json".into(),
        bytes: bytes.into(),
    };
    let mut problems = Problems::default();
    let document = parse(&file, kind, &mut problems);
    // What is refused is refused for a reason, in words, at a place.
    assert_eq!(document.is_none(), !problems.is_empty());
    for problem in &problems.list {
        assert!(!problem.to_string().is_empty());
        let _help = problem.help();
    }
    document
}

fuzz_target!(|bytes: &[u8]| {
    for kind in [Kind::Identity, Kind::Resource, Kind::Trust] {
        if let Some(document) = read(bytes, kind) {
            let printed = document.to_json();
            let again =
                read(printed.to_string().as_bytes(), kind).expect("what is printed is right");
            assert_eq!(printed, again.to_json());
        }
    }
});
