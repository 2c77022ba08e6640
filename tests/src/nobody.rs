//! A user who owns nothing but what a test gives away, as whom code and commands are run.

use std::{
    fs::{self, Permissions},
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    process::Command,
    thread,
};

use anyhow::{Context, Result};
use rustix::{
    process::{Gid, Uid},
    thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid},
};

use crate::{process::run, world::World};

/// The number of the user, and of the user's group.
pub const NOBODY: u32 = 65_534;
/// Another one.
pub const SOMEBODY: u32 = 65_533;

/// Runs `work` on a thread that is nobody's.
pub fn as_nobody<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    as_user(NOBODY, work)
}

/// Runs `work` on a thread that is a user's.
///
/// # Panics
///
/// If `work` does.
pub fn as_user<T: Send>(user: u32, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    thread::scope(|scope| {
        let thread = scope.spawn(move || {
            become_user(user)?;
            work()
        });
        thread.join().expect("the thread does not panic")
    })
}

/// Makes this thread a user's, for good.
pub fn become_user(user: u32) -> Result<()> {
    let (uid, gid) = (Uid::from_raw(user), Gid::from_raw(user));
    set_thread_groups(&[])?;
    set_thread_res_gid(gid, gid, gid)?;
    set_thread_res_uid(uid, uid, uid)?;
    Ok(())
}

/// Makes a directory that is a user's.
pub fn make_directory(path: &Path, user: u32) -> Result<()> {
    fs::create_dir_all(path).with_context(|| format!("cannot make {}", path.display()))?;
    fs::set_permissions(path, Permissions::from_mode(0o755))?;
    Ok(chown(path, Some(user), Some(user))?)
}

/// The binary to be run as nobody, on the host of a world and with its settings; add arguments to it.
pub fn command(world: &World) -> Result<Command> {
    let binary = binary(world)?;
    let mut command = world.host.command("setpriv");
    let user = NOBODY.to_string();
    command
        .args(["--reuid", &user, "--regid", &user, "--clear-groups"])
        .arg(binary)
        .arg("--config")
        .arg(world.file("config.toml"))
        .env("NO_COLOR", "1");
    Ok(command)
}

/// A copy of the binary that everybody can reach. It is made by a process of its own: a file that is open for writing cannot be run, and
/// a test beside this one may just be starting a child.
fn binary(world: &World) -> Result<PathBuf> {
    let binary = world.file("swf-filter");
    if !binary.exists() {
        let built = std::env::var_os("SWF_FILTER_BIN").context("the world has it")?;
        run(Command::new("cp").arg(built).arg(&binary))?;
        fs::set_permissions(&binary, Permissions::from_mode(0o755))?;
    }
    fs::set_permissions(world.file(""), Permissions::from_mode(0o755))?;
    Ok(binary)
}
