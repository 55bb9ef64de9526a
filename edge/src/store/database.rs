//! The only file that names SQLite's tables.
//!
//! Every record lies here as the very line that stands in its chain, so the database is a second
//! witness; the views read their columns out of that line. Case `''` is the station.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, params};

use super::chain::Head;
use super::error::StoreError;
use crate::case::text::CaseId;

/// Version of the tables below.
const SCHEMA: i64 = 1;
/// "Leuk": tells this database from any other.
const APPLICATION: i64 = 0x4c65_756b;

const TABLES: &str = "
CREATE TABLE entries (
    case_id TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    line TEXT NOT NULL,
    PRIMARY KEY (case_id, sequence)
) STRICT;
CREATE TABLE cases (
    case_id TEXT PRIMARY KEY,
    entries INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    pictures INTEGER NOT NULL,
    manifest_bytes INTEGER NOT NULL,
    signed INTEGER NOT NULL,
    boot INTEGER NOT NULL,
    wall INTEGER,
    head TEXT NOT NULL
) STRICT;
";

/// Made where they are missing: an earlier version knew fewer.
const VIEWS: &str = "
CREATE VIEW IF NOT EXISTS records AS
    SELECT case_id, sequence, line ->> '$.boot' AS boot, line ->> '$.wall' AS wall,
        line ->> '$.who' AS who, line ->> '$.kind' AS kind, line -> '$.event' AS event,
        line ->> '$.hash' AS hash
    FROM entries;
CREATE VIEW IF NOT EXISTS fields AS
    SELECT case_id, sequence, event ->> '$.field_counted.field' AS field,
        event ->> '$.field_counted.frame' AS frame,
        json_array_length(event, '$.field_counted.cells') AS cells
    FROM records WHERE kind = 'field_counted';
CREATE VIEW IF NOT EXISTS cells AS
    SELECT case_id, event ->> '$.field_counted.first_cell' + found.key AS cell,
        event ->> '$.field_counted.field' AS field, found.value ->> '$.class' AS class,
        found.value ->> '$.score' AS score, found.value -> '$.suggestion' AS suggestion,
        found.value -> '$.bbox' AS bbox, found.value -> '$.attributes' AS attributes
    FROM records, json_each(event, '$.field_counted.cells') AS found
    WHERE kind = 'field_counted';
CREATE VIEW IF NOT EXISTS edits AS
    SELECT case_id, sequence, boot, wall, who, kind, event
    FROM records WHERE kind NOT IN ('case_opened', 'field_counted', 'target_reached', 'signed')
        AND case_id <> '';
CREATE VIEW IF NOT EXISTS signatures AS
    SELECT case_id, sequence, boot, wall, who, hash FROM records WHERE kind = 'signed';
";

/// The open database.
#[derive(Debug)]
pub(super) struct Database {
    path: PathBuf,
    connection: Connection,
}

/// A record that did not get in.
#[derive(Debug)]
pub(super) struct NotAdded {
    /// Why.
    pub error: StoreError,
    /// Whether it may be found there all the same when the database is opened again.
    pub may_return: bool,
}

impl NotAdded {
    fn surely(error: StoreError) -> Self {
        Self {
            error,
            may_return: false,
        }
    }
}

fn key(case: Option<&CaseId>) -> &str {
    case.map_or("", CaseId::as_str)
}

