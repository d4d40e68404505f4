//! The manifests that refer to one.

use crate::harness::{Answer, Client, INDEX, Manifest, World, digest, image};
use serde_json::{Value, json};

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
