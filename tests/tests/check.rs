//! `swf-filter check` as a user meets it: files that are right, wrong, hostile or huge, and what is said about them.

use std::env;
use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::net::Ipv4Addr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use swf_filter_tests::process::{self, Child};
use swf_filter_tests::require;
use tempfile::TempDir;

/// Time for any check, however large the files; an unoptimized build of the command takes most of it.
const DEADLINE: Duration = Duration::from_mins(1);
/// Exit code for files that are refused.
const REFUSED: i32 = 3;
/// What the command may print about any number of problems.
const MOST_OUTPUT: usize = 64 << 10;
/// A user who owns nothing.
const NOBODY: u32 = 65_534;

const HOST: &str =
    "version = 1\n[[host]]\nname = \"a\"\naddresses = [\"192.0.2.1\"]\nallow = [\"set:s\"]\n";
const SET: &str = "[[set]]\nname = \"s\"\nfile = \"s.txt\"\n";

/// A directory of policy files, and the command that checks it.
struct Policy {
    folder: TempDir,
    binary: PathBuf,
}

/// How a check ended, and what it said.
#[derive(Debug)]
struct Outcome {
    code: Option<i32>,
    said: String,
}

impl Policy {
    /// An empty directory. `None`, said loudly, if there is no binary.
    fn empty() -> Result<Option<Self>> {
        let Some(binary) = env::var_os("SWF_FILTER_BIN").map(PathBuf::from) else {
            require::skip("needs SWF_FILTER_BIN: run `cargo xtask test`");
            return Ok(None);
        };
        let folder = tempfile::Builder::new().prefix("swft-").tempdir()?;
        Ok(Some(Self { folder, binary }))
    }

    /// One policy file, `10.toml`, and the set file that it names.
    fn new(policy: impl AsRef<[u8]>, set: impl AsRef<[u8]>) -> Result<Option<Self>> {
        let Some(files) = Self::empty()? else {
            return Ok(None);
        };
        fs::write(files.path("10.toml"), policy)?;
        fs::write(files.path("s.txt"), set)?;
        Ok(Some(files))
    }

    fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.folder.path().join(name)
    }

    fn check(&self) -> Result<Outcome> {
        outcome(
            Command::new(&self.binary)
                .arg("check")
                .arg(self.folder.path()),
        )
    }
}

fn outcome(command: &mut Command) -> Result<Outcome> {
    let mut child = Child::spawn("swf-filter check", command.env("NO_COLOR", "1"))?;
    let status = child.wait(DEADLINE);
    Ok(Outcome {
        code: status.code(),
        said: child.stdout() + &child.stderr(),
    })
}

impl Outcome {
    #[track_caller]
    fn is_accepted(&self) {
        assert_eq!(self.code, Some(0), "{}", self.said);
        assert!(!self.said.contains("error"), "{}", self.said);
    }

    /// Refused, with each of `words` said.
    #[track_caller]
    fn is_refused(&self, words: &[&str]) {
        assert_eq!(self.code, Some(REFUSED), "{}", self.said);
        for words in words {
            assert!(
                self.said.contains(words),
                "`{words}` is not in\n{}",
                self.said
            );
        }
        assert!(self.said.len() < MOST_OUTPUT, "{} bytes", self.said.len());
    }
}

#[test]
fn files_that_are_right_are_accepted() -> Result<()> {
    let set = "10.0.0.0/8 # office\n\n2001:db8::/32\n192.0.2.9-192.0.2.12\n";
    let Some(files) = Policy::new(format!("{HOST}{SET}"), set)? else {
        return Ok(());
    };
    files.check()?.is_accepted();
    Ok(())
}

#[test]
fn an_empty_directory_is_a_policy_without_hosts() -> Result<()> {
    let Some(files) = Policy::empty()? else {
        return Ok(());
    };
    files.check()?.is_accepted();
    Ok(())
}

