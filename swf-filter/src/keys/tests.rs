use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::thread;

use jiff::Timestamp;
use swf_filter_core::seal::SealingKey;
use swf_filter_core::sigv4::SigningKey;
use tempfile::TempDir;

use super::*;
use crate::listener::settings::Paths;

const ALICE: &str = "arn:aws:iam::111122223333:user/team/alice";
const BOB: &str = "arn:aws:iam::111122223333:user/bob";
const NOW: Timestamp = Timestamp::UNIX_EPOCH;

struct Stage {
    folder: TempDir,
    places: Places,
    store: Store,
}

fn stage() -> Stage {
    let folder = tempfile::tempdir().unwrap();
    let places = Places::with_credentials(&paths(folder.path()), None);
    Stage {
        store: Store::new(places.clone()),
        places,
        folder,
    }
}

fn paths(folder: &Path) -> Paths {
    Paths {
        state: folder.join("state"),
        keys: folder.join("keys"),
        ..Paths::default()
    }
}

impl Stage {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn load(&self) -> Result<Keys, KeysError> {
        Keys::load(&self.places)
    }
}

fn signature(secret: &Secret) -> String {
    SigningKey::derive(secret, "20150830", "us-east-1", "swf").sign("text")
}

#[test]
fn a_new_key_can_be_looked_up() {
    let stage = stage();
    assert!(stage.load().unwrap().is_empty());
    let new = stage.store.create(ALICE, None, NOW).unwrap();
    let other = stage.store.create(BOB, None, NOW).unwrap();
    let keys = stage.load().unwrap();
    assert_eq!(keys.len(), 2);
    let key = keys.get(&new.info.access_key_id).unwrap();
    assert_eq!((&*key.user, key.status), (ALICE, Status::Active));
    let [secret, others] = [&new, &other].map(|new| Secret::new(new.secret_access_key.to_string()));
    assert_eq!(signature(&key.secret), signature(&secret));
    assert_ne!(signature(&key.secret), signature(&others));
    assert!(keys.get("AKIAIOSFODNN7EXAMPLE").is_none());
}

#[test]
fn ids_and_secrets_have_the_form_of_aws() {
    let new = stage().store.create(ALICE, None, NOW).unwrap();
    let id = new.info.access_key_id.strip_prefix("AKIA").unwrap();
    assert_eq!(id.len(), 16);
    assert!(
        id.bytes()
            .all(|byte| matches!(byte, b'A'..=b'Z' | b'2'..=b'7'))
    );
    assert_eq!(new.secret_access_key.len(), 40);
    assert_eq!(new.info.created, "1970-01-01T00:00:00Z");
}

