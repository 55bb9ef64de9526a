use shared::attribute::{
    AttributeFinding, AttributeSchema, LEUKEMIA_ATTRIBUTES, NO_FINDINGS, ValueId,
};
use shared::cell::Detection;
use shared::class::{ClassId, ClassTable, LEUKEMIA_CLASSES};
use shared::geometry::{BBox, Size};
use shared::score::Score;

use super::decision::{DecisionRules, Label};
use super::event::*;
use super::legal::Refused;
use super::order::review_order;
use super::state::*;
use super::text::{Sha256, Text};

const ARTEFACT: u8 = 0;
const MYELOBLAST: u8 = 1;
const NEUTROPHIL: u8 = 3;
const LYMPHOCYTE: u8 = 7;
const MYELOCYTE: u8 = 8;

fn text(text: &str) -> Text {
    text.try_into().unwrap()
}

fn who() -> Text {
    text("A. Technician")
}

fn class(number: u8) -> Label {
    Label::Class(ClassId(number))
}

fn head() -> Sha256 {
    "ab".repeat(32).as_str().try_into().unwrap()
}

fn opened(target: Target) -> CaseOpened {
    let classes = ClassTable::new(LEUKEMIA_CLASSES).unwrap();
    CaseOpened {
        case: "C-0001".try_into().unwrap(),
        patient: Some(text("P 17")),
        specimen: None,
        stain: Some(text("Wright")),
        target,
        rules: DecisionRules::new(0.5, &[], &classes).unwrap(),
        model: ModelUsed {
            name: text("wbc-nano"),
            version: None,
            sha256: head(),
            classes,
            attributes: AttributeSchema::new(LEUKEMIA_ATTRIBUTES).unwrap(),
        },
        calibration: Some(text("cal-1")),
        software: text("0.1.0"),
        who: who(),
    }
}

fn seen(number: u8, score: f32) -> CellSeen {
    let score = Score::new(score).unwrap();
    let rules = opened(Target::Hundred).rules;
    CellSeen {
        bbox: [10.0, 10.0, 40.0, 42.5],
        class: ClassId(number),
        score,
        suggestion: rules.suggest(ClassId(number), score),
        attributes: vec![Some(ValueSeen { value: 2, score }), None],
    }
}

fn open(target: Target) -> CaseState {
    CaseState::open(opened(target)).unwrap()
}

fn field_of(case: &CaseState, cells: Vec<CellSeen>) -> FieldCounted {
    FieldCounted {
        field: case.fields().len() as u32,
        frame: 77,
        size: Size::new(640, 480),
        place: FieldPlace {
            island: 0,
            x_px: -3.5,
            y_px: 12.0,
        },
        meters: FieldMeters {
            focus_share: 0.9,
            brightness: 180.0,
            motion_px: Some(0.25),
            ..FieldMeters::default()
        },
        first_cell: case.cells().len() as u32,
        cells,
        duplicates: 1,
        margin: 2,
        no_room: 0,
    }
}

fn field(case: &CaseState, cells: Vec<CellSeen>) -> CaseEvent {
    CaseEvent::FieldCounted(Box::new(field_of(case, cells)))
}

fn scanned(target: Target, cells: Vec<CellSeen>) -> CaseState {
    let mut case = open(target);
    case.apply(&field(&case, cells)).unwrap();
    case
}

fn review_begun(case: &CaseState) -> CaseEvent {
    CaseEvent::ReviewBegun {
        white_cells: case.white_cells(),
        sufficiency: case.sufficiency(),
        who: who(),
    }
}

fn signed(case: &CaseState) -> CaseEvent {
    CaseEvent::Signed {
        who: text("Dr. B"),
        white_cells: case.white_cells(),
        sufficiency: case.sufficiency(),
        head: head(),
    }
}

fn confirmed(cells: impl IntoIterator<Item = u32>, label: Label) -> CaseEvent {
    CaseEvent::CellsConfirmed {
        cells: cells.into_iter().collect(),
        label,
        who: who(),
    }
}

