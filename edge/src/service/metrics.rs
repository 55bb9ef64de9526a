//! Numbers in the text format of Prometheus (version 0.0.4).

use std::fmt::{Display, Write};

/// Text that grows by families of numbers.
#[derive(Debug, Default)]
pub struct Exposition(String);

impl Exposition {
    /// A number that only grows.
    pub fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.head(name, help, "counter");
        self.line(name, &[], value);
    }

    /// A number that only grows, one for each value of a label.
    pub fn counters<'a>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: impl IntoIterator<Item = (&'a str, u64)>,
    ) {
        self.head(name, help, "counter");
        for (value, count) in values {
            self.line(name, &[(label, value)], count);
        }
    }

    /// A number that goes up and down.
    pub fn gauge(&mut self, name: &str, help: &str, value: f64) {
        self.head(name, help, "gauge");
        self.line(name, &[], value);
    }

    /// A number that goes up and down, one for each value of a label.
    pub fn gauges<'a>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: impl IntoIterator<Item = (&'a str, f64)>,
    ) {
        self.head(name, help, "gauge");
        for (value, number) in values {
            self.line(name, &[(label, value)], number);
        }
    }

    /// Times by stage: upper edges in microseconds and, for each stage, how often it took at most as
    /// long as each edge (one more count than edges, the last is all) and the sum in microseconds.
    ///
    /// The name is to end in `_seconds`, as its values do.
    pub fn histograms<'a>(
        &mut self,
        name: &str,
        help: &str,
        edges_us: &[u64],
        stages: impl IntoIterator<Item = (&'a str, &'a [u64], u64)>,
    ) {
        self.head(name, help, "histogram");
        let bucket = format!("{name}_bucket");
        for (stage, cumulative, total_us) in stages {
            let edges = edges_us.iter().map(|&us| seconds(us));
            for (edge, count) in edges.chain(["+Inf".to_owned()]).zip(cumulative) {
                self.line(&bucket, &[("stage", stage), ("le", &edge)], count);
            }
            let labels = [("stage", stage)];
            self.line(&format!("{name}_sum"), &labels, seconds(total_us));
            let count = cumulative.last().unwrap_or(&0);
            self.line(&format!("{name}_count"), &labels, count);
        }
    }

    /// The whole text.
    pub fn into_text(self) -> String {
        self.0
    }

    fn head(&mut self, name: &str, help: &str, kind: &str) {
        let help = help.replace('\\', "\\\\").replace('\n', "\\n");
        self.put(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
    }

    fn line(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.put(format_args!("{name}"));
        for (index, (label, text)) in labels.iter().enumerate() {
            let open = if index == 0 { '{' } else { ',' };
            let text = escaped(text);
            self.put(format_args!("{open}{label}=\"{text}\""));
        }
        let close = if labels.is_empty() { "" } else { "}" };
        self.put(format_args!("{close} {value}\n"));
    }

    fn put(&mut self, text: std::fmt::Arguments<'_>) {
        // Writing to a `String` cannot fail.
        let _ = self.0.write_fmt(text);
    }
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

/// Exact: a whole number of microseconds in seconds.
fn seconds(us: u64) -> String {
    let digits = format!("{}.{:06}", us / 1_000_000, us % 1_000_000);
    digits
        .trim_end_matches('0')
        .trim_end_matches('.')
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_as_prometheus_reads_it() {
        let mut text = Exposition::default();
        text.counter("leuko_frames_total", "Frames.", 7);
        let damaged = [("short", 1), ("a\"b\\c\nd", 2)];
        text.counters(
            "leuko_damaged_total",
            "A \\ and\na line.",
            "reason",
            damaged,
        );
        text.gauge("leuko_free_bytes", "Room.", 1.5e9);
        let stages: [(&str, &[u64], u64); 1] = [("network", &[3, 5, 6], 2_500_001)];
        text.histograms("leuko_stage_seconds", "Times.", &[250, 2_000_000], stages);
        let expected = r#"# HELP leuko_frames_total Frames.
# TYPE leuko_frames_total counter
leuko_frames_total 7
# HELP leuko_damaged_total A \\ and\na line.
# TYPE leuko_damaged_total counter
leuko_damaged_total{reason="short"} 1
leuko_damaged_total{reason="a\"b\\c\nd"} 2
# HELP leuko_free_bytes Room.
# TYPE leuko_free_bytes gauge
leuko_free_bytes 1500000000
# HELP leuko_stage_seconds Times.
# TYPE leuko_stage_seconds histogram
leuko_stage_seconds_bucket{stage="network",le="0.00025"} 3
leuko_stage_seconds_bucket{stage="network",le="2"} 5
leuko_stage_seconds_bucket{stage="network",le="+Inf"} 6
leuko_stage_seconds_sum{stage="network"} 2.500001
leuko_stage_seconds_count{stage="network"} 6
"#;
        assert_eq!(text.into_text(), expected);
    }
}
