//! The files and commands of the README, as somebody takes them who has just met swf-filter.

use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use swf_filter::config::Config;
use swf_filter::files;
use swf_filter::listener::settings::Settings;
use swf_filter_tests::process::run;
use swf_filter_tests::require;
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

/// The commands of a section.
fn commands<'a>(text: &'a str, section: &str) -> Result<Vec<&'a str>> {
    let (_, text) = text.split_once(section).context("no such section")?;
    let text = text.split("\n## ").next().unwrap_or_default();
    Ok(text
        .lines()
        .filter_map(|line| line.strip_prefix("    "))
        .collect())
}

/// What stands for a machine on which the package was installed: namespaces that end with the script, and no systemd.
const MACHINE: &str = r#"
set -eu
mount -t tmpfs none /run
mkdir "$FOLDER/bpf"
mount -t bpf none "$FOLDER/bpf"
trap 'kill $(jobs -p) 2>/dev/null || true' EXIT
swf-filter() { "$SWF_FILTER_BIN" "$@"; }
systemctl() {
    [ "$*" = "enable --now swf-filter.service" ]
    "$SWF_FILTER_BIN" daemon &
    for _ in $(seq 300); do
        ! swf-filter status >/dev/null 2>&1 || return 0
        sleep 0.1
    done
    return 1
}
"#;

#[test]
fn a_first_policy_drops_a_packet_and_says_why() -> Result<()> {
    let Some(binary) = env::var_os("SWF_FILTER_BIN").filter(|_| require::root()) else {
        return Ok(());
    };
    let folder = written(str::to_owned)?;
    let config = folder.path().join("config.toml");
    let paths = ["policy.d", "bpf", "run", "state"]
        .map(|name| folder.path().join(name).display().to_string());
    let [policy, bpf, run_directory, state] = paths;
    let settings = fs::read_to_string(&config)?
        + &format!(
            "[paths]\npolicy = '{policy}'\nbpf = '{bpf}'\nrun = '{run_directory}'\nstate = '{state}'\n"
        );
    fs::write(&config, settings)?;
    let text = fs::read_to_string(README)?;
    let commands = commands(&text, "## A first policy")?;
    let mut machine = Command::new("timeout");
    machine
        .args(["60", "unshare", "--mount", "--net", "bash", "-c"])
        .arg(format!("{MACHINE}{}\n", commands.join("\n")))
        .env("SWF_FILTER_BIN", binary)
        .env("SWF_FILTER_CONFIG", &config)
        .env("FOLDER", folder.path());
    let said = run(&mut machine)?;
    let (before, explained) = said.split_once("no answer\n").context(said.clone())?;
    ensure!(before.contains("eth9"), "{said}");
    for words in ["default-drop", "10-payments.toml:3"] {
        ensure!(explained.contains(words), "{said}");
    }
    Ok(())
}
