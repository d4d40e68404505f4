//! The manifests that refer to one.

use crate::harness::{
    Answer, BOTH, Client, INDEX, Manifest, World, digest, image, image_in, index_in, sum,
};
use serde_json::{Value, json};
use standpipe_server::domain::Algorithm::{Sha256, Sha512};

const NAME: &str = "acme/shop";

async fn ann() -> (World, Client) {
    let world = World::new().await;
    let ann = world.client("ann").await;
    (world, ann)
}

/// Pushes something about `subject`.
async fn attach(ann: &Client, subject: &Manifest, artifact_type: &str, note: &str) -> Manifest {
    let about = image(
        &[],
        &json!({
            "subject": subject.descriptor(),
            "artifactType": artifact_type,
            "annotations": { "note": note },
        }),
    );
    let _ = ann.put_manifest(NAME, &about.digest(), &about).await.expect(201);
    about
}

fn listed(answer: &Answer) -> Vec<Value> {
    let index = answer.json();
    assert_eq!(answer.header("content-type"), INDEX);
    assert_eq!((&index["schemaVersion"], &index["mediaType"]), (&json!(2), &json!(INDEX)));
    index["manifests"].as_array().expect("a list").clone()
}

#[tokio::test]
async fn referrers_are_listed_with_what_tells_them_apart() {
    let (_world, ann) = ann().await;
    let subject = ann.push_image(NAME, "latest", "one").await;
    let sbom = attach(&ann, &subject, "application/spdx+json", "a").await;
    let mut expected = sbom.descriptor();
    expected["artifactType"] = json!("application/spdx+json");
    expected["annotations"] = json!({ "note": "a" });
    let answer = ann.get(&format!("/v2/{NAME}/referrers/{}", subject.digest())).await.expect(200);
    assert_eq!(listed(&answer), [expected]);
    assert_eq!(answer.header("oci-filters-applied"), "");
    let none = ann.get(&format!("/v2/{NAME}/referrers/{}", sbom.digest())).await.expect(200);
    assert_eq!(listed(&none), Vec::<Value>::new());
}

#[tokio::test]
async fn a_filter_is_applied_and_said_to_be() {
    let (_world, ann) = ann().await;
    let subject = ann.push_image(NAME, "latest", "one").await;
    let sbom = attach(&ann, &subject, "application/spdx+json", "a").await;
    let _ = attach(&ann, &subject, "application/vnd.signature", "b").await;
    let base = format!("/v2/{NAME}/referrers/{}", subject.digest());
    let filtered =
        ann.get(&format!("{base}?artifactType=application%2Fspdx%2Bjson")).await.expect(200);
    assert_eq!(filtered.header("oci-filters-applied"), "artifactType");
    let found: Vec<_> = listed(&filtered).iter().map(|one| one["digest"].clone()).collect();
    assert_eq!(found, [json!(sbom.digest())]);
    let nothing = ann.get(&format!("{base}?artifactType=x/y")).await.expect(200);
    assert_eq!(nothing.header("oci-filters-applied"), "artifactType");
    assert_eq!(listed(&nothing).len(), 0);
    assert_eq!(listed(&ann.get(&format!("{base}?artifactType=")).await.expect(200)).len(), 2);
}

#[tokio::test]
async fn pages_of_referrers_lead_through_all_of_them() {
    let (_world, ann) = ann().await;
    let subject = ann.push_image(NAME, "latest", "one").await;
    let mut expected = Vec::new();
    for number in 0..5 {
        expected.push(attach(&ann, &subject, "a/b+c", &number.to_string()).await.digest());
    }
    expected.sort_unstable();
    let mut path = format!("/v2/{NAME}/referrers/{}?n=2&artifactType=a%2Fb%2Bc", subject.digest());
    let mut found = Vec::new();
    loop {
        let page = ann.get(&path).await.expect(200);
        assert!(listed(&page).len() <= 2);
        for one in listed(&page) {
            found.push(one["digest"].as_str().expect("a digest").to_owned());
        }
        let Some(next) = page.header("link").strip_suffix(">; rel=\"next\"") else { break };
        path = next.strip_prefix('<').expect("a link").to_owned();
        assert!(path.contains("artifactType=a%2Fb%2Bc"), "{path}");
    }
    assert_eq!(found, expected);
}