impl Database {
    /// Opens the database, or makes it, and looks whether it is sound.
    ///
    /// # Errors
    /// [`StoreError::Newer`]; damage ([`StoreError::is_damage`]); or the disk refuses.
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        let connection = Connection::open(path).map_err(|error| fail(path, "open", error))?;
        let mut database = Self {
            path: path.to_owned(),
            connection,
        };
        database.check_version()?;
        database.run("set up", |c| {
            // A signature that was acknowledged survives a power cut: FULL waits for the disk.
            c.pragma_update(None, "synchronous", "FULL")?;
            c.query_row("PRAGMA journal_mode = WAL", [], |row| {
                row.get::<_, String>(0)
            })?;
            // Numbers and hashes in a file of another's making are not run as code.
            c.pragma_update(None, "trusted_schema", false)
        })?;
        if database.check_version()? == 0 {
            database.run("make the tables in", |c| {
                let change = c.transaction()?;
                change.execute_batch(TABLES)?;
                change.pragma_update(None, "application_id", APPLICATION)?;
                change.pragma_update(None, "user_version", SCHEMA)?;
                change.commit()
            })?;
        }
        database.check_pages("quick_check")?;
        database.run("set up", |c| c.execute_batch(VIEWS))?;
        Ok(database)
    }

    /// Opens the database to look at it; `None` when there is none.
    ///
    /// # Errors
    /// As [`Database::open`].
    pub(super) fn open_to_read(path: &Path) -> Result<Option<Self>, StoreError> {
        if !path.exists() {
            return Ok(None);
        }
        let mut database = Self {
            path: path.to_owned(),
            connection: open_with(path, false)?,
        };
        // A disk that cannot be written has no place for SQLite's shared memory; without a log to be
        // read with it, none is needed.
        let mut log = path.as_os_str().to_owned();
        log.push("-wal");
        let has_log = std::fs::metadata(log).is_ok_and(|about| about.len() > 0);
        if database.check_version().is_err_and(|e| !e.is_damage()) && !has_log {
            database.connection = open_with(path, true)?;
        }
        if database.check_version()? == 0 {
            return Err(foreign(path, "a database without tables"));
        }
        database.check_pages("integrity_check")?;
        Ok(Some(database))
    }

    /// The cases of a database and where they end; nothing where it cannot be read, which
    /// [`verify`](super::verify) tells.
    pub(super) fn heads(path: &Path) -> Vec<(CaseId, Head)> {
        let read = || {
            let connection = open_with(path, false).ok()?;
            let path = path.to_owned();
            let database = Self { path, connection };
            let cases = database.cases().ok()?.into_iter();
            let heads = cases.filter_map(|case| {
                let head = database.head(Some(&case)).ok()??;
                Some((case, head))
            });
            Some(heads.collect())
        };
        match path.exists() {
            true => read().unwrap_or_default(),
            false => Vec::new(),
        }
    }

    /// The schema's version, 0 for an empty file.
    fn check_version(&self) -> Result<i64, StoreError> {
        let number = |name: &str| {
            self.connection
                .pragma_query_value(None, name, |row| row.get::<_, i64>(0))
                .map_err(|error| fail(&self.path, "read", error))
        };
        let (application, found) = (number("application_id")?, number("user_version")?);
        if application == 0 && found == 0 {
            return Ok(0);
        }
        if application != APPLICATION {
            return Err(foreign(&self.path, "a database of another program"));
        }
        if found > SCHEMA {
            return Err(StoreError::Newer {
                path: self.path.clone(),
                found,
                known: SCHEMA,
            });
        }
        Ok(found)
    }

    fn check_pages(&self, pragma: &str) -> Result<(), StoreError> {
        let answer: String = self
            .connection
            .query_row(&format!("PRAGMA {pragma}(1)"), [], |row| row.get(0))
            .map_err(|error| fail(&self.path, "check", error))?;
        if answer == "ok" {
            Ok(())
        } else {
            Err(foreign(&self.path, &answer))
        }
    }

    fn run<T>(
        &mut self,
        doing: &'static str,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        work(&mut self.connection).map_err(|error| fail(&self.path, doing, error))
    }

    /// Adds one record to a chain that ended at `before` and ends at `head` now; `before_commit` runs when
    /// both are written but not yet valid, and nothing becomes valid when it fails.
    ///
    /// # Errors
    /// Of `before_commit`, or of the disk.
    pub(super) fn add(
        &mut self,
        case: Option<&CaseId>,
        line: &str,
        [before, head]: [&Head; 2],
        before_commit: impl FnOnce() -> Result<(), StoreError>,
    ) -> Result<(), NotAdded> {
        let path = self.path.clone();
        let failed = |error| NotAdded::surely(fail(&path, "write to", error));
        let change = self.connection.transaction().map_err(failed)?;
        insert(&change, case, head.entries, line).map_err(failed)?;
        set_head(&change, case, head).map_err(failed)?;
        before_commit().map_err(NotAdded::surely)?;
        let Err(error) = change.commit() else {
            return Ok(());
        };
        // A log that was too full holds no whole change. In any other case the change may stand there
        // whole and only the waiting for the disk was refused: who opens the log next takes it for valid.
        let is_cut = error.sqlite_error_code() == Some(ErrorCode::DiskFull);
        Err(NotAdded {
            error: fail(&path, "write to", error),
            may_return: !is_cut && self.take_back(case, before).is_err(),
        })
    }

    /// Overwrites a refused change in the log by one that says where the chain ended before it.
    fn take_back(&mut self, case: Option<&CaseId>, before: &Head) -> rusqlite::Result<()> {
        let change = self.connection.transaction()?;
        // Always a change of a page: one that changes none is not written, and overwrites nothing.
        set_head(&change, case, before)?;
        if before.entries == 0 {
            change.execute("DELETE FROM cases WHERE case_id = ?1", [key(case)])?;
        }
        change.commit()
    }

    /// Puts `lines`, the records `first`, `first + 1`, … of a chain, in the place of all from
    /// `first` on, together with where the chain ends.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(super) fn replace_from(
        &mut self,
        case: Option<&CaseId>,
        first: u64,
        lines: &[String],
        head: &Head,
    ) -> Result<(), StoreError> {
        self.run("repair", |c| {
            let change = c.transaction()?;
            change.execute(
                "DELETE FROM entries WHERE case_id = ?1 AND sequence >= ?2",
                params![key(case), first as i64],
            )?;
            for (n, line) in lines.iter().enumerate() {
                insert(&change, case, first + n as u64, line)?;
            }
            set_head(&change, case, head)?;
            change.commit()
        })
    }

    /// Forgets a case.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(super) fn remove(&mut self, case: &CaseId) -> Result<(), StoreError> {
        self.run("remove a case from", |c| {
            let change = c.transaction()?;
            for table in ["entries", "cases"] {
                let words = format!("DELETE FROM {table} WHERE case_id = ?1");
                change.execute(&words, [case.as_str()])?;
            }
            change.commit()
        })
    }

    /// The line of one record.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub(super) fn line(
        &self,
        case: Option<&CaseId>,
        sequence: u64,
    ) -> Result<Option<String>, StoreError> {
        self.connection
            .prepare_cached("SELECT line FROM entries WHERE case_id = ?1 AND sequence = ?2")
            .and_then(|mut s| {
                s.query_row(params![key(case), sequence as i64], |row| row.get(0))
                    .optional()
            })
            .map_err(|error| fail(&self.path, "read", error))
    }

    /// How many records a chain has here, and the number of its last.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub(super) fn extent(&self, case: Option<&CaseId>) -> Result<(u64, u64), StoreError> {
        self.connection
            .prepare_cached(
                "SELECT count(*), coalesce(max(sequence), 0) FROM entries WHERE case_id = ?1",
            )
            .and_then(|mut s| {
                s.query_row([key(case)], |row| {
                    Ok((row.get::<_, i64>(0)? as u64, row.get::<_, i64>(1)? as u64))
                })
            })
            .map_err(|error| fail(&self.path, "read", error))
    }

    /// Where a chain ends, as noted at its last record.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub(super) fn head(&self, case: Option<&CaseId>) -> Result<Option<Head>, StoreError> {
        self.connection
            .prepare_cached(
                "SELECT entries, bytes, pictures, manifest_bytes, signed, boot, wall, head
                 FROM cases WHERE case_id = ?1",
            )
            .and_then(|mut s| {
                s.query_row([key(case)], |row| {
                    Ok(Head {
                        entries: row.get::<_, i64>(0)? as u64,
                        bytes: row.get::<_, i64>(1)? as u64,
                        pictures: row.get::<_, i64>(2)? as u64,
                        manifest_bytes: row.get::<_, i64>(3)? as u64,
                        signed: row.get(4)?,
                        boot: row.get::<_, i64>(5)? as u64,
                        wall: row.get(6)?,
                        hash: row.get(7)?,
                    })
                })
                .optional()
            })
            .map_err(|error| fail(&self.path, "read", error))
    }

    /// Names of all cases known here, in order; the station is none.
    ///
    /// # Errors
    /// When the database cannot be read, or holds a name that is none.
    pub(super) fn cases(&self) -> Result<Vec<CaseId>, StoreError> {
        let names = self
            .connection
            .prepare_cached(
                "SELECT case_id FROM entries WHERE case_id <> ''
                 UNION SELECT case_id FROM cases WHERE case_id <> '' ORDER BY case_id",
            )
            .and_then(|mut s| {
                s.query_map([], |row| row.get(0))?
                    .collect::<Result<Vec<String>, _>>()
            })
            .map_err(|error| fail(&self.path, "read", error))?;
        let named = |name: &String| {
            CaseId::try_from(name.as_str())
                .map_err(|refused| foreign(&self.path, &refused.to_string()))
        };
        names.iter().map(named).collect()
    }
}

