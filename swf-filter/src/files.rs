//! Reads policy files: which, in what order, and never more than they may hold.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};
use swf_filter_core::compile::{Generation, compile};
use swf_filter_core::policy::{Entry, Policy, SourceFile, limits, lint, parse};

use crate::expect;
use crate::report::{Input, Rejected, Report};
use crate::sources::Sources;

/// Policy files that are right.
#[derive(Debug)]
pub struct Loaded {
    /// What they say.
    pub policy: Policy,
    /// What is doubtful about it.
    pub doubts: Report,
    /// What was read.
    pub sources: Sources,
    /// All files of it.
    files: Vec<SourceFile>,
}

impl Loaded {
    /// Compiles the policy, and holds what comes out against what the policy expects of itself.
    pub fn compile(&self) -> Result<Generation, Rejected> {
        let generation = compile(&self.policy)?;
        let unmet = expect::unmet(&self.policy, &generation, &self.files);
        if unmet.is_empty() {
            Ok(generation)
        } else {
            Err(Rejected::Problems(unmet))
        }
    }
}

/// The directory beside that of the policy files which says who can sign requests.
const PRINCIPALS: &str = "principals.d";

/// Reads, checks and links all policy files in `directory`, and those of `principals.d` beside it.
pub fn load(directory: &Path, always_allow: &[Entry]) -> Result<Loaded, Rejected> {
    let mut files = read_directory(directory)?;
    let principals = directory.with_file_name(PRINCIPALS);
    if principals.exists() {
        files.extend(read_directory(&principals)?);
    }
    // Kept to the end, so that problems in them can be drawn.
    let mut named = Vec::new();
    let mut read_named = |path: &Path| {
        let file = read_file(path, limits::SET_FILE)?;
        let bytes = Arc::clone(&file.bytes);
        named.push(file);
        Ok(bytes)
    };
    let mut policy = parse(&files, &mut read_named).map_err(|problems| {
        Rejected::Problems(Report::new(&problems, &[&*files, &named].concat()))
    })?;
    policy.always_allow = always_allow.to_vec();
    let sources = Sources {
        always_allow: always_allow.to_vec(),
        policy: files.iter().cloned().map(Into::into).collect(),
        named: named.iter().cloned().map(Into::into).collect(),
    };
    let files = [files, named].concat();
    let doubts = Report::new(&lint(&policy, &files), &files);
    Ok(Loaded {
        policy,
        doubts,
        sources,
        files,
    })
}

/// The policy files of a directory, in byte order of their names.
fn read_directory(directory: &Path) -> Result<Vec<SourceFile>, Rejected> {
    let mut paths = fs::read_dir(directory)
        .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect())
        .map_err(|error| Rejected::unreadable(Input::PolicyDirectory, directory, error))?;
    Vec::retain(&mut paths, |path| is_policy_file(path));
    paths.sort();
    paths
        .into_iter()
        .map(|path| {
            read_file(&path, limits::POLICY_FILE)
                .map_err(|error| Rejected::unreadable(Input::PolicyFile, &path, error))
        })
        .collect()
}

/// Reads a file and names it as the parser does.
pub(crate) fn read_file(path: &Path, limit: usize) -> io::Result<SourceFile> {
    Ok(SourceFile {
        name: path.to_string_lossy().into(),
        bytes: read_limited(path, limit)?,
    })
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
    let kind = file.metadata()?.file_type();
    if kind.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    if !kind.is_file() {
        let words = "it is not a regular file";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, words));
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
            io::ErrorKind::IsADirectory
        );
    }
}