fn reclassified(cell: u32, before: Label, after: Label) -> CaseEvent {
    CaseEvent::CellReclassified {
        cell,
        before,
        after,
        who: who(),
    }
}

fn removed(cell: u32) -> CaseEvent {
    CaseEvent::CellRemoved { cell, who: who() }
}

fn restored(cell: u32) -> CaseEvent {
    CaseEvent::CellRestored { cell, who: who() }
}

fn added(case: &CaseState, field: u32, label: Label) -> CaseEvent {
    CaseEvent::CellAdded {
        cell: case.cells().len() as u32,
        field,
        bbox: [100.0, 100.0, 130.0, 130.0],
        label,
        who: who(),
    }
}

fn attribute(cell: u32, attribute: u8, before: Option<u8>, after: Option<u8>) -> CaseEvent {
    CaseEvent::AttributeChanged {
        cell,
        attribute,
        before,
        after,
        who: who(),
    }
}

fn resumed(goal: u32) -> CaseEvent {
    CaseEvent::ScanningResumed { goal, who: who() }
}

fn note(words: &str) -> CaseEvent {
    CaseEvent::NoteAdded {
        text: text(words),
        who: who(),
    }
}

fn calibration(before: Option<&str>, after: Option<&str>) -> CaseEvent {
    CaseEvent::CalibrationChanged {
        before: before.map(text),
        after: after.map(text),
        who: who(),
    }
}

fn total(before: Option<f64>, after: Option<f64>) -> CaseEvent {
    CaseEvent::TotalWhiteCellsEntered {
        before,
        after,
        who: who(),
    }
}

fn amended() -> CaseEvent {
    CaseEvent::Amended {
        reason: text("wrong slide"),
        who: who(),
    }
}

/// A case of 100 neutrophils in one field, in each phase.
fn in_phase(phase: Phase) -> CaseState {
    let mut case = scanned(Target::Hundred, vec![seen(NEUTROPHIL, 0.9); 100]);
    let steps: &[Phase] = match phase {
        Phase::Scanning => &[],
        Phase::TargetReached => &[Phase::TargetReached],
        Phase::Review => &[Phase::TargetReached, Phase::Review],
        Phase::Signed => &[Phase::Review, Phase::Signed],
        Phase::Amended => &[Phase::Review, Phase::Signed, Phase::Amended],
    };
    for step in steps {
        let event = match step {
            Phase::Scanning => unreachable!("a case begins so"),
            Phase::TargetReached => case.due().unwrap(),
            Phase::Review => review_begun(&case),
            Phase::Signed => {
                case.apply(&confirmed(0..100, class(NEUTROPHIL))).unwrap();
                signed(&case)
            }
            Phase::Amended => amended(),
        };
        case.apply(&event).unwrap();
    }
    assert_eq!(case.phase(), phase);
    case
}

const PHASES: [Phase; 5] = [
    Phase::Scanning,
    Phase::TargetReached,
    Phase::Review,
    Phase::Signed,
    Phase::Amended,
];

