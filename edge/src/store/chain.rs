//! The chain: one line of JSON a record, each bound to the one before.
//!
//! A line is `{"sequence":…,"case":…,"boot":…,"wall":…,"who":…,"kind":…,"event":…,"pictures":…,
//! "previous":…,"hash":…}` and its hash is the SHA-256 of the line as it would be without `hash`.
//! That text holds the hash of the record before and the hashes of the pictures, so no byte of what
//! was recorded can change without breaking the chain from there on. (Whoever can rewrite everything
//! after it can make a new chain: the last hash belongs on the printed report.)

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::error::StoreError;
use super::id::{check_picture_name, shown};
use crate::case::text::CaseId;

/// Longest line of a chain, bytes: a field of 1,000 cells with all their numbers is a tenth of it.
pub const LINE_BYTES_MAX: usize = 4 << 20;
/// Longest chain of one case, bytes; it is read into memory to be shown.
pub const CHAIN_BYTES_MAX: u64 = 256 << 20;
/// Most pictures of one record.
pub const PICTURES_MAX: usize = 4096;
/// Longest name of a person, bytes.
const WHO_BYTES_MAX: usize = 200;
/// Longest name of a kind, bytes.
const KIND_BYTES_MAX: usize = 64;
/// `previous` of the first record.
pub(super) const NO_HASH: &str = "0000000000000000000000000000000000000000000000000000000000000000";
/// What stands between the text that is hashed and its hash.
const HASH_KEY: &str = r#","hash":""#;
const HASH_END: &str = r#""}"#;

/// Something that happened, as the caller says it; the store reads nothing of `json`.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// Who acted: a person, or the name of the machine.
    pub who: &'a str,
    /// What: `a-z` and `_`.
    pub kind: &'a str,
    /// All of it, one JSON value on one line.
    pub json: &'a str,
    /// Which start of the program.
    pub boot: u64,
    /// Seconds since 1970; `None` while the clock is not set. Never used for order.
    pub wall: Option<i64>,
}

/// A file of a case folder, named by a record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Picture {
    /// Path in the case folder.
    pub name: String,
    /// Of its bytes, 64 small hexadecimal digits.
    pub sha256: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body<'a> {
    sequence: u64,
    #[serde(borrow)]
    case: Option<std::borrow::Cow<'a, str>>,
    boot: u64,
    wall: Option<i64>,
    #[serde(borrow)]
    who: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    kind: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    event: &'a RawValue,
    pictures: std::borrow::Cow<'a, [Picture]>,
    #[serde(borrow)]
    previous: std::borrow::Cow<'a, str>,
}

/// An entry as it stands in the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// From 1, without gaps.
    pub sequence: u64,
    /// Which start of the program.
    pub boot: u64,
    /// Seconds since 1970, where the clock was set.
    pub wall: Option<i64>,
    /// Who acted.
    pub who: String,
    /// What.
    pub kind: String,
    /// All of it, as it was given.
    pub json: String,
    /// Files recorded with it.
    pub pictures: Vec<Picture>,
    /// Of this record, 64 hexadecimal digits.
    pub hash: String,
}

/// What a line of a chain should hold, and what it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub expected: String,
    pub found: String,
}

/// Where a chain ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Records.
    pub entries: u64,
    /// Length of the chain, bytes.
    pub bytes: u64,
    /// Files recorded.
    pub pictures: u64,
    /// Length of the manifest, bytes.
    pub manifest_bytes: u64,
    /// Signed, and not amended since.
    pub signed: bool,
    /// Start of the program at the last record.
    pub boot: u64,
    /// Clock at the last record that had one, seconds since 1970.
    pub wall: Option<i64>,
    /// Of the last record.
    pub hash: String,
}

impl Head {
    /// A chain without records.
    pub(super) fn empty() -> Self {
        Self {
            entries: 0,
            bytes: 0,
            pictures: 0,
            manifest_bytes: 0,
            signed: false,
            boot: 0,
            wall: None,
            hash: NO_HASH.to_owned(),
        }
    }

