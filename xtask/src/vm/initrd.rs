//! Kernels from Debian's packages, and initial RAM file systems for them.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use super::folder;
use crate::command;

/// A kernel that was unpacked.
#[derive(Debug)]
pub(crate) struct Kernel {
    /// Its release, such as `6.1.0-50-cloud-amd64`.
    pub(crate) release: String,
    /// What a boot loader loads.
    pub(crate) image: PathBuf,
    /// The root of its package, which has its modules.
    pub(crate) root: PathBuf,
}

/// Gets the kernel that a package without content depends on.
pub(crate) fn kernel(meta: &str) -> Result<Kernel> {
    let current = || {
        let printed = command::output(Command::new("apt-cache").args(["depends", meta]))?;
        let depends = printed
            .lines()
            .find_map(|line| line.trim().strip_prefix("Depends: "));
        depends
            .map(str::to_owned)
            .with_context(|| format!("`{meta}` depends on nothing"))
    };
    let package = current().or_else(|_| {
        command::output(Command::new("apt-get").arg("update"))?;
        current()
    })?;
    let release = package.trim_start_matches("linux-image-").to_owned();
    let root = folder()?.join(&package);
    let image = root.join(format!("boot/vmlinuz-{release}"));
    if !image.exists() {
        println!("vm: getting {package}");
        fs::create_dir_all(&root)?;
        command::output(
            Command::new("apt-get")
                .args(["download", &package])
                .current_dir(&root),
        )?;
        let file = fs::read_dir(&root)?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
            .with_context(|| format!("`{package}` was not downloaded"))?;
        command::output(Command::new("dpkg-deb").arg("-x").args([&file, &root]))?;
        fs::remove_file(file)?;
        // Newer packages have modules below `usr`.
        if !root.join("lib").exists() {
            std::os::unix::fs::symlink("usr/lib", root.join("lib"))?;
        }
        let depmod = command::find("depmod").context("no `depmod` here")?;
        command::output(Command::new(depmod).arg("-b").arg(&root).arg(&release))?;
    }
    Ok(Kernel {
        release,
        image,
        root,
    })
}

/// What goes into an initial RAM file system.
pub(crate) struct Initrd {
    folder: PathBuf,
    loads: String,
}

impl Initrd {
    /// One with busybox, and `modules` of the kernel with those that they need.
    pub(crate) fn new(name: &str, kernel: &Kernel, modules: &[&str]) -> Result<Self> {
        let folder = folder()?.join(name);
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        for part in ["bin", "dev", "modules", "proc", "root", "run", "sys", "tmp"] {
            fs::create_dir_all(folder.join(part))?;
        }
        let mut initrd = Self {
            folder,
            loads: String::new(),
        };
        let busybox = command::find("busybox").context("no `busybox` here")?;
        fs::copy(busybox, initrd.folder.join("bin/busybox"))?;
        for module in modules {
            initrd.add_module(kernel, module)?;
        }
        Ok(initrd)
    }

    fn add_module(&mut self, kernel: &Kernel, module: &str) -> Result<()> {
        let modprobe = command::find("modprobe").context("no `modprobe` here")?;
        let needed = command::output(Command::new(modprobe).arg("-d").arg(&kernel.root).args([
            "-S",
            &kernel.release,
            "--show-depends",
            module,
        ]))?;
        // Others are built into the kernel.
        for path in needed
            .lines()
            .filter_map(|line| line.strip_prefix("insmod "))
        {
            // After the path are options that are usual for the module.
            let (path, options) = path.split_once(' ').unwrap_or((path, ""));
            let path = Path::new(path);
            let name = path
                .file_name()
                .context("a module has a name")?
                .to_string_lossy();
            let copy = self.folder.join("modules").join(&*name);
            let plain = name.trim_end_matches(".xz");
            if !self.loads.contains(plain) {
                fs::copy(path, &copy)?;
                if plain != name {
                    // Busybox loads plain ones only.
                    command::output(Command::new("xz").args(["-d", "-f"]).arg(&copy))?;
                }
                self.loads
                    .extend(["insmod /modules/", plain, " ", options, "\n"]);
            }
        }
        Ok(())
    }

    /// Adds a program, without debug information, and the libraries that it is linked with.
    pub(crate) fn add_program(&self, program: &Path, at: &str) -> Result<()> {
        let to = self.folder.join(at);
        fs::create_dir_all(to.parent().context("a program is in a folder")?)?;
        command::output(Command::new("strip").arg("-o").args([&to, program]))?;
        let linked = command::output(Command::new("ldd").arg(program))?;
        for library in linked
            .split_whitespace()
            .filter(|word| word.starts_with('/'))
        {
            let to = self.folder.join(library.trim_start_matches('/'));
            if !to.exists() {
                fs::create_dir_all(to.parent().context("a library is in a folder")?)?;
                fs::copy(library, to)?;
            }
        }
        Ok(())
    }

    /// Makes the image, whose first process mounts what is usual, loads the modules, and then runs `script`.
    pub(crate) fn finish(self, script: &str) -> Result<PathBuf> {
        let init = self.folder.join("init");
        let (start, loads) = (START, &self.loads);
        fs::write(&init, format!("{start}{loads}{script}"))?;
        fs::set_permissions(&init, fs::Permissions::from_mode(0o755))?;
        let image = self.folder.with_extension("cpio");
        let pack = format!("find . | cpio --quiet -o -H newc >'{}'", image.display());
        command::output(
            Command::new("sh")
                .args(["-c", &pack])
                .current_dir(&self.folder),
        )?;
        Ok(image)
    }
}

/// Programs that were added go before those of `BusyBox`.
const START: &str = "#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/usr/sbin:/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs run /run
mount -t tmpfs tmp /tmp
";
