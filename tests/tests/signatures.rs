//! `swf-filter explain request` as a user meets it, with examples that AWS published.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use anyhow::{Context, Result};
use serde_json::Value;
use swf_filter_tests::process::run;
use swf_filter_tests::require;
use tempfile::TempDir;

const AT: &str = "2015-08-30T12:36:00Z";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

/// Requests with the signatures that they have to have.
const EXAMPLES: [(&str, &str); 3] = [
    (
        "GET / HTTP/1.1",
        "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
    ),
    (
        "POST / HTTP/1.1",
        "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
    ),
    (
        "GET /?Param2=value2&Param1=value1 HTTP/1.1",
        "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
    ),
];

struct Stage {
    folder: TempDir,
    binary: PathBuf,
}

impl Stage {
    /// `None`, said loudly, if there is no binary.
    fn new() -> Result<Option<Self>> {
        let Some(binary) = env::var_os("SWF_FILTER_BIN").map(PathBuf::from) else {
            require::skip("needs SWF_FILTER_BIN: run `cargo xtask test`");
            return Ok(None);
        };
        let folder = tempfile::Builder::new().prefix("swft-").tempdir()?;
        fs::write(folder.path().join("secret"), format!("{SECRET}\n"))?;
        Ok(Some(Self { folder, binary }))
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, raw: &str) -> Result<Command> {
        let file = self.file("request.http");
        fs::write(&file, raw)?;
        let mut command = Command::new(&self.binary);
        command.args(["explain", "request", "--service", "service", "--file"]);
        command.arg(file);
        Ok(command)
    }

    fn explained(&self, raw: &str, at: &str, secret: Option<&Path>) -> Result<Value> {
        let mut command = self.command(raw)?;
        command.args(["--output", "json", "--at", at]);
        if let Some(secret) = secret {
            command.arg("--secret-file").arg(secret);
        }
        Ok(serde_json::from_str(&run(&mut command)?)?)
    }
}

fn raw(line: &str, signature: &str) -> String {
    format!(
        "{line}\r\nHost: example.amazonaws.com\r\nX-Amz-Date: 20150830T123600Z\r\nAuthorization: AWS4-HMAC-SHA256 \
         Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders=host;x-amz-date, \
         Signature={signature}\r\n\r\n"
    )
}

#[test]
fn published_examples_verify_and_changed_ones_do_not() -> Result<()> {
    let Some(stage) = Stage::new()? else {
        return Ok(());
    };
    let secret = stage.file("secret");
    for (line, signature) in EXAMPLES {
        let right = raw(line, signature);
        let verdict = |raw: &str, at, secret| -> Result<Value> {
            Ok(stage.explained(raw, at, secret)?["verdict"].clone())
        };
        assert_eq!(verdict(&right, AT, Some(&secret))?, "verified", "{line}");
        assert_eq!(verdict(&right, AT, None)?, "untried", "{line}");
        let longer = format!("{right} ");
        assert_eq!(verdict(&longer, AT, Some(&secret))?, "refused", "{line}");
        let late = "2015-08-30T12:51:01Z";
        assert_eq!(verdict(&right, late, Some(&secret))?, "refused", "{line}");
        let bare = right.replace("\r\n", "\n");
        assert_eq!(verdict(&bare, AT, Some(&secret))?, "verified", "{line}");
    }
    Ok(())
}

#[test]
fn an_answer_has_the_documented_fields() -> Result<()> {
    let Some(stage) = Stage::new()? else {
        return Ok(());
    };
    let [(line, signature), ..] = EXAMPLES;
    let answer = stage.explained(&raw(line, signature), AT, None)?;
    let fields: Vec<&String> = answer.as_object().context("an object")?.keys().collect();
    let documented = [
        "access_key_id",
        "canonical_request",
        "code",
        "form",
        "message",
        "scope",
        "string_to_sign",
        "verdict",
        "words",
    ];
    let mut found = fields.clone();
    found.sort_unstable();
    assert_eq!(found, documented);
    assert_eq!(answer["scope"], "20150830/us-east-1/service/aws4_request");
    let docs = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/signatures.md");
    let docs = fs::read_to_string(docs)?;
    for field in documented {
        assert!(docs.contains(&format!("`{field}`")), "{field}");
    }
    Ok(())
}

#[test]
fn a_secret_is_never_printed_and_a_wrong_file_is_an_error() -> Result<()> {
    let Some(stage) = Stage::new()? else {
        return Ok(());
    };
    let [(line, signature), ..] = EXAMPLES;
    let mut command = stage.command(&raw(line, &signature.replace('5', "6")))?;
    command.args(["--at", AT, "--secret-file"]);
    let said = run(command.arg(stage.file("secret")))?;
    assert!(said.starts_with("refused: the signature is not"), "{said}");
    assert!(
        !said.contains(SECRET) && !said.contains(signature),
        "{said}"
    );
    for (wrong, place) in [("", "line 1"), ("GET / HTTP/1.1\nhost\n", "line 2")] {
        let output = stage.command(wrong)?.output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(
            said.contains(place) && said.contains("request.http"),
            "{said}"
        );
    }
    // Less of it would have another hash.
    let large = raw(line, signature) + &"x".repeat(2 << 20);
    let output = stage.command(&large)?.output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("more than 2097152 bytes"), "{said}");
    Ok(())
}
