use std::collections::BTreeMap;
use std::io::Cursor;

use minisign::KeyPair;
use shared::contract::GoldenField;

use super::*;
use crate::fixture::{TINY, changed, golden};

/// A data root, the one who is trusted, and files to install.
struct Place {
    folder: tempfile::TempDir,
    keys: KeyPair,
    models: Models,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self {
            models: Models::of(&folder.path().join("data")),
            keys: KeyPair::generate_unencrypted_keypair().unwrap(),
            folder,
        }
    }

    /// A file with its signature by `keys`.
    fn signed_by(&self, keys: &KeyPair, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.folder.path().join(name);
        let signature = minisign::sign(None, &keys.sk, Cursor::new(bytes), None, None).unwrap();
        fs::write(&path, bytes).unwrap();
        fs::write(beside(&path), signature.into_string()).unwrap();
        path
    }

    fn signed(&self, name: &str, bytes: &[u8]) -> PathBuf {
        self.signed_by(&self.keys, name, bytes)
    }

    fn install(&self, path: &Path) -> Result<Installed, InstallError> {
        self.models.install(path, Some(&self.keys.pk.to_base64()))
    }

    /// Every file of the data root but the empty lock.
    fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut folders = vec![self.models.folder.clone()];
        let mut files = BTreeMap::new();
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if !path.ends_with("lock") {
                    files.insert(path.clone(), fs::read(path).unwrap());
                }
            }
        }
        files
    }
}

fn beside(path: &Path) -> PathBuf {
    PathBuf::from(format!("{}.minisig", path.display()))
}

/// A good model of that name.
fn good(name: &str) -> Vec<u8> {
    golden(
        |contract| contract.name = name.parse().unwrap(),
        |_: &mut GoldenField| {},
    )
}

#[test]
fn a_good_model_counts_from_now_on_and_the_one_before_is_kept() {
    let place = Place::new();
    let built_in = ModelFile::embedded().sha256().to_owned();
    assert_eq!(place.models.active().unwrap().sha256(), built_in);

    let [first, second, third] = ["first", "second", "third"].map(|name| {
        let installed = place.install(&place.signed(name, &good(name))).unwrap();
        assert_eq!((installed.name.as_str(), installed.already), (name, false));
        assert_eq!(place.models.active().unwrap().sha256(), installed.sha256);
        installed.sha256
    });
    let folder = |sha256: &str| place.models.folder.join(sha256).exists();
    assert_eq!(
        [&first, &second, &third].map(|it| folder(it)),
        [false, true, true]
    );

    assert_eq!(place.models.rollback().unwrap().sha256, second);
    assert_eq!(place.models.active().unwrap().sha256(), second);
    assert_eq!(place.models.rollback().unwrap().sha256, third);
    let again = place.install(&place.folder.path().join("third")).unwrap();
    assert!(again.already && again.sha256 == third);
}

#[test]
fn the_first_one_can_be_taken_back_to_the_built_in_model() {
    let place = Place::new();
    let words = place.models.rollback().unwrap_err().to_string();
    assert!(
        words.ends_with("active.json: no model was installed, there is nothing to go back to"),
        "{words}"
    );
    place.install(&place.signed("m.onnx", &good("m"))).unwrap();
    let built_in = ModelFile::embedded();
    assert_eq!(place.models.rollback().unwrap().sha256, built_in.sha256());
    assert_eq!(place.models.active().unwrap().name(), built_in.name());
}

