//! The commands of the operations guide, run from its top to its end on machines such as it is written for.

use anyhow::{Context, Result, ensure};
use swf_filter_tests::manual::{self, Machine, SetUp};

const GUIDE: &str = "docs/operations.md";
const README: &str = "README.md";

/// What the guide has the reader fill in, or would have a test wait for, and what is run in its place.
const INSTEAD: [(&str, &str); 8] = [
    (
        "--from ADDRESS --to ADDRESS:PORT --interface IF",
        "--from 203.0.113.66 --to 198.51.100.10:443 --interface eth9",
    ),
    ("learn --for 1h", "learn --for 1s"),
    (
        "swf-filter top  ",
        "echo q | script --quiet --return --command 'swf-filter top' /dev/null",
    ),
    ("--interval 10s", "--interval 1s"),
    (
        "disable AKIA...",
        "disable $(swf-filter keys list | grep -o 'AKIA[A-Z0-9]*' | head -n 1)",
    ),
    (
        "swf-filter audit --follow --action 'swf:Poll*' --source 10.0.0.0/8",
        "timeout 1 swf-filter audit --follow --action 'swf:Poll*' --source 10.0.0.0/8 || [ $? = 124 ]",
    ),
    ("--request-id ID", "--request-id 3b1f"),
    ("audit.jsonl.1", "audit.jsonl"),
];

/// Commands that the package's own tests run, where there is a system to install it on.
const PACKAGE: [&str; 2] = ["apt-get ", "cargo xtask package"];

/// What AWS and its command line would print, and a list of a partner's addresses.
const ELSEWHERE: &str = r#"
curl() { cat <<'END'
{"syncToken": "7", "createDate": "2026-01-02-03-04-05", "ipv6_prefixes": [], "prefixes": [
  {"ip_prefix": "192.0.2.0/25", "region": "us-east-1", "service": "EC2", "network_border_group": "us-east-1"}]}
END
}
aws() { case "$2" in
    get-managed-prefix-list-entries) echo '{"Entries": [{"Cidr": "192.0.2.0/24", "Description": "office"}]}' ;;
    describe-vpcs) echo '{"Vpcs": [{"VpcId": "vpc-0a1b2c3d", "CidrBlock": "10.0.0.0/16",
        "CidrBlockAssociationSet": [{"CidrBlock": "10.0.0.0/16", "CidrBlockState": {"State": "associated"}}]}]}' ;;
    describe-vpc-endpoints) echo '{"VpcEndpoints": [{"VpcEndpointId": "vpce-0a1", "VpcId": "vpc-0a1b2c3d",
        "ServiceName": "com.amazonaws.us-east-1.swf", "State": "available"}]}' ;;
    *) return 1 ;;
esac; }
seq -f '203.0.113.%g' 1 2 99 >partners.txt
"#;

/// What the guide takes for granted: certificates and keys.
const BEFORE: [&str; 2] = [
    "chown swf-listener /etc/swf-filter/tls/payments.key",
    "swf-filter keys rotate",
];

/// What stands before a change: somebody edits a file.
const EDIT: &str = "sed -i s/203.0.113.0/198.18.0.0/ /etc/swf-filter/policy.d/10-payments.toml";

/// What commands have to say, by how they begin.
const SAYS: [(&str, &str); 21] = [
    ("swf-filter check", "ok: 1 host"),
    ("swf-filter status", "eth9             driver"),
    ("runuser -u swf-listener", "ok: 1 listener, 1 upstream"),
    (
        "swf-filter diff",
        "198.18.0.0/24 in zone public: nothing -> allow",
    ),
    (
        "swf-filter apply --dry-run",
        "pass now, and would be dropped: 0 packets",
    ),
    ("swf-filter explain --from", "drop: "),
    ("swf-filter try", "on trial until"),
    ("swf-filter confirm", "generation 2 stays in force"),
    ("curl", "import-aws-ec2-us-east-1.toml"),
    ("aws ec2 get-managed", "import-offices.toml"),
    ("swf-filter import vpcs", "import-vpcs.toml"),
    ("swf-filter import list", "50 prefixes of 50 read"),
    ("echo q | script", "\u{1b}[?1049l"),
    ("swf-filter top --once --output json", "\"seconds\":"),
    ("swf-filter top --once --interval", "payments"),
    ("swf-filter keys create alice", "secret access key"),
    ("swf-filter keys list --user alice", "active"),
    ("swf-filter keys disable", "is inactive"),
    ("swf-filter keys rekey", "a new key seals the store"),
    ("swf-filter doctor  ", "checks"),
    ("swf-filter doctor --output json", "\"findings\":"),
];