#[test]
fn every_event_happens_in_its_phases_and_in_no_other() {
    let said = class(NEUTROPHIL);
    type Make = Box<dyn Fn(&CaseState) -> CaseEvent>;
    // Scanning, target reached, review, signed, amended.
    let table: Vec<([u8; 5], Make)> = vec![
        (
            [0, 0, 0, 0, 0],
            Box::new(|_| CaseEvent::CaseOpened(Box::new(opened(Target::Hundred)))),
        ),
        ([1, 0, 0, 0, 0], Box::new(|case| field(case, vec![]))),
        (
            [1, 0, 0, 0, 0],
            Box::new(|_| CaseEvent::NewFieldByHand { who: who() }),
        ),
        (
            [1, 0, 0, 0, 0],
            Box::new(|_| CaseEvent::TargetReached { white_cells: 100 }),
        ),
        ([0, 1, 1, 0, 0], Box::new(|_| resumed(200))),
        (
            [1, 1, 0, 0, 0],
            Box::new(|_| calibration(Some("cal-1"), None)),
        ),
        ([1, 1, 0, 0, 0], Box::new(review_begun)),
        ([0, 0, 1, 0, 1], Box::new(signed)),
        ([0, 0, 0, 1, 0], Box::new(|_| amended())),
        (
            [1, 1, 1, 0, 1],
            Box::new(move |_| reclassified(5, said, class(MYELOBLAST))),
        ),
        (
            [1, 1, 1, 0, 1],
            Box::new(move |_| CaseEvent::CellsConfirmed {
                cells: vec![3, 4],
                label: said,
                who: text("Dr. B"),
            }),
        ),
        ([1, 1, 1, 0, 1], Box::new(move |case| added(case, 0, said))),
        ([1, 1, 1, 0, 1], Box::new(|_| removed(7))),
        ([1, 1, 1, 0, 1], Box::new(|_| restored(9))),
        (
            [1, 1, 1, 0, 1],
            Box::new(|_| attribute(5, 0, Some(2), None)),
        ),
        ([1, 1, 1, 0, 1], Box::new(|_| total(None, Some(7.5)))),
        ([1, 1, 1, 0, 1], Box::new(|_| note("clumped"))),
    ];
    for (allowed, event) in &table {
        for (phase, &allowed) in PHASES.into_iter().zip(allowed) {
            let mut case = in_phase(phase);
            let kind = event(&case).kind();
            if kind == "cell_restored" && phase != Phase::Signed {
                case.apply(&removed(9)).unwrap();
            }
            if kind == "signed" && phase == Phase::Review {
                case.apply(&confirmed(0..100, said)).unwrap();
            }
            let event = event(&case);
            let before = case.clone();
            match case.apply(&event) {
                Ok(()) => assert!(allowed == 1 && case != before, "{kind} while {phase}"),
                Err(Refused::Phase { found, .. }) => {
                    assert!(allowed == 0 && found == phase, "{kind} while {phase}");
                    assert_eq!(case, before, "{kind} while {phase}");
                }
                Err(other) => panic!("{kind} while {phase}: {other}"),
            }
        }
    }
}

#[test]
fn a_case_goes_from_scanning_to_an_amended_signature() {
    let mut case = scanned(Target::Hundred, vec![seen(LYMPHOCYTE, 0.8); 60]);
    assert_eq!(case.due(), None);
    case.apply(&field(&case, vec![seen(MYELOBLAST, 0.7); 45]))
        .unwrap();
    let due = case.due();
    assert_eq!(
        due,
        Some(CaseEvent::TargetReached { white_cells: 105 }),
        "a field is counted whole"
    );
    case.apply(&due.unwrap()).unwrap();
    assert_eq!(case.due(), None);
    case.apply(&review_begun(&case)).unwrap();
    case.apply(&confirmed(0..60, class(LYMPHOCYTE))).unwrap();
    case.apply(&confirmed(60..105, class(MYELOBLAST))).unwrap();
    case.apply(&signed(&case)).unwrap();
    case.apply(&amended()).unwrap();
    case.apply(&reclassified(60, class(MYELOBLAST), class(LYMPHOCYTE)))
        .unwrap();
    case.apply(&signed(&case)).unwrap();
    assert_eq!(case.phase(), Phase::Signed);
    let [first, second] = case.signatures() else {
        panic!("{:?}", case.signatures());
    };
    assert_eq!(first.amended, Some(text("wrong slide")));
    assert_eq!((second.white_cells, &second.amended), (105, &None));
    assert_eq!(case.differential().count(ClassId(MYELOBLAST)), 44);
}

