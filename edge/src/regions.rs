//! Attributes by a region attribute head: features of each found cell, pooled, through its network.

use shared::attribute::{AttributeFindings, findings};
use shared::cell::Detection;
use shared::contract::{ModelContract, RegionHead};
use shared::fit::Fit;
use shared::geometry::Size;
use shared::roi::{COLUMNS, ROWS, STRIDES, region_of, roi_align, scratch_len};

use crate::network::{HeadBuffers, Network, NetworkError};

/// The buffers; the steady state allocates nothing of its own.
pub struct RegionReader {
    maps: [Size; 2],
    channels: [usize; 2],
    value_counts: Vec<u8>,
    scratch: Vec<f32>,
    pooled: Vec<f32>,
    values: Vec<f32>,
}

impl RegionReader {
    /// Room for one cell of a model whose attributes are read from regions.
    pub fn new(contract: &ModelContract, head: &RegionHead) -> Self {
        let maps = STRIDES.map(|stride| contract.region_map(stride));
        let value_counts = contract.value_counts().to_vec();
        Self {
            maps,
            channels: head.channels.map(usize::from),
            scratch: vec![0.0; maps.map(scratch_len).into_iter().max().unwrap_or(0)],
            pooled: vec![0.0; head.region_len()],
            values: vec![0.0; value_counts.iter().map(|&n| usize::from(n)).sum()],
            value_counts,
        }
    }

    /// Fills in the attributes of `detections`, found on the canvas whose heads `buffers` hold.
    ///
    /// # Errors
    /// When the network fails or its answer is not finite.
    pub fn read(
        &mut self,
        network: &mut dyn Network,
        buffers: &HeadBuffers,
        fit: &Fit,
        detections: &mut [Detection],
    ) -> Result<(), NetworkError> {
        for detection in detections {
            detection.attributes = self.read_one(network, buffers, fit, detection)?;
        }
        Ok(())
    }

    fn read_one(
        &mut self,
        network: &mut dyn Network,
        buffers: &HeadBuffers,
        fit: &Fit,
        detection: &Detection,
    ) -> Result<AttributeFindings, NetworkError> {
        let region = region_of(fit, &detection.bbox);
        let (fine, coarse) = self.pooled.split_at_mut(self.channels[0] * ROWS * COLUMNS);
        for (index, out) in [fine, coarse].into_iter().enumerate() {
            let (map, size) = (buffers.features(index), self.maps[index]);
            roi_align(map, size, STRIDES[index], region, &mut self.scratch, out);
        }
        network.values(&self.pooled, &mut self.values)?;
        Ok(findings(&self.value_counts, |at| self.values[at]))
    }
}
