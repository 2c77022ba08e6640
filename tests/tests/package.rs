//! The Debian package, as it would be installed. That it is, with a service manager and from boot, is what `cargo xtask vm` shows.

use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use swf_filter::config::Config;
use swf_filter::files;
use swf_filter::listener::settings::Settings;
use swf_filter_tests::require;
use tempfile::TempDir;

/// What `systemd-analyze security` may give a unit, in tenths.
const EXPOSURE: u32 = 20;

/// The package, unpacked.
struct Package {
    file: PathBuf,
    root: TempDir,
}

impl Package {
    /// `None`, said loudly, if there is none.
    fn unpacked() -> Result<Option<Self>> {
        let Some(file) = env::var_os("SWF_FILTER_DEB").map(PathBuf::from) else {
            require::skip("needs SWF_FILTER_DEB: run `cargo xtask test`");
            return Ok(None);
        };
        let root = tempfile::Builder::new().prefix("swft-").tempdir()?;
        run(Command::new("dpkg-deb")
            .arg("-x")
            .args([&file, root.path()]))?;
        Ok(Some(Self { file, root }))
    }

    fn at(&self, path: &str) -> PathBuf {
        self.root.path().join(path)
    }

    fn control(&self, file: &str) -> Result<String> {
        run(Command::new("dpkg-deb").arg("-I").arg(&self.file).arg(file))
    }
}

fn run(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {said}");
    Ok(said.into_owned())
}

fn mode(path: &Path) -> Result<u32> {
    let file = fs::metadata(path).with_context(|| path.display().to_string())?;
    Ok(file.permissions().mode() & 0o7777)
}

#[test]
fn files_are_where_they_belong() -> Result<()> {
    let Some(package) = Package::unpacked()? else {
        return Ok(());
    };
    ensure!(mode(&package.at("usr/bin/swf-filter"))? == 0o755);
    for file in [
        "etc/logrotate.d/swf-filter",
        "etc/swf-filter/config.toml",
        "usr/lib/systemd/system/swf-filter-listener.service",
        "usr/lib/systemd/system/swf-filter-listener.socket",
        "usr/lib/systemd/system-preset/50-swf-filter.preset",
        "usr/lib/systemd/system/swf-filter.service",
        "usr/lib/sysusers.d/swf-filter.conf",
        "usr/lib/tmpfiles.d/swf-filter.conf",
        "usr/share/bash-completion/completions/swf-filter",
        "usr/share/doc/swf-filter/LICENSE-APACHE",
        "usr/share/doc/swf-filter/changelog.gz",
        "usr/share/doc/swf-filter/copyright",
        "usr/share/doc/swf-filter/docs/operations.md",
        "usr/share/doc/swf-filter/examples/grafana/swf-filter.json",
        "usr/share/doc/swf-filter/examples/listener.toml",
        "usr/share/doc/swf-filter/examples/prometheus/alerts.yaml",
        "usr/share/fish/vendor_completions.d/swf-filter.fish",
        "usr/share/man/man8/swf-filter-keys-create.8.gz",
        "usr/share/man/man8/swf-filter.8.gz",
        "usr/share/zsh/vendor-completions/_swf-filter",
    ] {
        let mode = mode(&package.at(file))?;
        ensure!(mode == 0o644, "{file}: {mode:o}");
    }
    let notices = fs::read_to_string(package.at("usr/share/doc/swf-filter/notices"))?;
    for dependency in ["aya-ebpf-0.", "hyper-1.", "rustls-0."] {
        ensure!(notices.contains(dependency), "no notice of {dependency}");
    }
    let version = run(Command::new(package.at("usr/bin/swf-filter")).arg("--version"))?;
    ensure!(
        version.trim() == concat!("swf-filter ", env!("CARGO_PKG_VERSION")),
        "{version}"
    );
    Ok(())
}

#[test]
fn settings_are_the_administrators() -> Result<()> {
    let Some(package) = Package::unpacked()? else {
        return Ok(());
    };
    let conffiles = package.control("conffiles")?;
    let mut conffiles: Vec<&str> = conffiles.lines().collect();
    conffiles.sort_unstable();
    ensure!(
        conffiles == ["/etc/logrotate.d/swf-filter", "/etc/swf-filter/config.toml"],
        "{conffiles:?}"
    );
    let settings = Config::load(&package.at("etc/swf-filter/config.toml"))?;
    ensure!(settings.names("eth0") && settings.names("enp1s0") && !settings.names("lo"));
    Ok(())
}

