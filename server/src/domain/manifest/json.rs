//! The JSON shape of a manifest, read strictly where reading loosely is dangerous.
//!
//! Invariant: keys that the registry acts on may stand once and in one spelling. Everything else is
//! skipped unread, so that vendors' fields pass.

use super::{DOCKER_INDEX, DOCKER_MANIFEST, Descriptor, InvalidManifest, OCI_INDEX, OCI_MANIFEST};
use serde::de::{
    DeserializeSeed, Error as _, IgnoredAny, IntoDeserializer as _, MapAccess, Visitor,
};
use serde::{Deserialize, Deserializer, forward_to_deserialize_any};
use std::fmt;

/// The parts of a manifest that the registry acts on. Serde's derive refuses a field given twice.
#[derive(Deserialize)]
struct Raw {
    #[serde(rename = "schemaVersion")]
    schema_version: Option<u64>,
    #[serde(rename = "mediaType")]
    media_type: Option<String>,
    #[serde(rename = "artifactType")]
    artifact_type: Option<String>,
    config: Option<Exact<RawDescriptor>>,
    layers: Option<Vec<Exact<RawDescriptor>>>,
    blobs: Option<Vec<Exact<RawDescriptor>>>,
    manifests: Option<Vec<Exact<RawDescriptor>>>,
    subject: Option<Exact<RawDescriptor>>,
    annotations: Option<Annotations>,
    #[serde(rename = "fsLayers")]
    fs_layers: Option<IgnoredAny>,
}

/// A descriptor before its digest is checked.
#[derive(Deserialize)]
pub(super) struct RawDescriptor {
    #[serde(rename = "mediaType", default)]
    media_type: String,
    digest: String,
    size: u64,
}

impl RawDescriptor {
    pub(super) fn read(&self, field: &str) -> Result<Descriptor, InvalidManifest> {
        let digest = self
            .digest
            .parse()
            .map_err(|source| InvalidManifest::Digest { field: field.to_owned(), source })?;
        Ok(Descriptor { digest, size: self.size, media_type: self.media_type.clone() })
    }
}

/// A struct that stands as an object with its keys spelt as they are. Serde would also read an array as
/// a struct by position, which no other client does; and clients in Go take `Layers` for `layers`, and
/// the last of the two.
pub(super) struct Exact<T>(pub(super) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Exact<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::deserialize(AsObject(deserializer)).map(Self)
    }
}

/// Reads structs from objects only.
struct AsObject<D>(D);

impl<'de, D: Deserializer<'de>> Deserializer<'de> for AsObject<D> {
    type Error = D::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_any(visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.0.deserialize_map(Fields { fields, inner: visitor })
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

/// What visits an object, or walks through it, with the fields that are acted on.
struct Fields<T> {
    fields: &'static [&'static str],
    inner: T,
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Fields<V> {
    type Value = V::Value;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<V::Value, A::Error> {
        let fields = Fields { fields: self.fields, inner: map };
        self.inner.visit_map(fields)
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Fields<A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, A::Error> {
        let Some(key) = self.inner.next_key::<String>()? else { return Ok(None) };
        let taken_for = self.fields.iter().find(|field| **field != key && is_alike(field, &key));
        if let Some(field) = taken_for {
            return Err(A::Error::custom(format_args!(
                "the field {key:?} must be spelt {field:?}"
            )));
        }
        seed.deserialize(key.into_deserializer()).map(Some)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, A::Error> {
        self.inner.next_value_seed(seed)
    }
}

/// Whether Go's `encoding/json` takes one key for the other: letters in any case, and the two letters
/// beyond ASCII whose lower case is in it.
fn is_alike(field: &str, key: &str) -> bool {
    let folded = key.chars().map(|letter| match letter {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        other => other.to_ascii_lowercase(),
    });
    folded.eq(field.chars().map(|letter| letter.to_ascii_lowercase()))
}

/// A map of strings in the order of the document; values of other types are refused.
struct Annotations(Vec<(String, String)>);

impl<'de> Deserialize<'de> for Annotations {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = Annotations;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a map of strings")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Annotations, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Annotations(pairs))
            }
        }
        deserializer.deserialize_map(Pairs)
    }
}

/// A manifest document after the JSON is known to be unambiguous.
pub(super) struct Document {
    media_type: Option<String>,
    has_layers: bool,
    has_manifests: bool,
    pub(super) artifact_type: Option<String>,
    pub(super) config: Option<Exact<RawDescriptor>>,
    pub(super) layers: Vec<Exact<RawDescriptor>>,
    pub(super) manifests: Vec<Exact<RawDescriptor>>,
    pub(super) subject: Option<Exact<RawDescriptor>>,
    pub(super) annotations: Vec<(String, String)>,
}

impl Document {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, InvalidManifest> {
        // `from_slice` refuses trailing bytes and nests at most 128 deep.
        let Exact(raw) = serde_json::from_slice::<Exact<Raw>>(bytes)
            .map_err(|error| InvalidManifest::Json(error.to_string()))?;
        if raw.schema_version == Some(1) || raw.fs_layers.is_some() {
            return Err(InvalidManifest::SchemaOne);
        }
        if raw.layers.is_some() && raw.blobs.is_some() {
            return Err(InvalidManifest::Ambiguous);
        }
        Ok(Self {
            media_type: raw.media_type,
            has_layers: raw.layers.is_some() || raw.config.is_some() || raw.blobs.is_some(),
            has_manifests: raw.manifests.is_some(),
            artifact_type: raw.artifact_type,
            config: raw.config,
            // The artifact manifest of OCI 1.1's release candidates says `blobs`.
            layers: raw.layers.or(raw.blobs).unwrap_or_default(),
            manifests: raw.manifests.unwrap_or_default(),
            subject: raw.subject,
            annotations: raw.annotations.map(|pairs| pairs.0).unwrap_or_default(),
        })
    }

    /// Holds the document against the Content-Type it was sent with.
    pub(super) fn check(&self, content_type: &str) -> Result<(), InvalidManifest> {
        if let Some(found) = self.media_type.as_deref().filter(|found| *found != content_type) {
            return Err(InvalidManifest::ContentType {
                expected: content_type.to_owned(),
                found: found.to_owned(),
            });
        }
        if self.has_layers && self.has_manifests {
            return Err(InvalidManifest::Ambiguous);
        }
        match content_type {
            OCI_MANIFEST | DOCKER_MANIFEST if self.has_manifests => {
                return Err(InvalidManifest::Ambiguous);
            }
            OCI_MANIFEST | DOCKER_MANIFEST if self.config.is_none() => {
                return Err(InvalidManifest::Missing("config"));
            }
            OCI_INDEX | DOCKER_INDEX if self.has_layers => return Err(InvalidManifest::Ambiguous),
            OCI_INDEX | DOCKER_INDEX if !self.has_manifests => {
                return Err(InvalidManifest::Missing("manifests"));
            }
            _ => {}
        }
        Ok(())
    }
}
