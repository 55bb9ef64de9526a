//! Cell classes by number and name.

use core::fmt;

use heapless::{String, Vec};
use serde::{Deserialize, Serialize};

/// Most classes a model may have (COCO's 80, so that its checkpoints can be read).
pub const MAX_CLASSES: usize = 80;

/// Longest name of a class, an attribute or a value, in bytes.
pub const MAX_NAME: usize = 32;

/// A name of the data set, spelled as there.
pub type Name = String<MAX_NAME>;

/// Position of a class in its [`ClassTable`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ClassId(pub u8);

impl ClassId {
    /// As an index.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// What is wrong with a list of names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameError {
    /// No name at all.
    Empty,
    /// More names than a table holds.
    TooMany {
        /// The limit.
        max: usize,
    },
    /// An empty name, or one of more than [`MAX_NAME`] bytes, or one with a control character.
    Unusable {
        /// Its position.
        index: usize,
    },
    /// The name stands twice.
    Twice {
        /// Position of the second.
        index: usize,
    },
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => write!(f, "no names, expected at least one"),
            Self::TooMany { max } => write!(f, "more than {max} names"),
            Self::Unusable { index } => {
                write!(
                    f,
                    "name {index} is empty, longer than {MAX_NAME} bytes or has a control character"
                )
            }
            Self::Twice { index } => write!(f, "name {index} stands twice"),
        }
    }
}

impl core::error::Error for NameError {}

/// Collects `names` into a vector of at most `N`, refusing what could not be told apart or printed.
pub(crate) fn collect_names<'a, const N: usize>(
    names: impl IntoIterator<Item = &'a str>,
) -> Result<Vec<Name, N>, NameError> {
    let mut out: Vec<Name, N> = Vec::new();
    for (index, name) in names.into_iter().enumerate() {
        if name.trim().is_empty() || name.chars().any(char::is_control) {
            return Err(NameError::Unusable { index });
        }
        let name = Name::try_from(name).map_err(|_| NameError::Unusable { index })?;
        if out.contains(&name) {
            return Err(NameError::Twice { index });
        }
        out.push(name).map_err(|_| NameError::TooMany { max: N })?;
    }
    if out.is_empty() {
        Err(NameError::Empty)
    } else {
        Ok(out)
    }
}

/// The classes of a data set or a model, in the order of their numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ClassTable {
    names: Vec<Name, MAX_CLASSES>,
}

impl ClassTable {
    /// Names in the order of their numbers, each once.
    pub fn new<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self, NameError> {
        Ok(Self {
            names: collect_names(names)?,
        })
    }

    /// Classes in all.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// A table made by [`ClassTable::new`] is never empty; one that was read may be.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// The name of `class`, if there is such a class.
    pub fn name(&self, class: ClassId) -> Option<&str> {
        self.names.get(class.index()).map(String::as_str)
    }

    /// The class called `name`, spelled exactly so.
    pub fn find(&self, name: &str) -> Option<ClassId> {
        self.names
            .iter()
            .position(|known| known == name)
            .map(|index| ClassId(index as u8))
    }

    /// Number and name of every class.
    pub fn iter(&self) -> impl Iterator<Item = (ClassId, &str)> {
        self.names
            .iter()
            .enumerate()
            .map(|(index, name)| (ClassId(index as u8), name.as_str()))
    }

    /// Checks what [`ClassTable::new`] promises, for a table that was read from a file.
    pub fn check(&self) -> Result<(), NameError> {
        collect_names::<MAX_CLASSES>(self.names.iter().map(String::as_str)).map(|_| ())
    }
}

/// LeukemiaAttri's fourteen classes, in the order of its label files (attridet.md, 2.2).
pub const LEUKEMIA_CLASSES: [&str; 14] = [
    "None",
    "Myeloblast",
    "Lymphoblast",
    "Neutrophil",
    "Atypical lymphocyte",
    "Promonocyte",
    "Monoblast",
    "Lymphocyte",
    "Myelocyte",
    "Abnormal promyelocyte",
    "Monocyte",
    "Metamyelocyte",
    "Eosinophil",
    "Basophil",
];

/// WBCAtt's five classes, spelled as in its `attributes.csv`.
pub const WBCATT_CLASSES: [&str; 5] = [
    "Neutrophil",
    "Eosinophil",
    "Basophil",
    "Lymphocyte",
    "Monocyte",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_not_be_told_apart_are_refused() {
        assert_eq!(ClassTable::new([]), Err(NameError::Empty));
        assert_eq!(
            ClassTable::new(["a", "b", "a"]),
            Err(NameError::Twice { index: 2 })
        );
        assert_eq!(
            ClassTable::new(["a", ""]),
            Err(NameError::Unusable { index: 1 })
        );
        assert_eq!(
            ClassTable::new(["a\n"]),
            Err(NameError::Unusable { index: 0 })
        );
        assert_eq!(
            ClassTable::new(["an extremely long name of a white cell"]),
            Err(NameError::Unusable { index: 0 })
        );
    }

    #[test]
    fn a_class_is_found_by_its_exact_name() {
        let table = ClassTable::new(LEUKEMIA_CLASSES).unwrap();
        assert_eq!(table.find("Basophil"), Some(ClassId(13)));
        assert_eq!(table.find("basophil"), None);
        assert_eq!(table.name(ClassId(14)), None);
    }
}
