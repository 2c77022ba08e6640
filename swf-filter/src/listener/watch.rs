//! Tells when files changed, so that they are read again.
//!
//! It looks each second, since inotify says nothing of what is behind a symbolic link that is moved, as secrets of Kubernetes
//! are, nor of network file systems. What changed is told once all files have stayed the same for one further look: a
//! certificate and its key are seldom written within the same instant. It reads no file.

use std::path::PathBuf;
use std::time::Duration;

use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::files::Stamp;

/// Files that are watched.
#[derive(Debug)]
pub struct Watch {
    paths: Box<[PathBuf]>,
    /// As it was told last.
    told: Box<[Stamp]>,
    /// As it was at the last look.
    seen: Box<[Stamp]>,
    looks: Interval,
}

impl Watch {
    /// Watches files and directories from now on: make it before they are read, so that no change is missed. They need not be
    /// there. Of a directory, it is what is in it that counts, not what is in its files.
    ///
    /// # Panics
    ///
    /// Outside of a runtime of tokio with time.
    pub fn new<P: Into<PathBuf>>(paths: impl IntoIterator<Item = P>) -> Self {
        let paths: Box<[PathBuf]> = paths.into_iter().map(Into::into).collect();
        let now = stamps(&paths);
        let mut looks = interval(EACH);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            paths,
            told: now.clone(),
            seen: now,
            looks,
        }
    }

    /// Waits until files changed, and says which. It may be dropped while it waits: nothing is lost.
    pub async fn changed(&mut self) -> Vec<PathBuf> {
        loop {
            self.looks.tick().await;
            let changed = self.look();
            if !changed.is_empty() {
                return changed;
            }
        }
    }

    fn look(&mut self) -> Vec<PathBuf> {
        let now = stamps(&self.paths);
        let settled = now == self.seen;
        self.seen = now;
        if !settled {
            return Vec::new();
        }
        let changed = (self.paths.iter().zip(&self.told).zip(&self.seen))
            .filter(|((_, told), seen)| told != seen)
            .map(|((path, _), _)| path.clone())
            .collect();
        self.told.clone_from(&self.seen);
        changed
    }
}

fn stamps(paths: &[PathBuf]) -> Box<[Stamp]> {
    paths.iter().map(|path| Stamp::of(path)).collect()
}

/// A person who renews a certificate does not notice it, and a thousand files cost nothing.
const EACH: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;
    use tokio::time::timeout;

    use super::*;

    /// With the clock stopped, waiting takes no time.
    const LONG: Duration = Duration::from_mins(1);

    fn files() -> (TempDir, PathBuf, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let chain = directory.path().join("chain.pem");
        let key = directory.path().join("key.pem");
        fs::write(&chain, "one").unwrap();
        fs::write(&key, "one").unwrap();
        (directory, chain, key)
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_that_changes_is_told_once() {
        let (_directory, chain, key) = files();
        let mut watch = Watch::new([&chain, &key]);
        fs::write(&key, "another").unwrap();
        assert_eq!(watch.changed().await, [key]);
        assert!(timeout(LONG, watch.changed()).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_told_when_nothing_changes() {
        let (_directory, chain, key) = files();
        let mut watch = Watch::new([&chain, &key]);
        assert!(timeout(LONG, watch.changed()).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn files_come_and_go() {
        let (_directory, chain, key) = files();
        let mut watch = Watch::new([&chain, &key]);
        fs::remove_file(&chain).unwrap();
        assert_eq!(watch.changed().await, [&*chain]);
        fs::write(&chain, "one").unwrap();
        assert_eq!(watch.changed().await, [chain]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_symbolic_link_that_points_elsewhere_is_a_change() {
        let (directory, chain, key) = files();
        let link = directory.path().join("link");
        std::os::unix::fs::symlink(&chain, &link).unwrap();
        let mut watch = Watch::new([&link]);
        let new = directory.path().join("new");
        std::os::unix::fs::symlink(&key, &new).unwrap();
        fs::rename(&new, &link).unwrap();
        assert_eq!(watch.changed().await, [link]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_in_a_directory_is_a_change_of_it() {
        let (directory, ..) = files();
        let mut watch = Watch::new([directory.path()]);
        fs::write(directory.path().join("more"), "").unwrap();
        assert_eq!(watch.changed().await, [directory.path()]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_still_being_written_is_not_told() {
        let (_directory, chain, key) = files();
        let mut watch = Watch::new([&chain, &key]);
        fs::write(&chain, "half").unwrap();
        assert!(watch.look().is_empty());
        fs::write(&chain, "half and half").unwrap();
        assert!(watch.look().is_empty());
        // The other file of the pair is written between two looks.
        fs::write(&key, "another").unwrap();
        assert!(watch.look().is_empty());
        assert_eq!(watch.look(), [chain, key]);
        assert!(watch.look().is_empty());
    }
}
