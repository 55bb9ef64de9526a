//! The station's numbers for `/metrics`. Written by the threads, read by any request.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use shared::domain::{QUANTITIES, Quantity};

use crate::detector::StageTimes;
use crate::log::Log;
use crate::service::metrics::Exposition;
use crate::source::{DamageReason, SourceCounters};
use crate::store::Free;
use field::gate::Reason;

use super::gauge::Gauged;
use super::health::{EDGES_US, Stage};

/// How long each stage takes.
#[derive(Debug, Default)]
pub struct Stages {
    /// Judging and placing a frame.
    pub see: Stage,
    /// Frame to canvas.
    pub canvas: Stage,
    /// The network.
    pub network: Stage,
    /// Raw heads to detections, attributes included.
    pub postprocess: Stage,
    /// The picture of a counted field to JPEG.
    pub encode: Stage,
    /// A record onto the disk.
    pub store: Stage,
    /// All that is done with one frame, the wait for its record included.
    pub frame: Stage,
    /// From when a frame was taken until all that is done with it; of sources that keep time.
    pub latency: Stage,
}

impl Stages {
    /// The times of one search.
    pub fn add(&self, times: &StageTimes) {
        self.canvas.add(times.canvas);
        self.network.add(times.network);
        let attributes = times.attributes.unwrap_or_default();
        self.postprocess.add(times.postprocess + attributes);
    }

    fn all(&self) -> [(&'static str, &Stage); 8] {
        [
            ("see", &self.see),
            ("canvas", &self.canvas),
            ("network", &self.network),
            ("postprocess", &self.postprocess),
            ("encode", &self.encode),
            ("store", &self.store),
            ("frame", &self.frame),
            ("latency", &self.latency),
        ]
    }
}

/// All of them.
#[derive(Debug, Default)]
pub struct Numbers {
    /// Times.
    pub stages: Stages,
    /// Frames the source gave.
    frames: AtomicU64,
    /// Frames replaced by newer ones, in the source and in the mailbox.
    replaced: AtomicU64,
    /// Frames the driver numbered and never delivered.
    gaps: AtomicU64,
    damaged: [AtomicU64; DamageReason::ALL.len()],
    /// Fields recorded since the start.
    pub fields: AtomicU64,
    /// New cells in them.
    pub cells: AtomicU64,
    /// Records of all chains since the start.
    pub records: AtomicU64,
    /// Records that were refused by the disk.
    pub refused: AtomicU64,
    /// Fields that passed the gate and could not be searched.
    pub failed: AtomicU64,
    /// Frames that were not counted although a case was, by their first reason.
    pub not_counted: [AtomicU64; Reason::NAMES.len()],
    /// Frames that could not be judged, or passed the gate and were not counted all the same.
    pub missed: AtomicU64,
    /// Frames that came while nothing was to be counted.
    pub idle: AtomicU64,
    free_bytes: AtomicU64,
    /// `u64::MAX` where the file system does not say.
    free_files: AtomicU64,
    /// Fields by which the slide was compared with the training pictures.
    gauged_fields: AtomicU32,
    /// Bits of its deviations from them; not a number where there is none.
    deviations: [AtomicU32; QUANTITIES],
}

impl Numbers {
    /// What the source has counted; `unseen` are the frames that the mailbox replaced.
    pub fn set_source(&self, counters: &SourceCounters, unseen: u64) {
        self.frames.store(counters.frames, Ordering::Relaxed);
        let replaced = counters.replaced + unseen;
        self.replaced.store(replaced, Ordering::Relaxed);
        self.gaps.store(counters.gaps, Ordering::Relaxed);
        for reason in DamageReason::ALL {
            let count = counters.damaged.get(reason);
            self.damaged[reason as usize].store(count, Ordering::Relaxed);
        }
    }

    /// Frames that were not counted, by their first reason.
    pub fn not_counted(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        let counts = self.not_counted.iter().map(|it| it.load(Ordering::Relaxed));
        Reason::NAMES.into_iter().zip(counts)
    }

