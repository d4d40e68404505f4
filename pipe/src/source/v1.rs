//! The names that engines up to 24 give to the folders of layers in an export.
//!
//! Such a name is the hash of a little JSON that, for every layer but the last, follows from the
//! diffIDs alone (moby, image/tarexport/save.go and image/v1/imagev1.go, `CreateID`). So a layer
//! that is not needed is passed over without being hashed.
//! Invariant: names are hints. Whoever relies on one notices a wrong hint, because a layer that is
//! needed is then missing.

use std::collections::HashMap;

use crate::image::Digest;

/// The folders of an export.
#[derive(Debug)]
pub(super) struct Folders<'a> {
    names: HashMap<String, &'a Digest>,
    last: Option<&'a Digest>,
    /// A folder was met whose name was foreseen: this engine makes names as we do.
    agreed: bool,
}

impl<'a> Folders<'a> {
    /// Those of an image with these layers, bottom first.
    pub(super) fn of(diff_ids: &'a [Digest]) -> Self {
        let mut names = HashMap::new();
        let (mut chain, mut parent): (Option<Digest>, Option<String>) = (None, None);
        let below_the_last = diff_ids.len().saturating_sub(1);
        for diff_id in &diff_ids[..below_the_last] {
            // image-spec, config.md, "Layer ChainID".
            let next = match &chain {
                None => diff_id.clone(),
                Some(chain) => Digest::of(format!("{chain} {diff_id}").as_bytes()),
            };
            let parent_field =
                parent.map(|name| format!(r#","parent":"sha256:{name}""#)).unwrap_or_default();
            let json = format!(
                r#"{{"container_config":{EMPTY},"created":"1970-01-01T00:00:00Z","layer_id":"{next}"{parent_field}}}"#
            );
            let name = Digest::of(json.as_bytes()).hex().to_owned();
            names.insert(name.clone(), diff_id);
            (chain, parent) = (Some(next), Some(name));
        }
        Self { names, last: diff_ids.last(), agreed: diff_ids.len() == 1 }
    }

    /// The layer in the folder `name`, if that can be told.
    pub(super) fn layer(&mut self, name: &str) -> Option<&'a Digest> {
        match self.names.get(name) {
            Some(diff_id) => {
                self.agreed = true;
                Some(diff_id)
            }
            // The name of the last one depends on the configuration as well.
            None => self.last.filter(|_| self.agreed),
        }
    }
}

/// Go's `container.Config` without anything in it.
const EMPTY: &str = r#"{"Hostname":"","Domainname":"","User":"","AttachStdin":false,"AttachStdout":false,"AttachStderr":false,"Tty":false,"OpenStdin":false,"StdinOnce":false,"Env":null,"Cmd":null,"Image":"","Volumes":null,"WorkingDir":"","Entrypoint":null,"OnBuild":null,"Labels":null}"#;

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(hex: &str) -> Digest {
        Digest::from_hex(hex).unwrap()
    }

    #[test]
    fn names_are_those_that_engine_20_10_has_written() {
        let diff_ids = [digest(DIFF_IDS[0]), digest(DIFF_IDS[1]), digest(DIFF_IDS[2])];
        let mut folders = Folders::of(&diff_ids);
        assert_eq!(folders.layer("anything"), None, "nothing says yet that the engine agrees");
        assert_eq!(folders.layer(NAMES[1]), Some(&diff_ids[1]));
        assert_eq!(folders.layer(NAMES[0]), Some(&diff_ids[0]));
        assert_eq!(folders.layer(NAMES[2]), Some(&diff_ids[2]));
    }

    #[test]
    fn the_only_layer_has_the_only_folder() {
        let diff_ids = [digest(DIFF_IDS[0])];
        assert_eq!(Folders::of(&diff_ids).layer("anything"), Some(&diff_ids[0]));
        assert_eq!(Folders::of(&[]).layer("anything"), None);
    }

    const DIFF_IDS: [&str; 3] = [
        "9246c6891f86214e1a0e6b7a7b81f9f2ef576a1d57247d890e540565b4e30e64",
        "c09a4b58480a49d5184478b84f712b92ab7be759e3ce56272fe071ec1296e0b4",
        "a9c10cf4e50d9eeaa13150dbde0ab5c9f732ca6730376a8a85e1ea886ec8429d",
    ];
    const NAMES: [&str; 3] = [
        "2ab0c4958ee04da774734868876c710cb06ac40489b78719ec7c8d7f91344dd5",
        "b60610b88fa40ee906d040c9ba89a3d9083d0103e96a0aac8d4b4da31b525ded",
        "4c76534daffae7cf24f21833b8a25eadf97febce4fd373155050968a53063ed2",
    ];
}
