//! `detections.jsonl`: what was found, one line a picture, written by either binary.
//!
//! The format is [`DetectionRecord`]'s. Names decide, numbers do not: the class numbers of a line
//! are those of the model that wrote it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::{Error as _, MapAccess, Visitor};
use shared::attribute::{AttributeFinding, AttributeFindings, AttributeSchema, NO_FINDINGS};
use shared::cell::Detection;
use shared::class::{ClassId, ClassTable};
use shared::detect::Dropped;
use shared::geometry::{BBox, Size};
use shared::head::Thresholds;
use shared::metrics::matching::best_first;
use shared::report::DetectionRecord;
use shared::score::Score;

/// Longest line that is read, in bytes: a thousand detections with twelve attributes take less.
const LINE_MAX: u64 = 16 << 20;

/// What was found on one picture.
#[derive(Clone, Debug, PartialEq)]
pub struct PictureFindings {
    /// The picture, relative to the folder that was read.
    pub image: String,
    /// Its size.
    pub size: Size,
    /// Hash of the model file.
    pub model_sha256: String,
    /// What was counted with.
    pub thresholds: Thresholds,
    /// What was lost, by reason.
    pub dropped: Dropped,
    /// Best first.
    pub detections: Vec<Detection>,
}

/// What to do with attributes that the data set does not label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForeignAttributes {
    /// The file is refused.
    Refuse,
    /// They are left out and counted: a model may know more than a data set.
    Forget,
}

/// A file's findings.
#[derive(Clone, Debug, PartialEq)]
pub struct DetectionsFile {
    /// In the order of the file.
    pub pictures: Vec<PictureFindings>,
    /// Values of attributes that the schema does not have.
    pub forgotten_attributes: u64,
}

/// Why a `detections.jsonl` could not be read.
#[derive(Debug, thiserror::Error)]
pub enum DetectionsError {
    /// The file; the source says why.
    #[error("{} cannot be read", path.display())]
    Io {
        /// Which one.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// One of its lines.
    #[error("{}:{line}: {detail}", path.display())]
    Line {
        /// Which file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// Expected and found.
        detail: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLine<'a> {
    image: String,
    width: u32,
    height: u32,
    model_sha256: String,
    thresholds: Thresholds,
    dropped: Dropped,
    #[serde(borrow)]
    detections: Vec<RawDetection<'a>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawDetection<'a> {
    class_id: u8,
    #[serde(borrow)]
    class: Cow<'a, str>,
    score: Score,
    bbox: [f32; 4],
    attributes: RawAttributes,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFinding {
    value: String,
    score: Score,
}

/// An object of attributes, each name once.
struct RawAttributes(BTreeMap<String, RawFinding>);

impl<'de> Deserialize<'de> for RawAttributes {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EachOnce;
        impl<'de> Visitor<'de> for EachOnce {
            type Value = RawAttributes;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of attributes")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawAttributes, A::Error> {
                let mut out = BTreeMap::new();
                while let Some((name, finding)) = map.next_entry::<String, RawFinding>()? {
                    if out.contains_key(&name) {
                        let twice = format!("expected every attribute once, found {name:?} twice");
                        return Err(A::Error::custom(twice));
                    }
                    out.insert(name, finding);
                }
                Ok(RawAttributes(out))
            }
        }
        deserializer.deserialize_map(EachOnce)
    }
}

/// Reads a file under the names of `classes` and `schema`.
///
/// # Errors
/// With file and line: what is no line of the format, a class or value that the tables do not have,
/// an attribute that the schema does not have unless `foreign` forgets it, a number that is not
/// finite or no probability, an empty box, or a picture that stands twice.
pub fn read_detections(
    path: &Path,
    classes: &ClassTable,
    schema: &AttributeSchema,
    foreign: ForeignAttributes,
) -> Result<DetectionsFile, DetectionsError> {
    let mut out = DetectionsFile {
        pictures: Vec::new(),
        forgotten_attributes: 0,
    };
    let mut names = Names {
        classes,
        schema,
        foreign,
        forgotten: 0,
    };
    let mut line_of_image = BTreeMap::new();
    for_each_line(path, |line, text| {
        let picture = names.picture(text)?;
        if let Some(before) = line_of_image.insert(picture.image.clone(), line) {
            let image = &picture.image;
            return Err(format!(
                "expected every picture once, found {image:?} of line {before} again"
            ));
        }
        out.pictures.push(picture);
        Ok(())
    })?;
    out.forgotten_attributes = names.forgotten;
    Ok(out)
}

/// The class names that occur in a file, in the order of the model's numbers: what the model that
/// wrote it can be asked about when its contract is not at hand.
///
/// # Errors
/// As for [`read_detections`], and when a name has two numbers or a number two names.
pub fn class_names(path: &Path) -> Result<Vec<String>, DetectionsError> {
    let mut by_id: BTreeMap<u8, String> = BTreeMap::new();
    for_each_line(path, |_, text| {
        for detection in parse(text)?.detections {
            let (id, name) = (detection.class_id, detection.class);
            let known = by_id.entry(id).or_insert_with(|| name.clone().into_owned());
            if *known != name {
                return Err(format!(
                    "expected class_id {id} to be {known:?} as before, found {name:?}"
                ));
            }
        }
        Ok(())
    })?;
    Ok(by_id.into_values().collect())
}

/// Writes findings, one line a picture.
///
/// # Errors
/// What the writer says.
pub fn write_detections(
    mut out: impl Write,
    pictures: &[PictureFindings],
    classes: &ClassTable,
    schema: &AttributeSchema,
) -> io::Result<()> {
    for picture in pictures {
        serde_json::to_writer(&mut out, &picture.record(classes, schema))?;
        out.write_all(b"\n")?;
    }
    out.flush()
}

impl PictureFindings {
    /// The line to be written; `classes` and `schema` are those of the model.
    pub fn record<'a>(
        &'a self,
        classes: &'a ClassTable,
        schema: &'a AttributeSchema,
    ) -> DetectionRecord<'a> {
        DetectionRecord {
            image: &self.image,
            size: self.size,
            model_sha256: &self.model_sha256,
            thresholds: &self.thresholds,
            dropped: self.dropped,
            detections: &self.detections,
            classes,
            schema,
        }
    }
}

