//! An image's config as people are shown it.
//!
//! Invariant: it is made of bytes that anybody could have pushed, so whatever has another shape than
//! it should is left out, and lists and texts are cut. It never decides anything.

use crate::domain::manifest::outline::{cut, platform};
use serde_json::{Map, Value};

/// The most items of a list that are shown.
const MOST_ITEMS: usize = 300;

/// What an image's config says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageConfig {
    /// What it runs on, such as `linux/amd64`.
    pub platform: Option<String>,
    /// When it was built, as it says.
    pub created: Option<String>,
    /// Who built it, as it says.
    pub author: Option<String>,
    /// The user that it runs as.
    pub user: Option<String>,
    /// The folder that it starts in.
    pub working_directory: Option<String>,
    /// What it starts.
    pub entrypoint: Vec<String>,
    /// The arguments, or what it starts.
    pub command: Vec<String>,
    /// Its environment, as `NAME=value`.
    pub environment: Vec<String>,
    /// Ports that it says to listen on.
    pub ports: Vec<String>,
    /// Folders that it wants on a volume.
    pub volumes: Vec<String>,
    /// Its labels.
    pub labels: Vec<(String, String)>,
    /// The signal that stops it.
    pub stop_signal: Option<String>,
    /// The steps that built it.
    pub steps: Vec<Step>,
}

/// A step of a build.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// The instruction, as the builder wrote it down.
    pub instruction: String,
    /// Whether it made no layer.
    pub empty: bool,
}

impl ImageConfig {
    /// Reads a config; `None` if it is no JSON object.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let Ok(Value::Object(document)) = serde_json::from_slice(bytes) else { return None };
        let empty = Map::new();
        let config = document.get("config").and_then(Value::as_object).unwrap_or(&empty);
        let plain = |key| text(&document, key).unwrap_or_default();
        Some(Self {
            platform: platform(
                &plain("os"),
                &plain("architecture"),
                &plain("variant"),
                &plain("os.version"),
            ),
            created: text(&document, "created"),
            author: text(&document, "author"),
            user: text(config, "User"),
            working_directory: text(config, "WorkingDir"),
            entrypoint: texts(config, "Entrypoint"),
            command: texts(config, "Cmd"),
            environment: texts(config, "Env"),
            ports: keys(config, "ExposedPorts"),
            volumes: keys(config, "Volumes"),
            labels: pairs(config, "Labels"),
            stop_signal: text(config, "StopSignal"),
            steps: steps(&document),
        })
    }

    /// The instructions that made the layers, in order; shorter or longer than the layers if the
    /// config tells about others.
    #[must_use]
    pub fn layer_steps(&self) -> Vec<&str> {
        let made = self.steps.iter().filter(|step| !step.empty);
        made.map(|step| step.instruction.as_str()).collect()
    }
}

fn text(object: &Map<String, Value>, key: &str) -> Option<String> {
    object.get(key).and_then(Value::as_str).filter(|text| !text.is_empty()).map(cut)
}

fn texts(object: &Map<String, Value>, key: &str) -> Vec<String> {
    let all = object.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    all.iter().filter_map(Value::as_str).take(MOST_ITEMS).map(cut).collect()
}

fn keys(object: &Map<String, Value>, key: &str) -> Vec<String> {
    let all = object.get(key).and_then(Value::as_object);
    all.into_iter().flat_map(Map::keys).take(MOST_ITEMS).map(|key| cut(key)).collect()
}

fn pairs(object: &Map<String, Value>, key: &str) -> Vec<(String, String)> {
    let all = object.get(key).and_then(Value::as_object);
    let pair = |(key, value): (&String, &Value)| Some((cut(key), cut(value.as_str()?)));
    all.into_iter().flatten().filter_map(pair).take(MOST_ITEMS).collect()
}

fn steps(document: &Map<String, Value>) -> Vec<Step> {
    let all = document.get("history").and_then(Value::as_array);
    let all = all.map(Vec::as_slice).unwrap_or_default();
    let step = |value: &Value| {
        let object = value.as_object()?;
        let empty = object.get("empty_layer").and_then(Value::as_bool).unwrap_or(false);
        let instruction = text(object, "created_by").or_else(|| text(object, "comment"));
        Some(Step { instruction: tidy(&instruction.unwrap_or_default()), empty })
    };
    all.iter().filter_map(step).take(4_000).collect()
}

/// An instruction without what old builders wrapped around it.
fn tidy(instruction: &str) -> String {
    let shell = "/bin/sh -c ";
    let rest = instruction.strip_prefix(shell).unwrap_or(instruction);
    let rest = match rest.trim_start().strip_prefix("#(nop)") {
        Some(instruction) => instruction.trim(),
        None if rest.len() < instruction.len() => return format!("RUN {}", rest.trim()),
        None => rest,
    };
    rest.trim_end_matches("# buildkit").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_config_of_any_shape_is_read_without_harm() {
        for odd in [
            r#"{"config":[],"history":{},"os":1}"#,
            r#"{"config":{"Env":"x","Labels":{"a":1,"b":"c"},"Cmd":[1,"sh"]},"history":[3,{}]}"#,
        ] {
            let config = ImageConfig::read(odd.as_bytes()).unwrap();
            assert_eq!(config.platform, None);
        }
        assert_eq!(ImageConfig::read(b"[]"), None);
        assert_eq!(ImageConfig::read(b"\xff"), None);
    }

    #[test]
    fn instructions_read_as_they_were_written() {
        let written = [
            ("/bin/sh -c #(nop) ADD file:1 in / ", "ADD file:1 in /"),
            ("/bin/sh -c apt-get update", "RUN apt-get update"),
            ("COPY . . # buildkit", "COPY . ."),
            ("RUN /bin/sh -c make # buildkit", "RUN /bin/sh -c make"),
        ];
        for (stored, shown) in written {
            assert_eq!(tidy(stored), shown);
        }
    }
}