#[test]
fn what_is_wrong_is_said_with_its_place_a_mark_and_the_way_out() -> Result<()> {
    // Policy and set file, then what is said of them.
    let whole = format!("{HOST}{SET}");
    let cases: &[(&[u8], &[u8], &[&str])] = &[
        (
            whole.as_bytes(),
            b"10.0.0.0/8\n  10.1.2.3/8 # office\n",
            &[
                "/s.txt:2:3: error: `10.1.2.3/8` has host bits set\n",
                " 2 │   10.1.2.3/8 # office\n   ·   ─────┬────\n   ·        ╰── here\n",
                "help: write `10.0.0.0/8` for the whole prefix",
            ],
        ),
        (
            b"version = 1\n[[host]]\nname = \"a\"\nadresses = [\"192.0.2.1\"]\n",
            b"",
            &[
                "/10.toml:4:1: error: a host has no field `adresses`\n",
                " 4 │ adresses = [\"192.0.2.1\"]\n   · ────┬───\n",
                "help: did you mean `addresses`?",
                "/10.toml:2:1: error: host without `addresses`\n",
            ],
        ),
        (
            b"\x7fELF\x02\x01\x01\x00\xb7\x00\xff\xfe",
            b"",
            &[
                "/10.toml:1:9: error: this is not UTF-8 text\n",
                " 1 │ \\u{7f}ELF\\u{2}\\u{1}\\u{1}\\0\\xb7\\0\\xff\\xfe\n",
                "help: save the file as UTF-8",
            ],
        ),
        (
            b"version = 1\n# gr\xc3\xbc\xdfe\n",
            b"",
            &[
                "/10.toml:2:6: error: this is not UTF-8 text\n",
                " 2 │ # grü\\xdfe\n   ·      ──┬─\n",
            ],
        ),
        (
            b"version = 1\n[[host]]\nname = \"a\"\naddresses = [\"192.0.2.1\"\n",
            b"",
            &["/10.toml:", ": error: not valid TOML: ", "╰── here\n"],
        ),
        (
            whole.as_bytes(),
            b"10.0.0.0/8\n\xff\xfe\x00\n",
            &[
                "/s.txt:2:1: error: this is not UTF-8 text\n",
                " 2 │ \\xff\\xfe\\0\n   · ──┬─\n",
            ],
        ),
        (
            HOST.as_bytes(),
            b"",
            &[
                "/10.toml:5:10: error: there is no set `s`\n",
                "help: define it with `[[set]]`",
            ],
        ),
    ];
    for (policy, set, words) in cases {
        let Some(files) = Policy::new(policy, set)? else {
            return Ok(());
        };
        files.check()?.is_refused(words);
    }
    Ok(())
}

#[test]
fn a_set_file_that_cannot_be_read_is_named_where_the_policy_names_it() -> Result<()> {
    type Make = fn(&Path) -> Result<()>;
    let cases: [(&str, Make); 5] = [
        ("there is no such file", |_| Ok(())),
        ("is a directory", |path| Ok(fs::create_dir(path)?)),
        ("", |path| {
            Ok(mknodat(CWD, path, FileType::Fifo, Mode::RUSR, 0)?)
        }),
        ("loop", |path| Ok(symlink(path, path)?)),
        ("", |path| Ok(symlink("/dev/zero", path)?)),
    ];
    for (reason, make) in cases {
        let Some(files) = Policy::new(format!("{HOST}{SET}"), "")? else {
            return Ok(());
        };
        fs::remove_file(files.path("s.txt"))?;
        make(&files.path("s.txt"))?;
        files.check()?.is_refused(&[
            "/10.toml:8:8: error: set file `",
            "/s.txt` cannot be read: ",
            reason,
            " 8 │ file = \"s.txt\"\n   ·        ───┬───\n   ·           ╰── named here\n",
            "help: ",
        ]);
    }
    Ok(())
}

#[test]
fn a_policy_file_that_is_no_file_is_refused_without_waiting_for_it() -> Result<()> {
    type Make = fn(&Path) -> Result<()>;
    let cases: [(&str, Make); 4] = [
        ("it is not a regular file; move it away", |path| {
            Ok(mknodat(CWD, path, FileType::Fifo, Mode::RUSR, 0)?)
        }),
        ("it is not a regular file; move it away", |path| {
            Ok(symlink("/dev/zero", path)?)
        }),
        ("mend the link", |path| Ok(symlink(path, path)?)),
        ("is it a link to one that is gone?", |path| {
            Ok(symlink("gone", path)?)
        }),
    ];
    for (reason, make) in cases {
        let Some(files) = Policy::empty()? else {
            return Ok(());
        };
        make(&files.path("10.toml"))?;
        files
            .check()?
            .is_refused(&["cannot read the policy file `", "/10.toml`: ", reason]);
    }
    Ok(())
}

#[test]
fn a_directory_that_is_not_there_comes_with_advice() -> Result<()> {
    let Some(files) = Policy::new(HOST, "")? else {
        return Ok(());
    };
    let check = |name| {
        outcome(
            Command::new(&files.binary)
                .arg("check")
                .arg(files.path(name)),
        )
    };
    check("gone")?.is_refused(&[
        "cannot read the policy directory `",
        "/gone`: there is no such directory; make it, or name another",
    ]);
    check("10.toml")?.is_refused(&[
        "/10.toml`: ",
        "name the directory that the policy files are in",
    ]);
    Ok(())
}

