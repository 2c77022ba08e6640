//! The files and commands of the README, as somebody takes them who has just met swf-filter.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use swf_filter::config::Config;
use swf_filter::files;
use swf_filter::listener::settings::Settings;
use swf_filter_tests::manual::{self, Machine, SetUp};
use tempfile::TempDir;

const README: &str = "README.md";

fn written(change: impl Fn(&str) -> String) -> Result<TempDir> {
    let folder = tempfile::tempdir()?;
    for (path, text) in manual::files(&manual::document(README)?) {
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

#[test]
fn a_first_policy_lets_one_client_in_and_drops_another_and_a_listener_joins() -> Result<()> {
    let Some(machine) = Machine::new(SetUp::Package)? else {
        return Ok(());
    };
    let text = manual::document(README)?;
    let mut commands = Vec::new();
    for title in ["A first policy", "The other two gates"] {
        let section = manual::section(&text, title)?;
        commands.extend(
            manual::files(section)
                .into_iter()
                .map(manual::here_document),
        );
        commands.extend(manual::commands(section));
    }
    let alice = "--principal arn:aws:iam::111122223333:user/alice --action swf:DescribeDomain --resource payments";
    commands.push("swf-filter status".to_owned());
    commands.push(format!(
        "swf-filter explain --live --from 203.0.113.7 --to 198.51.100.10 --interface eth9 {alice}"
    ));
    let said = machine.run(&commands)?;
    let parts: Vec<&str> = said.split("\nno answer\n").collect();
    let &[first, gates, after] = &*parts else {
        bail!("two clients get no answer: {said}");
    };
    // The endpoint answers whom the policy allows, and then the listener does.
    for (part, words) in [
        (first, &["eth9", "Directory listing for /"][..]),
        (
            gates,
            &[
                "drop: deny",
                "10-payments.toml:7",
                "AKIA",
                "MissingAuthenticationToken",
            ],
        ),
        (after, &["pass: allow", "request allow: it is allowed"]),
    ] {
        for words in words {
            ensure!(part.contains(words), "no `{words}`: {said}");
        }
    }
    // Nothing that the reader writes is doubtful, but that `deny` makes a hole in `allow`.
    ensure!(!said.contains("warning"), "{said}");
    Ok(())
}