#[test]
fn examples_are_right_and_belong_together() -> Result<()> {
    let Some(package) = Package::unpacked()? else {
        return Ok(());
    };
    let examples = package.at("usr/share/doc/swf-filter/examples");
    let loaded = files::load(&examples.join("policy.d"), &[])?;
    ensure!(loaded.policy.hosts.len() == 1 && loaded.policy.principals.users.len() == 1);
    loaded.compile()?;
    let listener = Settings::load(&examples.join("listener.toml"))?;
    ensure!(*listener.listeners[0].host == *loaded.policy.hosts[0].name);
    Ok(())
}

#[test]
fn maintainer_scripts_are_shell_and_start_nothing_new() -> Result<()> {
    let Some(package) = Package::unpacked()? else {
        return Ok(());
    };
    for script in ["postinst", "postrm", "prerm"] {
        let text = package.control(script)?;
        let path = package.at(script);
        fs::write(&path, &text)?;
        run(Command::new("sh").arg("-n").arg(&path))?;
        for line in text
            .lines()
            .filter(|line| line.contains("deb-systemd-invoke"))
        {
            ensure!(
                line.contains("try-restart") || line.contains("stop"),
                "{script}: {line}"
            );
        }
    }
    Ok(())
}

#[test]
fn units_are_sound() -> Result<()> {
    let Some(package) = Package::unpacked()? else {
        return Ok(());
    };
    let units = package.at("usr/lib/systemd/system");
    for unit in [
        "swf-filter-listener.service",
        "swf-filter-listener.socket",
        "swf-filter.service",
    ] {
        // They name a program and a user that are not here.
        let text = fs::read_to_string(units.join(unit))?;
        let binary = package.at("usr/bin/swf-filter");
        let here = text.replace("/usr/bin/swf-filter", &binary.to_string_lossy());
        let here = here.replace("=swf-listener\n", "=daemon\n");
        fs::write(units.join(unit), &here)?;
    }
    for unit in ["swf-filter-listener.service", "swf-filter.service"] {
        let path = units.join(unit);
        let said = verify(&path)?;
        ensure!(said.trim().is_empty(), "{unit}: {said}");
        let said = run(Command::new("systemd-analyze")
            .args([
                "security",
                "--offline=true",
                "--no-pager",
                &format!("--threshold={EXPOSURE}"),
            ])
            .arg(&path))?;
        ensure!(said.contains("Overall exposure level"), "{said}");
    }
    // The twin: a word that systemd does not know, and a unit that nothing confines.
    let path = units.join("swf-filter.service");
    let text = fs::read_to_string(&path)?;
    fs::write(&path, text.replace("ProtectHome=", "ProtektHome="))?;
    ensure!(!verify(&path)?.trim().is_empty());
    fs::write(&path, "[Service]\nExecStart=/bin/true\n")?;
    let lax = Command::new("systemd-analyze")
        .args([
            "security",
            "--offline=true",
            "--no-pager",
            &format!("--threshold={EXPOSURE}"),
        ])
        .arg(&path)
        .output()?;
    ensure!(!lax.status.success());
    Ok(())
}

/// The values of a setting of a unit.
fn values<'a>(unit: &'a str, key: &str) -> Vec<&'a str> {
    let settings = unit.lines().filter_map(|line| line.split_once('='));
    let values = settings.filter(|(name, _)| *name == key);
    values
        .flat_map(|(_, value)| value.split_whitespace())
        .collect()
}

/// The package need not be there for this one.
#[test]
fn units_let_nothing_be_executed_but_what_they_run_and_libraries() -> Result<()> {
    let units = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/systemd");
    for name in ["swf-filter-listener.service", "swf-filter.service"] {
        let unit = fs::read_to_string(units.join(name))?;
        ensure!(values(&unit, "NoExecPaths") == ["/"], "{name}");
        let executable = values(&unit, "ExecPaths");
        let mut own = Vec::new();
        for key in ["ExecStartPre", "ExecStart", "ExecReload"] {
            own.extend(values(&unit, key).first().copied());
        }
        ensure!(own.len() >= 2, "{name}: {own:?}");
        for program in &own {
            ensure!(executable.contains(program), "{name}: {program}");
        }
        for path in executable {
            let directory = path.trim_start_matches('-');
            let is_library = ["/lib", "/lib64", "/usr/lib", "/usr/lib64"].contains(&directory);
            ensure!(is_library || own.contains(&path), "{name}: {path}");
        }
    }
    Ok(())
}

/// What systemd has to say against a unit.
fn verify(unit: &Path) -> Result<String> {
    run(Command::new("systemd-analyze")
        .args(["verify", "--man=no"])
        .arg(unit))
}