#[test]
fn a_low_score_counts_as_unidentified_and_neither_it_nor_an_artefact_reaches_the_target() {
    let mut cells = vec![seen(NEUTROPHIL, 0.9); 99];
    cells.extend(vec![seen(MYELOBLAST, 0.49); 30]);
    cells.extend(vec![seen(ARTEFACT, 0.9); 20]);
    let case = scanned(Target::Hundred, cells);
    let differential = case.differential();
    assert_eq!(
        (
            differential.white_cells(),
            differential.unidentified(),
            differential.apart()
        ),
        (99, 30, 20)
    );
    assert_eq!(case.due(), None);
    let early = CaseEvent::TargetReached { white_cells: 99 };
    assert_eq!(
        case.check(&early),
        Err(Refused::TooFew { goal: 100, got: 99 })
    );
}

#[test]
fn too_few_cells_are_a_result_that_says_so() {
    let mut case = scanned(Target::TwoHundred, vec![seen(NEUTROPHIL, 0.9); 37]);
    let begin = |sufficiency| CaseEvent::ReviewBegun {
        white_cells: 37,
        sufficiency,
        who: who(),
    };
    let refused = case.apply(&begin(Sufficiency::Sufficient)).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "review_begun says sufficient cells, expected insufficient cells with 37 white cells"
    );
    case.apply(&begin(Sufficiency::InsufficientCells)).unwrap();
    case.apply(&confirmed(0..37, class(NEUTROPHIL))).unwrap();
    case.apply(&signed(&case)).unwrap();
    assert_eq!(
        case.signatures()[0].sufficiency,
        Sufficiency::InsufficientCells
    );
}

#[test]
fn counting_goes_on_to_the_new_goal_while_the_target_stays() {
    let mut case = in_phase(Phase::Review);
    let goals = [
        (99, false),
        (100, false),
        (101, true),
        (CELLS_MAX as u32, true),
        (CELLS_MAX as u32 + 1, false),
    ];
    for (goal, legal) in goals {
        assert_eq!(case.check(&resumed(goal)).is_ok(), legal, "{goal}");
    }
    case.apply(&resumed(150)).unwrap();
    assert_eq!(
        (case.phase(), case.goal(), case.due()),
        (Phase::Scanning, 150, None)
    );
    case.apply(&field(&case, vec![seen(NEUTROPHIL, 0.9); 50]))
        .unwrap();
    assert_eq!(
        case.due(),
        Some(CaseEvent::TargetReached { white_cells: 150 })
    );
    assert_eq!(case.sufficiency(), Sufficiency::Sufficient);
}

#[test]
fn no_suggestion_is_signed() {
    let mut case = in_phase(Phase::Review);
    case.apply(&confirmed(1..99, class(NEUTROPHIL))).unwrap();
    let refused = case.apply(&signed(&case)).unwrap_err();
    assert_eq!(refused, Refused::Undecided { cells: 2, first: 0 });
    case.apply(&reclassified(0, class(NEUTROPHIL), Label::Unidentified))
        .unwrap();
    case.apply(&removed(99)).unwrap();
    case.apply(&signed(&case)).unwrap();
    assert_eq!(case.signatures()[0].white_cells, 98);
}

#[test]
fn what_the_model_said_stays_beside_what_people_decided() {
    let mut case = scanned(Target::Hundred, vec![seen(NEUTROPHIL, 0.9)]);
    assert_eq!(
        (case.cells()[0].label(), case.undecided().count()),
        (class(NEUTROPHIL), 1)
    );
    case.apply(&reclassified(0, class(NEUTROPHIL), class(MYELOBLAST)))
        .unwrap();
    case.apply(&attribute(0, 0, Some(2), Some(1))).unwrap();
    case.apply(&attribute(0, 6, None, Some(0))).unwrap();
    let cell = &case.cells()[0];
    assert_eq!(cell.label(), class(MYELOBLAST));
    assert_eq!(
        cell.attributes,
        [Some(1), None, None, None, None, None, Some(0)]
    );
    assert_eq!(cell.seen, Some(seen(NEUTROPHIL, 0.9)));
    assert_eq!(case.undecided().count(), 0);
}

