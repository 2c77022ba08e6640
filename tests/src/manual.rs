//! What documents give a reader to write and to run, and a machine to do it on.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use tempfile::TempDir;

use crate::{process::Child, require, wait::patience};

/// Where swf-filter's files are, in documents and on the machine.
const HOME: &str = "/etc/swf-filter/";

/// A document, by its path from the top.
pub fn document(name: &str) -> Result<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name);
    fs::read_to_string(&path).with_context(|| path.display().to_string())
}

/// Each file that a document gives: its path below `/etc/swf-filter`, and its text.
///
/// It is a paragraph that names the path in backticks, followed by a block between fences. A path that is only mentioned has none.
#[must_use]
pub fn files(text: &str) -> Vec<(&str, &str)> {
    let start = format!("`{HOME}");
    let mentions = text.split(&start).skip(1);
    let files = mentions.filter_map(|mention| {
        let (path, paragraph) = mention.split_once('`')?;
        let (_, after) = paragraph.split_once("\n\n")?;
        let (_language, block) = after.strip_prefix("```")?.split_once('\n')?;
        let (file, _) = block.split_once("```")?;
        Some((path, file))
    });
    files.collect()
}

/// A section of a document, by its title.
pub fn section<'a>(text: &'a str, title: &str) -> Result<&'a str> {
    let (_, text) = text
        .split_once(&format!("\n## {title}\n"))
        .with_context(|| format!("no section `{title}`"))?;
    Ok(text.split("\n## ").next().unwrap_or_default())
}

/// Each command of a section. One that goes on in the next line is whole.
#[must_use]
pub fn commands(section: &str) -> Vec<String> {
    // Every other part stands between fences: files, and no commands.
    let outside: String = section.split("\n```").step_by(2).collect();
    let joined = outside.replace("\\\n", "");
    let blocks = joined.lines().filter_map(|line| line.strip_prefix("    "));
    let commands = blocks.filter(|line| !line.trim_start().starts_with('#'));
    commands.map(str::to_owned).collect()
}

/// A command that writes a file below `/etc/swf-filter`.
#[must_use]
pub fn here_document((path, text): (&str, &str)) -> String {
    format!("install -D /dev/stdin {HOME}{path} <<'END OF FILE'\n{text}END OF FILE")
}

/// A machine with swf-filter, and without systemd: namespaces, and directories in the places of those that swf-filter uses. All of
/// it ends with what is run there.
#[derive(Debug)]
pub struct Machine {
    folder: TempDir,
    binary: PathBuf,
    set_up: SetUp,
}

/// Who has set a machine up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetUp {
    /// Nobody yet.
    ByHand,
    /// The package: with its user and its directories.
    Package,
}

impl SetUp {
    /// As the machine is told it.
    const fn name(self) -> &'static str {
        match self {
            Self::ByHand => "by hand",
            Self::Package => "package",
        }
    }
}

impl Machine {
    /// A machine with a certificate below `/etc/swf-filter`; `None`, said loudly, where the machine or the build cannot do it.
    pub fn new(set_up: SetUp) -> Result<Option<Self>> {
        if !require::root() {
            return Ok(None);
        }
        let Some(binary) = env::var_os("SWF_FILTER_BIN").map(PathBuf::from) else {
            require::skip("needs SWF_FILTER_BIN: run `cargo xtask test`");
            return Ok(None);
        };
        let folder = tempfile::Builder::new().prefix("swft-").tempdir()?;
        let machine = Self {
            folder,
            binary,
            set_up,
        };
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["payments".into()])?;
        let folder = machine.folder.path();
        fs::write(folder.join("payments.pem"), cert.pem())?;
        fs::write(folder.join("payments.key"), signing_key.serialize_pem())?;
        Ok(Some(machine))
    }

    /// Runs commands, one after the other, and gives what they print. Fails with all of it if one fails.
    pub fn run(&self, commands: &[impl AsRef<str>]) -> Result<String> {
        let mut script = SCRIPT.to_owned();
        for command in commands {
            let command = command.as_ref();
            script.extend(["echo '", MARK, &command.replace('\'', "'\\''"), "'\n"]);
            script.extend([command, "\n"]);
        }
        let mut machine = Command::new("unshare");
        machine
            .args(["--mount", "--net", "--pid", "--fork", "--mount-proc"])
            .args(["bash", "-c", &script])
            .env("BINARY", &self.binary)
            .env("SET_UP", self.set_up.name())
            .env(
                "PACKAGING",
                concat!(env!("CARGO_MANIFEST_DIR"), "/../packaging"),
            )
            .env("FOLDER", self.folder.path())
            .env("PATIENCE", patience().to_string())
            .env("NO_COLOR", "1");
        let mut machine = Child::spawn("machine", &mut machine)?;
        let ended = machine.wait(PATIENCE);
        let printed = machine.stdout();
        ensure!(
            ended.success(),
            "{ended} after\n{printed}\n{}",
            machine.stderr()
        );
        Ok(printed)
    }
}

/// What is printed before a command, and the command behind it.
pub const MARK: &str = "### ";

/// Longer than all commands of a document take.
const PATIENCE: Duration = Duration::from_mins(3);

const SCRIPT: &str = r#"
set -eu
cp -a /etc/. "$FOLDER/whole-etc"
mount --bind "$FOLDER/whole-etc" /etc
for place in /run /var/lib /var/log; do
    mount -t tmpfs none "$place"
done
mount -t bpf none /sys/fs/bpf
if [ "$SET_UP" = package ]; then
    systemd-sysusers "$PACKAGING/swf-filter.sysusers"
    systemd-tmpfiles --create "$PACKAGING/swf-filter.tmpfiles"
fi
install -D -t /etc/swf-filter/tls "$FOLDER/payments.pem"
install -D -t /etc/swf-filter/tls -m 600 "$FOLDER/payments.key"
ip link set lo up
mkdir /run/bin
ln -s "$BINARY" /run/bin/swf-filter
PATH=/run/bin:$PATH
cd /run

wait_for() {
    for _ in $(seq $((300 * PATIENCE))); do
        ! "$@" >/dev/null 2>&1 || return 0
        sleep 0.1
    done
    echo "waited in vain: $*" >&2
    return 1
}
systemctl() {
    case "$*" in
        "enable --now swf-filter.service")
            swf-filter daemon &
            wait_for swf-filter status ;;
        "enable --now swf-filter-listener.service")
            local own="setpriv --reuid=swf-listener --regid=swf-listener --clear-groups --no-new-privs --bounding-set=-all"
            install -d -o swf-listener -g swf-listener -m 0750 /run/swf-filter-listener
            $own swf-filter listener --check
            systemd-socket-activate --listen=443 --fdname=https $own swf-filter listener &
            # Its first connection starts it.
            wait_for bash -c ': 3<>/dev/tcp/127.0.0.1/443'
            wait_for eval 'swf-filter --output json status | grep "\"listener\":{"' ;;
        *) return 1 ;;
    esac
}
"#;
