//! One line of `detections.jsonl`: what was found on a picture, by which model, with which thresholds.

use serde::ser::{Error, SerializeMap, SerializeSeq};
use serde::{Serialize, Serializer};

use crate::attribute::{AttributeFindings, AttributeId, AttributeSchema};
use crate::cell::Detection;
use crate::class::ClassTable;
use crate::detect::Dropped;
use crate::geometry::Size;
use crate::head::Thresholds;

/// A picture's findings, ready to be written; names are spelled as in the model's contract.
///
/// A class, attribute or value that `classes` and `schema` do not name is not written as anything
/// else: serializing fails.
#[derive(Clone, Copy, Debug)]
pub struct DetectionRecord<'a> {
    /// The picture, relative to the folder that was read.
    pub image: &'a str,
    /// Its size.
    pub size: Size,
    /// Hash of the model file.
    pub model_sha256: &'a str,
    /// What was counted with.
    pub thresholds: &'a Thresholds,
    /// What was lost, by reason.
    pub dropped: Dropped,
    /// Best first.
    pub detections: &'a [Detection],
    /// Names of the classes.
    pub classes: &'a ClassTable,
    /// Names of the attributes and their values.
    pub schema: &'a AttributeSchema,
}

impl Serialize for DetectionRecord<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(7))?;
        map.serialize_entry("image", self.image)?;
        map.serialize_entry("width", &self.size.width)?;
        map.serialize_entry("height", &self.size.height)?;
        map.serialize_entry("model_sha256", self.model_sha256)?;
        map.serialize_entry("thresholds", self.thresholds)?;
        map.serialize_entry("dropped", &self.dropped)?;
        map.serialize_entry("detections", &Detections(self))?;
        map.end()
    }
}

struct Detections<'a>(&'a DetectionRecord<'a>);

impl Serialize for Detections<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let record = self.0;
        let mut list = serializer.serialize_seq(Some(record.detections.len()))?;
        for detection in record.detections {
            list.serialize_element(&Named { detection, record })?;
        }
        list.end()
    }
}

struct Named<'a> {
    detection: &'a Detection,
    record: &'a DetectionRecord<'a>,
}

impl Serialize for Named<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { detection, record } = self;
        let mut map = serializer.serialize_map(Some(5))?;
        map.serialize_entry("class_id", &detection.class)?;
        let class = record.classes.name(detection.class).ok_or_else(|| {
            let (number, n_classes) = (detection.class.0, record.classes.len());
            S::Error::custom(format_args!("class {number}, the model has {n_classes}"))
        })?;
        map.serialize_entry("class", class)?;
        map.serialize_entry("score", &detection.score)?;
        map.serialize_entry("bbox", &detection.bbox.xyxy())?;
        let attributes = NamedAttributes {
            findings: &detection.attributes,
            schema: record.schema,
        };
        map.serialize_entry("attributes", &attributes)?;
        map.end()
    }
}

struct NamedAttributes<'a> {
    findings: &'a AttributeFindings,
    schema: &'a AttributeSchema,
}

impl Serialize for NamedAttributes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Finding<'a> {
            value: &'a str,
            score: f32,
        }
        let mut map = serializer.serialize_map(None)?;
        for (index, finding) in self.findings.iter().enumerate() {
            let Some(finding) = finding else {
                continue;
            };
            let attribute = self.schema.get(AttributeId(index as u8)).ok_or_else(|| {
                let n_attributes = self.schema.len();
                S::Error::custom(format_args!(
                    "attribute {index}, the model has {n_attributes}"
                ))
            })?;
            let value = attribute.value_name(finding.value).ok_or_else(|| {
                let (value, n_values) = (finding.value.index(), attribute.values.len());
                let name = &attribute.name;
                S::Error::custom(format_args!(
                    "value {value} of {name}, which has {n_values}"
                ))
            })?;
            let score = finding.score.get();
            map.serialize_entry(attribute.name.as_str(), &Finding { value, score })?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests;