/// Calls `each` with number and text of every line that is not blank.
fn for_each_line(
    path: &Path,
    mut each: impl FnMut(usize, &str) -> Result<(), String>,
) -> Result<(), DetectionsError> {
    let io_error = |source| DetectionsError::Io {
        path: path.to_path_buf(),
        source,
    };
    if !std::fs::metadata(path).map_err(io_error)?.is_file() {
        let detail = "expected a plain file, found a folder or a device";
        return Err(io_error(io::Error::new(
            io::ErrorKind::InvalidInput,
            detail,
        )));
    }
    let mut reader = BufReader::new(File::open(path).map_err(io_error)?);
    let mut bytes = Vec::new();
    for line in 1.. {
        bytes.clear();
        let n = reader
            .by_ref()
            .take(LINE_MAX + 1)
            .read_until(b'\n', &mut bytes)
            .map_err(io_error)?;
        if n == 0 {
            break;
        }
        let done = if n as u64 > LINE_MAX {
            Err(format!("expected at most {LINE_MAX} bytes, found more"))
        } else {
            match std::str::from_utf8(&bytes).map(str::trim) {
                Ok("") => Ok(()),
                Ok(text) => each(line, text),
                Err(error) => Err(format!("expected UTF-8, {error}")),
            }
        };
        done.map_err(|detail| DetectionsError::Line {
            path: path.to_path_buf(),
            line,
            detail,
        })?;
    }
    Ok(())
}

fn parse(text: &str) -> Result<RawLine<'_>, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

/// From names to numbers.
struct Names<'a> {
    classes: &'a ClassTable,
    schema: &'a AttributeSchema,
    foreign: ForeignAttributes,
    forgotten: u64,
}

impl Names<'_> {
    fn picture(&mut self, text: &str) -> Result<PictureFindings, String> {
        let raw = parse(text)?;
        let size = Size::new(raw.width, raw.height);
        if size.width == 0 || size.height == 0 {
            return Err(format!("expected a picture with pixels, found {size}"));
        }
        if !raw.thresholds.is_legal() {
            return Err(format!(
                "expected thresholds in 0..=1 with room for detections, found {:?}",
                raw.thresholds
            ));
        }
        let mut detections = Vec::with_capacity(raw.detections.len());
        for (index, detection) in raw.detections.into_iter().enumerate() {
            let detection = self
                .detection(detection)
                .map_err(|detail| format!("detection {index}: {detail}"))?;
            detections.push(detection);
        }
        detections.sort_by(best_first);
        Ok(PictureFindings {
            image: raw.image,
            size,
            model_sha256: raw.model_sha256,
            thresholds: raw.thresholds,
            dropped: raw.dropped,
            detections,
        })
    }

    fn detection(&mut self, raw: RawDetection<'_>) -> Result<Detection, String> {
        let [x0, y0, x1, y1] = raw.bbox;
        let bbox = BBox::from_corners(x0, y0, x1, y1).ok_or_else(|| {
            format!(
                "expected a box [x0, y0, x1, y1] with x0 < x1 and y0 < y1, found {:?}",
                raw.bbox
            )
        })?;
        Ok(Detection {
            bbox,
            class: self.class(&raw.class)?,
            score: raw.score,
            attributes: self.attributes(raw.attributes)?,
        })
    }

    fn class(&self, name: &str) -> Result<ClassId, String> {
        self.classes.find(name).ok_or_else(|| {
            let known: Vec<&str> = self.classes.iter().map(|(_, name)| name).collect();
            format!("expected a class of {known:?}, found {name:?}")
        })
    }

    fn attributes(&mut self, raw: RawAttributes) -> Result<AttributeFindings, String> {
        let mut findings = NO_FINDINGS;
        for (name, finding) in raw.0 {
            let Some((id, attribute)) = self.schema.find(&name) else {
                if self.foreign == ForeignAttributes::Forget {
                    self.forgotten += 1;
                    continue;
                }
                let known: Vec<&str> = self.schema.iter().map(|(_, a)| a.name.as_str()).collect();
                return Err(format!(
                    "expected an attribute of {known:?}, found {name:?}"
                ));
            };
            let value = attribute.find(&finding.value).ok_or_else(|| {
                let (known, found) = (&attribute.values, &finding.value);
                format!("attribute {name:?}: expected a value of {known:?}, found {found:?}")
            })?;
            findings[id.index()] = Some(AttributeFinding {
                value,
                score: finding.score,
            });
        }
        Ok(findings)
    }
}

