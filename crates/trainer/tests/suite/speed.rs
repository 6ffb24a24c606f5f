//! What a run says of its speed.

use cogview4_model::{
    CogView4TransformerConfig, ComputeDtype,
    activations::{ActivationSettings, SequenceLengths},
    ops::ProductKernel,
};

use crate::support::{Workplace, fixtures};

#[test]
fn the_part_of_the_peak_that_a_model_takes() {
    let workplace = Workplace::new();
    let flags = ["--peak_tflops", "0.001", "--allow_tf32"];
    let output = workplace.run(&flags);
    let notes = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{notes}");
    assert!(notes.contains("note: allow_tf32 has no effect on flex"), "{notes}");
    let config = CogView4TransformerConfig::load(&fixtures().join("plain/transformer/config.json")).unwrap();
    let lines = workplace.json_lines("out/metrics.jsonl");
    assert_eq!(lines.len(), 2);
    for line in lines {
        let of = |name: &str| line[name].as_f64().unwrap();
        assert_eq!(of("peak_flops"), 1e9);
        // Three times a forward pass of two samples, whose captions have some multiple of 16 tokens.
        let flops = of("mfu") * 1e9 * 2.0 / of("samples_per_second");
        let expected = |tokens: usize| {
            let lengths = SequenceLengths { batch: 2, seq_txt: tokens, seq_img: 64 };
            3.0 * config.activations(lengths, ActivationSettings::new(ComputeDtype::Float32)).flops
        };
        assert!((1..9).any(|count| (flops / expected(16 * count) - 1.0).abs() < 1e-9), "{flops}");
    }
    let report = String::from_utf8(workplace.bytes("out/report.html")).unwrap();
    assert!(report.contains("of an assumed peak of 0.001 TFLOP/s (MFU)"));

    let without = Workplace::new();
    without.succeeds(&[]);
    assert!(without.json_lines("out/metrics.jsonl").iter().all(|line| line.get("mfu").is_none()));
}

#[test]
fn the_kernel_is_named() {
    for (flags, best) in [(&[][..], ProductKernel::Avx512), (&["--mixed_precision", "bf16"], ProductKernel::MatrixUnit)]
    {
        let workplace = Workplace::new();
        workplace.succeeds(flags);
        let expected = ProductKernel::chosen().min(best).name();
        assert!(workplace.json_lines("out/metrics.jsonl").iter().all(|line| line["kernel"] == expected), "{expected}");
    }
}
