//! `swf-filter generate`: what packages carry beside the program, made from the one definition of the command line.
//!
//! Nothing here is written by hand twice: man pages, completions and `docs/cli.md` cannot say what the parser does not do.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::{Arg, Command, ValueEnum};
use clap_complete::Shell;
use clap_mangen::Man;

/// What is generated.
#[derive(clap::Args)]
pub(super) struct Generate {
    /// The kind.
    what: What,
    /// The directory to write to, which is made if need be.
    directory: PathBuf,
}

/// What can be generated.
#[derive(Clone, Copy, ValueEnum)]
enum What {
    /// For bash, fish and zsh.
    Completions,
    /// A page of section 8 for each command.
    Man,
    /// `cli.md`, the reference.
    Markdown,
}

/// The shells that completions are for. Others have few users among administrators of servers.
const SHELLS: [Shell; 3] = [Shell::Bash, Shell::Fish, Shell::Zsh];
/// Commands for administrators (`man-pages(7)`).
const SECTION: &str = "8";

/// Writes what is asked for, about `command`.
pub(super) fn generate(command: Command, asked: &Generate) -> Result<()> {
    let directory = &asked.directory;
    let written = fs::create_dir_all(directory).and_then(|()| match asked.what {
        What::Completions => completions(&command, directory),
        What::Man => man(&built(command), directory),
        What::Markdown => fs::write(directory.join("cli.md"), markdown(command)),
    });
    written.with_context(|| format!("cannot write to `{}`", directory.display()))
}

fn completions(command: &Command, directory: &Path) -> std::io::Result<()> {
    // Completions would list what is hidden, and a command cannot be taken out of another.
    let name = env!("CARGO_PKG_NAME");
    let mut command = Command::new(name)
        .version(env!("CARGO_PKG_VERSION"))
        .args(command.get_arguments())
        .subcommands(shown(command));
    for shell in SHELLS {
        clap_complete::generate_to(shell, &mut command, name, directory)?;
    }
    Ok(())
}

fn man(command: &Command, directory: &Path) -> std::io::Result<()> {
    let page = Man::new(command.clone())
        .section(SECTION)
        .source(concat!("swf-filter ", env!("CARGO_PKG_VERSION")))
        .manual("swf-filter");
    page.generate_to(directory)?;
    shown(command).try_for_each(|command| man(command, directory))
}

/// The whole reference, as Markdown.
fn markdown(command: Command) -> String {
    let mut text = format!("# Commands\n\n<!-- {MADE} -->\n");
    section(&mut text, &built(command), true);
    text
}

/// Stands in `docs/cli.md` for whoever wants to change it.
const MADE: &str =
    "Made by `cargo run -p swf-filter -- generate markdown docs`: change swf-filter/src/cli.";

fn section(text: &mut String, command: &Command, top: bool) {
    // What a `String` is written to cannot fail.
    let name = command.get_bin_name().unwrap_or(command.get_name());
    let about = command.get_long_about().or(command.get_about());
    let about = about.map(|about| sentence(&about.to_string()));
    let about = about.unwrap_or_default();
    let _ = write!(text, "\n## `{name}`\n\n{about}\n\n");
    let usage = command.clone().render_usage().to_string();
    for line in usage.trim_start_matches("Usage: ").lines() {
        let _ = writeln!(text, "    {}", line.trim());
    }
    let mut arguments = command
        .get_arguments()
        .filter(|arg| !arg.is_hide_set() && (top || !arg.is_global_set()))
        .filter(|arg| !matches!(arg.get_id().as_str(), "help" | "version"))
        .peekable();
    if arguments.peek().is_some() {
        text.push_str("\n| argument | what it is |\n| --- | --- |\n");
        for arg in arguments {
            let _ = writeln!(text, "| `{arg}` | {} |", described(arg).replace('|', "\\|"));
        }
    }
    if let Some(after) = command.get_after_help() {
        let _ = write!(text, "\n{after}\n");
    }
    for command in shown(command) {
        section(text, command, false);
    }
}

/// What an argument is, what it can be, and what it is if it is not given.
fn described(arg: &Arg) -> String {
    let help = arg.get_long_help().or(arg.get_help());
    let help = help.map(|help| sentence(&help.to_string()));
    let mut text = help.unwrap_or_default();
    let quoted = |words: Vec<String>| {
        let words: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
        words.join(", ")
    };
    let possible = arg.get_possible_values();
    if !possible.is_empty() && arg.get_action().takes_values() {
        let names = possible.iter().map(|value| value.get_name().to_owned());
        let _ = write!(text, " One of {}.", quoted(names.collect()));
    }
    let default = arg.get_default_values();
    if !default.is_empty() && arg.get_action().takes_values() {
        let values = default.iter().map(|value| value.display().to_string());
        let _ = write!(text, " Default: {}.", quoted(values.collect()));
    }
    if let Some(variable) = arg.get_env() {
        let _ = write!(text, " Environment: `{}`.", variable.display());
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A comment with its full stop, which clap takes off.
fn sentence(text: &str) -> String {
    let text = text.trim_end();
    if text.is_empty() || text.ends_with(['.', ':', '?', '!']) {
        text.to_owned()
    } else {
        format!("{text}.")
    }
}

/// With what clap works out of itself, such as the full names of commands.
fn built(command: Command) -> Command {
    let mut command = command.disable_help_subcommand(true);
    command.build();
    command
}

fn shown(command: &Command) -> impl Iterator<Item = &Command> {
    command
        .get_subcommands()
        .filter(|command| !command.is_hide_set())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::cli::Arguments;

    #[test]
    fn reference_in_docs_is_what_would_be_generated() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/cli.md");
        let there = fs::read_to_string(path).unwrap();
        assert!(
            there == markdown(Arguments::command()),
            "docs/cli.md is not up to date: {MADE}"
        );
    }

    #[test]
    fn reference_follows_the_definition() {
        let text = |help| {
            let option = Arg::new("limit").long("limit").help(help);
            markdown(Command::new("swf-filter").subcommand(Command::new("events").arg(option)))
        };
        assert!(text("End after so many.").contains("| `--limit <limit>` | End after so many. |"));
        assert_ne!(text("a"), text("b"));
    }

    #[test]
    fn every_command_has_a_page_and_the_hidden_one_none() {
        let folder = tempfile::tempdir().unwrap();
        let asked = Generate {
            what: What::Man,
            directory: folder.path().join("made"),
        };
        generate(Arguments::command(), &asked).unwrap();
        let page = |name: &str| fs::read_to_string(asked.directory.join(name));
        assert!(
            page("swf-filter.8")
                .unwrap()
                .contains("swf\\-filter\\-check(8)")
        );
        assert!(page("swf-filter-keys-create.8").unwrap().contains("USER"));
        assert!(page("swf-filter-generate.8").is_err());
    }

    #[test]
    fn each_shell_has_completions() {
        let folder = tempfile::tempdir().unwrap();
        let asked = Generate {
            what: What::Completions,
            directory: folder.path().to_owned(),
        };
        generate(Arguments::command(), &asked).unwrap();
        for name in ["swf-filter.bash", "swf-filter.fish", "_swf-filter"] {
            let text = fs::read_to_string(folder.path().join(name)).unwrap();
            for word in ["listener-config", "rollback", "ip-ranges", "version"] {
                assert!(text.contains(word), "{name} has no `{word}`");
            }
            assert!(!text.contains("generate"), "{name} lists what is hidden");
        }
    }
}
