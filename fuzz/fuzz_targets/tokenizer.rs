//! `tokenizer.json`, and `tokenizer_config.json` behind it where there is a second part.
#![no_main]

use cogview4_control_pipeline::PromptTokenizer;
use cogview4_fuzz::{Scratch, parts, said, target};

const PROMPTS: [&str; 5] = [
    "",
    "a red fox in the snow",
    "\u{65e5}\u{672c}\u{8a9e} \u{1f98a}\u{200d} e\u{301}",
    "<|endoftext|>[gMASK] x",
    "\0\n ",
];

target!(read);

fn read(data: &[u8]) {
    let folder = Scratch::new();
    for (name, part) in ["tokenizer.json", "tokenizer_config.json"].iter().zip(parts(data, 2)) {
        folder.write(name, part);
    }
    let Some(tokenizer) = said(PromptTokenizer::load(folder.path())) else { return };
    tokenizer.vocab_size();
    for prompt in PROMPTS.into_iter().chain([&*"fox ".repeat(200)]) {
        said(tokenizer.count(prompt));
        for length in [16, 77, 1024] {
            let Some(found) = said(tokenizer.encode(prompt, length)) else { continue };
            assert!(found.ids.len().is_multiple_of(16) && found.pads <= found.ids.len(), "{prompt:?}: {found:?}");
        }
    }
}
