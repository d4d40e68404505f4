//! Admission of manifest documents.

use super::*;
use crate::domain::Algorithm;

fn digest(content: &str) -> String {
    Algorithm::Sha256.hash(content.as_bytes()).to_string()
}

fn image(extra: &str) -> String {
    format!(
        r#"{{"schemaVersion":2,"mediaType":"{OCI_MANIFEST}",
        "config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{}","size":2}},
        "layers":[{{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"{}","size":3}}]{extra}}}"#,
        digest("config"),
        digest("layer"),
    )
}

fn parse(content_type: &str, text: &str) -> Result<ManifestView, InvalidManifest> {
    ManifestView::parse(content_type, text.as_bytes(), 10)
}

#[test]
fn an_image_needs_its_config_and_layers() {
    let view = parse(OCI_MANIFEST, &image("")).unwrap();
    assert_eq!(view.blobs.len(), 2);
    assert_eq!(view.artifact_type.as_deref(), Some("application/vnd.oci.image.config.v1+json"));
    assert!(view.children.is_empty() && view.subject.is_none());
}

#[test]
fn a_subject_and_unknown_fields_pass() {
    let extra = format!(
        r#","artifactType":"a/b","vendor":{{"x":[1,2]}},"annotations":{{"k":"v"}},
        "subject":{{"mediaType":"{OCI_MANIFEST}","digest":"{}","size":9}}"#,
        digest("subject")
    );
    let view = parse(OCI_MANIFEST, &image(&extra)).unwrap();
    assert_eq!(view.artifact_type.as_deref(), Some("a/b"));
    assert_eq!(view.subject.unwrap().digest.to_string(), digest("subject"));
    assert_eq!(view.annotations, [("k".to_owned(), "v".to_owned())]);
}

#[test]
fn documents_that_can_be_read_in_two_ways_are_refused() {
    assert_eq!(parse(OCI_MANIFEST, &image(r#","manifests":[]"#)), Err(InvalidManifest::Ambiguous));
    assert!(matches!(parse(DOCKER_MANIFEST, &image("")), Err(InvalidManifest::ContentType { .. })));
    assert!(matches!(
        parse(OCI_MANIFEST, &image(r#","layers":[]"#)),
        Err(InvalidManifest::Json(_))
    ));
    assert!(matches!(parse(OCI_MANIFEST, &(image("") + "{}")), Err(InvalidManifest::Json(_))));
    assert_eq!(
        parse(OCI_INDEX, r#"{"schemaVersion":2,"manifests":[],"layers":[]}"#),
        Err(InvalidManifest::Ambiguous)
    );
}

#[test]
fn a_key_in_another_case_is_refused_because_clients_in_go_take_it_for_ours() {
    for extra in [
        r#","Layers":[]"#,
        r#","CONFIG":null"#,
        r#","layer\u017f":[]"#,
        ",\"bLob\u{17f}\":[]",
        r#","MediaType":"a/b""#,
    ] {
        let refused = parse(OCI_MANIFEST, &image(extra));
        assert!(
            matches!(&refused, Err(InvalidManifest::Json(why)) if why.contains("must be spelt")),
            "{extra}: {refused:?}"
        );
    }
    let descriptor = image("").replace(r#","size":2"#, r#","size":2,"Digest":"sha256:00""#);
    assert!(matches!(parse(OCI_MANIFEST, &descriptor), Err(InvalidManifest::Json(_))));
    assert!(parse(OCI_MANIFEST, &image(r#","Vendor":1,"layer":[],"Configs":{}"#)).is_ok());
}

#[test]
fn a_descriptor_that_stands_as_a_list_is_refused() {
    let config = format!(r#"["a/b","{}",2]"#, digest("config"));
    let refused = parse(OCI_MANIFEST, &format!(r#"{{"config":{config},"layers":[]}}"#));
    assert!(matches!(refused, Err(InvalidManifest::Json(_))), "{refused:?}");
    let refused = parse(OCI_INDEX, &format!(r#"{{"manifests":[{config}]}}"#));
    assert!(matches!(refused, Err(InvalidManifest::Json(_))), "{refused:?}");
}

#[test]
fn an_index_needs_its_children_each_once() {
    let child =
        format!(r#"{{"mediaType":"{OCI_MANIFEST}","digest":"{}","size":7}}"#, digest("child"));
    let view = parse(OCI_INDEX, &format!(r#"{{"manifests":[{child},{child}]}}"#)).unwrap();
    assert_eq!(view.children.len(), 1);
    let other = child.replace("\"size\":7", "\"size\":8");
    assert!(matches!(
        parse(OCI_INDEX, &format!(r#"{{"manifests":[{child},{other}]}}"#)),
        Err(InvalidManifest::TwoSizes(_))
    ));
}

#[test]
fn foreign_layers_need_no_blob_but_urls_do_not_excuse_others() {
    let layer = |media_type: &str| {
        format!(
            r#"{{"config":{{"mediaType":"c","digest":"{}","size":2}},"layers":[
            {{"mediaType":"{media_type}","digest":"{}","size":3,"urls":["https://example.com/x"]}}]}}"#,
            digest("config"),
            digest("layer")
        )
    };
    assert_eq!(parse(OCI_MANIFEST, &layer(FOREIGN_LAYERS[1])).unwrap().blobs.len(), 1);
    let normal = "application/vnd.oci.image.layer.v1.tar+gzip";
    assert_eq!(parse(OCI_MANIFEST, &layer(normal)).unwrap().blobs.len(), 2);
}

#[test]
fn limits_and_wrong_types_are_refused_in_words() {
    let child = |n: usize| format!(r#"{{"digest":"{}","size":7}}"#, digest(&n.to_string()));
    let many: Vec<_> = (0..11).map(child).collect();
    assert_eq!(
        parse(OCI_INDEX, &format!(r#"{{"manifests":[{}]}}"#, many.join(","))),
        Err(InvalidManifest::TooManyDescriptors(10))
    );
    for bad in ["", "[]", "null", "{", r#"{"config":3}"#, r#"{"schemaVersion":1}"#] {
        assert!(parse("application/x", bad).is_err(), "{bad}");
    }
    assert_eq!(parse(OCI_MANIFEST, "{}"), Err(InvalidManifest::Missing("config")));
    assert_eq!(parse(OCI_INDEX, "{}"), Err(InvalidManifest::Missing("manifests")));
    let negative = image("").replace("\"size\":3", "\"size\":-3");
    assert!(matches!(parse(OCI_MANIFEST, &negative), Err(InvalidManifest::Json(_))));
}
