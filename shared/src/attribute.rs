//! Morphological attributes: categorical, two to eight values each, unknown per attribute.

use core::fmt;
use core::num::NonZeroU8;

use heapless::{String, Vec};
use serde::{Deserialize, Serialize};

use crate::class::{Name, NameError, collect_names};
use crate::score::Score;

/// Most attributes a schema may have; WBCAtt has 11.
pub const MAX_ATTRIBUTES: usize = 12;

/// Most values an attribute may have; WBCAtt's nucleus shape has 6.
pub const MAX_VALUES: usize = 8;

/// Position of an attribute in its schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttributeId(pub u8);

impl AttributeId {
    /// As an index.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// Position of a value in its attribute; `Option<ValueId>` is one byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ValueId(NonZeroU8);

impl ValueId {
    /// The value at `index`, below [`MAX_VALUES`].
    pub fn new(index: usize) -> Option<Self> {
        if index >= MAX_VALUES {
            return None;
        }
        NonZeroU8::new(index as u8 + 1).map(Self)
    }

    /// As an index.
    pub fn index(self) -> usize {
        usize::from(self.0.get()) - 1
    }
}

/// What is known of a cell; `None` = nobody said. Entries beyond the schema are `None`.
pub type Attributes = [Option<ValueId>; MAX_ATTRIBUTES];

/// Nothing known.
pub const NO_ATTRIBUTES: Attributes = [None; MAX_ATTRIBUTES];

/// A value the network chose, with its probability inside the attribute.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AttributeFinding {
    /// The likeliest value.
    pub value: ValueId,
    /// Softmax over the attribute's values.
    pub score: Score,
}

/// What the network says of a cell; entries beyond the schema are `None`.
pub type AttributeFindings = [Option<AttributeFinding>; MAX_ATTRIBUTES];

/// No attribute found.
pub const NO_FINDINGS: AttributeFindings = [None; MAX_ATTRIBUTES];

/// The likeliest value of each attribute, with its softmax probability; of equal ones the first wins.
///
/// `value_counts` are the values of each attribute, `logit` gives the logits of all of them, one
/// attribute after the other.
pub fn findings(value_counts: &[u8], logit: impl Fn(usize) -> f32) -> AttributeFindings {
    let mut votes = Votes::new(value_counts);
    votes.add(1.0, logit);
    votes.findings()
}

/// The weighted mean of what several places say of one cell.
#[derive(Clone, Debug)]
pub struct Votes<'a> {
    value_counts: &'a [u8],
    /// Sums of weight times probability, attribute by attribute.
    sums: [[f32; MAX_VALUES]; MAX_ATTRIBUTES],
    weight: f32,
}

impl<'a> Votes<'a> {
    /// None yet. Attributes beyond [`MAX_ATTRIBUTES`] and values beyond [`MAX_VALUES`] have no room and
    /// no voice.
    pub fn new(value_counts: &'a [u8]) -> Self {
        Self {
            value_counts,
            sums: [[0.0; MAX_VALUES]; MAX_ATTRIBUTES],
            weight: 0.0,
        }
    }

    /// Adds the softmax probabilities of a place, `weight` times. `logit` gives the logits of all values,
    /// one attribute after the other.
    pub fn add(&mut self, weight: f32, logit: impl Fn(usize) -> f32) {
        let mut first = 0;
        for (sums, &count) in self.sums.iter_mut().zip(self.value_counts) {
            let logits = (first..first + usize::from(count)).map(&logit);
            let top = logits.clone().fold(f32::NEG_INFINITY, f32::max);
            let total: f32 = logits.clone().map(|logit| libm::expf(logit - top)).sum();
            for (sum, logit) in sums.iter_mut().zip(logits) {
                *sum += weight * (libm::expf(logit - top) / total);
            }
            first += usize::from(count);
        }
        self.weight += weight;
    }

