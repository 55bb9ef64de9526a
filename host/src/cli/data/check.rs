//! `leuko-host data check`: what is wrong, and what two splits share.

use serde_json::json;

use super::Input;
use crate::cli::say;
use crate::dataset::{DataError, Dataset, LeakReport, check_pixels, fingerprint, remove_leaks};

/// Says what the set is; an error when it is not as it should be.
pub(super) fn check(input: &Input, pixels: bool, as_json: bool) -> anyhow::Result<()> {
    let (data, leaks) = match examine(input, pixels) {
        Ok(examined) => examined,
        Err(error) => {
            if let (true, DataError::Problems { shown, total }) = (as_json, &error) {
                let shown: Vec<_> = shown
                    .iter()
                    .map(|p| json!({"place": p.place, "reason": p.reason, "detail": p.detail}))
                    .collect();
                say(&json!({"ok": false, "problems": total, "shown": shown}))?;
            }
            return Err(error.into());
        }
    };
    let shared = leaks.as_ref().map_or(0, |l| l.equal.len() + l.near.len());
    let is_ok = input.lenient || shared == 0;
    if as_json {
        say_json(&data, leaks.as_ref(), is_ok)?;
    } else {
        say_text(&data, leaks.as_ref())?;
    }
    if is_ok {
        return Ok(());
    }
    Err(DataError::Join {
        name: data.name,
        detail: format!("expected no picture in two splits, found {shared}"),
    }
    .into())
}

/// The set as it is, and on request, with every picture decoded, what two of its splits share.
pub(super) fn examine(
    input: &Input,
    pixels: bool,
) -> Result<(Dataset, Option<LeakReport>), DataError> {
    let mut data = input.open()?;
    if !pixels {
        return Ok((data, None));
    }
    let undecoded = check_pixels(&mut data, input.mode())?;
    data.report.absorb(undecoded);
    let leaks = remove_leaks(&mut data.clone())?;
    Ok((data, Some(leaks)))
}

fn say_json(data: &Dataset, leaks: Option<&LeakReport>, is_ok: bool) -> anyhow::Result<()> {
    let [train, val, test] = data.split_counts();
    let cells: usize = data.samples.iter().map(|sample| sample.cells.len()).sum();
    let pairs = leaks.map(|l| json!({"equal": l.equal, "near": l.near}));
    let said = json!({
        "ok": is_ok, "name": data.name, "format": data.report.format, "train": train, "val": val,
        "test": test, "cells": cells, "classes": data.classes, "attributes": data.schema,
        "dropped": data.report.dropped, "notes": data.report.notes, "shared_pictures": pairs,
        "fingerprint": fingerprint(data)?,
    });
    Ok(say(&said)?)
}

fn say_text(data: &Dataset, leaks: Option<&LeakReport>) -> anyhow::Result<()> {
    let [train, val, test] = data.split_counts();
    let cells: usize = data.samples.iter().map(|sample| sample.cells.len()).sum();
    say(&format_args!(
        "{}: {train} train, {val} val, {test} test pictures, {cells} cells",
        data.name
    ))?;
    say(&format_args!("fingerprint {}", fingerprint(data)?))?;
    let lists = leaks
        .into_iter()
        .flat_map(|l| [("equal", &l.equal), ("nearly equal", &l.near)]);
    for (words, list) in lists {
        for (early, late) in list {
            say(&format_args!(
                "{words}: {} and {} of a later split",
                early.display(),
                late.display()
            ))?;
        }
    }
    Ok(())
}
