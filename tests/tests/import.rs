//! `swf-filter import` as a user meets it: what it writes, what it leaves alone, and what it says.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use anyhow::{Result, ensure};
use swf_filter_tests::require;
use tempfile::TempDir;

const RANGES: &str = r#"{"syncToken": "7", "createDate": "2026-01-02-03-04-05",
 "prefixes": [
  {"ip_prefix": "192.0.2.0/25", "region": "us-east-1", "service": "EC2", "network_border_group": "us-east-1"},
  {"ip_prefix": "192.0.2.128/25", "region": "us-east-1", "service": "EC2", "network_border_group": "us-east-1"},
  {"ip_prefix": "203.0.113.0/24", "region": "eu-west-1", "service": "S3", "network_border_group": "eu-west-1"}],
 "ipv6_prefixes": []}"#;
const HOST: &str = "version = 1\n[[host]]\nname = \"h\"\naddresses = [\"198.51.100.1\"]\nallow = [\"set:aws-ec2\"]\n";

/// A directory of policy files beside an input, and the command that imports it.
struct Import {
    folder: TempDir,
    binary: PathBuf,
}

impl Import {
    /// `None`, said loudly, if there is no binary.
    fn new() -> Result<Option<Self>> {
        let Some(binary) = env::var_os("SWF_FILTER_BIN").map(PathBuf::from) else {
            require::skip("needs SWF_FILTER_BIN: run `cargo xtask test`");
            return Ok(None);
        };
        let folder = tempfile::Builder::new().prefix("swft-").tempdir()?;
        fs::create_dir(folder.path().join("policy.d"))?;
        let import = Self { folder, binary };
        fs::write(import.path("ranges.json"), RANGES)?;
        fs::write(import.path("policy.d/10.toml"), HOST)?;
        Ok(Some(import))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn read(&self, name: &str) -> Result<String> {
        Ok(fs::read_to_string(self.path("policy.d").join(name))?)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command.env("NO_COLOR", "1").current_dir(self.folder.path());
        command.args(["import"]).args(arguments);
        command
    }

    fn run(&self, arguments: &[&str]) -> Result<Output> {
        Ok(self
            .command(&[arguments, &["--out", "policy.d"]].concat())
            .output()?)
    }

    /// What is said, where nothing may be written.
    fn refused(&self, arguments: &[&str]) -> Result<String> {
        let before = self.listing()?;
        let output = self.run(arguments)?;
        ensure!(!output.status.success(), "{arguments:?} succeeded");
        ensure!(self.listing()? == before, "{arguments:?} wrote something");
        Ok(String::from_utf8_lossy(&output.stderr).into_owned())
    }

    fn fine(&self, arguments: &[&str]) -> Result<String> {
        let output = self.run(arguments)?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.success(), "{arguments:?}: {said}");
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Each policy file, with what it holds.
    fn listing(&self) -> Result<Vec<(PathBuf, Vec<u8>)>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(self.path("policy.d"))? {
            let path = entry?.path();
            files.push((path.clone(), fs::read(path)?));
        }
        files.sort();
        Ok(files)
    }
}

const EC2: [&str; 4] = ["ip-ranges", "ranges.json", "--service", "EC2"];

#[test]
fn what_is_imported_is_a_policy_and_the_same_each_time() -> Result<()> {
    let Some(import) = Import::new()? else {
        return Ok(());
    };
    let said = import.fine(&EC2)?;
    ensure!(
        said.contains("1 prefix of 2 read; `swf-filter reload`"),
        "{said}"
    );
    let list = import.read("import-aws-ec2.txt")?;
    for line in [
        "# syncToken 7",
        "# only service EC2",
        "192.0.2.0/24",
        "# from ranges.json, sha256 ",
    ] {
        ensure!(list.contains(line), "no `{line}` in {list}");
    }
    ensure!(!list.contains("203.0.113"), "{list}");
    let check = Command::new(&import.binary)
        .arg("check")
        .arg(import.path("policy.d"))
        .output()?;
    ensure!(
        check.status.success(),
        "{}",
        String::from_utf8_lossy(&check.stderr)
    );
    let before = import.listing()?;
    let again = import.fine(&EC2)?;
    ensure!(
        again.contains("unchanged: ") && !again.contains("written: "),
        "{again}"
    );
    ensure!(import.listing()? == before, "not the same bytes");
    // Newer ranges change the list, and not the policy file that names it.
    let newer = RANGES
        .replace("\"7\"", "\"8\"")
        .replace("192.0.2.0/25", "198.51.100.0/25");
    fs::write(import.path("ranges.json"), newer)?;
    let said = import.fine(&EC2)?;
    ensure!(
        said.contains("unchanged: ") && said.contains("written: "),
        "{said}"
    );
    ensure!(
        import
            .read("import-aws-ec2.txt")?
            .contains("198.51.100.0/25")
    );
    Ok(())
}