#[cfg(test)]
mod tests {
    use shared::attribute::ValueId;

    use super::*;

    fn names() -> (ClassTable, AttributeSchema) {
        let attributes: [(&str, &[&str]); 2] =
            [("size", &["small", "big"]), ("vacuoles", &["no", "yes"])];
        (
            ClassTable::new(["Neutrophil", "Lymphocyte"]).unwrap(),
            AttributeSchema::new(attributes).unwrap(),
        )
    }

    fn findings() -> Vec<PictureFindings> {
        let detection = |class, score, x0: f32| {
            let mut attributes = NO_FINDINGS;
            attributes[1] = Some(AttributeFinding {
                value: ValueId::new(1).unwrap(),
                score: Score::new(0.625).unwrap(),
            });
            Detection {
                bbox: BBox::from_corners(x0, 0.1, x0 + 33.3, 40.7).unwrap(),
                class: ClassId(class),
                score: Score::new(score).unwrap(),
                attributes,
            }
        };
        let picture = |image: &str, detections| PictureFindings {
            image: image.to_owned(),
            size: Size::new(640, 480),
            model_sha256: "ab".repeat(32),
            thresholds: Thresholds::EVALUATION,
            dropped: Dropped {
                candidates: 1,
                detections: 2,
                outside: 3,
            },
            detections,
        };
        vec![
            picture(
                "a.png",
                vec![detection(1, 0.9, 1.5), detection(0, 0.123_456_79, 7.1)],
            ),
            picture("test/b\"\n.png", vec![]),
        ]
    }

