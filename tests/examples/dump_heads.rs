//! The same canvases through tch and tract: prints how far the raw heads differ, and writes both as
//! dumps that `tests/onnx-parity` compares with ONNX Runtime.
//!
//!     cargo run --release -p tests --features torch --example dump_heads -- CHECKPOINT MODEL OUT

use std::path::Path;

use edge::model::ModelFile;
use edge::network::{HeadBuffers, Network};
use edge::tract::TractNetwork;
use host::checkpoint::Checkpoint;
use host::eval::Evaluator;
use host::picture::Picture;
use shared::contract::golden_spec;
use shared::phantom::{MAX_WHITE_CELLS, PhantomCell, draw_field};
use shared::pixels::RgbViewMut;
use tests::{Heads, dump_heads};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [checkpoint, model, out] = arguments.as_slice() else {
        eprintln!("usage: dump_heads CHECKPOINT MODEL OUT");
        std::process::exit(2);
    };
    let checkpoint = Checkpoint::load(Path::new(checkpoint))?;
    let mut network = TractNetwork::load(&ModelFile::read(Path::new(model))?)?;
    let contract = network.contract().clone();
    let device = tch::Device::Cpu;
    let (_store, trained) = checkpoint.network(device)?;
    let head = checkpoint.run.head();
    let evaluator = Evaluator {
        network: &trained,
        head: &head,
        fit: contract.fit,
        canvas: contract.canvas,
        device,
    };

    let mut buffers = HeadBuffers::new(&contract);
    let (mut canvases, mut by_tch, mut by_tract) = (Vec::new(), Vec::new(), Vec::new());
    println!("field\tlevel\tvalues\tmax |tch - tract|\tmax |tch|");
    for field in &contract.golden {
        let mut bytes = vec![0; field.size.width as usize * field.size.height as usize * 3];
        let mut truth: heapless::Vec<PhantomCell, { MAX_WHITE_CELLS as usize }> =
            heapless::Vec::new();
        let mut view = RgbViewMut::new(&mut bytes, field.size)?;
        draw_field(&golden_spec(field.seed, field.size), &mut view, &mut truth)?;
        let picture = Picture {
            bytes,
            size: field.size,
        };
        let (_, canvas) = picture
            .on_canvas(contract.fit, contract.canvas)
            .ok_or("the field does not fit")?;
        let tch: Heads = evaluator.heads(&canvas);
        network.run(&canvas, &mut buffers)?;
        let tract: Heads = buffers.views().iter().map(|level| level.to_vec()).collect();
        for (level, (a, b)) in tch.iter().zip(&tract).enumerate() {
            let off = a
                .iter()
                .zip(b)
                .fold(0.0_f32, |m, (x, y)| m.max((x - y).abs()));
            let most = a.iter().fold(0.0_f32, |m, x| m.max(x.abs()));
            println!("{}\t{level}\t{}\t{off:e}\t{most}", field.seed, a.len());
        }
        canvases.push(canvas);
        by_tch.push(tch);
        by_tract.push(tract);
    }
    dump_heads("tch", &Path::new(out).join("tch"), &canvases, &by_tch)?;
    dump_heads("tract", &Path::new(out).join("tract"), &canvases, &by_tract)?;
    Ok(())
}