#[test]
fn secrets_are_neither_printed_nor_on_disk() {
    let stage = stage();
    let new = stage.store.create(ALICE, None, NOW).unwrap();
    let secret = &**new.secret_access_key;
    let keys = stage.load().unwrap();
    assert!(!format!("{new:?} {keys:?}").contains(secret));
    let bytes = fs::read(stage.places.store()).unwrap();
    for text in [secret, ALICE, &new.info.access_key_id] {
        let found = bytes
            .windows(text.len())
            .any(|window| window == text.as_bytes());
        assert!(!found, "{text}");
    }
    let mode = |name| fs::metadata(stage.path(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("state/access-keys"), 0o600);
    assert_eq!(mode("keys/store.key"), 0o600);
}

#[test]
fn keys_are_disabled_enabled_and_deleted() {
    let stage = stage();
    let id = stage
        .store
        .create(ALICE, None, NOW)
        .unwrap()
        .info
        .access_key_id;
    let status = || Some(stage.load().unwrap().get(&id)?.status);
    stage.store.set_status(&id, Status::Inactive).unwrap();
    assert_eq!(status(), Some(Status::Inactive));
    stage.store.set_status(&id, Status::Active).unwrap();
    assert_eq!(status(), Some(Status::Active));
    assert_eq!(stage.store.delete(&id).unwrap().access_key_id, id);
    assert_eq!(status(), None);
    assert!(matches!(
        stage.store.delete(&id),
        Err(KeysError::Unknown { .. })
    ));
}

#[test]
fn a_user_has_two_keys_at_most() {
    let stage = stage();
    let first = stage.store.create(ALICE, None, NOW).unwrap();
    stage.store.create(ALICE, None, NOW).unwrap();
    assert!(matches!(
        stage.store.create(ALICE, None, NOW),
        Err(KeysError::TooMany { .. })
    ));
    stage.store.create(BOB, None, NOW).unwrap();
    stage.store.delete(&first.info.access_key_id).unwrap();
    stage.store.create(ALICE, None, NOW).unwrap();
}

#[test]
fn only_users_have_keys() {
    let stage = stage();
    for text in [
        "alice",
        "arn:aws:iam::111122223333:root",
        "arn:aws:iam::111122223333:role/alice",
        "arn:aws:sts::111122223333:assumed-role/alice/session",
    ] {
        let made = stage.store.create(text, None, NOW);
        assert!(matches!(made, Err(KeysError::NotUser { .. })), "{text}");
    }
    assert!(!stage.places.store().exists());
}

#[test]
fn commands_at_the_same_time_lose_nothing() {
    let stage = stage();
    let made: Vec<String> = thread::scope(|scope| {
        let threads: Vec<_> = (0..16)
            .map(|number| {
                let store = stage.store.clone();
                scope.spawn(move || {
                    let user = format!("arn:aws:iam::111122223333:user/user-{number}");
                    store.create(&user, None, NOW).unwrap().info.access_key_id
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    let keys = stage.load().unwrap();
    assert_eq!(keys.len(), 16);
    assert!(made.iter().all(|id| keys.get(id).is_some()));
}

#[test]
fn readers_see_a_whole_store_while_it_is_changed() {
    let stage = stage();
    let id = stage
        .store
        .create(ALICE, None, NOW)
        .unwrap()
        .info
        .access_key_id;
    thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for status in [Status::Inactive, Status::Active].repeat(20) {
                stage.store.set_status(&id, status).unwrap();
            }
        });
        let mut keys = stage.load().unwrap();
        while !writer.is_finished() {
            keys = keys.reload(&stage.places).unwrap();
            assert_eq!(keys.len(), 1);
        }
    });
}

#[test]
fn an_altered_store_is_refused() {
    let stage = stage();
    stage.store.create(ALICE, None, NOW).unwrap();
    let path = stage.places.store().to_owned();
    let whole = fs::read(&path).unwrap();
    for at in 0..whole.len() {
        let mut altered = whole.clone();
        altered[at] ^= 1;
        fs::write(&path, &altered).unwrap();
        let error = stage.load().unwrap_err();
        assert!(
            matches!(error, KeysError::Altered { .. } | KeysError::BadKeys { .. }),
            "byte {at}: {error}"
        );
    }
    for length in [0, 10, 26, 27, whole.len() - 1] {
        fs::write(&path, &whole[..length]).unwrap();
        assert!(stage.load().is_err(), "{length} bytes");
        // A change must not replace what it cannot read, either.
        assert!(
            stage.store.create(BOB, None, NOW).is_err(),
            "{length} bytes"
        );
    }
    fs::write(&path, &whole).unwrap();
    assert_eq!(stage.load().unwrap().len(), 1);
}

#[test]
fn a_store_of_another_key_is_refused() {
    let [stage, other] = [stage(), stage()];
    stage.store.create(ALICE, None, NOW).unwrap();
    other.store.create(ALICE, None, NOW).unwrap();
    fs::copy(other.places.store(), stage.places.store()).unwrap();
    assert!(matches!(stage.load(), Err(KeysError::Altered { .. })));
    fs::remove_file(stage.path("keys/store.key")).unwrap();
    assert!(matches!(stage.load(), Err(KeysError::NoKey { .. })));
    assert!(stage.store.create(BOB, None, NOW).is_err());
    assert!(!stage.path("keys/store.key").exists());
}

#[test]
fn an_old_store_is_refused() {
    let stage = stage();
    let id = stage
        .store
        .create(ALICE, None, NOW)
        .unwrap()
        .info
        .access_key_id;
    let old = fs::read(stage.places.store()).unwrap();
    stage.store.delete(&id).unwrap();
    let keys = stage.load().unwrap();
    fs::write(stage.places.store(), &old).unwrap();
    assert!(matches!(
        stage.load(),
        Err(KeysError::RolledBack {
            found: 1,
            expected: 2,
            ..
        })
    ));
    assert!(matches!(
        stage.store.create(BOB, None, NOW),
        Err(KeysError::RolledBack { .. })
    ));
    fs::remove_file(stage.places.store()).unwrap();
    assert!(matches!(
        stage.load(),
        Err(KeysError::RolledBack {
            found: 0,
            expected: 2,
            ..
        })
    ));

    // As the error says: who did it on purpose can have it.
    fs::write(stage.places.store(), &old).unwrap();
    fs::write(stage.path("keys/store.mark"), "1\n").unwrap();
    assert_eq!(stage.load().unwrap().len(), 1);
    // A listener that knows better does not take it all the same.
    assert!(matches!(
        keys.reload(&stage.places),
        Err(KeysError::RolledBack {
            found: 1,
            expected: 2,
            ..
        })
    ));
    fs::remove_file(stage.path("keys/store.mark")).unwrap();
    assert!(matches!(
        stage.load(),
        Err(KeysError::NoMark { found: 1, .. })
    ));
}

#[test]
fn a_change_that_was_cut_off_is_none_or_whole() {
    let stage = stage();
    stage.store.create(ALICE, None, NOW).unwrap();
    fs::write(
        stage.path("state/.access-keys.swf-filter"),
        "swf-filter acc",
    )
    .unwrap();
    assert_eq!(stage.load().unwrap().len(), 1);
    stage.store.create(BOB, None, NOW).unwrap();
    assert_eq!(stage.load().unwrap().len(), 2);
    // Cut off between the store and its number.
    fs::write(stage.path("keys/store.mark"), "1\n").unwrap();
    assert_eq!(stage.load().unwrap().len(), 2);
    stage.store.create(BOB, None, NOW).unwrap();
    assert_eq!(fs::read(stage.path("keys/store.mark")).unwrap(), b"3\n");
}

#[test]
fn a_key_knows_the_id_that_its_user_had() {
    let stage = stage();
    let new = stage.store.create(ALICE, Some("AIDAONE"), NOW).unwrap();
    let other = stage.store.create(ALICE, None, NOW).unwrap();
    let keys = stage.load().unwrap();
    let id = |new: &NewKey| {
        let key = keys.get(&new.info.access_key_id).unwrap();
        key.user_id.clone()
    };
    assert_eq!(
        [id(&new).as_deref(), id(&other).as_deref()],
        [Some("AIDAONE"), None]
    );
    let listed = stage.store.list().unwrap();
    assert_eq!([&new.info, &other.info], [&listed[0], &listed[1]]);
}

#[test]
fn a_store_of_the_format_before_is_read_and_becomes_one_of_this() {
    let stage = stage();
    stage.store.create(BOB, None, NOW).unwrap();
    let key = fs::read(stage.path(STORE_KEY)).unwrap();
    let secret = "a secret of forty characters, of no use.";
    let before = (
        1u64,
        [("AKIAONE", ALICE, secret, Status::Active, 0i64)].to_vec(),
    );
    let text = postcard::to_extend(&before, Vec::new()).unwrap();
    let sealed = SealingKey::new(key.try_into().unwrap()).seal(store::FORMAT_1, &text, [7; 24]);
    let bytes = [store::FORMAT_1.as_slice(), &sealed].concat();
    fs::write(stage.places.store(), &bytes).unwrap();
    let keys = stage.load().unwrap();
    let key = keys.get("AKIAONE").unwrap();
    assert_eq!((&*key.user, &key.user_id, keys.len()), (ALICE, &None, 1));
    assert_eq!(
        signature(&key.secret),
        signature(&Secret::new(secret.into()))
    );
    stage.store.create(BOB, Some("AIDABOB"), NOW).unwrap();
    let now = fs::read(stage.places.store()).unwrap();
    assert!(now.starts_with(store::FORMAT));
    assert_eq!(keys.reload(&stage.places).unwrap().len(), 2);
    // Neither can be taken for the other.
    let mut mixed = bytes;
    mixed[..26].copy_from_slice(store::FORMAT);
    fs::write(stage.places.store(), &mixed).unwrap();
    assert!(matches!(stage.load(), Err(KeysError::Altered { .. })));
}

const STORE_KEY: &str = "keys/store.key";

#[test]
fn a_store_under_a_new_key_opens_with_no_other() {
    let stage = stage();
    let new = stage.store.create(ALICE, None, NOW).unwrap();
    let keys = stage.load().unwrap();
    let [store, key] = ["state/access-keys", STORE_KEY].map(|name| stage.path(name));
    let old = [&store, &key].map(|path| fs::read(path).unwrap());
    assert_eq!(stage.store.rekey().unwrap(), 1);
    let now = [&store, &key].map(|path| fs::read(path).unwrap());
    assert!(now[1].len() == 32 && now[1] != old[1]);
    assert_eq!(mode(&key), 0o600);
    // A listener takes it, with the same keys in it.
    let keys = keys.reload(&stage.places).unwrap();
    let found = keys.get(&new.info.access_key_id).unwrap();
    let secret = Secret::new(new.secret_access_key.to_string());
    assert_eq!(signature(&found.secret), signature(&secret));
    // Whoever has the key from before opens nothing with it, and can have nothing taken for a store.
    let opens = |key: &[u8], sealed: &[u8]| {
        let sealed = sealed.strip_prefix(store::FORMAT).unwrap();
        SealingKey::new(key.try_into().unwrap())
            .open(store::FORMAT, sealed)
            .is_ok()
    };
    assert!(opens(&old[1], &old[0]) && !opens(&old[1], &now[0]) && opens(&now[1], &now[0]));
    fs::write(&store, &old[0]).unwrap();
    assert!(matches!(stage.load(), Err(KeysError::Altered { .. })));
    fs::write(&store, &now[0]).unwrap();
    stage.store.create(BOB, None, NOW).unwrap();
    assert_eq!(stage.load().unwrap().len(), 2);
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

type Next = fn(&Stage);

#[test]
fn wherever_a_new_key_is_cut_off_the_store_opens() {
    let names = [STORE_KEY, "state/access-keys", "keys/store.mark"];
    let stage = stage();
    stage.store.create(ALICE, None, NOW).unwrap();
    let keys = stage.load().unwrap();
    let read = || names.map(|name| fs::read(stage.path(name)).unwrap());
    let before = read();
    stage.store.rekey().unwrap();
    let after = read();
    let both = [&*after[0], &*before[0]].concat();
    let steps = [
        [&before[0], &before[1], &before[2]],
        [&both, &before[1], &before[2]],
        [&both, &after[1], &before[2]],
        [&both, &after[1], &after[2]],
        [&after[0], &after[1], &after[2]],
    ];
    let put = |files: [&Vec<u8>; 3]| {
        for (name, bytes) in names.iter().zip(files) {
            fs::write(stage.path(name), bytes).unwrap();
        }
    };
    let next: [Next; 2] = [
        |stage| {
            stage.store.rekey().unwrap();
        },
        |stage| {
            stage.store.create(BOB, None, NOW).unwrap();
        },
    ];
    for (number, step) in steps.into_iter().enumerate() {
        put(step);
        let keys = keys.reload(&stage.places).unwrap();
        assert_eq!(keys.len(), 1, "after step {number}");
        for next in next {
            put(step);
            next(&stage);
            keys.reload(&stage.places).unwrap();
            let now = read();
            assert_eq!(now[0].len(), 32, "after step {number}");
            // Once both were there, neither a change nor another try goes on with the key from before.
            assert!(number == 0 || now[0] != before[0], "after step {number}");
        }
    }
}

#[test]
fn a_new_key_is_made_where_nothing_is_sealed_yet() {
    let stage = stage();
    assert_eq!(stage.store.rekey().unwrap(), 0);
    stage.store.create(ALICE, None, NOW).unwrap();
    assert_eq!(stage.store.rekey().unwrap(), 1);
    // But not where something is, and its key is not there.
    fs::remove_file(stage.path(STORE_KEY)).unwrap();
    assert!(matches!(stage.store.rekey(), Err(KeysError::NoKey { .. })));
    assert!(!stage.path(STORE_KEY).exists());
}

#[test]
fn readers_see_a_whole_store_while_its_key_is_replaced() {
    let stage = stage();
    stage.store.create(ALICE, None, NOW).unwrap();
    thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for _ in 0..40 {
                stage.store.rekey().unwrap();
            }
        });
        let mut keys = stage.load().unwrap();
        while !writer.is_finished() {
            keys = keys.reload(&stage.places).unwrap();
            assert_eq!(keys.len(), 1);
        }
    });
}