    /// The chain with one more record, whose line is `line_bytes` long without its end.
    pub(super) fn followed_by(&self, record: &Record, line_bytes: usize) -> Self {
        let manifest_bytes = record
            .pictures
            .iter()
            .map(|p| manifest_line(p).len() as u64);
        Self {
            entries: record.sequence,
            bytes: self.bytes + line_bytes as u64 + 1,
            pictures: self.pictures + record.pictures.len() as u64,
            manifest_bytes: self.manifest_bytes + manifest_bytes.sum::<u64>(),
            signed: match record.kind.as_str() {
                "signed" => true,
                "amended" => false,
                _ => self.signed,
            },
            boot: record.boot,
            wall: record.wall.or(self.wall),
            hash: record.hash.clone(),
        }
    }
}

/// One line of `manifest.sha256`, as `sha256sum --check` reads it.
pub(super) fn manifest_line(picture: &Picture) -> String {
    format!("{}  {}\n", picture.sha256, picture.name)
}

/// SHA-256 in hexadecimal digits.
pub(super) fn hex(digest: impl AsRef<[u8]>) -> String {
    use std::fmt::Write;
    let digest = digest.as_ref();
    let mut text = String::with_capacity(digest.len() * 2);
    for byte in digest {
        write!(text, "{byte:02x}").expect("writing to a string cannot fail");
    }
    text
}

/// SHA-256 of `bytes`.
pub(super) fn sha256(bytes: &[u8]) -> String {
    hex(Sha256::digest(bytes))
}

/// Makes the next line of a chain, without its line end, and the record it holds.
///
/// # Errors
/// [`StoreError::BadEntry`] for what could not be read back as it was given.
pub(super) fn seal(
    head: &Head,
    case: Option<&CaseId>,
    entry: &Entry<'_>,
    pictures: Vec<Picture>,
) -> Result<(String, Record), StoreError> {
    let event = check_entry(entry)?;
    for picture in &pictures {
        check_picture_name(&picture.name)?;
    }
    let body = Body {
        sequence: head.entries + 1,
        case: case.map(|c| c.as_str().into()),
        boot: entry.boot,
        wall: entry.wall,
        who: entry.who.into(),
        kind: entry.kind.into(),
        event,
        pictures: pictures.as_slice().into(),
        previous: head.hash.as_str().into(),
    };
    let mut line = serde_json::to_string(&body).expect("strings, numbers and one value");
    let hash = sha256(line.as_bytes());
    line.pop();
    line.push_str(HASH_KEY);
    line.push_str(&hash);
    line.push_str(HASH_END);
    if line.len() > LINE_BYTES_MAX || head.bytes + line.len() as u64 >= CHAIN_BYTES_MAX {
        return Err(StoreError::BadEntry {
            field: "event",
            expected: "at most 4 MiB a record and 256 MiB a case",
            found: format!("{} bytes after {} bytes", line.len(), head.bytes),
        });
    }
    let record = Record {
        sequence: head.entries + 1,
        boot: entry.boot,
        wall: entry.wall,
        who: entry.who.to_owned(),
        kind: entry.kind.to_owned(),
        json: entry.json.to_owned(),
        pictures,
        hash,
    };
    Ok((line, record))
}

