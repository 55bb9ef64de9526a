//! The command line: one file a command. Only here is printed.

mod adjust;
mod bench;
pub mod config;
mod data;
mod data_args;
mod describe;
mod doctor;
mod export;
mod gate_args;
mod predict;
mod progress;
mod quantize;
mod score;
mod thresholds;
mod train;
mod train_args;
mod val;

use std::io::{self, Write};

use clap::{Parser, Subcommand};

use crate::dataset::Split;

/// Trains, validates and exports the white-cell detector.
#[derive(Debug, Parser)]
#[command(name = "leuko-host", version, about)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Look at data sets, bring them into another form.
    #[command(subcommand)]
    Data(data::DataCommand),
    /// Say what training needs of this machine and what is there.
    Doctor(doctor::DoctorArgs),
    /// Train a detector with attributes.
    Train(Box<train_args::TrainArgs>),
    /// Score a checkpoint on the val split, write its findings and its card.
    Val(Box<val::ValArgs>),
    /// The same on the test split.
    Test(Box<val::ValArgs>),
    /// Find the cells of pictures and draw them.
    Predict(predict::PredictArgs),
    /// Shift the attributes' logits towards rare values, for macro-F1.
    Adjust(adjust::AdjustArgs),
    /// Write the ONNX file with its contract.
    Export(export::ExportArgs),
    /// Write the 8-bit ONNX file, its ranges measured on pictures.
    Quantize(quantize::QuantizeArgs),
    /// Measure what a model's contract says of its classes and its pictures.
    Describe(describe::DescribeArgs),
    /// Score a file of detections, whoever wrote it.
    Score(score::ScoreArgs),
    /// Time training steps and inference.
    Bench(bench::BenchArgs),
}

impl Cli {
    /// Runs the command.
    ///
    /// # Errors
    /// Whatever stopped it; [`crate::exit::code`] says with which exit code.
    pub fn run(self) -> anyhow::Result<()> {
        match self.command {
            Command::Data(command) => data::run(command),
            Command::Doctor(args) => doctor::run(args),
            Command::Train(args) => train::run(*args),
            Command::Val(args) => val::run(&args, Split::Val),
            Command::Test(args) => val::run(&args, Split::Test),
            Command::Predict(args) => predict::run(&args),
            Command::Adjust(args) => adjust::run(&args),
            Command::Export(args) => export::run(&args),
            Command::Quantize(args) => quantize::run(&args),
            Command::Describe(args) => describe::run(&args),
            Command::Score(args) => score::run(&args),
            Command::Bench(args) => bench::run(&args),
        }
    }
}

/// One line or table of data on stdout; that the reader went away is no error.
pub(super) fn say(data: &dyn std::fmt::Display) -> io::Result<()> {
    match writeln!(io::stdout(), "{data}") {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}
