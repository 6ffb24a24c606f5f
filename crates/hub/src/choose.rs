//! Which files of a repository are needed: configurations and safetensors of the components that are asked for, and
//! nothing that runs code when it is read.

mod weights;

pub use weights::{WeightNames, find_weights};

use crate::{
    error::{HubError, Result},
    listing::{Listing, RemoteFile},
};

/// Ends of the names of configurations, vocabularies and templates.
const TEXTS: [&str; 4] = [".json", ".txt", ".model", ".jinja"];
/// Ends of the names of weights in formats that are not read; some run code.
const OTHER_WEIGHTS: [&str; 9] = [".bin", ".pt", ".pth", ".ckpt", ".pkl", ".onnx", ".msgpack", ".h5", ".gguf"];
/// Components without weights, by the beginnings of their names.
const WITHOUT_WEIGHTS: [&str; 4] = ["scheduler", "tokenizer", "feature_extractor", "image_processor"];

/// The files of a pipeline: `model_index.json` and the folders of these components.
///
/// With a variant, its weights are taken where a component has them, as in diffusers; one component at least must.
///
/// # Errors
/// [`HubError::EntryNotFound`] where it is no pipeline, [`HubError::NoWeights`] names a component that has no
/// safetensors, lacks some of them, or is not there.
pub fn pipeline_files<'a>(
    listing: &'a Listing,
    components: &[&str],
    variant: Option<&str>,
) -> Result<Vec<&'a RemoteFile>> {
    let path = "model_index.json";
    let index = listing.file(path);
    let index =
        index.ok_or_else(|| HubError::EntryNotFound { repo: listing.repo.clone().into(), path: path.into() })?;
    let mut files = vec![index];
    let mut are_variants = Vec::new();
    for component in components {
        let (chosen, is_variant) = component_files(listing, component, variant)?;
        are_variants.extend(is_variant);
        files.extend(chosen);
    }
    if variant.is_some() && !are_variants.is_empty() && !are_variants.contains(&true) {
        return Err(no_variant(listing, &components.join(", "), variant));
    }
    Ok(files)
}

/// The files of one model: those of a folder, or of a repository that is one model, where `folder` is empty.
///
/// # Errors
/// [`HubError::NoWeights`] where there are no safetensors, some are missing, or none are of the variant.
pub fn model_files<'a>(listing: &'a Listing, folder: &str, variant: Option<&str>) -> Result<Vec<&'a RemoteFile>> {
    let (files, is_variant) = component_files(listing, folder, variant)?;
    if variant.is_some() && is_variant == Some(false) {
        return Err(no_variant(listing, shown(folder), variant));
    }
    Ok(files)
}

/// The files of a folder, and whether its weights, if it has some, are of the variant.
fn component_files<'a>(
    listing: &'a Listing,
    folder: &str,
    variant: Option<&str>,
) -> Result<(Vec<&'a RemoteFile>, Option<bool>)> {
    let no_weights = |reason: String| Err(missing(listing, shown(folder), reason));
    let inside: Vec<(&str, &RemoteFile)> =
        listing.files.iter().filter_map(|file| Some((inside(file, folder)?, file))).collect();
    if inside.is_empty() {
        return no_weights("there is no such folder".into());
    }
    let names: Vec<&str> = inside.iter().map(|(name, _)| *name).collect();
    let found = match variant.map(|variant| find_weights(&names, Some(variant))).transpose() {
        Ok(found) => found.flatten().map(|weights| (weights, true)),
        Err(reason) => return no_weights(reason),
    };
    let found = match found {
        Some(found) => Some(found),
        None => match find_weights(&names, None) {
            Ok(weights) => weights.map(|weights| (weights, false)),
            Err(reason) => return no_weights(reason),
        },
    };
    let other = names.iter().find(|name| ends(name, &OTHER_WEIGHTS));
    match (&found, other) {
        (None, Some(other)) => {
            return no_weights(format!("no safetensors, only {other}, which is not read; convert it first"));
        }
        (None, None) if !is_without_weights(folder) => return no_weights("no safetensors".into()),
        _ => {}
    }
    let is_weight = |name: &str| found.as_ref().is_some_and(|(weights, _)| weights.contains(name));
    let is_text = |name: &str| ends(name, &TEXTS) && !name.contains(".index.");
    let chosen = inside.into_iter().filter(|(name, _)| is_text(name) || is_weight(name)).map(|(_, file)| file);
    Ok((chosen.collect(), found.as_ref().map(|(_, is_variant)| *is_variant)))
}

/// The name of a file that lies in a folder itself.
fn inside<'a>(file: &'a RemoteFile, folder: &str) -> Option<&'a str> {
    let path = file.path.as_str();
    let name = if folder.is_empty() { path } else { path.strip_prefix(folder)?.strip_prefix('/')? };
    (!name.contains('/')).then_some(name)
}

fn is_without_weights(folder: &str) -> bool {
    WITHOUT_WEIGHTS.iter().any(|name| folder.starts_with(name))
}

fn ends(name: &str, ends: &[&str]) -> bool {
    ends.iter().any(|end| name.ends_with(end))
}

fn shown(folder: &str) -> &str {
    if folder.is_empty() { "its top folder" } else { folder }
}

fn no_variant(listing: &Listing, component: &str, variant: Option<&str>) -> HubError {
    missing(listing, component, format!("no safetensors of the variant {}", variant.unwrap_or_default()))
}

/// What the cache lacks, the Hub may have.
fn missing(listing: &Listing, component: &str, mut reason: String) -> HubError {
    if listing.from_cache {
        reason += " in the cache, and the Hub was not asked";
    }
    HubError::NoWeights { repo: listing.repo.clone().into(), component: component.into(), reason }
}

#[cfg(test)]
mod tests;
