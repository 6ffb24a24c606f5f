//! Captions in the forms that people type.

use rand_chacha::ChaCha8Rng;

use crate::{
    colour,
    random::{chance, pick},
};

/// What a caption may say of a picture.
pub(crate) struct Subject<'a> {
    pub(crate) name: &'a str,
    pub(crate) category: &'a str,
    pub(crate) styles: &'a [&'a str],
    pub(crate) colour: &'a str,
    /// Whether the colour is not the usual one, so that it has to be said.
    pub(crate) is_recoloured: bool,
    /// Of the background; white need not be said.
    pub(crate) ground: &'a str,
}

/// Begins that say that it is a picture.
const BEGINS: [&str; 5] = ["a drawing of", "a picture of", "an icon of", "an emoji of", "an illustration of"];

/// One of the forms.
pub(crate) fn caption(subject: &Subject<'_>, random: &mut ChaCha8Rng) -> String {
    let says_colour = subject.is_recoloured || chance(random, 0.4);
    let mut thing = if says_colour { without_colours(subject.name) } else { subject.name.to_owned() };
    let mut behind = Vec::new();
    if says_colour && chance(random, 0.1) {
        behind.push(subject.colour.to_owned());
    } else if says_colour {
        thing = format!("{} {thing}", subject.colour);
    }
    if !subject.styles.is_empty() && chance(random, 0.3) {
        let style = *pick(random, subject.styles);
        match chance(random, 0.5) {
            true => thing = format!("{style} {thing}"),
            false => behind.push(style.to_owned()),
        }
    }
    if chance(random, 0.35) {
        thing = with_article(&thing);
        if chance(random, 0.3) {
            thing = format!("{} {thing}", pick(random, &BEGINS));
        }
    }
    if chance(random, 0.15) {
        behind.push(match chance(random, 0.5) {
            true => subject.category.to_owned(),
            false => subject.category.replace('&', "and"),
        });
    }
    let mut text = thing;
    if subject.ground != "white" || chance(random, 0.2) {
        let ground = format!("{} background", subject.ground);
        match pick(random, &[0, 1, 2, 3]) {
            0 => text = format!("{text} on a {ground}"),
            1 => text = format!("{text} on {ground}"),
            2 => text = format!("on a {ground}, {text}"),
            _ => behind.push(ground),
        }
    }
    for part in behind {
        text = format!("{text}, {part}");
    }
    if chance(random, 0.15) { capitalised(&text) } else { text }
}

/// A name without the names of colours, unless it is nothing else.
pub(crate) fn without_colours(name: &str) -> String {
    let words: Vec<_> = name.split(' ').filter(|word| !colour::NAMES.contains(word)).collect();
    if words.is_empty() { name.to_owned() } else { words.join(" ") }
}

fn with_article(thing: &str) -> String {
    let article = if thing.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    format!("{article} {thing}")
}

fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use rand_chacha::rand_core::SeedableRng;

    use super::*;

    fn captions(subject: &Subject<'_>) -> Vec<String> {
        (0..500).map(|seed| caption(subject, &mut ChaCha8Rng::seed_from_u64(seed)).to_lowercase()).collect()
    }

    const APPLE: Subject<'_> = Subject {
        name: "red apple",
        category: "food & drink",
        styles: &["flat"],
        colour: "red",
        is_recoloured: false,
        ground: "white",
    };

    #[test]
    fn what_is_not_usual_is_said() {
        for text in captions(&Subject { colour: "blue", is_recoloured: true, ground: "pink", ..APPLE }) {
            assert!(text.contains("apple") && text.contains("blue") && !text.contains("red"), "{text}");
            assert!(text.contains("pink background"), "{text}");
        }
    }

    #[test]
    fn what_is_usual_may_be_left_out() {
        let texts = captions(&APPLE);
        for part in ["white background", "flat", "food and drink", "a drawing of"] {
            let count = texts.iter().filter(|text| text.contains(part)).count();
            assert!((1..250).contains(&count), "{part}: {count}");
        }
        assert!(texts.iter().any(|text| text == "red apple"));
    }

    #[test]
    fn articles_fit_what_follows() {
        for text in captions(&Subject { name: "owl", colour: "orange", ..APPLE }) {
            assert!(!text.contains("a owl") && !text.contains("a orange"), "{text}");
        }
    }
}
