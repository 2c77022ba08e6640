//! The text of a policy, as it travels from the daemon to the listener, and as it lies on disk beside what it was compiled to.
//!
//! The listener reads documents that no table holds. It gets them as they were written, so that what it reports has the places that
//! operators know, and compiles them itself: that both come to the same generation is then seen, not believed.

use std::io;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use swf_filter_core::policy::{Entry, Followed, Policy, SourceFile, followed, parse};

use crate::report::{Rejected, Report};

/// All that a policy is read from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sources {
    /// What config.toml adds to it.
    pub always_allow: Vec<Entry>,
    /// Policy files.
    pub policy: Vec<Source>,
    /// Files that they name: sets, and documents.
    pub named: Vec<Source>,
}

/// A file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// How it is called.
    pub name: Arc<str>,
    /// What it holds. Files of a policy are UTF-8, or it would have been refused.
    #[serde(with = "text")]
    pub text: Arc<[u8]>,
}

impl From<SourceFile> for Source {
    fn from(file: SourceFile) -> Self {
        Self {
            name: file.name,
            text: file.bytes,
        }
    }
}

impl From<Source> for SourceFile {
    fn from(source: Source) -> Self {
        Self {
            name: source.name,
            bytes: source.text,
        }
    }
}

impl Sources {
    /// What tells this text from any other, in hexadecimal.
    #[must_use]
    pub fn hash(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        let mut part = |bytes: &[u8]| {
            // Lengths keep neighbouring parts apart.
            hasher.update(&bytes.len().to_le_bytes()).update(bytes);
        };
        for entry in &self.always_allow {
            part(entry.text.as_bytes());
        }
        for files in [&self.policy, &self.named] {
            part(&files.len().to_le_bytes());
            for file in files {
                part(file.name.as_bytes());
                part(&file.text);
            }
        }
        hasher.finalize().to_hex().to_string()
    }

    /// Reads the policy again. What was accepted once is accepted by the same version.
    pub fn read(&self) -> Result<Policy, Rejected> {
        let files = to_files(&self.policy);
        let mut named = |path: &Path| {
            let text = self.named(&path.to_string_lossy());
            Ok(Arc::clone(text.ok_or(io::ErrorKind::NotFound)?))
        };
        let mut policy = parse(&files, &mut named)
            .map_err(|problems| Rejected::Problems(Report::new(&problems, &self.files())))?;
        policy.always_allow.clone_from(&self.always_allow);
        Ok(policy)
    }

    /// The sets whose files are followed.
    #[must_use]
    pub fn followed(&self) -> Vec<Followed> {
        followed(&to_files(&self.policy))
    }

    /// What a file held that a policy file names.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<&Arc<[u8]>> {
        let file = self.named.iter().find(|file| *file.name == *name);
        file.map(|file| &file.text)
    }

    /// The same with another text of one file that a policy file names.
    #[must_use]
    pub fn with(&self, name: &str, text: &Arc<[u8]>) -> Self {
        let mut sources = self.clone();
        for file in &mut sources.named {
            if *file.name == *name {
                file.text = Arc::clone(text);
            }
        }
        sources
    }

    /// The same with other texts of followed set files, as far as `text` has them: these are for other programs to write.
    #[must_use]
    pub fn with_followed(&self, text: impl Fn(&Path) -> Option<Arc<[u8]>>) -> Self {
        self.followed()
            .iter()
            .fold(self.clone(), |sources, set| match text(&set.path) {
                Some(text) => sources.with(&set.path.to_string_lossy(), &text),
                None => sources,
            })
    }

    /// All files, those of the policy first.
    pub(crate) fn files(&self) -> Vec<SourceFile> {
        [to_files(&self.policy), to_files(&self.named)].concat()
    }
}

fn to_files(sources: &[Source]) -> Vec<SourceFile> {
    sources.iter().cloned().map(Into::into).collect()
}

/// Bytes that are text.
mod text {
    use std::sync::Arc;

    use serde::de::Deserialize;
    use serde::ser::Error;
    use serde::{Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(std::str::from_utf8(bytes).map_err(S::Error::custom)?)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Arc<[u8]>, D::Error> {
        Ok(String::deserialize(from)?.into_bytes().into())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use swf_filter_core::compile::compile;

    use super::*;
    use crate::files;

    #[test]
    fn what_travels_is_compiled_to_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path().join("policy.d");
        fs::create_dir(&directory).unwrap();
        fs::create_dir(folder.path().join("principals.d")).unwrap();
        let host = "version = 1\n[[host]]\nname = \"swf\"\naddresses = [\"198.51.100.10\"]\n\
            allow = [\"set:offices\"]\nresource_policies = [\"swf.json\"]\n\
            [[set]]\nname = \"offices\"\nfile = \"offices.txt\"\n";
        let document = r#"{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Principal": "*",
            "Action": "swf:*", "Resource": "*", "Condition": {"StringEquals": {"swf:name": "a"}}}}"#;
        fs::write(directory.join("10-host.toml"), host).unwrap();
        fs::write(directory.join("swf.json"), document).unwrap();
        fs::write(directory.join("offices.txt"), "192.0.2.0/24 # caf\u{e9}\n").unwrap();
        let users = "version = 1\n[[account]]\nid = \"111122223333\"\n";
        fs::write(folder.path().join("principals.d/users.toml"), users).unwrap();

        let loaded = files::load(&directory, &[]).unwrap();
        let json = serde_json::to_vec(&loaded.sources).unwrap();
        let travelled: Sources = serde_json::from_slice(&json).unwrap();
        assert_eq!(travelled, loaded.sources);
        let policy = travelled.read().unwrap();
        assert_eq!(
            compile(&policy).unwrap().hash(),
            loaded.compile().unwrap().hash()
        );
        let stored = postcard::to_stdvec(&travelled).unwrap();
        assert_eq!(postcard::from_bytes::<Sources>(&stored).unwrap(), travelled);

        // A document that no table shows is part of what tells two policies apart.
        let other = document.replace("\"a\"", "\"b\"");
        fs::write(directory.join("swf.json"), other).unwrap();
        let changed = files::load(&directory, &[]).unwrap();
        assert_ne!(changed.sources.hash(), loaded.sources.hash());
        assert_eq!(
            changed.compile().unwrap().hash(),
            loaded.compile().unwrap().hash()
        );
    }
}
