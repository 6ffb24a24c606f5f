//! The drawings that come with the demo, whose edges are control images.

use std::{fs, path::Path};

use anyhow::{Context, Result};
use cogview4::save_image;

use crate::{icons::Icon, pairs::Drawing as Rendered};

/// A drawing of a concept that no training saw, and prompts for its edges.
pub(crate) struct Drawing {
    pub(crate) name: &'static str,
    pub(crate) prompts: [&'static str; 3],
}

pub(crate) const DRAWINGS: [Drawing; 6] = [
    Drawing {
        name: "butterfly",
        prompts: ["blue butterfly", "a pink butterfly", "orange butterfly, yellow background"],
    },
    Drawing {
        name: "mushroom",
        prompts: ["red mushroom", "a purple mushroom", "brown mushroom on a green background"],
    },
    Drawing { name: "panda", prompts: ["panda", "a brown panda", "gray panda on a pink background"] },
    Drawing { name: "saxophone", prompts: ["yellow saxophone", "a blue saxophone", "red saxophone, black background"] },
    Drawing { name: "sunflower", prompts: ["sunflower", "a red sunflower", "pink sunflower on a blue background"] },
    Drawing { name: "teapot", prompts: ["green teapot", "an orange teapot", "blue teapot on a yellow background"] },
];

/// Writes them as `drawings/NAME.png`, and their edges as `edges/NAME.png`, from the first of the hands.
pub(crate) fn write(held_out: &[&Icon], folder: &Path) -> Result<()> {
    let [drawings, edges] = ["drawings", "edges"].map(|name| folder.join(name));
    for folder in [&drawings, &edges] {
        fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
    }
    for Drawing { name, .. } in DRAWINGS {
        let icon = held_out.iter().find(|icon| icon.name == name);
        let icon = icon.with_context(|| format!("`{name}` is not among what is held out"))?;
        let (picture, control) = Rendered::new(icon)?.plain()?;
        for (picture, folder) in [(&picture, &drawings), (&control, &edges)] {
            save_image(picture, &folder.join(name).with_extension("png"))?;
        }
    }
    Ok(())
}
