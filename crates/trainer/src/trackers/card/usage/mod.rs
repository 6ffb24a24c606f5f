//! How the trained model is used, as whole programs. The files beside this one are those programs, with places that are
//! filled in; tests run them.

use cogview4_model::ComputeDtype;

const CONTROL_RUST: &str = include_str!("control.rs");
const CONTROL_PYTHON: &str = include_str!("control.py");
const BASE_RUST: &str = include_str!("base.rs");
const BASE_PYTHON: &str = include_str!("base.py");

/// What the programs are filled with.
pub(super) struct Usage {
    pub control: bool,
    /// Folder or name of the pipeline that gives all but the transformer.
    pub pipeline: String,
    /// Folder or name of the transformer.
    pub model: String,
    /// Path or URL; a prompt is always there with it.
    pub control_image: Option<String>,
    pub prompt: Option<String>,
    pub resolution: u32,
    pub guidance_scale: f64,
    pub max_sequence_length: usize,
    pub seed: u64,
    /// What the transformer is saved in.
    pub dtype: ComputeDtype,
}

impl Usage {
    pub(super) fn rust(&self) -> String {
        // Rust writes its own literals.
        self.fill(if self.control { CONTROL_RUST } else { BASE_RUST }, |text| format!("{text:?}"))
    }

    pub(super) fn python(&self) -> String {
        // A literal of JSON is one of Python.
        let literal = |text: &str| serde_json::Value::from(text).to_string();
        self.fill(if self.control { CONTROL_PYTHON } else { BASE_PYTHON }, literal)
    }

    fn fill(&self, program: &str, literal: impl Fn(&str) -> String) -> String {
        let mut places = vec![
            ("\"path/to/pipeline\"", literal(&self.pipeline)),
            ("\"path/to/model\"", literal(&self.model)),
            ("height(64)", format!("height({})", self.resolution)),
            ("width(64)", format!("width({})", self.resolution)),
            ("height=64", format!("height={}", self.resolution)),
            ("width=64", format!("width={}", self.resolution)),
            ("3.5", format!("{:?}", self.guidance_scale)),
            ("128", self.max_sequence_length.to_string()),
            ("seed(0)", format!("seed({})", self.seed)),
            ("torch.float32", format!("torch.{}", self.dtype)),
        ];
        places.extend(self.control_image.as_ref().map(|image| ("\"path/to/control.png\"", literal(image))));
        places.extend(self.prompt.as_ref().map(|prompt| ("\"a prompt\"", literal(prompt))));
        replace_all(program, &places)
    }
}

/// Replaces in one pass: what was filled in is not looked at again, whatever it holds.
fn replace_all(text: &str, places: &[(&str, String)]) -> String {
    let (mut filled, mut rest) = (String::new(), text);
    while let Some((at, place, value)) =
        places.iter().filter_map(|(place, value)| Some((rest.find(place)?, place, value))).min_by_key(|(at, ..)| *at)
    {
        filled.push_str(&rest[..at]);
        filled.push_str(value);
        rest = &rest[at + place.len()..];
    }
    filled + rest
}