#[test]
fn a_removed_cell_is_in_no_count_until_it_is_restored() {
    let mut case = scanned(Target::Hundred, vec![seen(NEUTROPHIL, 0.9); 2]);
    case.apply(&removed(1)).unwrap();
    assert_eq!((case.white_cells(), case.cells().len()), (1, 2));
    assert_eq!(case.apply(&removed(1)), Err(Refused::Removed { cell: 1 }));
    let edit = reclassified(1, class(NEUTROPHIL), class(MYELOBLAST));
    assert_eq!(case.apply(&edit), Err(Refused::Removed { cell: 1 }));
    assert_eq!(
        case.apply(&restored(0)),
        Err(Refused::NotRemoved { cell: 0 })
    );
    case.apply(&restored(1)).unwrap();
    assert_eq!(case.white_cells(), 2);
    case.apply(&added(&case, 0, class(MYELOBLAST))).unwrap();
    assert_eq!(case.white_cells(), 3);
    case.apply(&removed(2)).unwrap();
    assert_eq!(case.white_cells(), 2, "one added by hand is out too");
}

#[test]
fn a_cell_added_by_hand_is_a_decision_and_takes_the_next_number() {
    let mut case = scanned(Target::Hundred, vec![seen(NEUTROPHIL, 0.9)]);
    case.apply(&added(&case, 0, class(MYELOBLAST))).unwrap();
    case.apply(&field(&case, vec![seen(LYMPHOCYTE, 0.9)]))
        .unwrap();
    assert_eq!((case.fields()[1].first_cell, case.white_cells()), (2, 3));
    assert_eq!(case.undecided().collect::<Vec<_>>(), [0, 2]);
    assert_eq!(
        (
            case.cells()[1].seen.as_ref(),
            case.cells()[1].attributes.len()
        ),
        (None, 7)
    );
}

#[test]
fn an_absolute_count_is_a_share_of_the_entered_total() {
    let mut cells = vec![seen(NEUTROPHIL, 0.9); 3];
    cells.extend([seen(MYELOBLAST, 0.9), seen(ARTEFACT, 0.9)]);
    let mut case = scanned(Target::Hundred, cells);
    assert_eq!(case.absolute(ClassId(NEUTROPHIL)), None);
    case.apply(&total(None, Some(8.0))).unwrap();
    assert_eq!(case.absolute(ClassId(NEUTROPHIL)), Some(6.0));
    assert_eq!(case.absolute(ClassId(ARTEFACT)), None);
    assert!(matches!(
        case.check(&total(None, Some(9.0))),
        Err(Refused::Stale { .. })
    ));
}

