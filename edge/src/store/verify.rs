//! Whether everything is as it was recorded; reads only.

use std::path::{Path, PathBuf};

use super::chain::{CHAIN_BYTES_MAX, Head, Picture, Scan, Tail, manifest_line, scan, sha256};
use super::database::Database;
use super::error::{Flaw, StoreError};
use super::folder::{self, Layout, MANIFEST};
use super::{PICTURE_BYTES_MAX, retention};
use crate::case::text::CaseId;

/// What was looked at, and what is wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Verified {
    /// Cases.
    pub cases: u64,
    /// Records of all chains.
    pub records: u64,
    /// Pictures whose bytes were compared with their hash.
    pub pictures: u64,
    /// The first flaw of each chain, the station's before the cases' in order of their names; then
    /// what belongs to none.
    pub flaws: Vec<Flaw>,
}

impl Verified {
    /// The first thing that is wrong.
    pub fn first_flaw(&self) -> Option<&Flaw> {
        self.flaws.first()
    }
}

/// Checks the data root: every chain, manifest and picture, and the database against them.
///
/// A crash leaves flaws that [`Store::open`](super::Store::open) repairs: on data of a station that
/// was killed, open the store before.
///
/// # Errors
/// When the disk cannot be read, or the database is of a later version.
pub fn verify(root: &Path) -> Result<Verified, StoreError> {
    let layout = Layout::new(root);
    let mut verified = Verified::default();
    let mut late_flaws = Vec::new();
    let database = match Database::open_to_read(&layout.database()) {
        Ok(Some(database)) => Some(database),
        Ok(None) => {
            late_flaws.push(flaw(layout.database(), None, "the database", "nothing"));
            None
        }
        Err(error) if error.is_damage() => {
            late_flaws.push(database_flaw(&layout, &error));
            None
        }
        Err(error) => return Err(error),
    };
    let (cases, strange) = layout.case_folders()?;
    let strange = strange
        .into_iter()
        .map(|p| flaw(p, None, "a case folder", "something else"));
    late_flaws.extend(strange);
    if let Some(database) = &database {
        match database.cases() {
            Ok(known) => {
                let missing = known.into_iter().filter(|case| !cases.contains(case));
                late_flaws.extend(missing.map(|case| missing_folder(&layout, &case)));
            }
            Err(error) if error.is_damage() => late_flaws.push(database_flaw(&layout, &error)),
            Err(error) => return Err(error),
        }
    }
    verified.cases = cases.len() as u64;
    for case in std::iter::once(None).chain(cases.into_iter().map(Some)) {
        let folder = layout.folder(case.as_ref());
        let check = Check {
            folder: &folder,
            case: case.as_ref(),
            database: database.as_ref().map(|d| (d, layout.database())),
        };
        match check.all(&mut verified) {
            Err(error) if error.is_damage() => late_flaws.push(database_flaw(&layout, &error)),
            outcome => outcome?,
        }
    }
    if let Some(returned) = retention::returned(&layout)? {
        late_flaws.push(returned);
    }
    verified.flaws.append(&mut late_flaws);
    Ok(verified)
}

/// Checks one case folder by itself, as it lies on a USB stick.
///
/// # Errors
/// When it cannot be read.
pub fn verify_case(folder: &Path, case: &CaseId) -> Result<Verified, StoreError> {
    let mut verified = Verified {
        cases: 1,
        ..Verified::default()
    };
    let check = Check {
        folder,
        case: Some(case),
        database: None,
    };
    check.all(&mut verified)?;
    Ok(verified)
}

struct Check<'a> {
    folder: &'a Path,
    case: Option<&'a CaseId>,
    database: Option<(&'a Database, PathBuf)>,
}

