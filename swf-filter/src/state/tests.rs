use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::sync::Arc;

use rustix::process::geteuid;
use swf_filter_common::abi::Count;
use swf_filter_core::compile::{Generation, compile};
use swf_filter_core::policy::{SourceFile, parse};

use super::{Ledger, Saved, State, keys, prepare};
use crate::lock::{Afterwards, Lock};
use crate::sources::Sources;

/// A generation with something of each kind.
fn generation(file: &str) -> Arc<Generation> {
    let text = "version = 1\n\
        [[host]]\nname = \"swf\"\naddresses = [\"198.51.100.10\", \"2001:db8::10\"]\nports = [443, \"8000-8010\"]\n\
        allow = [\"203.0.113.0/24\", \"2001:db8:7::/48\", \"vpc:vpc-one\"]\ndeny = [\"203.0.113.66\"]\n\
        [[host]]\nname = \"audited\"\naddresses = [\"198.51.100.20\"]\nports = \"all\"\nmode = \"audit\"\ndefault = \"pass\"\n\
        [[vpc]]\nid = \"vpc-one\"\ncidrs = [\"10.0.0.0/8\"]\ninterfaces = [\"eth1\"]\nvlans = [120]\n";
    let file = SourceFile {
        name: file.into(),
        bytes: text.as_bytes().into(),
    };
    let policy = parse(&[file], &mut |_| Err(io::ErrorKind::NotFound.into())).unwrap();
    Arc::new(compile(&policy).unwrap())
}

fn saved(number: u64) -> Saved {
    Saved {
        number,
        after: number.checked_sub(1),
        since: 1_700_000_000_000,
        generation: generation("a.toml"),
        sources: Arc::new(Sources::default()),
    }
}

#[test]
fn what_was_saved_is_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let state = State::new(&folder.path().join("made/when/needed"));
    assert_eq!(state.highest(), None);
    state.save(&saved(3)).unwrap();
    state.save(&saved(11)).unwrap();
    assert_eq!(state.highest(), Some(11));
    let read = state.load(3).unwrap();
    assert_eq!(read.generation.hash(), generation("a.toml").hash());
    assert_eq!(read.generation.rules, generation("a.toml").rules);
    assert_eq!((read.number, read.after), (3, Some(2)));
    state.keep(&[3]);
    assert_eq!(state.newest().map(|saved| saved.number), Some(3));
    assert!(state.load(11).is_err());
}

#[test]
fn a_damaged_file_is_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let state = State::new(folder.path());
    state.save(&saved(1)).unwrap();
    state.save(&saved(2)).unwrap();
    let path = folder.path().join("generation-2");
    let whole = fs::read(&path).unwrap();
    for (bytes, complaint) in [
        (whole[..whole.len() - 1].to_vec(), "damaged"),
        (whole[..30].to_vec(), "cut off"),
        (Vec::new(), "not written by this version"),
        (
            b"something else altogether".to_vec(),
            "not written by this version",
        ),
        (flipped(&whole, whole.len() / 2), "damaged"),
        (flipped(&whole, 25), "damaged"),
    ] {
        fs::write(&path, bytes).unwrap();
        let error = format!("{:#}", state.load(2).unwrap_err());
        assert!(error.contains(complaint), "{error}");
        assert_eq!(state.newest().map(|saved| saved.number), Some(1));
    }
    fs::copy(folder.path().join("generation-1"), &path).unwrap();
    let error = format!("{:#}", state.load(2).unwrap_err());
    assert!(error.contains("holds generation 1"), "{error}");
}

#[test]
fn what_is_no_file_is_neither_waited_for_nor_read() {
    let folder = tempfile::tempdir().unwrap();
    let state = State::new(folder.path());
    let path = folder.path().join("generation-1");
    let mode = rustix::fs::Mode::RUSR;
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    assert!(state.load(1).is_err());
    fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
    assert!(state.load(1).is_err());
}

#[test]
fn names_that_are_not_written_here_are_no_generations() {
    let folder = tempfile::tempdir().unwrap();
    let state = State::new(folder.path());
    state.save(&saved(7)).unwrap();
    for name in ["+8", "08", "18446744073709551615"] {
        fs::write(folder.path().join(format!("generation-{name}")), "").unwrap();
    }
    assert_eq!(state.highest(), Some(7));
}

