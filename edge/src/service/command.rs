//! What a person asks of the station through the page, and the answer.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use crate::case::text::TEXT_BYTES_MAX;

/// Commands that wait at most; a page sends one after another.
pub const WAITING_MAX: usize = 8;

/// Longest text of a field, bytes.
pub const TEXT_MAX: usize = TEXT_BYTES_MAX;

/// What is asked.
///
/// In JSON an object with `do`: `{"do": "new_case", "patient": "P-7", ...}`. Names of persons are
/// those they give; texts have at most [`TEXT_MAX`] bytes and no control characters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub enum Command {
    /// Opens a case and begins to count.
    NewCase {
        /// Pseudonym of the patient.
        patient: String,
        /// Of the specimen.
        specimen: String,
        /// Of the smear.
        stain: String,
        /// White cells to count; the configuration's when left out.
        target: Option<u32>,
        /// Name of the case; the station makes one when left out.
        #[serde(default)]
        case: Option<String>,
        /// Who opens it; `operator` when left out.
        #[serde(default)]
        who: Option<String>,
    },
    /// This is another place of the slide: said by hand when the place was lost.
    NewField {
        /// Who says so; `operator` when left out.
        #[serde(default)]
        who: Option<String>,
    },
    /// Counting is over, the review begins.
    BeginReview {
        /// Who.
        who: String,
    },
    /// Counting goes on, until so many white cells.
    ResumeScanning {
        /// White cells, more than there are.
        goal: u32,
        /// Who.
        who: String,
    },
    /// The scale of the configuration holds for the pictures as they are now: said after the source
    /// changed its size, or another scale was set while the case was open.
    AcceptScale {
        /// Who says so.
        who: String,
    },
    /// What is said of these cells is right; all are said to be of the same class.
    Confirm {
        /// Numbers of the cells in the case.
        cells: Vec<u64>,
        /// Name of the class, or nothing for unidentified.
        class: Option<String>,
        /// Who says so.
        who: String,
    },
    /// A cell is of another class; `class` is the contract's name, or nothing for unidentified.
    Reclassify {
        /// Number of the cell in the case.
        cell: u64,
        /// Name of the class.
        class: Option<String>,
        /// Who says so.
        who: String,
    },
    /// A cell has another value of an attribute; nothing = unknown.
    SetAttribute {
        /// Number of the cell in the case.
        cell: u64,
        /// Name of the attribute.
        attribute: String,
        /// Name of the value.
        value: Option<String>,
        /// Who says so.
        who: String,
    },
    /// A cell is not to be counted.
    RemoveCell {
        /// Number of the cell in the case.
        cell: u64,
        /// Who says so.
        who: String,
    },
    /// It is to be counted after all.
    RestoreCell {
        /// Number of the cell in the case.
        cell: u64,
        /// Who says so.
        who: String,
    },
    /// A remark.
    Note {
        /// What.
        text: String,
        /// Who.
        who: String,
    },
    /// The case is as it should be.
    Sign {
        /// Who answers for it.
        who: String,
    },
    /// A signed case is opened again.
    Amend {
        /// Why.
        reason: String,
        /// Who.
        who: String,
    },
}

impl Command {
    /// Checks the texts.
    ///
    /// # Errors
    /// The first one that is empty, too long or holds a control character.
    pub fn check(&self) -> Result<(), Refusal> {
        for (field, text) in self.texts() {
            let found = if text.trim().is_empty() {
                "empty".to_owned()
            } else if text.len() > TEXT_MAX {
                format!("{} bytes", text.len())
            } else if let Some(c) = text.chars().find(|c| c.is_control()) {
                format!("with {c:?}")
            } else {
                continue;
            };
            return Err(Refusal::Invalid(format!(
                "{field} is {found}, expected 1 to {TEXT_MAX} bytes without control characters"
            )));
        }
        Ok(())
    }

    fn texts(&self) -> Vec<(&'static str, &str)> {
        match self {
            Self::NewCase {
                patient,
                specimen,
                stain,
                target: _,
                case,
                who,
            } => {
                let given = [
                    ("patient", patient),
                    ("specimen", specimen),
                    ("stain", stain),
                ];
                let given = given.map(|(field, text)| (field, text.as_str()));
                let optional = [("case", case.as_deref()), ("who", who.as_deref())];
                let optional = optional.into_iter();
                let optional = optional.filter_map(|(field, text)| Some((field, text?)));
                given.into_iter().chain(optional).collect()
            }
            Self::NewField { who } => who.iter().map(|who| ("who", who.as_str())).collect(),
            Self::BeginReview { who }
            | Self::ResumeScanning { goal: _, who }
            | Self::AcceptScale { who }
            | Self::Sign { who }
            | Self::RemoveCell { cell: _, who }
            | Self::RestoreCell { cell: _, who } => vec![("who", who)],
            Self::Reclassify { class, who, .. } | Self::Confirm { class, who, .. } => {
                let class = class.as_deref().map(|class| ("class", class));
                class.into_iter().chain([("who", who.as_str())]).collect()
            }
            Self::SetAttribute {
                attribute,
                value,
                who,
                ..
            } => {
                let value = value.as_deref().map(|value| ("value", value));
                let others = [("attribute", attribute.as_str()), ("who", who.as_str())];
                value.into_iter().chain(others).collect()
            }
            Self::Note { text, who } => vec![("text", text), ("who", who)],
            Self::Amend { reason, who } => vec![("reason", reason), ("who", who)],
        }
    }
}