/// Opens for reading; `immutable` promises that nobody writes meanwhile.
fn open_with(path: &Path, immutable: bool) -> Result<Connection, StoreError> {
    use std::fmt::Write;
    use std::os::unix::ffi::OsStrExt;
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
    let mut address = "file:".to_owned();
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'/' | b'.' | b'-' | b'_' => address.push(char::from(*byte)),
            _ if byte.is_ascii_alphanumeric() => address.push(char::from(*byte)),
            _ => write!(address, "%{byte:02x}").expect("writing to a string cannot fail"),
        }
    }
    if immutable {
        address.push_str("?immutable=1");
    }
    Connection::open_with_flags(address, flags).map_err(|error| fail(path, "open", error))
}

fn insert(
    change: &Connection,
    case: Option<&CaseId>,
    sequence: u64,
    line: &str,
) -> rusqlite::Result<()> {
    change
        .prepare_cached("INSERT INTO entries (case_id, sequence, line) VALUES (?1, ?2, ?3)")?
        .execute(params![key(case), sequence as i64, line])?;
    Ok(())
}

fn set_head(change: &Connection, case: Option<&CaseId>, head: &Head) -> rusqlite::Result<()> {
    change
        .prepare_cached("INSERT OR REPLACE INTO cases VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)")?
        .execute(params![
            key(case),
            head.entries as i64,
            head.bytes as i64,
            head.pictures as i64,
            head.manifest_bytes as i64,
            head.signed,
            // SQLite's integers have a sign; the bits come back as they went.
            head.boot as i64,
            head.wall,
            head.hash,
        ])?;
    Ok(())
}

fn fail(path: &Path, doing: &'static str, error: rusqlite::Error) -> StoreError {
    StoreError::Database {
        path: path.to_owned(),
        doing,
        error,
    }
}

/// Damage that SQLite itself did not report as an error.
fn foreign(path: &Path, what: &str) -> StoreError {
    let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
    fail(
        path,
        "use",
        rusqlite::Error::SqliteFailure(code, Some(what.to_owned())),
    )
}