#[test]
fn somebody_elses_file_is_overwritten_only_by_force() -> Result<()> {
    let Some(import) = Import::new()? else {
        return Ok(());
    };
    for name in ["import-aws-ec2.toml", "import-aws-ec2.txt"] {
        let path = import.path("policy.d").join(name);
        fs::write(&path, "# mine\nversion = 1\n")?;
        let said = import.refused(&EC2)?;
        ensure!(said.contains("was not written by import"), "{said}");
        fs::remove_file(path)?;
    }
    fs::write(import.path("policy.d/import-aws-ec2.toml"), "# mine\n")?;
    import.fine(&[&EC2[..], &["--force"]].concat())?;
    ensure!(import.read("import-aws-ec2.toml")?.contains("[[set]]"));
    Ok(())
}

#[test]
fn what_the_policy_would_refuse_is_not_put_in_place() -> Result<()> {
    let Some(import) = Import::new()? else {
        return Ok(());
    };
    let set = "version = 1\n[[set]]\nname = \"aws-ec2\"\ncidrs = [\"192.0.2.1\"]\n";
    fs::write(import.path("policy.d/20.toml"), set)?;
    let said = import.refused(&EC2)?;
    ensure!(said.contains("`aws-ec2` is defined twice"), "{said}");
    fs::remove_file(import.path("policy.d/20.toml"))?;
    let few = [&EC2[..], &["--follow", "--min-prefixes", "2"]].concat();
    let said = import.refused(&few)?;
    ensure!(
        said.contains("has 1 prefixes, and `min_prefixes` is 2"),
        "{said}"
    );
    // What is wrong with other files is not import's to say.
    fs::write(import.path("policy.d/20.toml"), "version = 1\n[[host")?;
    import.fine(&EC2)?;
    Ok(())
}

#[test]
fn inputs_that_are_wrong_are_refused_with_their_place() -> Result<()> {
    let Some(import) = Import::new()? else {
        return Ok(());
    };
    let cases = [
        ("{", "line 1, column 1"),
        ("{\"Vpcs\": []}", "missing field `syncToken`"),
        (
            &RANGES.replace("192.0.2.128/25", "192.0.2.1/25"),
            "prefixes[1].ip_prefix",
        ),
        (&RANGES.replace("EC2", "S3"), "no service `EC2`"),
    ];
    for (text, words) in cases {
        fs::write(import.path("ranges.json"), text)?;
        let said = import.refused(&EC2)?;
        ensure!(said.contains(words), "no `{words}` in {said}");
    }
    let said = import.refused(&["list", "nowhere.txt"])?;
    ensure!(
        said.contains("cannot read `nowhere.txt`: there is no such file; name another"),
        "{said}"
    );
    fs::write(import.path("odd name.txt"), "192.0.2.1\n")?;
    let said = import.refused(&["list", "odd name.txt"])?;
    ensure!(said.contains("--name"), "{said}");
    Ok(())
}

#[test]
fn standard_input_and_vpcs_with_endpoints_are_read() -> Result<()> {
    let Some(import) = Import::new()? else {
        return Ok(());
    };
    let list = fs::File::open(import.path("ranges.json"))?;
    let output = import
        .command(&["ip-ranges", "-", "--out", "policy.d"])
        .stdin(Stdio::from(list))
        .output()?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    ensure!(
        import
            .read("import-aws.txt")?
            .contains("# from standard input")
    );
    let vpcs = r#"{"Vpcs": [{"VpcId": "vpc-0a", "CidrBlock": "10.0.0.0/16"}]}"#;
    let endpoints = r#"{"VpcEndpoints": [{"VpcEndpointId": "vpce-0a", "VpcId": "vpc-0a",
        "ServiceName": "com.amazonaws.us-east-1.swf", "State": "available"}]}"#;
    fs::write(import.path("vpcs.json"), vpcs)?;
    fs::write(import.path("endpoints.json"), endpoints)?;
    let tied = [
        "vpcs",
        "vpcs.json",
        "--endpoints",
        "endpoints.json",
        "--interface",
    ];
    import.fine(&[&tied[..], &["vpc-0a=eth1"]].concat())?;
    let text = import.read("import-vpcs.toml")?;
    for line in [
        "cidrs = [\"10.0.0.0/16\"]",
        "interfaces = [\"eth1\"]",
        "\"vpce-0a\",",
    ] {
        ensure!(text.contains(line), "no `{line}` in {text}");
    }
    let said = import.refused(&[&tied[..], &["vpc-0b=eth1"]].concat())?;
    ensure!(said.contains("`vpc-0b` is none of the VPCs"), "{said}");
    Ok(())
}