fn check_entry<'a>(entry: &Entry<'a>) -> Result<&'a RawValue, StoreError> {
    let bad = |field, expected, found| StoreError::BadEntry {
        field,
        expected,
        found,
    };
    let kind_is_good = !entry.kind.is_empty()
        && entry.kind.len() <= KIND_BYTES_MAX
        && entry
            .kind
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b == b'_');
    if !kind_is_good {
        return Err(bad("kind", "1 to 64 of a-z _", shown(entry.kind)));
    }
    if entry.who.trim().is_empty()
        || entry.who.len() > WHO_BYTES_MAX
        || entry.who.chars().any(char::is_control)
    {
        let rule = "1 to 200 bytes without control characters";
        return Err(bad("who", rule, shown(entry.who)));
    }
    if entry.json.bytes().any(|b| b == b'\n' || b == b'\r') {
        return Err(bad("event", "JSON on one line", shown(entry.json)));
    }
    let value: &RawValue = serde_json::from_str(entry.json)
        .map_err(|error| bad("event", "one JSON value", format!("{error}")))?;
    // White space around a value would not come back.
    if value.get().len() != entry.json.len() {
        let rule = "JSON without white space around it";
        return Err(bad("event", rule, shown(entry.json)));
    }
    Ok(value)
}

/// Reads the line that should follow `head` in the chain of `case`.
pub(super) fn follow(head: &Head, case: Option<&CaseId>, line: &[u8]) -> Result<Record, Fault> {
    let fault = |expected: &str, found: String| Fault {
        expected: expected.to_owned(),
        found,
    };
    let text = std::str::from_utf8(line).map_err(|error| fault("UTF-8", format!("{error}")))?;
    let split = text.len().checked_sub(HASH_KEY.len() + 64 + HASH_END.len());
    let hash = split
        .and_then(|at| text.get(at..))
        .and_then(|end| end.strip_prefix(HASH_KEY)?.strip_suffix(HASH_END));
    let (Some(split), Some(hash)) = (split, hash) else {
        return Err(fault("a line that ends with its hash", ending(text)));
    };
    let mut hasher = Sha256::new();
    hasher.update(&line[..split]);
    hasher.update(b"}");
    let real = hex(hasher.finalize());
    if real != hash {
        return Err(fault(
            &format!("the hash of its text, {real}"),
            format!("hash {hash}"),
        ));
    }
    let mut text = text[..split].to_owned();
    text.push('}');
    let body: Body<'_> =
        serde_json::from_str(&text).map_err(|error| fault("a record", format!("{error}")))?;
    check_place(head, case, &body)?;
    Ok(Record {
        sequence: body.sequence,
        boot: body.boot,
        wall: body.wall,
        who: body.who.into_owned(),
        kind: body.kind.into_owned(),
        json: body.event.get().to_owned(),
        pictures: body.pictures.into_owned(),
        hash: hash.to_owned(),
    })
}

fn ending(text: &str) -> String {
    let skip = text.chars().count().saturating_sub(60);
    let end: String = text.chars().skip(skip).collect();
    format!("{end:?}")
}

fn check_place(head: &Head, case: Option<&CaseId>, body: &Body<'_>) -> Result<(), Fault> {
    let expected = |expected: String, found: String| Err(Fault { expected, found });
    if body.sequence != head.entries + 1 {
        return expected(
            format!("sequence {}", head.entries + 1),
            format!("{}", body.sequence),
        );
    }
    if body.previous != head.hash {
        return expected(
            format!("the hash before, {}", head.hash),
            body.previous.clone().into_owned(),
        );
    }
    let of = |name: Option<&str>| name.map_or("the station".to_owned(), |n| format!("case {n}"));
    if body.case.as_deref() != case.map(CaseId::as_str) {
        return expected(of(case.map(CaseId::as_str)), of(body.case.as_deref()));
    }
    match body
        .pictures
        .iter()
        .find(|p| check_picture_name(&p.name).is_err())
    {
        Some(p) => expected("folder/file".to_owned(), shown(&p.name)),
        None => Ok(()),
    }
}

/// What stands behind the last good record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Tail {
    /// Nothing.
    Clean,
    /// So many bytes without a line end: writing was cut off.
    Torn(u64),
    /// A whole line that does not belong there.
    Bad(Fault),
}

/// A chain as far as it is good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Scan {
    pub head: Head,
    pub tail: Tail,
}