    /// The likeliest value of each attribute with its mean probability; of equal ones the first wins.
    /// Nothing where nobody had a voice.
    pub fn findings(&self) -> AttributeFindings {
        let mut findings = NO_FINDINGS;
        if self.weight <= 0.0 {
            return findings;
        }
        let sums = self.sums.iter().zip(self.value_counts);
        for (finding, (sums, &count)) in findings.iter_mut().zip(sums) {
            let values = sums.iter().copied().take(usize::from(count)).enumerate();
            let top = values.reduce(|a, b| if b.1 > a.1 { b } else { a });
            *finding = top.and_then(|(index, sum)| {
                Some(AttributeFinding {
                    value: ValueId::new(index)?,
                    score: Score::new((sum / self.weight).min(1.0))?,
                })
            });
        }
        findings
    }
}

/// One attribute: its name and the names of its values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attribute {
    /// Spelled as in the data set.
    pub name: Name,
    /// Two to eight, in the order of their codes.
    pub values: Vec<Name, MAX_VALUES>,
}

impl Attribute {
    /// The value called `name`, spelled exactly so.
    pub fn find(&self, name: &str) -> Option<ValueId> {
        self.values
            .iter()
            .position(|known| known == name)
            .and_then(ValueId::new)
    }

    /// The name of `value`.
    pub fn value_name(&self, value: ValueId) -> Option<&str> {
        self.values.get(value.index()).map(String::as_str)
    }
}

/// What is wrong with a schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SchemaError {
    /// The attributes' names.
    Names(NameError),
    /// The names of one attribute's values.
    Values {
        /// Which attribute.
        attribute: usize,
        /// What is wrong.
        error: NameError,
    },
    /// An attribute with a single value says nothing.
    OneValue {
        /// Which attribute.
        attribute: usize,
    },
}

impl fmt::Display for SchemaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Names(error) => write!(f, "attributes: {error}"),
            Self::Values { attribute, error } => {
                write!(f, "values of attribute {attribute}: {error}")
            }
            Self::OneValue { attribute } => {
                write!(
                    f,
                    "attribute {attribute} has one value, expected 2 to {MAX_VALUES}"
                )
            }
        }
    }
}

impl core::error::Error for SchemaError {}

/// The attributes of a data set or a model, in the order of their columns; may be empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AttributeSchema {
    attributes: Vec<Attribute, MAX_ATTRIBUTES>,
}