#[test]
fn bad_events_are_refused_with_place_expected_and_found() {
    let case = scanned(Target::Hundred, vec![seen(NEUTROPHIL, 0.9); 3]);
    let said = class(NEUTROPHIL);
    let bad_field = |change: &dyn Fn(&mut FieldCounted)| {
        let mut bad = field_of(&case, vec![seen(NEUTROPHIL, 0.9)]);
        change(&mut bad);
        CaseEvent::FieldCounted(Box::new(bad))
    };
    let table = [
        (reclassified(3, said, class(1)), "cell 3, expected below 3"),
        (
            reclassified(0, said, class(14)),
            "class 14, expected below 14",
        ),
        (
            reclassified(0, class(1), class(2)),
            "class of cell 0: the change is from class 1, expected from class 3: another came first",
        ),
        (
            reclassified(0, said, said),
            "class of cell 0 is class 3 already",
        ),
        (
            confirmed([], said),
            "cells_confirmed of no cells, expected at least one",
        ),
        (
            confirmed([0, 1], Label::Unidentified),
            "class of cell 0: the change is from unidentified, expected from class 3: another came first",
        ),
        (added(&case, 1, said), "field 1, expected below 1"),
        (
            attribute(0, 7, None, Some(0)),
            "attribute 7, expected below 7",
        ),
        (attribute(0, 7, None, None), "attribute 7, expected below 7"),
        (
            attribute(0, 0, Some(2), Some(3)),
            "value 3, expected below 3",
        ),
        (
            attribute(0, 0, None, Some(1)),
            "attribute 0 of cell 0: the change is from none, expected from 2: another came first",
        ),
        (
            attribute(0, 1, None, None),
            "attribute 1 of cell 0 is none already",
        ),
        (
            calibration(None, Some("cal-2")),
            "calibration: the change is from none, expected from cal-1: another came first",
        ),
        (
            total(None, Some(f64::NAN)),
            "total white cells is NaN, expected a finite number of at least 0",
        ),
        (
            total(None, Some(-1.0)),
            "total white cells is -1, expected a finite number of at least 0",
        ),
        (
            bad_field(&|f| f.field = 0),
            "field_counted: field is 0, expected 1",
        ),
        (
            bad_field(&|f| f.first_cell = 4),
            "field_counted: first_cell is 4, expected 3",
        ),
        (
            bad_field(&|f| f.place.x_px = f64::INFINITY),
            "x_px is inf, expected a finite number",
        ),
        (
            bad_field(&|f| f.meters.peak = Some(f32::NAN)),
            "meter is NaN, expected a finite number of at least 0",
        ),
        (
            bad_field(&|f| f.cells[0].bbox[2] = 10.0),
            "box [10.0, 10.0, 10.0, 42.5], expected left < right, top < bottom and a part inside 640x480",
        ),
        (
            bad_field(&|f| f.cells[0].class = ClassId(14)),
            "class 14, expected below 14",
        ),
        (
            bad_field(&|f| f.cells[0].suggestion = class(MYELOBLAST)),
            "cell of likeliest class 3: suggestion is class 1, expected that class or unidentified",
        ),
        (
            bad_field(&|f| f.cells[0].attributes = vec![None; 8]),
            "8 attributes of a cell, expected at most 7",
        ),
        (
            bad_field(&|f| f.cells = vec![seen(NEUTROPHIL, 0.9); FIELD_CELLS_MAX + 1]),
            "1001 cells of a field, expected at most 1000",
        ),
        (
            CaseEvent::TargetReached { white_cells: 100 },
            "target_reached: white_cells is 100, expected 3",
        ),
    ];
    for (event, message) in table {
        let mut refused = case.clone();
        let error = refused.apply(&event).unwrap_err();
        assert_eq!(error.to_string(), message, "{event:?}");
        assert_eq!(refused, case, "{message}");
    }
}

#[test]
fn a_case_holds_so_many_cells_and_notes_and_no_more() {
    let mut case = open(Target::Hundred);
    let full = vec![seen(NEUTROPHIL, 0.9); FIELD_CELLS_MAX];
    for _ in 0..CELLS_MAX / FIELD_CELLS_MAX {
        case.apply(&field(&case, full.clone())).unwrap();
    }
    let got = CELLS_MAX + 1;
    let refused = Err(Refused::TooMany {
        what: "cells",
        max: CELLS_MAX,
        got,
    });
    assert_eq!(
        case.apply(&field(&case, vec![seen(NEUTROPHIL, 0.9)])),
        refused
    );
    assert_eq!(case.apply(&added(&case, 0, class(NEUTROPHIL))), refused);
    for _ in 0..NOTES_MAX {
        case.apply(&note("x")).unwrap();
    }
    assert!(matches!(
        case.apply(&note("x")),
        Err(Refused::TooMany { what: "notes", .. })
    ));
}

#[test]
fn a_case_whose_tables_contradict_each_other_does_not_open() {
    let mut one_class = opened(Target::Hundred);
    one_class.rules = DecisionRules::new(0.5, &[0.5], &ClassTable::new(["a"]).unwrap()).unwrap();
    let refused = CaseState::open(one_class).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "1 class thresholds, expected none or 14, one a class"
    );
    let mut twice = opened(Target::Hundred);
    twice.model.classes = serde_json::from_str(r#"["a","a"]"#).unwrap();
    assert_eq!(
        CaseState::open(twice).unwrap_err().to_string(),
        "classes: name 1 stands twice"
    );
}

