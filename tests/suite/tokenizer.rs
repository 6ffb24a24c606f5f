//! Token ids, with pads, against transformers.

use cogview4::PromptTokenizer;

use crate::support::{PIPELINES, fixtures, json};

#[test]
fn ids_and_pads() {
    for name in PIPELINES {
        let tokenizer = PromptTokenizer::load(&fixtures().join(name).join("tokenizer")).unwrap();
        for case in json(&format!("{name}/tokens.json")).as_array().unwrap() {
            let max_length = case["max_sequence_length"].as_u64().unwrap() as usize;
            let found = tokenizer.encode(case["prompt"].as_str().unwrap(), max_length).unwrap();
            let expected: Vec<u32> =
                case["ids"].as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect();
            assert_eq!(found.ids, expected, "{case}");
            assert_eq!(found.pads, case["pads"].as_u64().unwrap() as usize, "{case}");
        }
    }
}

#[test]
fn a_maximum_without_room_is_refused() {
    let tokenizer = PromptTokenizer::load(&fixtures().join("plain").join("tokenizer")).unwrap();
    for max_length in [0, 1] {
        let error = tokenizer.encode("a cat", max_length).unwrap_err().to_string();
        assert!(error.starts_with("max_sequence_length"), "{error}");
    }
}
