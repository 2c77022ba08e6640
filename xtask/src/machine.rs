//! What this machine allows.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

/// Whether this process runs as root.
pub(crate) fn root() -> bool {
    // Whoever a process runs as owns its folder.
    fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

/// The release of the running kernel, such as `6.1.0-35-amd64`; empty when it cannot be read.
pub(crate) fn kernel() -> String {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    release.trim().to_owned()
}

/// Major and minor number of a kernel release.
pub(crate) fn kernel_version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_version_is_the_first_two_numbers() {
        assert_eq!(kernel_version("6.1.0-35-amd64"), Some((6, 1)));
        assert_eq!(kernel_version("5.18-rc1"), Some((5, 18)));
    }

    #[test]
    fn kernel_version_of_other_text_is_none() {
        assert_eq!(kernel_version(""), None);
        assert_eq!(kernel_version("6"), None);
        assert_eq!(kernel_version("linux"), None);
    }
}