impl Check<'_> {
    fn all(&self, verified: &mut Verified) -> Result<(), StoreError> {
        let path = self.folder.join(folder::CHAIN);
        let mut pictures = Vec::new();
        let mut other_row = None;
        let scan = scan(&path, self.case, |_, record, line| {
            verified.records += 1;
            pictures.extend(record.pictures);
            if other_row.is_none() {
                other_row = self.row_flaw(record.sequence, &record.hash, line)?;
            }
            Ok(())
        })?;
        let mut found = chain_flaw(&path, &scan);
        if found.is_none() && self.case.is_some() && scan.head.entries == 0 {
            found = Some(flaw(path, Some(1), "case_opened", "no record"));
        }
        if found.is_none() {
            found = other_row;
        }
        if found.is_none() {
            found = self.extent_flaw(&scan.head)?;
        }
        if found.is_none() && self.case.is_some() {
            found = self.pictures_flaw(&pictures, verified)?;
        }
        verified.flaws.extend(found);
        Ok(())
    }

    /// Whether the database holds another line.
    fn row_flaw(&self, record: u64, hash: &str, line: &str) -> Result<Option<Flaw>, StoreError> {
        let Some((database, path)) = &self.database else {
            return Ok(None);
        };
        let found = match database.line(self.case, record)? {
            Some(row) if row == line => return Ok(None),
            Some(_) => "another line",
            None => "no row",
        };
        let expected = format!("the line of {} with hash {hash}", self.name());
        Ok(Some(flaw(path.clone(), Some(record), &expected, found)))
    }

    fn extent_flaw(&self, head: &Head) -> Result<Option<Flaw>, StoreError> {
        let Some((database, path)) = &self.database else {
            return Ok(None);
        };
        let (rows, last) = database.extent(self.case)?;
        if last > head.entries {
            let expected = format!("record {last}, which the database holds");
            let chain = self.folder.join(folder::CHAIN);
            let record = Some(head.entries + 1);
            return Ok(Some(flaw(chain, record, &expected, "the end of the chain")));
        }
        if rows != head.entries {
            let expected = format!("{} rows of {}", head.entries, self.name());
            let found = format!("{rows}");
            return Ok(Some(flaw(path.clone(), None, &expected, &found)));
        }
        let noted = database.head(self.case)?;
        let is_right = match &noted {
            Some(noted) => noted == head,
            None => head.entries == 0,
        };
        let expected = format!("the end of {}, {head:?}", self.name());
        let found = format!("{noted:?}");
        Ok((!is_right).then(|| flaw(path.clone(), None, &expected, &found)))
    }

    fn pictures_flaw(
        &self,
        pictures: &[Picture],
        verified: &mut Verified,
    ) -> Result<Option<Flaw>, StoreError> {
        let manifest = self.folder.join(MANIFEST);
        if let Some(found) = manifest_flaw(&manifest, pictures)? {
            return Ok(Some(found));
        }
        let mut contents = folder::contents(self.folder)?;
        for picture in pictures {
            let path = self.folder.join(&picture.name);
            if !contents.files.remove(&picture.name) {
                return Ok(Some(picture_flaw(&path, &picture.sha256, "nothing")));
            }
            verified.pictures += 1;
            let found = if folder::length(&path)? > PICTURE_BYTES_MAX {
                "a longer file".to_owned()
            } else {
                sha256(&folder::read(&path, PICTURE_BYTES_MAX)?)
            };
            if found != picture.sha256 {
                return Ok(Some(picture_flaw(&path, &picture.sha256, &found)));
            }
        }
        let unnamed = contents.files.iter().map(|name| self.folder.join(name));
        let unnamed = unnamed.chain(contents.parts).chain(contents.strange).next();
        Ok(unnamed.map(|path| flaw(path, None, "only files that a record names", "this one")))
    }

    fn name(&self) -> String {
        self.case
            .map_or("the station".to_owned(), |case| format!("case {case}"))
    }
}

fn flaw(file: PathBuf, record: Option<u64>, expected: &str, found: &str) -> Flaw {
    Flaw {
        file,
        record,
        expected: expected.to_owned(),
        found: found.to_owned(),
    }
}

fn database_flaw(layout: &Layout, error: &StoreError) -> Flaw {
    let found = match error {
        StoreError::Database { error, .. } => error.to_string(),
        other => other.to_string(),
    };
    flaw(layout.database(), None, "a sound database", &found)
}

pub(super) fn missing_folder(layout: &Layout, case: &CaseId) -> Flaw {
    let expected = "the folder of a case that the database holds";
    flaw(layout.folder(Some(case)), None, expected, "nothing")
}

/// What stands behind the last good record, if it is not nothing.
pub(super) fn chain_flaw(path: &Path, scan: &Scan) -> Option<Flaw> {
    let record = Some(scan.head.entries + 1);
    match &scan.tail {
        Tail::Clean => None,
        Tail::Torn(bytes) => {
            let found = format!("{bytes} bytes without one");
            Some(flaw(path.to_owned(), record, "a line end", &found))
        }
        Tail::Bad(fault) => Some(flaw(path.to_owned(), record, &fault.expected, &fault.found)),
    }
}

/// The first line of a manifest that is not the one of its picture.
pub(super) fn manifest_flaw(path: &Path, pictures: &[Picture]) -> Result<Option<Flaw>, StoreError> {
    let bytes = match folder::length(path)? {
        0 => Vec::new(),
        _ => folder::read(path, CHAIN_BYTES_MAX)?,
    };
    let mut rest = bytes.as_slice();
    for (n, picture) in pictures.iter().enumerate() {
        let line = manifest_line(picture);
        match rest.strip_prefix(line.as_bytes()) {
            Some(after) => rest = after,
            None => return Ok(Some(line_flaw(path, n, line.trim_end(), rest))),
        }
    }
    let is_long = !rest.is_empty();
    Ok(is_long.then(|| line_flaw(path, pictures.len(), "the end", rest)))
}

fn line_flaw(path: &Path, before: usize, expected: &str, rest: &[u8]) -> Flaw {
    let line = rest.split(|b| *b == b'\n').next().unwrap_or_default();
    let line = String::from_utf8_lossy(&line[..line.len().min(200)]);
    let found = if rest.is_empty() {
        "the end".to_owned()
    } else {
        format!("{line:?}")
    };
    flaw(path.to_owned(), Some(before as u64 + 1), expected, &found)
}

pub(super) fn picture_flaw(path: &Path, expected: &str, found: &str) -> Flaw {
    let expected = format!("SHA-256 {expected}");
    flaw(path.to_owned(), None, &expected, found)
}