/// The commands of a section of the guide, as they are run.
fn section(title: &str) -> Result<Vec<String>> {
    let guide = manual::document(GUIDE)?;
    let shown = manual::commands(manual::section(&guide, title)?).into_iter();
    let own = shown.filter(|command| !PACKAGE.iter().any(|other| command.starts_with(other)));
    let filled = |command: String| {
        let fill = |command: String, (from, to): &(&str, &str)| command.replace(from, to);
        INSTEAD.iter().fold(command, fill)
    };
    Ok(own.map(filled).collect())
}

/// Runs commands on a machine with the README's files and its cable. Gives what each has printed.
fn run(set_up: SetUp, commands: &[String]) -> Result<Option<Vec<(String, String)>>> {
    let Some(machine) = Machine::new(set_up)? else {
        return Ok(None);
    };
    let readme = manual::document(README)?;
    let first = manual::commands(manual::section(&readme, "A first policy")?);
    let cable = first
        .into_iter()
        .take_while(|command| command.starts_with("ip "));
    let mut all: Vec<String> = manual::files(&readme)
        .into_iter()
        .map(manual::here_document)
        .collect();
    all.extend(cable.chain([ELSEWHERE.to_owned()]));
    all.extend_from_slice(commands);
    let printed = machine.run(&all)?;
    let parts = commands.iter().map(|command| {
        let (_, rest) = printed
            .split_once(&format!("{}{command}\n", manual::MARK))
            .with_context(|| format!("`{command}` was not run: {printed}"))?;
        let own = rest.split(manual::MARK).next().unwrap_or_default();
        Ok((command.clone(), own.to_owned()))
    });
    parts.collect::<Result<_>>().map(Some)
}

#[test]
fn every_command_of_the_guide_does_what_it_is_there_for() -> Result<()> {
    let mut commands = BEFORE.map(str::to_owned).to_vec();
    commands.extend(section("Install")?);
    commands.push(EDIT.to_owned());
    for title in [
        "Change a policy",
        "Lists from elsewhere",
        "Watching",
        "Access keys",
        "Audit log",
        "When something is wrong",
    ] {
        commands.extend(section(title)?);
    }
    let Some(ran) = run(SetUp::Package, &commands)? else {
        return Ok(());
    };
    for (begin, words) in SAYS {
        let said = ran.iter().find(|(command, _)| command.starts_with(begin));
        let (command, said) = said.with_context(|| format!("no `{begin}` is there"))?;
        ensure!(
            said.contains(words),
            "`{command}` does not say `{words}`: {said}"
        );
    }
    Ok(())
}

#[test]
fn a_listener_with_a_user_of_its_own_is_set_up_by_hand() -> Result<()> {
    let Some(ran) = run(SetUp::ByHand, &section("The listener")?)? else {
        return Ok(());
    };
    let (command, said) = ran.last().context("no commands")?;
    ensure!(
        command.starts_with("setpriv ") && said == "ok: 1 listener, 1 upstream, 1 access key\n",
        "{command}: {said}"
    );
    Ok(())
}

/// The twin of the above: no section and no blank to fill is forgotten.
#[test]
fn what_is_run_is_all_that_there_is() -> Result<()> {
    let guide = manual::document(GUIDE)?;
    let titles: Vec<&str> = guide
        .lines()
        .filter_map(|line| line.strip_prefix("## "))
        .collect();
    let mut with_commands = Vec::new();
    for title in titles {
        if !section(title)?.is_empty() {
            with_commands.push(title);
        }
    }
    ensure!(
        with_commands
            == [
                "Install",
                "Change a policy",
                "Lists from elsewhere",
                "Watching",
                "The listener",
                "Access keys",
                "Audit log",
                "When something is wrong",
            ],
        "{with_commands:?}"
    );
    for (blank, _) in INSTEAD {
        ensure!(guide.contains(blank), "the guide has no `{blank}`");
    }
    Ok(())
}
