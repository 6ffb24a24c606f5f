//! YAML as JSON's values: front matter of README files, configurations of other programs. Parsing is `saphyr-parser`'s;
//! here its events become values, within bounds, because the text may come from anywhere.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Tag};
use serde_json::{Map, Value};

/// Deeper values are refused: they would be walked through by recursion.
const MAX_DEPTH: usize = 64;
/// More values are refused, those that aliases repeat counted each time.
const MAX_VALUES: usize = 1_000_000;

/// Reads the first document of a text; an empty text is `null`. Scalars have the types of YAML 1.2's core schema, and
/// of two equal keys the last counts.
///
/// ```
/// use cogview4_data::parse_yaml;
///
/// let value = parse_yaml("configs:\n- config_name: pose\n  default: true\n")?;
/// assert_eq!(value["configs"][0]["config_name"], "pose");
/// assert_eq!(parse_yaml("a: [1").unwrap_err(), "line 2: while parsing a flow sequence, expected ',' or ']'");
/// # Ok::<(), String>(())
/// ```
///
/// # Errors
/// What is not YAML, with the line; a key that is not a scalar; values nested too deeply or too many of them.
pub fn parse_yaml(text: &str) -> Result<Value, String> {
    let mut builder = Builder::default();
    for event in Parser::new_from_str(text) {
        let (event, span) =
            event.map_err(|error: ScanError| format!("line {}: {}", error.marker().line(), error.info()))?;
        if matches!(event, Event::DocumentEnd) {
            break;
        }
        builder.take(event).map_err(|reason| format!("line {}: {reason}", span.start.line()))?;
    }
    Ok(builder.root)
}

/// Values that are not complete yet, the outermost first.
#[derive(Default)]
struct Builder {
    open: Vec<(usize, Open)>,
    anchors: HashMap<usize, Value>,
    count: usize,
    root: Value,
}

enum Open {
    Sequence(Vec<Value>),
    /// With the key whose value comes next.
    Mapping(Map<String, Value>, Option<String>),
}

impl Builder {
    fn take(&mut self, event: Event<'_>) -> Result<(), String> {
        match event {
            Event::Scalar(text, style, anchor, tag) => self.put(anchor, scalar(&text, style, tag.as_deref()), 1),
            Event::Alias(anchor) => {
                let value = self.anchors.get(&anchor).cloned().ok_or("an alias before its anchor")?;
                let repeated = count_values(&value);
                self.put(0, value, repeated)
            }
            Event::SequenceStart(anchor, _) => self.begin(anchor, Open::Sequence(Vec::new())),
            Event::MappingStart(anchor, _) => self.begin(anchor, Open::Mapping(Map::new(), None)),
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some((anchor, Open::Sequence(list))) => self.put(anchor, Value::Array(list), 1),
                Some((anchor, Open::Mapping(map, _))) => self.put(anchor, Value::Object(map), 1),
                None => Ok(()),
            },
            _ => Ok(()),
        }
    }

    fn begin(&mut self, anchor: usize, value: Open) -> Result<(), String> {
        if self.open.len() >= MAX_DEPTH {
            return Err(format!("nested more than {MAX_DEPTH} deep"));
        }
        self.open.push((anchor, value));
        Ok(())
    }

    /// Puts a complete value where it belongs; `new` is how many values there are now more.
    fn put(&mut self, anchor: usize, value: Value, new: usize) -> Result<(), String> {
        let kept = if anchor > 0 { count_values(&value) } else { 0 };
        self.count = self.count.saturating_add(new).saturating_add(kept);
        if self.count > MAX_VALUES {
            return Err(format!("more than {MAX_VALUES} values"));
        }
        if anchor > 0 {
            self.anchors.insert(anchor, value.clone());
        }
        match self.open.last_mut() {
            None => self.root = value,
            Some((_, Open::Sequence(list))) => list.push(value),
            Some((_, Open::Mapping(map, key))) => match key.take() {
                Some(key) => drop(map.insert(key, value)),
                None => *key = Some(as_text(&value).ok_or("a key that is not a text")?),
            },
        }
        Ok(())
    }
}

/// A scalar as text; names may look like numbers.
pub(crate) fn as_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

fn count_values(value: &Value) -> usize {
    match value {
        Value::Array(list) => 1 + list.iter().map(count_values).sum::<usize>(),
        Value::Object(map) => 1 + map.values().map(count_values).sum::<usize>(),
        _ => 1,
    }
}

fn scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Value {
    let is_text = style != ScalarStyle::Plain || tag.is_some_and(|tag| tag.suffix == "str");
    if is_text {
        return text.into();
    }
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => true.into(),
        "false" | "False" | "FALSE" => false.into(),
        _ => number(text).unwrap_or_else(|| text.into()),
    }
}

/// A number; infinities and NaN, which JSON has not, stay text.
fn number(text: &str) -> Option<Value> {
    let digits = |prefix, radix| text.strip_prefix(prefix).and_then(|rest| i64::from_str_radix(rest, radix).ok());
    if let Some(value) = digits("0x", 16).or_else(|| digits("0o", 8)).or_else(|| text.parse().ok()) {
        return Some(value.into());
    }
    let in_charset = |c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.' | 'e' | 'E');
    let value = text.parse::<f64>().ok().filter(|value| value.is_finite() && text.chars().all(in_charset))?;
    Some(value.into())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_have_the_types_of_the_core_schema() {
        let text =
            "a: 1\nb: 'no'\nc: no\nd: 5e-6\ne: [~, true, 0x10, -3, 1_000]\nf: {x: \"1\", y: !!str 2}\n# end\n3: .inf\n";
        let value = parse_yaml(text).unwrap();
        let expected = json!({
            "a": 1, "b": "no", "c": "no", "d": 5e-6, "e": [null, true, 16, -3, "1_000"], "f": {"x": "1", "y": "2"},
            "3": ".inf",
        });
        assert_eq!(value, expected);
        assert_eq!(parse_yaml("").unwrap(), Value::Null);
        assert_eq!(parse_yaml("a: &x [1]\nb: *x\na: 2\n---\nc: 3\n").unwrap(), json!({"a": 2, "b": [1]}));
    }

    #[test]
    fn what_is_broken_is_told_by_line() {
        for (text, line) in
            [("a: 1\nb: [1", "line 3"), ("a: b: c", "line 1"), ("x: *nobody", "line 1"), ("? [a]\n: b", "")]
        {
            let reason = parse_yaml(text).unwrap_err();
            assert!(reason.starts_with(line) && !reason.contains('\n'), "{reason}");
        }
    }

    #[test]
    fn small_texts_cannot_ask_for_much() {
        for text in ["- ".repeat(100_000), "[".repeat(100_000), "{a: ".repeat(100_000)] {
            parse_yaml(&text).unwrap_err();
        }
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x]\n".to_string();
        for level in 1..40 {
            let repeated = vec![format!("*a{}", level - 1); 8].join(", ");
            text.push_str(&format!("a{level}: &a{level} [{repeated}]\n"));
        }
        let reason = parse_yaml(&text).unwrap_err();
        assert!(reason.contains("more than"), "{reason}");
    }
}
