//! Checkpoints that are written while training goes on are those of the step that they were begun after.

use crate::support::Workplace;

#[test]
fn background_saves_write_the_same_bytes() {
    let workplace = Workplace::new();
    let short = ["--max_train_steps", "6", "--checkpointing_steps", "1"];
    // Masters and moments in f32, moments in 8 bits, and weights that are their own masters.
    let kinds: [&[&str]; 3] = [&[], &["--mixed_precision", "bf16", "--use_8bit_adam"], &["--mixed_precision", "bf16"]];
    for (kind, flags) in kinds.into_iter().enumerate() {
        let [plain, background] = ["plain", "background"].map(|name| format!("{name}-{kind}"));
        workplace.succeeds(&[&short[..], flags, &["--output_dir", &plain]].concat());
        workplace.succeeds(&[&short[..], flags, &["--output_dir", &background, "--background_saves"]].concat());
        assert_eq!(workplace.metrics(&plain), workplace.metrics(&background));
        for step in 1..=6 {
            for file in ["transformer/diffusion_pytorch_model.safetensors", "optimizer.safetensors", "manifest.json"] {
                let [a, b] =
                    [&plain, &background].map(|run| workplace.bytes(&format!("{run}/checkpoint-{step}/{file}")));
                assert!(a == b, "{file} of step {step}, {flags:?}");
            }
        }
        let [a, b] =
            [&plain, &background].map(|run| workplace.bytes(&format!("{run}/diffusion_pytorch_model.safetensors")));
        assert!(a == b);
    }
    // A run that is asked to stop has written when it ends; one that diverges too.
    let resume = ["--output_dir", "background-0", "--background_saves", "--resume_from_checkpoint", "latest"];
    let diverging = ["--max_train_steps", "9", "--checkpointing_steps", "1", "--learning_rate", "1e300"];
    let flags = [&resume[..], &diverging, &["--allow_config_change"]].concat();
    workplace.refuses(&flags, &["step 7", "not a finite number", "checkpoint-6"]);
    for offload in ["--optimizer_offload", "--param_offload"] {
        workplace.refuses(&["--background_saves", offload, "disk"], &["--background_saves", "memory"]);
    }
}