/// A command was followed; what it changed is on the disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Done {
    /// The case it is about.
    pub case: Option<String>,
    /// For the person who asked.
    pub message: String,
}

/// A command was not followed; nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It makes no sense by itself.
    #[error("{0}")]
    Invalid(String),
    /// There is no such case, cell, class or attribute.
    #[error("{0}")]
    NotFound(String),
    /// Not in this state of the case or the station.
    #[error("{0}")]
    NotNow(String),
    /// The disk is full, read-only or gone.
    #[error("{0}")]
    Disk(String),
}

/// A command with the way back for its answer.
#[derive(Debug)]
pub struct Order {
    command: Command,
    answer: oneshot::Sender<Result<Done, Refusal>>,
}

impl Order {
    /// What is asked; checked already.
    pub fn command(&self) -> &Command {
        &self.command
    }

    /// Answers. Whoever asked may have gone; the command is followed all the same.
    pub fn answer(self, answer: Result<Done, Refusal>) {
        let _ = self.answer.send(answer);
    }
}

/// Where the commands come out; dropped when none is taken any more.
#[derive(Debug)]
pub struct Orders(Receiver<Order>);

impl Orders {
    /// The next command, if one waits.
    pub fn take(&self) -> Option<Order> {
        self.0.try_recv().ok()
    }

    /// The next command, waiting at most so long for it; `None` also when nobody can send one any more.
    pub fn wait(&self, at_most: Duration) -> Option<Order> {
        self.0.recv_timeout(at_most).ok()
    }
}

/// Where the commands go in.
#[derive(Clone)]
pub struct Desk(Arc<dyn Fn(Order) -> Result<(), Unsent> + Send + Sync>);

/// Why a command was not passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsent {
    /// Too many wait.
    Full,
    /// Nobody takes them.
    Closed,
}

impl Desk {
    /// Commands go into a bounded queue that holds other things as well.
    pub fn into_queue<T: From<Order> + Send + 'static>(queue: SyncSender<T>) -> Self {
        Self(Arc::new(move |order| {
            queue.try_send(T::from(order)).map_err(|error| match error {
                TrySendError::Full(_) => Unsent::Full,
                TrySendError::Disconnected(_) => Unsent::Closed,
            })
        }))
    }

    /// Passes a command on without waiting.
    pub(super) fn send(
        &self,
        command: Command,
    ) -> Result<oneshot::Receiver<Result<Done, Refusal>>, Unsent> {
        let (answer, answered) = oneshot::channel();
        (self.0)(Order { command, answer }).map(|()| answered)
    }
}

/// The two ends of a bounded queue of commands.
pub fn desk() -> (Desk, Orders) {
    let (sender, receiver) = sync_channel(WAITING_MAX);
    (Desk::into_queue(sender), Orders(receiver))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEW_FIELD: Command = Command::NewField { who: None };

    #[test]
    fn texts_must_be_texts() {
        let sign = |who: &str| Command::Sign {
            who: who.to_owned(),
        };
        assert_eq!(sign("Dr. Ödegård").check(), Ok(()));
        let long = "x".repeat(TEXT_MAX + 1);
        for (who, found) in [
            ("", "who is empty"),
            (" \u{a0}", "who is empty"),
            ("a\nb", "who is with '\\n'"),
            ("\u{7f}", "who is with '\\u{7f}'"),
            (&long, "who is 401 bytes"),
        ] {
            let words = sign(who).check().unwrap_err().to_string();
            assert!(words.starts_with(found), "{words}");
        }
        let command = Command::SetAttribute {
            cell: 1,
            attribute: "shape".to_owned(),
            value: Some(String::new()),
            who: "a".to_owned(),
        };
        let words = command.check().unwrap_err().to_string();
        assert!(words.starts_with("value is empty"), "{words}");
    }

    #[test]
    fn unknown_commands_and_unknown_fields_are_refused() {
        for bad in [
            r#"{"do":"format_disk"}"#,
            r#"{"do":"sign","who":"a","really":true}"#,
            r#"{"do":"sign"}"#,
            r#"{"do":"remove_cell","cell":-1,"who":"a"}"#,
            r#"{"who":"a"}"#,
        ] {
            assert!(serde_json::from_str::<Command>(bad).is_err(), "{bad}");
        }
        let good = r#"{"do":"reclassify","cell":7,"class":null,"who":"a"}"#;
        let expected = Command::Reclassify {
            cell: 7,
            class: None,
            who: "a".to_owned(),
        };
        assert_eq!(serde_json::from_str::<Command>(good).unwrap(), expected);
    }

    #[test]
    fn the_queue_is_bounded_and_says_when_nobody_listens() {
        let (desk, orders) = desk();
        for _ in 0..WAITING_MAX {
            assert!(desk.send(NEW_FIELD).is_ok());
        }
        assert_eq!(desk.send(NEW_FIELD).unwrap_err(), Unsent::Full);
        let order = orders.take().unwrap();
        assert_eq!(order.command(), &NEW_FIELD);
        // Whoever asked is gone: no matter.
        order.answer(Ok(Done::default()));
        assert!(desk.send(NEW_FIELD).is_ok());
        drop(orders);
        assert_eq!(desk.send(NEW_FIELD).unwrap_err(), Unsent::Closed);
    }
}
