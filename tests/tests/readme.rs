//! The files of the README, as somebody takes them who has just met swf-filter.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use swf_filter::config::Config;
use swf_filter::files;
use swf_filter::listener::settings::Settings;
use tempfile::TempDir;

const README: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md");

/// Each file that the README gives: its path below `/etc/swf-filter`, and its text.
fn examples(text: &str) -> Vec<(&str, &str)> {
    let mut examples = Vec::new();
    for block in text.split("`/etc/swf-filter/").skip(1) {
        let file = block.split_once('`');
        let found = file.and_then(|(path, rest)| {
            let (_, rest) = rest.split_once("\n```")?;
            let (_, rest) = rest.split_once('\n')?;
            Some((path, rest.split_once("```")?.0))
        });
        examples.extend(found);
    }
    examples
}

fn written(change: impl Fn(&str) -> String) -> Result<TempDir> {
    let folder = tempfile::tempdir()?;
    for (path, text) in examples(&fs::read_to_string(README)?) {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().context("a file is in a folder")?)?;
        fs::write(path, change(text))?;
    }
    Ok(folder)
}

/// What the daemon and the listener read.
fn load(folder: &Path) -> Result<Settings> {
    let config = Config::load(&folder.join("config.toml"))?;
    let loaded = files::load(&folder.join("policy.d"), &config.always_allow)?;
    ensure!(loaded.policy.hosts.len() == 1 && loaded.policy.principals.users.len() == 1);
    let settings = Settings::load(&folder.join("listener.toml"))?;
    for listener in &settings.listeners {
        let fronted = loaded
            .policy
            .hosts
            .iter()
            .find(|host| *host.name == *listener.host);
        ensure!(fronted.is_some_and(|host| host.documents.is_some()));
    }
    Ok(settings)
}

#[test]
fn files_of_the_readme_are_right_and_belong_together() -> Result<()> {
    let folder = written(str::to_owned)?;
    let settings = load(folder.path())?;
    ensure!(settings.listeners.len() == 1 && settings.upstreams.len() == 1);
    Ok(())
}

#[test]
fn a_word_that_is_not_known_is_noticed() -> Result<()> {
    for (known, wrong) in [
        ("interfaces ", "interfaze "),
        ("deny ", "denyy "),
        ("\"Effect\"", "\"Efect\""),
        ("listen ", "lissen "),
    ] {
        let folder = written(|text| text.replace(known, wrong))?;
        ensure!(load(folder.path()).is_err(), "{wrong}");
    }
    Ok(())
}
