//! A description as text for people.

use std::fmt::{Display, Formatter, Result};

use shared::domain::Quantity;

use super::{Description, PRECISION_MIN};
use crate::score::{aligned, percent};

impl Display for Description {
    fn fmt(&self, out: &mut Formatter<'_>) -> Result {
        classes(self, out)?;
        writeln!(out)?;
        domain(self, out)
    }
}

fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(str::to_owned).to_vec()
}

fn classes(description: &Description, out: &mut Formatter<'_>) -> Result {
    writeln!(
        out,
        "least scores by class, on {} val pictures: the least of precision {PRECISION_MIN}, else of best F1",
        description.judged_pictures
    )?;
    for (n, what) in [
        (
            description.missing_pictures,
            "val pictures without findings",
        ),
        (
            description.unjudged_pictures,
            "pictures of the findings that are not of the val split",
        ),
    ] {
        if n > 0 {
            writeln!(out, "left out: {n} {what}")?;
        }
    }
    let mut rows = vec![row([
        "class",
        "cells",
        "score",
        "by",
        "precision %",
        "recall %",
        "below it",
        "of them right",
    ])];
    rows.extend(description.classes.iter().map(|class| {
        vec![
            class.class.clone(),
            class.truths.to_string(),
            format!("{:.3}", class.score),
            class.rule.name().to_owned(),
            percent(class.precision),
            percent(class.recall),
            class.unidentified.to_string(),
            class.unidentified_right.to_string(),
        ]
    }));
    aligned(out, &rows)
}

fn domain(description: &Description, out: &mut Formatter<'_>) -> Result {
    let domain = &description.domain;
    writeln!(
        out,
        "domain: {} training pictures of {} sets, each set of the same weight",
        domain.pictures,
        description.sets.len()
    )?;
    let names = description.sets.iter().map(|set| set.name.clone());
    let mut rows = vec![row(["quantity", "unit", "mean", "deviation"])];
    rows[0].extend(names);
    for quantity in Quantity::ALL {
        let Some(spread) = domain.spread(quantity) else {
            continue;
        };
        let mut cells = row([quantity.name(), quantity.unit()]);
        cells.extend([spread.mean, spread.deviation].map(|value| format!("{value:.2}")));
        cells.extend(description.sets.iter().map(|set| {
            let value = set.mean.and_then(|mean| quantity.of(&mean));
            value.map_or_else(|| "-".to_owned(), |value| format!("{value:.2}"))
        }));
        rows.push(cells);
    }
    aligned(out, &rows)?;
    writeln!(out)?;
    let mut rows = vec![row([
        "val pictures by their distance",
        "near",
        "far",
        "foreign",
    ])];
    rows.extend(description.sets.iter().map(|set| {
        let counts = [set.val.near, set.val.far, set.val.foreign];
        let mut cells = vec![set.name.clone()];
        cells.extend(counts.map(|n| n.to_string()));
        cells
    }));
    aligned(out, &rows)
}