#[test]
fn a_credential_is_not_what_a_new_key_is_made_for() {
    let stage = stage();
    stage.store.create(ALICE, None, NOW).unwrap();
    let credentials = stage.path("credentials");
    fs::create_dir(&credentials).unwrap();
    fs::copy(stage.path(STORE_KEY), credentials.join("store.key")).unwrap();
    let places = Places::with_credentials(&paths(stage.folder.path()), Some(credentials.clone()));
    let old = fs::read(stage.path(STORE_KEY)).unwrap();
    Store::new(places.clone()).rekey().unwrap();
    assert_ne!(fs::read(stage.path(STORE_KEY)).unwrap(), old);
    stage.load().unwrap();
    // What systemd handed over is the one from before, until it does so again.
    assert!(matches!(
        Keys::load(&places),
        Err(KeysError::Altered { .. })
    ));
    fs::copy(stage.path(STORE_KEY), credentials.join("store.key")).unwrap();
    assert_eq!(Keys::load(&places).unwrap().len(), 1);
}

#[test]
fn keys_are_read_again_when_any_file_of_theirs_changes() {
    let stage = stage();
    let watched = stage.places.watched();
    for name in ["state/access-keys", STORE_KEY, "keys/session.keys"] {
        assert!(watched.contains(&stage.path(name)), "{name}");
    }
}

