//! The network alone, run when it is told to: `edge/benches/versus` lets engines take turns through
//! this, so that none of them has the machine to itself while it is quiet.
//!
//! On standard input a line is an order, on standard output a line is its answer:
//!
//! | order | does | answer |
//! |---|---|---|
//! | (none) | loads the model and runs it on the canvas of drawn field 1 | `ready` and the milliseconds of both |
//! | `canvas SEED FILE` | draws field SEED, goes on with its canvas and writes it, `[3, height, width]` bytes | `ok` |
//! | `run COUNT` | runs the network on the canvas | COUNT times, milliseconds, with spaces between |
//! | `heads FILE` | runs once, writes the heads, f32 in little endian, finest level first | `ok` |

use std::fs;
use std::io::{BufRead, Write};
use std::path::Path;
use std::time::Instant;

use crate::atomic::OutputError;
use crate::detector::{DetectError, Detector};
use crate::exit::Failure;
use crate::fields;
use crate::network::HeadBuffers;

/// Most runs of one order.
const RUNS_MAX: u32 = 1_000_000;

/// Answers the orders of `orders` until they end; `load` makes the detector, on the clock.
///
/// # Errors
/// When the model fails, an order is none of this module's, or an answer or a file cannot be written.
pub fn serve(
    load: impl FnOnce() -> Result<Detector, Failure>,
    orders: &mut dyn BufRead,
    answers: &mut dyn Write,
) -> Result<(), Failure> {
    let field = fields::demonstration(1);
    let started = Instant::now();
    let mut detector = load()?;
    detector.detect(field.view())?;
    let ready = milliseconds(started);
    let mut server = Server {
        canvas: detector.canvas().to_vec(),
        heads: HeadBuffers::new(detector.contract()),
        detector,
    };
    writeln!(answers, "ready {ready:.3}")?;
    answers.flush()?;
    for line in orders.lines() {
        let answer = server.answer(&line?)?;
        writeln!(answers, "{answer}")?;
        answers.flush()?;
    }
    Ok(())
}

struct Server {
    detector: Detector,
    canvas: Vec<u8>,
    heads: HeadBuffers,
}

impl Server {
    fn answer(&mut self, line: &str) -> Result<String, Failure> {
        let unknown = || Failure::Order(line.to_owned());
        let mut words = line.splitn(3, ' ');
        match (words.next(), words.next(), words.next()) {
            (Some("canvas"), Some(seed), Some(file)) => {
                let seed = seed.parse().map_err(|_| unknown())?;
                self.detector.detect(fields::demonstration(seed).view())?;
                self.canvas = self.detector.canvas().to_vec();
                written(file, &self.canvas)
            }
            (Some("run"), Some(count), None) => {
                let count: u32 = count.parse().map_err(|_| unknown())?;
                if count > RUNS_MAX {
                    return Err(unknown());
                }
                let times: Result<Vec<String>, Failure> = (0..count).map(|_| self.run()).collect();
                Ok(times?.join(" "))
            }
            (Some("heads"), Some(_), _) => {
                self.run()?;
                let levels = self.heads.views();
                let values = levels.iter().flat_map(|level| level.iter());
                let bytes: Vec<u8> = values.flat_map(|value| value.to_le_bytes()).collect();
                // The name may hold spaces.
                written(&line["heads ".len()..], &bytes)
            }
            _ => Err(unknown()),
        }
    }

    fn run(&mut self) -> Result<String, Failure> {
        let network = self.detector.network();
        let started = Instant::now();
        network
            .run(&self.canvas, &mut self.heads)
            .map_err(DetectError::from)?;
        Ok(format!("{:.4}", milliseconds(started)))
    }
}

fn written(file: &str, bytes: &[u8]) -> Result<String, Failure> {
    let path = Path::new(file);
    fs::write(path, bytes).map_err(|error| OutputError::at(path, error))?;
    Ok("ok".to_owned())
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{TINY, detector};

    fn answers(orders: &str) -> Result<Vec<String>, Failure> {
        let mut said = Vec::new();
        serve(|| Ok(detector(TINY)), &mut orders.as_bytes(), &mut said)?;
        let said = String::from_utf8(said).unwrap();
        Ok(said.lines().map(str::to_owned).collect())
    }

    #[test]
    fn every_order_is_answered_and_the_heads_are_those_of_the_canvas() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        let (canvas, heads) = (path("a canvas"), path("the heads"));
        let said = answers(&format!("canvas 7 {canvas}\nrun 3\nheads {heads}\n")).unwrap();
        assert_eq!(said.len(), 4);
        assert!(
            said[0]
                .strip_prefix("ready ")
                .unwrap()
                .parse::<f64>()
                .unwrap()
                > 0.0
        );
        assert_eq!((said[1].as_str(), said[3].as_str()), ("ok", "ok"));
        let times: Vec<f64> = said[2].split(' ').map(|t| t.parse().unwrap()).collect();
        assert_eq!(times.len(), 3);

        let mut own = detector(TINY);
        own.detect(fields::demonstration(7).view()).unwrap();
        let expected_canvas = own.canvas().to_vec();
        assert_eq!(fs::read(&canvas).unwrap(), expected_canvas);
        let mut expected = HeadBuffers::new(own.contract());
        own.network().run(&expected_canvas, &mut expected).unwrap();
        let expected: Vec<u8> = expected
            .views()
            .iter()
            .flat_map(|level| level.iter().flat_map(|value| value.to_le_bytes()))
            .collect();
        assert_eq!(fs::read(&heads).unwrap(), expected);
    }

    #[test]
    fn what_is_no_order_ends_it_and_is_told() {
        for line in [
            "fly",
            "run many",
            "run 2000000",
            "run 1 2",
            "canvas 1",
            "heads",
            "",
        ] {
            match answers(&format!("{line}\n")) {
                Err(Failure::Order(told)) => assert_eq!(told, line),
                other => panic!("{line:?}: {other:?}"),
            }
        }
    }
}