#[test]
fn a_fold_says_which_event_could_not_have_happened() {
    let begin = CaseEvent::CaseOpened(Box::new(opened(Target::Hundred)));
    assert_eq!(CaseState::fold([]), Err(FoldError::Empty));
    let got = "note_added";
    assert_eq!(
        CaseState::fold([note("x")]),
        Err(FoldError::NotOpened { got })
    );
    let error = CaseState::fold([begin.clone(), note("x"), begin]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "event 2: case_opened while the case is scanning, expected no case"
    );
}

/// Numbers that look random and are the same in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u32) -> u32 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        ((self.0 >> 33) % u64::from(n)) as u32
    }
}

/// An event that may be legal, from one who sees the case as it is.
fn throw(dice: &mut Dice, case: &CaseState) -> CaseEvent {
    let cell = dice.below(case.cells().len() as u32 + 1);
    let now = case.cells().get(cell as usize);
    let before = now.map_or(Label::Unidentified, CellState::label);
    let label = class(dice.below(14) as u8);
    // Most of a review is confirming galleries; thrown like the rest, hardly a case would be signed.
    let kind = match case.phase() {
        Phase::Review if dice.below(2) == 0 => 13,
        _ => dice.below(16),
    };
    match kind {
        0..=3 => {
            let cells = (0..dice.below(12)).map(|_| {
                let class = dice.below(14) as u8;
                seen(class, dice.below(1001) as f32 / 1000.0)
            });
            let cells = cells.collect();
            field(case, cells)
        }
        4 => reclassified(cell, before, label),
        5 => confirmed([cell], before),
        6 => removed(cell),
        7 => restored(cell),
        8 => attribute(
            cell,
            0,
            now.and_then(|cell| cell.attributes[0]),
            Some(dice.below(3) as u8),
        ),
        9 => added(case, dice.below(case.fields().len() as u32 + 1), label),
        10 => case.due().unwrap_or(note("no target yet")),
        11 => resumed(case.white_cells() + dice.below(30)),
        12 if dice.below(4) == 0 => review_begun(case),
        13 if case.undecided().next().is_none() => signed(case),
        // What is undecided and says the same as the first such cell: as a gallery is confirmed.
        13 => {
            let said = |cell: u32| case.cells()[cell as usize].label();
            let first = case.undecided().next().map_or(before, said);
            confirmed(case.undecided().filter(|&cell| said(cell) == first), first)
        }
        14 => amended(),
        _ => total(
            case.total_white_cells(),
            Some(f64::from(dice.below(90)) / 7.0),
        ),
    }
}

#[test]
fn a_case_read_back_from_its_json_is_the_same_case() {
    let (mut taken, mut refused, mut signatures) = (0, 0, 0);
    for seed in 0..200 {
        let mut dice = Dice(seed);
        let mut case = open(Target::Hundred);
        let begin = CaseEvent::CaseOpened(Box::new(opened(Target::Hundred)));
        let mut lines = vec![serde_json::to_string(&begin).unwrap()];
        for _ in 0..120 {
            let event = throw(&mut dice, &case);
            let before = case.clone();
            match case.apply(&event) {
                Ok(()) => {
                    lines.push(serde_json::to_string(&event).unwrap());
                    taken += 1;
                }
                Err(_) => {
                    assert_eq!(case, before, "seed {seed}");
                    refused += 1;
                }
            }
        }
        signatures += case.signatures().len();
        let events = lines.iter().map(|line| serde_json::from_str(line).unwrap());
        assert_eq!(CaseState::fold(events), Ok(case), "seed {seed}");
    }
    assert!(
        taken > 5000 && refused > 1000 && signatures > 50,
        "{taken} {refused} {signatures}"
    );
}