#[tokio::test]
async fn referrers_of_what_may_not_be_seen_look_like_those_of_nothing() {
    let (world, ann) = ann().await;
    let subject = ann.push_image(NAME, "latest", "one").await;
    let _ = attach(&ann, &subject, "a/b", "a").await;
    let eve = world.client("eve").await;
    let seen = |name: &str, sum: &str| format!("/v2/{name}/referrers/{sum}");
    let hidden = eve.get(&seen(NAME, &subject.digest())).await.expect(200);
    let absent = eve.get(&seen("acme/nothing", &digest(b"x"))).await.expect(200);
    assert_eq!(listed(&hidden).len(), 0);
    assert_eq!(hidden.body, absent.body);
    let _ =
        world.anonymous().get(&seen(NAME, &subject.digest())).await.refused(401, "UNAUTHORIZED");
    let narrow = world.narrowed(&ann, &["repository:acme/shop-web:pull"]).await;
    let refused = narrow.get(&seen(NAME, &subject.digest())).await.refused(401, "UNAUTHORIZED");
    assert!(refused.header("www-authenticate").contains("insufficient_scope"));
}

#[tokio::test]
async fn a_subject_is_confirmed_and_found_before_it_is_there() {
    let (_world, ann) = ann().await;
    let _ = ann.push_blob(NAME, b"{}").await;
    for algorithm in BOTH {
        let _ = ann.push_blob_in(algorithm, NAME, b"{}").await;
        let _ = ann.push_blob_in(algorithm, NAME, b"later").await;
        let subject = image_in(algorithm, &[b"later"], &json!({}));
        let described = subject.descriptor_in(algorithm);
        let named = subject.digest_in(algorithm);
        let more = json!({ "subject": described, "artifactType": "a/b" });
        // An image and an index, by digest and by tag.
        let (one, two) = (image_in(algorithm, &[], &more), index_in(algorithm, &[], &more));
        for referrer in [&one, &two] {
            for reference in [referrer.digest_in(algorithm), "about".to_owned()] {
                let stored = ann.put_manifest(NAME, &reference, referrer).await.expect(201);
                assert_eq!(stored.header("oci-subject"), named);
            }
        }
        let path = format!("/v2/{NAME}/referrers/{named}");
        let mut expected: Vec<String> =
            [&one, &two].iter().map(|one| one.digest_in(algorithm)).collect();
        if algorithm == Sha512 {
            // Pushed by tag, they are there under sha256, too.
            expected.extend([one.digest(), two.digest()]);
        }
        expected.sort_unstable();
        let found = |answer: &Answer| -> Vec<String> {
            let mut found: Vec<String> = listed(answer)
                .iter()
                .map(|one| one["digest"].as_str().expect("a digest").to_owned())
                .collect();
            found.sort_unstable();
            found
        };
        assert_eq!(found(&ann.get(&path).await.expect(200)), expected);
        let _ = ann.put_manifest(NAME, &named, &subject).await.expect(201);
        assert_eq!(found(&ann.get(&path).await.expect(200)), expected);
        // The list belongs to the digest that the subject was named by.
        let other = if algorithm == Sha256 { Sha512 } else { Sha256 };
        let path = format!("/v2/{NAME}/referrers/{}", subject.digest_in(other));
        assert_eq!(listed(&ann.get(&path).await.expect(200)).len(), 0);
    }
}

#[tokio::test]
async fn the_artifact_type_is_the_manifests_own_or_its_configs_and_an_index_may_have_none() {
    let (_world, ann) = ann().await;
    let subject = ann.push_image(NAME, "latest", "one").await;
    let about = json!({ "subject": subject.descriptor() });
    let with = |extra: Value| {
        let mut more = about.clone();
        for (key, value) in extra.as_object().expect("fields") {
            more[key] = value.clone();
        }
        more
    };
    let config = json!("application/vnd.oci.image.config.v1+json");
    for (what, manifest, expected) in [
        ("own", image(&[], &with(json!({ "artifactType": "a/b" }))), json!("a/b")),
        ("none", image(&[], &with(json!({ "annotations": { "n": "1" } }))), config.clone()),
        ("empty", image(&[], &with(json!({ "artifactType": "" }))), config),
        ("index", index_in(Sha256, &[], &with(json!({ "artifactType": "a/b" }))), json!("a/b")),
        (
            "bare index",
            index_in(Sha256, &[], &with(json!({ "annotations": { "n": "2" } }))),
            Value::Null,
        ),
        ("empty index", index_in(Sha256, &[], &with(json!({ "artifactType": "" }))), Value::Null),
    ] {
        let _ = ann.put_manifest(NAME, &manifest.digest(), &manifest).await.expect(201);
        let path = format!("/v2/{NAME}/referrers/{}", subject.digest());
        let all = listed(&ann.get(&path).await.expect(200));
        let found = all.iter().find(|one| one["digest"] == manifest.digest()).expect(what);
        assert_eq!(found["artifactType"], expected, "{what}");
        assert_eq!(found.get("artifactType").is_none(), expected.is_null(), "{what}");
        assert_eq!(found["mediaType"], manifest.media_type, "{what}");
        assert_eq!(found["size"], manifest.bytes.len(), "{what}");
    }
}

