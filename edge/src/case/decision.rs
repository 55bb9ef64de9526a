//! When the model's likeliest class is said of a cell, and when the cell stays unidentified.
//!
//! What comes out is a *suggestion*. Only a person's act ([`super::event`]) makes it a decision.

use std::fmt;

use serde::{Deserialize, Serialize};
use shared::class::{ClassId, ClassTable};
use shared::score::Score;
use thiserror::Error;

/// What is said of a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Label {
    /// It is of this class; the class may be one of artefacts.
    Class(ClassId),
    /// Nobody can tell: counted apart, never in the per cent.
    Unidentified,
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Class(class) => write!(f, "class {}", class.0),
            Self::Unidentified => write!(f, "unidentified"),
        }
    }
}

/// Thresholds that no case can be counted with.
#[derive(Clone, Copy, Debug, PartialEq, Error)]
pub enum RulesError {
    /// Not a probability.
    #[error("threshold of {place} is {got}, expected 0 to 1")]
    Score {
        /// Which.
        place: Place,
        /// As given.
        got: f32,
    },
    /// Neither none nor one a class.
    #[error("{got} class thresholds, expected none or {expected}, one a class")]
    Classes {
        /// Classes of the model.
        expected: usize,
        /// As given.
        got: usize,
    },
}

/// Which threshold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// That of all classes.
    All,
    /// That of one class.
    Class(ClassId),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => write!(f, "all classes"),
            Self::Class(class) => write!(f, "class {}", class.0),
        }
    }
}

/// From which score on a class is said; part of the case's record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DecisionRules {
    score: Score,
    class_scores: Vec<Score>,
}

impl DecisionRules {
    /// `score` holds for every class, unless `class_scores` (the contract's, in the order of the class
    /// table) has one a class. All are the least score, 0..=1, at which the class is said.
    pub fn new(score: f32, class_scores: &[f32], classes: &ClassTable) -> Result<Self, RulesError> {
        let checked = |place, got| Score::new(got).ok_or(RulesError::Score { place, got });
        let numbers = (0..).map(ClassId);
        let rules = Self {
            score: checked(Place::All, score)?,
            class_scores: numbers
                .zip(class_scores)
                .map(|(class, &got)| checked(Place::Class(class), got))
                .collect::<Result<_, _>>()?,
        };
        // A list longer than there are class numbers must not look shorter than it is.
        rules.check_length(class_scores.len(), classes)?;
        Ok(rules)
    }

    /// Checks rules that were read against the classes they are for.
    pub fn check(&self, classes: &ClassTable) -> Result<(), RulesError> {
        self.check_length(self.class_scores.len(), classes)
    }

    fn check_length(&self, got: usize, classes: &ClassTable) -> Result<(), RulesError> {
        let expected = classes.len();
        if got == 0 || got == expected {
            Ok(())
        } else {
            Err(RulesError::Classes { expected, got })
        }
    }

    /// The least score at which a cell is said to be of `class`.
    pub fn least(&self, class: ClassId) -> Score {
        let own = self.class_scores.get(class.index());
        own.copied().unwrap_or(self.score)
    }

    /// What is suggested for a cell whose likeliest class is `class`: never the nearest class when the
    /// score is below that class's threshold, also where the class is one of artefacts.
    pub fn suggest(&self, class: ClassId, score: Score) -> Label {
        if score.get() >= self.least(class).get() {
            Label::Class(class)
        } else {
            Label::Unidentified
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn classes() -> ClassTable {
        ClassTable::new(["None", "Myeloblast", "Lymphocyte"]).unwrap()
    }

    fn suggest(rules: &DecisionRules, class: u8, score: f32) -> Label {
        rules.suggest(ClassId(class), Score::new(score).unwrap())
    }

    #[test]
    fn a_class_is_said_from_its_own_threshold_on_and_not_below() {
        let rules = DecisionRules::new(0.25, &[0.3, 0.9, 0.5], &classes()).unwrap();
        let said = |class| Label::Class(ClassId(class));
        let cases = [
            (0, 0.3, said(0)),
            (0, 0.29, Label::Unidentified),
            (1, 0.9, said(1)),
            (1, 0.899, Label::Unidentified),
            (2, 0.5, said(2)),
            (2, 0.4, Label::Unidentified),
        ];
        for (class, score, expected) in cases {
            assert_eq!(suggest(&rules, class, score), expected, "{class} {score}");
        }
    }

    #[test]
    fn without_thresholds_of_classes_the_one_holds_for_all() {
        let rules = DecisionRules::new(0.25, &[], &classes()).unwrap();
        for class in 0..3 {
            let said = Label::Class(ClassId(class));
            assert_eq!(suggest(&rules, class, 0.25), said);
            assert_eq!(suggest(&rules, class, 0.24), Label::Unidentified);
        }
    }

    #[test]
    fn rules_that_do_not_fit_the_classes_are_refused() {
        let long = vec![0.5; 300];
        for (scores, got) in [(&[0.5][..], 1), (&[0.5; 4][..], 4), (&long[..], 300)] {
            let refused = DecisionRules::new(0.25, scores, &classes());
            assert_eq!(refused, Err(RulesError::Classes { expected: 3, got }));
        }
        let refused = DecisionRules::new(0.25, &[0.5, 1.5, 0.5], &classes()).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "threshold of class 1 is 1.5, expected 0 to 1"
        );
        for bad in [f32::NAN, -0.1, f32::INFINITY] {
            assert!(DecisionRules::new(bad, &[], &classes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn rules_are_read_as_they_were_written_and_only_if_legal() {
        let rules = DecisionRules::new(0.25, &[0.3, 0.97, 0.1], &classes()).unwrap();
        let json = serde_json::to_string(&rules).unwrap();
        assert_eq!(serde_json::from_str::<DecisionRules>(&json).unwrap(), rules);
        let bad = json.replace("0.97", "9.7");
        assert!(serde_json::from_str::<DecisionRules>(&bad).is_err());
    }
}
