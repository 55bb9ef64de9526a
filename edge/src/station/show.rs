//! What the page shows, made of what the threads have told.

use std::sync::atomic::Ordering;

use shared::domain::Domain;

use crate::case::advice::{Advice, Leading, More, advise};
use crate::case::decision::Label;
use crate::case::state::{CaseState, Phase};
use crate::count::CountTable;
use crate::service::view::{
    Banner, BannerLevel, CaseView, ClassRow, FieldView, Meter, Mode, ModelView, SourceView,
    StationState,
};
use crate::source::life::LifeState;
use crate::store::Flaw;
use field::Seen;
use field::gate::GateLimits;

use super::desk::{OpenCase, Problem};
use super::gauge::Gauged;
use super::settings::CaseSettings;
use super::shared::{FieldSeen, Shared, SourceSeen};

/// What is shown of.
pub struct Showing<'a> {
    /// Clock, source and field.
    pub shared: &'a Shared,
    /// The case.
    pub case: Option<&'a OpenCase>,
    /// The model and the wish for narrow limits.
    pub settings: &'a CaseSettings,
    /// Why no field is counted.
    pub why_not: Option<String>,
    /// Why records fail.
    pub problem: Option<&'a Problem>,
    /// Why the disk took nothing at the start.
    pub read_only: Option<&'a str>,
    /// What is wrong with the station's chain.
    pub station_flaw: Option<&'a Flaw>,
    /// From the start, and of the calibration.
    pub banners: &'a [Banner],
    /// How near the slide is to the training pictures.
    pub gauged: Option<Gauged>,
}

/// The state of this moment.
pub fn state(showing: &Showing<'_>) -> StationState {
    let shared = showing.shared;
    let (source, field) = (shared.source(), shared.field());
    let model = &showing.settings.model;
    StationState {
        mode: match shared.is_stopping() {
            true => Mode::Stopping,
            false => Mode::Running,
        },
        moment: Some(shared.clock.moment()),
        banners: banners(showing, &source),
        source: SourceView {
            name: source.name.clone(),
            state: life_word(source.state),
        },
        field: field_view(
            &field,
            &source,
            showing.why_not.as_deref(),
            shared.may_count.load(Ordering::Acquire),
            &showing.settings.gate,
        ),
        domain: gauged(showing).map(|(gauged, domain)| gauged.view(domain)),
        case: showing.case.map(|case| case_view(case, showing.settings)),
        model: ModelView {
            name: model.name.to_string(),
            sha256: model.sha256.to_string(),
        },
    }
}

fn gauged<'a>(showing: &'a Showing<'_>) -> Option<(&'a Gauged, &'a Domain)> {
    showing
        .gauged
        .as_ref()
        .zip(showing.settings.domain.as_ref())
}

fn banners(showing: &Showing<'_>, source: &SourceSeen) -> Vec<Banner> {
    let banner = |level, text: String| Banner { level, text };
    let mut all = showing.banners.to_vec();
    if let Some(problem) = showing.problem {
        all.push(banner(BannerLevel::Error, problem.text.clone()));
    }
    if let Some(reason) = showing.read_only {
        let text = format!(
            "Nothing can be recorded, so nothing is counted; the disk is tried again by itself: {reason}"
        );
        all.push(banner(BannerLevel::Error, text));
    }
    if let Some(flaw) = showing.station_flaw {
        let text = format!("The station's own record is damaged: {flaw}");
        all.push(banner(BannerLevel::Error, text));
    }
    let scanning = showing.case.map(|it| it.state.phase()) == Some(Phase::Scanning);
    let is_said = showing.problem.is_some() || showing.read_only.is_some();
    if let (true, false, Some(reason)) = (scanning, is_said, &showing.why_not) {
        let text = format!("Nothing is counted: {reason}");
        all.push(banner(BannerLevel::Error, text));
    }
    if let Some(text) = &source.banner {
        let level = match source.state {
            Some(LifeState::Live | LifeState::Degraded) if source.size_changed.is_none() => {
                BannerLevel::Warning
            }
            _ => BannerLevel::Error,
        };
        all.push(banner(level, text.clone()));
    }
    if source.over {
        let text = format!("{}: everything was shown.", source.name);
        all.push(banner(BannerLevel::Warning, text));
    }
    all.extend(gauged(showing).and_then(|(gauged, domain)| gauged.banner(domain)));
    all.sort_by_key(|it| it.level == BannerLevel::Warning);
    all
}

fn life_word(state: Option<LifeState>) -> &'static str {
    match state {
        None | Some(LifeState::Starting) => "starting",
        Some(LifeState::Live) => "live",
        Some(LifeState::Degraded) => "degraded",
        Some(LifeState::Stalled) => "stalled",
        Some(LifeState::Lost) => "lost",
    }
}

