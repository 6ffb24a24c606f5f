//! The drawings that come with the demo, whose edges are control images.

use std::{fs, path::Path};

use anyhow::{Context, Result};
use cogview4::data::Row;
use cogview4::save_image;

/// A drawing that no training saw, and prompts for its edges.
pub(crate) struct Drawing {
    /// Of the held-out rows.
    row: usize,
    pub(crate) name: &'static str,
    pub(crate) prompts: [&'static str; 2],
}

pub(crate) const DRAWINGS: [Drawing; 6] = [
    Drawing {
        row: 47,
        name: "fox",
        prompts: [
            "a orange fox face, animals & nature, on a white background",
            "a blue fox face, animals & nature, on a black background",
        ],
    },
    Drawing {
        row: 48,
        name: "horse",
        prompts: [
            "a orange horse, animals & nature, on a white background",
            "a purple horse, animals & nature, on a yellow background",
        ],
    },
    Drawing {
        row: 58,
        name: "seedling",
        prompts: [
            "a green seedling, animals & nature, on a white background",
            "a red seedling, animals & nature, on a blue background",
        ],
    },
    Drawing {
        row: 98,
        name: "boot",
        prompts: [
            "a brown hiking boot, objects, on a white background",
            "a green hiking boot, objects, on a pink background",
        ],
    },
    Drawing {
        row: 89,
        name: "balloon",
        prompts: [
            "a red balloon, activities, on a white background",
            "a yellow balloon, activities, on a blue background",
        ],
    },
    Drawing {
        row: 86,
        name: "star",
        prompts: [
            "a yellow medium star, travel & places, on a white background",
            "a pink medium star, travel & places, on a green background",
        ],
    },
];

/// Writes them as `drawings/NAME.png`, and their edges as `edges/NAME.png`.
pub(crate) fn write(held_out: &[Row], folder: &Path) -> Result<()> {
    let [drawings, edges] = ["drawings", "edges"].map(|name| folder.join(name));
    for folder in [&drawings, &edges] {
        fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
    }
    for Drawing { row, name, .. } in DRAWINGS {
        let row = &held_out[row];
        for (picture, folder) in [(&row.image, &drawings), (&row.conditioning_image, &edges)] {
            save_image(&picture.clone().open().map_err(anyhow::Error::msg)?, &folder.join(name).with_extension("png"))?;
        }
    }
    Ok(())
}
