//! `cargo xtask fuzz`: random input that learns what reaches new code, for each target of `fuzz/`.
//!
//! Stable Rust can instrument code; what needs nightly are the sanitizers, which find little in a crate without `unsafe`.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::{command, workspace};

/// Fuzz targets, each a program of `fuzz/`.
const TARGETS: [&str; 5] = ["call", "document", "forest", "proxy_header", "soundness"];
/// Seconds for each target, if not told otherwise.
const SECONDS: u32 = 60;

/// Runs the target named, or all, each for some seconds.
pub(crate) fn run(args: &[&str]) -> Result<()> {
    let seconds = args.iter().find_map(|arg| arg.parse().ok());
    let named: Vec<&str> = args
        .iter()
        .copied()
        .filter(|arg| arg.parse::<u32>().is_err())
        .collect();
    for name in &named {
        ensure!(
            TARGETS.contains(name),
            "there is no fuzz target `{name}`, only {}",
            TARGETS.join(", ")
        );
    }
    let chosen = if named.is_empty() {
        TARGETS.to_vec()
    } else {
        named
    };
    let built = build()?;
    for target in chosen {
        fuzz(&built, target, seconds.unwrap_or(SECONDS))?;
    }
    Ok(())
}

/// Builds all targets with instrumentation, and gives the directory that they are in.
///
/// With a target triple, cargo leaves build scripts and macros alone.
fn build() -> Result<PathBuf> {
    let triple = command::output(Command::new("rustc").args(["--print", "host-tuple"]))?;
    let triple = triple.trim();
    let target = workspace::target().join("fuzz");
    let flags = [
        "-Cpasses=sancov-module",
        "-Cllvm-args=-sanitizer-coverage-level=4",
        "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
        "-Cllvm-args=-sanitizer-coverage-pc-table",
        "-Cllvm-args=-sanitizer-coverage-trace-compares",
        "-Ccodegen-units=1",
    ];
    let mut build = command::cargo("build");
    build
        .args([
            "--release",
            "--manifest-path",
            "fuzz/Cargo.toml",
            "--target",
            triple,
        ])
        .env("CARGO_TARGET_DIR", &target)
        .env("RUSTFLAGS", flags.join(" "));
    command::run(&mut build)?;
    Ok(target.join(triple).join("release"))
}

fn fuzz(built: &Path, target: &str, seconds: u32) -> Result<()> {
    println!("fuzz: {target} for {seconds} s");
    let corpus = workspace::target().join("fuzz-corpus").join(target);
    fs::create_dir_all(&corpus).with_context(|| format!("cannot make `{}`", corpus.display()))?;
    seed(target, &corpus)?;
    let mut command = Command::new(built.join(target));
    command
        .arg(&corpus)
        .args([
            &format!("-max_total_time={seconds}"),
            "-print_final_stats=1",
        ])
        .args(["-max_len=4096", "-timeout=10", "-rss_limit_mb=2048"])
        .arg(format!("-artifact_prefix={}/", corpus.display()));
    if matches!(target, "document" | "soundness") {
        command.arg("-dict=fuzz/documents.dict");
    }
    command::run(command.current_dir(workspace::root()))
}

/// Starts a corpus with the documents of the tests, or with a header of each kind.
fn seed(target: &str, corpus: &Path) -> Result<()> {
    if target == "proxy_header" {
        for (number, header) in HEADERS.iter().enumerate() {
            fs::write(corpus.join(format!("seed-{number}")), header)?;
        }
        return Ok(());
    }
    let vectors = workspace::root().join("tests/vectors/documents");
    let mut documents = Vec::new();
    for folder in fs::read_dir(&vectors)? {
        for file in fs::read_dir(folder?.path())? {
            let path = file?.path();
            if path.extension() == Some(OsStr::new("json")) {
                documents.push(fs::read(&path)?);
            }
        }
    }
    for (number, document) in documents.iter().enumerate() {
        let mut text = document.clone();
        if target == "soundness" {
            text.push(0);
            text.extend(documents.get(number + 1).unwrap_or(document));
        }
        fs::write(corpus.join(format!("seed-{number}")), text)?;
    }
    Ok(())
}

/// PROXY headers: one of each version, and a health check with its checksum.
const HEADERS: [&[u8]; 3] = [
    b"PROXY TCP6 2001:db8::1 2001:db8::2 56324 443\r\n",
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x17\xc0\0\x02\x01\xc6\x33\x64\x02\xdc\x04\x01\xbb\xea\0\x08\x01vpce-1a",
    b"\r\n\r\n\0\r\nQUIT\n\x20\x00\0\x07\x03\0\x04\xa9\xb8\x7e\x8f",
];
