//! What the tests of verdicts share: from a model to a policy, through the product's parser.

use std::io;
use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;
use swf_filter_common::image;
use swf_filter_core::policy::{Policy, SourceFile, parse, parse_always_allow};
use swf_filter_tests::model::Model;
use swf_filter_tests::world::Engine;
use toml::Spanned;

/// The policy that the product's parser makes of a model.
pub(crate) fn read(model: &Model) -> Policy {
    let files = model.to_toml();
    let policies: Vec<SourceFile> = model
        .files
        .iter()
        .filter_map(|file| files.iter().find(|(name, _)| *name == file.name))
        .map(|(name, text)| source(name, text))
        .collect();
    let mut read_set = |path: &Path| -> io::Result<Arc<[u8]>> {
        let found = files.iter().find(|(name, _)| Path::new(name) == path);
        found
            .map(|(_, text)| text.as_bytes().into())
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    };
    let mut policy = parse(&policies, &mut read_set).unwrap_or_else(|problems| {
        panic!(
            "a generated policy is refused: {problems:?}\n{}",
            texts(model)
        );
    });
    policy.always_allow = always_allow(&model.always_allow_toml());
    policy
}

/// An engine as images have it.
pub(crate) fn product_engine(engine: Engine) -> image::Engine {
    match engine {
        Engine::Compiled => image::Engine::Compiled,
        Engine::LpmTrie => image::Engine::LpmTrie,
    }
}

#[derive(Deserialize)]
struct Config {
    always_allow: Vec<Spanned<String>>,
}

fn always_allow(list: &str) -> Vec<swf_filter_core::policy::Entry> {
    let text = format!("always_allow = {list}\n");
    let config: Config = toml::from_str(&text).expect("the model renders TOML");
    parse_always_allow(&source("config.toml", &text), &config.always_allow)
        .expect("the model renders prefixes")
}

fn source(name: &str, text: &str) -> SourceFile {
    SourceFile {
        name: name.into(),
        bytes: text.as_bytes().into(),
    }
}

/// All files of a model, for reports of failed tests.
pub(crate) fn texts(model: &Model) -> String {
    let files = model
        .to_toml()
        .into_iter()
        .map(|(name, text)| format!("--- {name}\n{text}\n"));
    files
        .chain([format!("always_allow = {}", model.always_allow_toml())])
        .collect()
}