#[test]
fn keys_that_others_can_read_are_refused() {
    let stage = stage();
    stage.store.create(ALICE, None, NOW).unwrap();
    rotate(&stage.places, KEEP).unwrap();
    let check = |name: &str, mode, is_right: bool| {
        fs::set_permissions(stage.path(name), Permissions::from_mode(mode)).unwrap();
        let read = stage
            .load()
            .map(|_| ())
            .and(session_keys(&stage.places).map(|_| ()));
        match read {
            Ok(()) => assert!(is_right, "{name} {mode:o}"),
            Err(KeysError::Mode { mode: found, .. }) => assert!(!is_right && found == mode),
            Err(error) => panic!("{name} {mode:o}: {error}"),
        }
        fs::set_permissions(stage.path(name), Permissions::from_mode(0o600)).unwrap();
    };
    for name in ["keys/store.key", "keys/session.keys"] {
        for mode in [0o640, 0o604, 0o620, 0o601] {
            check(name, mode, false);
        }
        check(name, 0o600, true);
        check(name, 0o400, true);
    }
}

#[test]
fn credentials_come_before_files() {
    let stage = stage();
    stage.store.create(ALICE, None, NOW).unwrap();
    rotate(&stage.places, KEEP).unwrap();
    let credentials = stage.path("credentials");
    fs::create_dir(&credentials).unwrap();
    for name in ["store.key", "session.keys"] {
        let (from, to) = (stage.path("keys").join(name), credentials.join(name));
        fs::copy(&from, &to).unwrap();
        fs::set_permissions(&to, Permissions::from_mode(0o440)).unwrap();
        fs::remove_file(from).unwrap();
    }
    assert!(stage.load().is_err());
    let places = Places::with_credentials(&paths(stage.folder.path()), Some(credentials));
    assert_eq!(Keys::load(&places).unwrap().len(), 1);
    assert_eq!(session_keys(&places).unwrap().len(), 1);
    // The number of changes need not be seen there, but counts if it is.
    fs::write(stage.path("keys/store.mark"), "2\n").unwrap();
    assert!(matches!(
        Keys::load(&places),
        Err(KeysError::RolledBack { .. })
    ));
    fs::remove_file(stage.path("keys/store.mark")).unwrap();
    assert_eq!(Keys::load(&places).unwrap().len(), 1);
}