#[test]
fn what_a_kill_left_half_written_is_removed_at_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("state");
    prepare(&directory).unwrap();
    let state = State::new(&directory);
    state.save(&saved(1)).unwrap();
    let left = [".generation-2.swf-filter", ".text-ab.swf-filter"];
    for name in left {
        fs::write(directory.join(name), "half").unwrap();
    }
    fs::write(directory.join("history.damaged"), "kept").unwrap();
    state.remove_unfinished();
    assert!(left.iter().all(|name| !directory.join(name).exists()));
    assert!(state.load(1).is_ok() && directory.join("history.damaged").exists());
}

#[test]
fn a_directory_that_others_can_change_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("state");
    let mode = || fs::metadata(&directory).unwrap().permissions().mode() & 0o777;
    let set = |mode| fs::set_permissions(&directory, Permissions::from_mode(mode)).unwrap();
    prepare(&directory).unwrap();
    assert_eq!(mode(), 0o700);
    // Whoever can open it can lock it.
    set(0o755);
    prepare(&directory).unwrap();
    assert_eq!(mode(), 0o700);
    for open in [0o770, 0o702, 0o1777] {
        set(open);
        let error = prepare(&directory).unwrap_err().to_string();
        assert!(error.contains("others can write to"), "{error}");
    }
    set(0o700);
    if geteuid().is_root() {
        chown(&directory, Some(65_534), None).unwrap();
        let error = prepare(&directory).unwrap_err().to_string();
        assert!(error.contains("belongs to the user 65534"), "{error}");
    }
}

fn flipped(bytes: &[u8], at: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[at] ^= 1;
    bytes
}

#[test]
fn a_write_that_fails_leaves_what_was_there() {
    let folder = tempfile::tempdir().unwrap();
    let state = State::new(folder.path());
    state.save(&saved(1)).unwrap();
    // What cannot be opened for writing, not even by root.
    fs::create_dir(folder.path().join(".generation-1.swf-filter")).unwrap();
    assert!(state.save(&saved(1)).is_err());
    assert!(state.load(1).is_ok());
    assert_eq!(state.highest(), Some(1));
}

#[test]
fn files_are_kept_still_but_not_while_somebody_writes_them() {
    let folder = tempfile::tempdir().unwrap();
    let state = State::new(folder.path());
    let write = || Lock::alone(folder.path(), Afterwards::There).unwrap();
    let writer = write().unwrap();
    assert!(state.keep_files_still().is_err());
    drop(writer);
    let still = state.keep_files_still().unwrap();
    assert!(still.is_some() && write().is_none());
    assert!(state.keep_files_still().is_ok(), "two may read");
    drop(still);
    assert!(write().is_some());
    let missing = State::new(&folder.path().join("missing"));
    assert!(missing.keep_files_still().unwrap().is_none());
}

#[test]
fn a_ledger_adds_up() {
    let generation = generation("a.toml");
    let rule = keys(&generation).remove(0);
    let count = |packets| Count {
        packets,
        bytes: packets * 60,
    };
    let mut ledger = Ledger::new("here", 1);
    ledger.fold([(rule.clone(), count(2))], 2, &generation);
    ledger.fold([(rule.clone(), count(3))], 3, &generation);
    assert_eq!(ledger.get(&rule), count(5));
    assert_eq!(ledger.before(), 3);
    assert!(ledger.is_of("here") && !ledger.is_of("there"));

    let folder = tempfile::tempdir().unwrap();
    let state = State::new(folder.path());
    assert_eq!(state.load_ledger().unwrap(), None);
    state.save_ledger(&ledger).unwrap();
    assert_eq!(state.load_ledger().unwrap(), Some(ledger));
    fs::write(folder.path().join("ledger"), "x").unwrap();
    assert!(state.load_ledger().is_err());
}

#[test]
fn keys_do_not_depend_on_where_a_rule_stands() {
    assert_eq!(keys(&generation("a.toml")), keys(&generation("b.toml")));
}

/// If this fails, files of older versions would be misread: change the number in `FORMAT`, then the bytes here.
#[test]
fn the_format_is_the_one_that_its_number_says() {
    let folder = tempfile::tempdir().unwrap();
    let state = State::new(folder.path());
    state.save(&saved(1)).unwrap();
    assert_eq!(
        digest(&folder.path().join("generation-1")),
        "c6be75869cdfb318"
    );
}

fn digest(path: &Path) -> String {
    blake3::hash(&fs::read(path).unwrap()).to_hex()[..16].to_owned()
}
