//! The compiler for the kernel program.
//!
//! The BPF target ships with no `core`. It is either built from the toolchain's own source, which needs `rust-src` and
//! `-Z build-std`, or taken built from Debian, whose security archive carries a whole second toolchain for it.
//! aya-build is not used: it knows only the first way, and it would put a compiler run inside the build script.

use std::env;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::{command, workspace};

/// A compiler and linker that can build the kernel program.
#[derive(Debug)]
pub(crate) struct Toolchain {
    pub(crate) core: Core,
    pub(crate) linker: PathBuf,
}

/// Where `core` for BPF comes from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Core {
    Debian,
    RustSrc,
}

impl Core {
    /// The name that `SWF_FILTER_BPF_TOOLCHAIN` knows it by.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Debian => "debian",
            Self::RustSrc => "rust-src",
        }
    }

    /// Whether it is installed.
    pub(crate) fn ready(self) -> bool {
        match self {
            Self::Debian => {
                DEBIAN_FILES.iter().all(|file| PathBuf::from(file).exists()) && debian_core()
            }
            Self::RustSrc => readable().is_ok() && rust_src().is_ok_and(|core| core.exists()),
        }
    }
}

impl Toolchain {
    /// A cargo subcommand, `build` or `clippy`, on the kernel program and its target; always optimised, because the
    /// verifier refuses what is not.
    pub(crate) fn cargo(&self, subcommand: &str) -> Command {
        let mut command = match self.core {
            Core::Debian => debian_cargo(subcommand),
            Core::RustSrc => {
                let mut command = command::cargo(subcommand);
                command.arg("-Zbuild-std=core").env("RUSTC_BOOTSTRAP", "1");
                command
            }
        };
        command
            .args(["--release", "--target", TARGET])
            .current_dir(workspace::root().join("swf-filter-ebpf"))
            .env("CARGO_TARGET_DIR", self.target())
            .env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", &self.linker)
            .env("CARGO_ENCODED_RUSTFLAGS", RUSTFLAGS.join("\x1f"));
        command
    }

    /// What `cargo("build")` leaves behind of a program.
    pub(crate) fn artifact(&self, program: &str) -> PathBuf {
        self.target().join(TARGET).join("release").join(program)
    }

    /// Each compiler has its own folder, so that changing between them rebuilds nothing.
    fn target(&self) -> PathBuf {
        workspace::target().join("bpf").join(self.core.name())
    }
}

/// Debian's cargo, by full path: a `cargo` or `cargo-clippy` found by name is rustup's.
fn debian_cargo(subcommand: &str) -> Command {
    let mut command = match subcommand {
        "clippy" => Command::new(DEBIAN_CLIPPY),
        _ => Command::new("/usr/bin/cargo"),
    };
    command
        .arg(subcommand)
        .env("CARGO", "/usr/bin/cargo")
        .env("RUSTC", "/usr/bin/rustc")
        // Allows aya-ebpf, and nothing else, its unstable features on a stable compiler.
        .env("RUSTC_BOOTSTRAP", "aya_ebpf")
        // `cargo run` puts rustup's libraries in front of Debian's.
        .env_remove("LD_LIBRARY_PATH");
    command
}

fn debian_core() -> bool {
    let files = std::fs::read_dir("/usr/lib/rustlib/bpfel-unknown-none/lib");
    files.is_ok_and(|files| {
        files
            .flatten()
            .any(|file| file.file_name().to_string_lossy().starts_with("libcore-"))
    })
}

/// Fails when the active compiler writes bitcode newer than bpf-linker reads.
pub(crate) fn readable() -> Result<()> {
    let version = rustc(&["--version", "--verbose"])?;
    let llvm = llvm_version(&version).context("rustc does not name its LLVM")?;
    ensure!(
        llvm <= LLVM,
        "rustc has LLVM {llvm}, bpf-linker reads up to {LLVM}"
    );
    Ok(())
}

/// The major version of LLVM, from what `rustc --version --verbose` prints.
fn llvm_version(printed: &str) -> Option<u32> {
    let version = printed
        .lines()
        .find_map(|line| line.strip_prefix("LLVM version: "))?;
    version.split('.').next()?.parse().ok()
}

fn rust_src() -> Result<PathBuf> {
    let sysroot = rustc(&["--print", "sysroot"])?;
    Ok(PathBuf::from(sysroot.trim()).join("lib/rustlib/src/rust/library/core/Cargo.toml"))
}

fn rustc(args: &[&str]) -> Result<String> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    command::output(Command::new(rustc).args(args))
}

/// Debian's linter for the kernel program; a package of its own.
pub(crate) const DEBIAN_CLIPPY: &str = "/usr/bin/cargo-clippy";

const DEBIAN_FILES: [&str; 2] = ["/usr/bin/cargo", "/usr/bin/rustc"];

/// What bpf-linker is built with.
const LLVM: u32 = 22;

const TARGET: &str = "bpfel-unknown-none";

/// `bpf_target_arch` chooses aya's register layout. `--btf` makes, with debug information, what the loader relocates by. `v3` has registers
/// of 32 bits and all comparisons (Linux 5.1). Headers stand anywhere in a packet: unless misaligned loads are allowed, each is read byte
/// by byte. The kernel allows them there on all machines that do them well, but never on the stack.
const RUSTFLAGS: [&str; 5] = [
    "--cfg=bpf_target_arch=\"x86_64\"",
    "-Cdebuginfo=2",
    "-Clink-arg=--btf",
    "-Ctarget-cpu=v3",
    "-Clink-arg=--cpu-features=+allows-misaligned-mem-access",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn llvm_version_is_its_first_number() {
        assert_eq!(
            llvm_version("rustc 1.95.0\nLLVM version: 22.1.2\n"),
            Some(22)
        );
        assert_eq!(llvm_version("rustc 1.95.0\n"), None);
    }
}
