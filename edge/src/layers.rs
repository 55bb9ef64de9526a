//! Where the time of a network goes: its nodes with a clock around each.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::detector::{DetectError, Detector};
use crate::fields;

/// One node of the network.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NodeLine {
    /// Its name in the engine's graph.
    pub name: String,
    /// What it does.
    pub operator: String,
    /// Half of the rounds were faster, milliseconds.
    pub median_ms: f64,
}

/// The nodes of a network in the order they run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Layers {
    /// One line a node.
    pub nodes: Vec<NodeLine>,
    /// Sum of the medians, milliseconds; clocks included.
    pub total_ms: f64,
}

/// Runs the network `repeat` times on a drawn field.
///
/// # Errors
/// When the network fails.
pub fn layers(detector: &mut Detector, repeat: u32) -> Result<Layers, DetectError> {
    detector.detect(fields::demonstration(1).view())?;
    let canvas = detector.canvas().to_vec();
    let mut nodes: Vec<(NodeLine, Vec<Duration>)> = Vec::new();
    for _ in 0..repeat {
        let times = detector.network().node_times(&canvas)?;
        if nodes.is_empty() {
            nodes = times
                .iter()
                .map(|node| {
                    let line = NodeLine {
                        name: node.name.clone(),
                        operator: node.operator.clone(),
                        median_ms: 0.0,
                    };
                    (line, Vec::new())
                })
                .collect();
        }
        for ((_, all), node) in nodes.iter_mut().zip(&times) {
            all.push(node.time);
        }
    }
    let nodes: Vec<NodeLine> = nodes
        .into_iter()
        .map(|(line, mut times)| {
            times.sort_unstable();
            let median = times.get(times.len() / 2).copied().unwrap_or_default();
            NodeLine {
                median_ms: median.as_secs_f64() * 1e3,
                ..line
            }
        })
        .collect();
    let total_ms = nodes.iter().map(|node| node.median_ms).sum();
    Ok(Layers { nodes, total_ms })
}

impl fmt::Display for Layers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:>9}  {:>5}  {:<18}  node",
            "median ms", "%", "operator"
        )?;
        for node in &self.nodes {
            let share = 100.0 * node.median_ms / self.total_ms;
            let NodeLine {
                name,
                operator,
                median_ms,
            } = node;
            writeln!(f, "{median_ms:>9.4}  {share:>5.1}  {operator:<18}  {name}")?;
        }
        write!(f, "{:>9.4}  in all, clocks included", self.total_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{TINY, detector};

    #[test]
    fn every_node_is_timed_and_the_heads_come_last() {
        let layers = layers(&mut detector(TINY), 3).unwrap();
        assert!(layers.nodes.len() > 3);
        assert!(layers.nodes.iter().all(|node| node.median_ms >= 0.0));
        let sum: f64 = layers.nodes.iter().map(|node| node.median_ms).sum();
        assert_eq!(sum, layers.total_ms);
        assert_eq!(
            layers.to_string().lines().count(),
            layers.nodes.len() + 2,
            "{layers}"
        );
    }
}
