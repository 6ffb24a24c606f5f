//! The generator against `torch.randn`.

use cogview4::model::TorchGenerator;

use crate::support::Parts;

#[test]
fn draws_of_one_stream() {
    let parts = Parts::open("randn.safetensors");
    for seed in [0, 1, 42, 123_456_789, (1 << 32) + 7] {
        let mut generator = TorchGenerator::new(seed);
        for index in 0..9 {
            let expected = parts.values(&format!("{seed}.{index}"));
            let found = generator.randn(expected.len());
            for (found, expected) in found.iter().zip(&expected) {
                assert!((found - expected).abs() <= 1e-6, "seed {seed}, draw {index}: {found} and {expected}");
            }
        }
    }
}
