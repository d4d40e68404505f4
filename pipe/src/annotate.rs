//! Annotations onto a manifest that is ready.
//!
//! Invariant: everything else in the manifest stays byte for byte as it is, in its order.
//! Must not know: where annotations come from.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Error as _, MapAccess, Visitor};
use serde::ser::SerializeMap as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::image::Manifest;

/// The same manifest with these annotations; those that it has stay unless they are written anew.
///
/// # Errors
/// If the manifest is no JSON object, or its annotations are not texts or stand twice.
pub(crate) fn annotate(
    manifest: &Manifest,
    annotations: &BTreeMap<String, String>,
) -> Result<Manifest, serde_json::Error> {
    let Members(mut members) = serde_json::from_slice(&manifest.bytes)?;
    let place = members.iter().position(|(name, _)| name == KEY);
    let mut all: BTreeMap<String, String> = match place {
        Some(place) => serde_json::from_str(members[place].1.get())?,
        None => BTreeMap::new(),
    };
    all.extend(annotations.iter().map(|(key, value)| (key.clone(), value.clone())));
    let value = serde_json::value::to_raw_value(&all)?;
    match place {
        Some(place) => members[place].1 = value,
        None => members.push((KEY.to_owned(), value)),
    }
    let bytes = serde_json::to_vec(&Members(members))?;
    Ok(Manifest::verbatim(manifest.media_type.clone(), bytes))
}

/// The members of an object in their order, their values untouched.
struct Members(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Collect;

        impl<'de> Visitor<'de> for Collect {
            type Value = Members;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a manifest")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry::<String, _>()? {
                    // Readers differ in which one counts.
                    if member.0 == KEY && members.iter().any(|(name, _)| name == KEY) {
                        return Err(A::Error::duplicate_field(KEY));
                    }
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        from.deserialize_map(Collect)
    }
}

impl Serialize for Members {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

const KEY: &str = "annotations";

#[cfg(test)]
mod tests {
    use super::*;

    fn annotated(manifest: &str, annotations: &[(&str, &str)]) -> Result<String, ()> {
        let manifest = Manifest::verbatim("x".to_owned(), manifest.as_bytes().to_vec());
        let annotations =
            annotations.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let annotated = annotate(&manifest, &annotations.collect()).map_err(|_| ())?;
        Ok(String::from_utf8(annotated.bytes).unwrap())
    }

    #[test]
    fn the_rest_of_a_manifest_stays_as_it_is() {
        let manifest = r#"{"z":1.50,"a":{ "odd" : [1] },"schemaVersion":2}"#;
        assert_eq!(
            annotated(manifest, &[("k", "v\"")]).unwrap(),
            r#"{"z":1.50,"a":{ "odd" : [1] },"schemaVersion":2,"annotations":{"k":"v\""}}"#
        );
    }

    #[test]
    fn annotations_that_are_there_stay_unless_they_are_written_anew() {
        let manifest = r#"{"annotations":{"b":"1","a":"1"},"x":0}"#;
        assert_eq!(
            annotated(manifest, &[("b", "2")]).unwrap(),
            r#"{"annotations":{"a":"1","b":"2"},"x":0}"#
        );
    }

    #[test]
    fn what_is_no_manifest_is_refused() {
        assert_eq!(annotated("[]", &[]), Err(()));
        assert_eq!(annotated(r#"{"annotations":{"a":1}}"#, &[]), Err(()));
    }

    #[test]
    fn annotations_that_stand_twice_are_refused() {
        let manifest = r#"{"annotations":{"a":"1"},"annotations":{"a":"2"}}"#;
        assert_eq!(annotated(manifest, &[("a", "3")]), Err(()));
    }
}
