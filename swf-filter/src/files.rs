//! Reads policy files: which, in what order, and never more than they may hold.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use rustix::fs::{Mode, OFlags};
use swf_filter_core::policy::{Entry, Policy, SourceFile, limits, lint, parse};

use crate::report;

/// Reads, checks and links all policy files in `directory`. The text has what is doubtful about them.
pub fn load(directory: &Path, always_allow: &[Entry]) -> Result<(Policy, String)> {
    let files = read_directory(directory)?;
    let mut read_set = |path: &Path| read_limited(path, limits::SET_FILE);
    let mut policy = parse(&files, &mut read_set)
        .map_err(|problems| anyhow!("{}", report::render(&problems, &files)))?;
    policy.always_allow = always_allow.to_vec();
    let doubts = report::render(&lint(&policy, &files), &files);
    Ok((policy, doubts))
}

/// The policy files of a directory, in byte order of their names.
fn read_directory(directory: &Path) -> Result<Vec<SourceFile>> {
    let cannot = || format!("cannot read the policy directory {}", directory.display());
    let mut paths = fs::read_dir(directory)
        .with_context(cannot)?
        .map(|entry| Ok(entry?.path()))
        .collect::<io::Result<Vec<_>>>()
        .with_context(cannot)?;
    paths.retain(|path| is_policy_file(path));
    paths.sort();
    paths
        .into_iter()
        .map(|path| {
            let bytes = read_limited(&path, limits::POLICY_FILE)
                .with_context(|| format!("cannot read the policy file {}", path.display()))?;
            Ok(SourceFile {
                name: path.to_string_lossy().into(),
                bytes,
            })
        })
        .collect()
}

fn is_policy_file(path: &Path) -> bool {
    let hidden = path
        .file_name()
        .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    !hidden
        && path
            .extension()
            .is_some_and(|extension| extension == "toml")
        && !path.is_dir()
}

/// Reads a file, one byte more than `limit` at most, so that the parser can say that it is too long.
///
/// Anything but a regular file is refused before a byte is read: a pipe would block, a device may never end.
pub fn read_limited(path: &Path, limit: usize) -> io::Result<Arc<[u8]>> {
    let file = File::from(rustix::fs::open(
        path,
        OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC,
        Mode::empty(),
    )?);
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "not a regular file",
        ));
    }
    let mut bytes = Vec::new();
    file.take(limit as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_policy_files_are_read() {
        assert!(is_policy_file(Path::new("policy.d/10-a.toml")));
        assert!(!is_policy_file(Path::new("policy.d/.10-a.toml")));
        assert!(!is_policy_file(Path::new("policy.d/10-a.toml~")));
        assert!(!is_policy_file(Path::new("policy.d/10-a.txt")));
    }

    #[test]
    fn what_is_not_a_file_is_refused() {
        assert_eq!(
            read_limited(Path::new("/dev/zero"), 10).unwrap_err().kind(),
            io::ErrorKind::InvalidInput
        );
        assert_eq!(
            read_limited(Path::new("/"), 10).unwrap_err().kind(),
            io::ErrorKind::InvalidInput
        );
    }
}
