//! Did the one whom the configuration trusts make this file?

use std::path::{Path, PathBuf};

use minisign_verify::{PublicKey, Signature};

use super::InstallError;
use crate::model::ModelFile;
use crate::text_file;

/// Largest signature that is read, bytes; they have about 300.
const BYTES_MAX: u64 = 4096;

/// The text of the signature beside `file`, if `key` made it for the bytes of `model`.
pub(super) fn signed(model: &ModelFile, file: &Path, key: &str) -> Result<String, InstallError> {
    let key = PublicKey::from_base64(key).map_err(|error| InstallError::Key(error.to_string()))?;
    let mut path = file.as_os_str().to_owned();
    path.push(".minisig");
    let path = PathBuf::from(path);
    let none = |reason: String| InstallError::NoSignature {
        path: path.display().to_string(),
        reason,
    };
    let text = text_file::read(&path, BYTES_MAX).map_err(none)?;
    let signature = Signature::decode(&text).map_err(|error| none(error.to_string()))?;
    // Only of the whole file's hash (minisign's own default), not the older kind.
    key.verify(model.bytes(), &signature, false)
        .map_err(|error| InstallError::Signature {
            file: model.name().to_owned(),
            path: path.display().to_string(),
            reason: error.to_string(),
        })?;
    Ok(text)
}