#[test]
fn a_key_of_another_length_is_refused() {
    let stage = stage();
    stage.store.create(ALICE, None, NOW).unwrap();
    let path = stage.path("keys/store.key");
    let key = fs::read(&path).unwrap();
    for bytes in [&key[..31], &[&*key, b"\n"].concat(), b""] {
        fs::write(&path, bytes).unwrap();
        assert!(matches!(stage.load(), Err(KeysError::BadKeys { .. })));
    }
    fs::write(&path, &key).unwrap();
    stage.load().unwrap();
}

fn opens(keys: &[(u32, SealingKey)], sealed: &[u8]) -> bool {
    keys.iter()
        .any(|(_, key)| key.open(b"test", sealed).is_ok())
}

#[test]
fn a_rotation_keeps_the_last_keys() {
    let stage = stage();
    assert!(matches!(
        session_keys(&stage.places),
        Err(KeysError::NoSessionKeys { .. })
    ));
    assert_eq!(rotate(&stage.places, KEEP).unwrap(), [1]);
    let sealed = session_keys(&stage.places).unwrap()[0]
        .1
        .seal(b"test", b"text", [0; 24]);
    assert_eq!(rotate(&stage.places, KEEP).unwrap(), [2, 1]);
    assert_eq!(rotate(&stage.places, KEEP).unwrap(), [3, 2, 1]);
    let keys = session_keys(&stage.places).unwrap();
    assert_eq!(
        keys.iter().map(|(number, _)| *number).collect::<Vec<_>>(),
        [3, 2, 1]
    );
    assert!(opens(&keys, &sealed));
    assert!(keys[0].1.open(b"test", &sealed).is_err());
    assert_eq!(rotate(&stage.places, KEEP).unwrap(), [4, 3, 2]);
    assert!(!opens(&session_keys(&stage.places).unwrap(), &sealed));
    assert_eq!(rotate(&stage.places, 0).unwrap(), [5]);
}

