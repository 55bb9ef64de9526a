//! What a crash leaves, put right; what a crash cannot have done, left alone and named.
//!
//! A record reaches the disk in the order pictures, manifest, chain, database. So after a crash
//! there may be pictures and lines of the manifest without a record, a half line at the end of a
//! chain, and a record that the database does not know; nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::chain::{
    CHAIN_BYTES_MAX, Head, LINE_BYTES_MAX, Picture, Record, Scan, Tail, follow, scan, sha256,
};
use super::database::Database;
use super::error::{Flaw, StoreError};
use super::folder::{self, Layout};
use super::id::UNRECORDED;
use super::repaired::Repaired;
use super::{ChainState, PICTURE_BYTES_MAX, manifest_of, retention, verify};
use crate::atomic::write_file;
use crate::case::text::CaseId;

/// A data root in order.
pub(super) struct Outcome {
    pub database: Database,
    pub chains: BTreeMap<Option<CaseId>, ChainState>,
    pub deleted: BTreeSet<CaseId>,
    pub repaired: Vec<Repaired>,
}

/// Puts a data root in order.
pub(super) fn all(layout: &Layout) -> Result<Outcome, StoreError> {
    match with_database(layout, Vec::new()) {
        Err(error) if error.is_damage() => {
            set_aside(&layout.database())?;
            let reason = match error {
                StoreError::Database { error, .. } => error.to_string(),
                other => other.to_string(),
            };
            with_database(layout, vec![Repaired::DatabaseSetAside { reason }])
        }
        outcome => outcome,
    }
}

/// Keeps what there is for people: another damaged one before it is replaced.
fn set_aside(database: &Path) -> Result<(), StoreError> {
    let with = |end: &str| {
        let mut name = database.as_os_str().to_owned();
        name.push(end);
        PathBuf::from(name)
    };
    for end in ["-wal", "-shm", ""] {
        let (from, to) = (with(end), with(&format!(".damaged{end}")));
        if from.exists() {
            fs::rename(&from, &to).map_err(StoreError::disk(&from, "rename"))?;
        }
    }
    folder::sync_names(database.parent().unwrap_or(Path::new(".")))
}

fn with_database(layout: &Layout, repaired: Vec<Repaired>) -> Result<Outcome, StoreError> {
    let database = Database::open(&layout.database())?;
    let mut repair = Repair {
        layout,
        database,
        repaired,
    };
    let mut chains = BTreeMap::new();
    let mut deleted = BTreeSet::new();
    chains.insert(None, repair.whole(None)?);
    retention::each_tombstone(layout, |case| deleted.insert(case))?;

    let (folders, strange) = layout.case_folders()?;
    let strange = strange.into_iter().map(|path| Repaired::Ignored { path });
    repair.repaired.extend(strange);
    let known = repair.database.cases()?;
    let cases: BTreeSet<CaseId> = folders.iter().cloned().chain(known).collect();
    for case in cases {
        if deleted.contains(&case) {
            repair.finish_deletion(&case)?;
        } else if let Some(state) = repair.case(&case, folders.contains(&case))? {
            chains.insert(Some(case), state);
        }
    }
    Ok(Outcome {
        database: repair.database,
        chains,
        deleted,
        repaired: repair.repaired,
    })
}

struct Repair<'a> {
    layout: &'a Layout,
    database: Database,
    repaired: Vec<Repaired>,
}

/// A chain, and how far the database holds the same.
struct Compared {
    scan: Scan,
    pictures: Vec<Picture>,
    /// Lines that the database lacks or has differently, from the first such record on.
    lines: Vec<String>,
    /// The chain before the first record that the database has differently, and its row.
    different: Option<(Head, String)>,
}