#[test]
fn a_file_that_the_user_may_not_read_is_refused() -> Result<()> {
    let Some(files) = Policy::new(format!("{HOST}{SET}"), "10.0.0.0/8\n")? else {
        return Ok(());
    };
    let mut command = Command::new(&files.binary);
    if rustix::process::geteuid().is_root() {
        // Root may read anything, and nobody may not even reach the binary. The copy is made by a process of its own:
        // no file that is open for writing can be run, and a test beside this one may just be starting a child.
        let binary = files.path("swf-filter");
        process::run(Command::new("cp").arg(&files.binary).arg(&binary))?;
        for path in [files.folder.path(), &binary] {
            fs::set_permissions(path, Permissions::from_mode(0o755))?;
        }
        command = Command::new(binary);
        command.uid(NOBODY).gid(NOBODY);
    }
    let command = command.arg("check").arg(files.folder.path());
    for name in ["s.txt", "10.toml"] {
        fs::set_permissions(files.path(name), Permissions::from_mode(0o644))?;
    }
    outcome(command)?.is_accepted();

    fs::set_permissions(files.path("s.txt"), Permissions::from_mode(0o000))?;
    outcome(command)?.is_refused(&["/10.toml:8:8: error: set file `", "permission denied"]);

    fs::set_permissions(files.path("10.toml"), Permissions::from_mode(0o000))?;
    outcome(command)?.is_refused(&[
        "cannot read the policy file `",
        "Permission denied (os error 13); run this as a user who may read it",
    ]);
    Ok(())
}

#[test]
fn the_last_of_a_million_lines_is_named() -> Result<()> {
    const LINES: u32 = 1_000_000;
    let mut set = (0..LINES).fold(String::new(), |set, number| {
        // Every other /32, so that none can be joined with its neighbour.
        set + &Ipv4Addr::from_bits(0x0a00_0000 + 2 * number).to_string() + "\n"
    });
    let Some(files) = Policy::new(format!("{HOST}{SET}"), &set)? else {
        return Ok(());
    };
    let outcome = files.check()?;
    outcome.is_accepted();
    assert!(
        outcome.said.contains("1000000 prefixes"),
        "{}",
        outcome.said
    );

    set.push_str("10.1.2.3/8\n");
    fs::write(files.path("s.txt"), set)?;
    let outcome = files.check()?;
    outcome.is_refused(&[
        "/s.txt:1000001:1: error: `10.1.2.3/8` has host bits set\n",
        " 1000001 │ 10.1.2.3/8\n         · ─────┬────\n",
    ]);
    assert!(outcome.said.len() < 2_000, "{}", outcome.said);
    Ok(())
}

#[test]
fn a_line_of_megabytes_is_cut_around_its_problem() -> Result<()> {
    let entries = "\"10.0.0.1\", ".repeat(500_000);
    let policy = format!(
        "version = 1\n[[host]]\nname = \"a\"\naddresses = [\"192.0.2.1\"]\nallow = [{entries}\"10.1.2.3/8\", {entries}]\n"
    );
    let Some(files) = Policy::new(policy, "")? else {
        return Ok(());
    };
    let outcome = files.check()?;
    outcome.is_refused(&[
        "/10.toml:5:6000010: error: `10.1.2.3/8` has host bits set\n",
        " 5 │ …",
        "\"10.0.0.1\", \"10.1.2.3/8\", \"10.0.0.1\", ",
        "help: write `10.0.0.0/8`",
    ]);
    assert!(outcome.said.len() < 2_000, "{}", outcome.said);
    Ok(())
}

#[test]
fn ten_thousand_problems_are_counted_and_the_first_are_shown() -> Result<()> {
    let Some(files) = Policy::new(format!("{HOST}{SET}"), "nonsense\n".repeat(10_000))? else {
        return Ok(());
    };
    let outcome = files.check()?;
    outcome.is_refused(&[
        "/s.txt:1:1: error: `nonsense` is not an address",
        "/s.txt:50:1: error: ",
        "... and 9950 more\n",
    ]);
    assert!(!outcome.said.contains("/s.txt:51:"), "{}", outcome.said);
    Ok(())
}

#[test]
fn names_and_text_reach_no_terminal_as_commands() -> Result<()> {
    let hostile = "\x1b]0;title\x07\u{202e}\u{9b}31m";
    let Some(files) = Policy::empty()? else {
        return Ok(());
    };
    let name = [hostile.as_bytes(), b"\xff.toml"].concat();
    let policy = "version = 1\n[[host]]\nname = \"\u{202e}\u{2066}\"\naddresses = [\"192.0.2.1\\u001b[2J\"]\n\u{9b}";
    fs::write(files.path(OsStr::from_bytes(&name)), policy)?;
    fs::write(
        files.path("20.toml"),
        format!("version = 1\n[[set]]\nname = \"{hostile}\"\n"),
    )?;
    fs::write(
        files.path("30.toml"),
        "version = 1\n[[set]]\nname = \"\u{202e}\u{2066}\"\nfile = \"\\u001b[2J\"\n",
    )?;
    let outcome = files.check()?;
    outcome.is_refused(&[
        "/\\u{1b}]0;title\\u{7}\\u{202e}\\u{9b}31m\u{fffd}.toml:",
        "`\\u{202e}\\u{2066}` is not a set name",
        "/\\u{1b}[2J` cannot be read",
    ]);
    let raw = ['\x1b', '\x07', '\u{9b}', '\u{202e}', '\u{2066}'];
    assert!(!outcome.said.contains(raw), "{:?}", outcome.said);
    Ok(())
}
