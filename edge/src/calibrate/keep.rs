//! The calibrations of a data root: `calibration.json` counts, `calibrations/` has each one that ever
//! did and the pictures of their blank fields.

use std::fs::{self, File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use shared::geometry::Size;

use super::record::{Calibration, Content, VERSION, id_of};
use crate::atomic::{OutputError, make_folder, write_file};
use crate::held::HeldFile;
use crate::model::hexadecimal;
use crate::picture::{self, Picture};
use crate::text_file;

/// The one that counts.
pub const FILE: &str = "calibration.json";

/// Folder of all of them.
pub const FOLDER: &str = "calibrations";

/// Held while one is made.
const LOCK: &str = "calibration.lock";

/// Largest file that is read, bytes; one has 2,000.
const BYTES_MAX: u64 = 1 << 16;

/// Why a calibration was not read or kept.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// The file cannot be read.
    #[error("{path}: cannot be read: {reason}")]
    Unreadable {
        /// The file.
        path: String,
        /// Why.
        reason: String,
    },
    /// The text is no calibration; the reason has line and column.
    #[error("{path}: {reason}, expected a calibration")]
    Text {
        /// The file.
        path: String,
        /// What is wrong, and where.
        reason: String,
    },
    /// A newer program wrote it.
    #[error(
        "{path}: version {found}, expected 1 to {VERSION}: made by another version of the program"
    )]
    Version {
        /// The file.
        path: String,
        /// In it.
        found: u32,
    },
    /// The content is not what the id was made of.
    #[error("{path}: id {found}, expected {expected} of its content: damaged, or changed by hand")]
    Id {
        /// The file.
        path: String,
        /// Of the content.
        expected: String,
        /// In it.
        found: String,
    },
    /// A number or name that cannot be.
    #[error("{path}: {what} is {found}, expected {expected}")]
    Value {
        /// The file.
        path: String,
        /// Which.
        what: &'static str,
        /// In it.
        found: String,
        /// Its range.
        expected: &'static str,
    },
    /// The blank field's picture is not what was kept.
    #[error("{path}: {found}, expected {expected}")]
    Picture {
        /// The file.
        path: String,
        /// What is there.
        found: String,
        /// What was kept.
        expected: String,
    },
    /// Another program makes a calibration.
    #[error("{path}: held by another program that calibrates")]
    Busy {
        /// The lock.
        path: String,
    },
    /// The disk.
    #[error(transparent)]
    Output(#[from] OutputError),
}

/// The file, around a content whose bytes the id is made of.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Envelope<'a> {
    version: u32,
    id: String,
    #[serde(borrow)]
    calibration: &'a RawValue,
}

/// What every version begins with.
#[derive(Deserialize)]
struct Head {
    version: u32,
}

/// The calibration of a data root; `None` when none was ever made.
///
/// # Errors
/// When there is a file and it is damaged, foreign or of a newer program.
pub fn load(root: &Path) -> Result<Option<Calibration>, KeepError> {
    let path = root.join(FILE);
    match fs::symlink_metadata(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        _ => read(&path).map(Some),
    }
}

/// One file: the one that counts, or one of the folder.
///
/// # Errors
/// When it cannot be read, is damaged, foreign or of a newer program.
pub fn read(path: &Path) -> Result<Calibration, KeepError> {
    let named = || path.display().to_string();
    let text = read_text(path)?;
    let no_text = |error: serde_json::Error| KeepError::Text {
        path: named(),
        reason: error.to_string(),
    };
    let Head { version } = serde_json::from_str(&text).map_err(no_text)?;
    if !(1..=VERSION).contains(&version) {
        let (path, found) = (named(), version);
        return Err(KeepError::Version { path, found });
    }
    let envelope: Envelope<'_> = serde_json::from_str(&text).map_err(no_text)?;
    let expected = id_of(envelope.calibration.get());
    if envelope.id != expected {
        let (path, found) = (named(), envelope.id);
        return Err(KeepError::Id {
            path,
            expected,
            found,
        });
    }
    let content: Content = serde_json::from_str(envelope.calibration.get()).map_err(no_text)?;
    content
        .check()
        .map_err(|(what, found, expected)| KeepError::Value {
            path: named(),
            what,
            found,
            expected,
        })?;
    Ok(Calibration::kept(envelope.id, content))
}

