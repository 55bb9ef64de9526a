//! What the tests that cross crates have in common.

use std::path::{Path, PathBuf};

/// The project's root.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("tests lies in the root")
        .to_path_buf()
}

/// The folder of a real data set, or `None` with a word on stderr: the test is skipped.
pub fn wbc_data(set: &str) -> Option<PathBuf> {
    let data =
        std::env::var_os("WBC_DATA").map_or_else(|| root().join("../shared/data"), PathBuf::from);
    let found = Some(data.join(set)).filter(|path| path.is_dir());
    if found.is_none() {
        eprintln!("skipped: no WBC_DATA");
    }
    found
}