#[test]
fn rotations_at_the_same_time_are_as_many_keys() {
    let stage = stage();
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| rotate(&stage.places, 20).unwrap());
        }
    });
    let keys = session_keys(&stage.places).unwrap();
    assert_eq!(
        keys.iter().map(|(number, _)| *number).collect::<Vec<_>>(),
        [8, 7, 6, 5, 4, 3, 2, 1]
    );
}

#[test]
fn session_keys_that_are_not_right_are_refused() {
    let stage = stage();
    rotate(&stage.places, KEEP).unwrap();
    let path = stage.path("keys/session.keys");
    let text = fs::read_to_string(&path).unwrap();
    let encoded = text.trim_end().strip_prefix("1 ").unwrap();
    for wrong in [
        String::new(),
        text.replace(' ', "  "),
        format!("{text}{text}"),
        format!("{text}2\n"),
        format!("x {encoded}\n"),
        format!("1 {}\n", &encoded[1..]),
        format!("1 {encoded}AAAA\n"),
        format!("{text}\n"),
    ] {
        fs::write(&path, &wrong).unwrap();
        assert!(
            matches!(session_keys(&stage.places), Err(KeysError::BadKeys { .. })),
            "{wrong}"
        );
        assert!(rotate(&stage.places, KEEP).is_err(), "{wrong}");
    }
    fs::write(&path, format!("{text}7 {encoded}\n")).unwrap();
    assert_eq!(session_keys(&stage.places).unwrap().len(), 2);
    assert_eq!(rotate(&stage.places, KEEP).unwrap(), [8, 1, 7]);
}