/// The picture of the blank field, reduced, for
/// [`FieldWatch::recall_blank`](field::FieldWatch::recall_blank); `None` when none was shown.
///
/// # Errors
/// When its file is missing or not what was kept.
pub fn load_blank(root: &Path, calibration: &Calibration) -> Result<Option<Picture>, KeepError> {
    let Some(blank) = &calibration.content().blank else {
        return Ok(None);
    };
    let path = root.join(FOLDER).join(&blank.picture);
    let refuse = |found: String, expected: String| KeepError::Picture {
        path: path.display().to_string(),
        found,
        expected,
    };
    let a_picture = || "the picture of the blank field".to_owned();
    let bytes = picture::read_bytes(&path).map_err(|it| refuse(it.to_string(), a_picture()))?;
    let sha256 = hexadecimal(&Sha256::digest(&bytes));
    if sha256 != blank.sha256 {
        let (found, expected) = (format!("SHA-256 {sha256}"), blank.sha256.clone());
        return Err(refuse(found, expected));
    }
    let picture = picture::decode(&bytes).map_err(|it| refuse(it.to_string(), a_picture()))?;
    match picture.size() == blank.size {
        true => Ok(Some(picture)),
        false => Err(refuse(picture.size().to_string(), blank.size.to_string())),
    }
}

/// File name of a blank field's picture.
pub(super) fn picture_name(sha256: &str) -> String {
    format!("blank-{sha256}.png")
}

/// The right to make a calibration in a data root; given back when dropped.
#[derive(Debug)]
pub struct Keeper {
    root: PathBuf,
    _lock: HeldFile,
}

impl Keeper {
    /// Takes it; the data root is made when it is not there.
    ///
    /// # Errors
    /// When another program has it, or the data root cannot be written.
    pub fn of(root: &Path) -> Result<Self, KeepError> {
        make_folder(&root.join(FOLDER))?;
        let path = root.join(LOCK);
        let refuse = |error| KeepError::Output(OutputError::at(&path, error));
        let lock = File::create(&path).map_err(refuse)?;
        let lock = HeldFile::take(lock).map_err(|refused| match refused {
            TryLockError::WouldBlock => KeepError::Busy {
                path: path.display().to_string(),
            },
            TryLockError::Error(error) => refuse(error),
        })?;
        Ok(Self {
            root: root.to_owned(),
            _lock: lock,
        })
    }

    /// Keeps a content as the calibration that counts, and beside all that ever did.
    ///
    /// # Errors
    /// When the disk refuses; the one before counts then.
    pub fn keep(&self, content: Content) -> Result<Calibration, KeepError> {
        let path = self.root.join(FILE);
        let no_words = |error: serde_json::Error| KeepError::Text {
            path: path.display().to_string(),
            reason: error.to_string(),
        };
        let (calibration, text) = Calibration::seal(content).map_err(no_words)?;
        let raw = RawValue::from_string(text).map_err(no_words)?;
        let envelope = Envelope {
            version: VERSION,
            id: calibration.id().to_owned(),
            calibration: &raw,
        };
        let mut bytes = serde_json::to_vec_pretty(&envelope).map_err(no_words)?;
        bytes.push(b'\n');
        let history = format!("{}.json", calibration.id());
        write_file(&self.root.join(FOLDER).join(history), &bytes)?;
        write_file(&path, &bytes)?;
        Ok(calibration)
    }

    /// Keeps a blank field's picture: file name and SHA-256.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn keep_picture(&self, rgb: &[u8], size: Size) -> Result<(String, String), KeepError> {
        let folder = self.root.join(FOLDER);
        let mut png = Vec::new();
        PngEncoder::new_with_quality(&mut png, CompressionType::Best, FilterType::Adaptive)
            .write_image(rgb, size.width, size.height, ExtendedColorType::Rgb8)
            .map_err(|error| OutputError::at(&folder, std::io::Error::other(error)))?;
        let sha256 = hexadecimal(&Sha256::digest(&png));
        let name = picture_name(&sha256);
        write_file(&folder.join(&name), &png)?;
        Ok((name, sha256))
    }

    /// Moves a file that cannot be read out of the way, into the folder, and says where it lies now;
    /// `None` when there is none.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn put_aside(&self) -> Result<Option<PathBuf>, KeepError> {
        let path = self.root.join(FILE);
        let refuse = |error| KeepError::Output(OutputError::at(&path, error));
        let free = (1..).map(|number| format!("unreadable-{number}.json"));
        let mut free = free.map(|name| self.root.join(FOLDER).join(name));
        let aside = free.find(|it| fs::symlink_metadata(it).is_err());
        let aside = aside.expect("numbers do not end");
        match fs::rename(&path, &aside) {
            Ok(()) => Ok(Some(aside)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(refuse(error)),
        }
    }
}

fn read_text(path: &Path) -> Result<String, KeepError> {
    text_file::read(path, BYTES_MAX).map_err(|reason| KeepError::Unreadable {
        path: path.display().to_string(),
        reason,
    })
}
