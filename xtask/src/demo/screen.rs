//! What the demo prints: scenes, commands with their output, verdicts.

use std::env;
use std::io::{self, IsTerminal as _};

/// Standard output.
#[derive(Clone, Copy, Debug)]
pub(super) struct Screen {
    colour: Colour,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Colour {
    Off,
    On,
}

impl Screen {
    /// Colour only where somebody sees it, and wants it (no-color.org).
    pub(super) fn new() -> Self {
        let refused = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let colour = if io::stdout().is_terminal() && !refused {
            Colour::On
        } else {
            Colour::Off
        };
        Self { colour }
    }

    /// Opens a scene: what is about to be shown, and why.
    pub(super) fn scene(self, text: &str) {
        println!("\n{}", self.paint(BOLD, text));
    }

    /// A command as it is typed on a machine.
    pub(super) fn command(self, machine: &str, line: &str) {
        println!("  {} {line}", self.paint(CYAN, &format!("{machine}$")));
    }

    /// Something that was checked, and holds.
    pub(super) fn ok(self, text: &str) {
        println!("  {}", self.paint(GREEN, &format!("ok: {text}")));
    }

    fn paint(self, code: &str, text: &str) -> String {
        match self.colour {
            Colour::Off => text.to_owned(),
            Colour::On => format!("\x1b[{code}m{text}\x1b[0m"),
        }
    }
}

/// A line of prose.
pub(super) fn say(text: &str) {
    println!("  {text}");
}

/// What a command printed.
pub(super) fn output(text: &str) {
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        println!("      {line}");
    }
}

const BOLD: &str = "1";
const CYAN: &str = "36";
const GREEN: &str = "32";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_colour_text_is_left_alone() {
        let plain = Screen {
            colour: Colour::Off,
        };
        assert_eq!(plain.paint(GREEN, "ok"), "ok");
        let bright = Screen { colour: Colour::On };
        assert_eq!(bright.paint(GREEN, "ok"), "\x1b[32mok\x1b[0m");
    }
}
