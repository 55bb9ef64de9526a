//! How near a slide is to the pictures that the model was trained on.

use serde_json::json;
use shared::domain::{Distance, Domain, Gathered, Look, LookError, Nearness, Quantity};
use shared::domain::{look, median_side, side_of};

use crate::case::state::Phase;
use crate::detector::Findings;
use crate::log::Level;
use crate::service::view::{Banner, BannerLevel, DomainView, Meter};

use super::desk::Desk;

/// Fields that a slide is judged by: the last ones.
const FIELDS: usize = 16;

/// Fields before there is a verdict: one has few cells and its own density of them.
const FIELDS_MIN: u32 = 3;

/// Sharpness is told in thousandths.
const SHARPNESS_TOLD: f32 = 1000.0;

/// The looks of the last fields of a slide.
pub struct Gauge {
    domain: Domain,
    looks: [Option<Look>; FIELDS],
    next: usize,
    sides: Vec<f32>,
}

/// Where a slide stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gauged {
    /// Fields it was judged by, 1..=16.
    pub fields: u32,
    /// Their mean look.
    pub look: Look,
    /// How far that is from the training pictures.
    pub distance: Distance,
}

impl Gauge {
    /// A new slide.
    pub fn new(domain: Domain) -> Self {
        Self {
            domain,
            looks: [None; FIELDS],
            next: 0,
            sides: Vec::with_capacity(shared::detect::DETECTIONS_MAX),
        }
    }

    /// Takes in a field as the network saw it, measured as `leuko-host describe` does, with the cells
    /// found in place of the labelled ones.
    ///
    /// # Errors
    /// A picture that is too small on the canvas.
    pub fn add(&mut self, findings: &Findings<'_>) -> Result<Gauged, LookError> {
        let mut look = look(findings.canvas, &findings.fit)?;
        let cells = findings.detections.iter();
        self.sides.clear();
        self.sides
            .extend(cells.map(|it| side_of(&it.bbox, &findings.fit)));
        look.cell_side = median_side(&mut self.sides);
        self.looks[self.next] = Some(look);
        self.next = (self.next + 1) % FIELDS;
        let mut gathered = Gathered::default();
        for look in self.looks.iter().flatten() {
            gathered.add(look);
        }
        let look = gathered.mean().unwrap_or(look);
        Ok(Gauged {
            fields: gathered.pictures(),
            look,
            distance: self.domain.distance(&look),
        })
    }
}

impl Gauged {
    /// What the slide is to the model; `None` before enough fields were measured.
    pub fn nearness(&self) -> Option<Nearness> {
        (self.fields >= FIELDS_MIN).then_some(self.distance.nearness)
    }

    /// What is farthest, in words.
    pub fn worst(&self, domain: &Domain) -> String {
        let Distance { worst, worst_z, .. } = self.distance;
        let meter = self.meter(worst, domain);
        let told = |value: Option<f32>| value.map_or("unknown".to_owned(), |it| digits(worst, it));
        format!(
            "{} than what the model was trained on ({} {}, there {} to {})",
            compared(worst, worst_z < 0.0),
            told(meter.value),
            meter.unit,
            told(meter.min),
            told(meter.max),
        )
    }

    /// For the page.
    pub fn view(&self, domain: &Domain) -> DomainView {
        DomainView {
            nearness: self.nearness(),
            fields: self.fields,
            meters: Quantity::ALL.map(|it| self.meter(it, domain)).into(),
        }
    }

    /// What people must know; it stops no count.
    pub fn banner(&self, domain: &Domain) -> Option<Banner> {
        let worst = self.worst(domain);
        let text = match self.nearness()? {
            Nearness::Near => return None,
            Nearness::Far => format!(
                "This slide is unusual for the model: {worst}. Look at its suggestions with more care."
            ),
            Nearness::Foreign => format!(
                "The model has never seen a slide like this: {worst}. Do not rely on its suggestions; \
                 check stain, light, magnification and model."
            ),
        };
        let level = BannerLevel::Warning;
        Some(Banner { level, text })
    }

    fn meter(&self, quantity: Quantity, domain: &Domain) -> Meter {
        let told = |natural: f32| match quantity {
            Quantity::Sharpness => natural * SHARPNESS_TOLD,
            _ => natural,
        };
        let value = quantity.of(&self.look).map(f64::from);
        let value = value.map(|scaled| told(quantity.natural(scaled)));
        let limits = domain.near_limits(quantity).map(|it| it.map(told));
        Meter {
            name: quantity.name(),
            value,
            min: limits.map(|it| it[0]),
            max: limits.map(|it| it[1]),
            unit: match quantity {
                Quantity::Sharpness => "thousandths",
                Quantity::CellSide => "canvas px",
                _ => "grey levels",
            },
        }
    }
}

impl Desk {
    /// What the slide looks like to the model is recorded with the case, at most once for each verdict.
    pub(super) fn look_at_domain(&mut self) {
        let (Some(case), Some(domain)) = (&self.case, &self.settings.domain) else {
            return;
        };
        let counts = matches!(case.state.phase(), Phase::Scanning | Phase::TargetReached);
        let gauged = self.shared.gauged(self.slide).filter(|_| counts);
        let Some((gauged, nearness)) = gauged.and_then(|it| Some((it, it.nearness()?))) else {
            return;
        };
        if nearness <= self.domain_told {
            return;
        }
        self.domain_told = nearness;
        let fields = json!({
            "case": case.id,
            "nearness": nearness,
            "worst": gauged.distance.worst,
            "deviations": gauged.distance.worst_z,
            "fields": gauged.fields,
            "words": gauged.worst(domain),
        });
        self.shared.say(Level::Warning, "domain", fields.clone());
        self.record_station("domain", fields);
    }
}

fn digits(quantity: Quantity, value: f32) -> String {
    match quantity {
        Quantity::Sharpness => format!("{value:.2}"),
        _ => format!("{value:.0}"),
    }
}

/// What is `less` or more of a quantity.
fn compared(quantity: Quantity, less: bool) -> &'static str {
    let [of_less, of_more] = match quantity {
        Quantity::BackgroundRed => ["background has less red", "background has more red"],
        Quantity::BackgroundGreen => ["background has less green", "background has more green"],
        Quantity::BackgroundBlue => ["background has less blue", "background has more blue"],
        Quantity::StainRed => ["stain is darker in red", "stain is paler in red"],
        Quantity::StainGreen => ["stain is darker in green", "stain is paler in green"],
        Quantity::StainBlue => ["stain is darker in blue", "stain is paler in blue"],
        Quantity::Brightness => ["picture is darker", "picture is brighter"],
        Quantity::Contrast => ["picture has less contrast", "picture has more contrast"],
        Quantity::Sharpness => ["picture is less sharp", "picture is sharper or noisier"],
        Quantity::CellSide => ["cells are smaller", "cells are larger"],
    };
    if less { of_less } else { of_more }
}

#[cfg(test)]
mod tests;