    fn read(text: &str, foreign: ForeignAttributes) -> Result<DetectionsFile, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("d.jsonl");
        std::fs::write(&path, text).unwrap();
        let (classes, schema) = names();
        read_detections(&path, &classes, &schema, foreign).map_err(|error| {
            let error = error.to_string();
            let from = error.find("d.jsonl").unwrap();
            error[from..].to_owned()
        })
    }

    fn written() -> String {
        let (classes, schema) = names();
        let mut out = Vec::new();
        write_detections(&mut out, &findings(), &classes, &schema).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn what_is_written_is_read_back_to_the_last_bit() {
        let found = read(&written(), ForeignAttributes::Refuse).unwrap();
        assert_eq!(found.pictures, findings());
        assert_eq!(found.forgotten_attributes, 0);
    }

    #[test]
    fn the_model_s_names_come_in_the_order_of_its_numbers() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("d.jsonl");
        std::fs::write(&path, written()).unwrap();
        assert_eq!(class_names(&path).unwrap(), ["Neutrophil", "Lymphocyte"]);
        let two_names = written().replacen("Lymphocyte", "Monocyte", 1) + &written();
        std::fs::write(&path, two_names).unwrap();
        let error = class_names(&path).unwrap_err().to_string();
        assert!(error.ends_with(
            "d.jsonl:3: expected class_id 1 to be \"Monocyte\" as before, found \"Lymphocyte\""
        ));
    }

    #[test]
    fn attributes_that_the_data_does_not_label_are_forgotten_and_counted_or_refused() {
        let text = written().replace("\"vacuoles\"", "\"granules\"");
        let found = read(&text, ForeignAttributes::Forget).unwrap();
        assert_eq!(found.forgotten_attributes, 2);
        assert_eq!(found.pictures[0].detections[0].attributes, NO_FINDINGS);
        assert_eq!(
            read(&text, ForeignAttributes::Refuse).unwrap_err(),
            "d.jsonl:1: detection 0: expected an attribute of [\"size\", \"vacuoles\"], found \"granules\""
        );
    }

    #[test]
    fn a_line_that_is_wrong_is_refused_with_its_number() {
        struct Case {
            from: &'static str,
            to: &'static str,
            error: &'static str,
        }
        let cases = [
            Case {
                from: "Lymphocyte",
                to: "Monocyte",
                error: "d.jsonl:1: detection 0: expected a class of [\"Neutrophil\", \"Lymphocyte\"], found \"Monocyte\"",
            },
            Case {
                from: "\"yes\"",
                to: "\"many\"",
                error: "d.jsonl:1: detection 0: attribute \"vacuoles\": expected a value of [\"no\", \"yes\"], found \"many\"",
            },
            Case {
                from: "\"score\":0.9",
                to: "\"score\":1.5",
                error: "d.jsonl:1: score 1.5 outside 0..=1 at line 1 column",
            },
            Case {
                from: "\"score\":0.9",
                to: "\"score\":NaN",
                error: "d.jsonl:1: expected value at line 1 column",
            },
            Case {
                from: "\"score\":0.9",
                to: "\"score\":null",
                error: "d.jsonl:1: invalid type: null, expected f32",
            },
            Case {
                from: "\"score\":0.9",
                to: "\"score\":1e400",
                error: "d.jsonl:1: number out of range",
            },
            Case {
                from: "\"bbox\":[1.5,",
                to: "\"bbox\":[99.0,",
                error: "d.jsonl:1: detection 0: expected a box [x0, y0, x1, y1] with x0 < x1 and y0 < y1, found [99.0, 0.1, 34.8, 40.7]",
            },
            Case {
                from: "\"bbox\":[1.5,",
                to: "\"bbox\":[-1e39,",
                error: "d.jsonl:1: number out of range",
            },
            Case {
                from: "\"bbox\":[1.5,0.1,",
                to: "\"bbox\":[1.5,",
                error: "d.jsonl:1: invalid length 3, expected an array of length 4",
            },
            Case {
                from: "\"width\":640",
                to: "\"width\":0",
                error: "d.jsonl:1: expected a picture with pixels, found 0x480",
            },
            Case {
                from: "\"iou\":0.6",
                to: "\"iou\":6.0",
                error: "d.jsonl:1: expected thresholds in 0..=1 with room for detections, found Thresholds",
            },
            Case {
                from: "\"class_id\":1",
                to: "\"class_id\":300",
                error: "d.jsonl:1: invalid value: integer `300`, expected u8",
            },
            Case {
                from: "{\"image\"",
                to: "{\"colour\":1,\"image\"",
                error: "d.jsonl:1: unknown field `colour`",
            },
            Case {
                from: "\"attributes\":{",
                to: "\"attributes\":{\"size\":{\"value\":\"big\",\"score\":1.0},\"size\":{\"value\":\"big\",\"score\":1.0},",
                error: "d.jsonl:1: expected every attribute once, found \"size\" twice",
            },
            Case {
                from: "test/b\\\"\\n.png",
                to: "a.png",
                error: "d.jsonl:2: expected every picture once, found \"a.png\" of line 1 again",
            },
            Case {
                from: "{\"image\":\"test",
                to: "[",
                error: "d.jsonl:2: ",
            },
        ];
        for Case { from, to, error } in cases {
            let text = written().replacen(from, to, 1);
            assert_ne!(text, written(), "{from} is in the file");
            let found = read(&text, ForeignAttributes::Refuse).unwrap_err();
            assert!(found.starts_with(error), "{found}\ninstead of\n{error}");
        }
    }

    #[test]
    fn a_file_that_cannot_be_read_says_so_once() {
        let folder = tempfile::tempdir().unwrap();
        let (classes, schema) = names();
        let read = |path: &Path| {
            let found = read_detections(path, &classes, &schema, ForeignAttributes::Refuse);
            format!("{:#}", anyhow::Error::from(found.unwrap_err()))
        };
        let absent = read(&folder.path().join("absent"));
        assert!(absent.ends_with("absent cannot be read: No such file or directory (os error 2)"));
        assert!(read(folder.path()).ends_with("expected a plain file, found a folder or a device"));
        let path = folder.path().join("latin1");
        std::fs::write(&path, b"\n\xff\n").unwrap();
        assert!(read(&path).contains("latin1:2: expected UTF-8"));
        std::fs::write(&path, b"\n  \n").unwrap();
        let empty = read_detections(&path, &classes, &schema, ForeignAttributes::Refuse).unwrap();
        assert_eq!(empty.pictures, []);
    }
}
