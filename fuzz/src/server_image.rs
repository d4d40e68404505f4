//! Configs of images as pages show them: anybody can have pushed any bytes.

use standpipe_server::registry::image::ImageConfig;

/// The most items of a list, and the most characters of a text with what says that it was cut.
const ITEMS: usize = 300;
const STEPS: usize = 4_000;

/// A config.
pub fn server_image(data: &[u8]) {
    let Some(config) = ImageConfig::read(data) else { return };
    let json: serde_json::Value = serde_json::from_slice(data).expect("it was read as JSON");
    assert!(json.is_object(), "a config of another kind");
    let lists =
        [&config.entrypoint, &config.command, &config.environment, &config.ports, &config.volumes];
    assert!(lists.iter().all(|list| list.len() <= ITEMS) && config.labels.len() <= ITEMS);
    assert!(config.steps.len() <= STEPS && config.layer_steps().len() <= config.steps.len());
    // Nothing is shown that was not in it, apart from the sign that something was cut off.
    let said = |text: &str| text.len() <= data.len() + "…".len();
    assert!(lists.into_iter().flatten().all(|text| said(text)));
    assert!(config.labels.iter().all(|(name, value)| said(name) && said(value)));
}
