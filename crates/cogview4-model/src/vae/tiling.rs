//! Tiles: a large picture goes through the autoencoder in overlapping parts that are blended, so that memory does not
//! grow with it. Source: `AutoencoderKL.tiled_decode` of diffusers 0.42.1.

use burn::tensor::Tensor;

/// Sizes of the tiles.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct VaeTiling {
    /// Side of a tile in pixels; pictures up to this size are not split.
    pub tile_sample_min_size: usize,
    /// The same in latents.
    pub tile_latent_min_size: usize,
    /// Part of a tile that its neighbour shares, in [0, 1).
    pub tile_overlap_factor: f64,
}

impl VaeTiling {
    /// Tiles of this side, a quarter shared; `scale_factor` pixels are one latent.
    pub fn new(tile_sample_min_size: usize, scale_factor: usize) -> Self {
        let tile_latent_min_size = (tile_sample_min_size / scale_factor).max(1);
        Self { tile_sample_min_size, tile_latent_min_size, tile_overlap_factor: 0.25 }
    }

    /// Whether pictures of `[.., height, width]` pixels are split.
    pub(super) fn splits_pixels(&self, pixels: &Tensor<4>) -> bool {
        pixels.dims()[2..].iter().any(|&side| side > self.tile_sample_min_size)
    }

    /// Whether latents are split.
    pub(super) fn splits_latents(&self, latents: &Tensor<4>) -> bool {
        latents.dims()[2..].iter().any(|&side| side > self.tile_latent_min_size)
    }

    /// Encodes pixels tile by tile.
    pub(super) fn encode(&self, pixels: &Tensor<4>, encode: impl Fn(Tensor<4>) -> Tensor<4>) -> Tensor<4> {
        self.run(pixels, [self.tile_sample_min_size, self.tile_latent_min_size], encode)
    }

    /// Decodes latents tile by tile.
    pub(super) fn decode(&self, latents: &Tensor<4>, decode: impl Fn(Tensor<4>) -> Tensor<4>) -> Tensor<4> {
        self.run(latents, [self.tile_latent_min_size, self.tile_sample_min_size], decode)
    }

    /// Cuts tiles of side `size_in`, one every `(1 - overlap) size_in`; what becomes of each has side `size_out`.
    fn run(
        &self,
        input: &Tensor<4>,
        [size_in, size_out]: [usize; 2],
        forward: impl Fn(Tensor<4>) -> Tensor<4>,
    ) -> Tensor<4> {
        let stride = ((size_in as f64 * (1.0 - self.tile_overlap_factor)) as usize).max(1);
        let blend_extent = (size_out as f64 * self.tile_overlap_factor) as usize;
        let limit = size_out - blend_extent;
        let [_, _, height, width] = input.dims();
        let mut above: Vec<Tensor<4>> = Vec::new();
        let mut result_rows = Vec::new();
        for top in (0..height).step_by(stride) {
            let rows = input.clone().narrow(2, top, size_in.min(height - top));
            let mut row: Vec<Tensor<4>> = Vec::new();
            for (column, left) in (0..width).step_by(stride).enumerate() {
                let mut tile = forward(rows.clone().narrow(3, left, size_in.min(width - left)));
                // Neighbours are blended themselves already, so that corners see all four.
                if let Some(above) = above.get(column) {
                    tile = blend(2, above, tile, blend_extent);
                }
                if let Some(left) = row.last() {
                    tile = blend(3, left, tile, blend_extent);
                }
                row.push(tile);
            }
            let shown = row.iter().map(|tile| {
                let [_, _, height, width] = tile.dims();
                tile.clone().narrow(2, 0, limit.min(height)).narrow(3, 0, limit.min(width))
            });
            result_rows.push(Tensor::cat(shown.collect(), 3));
            above = row;
        }
        Tensor::cat(result_rows, 2)
    }
}

/// Fades from the end of `before` to the beginning of `tile`, along one axis.
fn blend(dim: usize, before: &Tensor<4>, tile: Tensor<4>, extent: usize) -> Tensor<4> {
    let (length_before, length) = (before.dims()[dim], tile.dims()[dim]);
    let extent = extent.min(length_before).min(length);
    if extent == 0 {
        return tile;
    }
    let mut shape = [1; 4];
    shape[dim] = extent;
    let ramp: Vec<f32> = (0..extent).map(|step| step as f32 / extent as f32).collect();
    let ramp = Tensor::<1>::from_data(ramp.as_slice(), (&tile.device(), tile.dtype())).reshape(shape);
    let fading = before.clone().narrow(dim, length_before - extent, extent);
    let blended = fading * (ramp.ones_like() - ramp.clone()) + tile.clone().narrow(dim, 0, extent) * ramp;
    match length - extent {
        0 => blended,
        rest => Tensor::cat(vec![blended, tile.narrow(dim, extent, rest)], dim),
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    /// Where a tile does nothing, the parts make the whole again, however long the last of them is.
    #[test]
    fn parts_make_the_whole() {
        let tiling = VaeTiling { tile_sample_min_size: 16, tile_latent_min_size: 16, tile_overlap_factor: 0.25 };
        for [height, width] in [[17, 16], [16, 40], [28, 29], [12, 33], [5, 52]] {
            let values: Vec<f32> = (0..height * width).map(|value| (value % 64) as f32).collect();
            let whole = Tensor::<1>::from_data(values.as_slice(), &Device::flex()).reshape([1, 1, height, width]);
            let parts = tiling.decode(&whole, |tile| tile);
            assert_eq!(parts.dims(), whole.dims());
            let difference: f32 = (parts - whole).abs().max().into_scalar();
            assert!(difference < 1e-4, "{height}x{width}: {difference}");
        }
    }
}
