//! Makes the policy files say what a text says.
//!
//! Each file is replaced in one step, not all of them together: until they say the same as what is in force, a start of the daemon
//! does not read them. What was there is kept beside, with a `~` behind its name, under which it is not read.

use std::fs::{self, File};
use std::io;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result};

use crate::files::{self, is_policy_file};
use crate::sources::{Source, Sources};

/// Has the files of these directories say what `sources` says, and gives those files outside of them that do not.
pub(super) fn install(sources: &Sources, directories: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut astray = Vec::new();
    let followed = sources.followed();
    for Source { name, text } in sources.policy.iter().chain(&sources.named) {
        let path = Path::new(&**name);
        // What another program writes is its own, and newer than any text here.
        let is_followed = followed.iter().any(|set| set.path == path);
        if is_as(path, text) || is_followed && path.exists() {
            continue;
        }
        if directories.iter().any(|directory| is_in(path, directory)) {
            replace(path, text).with_context(|| format!("cannot write `{}`", path.display()))?;
        } else {
            astray.push(path.to_owned());
        }
    }
    for directory in directories {
        put_others_aside(directory, sources)
            .with_context(|| format!("cannot tidy `{}`", directory.display()))?;
    }
    Ok(astray)
}

fn is_as(path: &Path, text: &[u8]) -> bool {
    let length = fs::metadata(path).map(|file| file.len());
    length.is_ok_and(|length| length == text.len() as u64)
        && fs::read(path).is_ok_and(|found| found == text)
}

/// Whether a path is below a directory as it is written. One with `..` leads anywhere.
fn is_in(path: &Path, directory: &Path) -> bool {
    path.starts_with(directory) && !path.components().any(|part| part == Component::ParentDir)
}

/// Moves policy files away that the text does not have.
fn put_others_aside(directory: &Path, sources: &Sources) -> io::Result<()> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let path = entry?.path();
        let is_ours = |source: &Source| Path::new(&*source.name) == path;
        if is_policy_file(&path) && !sources.policy.iter().any(is_ours) {
            fs::rename(&path, with(&path, "~"))?;
        }
    }
    File::open(directory)?.sync_all()
}

/// Writes a file in place of the one that is there, which keeps its owner and mode.
fn replace(path: &Path, text: &[u8]) -> io::Result<()> {
    // A link stays a link.
    let path = &fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let earlier = match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        metadata => Some(metadata?),
    };
    let Some(earlier) = earlier else {
        fs::create_dir_all(path.parent().unwrap_or(Path::new("/")))?;
        return files::write_public(path, text);
    };
    fs::copy(path, with(path, "~"))?;
    files::write_like(&earlier, path, text)
}

fn with(path: &Path, after: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(after);
    name.into()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use super::*;

    fn source(path: &Path, text: &str) -> Source {
        Source {
            name: path.to_string_lossy().into(),
            text: text.as_bytes().into(),
        }
    }

    #[test]
    fn files_say_the_text_and_what_they_said_is_kept_beside() {
        let folder = tempfile::tempdir().unwrap();
        let ours = folder.path().join("policy.d");
        fs::create_dir(&ours).unwrap();
        for (name, text) in [
            ("10.toml", "old"),
            ("20.toml", "same"),
            ("30.toml", "gone"),
            ("README", "not a policy"),
        ] {
            fs::write(ours.join(name), text).unwrap();
        }
        let mode = fs::Permissions::from_mode(0o640);
        fs::set_permissions(ours.join("10.toml"), mode).unwrap();
        let outside = folder.path().join("elsewhere.txt");
        let sources = Sources {
            policy: vec![
                source(&ours.join("10.toml"), "new"),
                source(&ours.join("20.toml"), "same"),
                source(&ours.join("40.toml"), "more"),
            ],
            named: vec![
                source(&ours.join("sets/a.txt"), "192.0.2.0/24"),
                source(&ours.join("../elsewhere.txt"), "x"),
                source(&outside, "x"),
            ],
            ..Sources::default()
        };
        let astray = install(&sources, std::slice::from_ref(&ours)).unwrap();
        assert_eq!(astray, [ours.join("../elsewhere.txt"), outside.clone()]);
        let read = |name: &str| fs::read_to_string(ours.join(name)).unwrap();
        assert_eq!([read("10.toml"), read("10.toml~")], ["new", "old"]);
        assert_eq!(read("20.toml"), "same");
        assert_eq!(read("30.toml~"), "gone");
        assert_eq!(
            [read("40.toml"), read("sets/a.txt")],
            ["more", "192.0.2.0/24"]
        );
        assert_eq!(read("README"), "not a policy");
        assert!(!outside.exists());
        let names = fs::read_dir(&ours).unwrap().count();
        assert_eq!(names, 7, "and nothing else");
        let mode = fs::metadata(ours.join("10.toml")).unwrap().mode();
        assert_eq!(mode & 0o777, 0o640);

        fs::write(&outside, "x").unwrap();
        assert_eq!(
            install(&sources, &[ours]).unwrap(),
            Vec::<PathBuf>::new(),
            "what is said elsewhere already is not astray"
        );
    }

    #[test]
    fn a_link_stays_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let (ours, real) = (folder.path().join("ours"), folder.path().join("real.toml"));
        fs::create_dir(&ours).unwrap();
        fs::write(&real, "old").unwrap();
        symlink(&real, ours.join("10.toml")).unwrap();
        let sources = Sources {
            policy: vec![source(&ours.join("10.toml"), "new")],
            ..Sources::default()
        };
        install(&sources, std::slice::from_ref(&ours)).unwrap();
        assert_eq!(fs::read_to_string(&real).unwrap(), "new");
        assert!(
            fs::symlink_metadata(ours.join("10.toml"))
                .unwrap()
                .is_symlink()
        );
    }
}