#[test]
fn every_refusal_leaves_the_active_model_untouched() {
    let place = Place::new();
    place
        .install(&place.signed("before", &good("before")))
        .unwrap();
    let other_keys = KeyPair::generate_unencrypted_keypair().unwrap();
    let model = good("new");
    let missing = |field: &mut GoldenField| field.cells[0].xyxy[2] += 90.0;

    let unsigned = place.folder.path().join("unsigned.onnx");
    fs::write(&unsigned, &model).unwrap();
    let flipped = place.signed("flipped.onnx", &model);
    let mut bytes = model.clone();
    bytes[model.len() / 2] ^= 1;
    fs::write(&flipped, bytes).unwrap();
    let no_signature = place.signed("text.onnx", &model);
    fs::write(beside(&no_signature), "signed, really").unwrap();
    let endless = place.signed("endless.onnx", &model);
    fs::write(beside(&endless), "x".repeat(5000)).unwrap();

    let cases = [
        (
            place.folder.path().join("none.onnx"),
            "none.onnx: cannot be read: No such file",
        ),
        (
            place.folder.path().to_owned(),
            ": not a file, expected an ONNX model",
        ),
        (unsigned, "unsigned.onnx.minisig: No such file"),
        (flipped, "flipped.onnx: not what "),
        (no_signature, "text.onnx.minisig: Invalid encoding"),
        (endless, "endless.onnx.minisig: more than 4096 bytes"),
        (
            place.signed_by(&other_keys, "other.onnx", &model),
            "other.onnx.minisig signs by the key of model.public_key: ",
        ),
        (
            place.signed("empty.onnx", b""),
            ".part/model.onnx: empty, expected an ONNX model",
        ),
        (
            place.signed("cut.onnx", &model[..model.len() / 2]),
            ".part/model.onnx: no ONNX model, or cut short, or damaged",
        ),
        (
            place.signed("newer.onnx", &changed(|contract| contract.version = 99)),
            ".part/model.onnx: contract: ",
        ),
        (
            place.signed("nothing.onnx", TINY),
            ".part/model.onnx: self-test: its contract records no golden field",
        ),
        (
            place.signed("golden.onnx", &golden(|_| {}, missing)),
            "1 missing, 1 unexpected; canvas ",
        ),
    ];
    let untouched = place.files();
    for (path, expected) in cases {
        let words = place.install(&path).unwrap_err().to_string();
        assert!(words.contains(expected), "{words}");
        assert!(place.files() == untouched, "{words}");
    }
    let path = place.signed("good.onnx", &model);
    let words = place.models.install(&path, None).unwrap_err().to_string();
    assert!(words.starts_with("model.public_key is not set"), "{words}");
    let words = place.models.install(&path, Some("RWQ")).unwrap_err();
    assert!(
        words.to_string().starts_with("model.public_key: "),
        "{words}"
    );
    assert!(place.files() == untouched);
    place.install(&path).unwrap();
}

#[test]
fn no_model_is_exchanged_while_a_case_is_open() {
    let place = Place::new();
    let first = place.install(&place.signed("a.onnx", &good("a"))).unwrap();
    let path = place.signed("b.onnx", &good("b"));
    place.models.hold("case-7", &first.sha256).unwrap();
    let untouched = place.files();
    for refused in [place.install(&path), place.models.rollback()] {
        let words = refused.unwrap_err().to_string();
        assert!(words.starts_with("case case-7 is open"), "{words}");
        assert!(place.files() == untouched);
    }
    // A station that starts again with the case open says it again; another case may not.
    place.models.hold("case-7", &first.sha256).unwrap();
    assert!(place.models.hold("case-8", &first.sha256).is_err());
    place.models.release().unwrap();
    place.models.release().unwrap();
    let second = place.install(&path).unwrap();
    let words = place.models.hold("case-8", &first.sha256).unwrap_err();
    assert!(matches!(words, InstallError::Exchanged { .. }), "{words}");
    place.models.hold("case-8", &second.sha256).unwrap();
    assert_eq!(place.models.open_case().unwrap().as_deref(), Some("case-8"));
}

#[test]
fn a_model_that_was_damaged_after_it_was_installed_is_named_and_nothing_takes_its_place() {
    let place = Place::new();
    let old = place.install(&place.signed("a.onnx", &good("a"))).unwrap();
    let new = place.install(&place.signed("b.onnx", &good("b"))).unwrap();
    let file = |sha256: &str| place.models.folder.join(sha256).join(MODEL);
    for sha256 in [&old.sha256, &new.sha256] {
        let mut bytes = fs::read(file(sha256)).unwrap();
        bytes[100] ^= 1;
        fs::write(file(sha256), bytes).unwrap();
    }
    let words = place.models.active().unwrap_err().to_string();
    assert!(
        words.contains(&format!("{}/model.onnx: SHA-256 is ", new.sha256)),
        "{words}"
    );
    let untouched = place.files();
    let words = place.models.rollback().unwrap_err().to_string();
    assert!(
        words.contains(&format!("expected {}", old.sha256)),
        "{words}"
    );
    assert!(place.files() == untouched);
}

#[test]
fn a_damaged_record_is_refused_and_never_leads_out_of_the_folder() {
    let place = Place::new();
    make_folder(&place.models.folder).unwrap();
    let entry = |sha256: &str| {
        format!(r#"{{"current":{{"name":"m","sha256":{sha256:?}}},"previous":null}}"#)
    };
    for (text, expected) in [
        (String::new(), "active.json: EOF while parsing"),
        ("{}x".to_owned(), "active.json: trailing characters"),
        (
            entry("../../etc"),
            "active.json: \"../../etc\" is no SHA-256",
        ),
        (entry(&"A".repeat(64)), "is no SHA-256"),
    ] {
        fs::write(place.models.record_path(), text).unwrap();
        let words = place.models.active().unwrap_err().to_string();
        assert!(words.contains(expected), "{words}");
    }
}

#[test]
fn two_programs_do_not_install_at_once() {
    let place = Place::new();
    let path = place.signed("a.onnx", &good("a"));
    let lock = place.models.lock().unwrap();
    let words = place.install(&path).unwrap_err().to_string();
    assert!(
        words.contains("model/lock: held by another program"),
        "{words}"
    );
    drop(lock);
    place.install(&path).unwrap();
}
