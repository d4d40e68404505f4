//! Scratch.
use standpipe_tests::clients::*;
use standpipe_tests::images;
#[tokio::test]
async fn scratch() {
    let mut clients = Vec::new();
    for k in Kind::ALL { clients.push(Client::find(k).await.unwrap()); }
    let t = std::time::Instant::now();
    let image = images::build(&clients[0], "localhost/matrix:1", 77, &[2<<20, 5<<20, 110<<20]).await;
    eprintln!("build {:?}", t.elapsed());
    let mut pushed = vec![];
    for c in &clients {
        let t = std::time::Instant::now();
        let d = c.push(&image, &format!("127.0.0.1:5999/acme/from-{}:1", c.name())).await;
        eprintln!("push {} {d} {:?}", c.name(), t.elapsed());
        pushed.push((c.name(), d));
    }
    for c in &clients { c.forget_images(&image).await; }
    for (p, d) in &pushed { for c in &clients {
        let t = std::time::Instant::now();
        let got = c.pull(&format!("127.0.0.1:5999/acme/from-{p}:1")).await;
        eprintln!("{} pulls {p} {} {:?}", c.name(), got == *d, t.elapsed());
    }}
    let layout = clients[3].fresh_folder("layout");
    let digest = images::oci_layout(&layout, 1, &["amd64", "arm64", "s390x"]);
    let source = format!("oci:{}", layout.display());
    let f = clients[3].command(&["copy", "--all", "--preserve-digests", "--src-tls-verify=false", "--dest-tls-verify=false", &source, "docker://127.0.0.1:5999/acme/multi:1"]).finish().await;
    eprintln!("{f} {digest}");
}