    /// What is left on the disk.
    pub fn set_free(&self, free: Free) {
        self.free_bytes.store(free.bytes, Ordering::Relaxed);
        let files = free.inodes.unwrap_or(u64::MAX);
        self.free_files.store(files, Ordering::Relaxed);
    }

    /// How far the slide is from the training pictures.
    pub fn set_gauged(&self, gauged: &Gauged) {
        self.gauged_fields.store(gauged.fields, Ordering::Relaxed);
        for (to, z) in self.deviations.iter().zip(gauged.distance.z) {
            to.store(z.unwrap_or(f32::NAN).to_bits(), Ordering::Relaxed);
        }
    }

    fn collect_gauged(&self, text: &mut Exposition) {
        let fields = self.gauged_fields.load(Ordering::Relaxed);
        if fields == 0 {
            return;
        }
        text.gauge(
            "leuko_domain_fields",
            "Last fields of the slide that were compared with the training pictures.",
            f64::from(fields),
        );
        let deviations = self.deviations.iter().zip(Quantity::ALL);
        let known = deviations.filter_map(|(bits, quantity)| {
            let z = f32::from_bits(bits.load(Ordering::Relaxed));
            (!z.is_nan()).then(|| (quantity.name(), f64::from(z)))
        });
        text.gauges(
            "leuko_domain_deviations",
            "Standard deviations from the training pictures.",
            "quantity",
            known,
        );
    }

    /// Into the text of `/metrics`.
    pub fn collect(&self, log: &Arc<Log>, text: &mut Exposition) {
        let read = |number: &AtomicU64| number.load(Ordering::Relaxed);
        for (name, help, number) in [
            (
                "leuko_source_frames_total",
                "Frames the source gave.",
                &self.frames,
            ),
            (
                "leuko_replaced_frames_total",
                "Frames given up for newer ones.",
                &self.replaced,
            ),
            (
                "leuko_missing_frames_total",
                "Frames that the driver numbered and never delivered.",
                &self.gaps,
            ),
            ("leuko_fields_total", "Fields recorded.", &self.fields),
            ("leuko_cells_total", "New cells in them.", &self.cells),
            ("leuko_records_total", "Records written.", &self.records),
            (
                "leuko_refused_records_total",
                "Records that were not written.",
                &self.refused,
            ),
            (
                "leuko_missed_frames_total",
                "Frames that could not be judged, or passed and were not counted all the same.",
                &self.missed,
            ),
            (
                "leuko_idle_frames_total",
                "Frames that came while nothing was to be counted.",
                &self.idle,
            ),
            (
                "leuko_failed_fields_total",
                "Fields that could not be searched.",
                &self.failed,
            ),
        ] {
            text.counter(name, help, read(number));
        }
        let damaged = DamageReason::ALL.map(|it| (it.name(), read(&self.damaged[it as usize])));
        text.counters(
            "leuko_damaged_frames_total",
            "Frames that were no whole picture.",
            "reason",
            damaged,
        );
        text.counters(
            "leuko_not_counted_frames_total",
            "Frames that were not counted while a case was, by the first reason.",
            "reason",
            self.not_counted(),
        );
        let lost = log.lost();
        text.counter("leuko_lost_log_lines_total", "Lines not written.", lost);
        text.gauge(
            "leuko_free_bytes",
            "Room on the disk of the data.",
            read(&self.free_bytes) as f64,
        );
        let files = read(&self.free_files);
        if files != u64::MAX {
            text.gauge("leuko_free_files", "Files that fit.", files as f64);
        }
        self.collect_gauged(text);
        let stages = self.stages.all();
        let times = stages.map(|(name, it)| (name, it.cumulative(), it.summary().total_us));
        let lines = times
            .iter()
            .map(|(name, cumulative, total)| (*name, &cumulative[..], *total));
        let help = "Time of a stage.";
        text.histograms("leuko_stage_seconds", help, &EDGES_US, lines);
    }
}
