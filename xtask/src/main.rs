//! The one door to building, checking, testing and showing swf-filter.
//!
//! It only runs commands: it depends on no other crate of the workspace, so it still builds when they do not.
//! Arguments are matched by hand. A parser crate would be most of the build time of the first command on a new machine.

mod bench;
mod bpf;
mod build;
mod check;
mod command;
mod demo;
mod fuzz;
mod machine;
mod omissions;
mod package;
mod setup;
mod test;
mod vm;
mod workspace;

use std::env;
use std::process::ExitCode;

use anyhow::{Result, anyhow, bail};

use build::Profile;
use demo::Upstream;
use setup::Setup;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("error: {reason:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let args: Vec<String> = env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        ["setup"] => setup::run()?.finish(Ok(())),
        ["build"] => build(Profile::Dev),
        ["build", "--release"] => build(Profile::Release),
        ["test", rest @ ..] => test::run(setup::run()?, rest),
        ["package", rest @ ..] => {
            let wish = package::Wish::read(rest)?;
            package::run(setup::run()?, &wish)
        }
        ["vm", parts @ ..] => vm::run(setup::run()?, parts),
        ["check"] => check::run(setup::run()?),
        ["fuzz", rest @ ..] => fuzz::run(rest),
        ["bench", rest @ ..] => {
            let wish = bench::Wish::read(rest)?;
            bench::run(setup::run()?, &wish)
        }
        ["demo"] => demo(setup::run()?, &Upstream::Embedded),
        ["demo", "--upstream", "moto"] => demo_with_moto(),
        ["demo", demo::CLEAN_UP_AFTER, id] => demo::clean_up_after(id),
        ["demo", demo::UPSTREAM, address] => demo::answer_at(address),
        [] | ["help" | "--help" | "-h"] => {
            print!("{USAGE}");
            Ok(())
        }
        _ => bail!("unknown command `{}`\n\n{USAGE}", args.join(" ")),
    }
}

fn build(profile: Profile) -> Result<()> {
    let setup = setup::run()?;
    let outcome = build::run(setup.bpf.as_ref(), profile).map(drop);
    setup.finish(outcome)
}

fn demo(setup: Setup, upstream: &Upstream) -> Result<()> {
    let outcome = build::run(setup.bpf.as_ref(), Profile::Dev)
        .and_then(|built| demo::run(&built.binary, upstream));
    setup.finish(outcome)
}

fn demo_with_moto() -> Result<()> {
    let mut setup = setup::run()?;
    match setup::python(&mut setup.omissions) {
        Some(python) => demo(setup, &Upstream::Moto(python)),
        None => setup.finish(Err(anyhow!(
            "there is no moto to stand behind the listener"
        ))),
    }
}

const USAGE: &str = "\
cargo xtask COMMAND

  setup              install what is missing: Debian packages, bpf-linker, `core` for BPF
  build [--release]  build the kernel program, then the workspace with it inside
  test [ARGS]        build, then `cargo test` with ARGS; kernel tests need root
  package [--debug] [--version V]
                     build a Debian package; of the debug build, which is done faster, or with another version
  vm [PART...]       emulated machines, which take minutes: `install` the package, start the daemon (`load`) and
                     run kernel tests on Debian's `kernels`, boot a whole `system` with the package; needs root
  check              formatting, lints on the host and on the BPF target, licences, stray text
  fuzz [TARGET] [S]  fuzz one target of `fuzz/`, or all, for S seconds each (60); needs g++
  bench [--quick] [--check | --renew] [PART...]
                     measure `packet`, `live`, `reload`, `listener` and `policy`, or all; then hold the ratios
                     against xtask/baseline.json, or write them there; needs root
  demo [--upstream moto]
                     show filter and listener at work between network namespaces; needs root

Each command runs setup first. Environment:
  CI=true                                    what is left out is a failure
  SWF_FILTER_BPF_TOOLCHAIN=debian|rust-src   where `core` for BPF comes from; default: whichever works
";