#[tokio::test]
async fn a_list_that_is_too_large_for_one_answer_goes_on_behind_its_link() {
    let (_world, ann) = ann().await;
    let subject = ann.push_image(NAME, "latest", "one").await;
    let mut expected = Vec::new();
    for number in 0..6 {
        let note = number.to_string().repeat(1_000_000);
        expected.push(attach(&ann, &subject, "a/b", &note).await.digest());
    }
    expected.sort_unstable();
    for query in ["", "?artifactType=a%2Fb"] {
        let pages = ann.pages(&format!("/v2/{NAME}/referrers/{}{query}", subject.digest())).await;
        assert!(pages.len() > 1);
        let mut found = Vec::new();
        for page in &pages {
            // Clients read no more than that.
            assert!(page.body.len() <= 4 << 20, "{}", page.body.len());
            let applied = if query.is_empty() { "" } else { "artifactType" };
            assert_eq!(page.header("oci-filters-applied"), applied);
            found.extend(
                listed(page).iter().map(|one| one["digest"].as_str().expect("a digest").to_owned()),
            );
        }
        assert_eq!(found, expected);
    }
}

/// The tag under which clients keep the referrers of a subject where the registry does not
/// (distribution-spec, "Referrers Tag Schema").
fn fallback_tag(subject: &str) -> String {
    let (algorithm, encoded) = subject.split_once(':').expect("a digest");
    format!("{algorithm}-{}", &encoded[..64])
}

#[tokio::test]
async fn what_a_fallback_tag_lists_is_listed_if_it_names_the_subject() {
    let (_world, ann) = ann().await;
    for algorithm in BOTH {
        let subject = ann.push_image_in(algorithm, NAME, "subject").await;
        let other = ann.push_image_in(algorithm, NAME, "other").await;
        let named = subject.digest_in(algorithm);
        let about = |subject: &Manifest, note: &str| {
            let annotations = json!({ "note": note });
            let subject = subject.descriptor_in(algorithm);
            image_in(algorithm, &[], &json!({ "subject": subject, "annotations": annotations }))
        };
        // As a client copies a package from a registry that has no such list: all manifests first, then
        // the index under the fallback tag.
        let (one, two) = (about(&subject, "one"), about(&subject, "two"));
        let foreign = about(&other, "about another");
        for manifest in [&one, &two, &foreign] {
            let _ =
                ann.put_manifest(NAME, &manifest.digest_in(algorithm), manifest).await.expect(201);
        }
        let fallback = index_in(algorithm, &[&one, &two, &foreign, &other], &json!({}));
        let tag = fallback_tag(&named);
        let _ = ann.put_manifest(NAME, &tag, &fallback).await.expect(201);
        let path = format!("/v2/{NAME}/referrers/{named}");
        let mut found: Vec<Value> = listed(&ann.get(&path).await.expect(200))
            .iter()
            .map(|one| one["digest"].clone())
            .collect();
        found.sort_by_key(ToString::to_string);
        // Each once, and nothing that the index only claims.
        let mut expected = [one.digest_in(algorithm), two.digest_in(algorithm)];
        expected.sort_unstable();
        assert_eq!(found, expected.map(Value::String));
        // The tag itself stays what the client made of it.
        let got = ann.get(&format!("/v2/{NAME}/manifests/{tag}")).await.expect(200);
        assert_eq!(got.body, fallback.bytes);
    }
}

#[tokio::test]
async fn a_deleted_referrer_is_gone_from_the_list_at_once() {
    let (_world, ann) = ann().await;
    let subject = ann.push_image(NAME, "latest", "one").await;
    let sbom = attach(&ann, &subject, "a/b", "a").await;
    let path = format!("/v2/{NAME}/referrers/{}", subject.digest());
    assert_eq!(listed(&ann.get(&path).await.expect(200)).len(), 1);
    let _ = ann.delete(&format!("/v2/{NAME}/manifests/{}", sbom.digest())).await.expect(202);
    assert_eq!(listed(&ann.get(&path).await.expect(200)).len(), 0);
}

#[tokio::test]
async fn what_is_no_digest_has_no_list() {
    let (_world, ann) = ann().await;
    let upper = sum(Sha256, b"x").to_uppercase();
    for bad in ["latest", "sha256:abc", "md5:d41d8cd98f00b204e9800998ecf8427e", upper.as_str()] {
        let path = format!("/v2/{NAME}/referrers/{bad}");
        let _ = ann.get(&path).await.refused(400, "DIGEST_INVALID");
    }
    for algorithm in BOTH {
        let path = format!("/v2/{NAME}/referrers/{}", sum(algorithm, b"unknown"));
        let answer = ann.get(&path).await.expect(200);
        assert_eq!(listed(&answer), Vec::<Value>::new());
        assert_eq!(answer.header("link"), "");
    }
}