/// Reads a chain record by record, each with where the chain ended before it; a missing file is a
/// chain without records.
///
/// # Errors
/// When the disk cannot be read, or `take` fails.
pub(super) fn scan(
    path: &Path,
    case: Option<&CaseId>,
    mut take: impl FnMut(&Head, Record, &str) -> Result<(), StoreError>,
) -> Result<Scan, StoreError> {
    let mut head = Head::empty();
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(Scan {
                head,
                tail: Tail::Clean,
            });
        }
        Err(error) => return Err(StoreError::disk(path, "open")(error)),
    };
    let mut reader = BufReader::new(file);
    let mut line = Vec::new();
    loop {
        line.clear();
        let most = LINE_BYTES_MAX as u64 + 1;
        let read = (&mut reader).take(most).read_until(b'\n', &mut line);
        let read = read.map_err(StoreError::disk(path, "read"))? as u64;
        if read == 0 {
            return Ok(Scan {
                head,
                tail: Tail::Clean,
            });
        }
        if line.last() != Some(&b'\n') {
            let tail = if read == most {
                Tail::Bad(Fault {
                    expected: format!("a line of at most {LINE_BYTES_MAX} bytes"),
                    found: "a longer one".to_owned(),
                })
            } else {
                Tail::Torn(read)
            };
            return Ok(Scan { head, tail });
        }
        line.pop();
        match follow(&head, case, &line) {
            Ok(record) => {
                let next = head.followed_by(&record, line.len());
                let text = std::str::from_utf8(&line).expect("`follow` has read it");
                take(&head, record, text)?;
                head = next;
            }
            Err(fault) => {
                return Ok(Scan {
                    head,
                    tail: Tail::Bad(fault),
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry<'a>(kind: &'a str, json: &'a str) -> Entry<'a> {
        Entry {
            who: "reader",
            kind,
            json,
            boot: 7,
            wall: Some(1_800_000_000),
        }
    }

    /// Three records of case `A`, as lines.
    fn three() -> Vec<String> {
        let case = CaseId::try_from("A").unwrap();
        let mut head = Head::empty();
        let mut lines = Vec::new();
        for (n, json) in [r#"{"a":1}"#, r#"{"text":"\u0001 ü \" \\"}"#, "null"]
            .iter()
            .enumerate()
        {
            let picture = Picture {
                name: format!("fields/{n}.jpg"),
                sha256: sha256(b"x"),
            };
            let (line, record) = seal(
                &head,
                Some(&case),
                &entry("note_added", json),
                vec![picture],
            )
            .unwrap();
            head = head.followed_by(&record, line.len());
            lines.push(line);
        }
        lines
    }

    fn scan_bytes(bytes: &[u8], case: &str) -> (Scan, Vec<Record>) {
        let folder = crate::store::tests::scratch();
        let path = folder.path().join("audit.jsonl");
        std::fs::write(&path, bytes).unwrap();
        let mut records = Vec::new();
        let case = CaseId::try_from(case).unwrap();
        let scan = scan(&path, Some(&case), |_, record, _| {
            records.push(record);
            Ok(())
        });
        (scan.unwrap(), records)
    }

    #[test]
    fn what_was_given_comes_back_to_the_byte() {
        let bytes = three().join("\n") + "\n";
        let (scan, records) = scan_bytes(bytes.as_bytes(), "A");
        assert_eq!(scan.tail, Tail::Clean);
        assert_eq!(scan.head.bytes, bytes.len() as u64);
        assert_eq!((scan.head.entries, scan.head.pictures), (3, 3));
        assert_eq!(records[1].json, r#"{"text":"\u0001 ü \" \\"}"#);
        assert_eq!(records[1].boot, 7);
        assert_eq!(records[1].wall, Some(1_800_000_000));
        assert_eq!(records[2].pictures[0].name, "fields/2.jpg");
    }

    #[test]
    fn a_change_of_any_byte_ends_the_chain_at_its_record() {
        let bytes = (three().join("\n") + "\n").into_bytes();
        let line_of = |at: usize| bytes[..at].iter().filter(|b| **b == b'\n').count() as u64;
        for at in 0..bytes.len() {
            for change in [1_u8, 0x20, 0x80] {
                let mut changed = bytes.clone();
                changed[at] ^= change;
                let (scan, _) = scan_bytes(&changed, "A");
                assert_ne!(scan.tail, Tail::Clean, "byte {at}");
                assert_eq!(scan.head.entries, line_of(at), "byte {at}");
            }
        }
    }

    #[test]
    fn a_chain_without_one_record_or_in_another_order_or_of_another_case_is_bad() {
        let [a, b, c] = three().try_into().unwrap();
        let table = [
            (format!("{b}\n{c}\n"), "A", 0, "sequence 1"),
            (format!("{a}\n{c}\n"), "A", 1, "sequence 2"),
            (format!("{a}\n{c}\n{b}\n"), "A", 1, "sequence 2"),
            (format!("{a}\n{a}\n"), "A", 1, "sequence 2"),
            (
                format!("{a}\n\n{b}\n"),
                "A",
                1,
                "a line that ends with its hash",
            ),
            (format!("{a}\n"), "B", 0, "case B"),
        ];
        for (text, case, good, expected) in table {
            let (scan, _) = scan_bytes(text.as_bytes(), case);
            assert_eq!(scan.head.entries, good);
            let Tail::Bad(fault) = scan.tail else {
                panic!("{:?}", scan.tail)
            };
            assert_eq!(fault.expected, expected);
        }
    }

    #[test]
    fn a_record_of_another_history_breaks_the_chain() {
        let [a, _, _] = three().try_into().unwrap();
        let case = CaseId::try_from("A").unwrap();
        let mut foreign = Head::empty();
        foreign.entries = 1;
        let (b, _) = seal(&foreign, Some(&case), &entry("signed", "1"), vec![]).unwrap();
        let (scan, _) = scan_bytes(format!("{a}\n{b}\n").as_bytes(), "A");
        assert!(matches!(scan.tail, Tail::Bad(f) if f.expected.starts_with("the hash before, ")));
    }

    #[test]
    fn a_line_that_was_cut_off_is_torn_at_every_length() {
        let [a, b, _] = three().try_into().unwrap();
        for cut in 1..=b.len() {
            let (scan, _) = scan_bytes(
                format!("{a}\n{}", &b[..b.floor_char_boundary(cut)]).as_bytes(),
                "A",
            );
            assert_eq!(scan.head.entries, 1);
            assert_eq!(scan.tail, Tail::Torn(b.floor_char_boundary(cut) as u64));
        }
    }

    #[test]
    fn what_would_not_come_back_is_not_taken() {
        let long = "x".repeat(201);
        let huge = format!("\"{}\"", "x".repeat(LINE_BYTES_MAX));
        let table = [
            ("reader", "", "1", "kind"),
            ("reader", "A", "1", "kind"),
            ("", "a", "1", "who"),
            (" ", "a", "1", "who"),
            ("a\nb", "a", "1", "who"),
            (&long, "a", "1", "who"),
            ("reader", "a", "", "event"),
            ("reader", "a", "{", "event"),
            ("reader", "a", "1 2", "event"),
            ("reader", "a", " 1", "event"),
            ("reader", "a", "[\n1]", "event"),
            ("reader", "a", "NaN", "event"),
            ("reader", "a", &huge, "event"),
        ];
        for (who, kind, json, place) in table {
            let mut entry = entry(kind, json);
            entry.who = who;
            let refused = seal(&Head::empty(), None, &entry, vec![]).unwrap_err();
            let StoreError::BadEntry { field, .. } = refused else {
                panic!("{refused}")
            };
            assert_eq!(field, place);
        }
    }
}