#[test]
fn the_json_of_an_event_is_named_by_its_kind_and_knows_no_other_keys() {
    let case = in_phase(Phase::Review);
    let events = [
        CaseEvent::CaseOpened(Box::new(opened(Target::Hundred))),
        field(&case, vec![seen(NEUTROPHIL, 0.1)]),
        CaseEvent::NewFieldByHand { who: who() },
        CaseEvent::TargetReached { white_cells: 100 },
        resumed(101),
        calibration(None, None),
        reclassified(0, class(1), Label::Unidentified),
        confirmed([0], class(1)),
        added(&case, 0, class(1)),
        removed(0),
        restored(0),
        attribute(0, 0, None, Some(1)),
        total(None, Some(1.5)),
        review_begun(&case),
        signed(&case),
        amended(),
        note("x"),
    ];
    for event in events {
        let json = serde_json::to_value(&event).unwrap();
        let (kind, body) = json.as_object().unwrap().iter().next().unwrap();
        assert_eq!(kind, event.kind());
        let acted = body.get("who").and_then(|who| who.as_str());
        assert_eq!(acted, event.who().map(Text::as_str), "{kind}");
        let mut more = json.clone();
        more[kind]["surprise"] = 1.into();
        let error = serde_json::from_value::<CaseEvent>(more).unwrap_err();
        assert!(
            error.to_string().contains("unknown field `surprise`"),
            "{kind}: {error}"
        );
    }
    let written = serde_json::to_string(&reclassified(7, class(3), Label::Unidentified)).unwrap();
    assert_eq!(
        written,
        r#"{"cell_reclassified":{"cell":7,"before":{"class":3},"after":"unidentified","who":"A. Technician"}}"#
    );
    let target = serde_json::from_str::<Target>("300")
        .unwrap_err()
        .to_string();
    assert!(
        target.contains("target of 300 cells, expected 100, 200 or 400"),
        "{target}"
    );
}

#[test]
fn a_detection_becomes_a_cell_with_the_suggestion_of_the_rules() {
    let mut attributes = NO_FINDINGS;
    let score = Score::new(0.75).unwrap();
    let value = ValueId::new(1).unwrap();
    attributes[2] = Some(AttributeFinding { value, score });
    let found = Detection {
        bbox: BBox::from_corners(1.0, 2.0, 30.0, 40.0).unwrap(),
        class: ClassId(MYELOBLAST),
        score: Score::new(0.49).unwrap(),
        attributes,
    };
    let seen = CellSeen::new(&found, &opened(Target::Hundred).rules, 7);
    assert_eq!(
        (seen.bbox, seen.class),
        ([1.0, 2.0, 30.0, 40.0], ClassId(MYELOBLAST))
    );
    assert_eq!(seen.suggestion, Label::Unidentified);
    let expected = Some(ValueSeen { value: 1, score });
    assert_eq!(
        seen.attributes,
        [None, None, expected, None, None, None, None]
    );
    open(Target::Hundred)
        .apply(&field(&open(Target::Hundred), vec![seen]))
        .unwrap();
}

#[test]
fn blasts_come_first_then_the_least_certain() {
    let mut case = scanned(
        Target::Hundred,
        vec![
            seen(ARTEFACT, 0.6),   // 0: last
            seen(NEUTROPHIL, 0.9), // 1
            seen(NEUTROPHIL, 0.5), // 2: before 1
            seen(LYMPHOCYTE, 0.2), // 3: unidentified
            seen(MYELOCYTE, 0.99), // 4: abnormal
            seen(MYELOBLAST, 0.9), // 5
            seen(MYELOBLAST, 0.6), // 6: first
            seen(MYELOBLAST, 0.5), // 7: removed
            seen(NEUTROPHIL, 0.9), // 8: reclassified as a blast
        ],
    );
    case.apply(&removed(7)).unwrap();
    case.apply(&reclassified(8, class(NEUTROPHIL), class(MYELOBLAST)))
        .unwrap();
    case.apply(&added(&case, 0, class(MYELOBLAST))).unwrap(); // 9: no score
    assert_eq!(review_order(&case), [6, 5, 8, 9, 4, 3, 2, 1, 0]);
}