/// "Why is this field not counted" always has an answer.
fn field_view(
    field: &FieldSeen,
    source: &SourceSeen,
    why_not: Option<&str>,
    may_count: bool,
    gate: &GateLimits,
) -> FieldView {
    let mut reasons: Vec<String> = why_not.map(str::to_owned).into_iter().collect();
    reasons.extend(field.problem.clone());
    if !may_count {
        let trouble = source.banner.clone();
        reasons.push(trouble.unwrap_or_else(|| "no picture that can be counted comes".to_owned()));
    }
    let Some(seen) = &field.seen else {
        reasons.push("no frame was judged".to_owned());
        return FieldView {
            reasons,
            ..FieldView::default()
        };
    };
    reasons.extend(seen.verdict.reasons.iter().map(ToString::to_string));
    FieldView {
        counted: reasons.is_empty(),
        reasons,
        meters: meters(seen, gate),
    }
}

/// With the limits of the gate; that of motion depends on the frame, so the reason says it.
fn meters(seen: &Seen, gate: &GateLimits) -> Vec<Meter> {
    let meter = |name, value, min, max, unit| Meter {
        name,
        value,
        min,
        max,
        unit,
    };
    let (m, g) = (&seen.meters, gate);
    let (most, least) = (Some, Some);
    vec![
        meter(
            "focus",
            Some(m.focus_share),
            least(g.focus_share_min),
            None,
            "",
        ),
        meter(
            "detail",
            m.compressed_share,
            least(g.compressed_share_min),
            None,
            "",
        ),
        meter("motion", m.motion_px, None, None, "px"),
        meter(
            "brightness",
            Some(m.brightness),
            least(g.brightness_min),
            most(g.brightness_max),
            "",
        ),
        meter(
            "black",
            Some(m.clipped_low),
            None,
            most(g.clipped_low_max),
            "",
        ),
        meter(
            "white",
            Some(m.clipped_high),
            None,
            most(g.clipped_high_max),
            "",
        ),
        meter(
            "white balance",
            Some(m.white_balance),
            None,
            most(g.white_balance_max),
            "",
        ),
        meter(
            "covered",
            Some(m.covered),
            least(g.covered_min),
            most(g.covered_max),
            "",
        ),
    ]
}

fn phase_word(phase: Phase) -> &'static str {
    match phase {
        Phase::Scanning => "scanning",
        Phase::TargetReached => "target_reached",
        Phase::Review => "review",
        Phase::Signed => "signed",
        Phase::Amended => "amended",
    }
}

fn case_view(case: &OpenCase, settings: &CaseSettings) -> CaseView {
    let state = &case.state;
    CaseView {
        id: case.id.to_string(),
        state: phase_word(state.phase()),
        counted: state.white_cells(),
        target: state.goal(),
        fields: state.fields().len() as u32,
        rows: rows(state),
        advice: advice(state, settings),
    }
}

fn rows(case: &CaseState) -> Vec<ClassRow> {
    let classes = &case.opened().model.classes;
    let table = CountTable::new(&case.differential(), classes);
    let lines = table.classes.into_iter().chain(table.apart);
    let mut rows: Vec<_> = lines
        .map(|line| ClassRow {
            class: line.class,
            count: line.count,
            percent: line.percent,
            limits_percent: line.limits_percent,
        })
        .collect();
    let unidentified = case.counted_cells();
    let unidentified = unidentified.filter(|(_, cell)| cell.label() == Label::Unidentified);
    rows.push(ClassRow {
        class: "Unidentified".to_owned(),
        count: unidentified.count() as u32,
        percent: None,
        limits_percent: None,
    });
    rows
}

/// What to do next, in words.
fn advice(case: &CaseState, settings: &CaseSettings) -> Option<String> {
    let opened = case.opened();
    let advice = advise(
        &case.differential(),
        &opened.model.classes,
        opened.target,
        &settings.wish,
    );
    match case.phase() {
        Phase::Scanning => Some(format!(
            "{} more white cells to the goal",
            case.goal().saturating_sub(advice.white_cells)
        )),
        Phase::TargetReached => Some(match more(&advice) {
            Some(words) => format!("begin the review, or {words}"),
            None => "begin the review".to_owned(),
        }),
        Phase::Review | Phase::Amended => {
            let left = case.undecided().count();
            Some(match left {
                0 => "sign".to_owned(),
                left => format!("{left} cells wait for a decision"),
            })
        }
        Phase::Signed => None,
    }
}

fn more(advice: &Advice) -> Option<String> {
    let more = match &advice.leading {
        Leading::NoSuchClass => return None,
        Leading::Unseen { more, .. } | Leading::Class { more, .. } => more,
    };
    match more {
        More::Enough => None,
        More::Count(cells) => Some(format!("count {cells} more")),
        More::BeyondACase => Some("count on: the limits stay wide".to_owned()),
    }
}
