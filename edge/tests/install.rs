//! `leuko-edge model install` from outside, killed at random moments: the model in use is always a whole one.

use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use edge::install::Models;
use edge::model::ModelFile;
use minisign::KeyPair;

/// The station's own and a larger one, as they are shipped.
const MODELS: [&str; 2] = ["wbc-nano", "wbc-small"];

/// A data root that trusts one key, and signed models.
struct Place {
    folder: tempfile::TempDir,
    models: [PathBuf; 2],
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let keys = KeyPair::generate_unencrypted_keypair().unwrap();
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models");
        let models = MODELS.map(|name| {
            let bytes = fs::read(shipped.join(name).join("model.int8.onnx")).unwrap();
            let signature = minisign::sign(None, &keys.sk, Cursor::new(&bytes), None, None);
            let path = folder.path().join(format!("{name}.onnx"));
            fs::write(&path, &bytes).unwrap();
            let beside = folder.path().join(format!("{name}.onnx.minisig"));
            fs::write(beside, signature.unwrap().into_string()).unwrap();
            path
        });
        let config = format!(
            "store.root = {:?}\nmodel.public_key = \"{}\"\n",
            folder.path().join("data"),
            keys.pk.to_base64()
        );
        fs::write(folder.path().join("station.toml"), config).unwrap();
        Self { folder, models }
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_leuko-edge"));
        command.arg("model").args(words).arg("--config");
        command.arg(self.folder.path().join("station.toml"));
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        command
    }

    fn install(&self, model: usize) -> Command {
        self.command(&["install", self.models[model].to_str().unwrap()])
    }

    /// Hash of the model that counts, whose file is whole.
    fn active(&self) -> String {
        let models = Models::of(&self.folder.path().join("data"));
        models.active().unwrap().sha256().to_owned()
    }
}

#[test]
fn an_installation_that_is_killed_leaves_a_whole_model_in_use() {
    const KILLS: u64 = 16;
    let place = Place::new();
    let hashes = place
        .models
        .each_ref()
        .map(|path| ModelFile::read(path).unwrap().sha256().to_owned());
    // How long one takes on this machine.
    let mut whole = Duration::MAX;
    for model in [1, 0, 1] {
        let begun = Instant::now();
        assert!(place.install(model).status().unwrap().success());
        whole = whole.min(begun.elapsed());
        assert_eq!(place.active(), hashes[model]);
    }

    let (mut random, mut exchanged) = (1_u64, 0);
    for kill in 0..KILLS {
        let before = place.active();
        let other = usize::from(before == hashes[0]);
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        // Some of them after its end; every other one in its last tenth, where the files are exchanged.
        let part = (random >> 33) % 1000;
        let part = if kill % 2 == 0 { part } else { 900 + part / 5 };
        let mut child = place.install(other).spawn().unwrap();
        thread::sleep(whole * u32::try_from(part).unwrap() / 1000);
        let _ = child.kill();
        let ended = child.wait().unwrap();
        let after = place.active();
        assert!(after == before || after == hashes[other], "{after}");
        assert!(!ended.success() || after == hashes[other]);
        exchanged += u32::from(after != before);
    }
    assert!(exchanged < KILLS as u32, "none was killed in time");
    println!("{KILLS} installations killed within {whole:?}, {exchanged} were over");

    // It can be said again, and nothing of the attempts is left.
    let other = usize::from(place.active() == hashes[0]);
    assert!(place.install(other).status().unwrap().success());
    assert_eq!(place.active(), hashes[other]);
    assert!(place.command(&["rollback"]).status().unwrap().success());
    assert_eq!(place.active(), hashes[1 - other]);
    let left = fs::read_dir(place.folder.path().join("data/model")).unwrap();
    let mut left: Vec<_> = left
        .map(|it| it.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort();
    let mut expected: Vec<_> = hashes.iter().map(String::as_str).collect();
    expected.extend(["active.json", "lock"]);
    expected.sort();
    assert_eq!(left, expected);
}
