//! Lists of networks, as texts in files and variables.

use crate::domain::Network;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize as _, Serializer};

pub(super) fn serialize<S: Serializer>(
    networks: &Option<Vec<Network>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let texts = networks.as_ref().map(|all| all.iter().map(Network::to_string).collect::<Vec<_>>());
    texts.serialize(serializer)
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Vec<Network>>, D::Error> {
    let Some(texts) = Option::<Vec<String>>::deserialize(deserializer)? else { return Ok(None) };
    let networks = texts.iter().map(|text| {
        let network = text.trim().parse::<Network>();
        network.map_err(|error| D::Error::custom(format_args!("{text:?}: {error}")))
    });
    networks.collect::<Result<_, _>>().map(Some)
}