impl Repair<'_> {
    fn finish_deletion(&mut self, case: &CaseId) -> Result<(), StoreError> {
        let folder = self.layout.folder(Some(case));
        self.database.remove(case)?;
        retention::remove_folder(self.layout, case)?;
        self.repaired.push(Repaired::DeletionFinished { folder });
        Ok(())
    }

    /// `None` for a case that never was.
    fn case(&mut self, case: &CaseId, has_folder: bool) -> Result<Option<ChainState>, StoreError> {
        if !has_folder {
            let head = self.database.head(Some(case))?;
            return Ok(Some(ChainState {
                head: head.unwrap_or_else(Head::empty),
                flaw: Some(verify::missing_folder(self.layout, case)),
            }));
        }
        if let Some(head) = self.untouched(case)? {
            return Ok(Some(ChainState { head, flaw: None }));
        }
        let state = self.whole(Some(case))?;
        if state.flaw.is_none() && state.head.entries == 0 {
            return self.never_opened(case);
        }
        Ok(Some(state))
    }

    /// A signed case that ends as the database says is not read again at each start: years of cases
    /// would make the station wait. [`verify`](super::verify) reads all.
    fn untouched(&self, case: &CaseId) -> Result<Option<Head>, StoreError> {
        let Some(head) = self.database.head(Some(case))?.filter(|head| head.signed) else {
            return Ok(None);
        };
        let Some(row) = self.database.line(Some(case), head.entries)? else {
            return Ok(None);
        };
        let chain = self.layout.chain(Some(case));
        let is_long_as_noted = folder::length(&chain)? == head.bytes
            && folder::length(&self.layout.manifest(case))? == head.manifest_bytes;
        if !is_long_as_noted || !ends_with(&chain, &row)? {
            return Ok(None);
        }
        let contents = folder::contents(&self.layout.folder(Some(case)))?;
        let is_same = contents.parts.is_empty() && contents.files.len() as u64 == head.pictures;
        Ok(is_same.then_some(head))
    }

    fn never_opened(&mut self, case: &CaseId) -> Result<Option<ChainState>, StoreError> {
        let folder = self.layout.folder(Some(case));
        let contents = folder::contents(&folder)?;
        if contents.files.is_empty()
            && contents.strange.is_empty()
            && !folder.join(UNRECORDED).exists()
        {
            retention::remove_folder(self.layout, case)?;
            self.repaired.push(Repaired::NeverOpened { folder });
            return Ok(None);
        }
        let flaw = Flaw {
            file: self.layout.chain(Some(case)),
            record: Some(1),
            expected: "case_opened".to_owned(),
            found: "no record, though the folder holds files".to_owned(),
        };
        Ok(Some(ChainState {
            head: Head::empty(),
            flaw: Some(flaw),
        }))
    }

    /// Reads and repairs one chain and all that belongs to it.
    fn whole(&mut self, case: Option<&CaseId>) -> Result<ChainState, StoreError> {
        let path = self.layout.chain(case);
        let compared = self.compare(case)?;
        let mut head = compared.scan.head.clone();
        let flawed = |head, flaw| {
            Ok(ChainState {
                head,
                flaw: Some(flaw),
            })
        };
        if let Tail::Bad(_) = compared.scan.tail {
            let flaw = verify::chain_flaw(&path, &compared.scan).expect("the tail is bad");
            return flawed(head, flaw);
        }
        if let Some(flaw) = self.other_history(case, &compared)? {
            return flawed(head, flaw);
        }
        let mut pictures = compared.pictures;
        if let Tail::Torn(bytes) = compared.scan.tail {
            self.cut_half_record(case, &head, bytes)?;
        }
        match self.restore(case, &mut head, &mut pictures)? {
            Some(flaw) => return flawed(head, flaw),
            None => self.index(case, &head, compared.lines)?,
        }
        let flaw = match case {
            Some(case) if head.entries > 0 => self.files(case, &pictures)?,
            _ => None,
        };
        Ok(ChainState { head, flaw })
    }

    fn compare(&self, case: Option<&CaseId>) -> Result<Compared, StoreError> {
        let (mut pictures, mut lines, mut different) = (Vec::new(), Vec::new(), None);
        let scan = scan(&self.layout.chain(case), case, |before, record, line| {
            if lines.is_empty() {
                match self.database.line(case, record.sequence)? {
                    Some(row) if row == line => {}
                    row => {
                        different = row.map(|row| (before.clone(), row));
                        lines.push(line.to_owned());
                    }
                }
            } else {
                lines.push(line.to_owned());
            }
            pictures.extend(record.pictures);
            Ok(())
        })?;
        Ok(Compared {
            scan,
            pictures,
            lines,
            different,
        })
    }

    /// A row that differs is spoilt when it is not itself a good record, and is then read again from
    /// the chain. When both are good, somebody has written a second history.
    fn other_history(
        &self,
        case: Option<&CaseId>,
        compared: &Compared,
    ) -> Result<Option<Flaw>, StoreError> {
        let Some((before, row)) = &compared.different else {
            return Ok(None);
        };
        let (_, last) = self.database.extent(case)?;
        let ends_earlier = last > compared.scan.head.entries;
        if follow(before, case, row.as_bytes()).is_err() && !ends_earlier {
            return Ok(None);
        }
        Ok(Some(Flaw {
            file: self.layout.database(),
            record: Some(before.entries + 1),
            expected: format!("the line of {}", self.layout.chain(case).display()),
            found: "another line".to_owned(),
        }))
    }

    fn cut_half_record(
        &mut self,
        case: Option<&CaseId>,
        head: &Head,
        bytes: u64,
    ) -> Result<(), StoreError> {
        let chain = self.layout.chain(case);
        let half = read_from(&chain, head.bytes, bytes)?;
        let row = self.database.line(case, head.entries + 1)?;
        // What the database holds whole need not be kept in half.
        if row.is_none_or(|row| !row.as_bytes().starts_with(&half)) && head.entries > 0 {
            let kept = self.layout.folder(case).join(UNRECORDED);
            folder::make(&kept)?;
            let name = format!("audit-{}.half", head.entries + 1);
            write_file(&kept.join(name), &half)?;
        }
        folder::cut(&chain, head.bytes)?;
        self.repaired.push(Repaired::HalfRecord {
            chain,
            record: head.entries + 1,
            bytes,
        });
        Ok(())
    }

    /// Copies records that the chain has lost from the database; they were acknowledged. A record whose
    /// pictures are not all there and whole is not a record of this case, whatever the database says.
    fn restore(
        &mut self,
        case: Option<&CaseId>,
        head: &mut Head,
        pictures: &mut Vec<Picture>,
    ) -> Result<Option<Flaw>, StoreError> {
        let (_, last) = self.database.extent(case)?;
        let mut next = head.clone();
        let (mut lost, mut lost_pictures) = (String::new(), Vec::new());
        for sequence in head.entries + 1..=last {
            let row = self.database.line(case, sequence)?;
            let record = row.as_ref().map(|row| follow(&next, case, row.as_bytes()));
            let (Some(row), Some(Ok(record))) = (row, record) else {
                return Ok(Some(Flaw {
                    file: self.layout.chain(case),
                    record: Some(head.entries + 1),
                    expected: format!("record {last}, which the database holds"),
                    found: "the end of the chain; the rows of the database do not follow it"
                        .to_owned(),
                }));
            };
            if let Some(flaw) = self.lost_picture(case, &record)? {
                return Ok(Some(flaw));
            }
            next = next.followed_by(&record, row.len());
            lost.push_str(&row);
            lost.push('\n');
            lost_pictures.extend(record.pictures);
        }
        if !lost.is_empty() {
            let chain = self.layout.chain(case);
            folder::append(&chain, lost.as_bytes())?;
            self.repaired.push(Repaired::Restored {
                chain,
                from: head.entries + 1,
                records: next.entries - head.entries,
            });
            *head = next;
            pictures.append(&mut lost_pictures);
        }
        Ok(None)
    }

    /// The first picture of a record of the database that is not as it says.
    fn lost_picture(
        &self,
        case: Option<&CaseId>,
        record: &Record,
    ) -> Result<Option<Flaw>, StoreError> {
        let home = self.layout.folder(case);
        for picture in &record.pictures {
            let path = home.join(&picture.name);
            let found = match folder::length(&path)? {
                0 if !path.exists() => "nothing".to_owned(),
                long if long > PICTURE_BYTES_MAX => "a longer file".to_owned(),
                _ => sha256(&folder::read(&path, PICTURE_BYTES_MAX)?),
            };
            if found != picture.sha256 {
                return Ok(Some(Flaw {
                    file: path,
                    record: Some(record.sequence),
                    expected: format!(
                        "SHA-256 {}, as the database says of a record that is not in the chain",
                        picture.sha256
                    ),
                    found,
                }));
            }
        }
        Ok(None)
    }

    /// Brings the database up to the chain.
    fn index(
        &mut self,
        case: Option<&CaseId>,
        head: &Head,
        lines: Vec<String>,
    ) -> Result<(), StoreError> {
        let is_noted = self.database.head(case)?.as_ref() == Some(head);
        if lines.is_empty() && (is_noted || head.entries == 0) {
            return Ok(());
        }
        let from = head.entries + 1 - lines.len() as u64;
        self.database.replace_from(case, from, &lines, head)?;
        self.repaired.push(Repaired::Indexed {
            chain: self.layout.chain(case),
            from,
            records: lines.len() as u64,
        });
        Ok(())
    }

    /// Brings manifest and pictures of a case in order.
    fn files(&mut self, case: &CaseId, pictures: &[Picture]) -> Result<Option<Flaw>, StoreError> {
        let home = self.layout.folder(Some(case));
        let contents = folder::contents(&home)?;
        for file in contents.parts {
            fs::remove_file(&file).map_err(StoreError::disk(&file, "remove"))?;
            self.repaired.push(Repaired::Part { file });
        }
        let named: BTreeSet<&str> = pictures.iter().map(|p| p.name.as_str()).collect();
        for name in contents
            .files
            .iter()
            .filter(|n| !named.contains(n.as_str()))
        {
            let kept = home.join(UNRECORDED);
            folder::make(&kept)?;
            let (picture, moved) = (home.join(name), kept.join(name.replace('/', "-")));
            fs::rename(&picture, &moved).map_err(StoreError::disk(&picture, "rename"))?;
            folder::sync_names(&kept)?;
            self.repaired.push(Repaired::Unrecorded { picture, moved });
        }
        if let Some(lost) = pictures.iter().find(|p| !contents.files.contains(&p.name)) {
            let path = home.join(&lost.name);
            return Ok(Some(verify::picture_flaw(&path, &lost.sha256, "nothing")));
        }
        self.manifest(case, pictures)
    }

    fn manifest(
        &mut self,
        case: &CaseId,
        pictures: &[Picture],
    ) -> Result<Option<Flaw>, StoreError> {
        let manifest = self.layout.manifest(case);
        let expected = manifest_of(pictures);
        let found = match folder::length(&manifest)? {
            0 => Vec::new(),
            _ => folder::read(&manifest, CHAIN_BYTES_MAX)?,
        };
        if found == expected.as_bytes() {
            return Ok(None);
        }
        // A crash makes it longer or shorter; it changes no line.
        if !found.starts_with(expected.as_bytes()) && !expected.as_bytes().starts_with(&found) {
            return verify::manifest_flaw(&manifest, pictures);
        }
        if expected.is_empty() {
            folder::cut(&manifest, 0)?;
        } else {
            write_file(&manifest, expected.as_bytes())?;
        }
        self.repaired.push(Repaired::Manifest { manifest });
        Ok(None)
    }
}

fn read_from(path: &Path, from: u64, bytes: u64) -> Result<Vec<u8>, StoreError> {
    let mut read = Vec::new();
    File::open(path)
        .and_then(|mut file| {
            file.seek(SeekFrom::Start(from))?;
            file.take(bytes.min(LINE_BYTES_MAX as u64 + 1))
                .read_to_end(&mut read)
        })
        .map_err(StoreError::disk(path, "read"))?;
    Ok(read)
}

fn ends_with(path: &Path, line: &str) -> Result<bool, StoreError> {
    let bytes = line.len() as u64 + 1;
    match folder::length(path)?.checked_sub(bytes) {
        Some(from) => {
            Ok(read_from(path, from, bytes)?.strip_suffix(b"\n") == Some(line.as_bytes()))
        }
        None => Ok(false),
    }
}