impl AttributeSchema {
    /// From names and value names.
    pub fn new<'a>(
        attributes: impl IntoIterator<Item = (&'a str, &'a [&'a str])>,
    ) -> Result<Self, SchemaError> {
        let mut out = Self::default();
        for (index, (name, values)) in attributes.into_iter().enumerate() {
            let values =
                collect_names(values.iter().copied()).map_err(|error| SchemaError::Values {
                    attribute: index,
                    error,
                })?;
            let name = Name::try_from(name)
                .map_err(|_| SchemaError::Names(NameError::Unusable { index }))?;
            out.attributes
                .push(Attribute { name, values })
                .map_err(|_| {
                    SchemaError::Names(NameError::TooMany {
                        max: MAX_ATTRIBUTES,
                    })
                })?;
        }
        out.check()?;
        Ok(out)
    }

    /// Checks what [`AttributeSchema::new`] promises, for a schema that was read from a file.
    pub fn check(&self) -> Result<(), SchemaError> {
        if self.attributes.is_empty() {
            return Ok(());
        }
        let names = self
            .attributes
            .iter()
            .map(|attribute| attribute.name.as_str());
        collect_names::<MAX_ATTRIBUTES>(names).map_err(SchemaError::Names)?;
        for (index, attribute) in self.attributes.iter().enumerate() {
            let values = attribute.values.iter().map(String::as_str);
            collect_names::<MAX_VALUES>(values).map_err(|error| SchemaError::Values {
                attribute: index,
                error,
            })?;
            if attribute.values.len() < 2 {
                return Err(SchemaError::OneValue { attribute: index });
            }
        }
        Ok(())
    }

    /// Attributes in all.
    pub fn len(&self) -> usize {
        self.attributes.len()
    }

    /// No attributes: a plain detector.
    pub fn is_empty(&self) -> bool {
        self.attributes.is_empty()
    }

    /// The attribute at a position.
    pub fn get(&self, id: AttributeId) -> Option<&Attribute> {
        self.attributes.get(id.index())
    }

    /// The attribute called `name`.
    pub fn find(&self, name: &str) -> Option<(AttributeId, &Attribute)> {
        self.iter().find(|(_, attribute)| attribute.name == name)
    }

    /// Position and attribute, in order.
    pub fn iter(&self) -> impl Iterator<Item = (AttributeId, &Attribute)> {
        self.attributes
            .iter()
            .enumerate()
            .map(|(index, a)| (AttributeId(index as u8), a))
    }

    /// Values of each attribute, in order: the widths of the groups in the head.
    pub fn value_counts(&self) -> impl Iterator<Item = usize> {
        self.attributes
            .iter()
            .map(|attribute| attribute.values.len())
    }
}

/// LeukemiaAttri's seven attributes, spelled as in its COCO files (attridet.md, 2.1).
pub const LEUKEMIA_ATTRIBUTES: [(&str, &[&str]); 7] = [
    ("cell_size", &["small", "medium", "large"]),
    ("nuclear_chromatio", &["open", "coarse"]),
    ("nuclear_shape", &["regular", "irregular"]),
    ("nucleolus", &["inconspicuous", "prominent"]),
    ("cytoplasm", &["scanty", "abundant"]),
    ("cytoplasmic_basophilia", &["slight", "moderate"]),
    ("cytoplasmic_vacuoles", &["absent", "prominent"]),
];

/// WBCAtt's eleven attributes, spelled as in its `attributes.csv`.
pub const WBCATT_ATTRIBUTES: [(&str, &[&str]); 11] = [
    ("cell_size", &["small", "big"]),
    ("cell_shape", &["round", "irregular"]),
    (
        "nucleus_shape",
        &[
            "unsegmented-band",
            "unsegmented-round",
            "unsegmented-indented",
            "segmented-bilobed",
            "segmented-multilobed",
            "irregular",
        ],
    ),
    ("nuclear_cytoplasmic_ratio", &["low", "high"]),
    ("chromatin_density", &["loosely", "densely"]),
    ("cytoplasm_vacuole", &["no", "yes"]),
    ("cytoplasm_texture", &["clear", "frosted"]),
    ("cytoplasm_colour", &["light blue", "blue", "purple blue"]),
    ("granule_type", &["nil", "small", "round", "coarse"]),
    ("granule_colour", &["nil", "pink", "purple", "red"]),
    ("granularity", &["no", "yes"]),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_data_sets_fit() {
        let leukemia = AttributeSchema::new(LEUKEMIA_ATTRIBUTES).unwrap();
        assert_eq!(leukemia.value_counts().sum::<usize>(), 15);
        let wbcatt = AttributeSchema::new(WBCATT_ATTRIBUTES).unwrap();
        assert_eq!(
            (wbcatt.len(), wbcatt.value_counts().sum::<usize>()),
            (11, 31)
        );
        let (id, shape) = wbcatt.find("nucleus_shape").unwrap();
        assert_eq!(id, AttributeId(2));
        assert_eq!(shape.find("irregular").map(ValueId::index), Some(5));
    }

    #[test]
    fn an_unknown_value_costs_one_byte() {
        assert_eq!(size_of::<Attributes>(), MAX_ATTRIBUTES);
        assert_eq!(ValueId::new(MAX_VALUES), None);
    }

    #[test]
    fn a_schema_that_says_nothing_is_refused() {
        let one: [(&str, &[&str]); 1] = [("size", &["big"])];
        assert_eq!(
            AttributeSchema::new(one),
            Err(SchemaError::OneValue { attribute: 0 })
        );
        let twice: [(&str, &[&str]); 2] = [("a", &["x", "y"]), ("a", &["x", "y"])];
        assert_eq!(
            AttributeSchema::new(twice),
            Err(SchemaError::Names(NameError::Twice { index: 1 }))
        );
    }
}
