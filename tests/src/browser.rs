//! A real browser: Chromium without a window, driven over WebDriver.
//!
//! Invariant: each browser has an empty profile of its own and talks to nobody but the address it is
//! sent to; the driver is stopped by its process id, and with it the browser.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use fantoccini::wd::WebDriverCompatibleCommand;
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use reqwest::{Method, Url};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::clients::{is_installed, skip};
use crate::disk::temporary_directory;
use crate::{environment, guardian, poll};

/// How long anything in a page is waited for.
const LIMIT: Duration = Duration::from_secs(60);

/// A running browser.
#[derive(Debug)]
pub struct Browser {
    /// The session.
    pub client: Client,
    driver: Child,
    _profile: TempDir,
}

/// What a reader has set.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// Width of the window in pixels.
    pub width: u32,
    /// Whether they prefer a dark page.
    pub dark: bool,
}

impl Browser {
    /// Starts one, or says that there is none.
    ///
    /// # Panics
    /// When it does not start, or when there is none on a build machine.
    pub async fn start() -> Option<Self> {
        if !is_installed("chromium") || !is_installed("chromedriver") {
            skip("chromium and chromium-driver are not installed; tests/install.sh does it");
            return None;
        }
        let profile = temporary_directory("browser");
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .env("PATH", environment::search_path())
            .env("HOME", profile.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("an installed program starts");
        guardian::watch_process(driver.id());
        let port = announced_port(&mut driver);
        let folder = format!("--user-data-dir={}", profile.path().join("profile").display());
        let arguments = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--hide-scrollbars",
            &folder,
        ];
        let options = json!({"args": arguments});
        let capabilities = json!({"goog:chromeOptions": options});
        let capabilities = capabilities.as_object().cloned().expect("an object");
        let client = ClientBuilder::new(HttpConnector::new())
            .capabilities(capabilities)
            .connect(&format!("http://127.0.0.1:{port}"))
            .await
            .expect("a session of the driver");
        Some(Self { client, driver, _profile: profile })
    }

    /// Ends the session and with it the browser.
    pub async fn close(self) {
        let _ = self.client.clone().close().await;
    }

    /// Sets width and colours.
    pub async fn look(&self, look: Look) {
        let scheme = if look.dark { "dark" } else { "light" };
        let size =
            json!({"width": look.width, "height": 900, "deviceScaleFactor": 1, "mobile": false});
        self.devtools("Emulation.setDeviceMetricsOverride", size).await;
        let features = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.devtools("Emulation.setEmulatedMedia", features).await;
    }

    /// Lets pages run scripts, or not.
    pub async fn scripts(&self, allowed: bool) {
        self.devtools("Emulation.setScriptExecutionDisabled", json!({"value": !allowed})).await;
    }

    /// A call of the browser's own protocol.
    ///
    /// # Panics
    /// When it fails.
    pub async fn devtools(&self, command: &str, parameters: Value) -> Value {
        let call = DevTools { command: command.to_owned(), parameters };
        let outcome = self.client.issue_cmd(call).await;
        outcome.unwrap_or_else(|error| panic!("{command}: {error}"))
    }

    /// Goes to an address.
    ///
    /// # Panics
    /// When the browser cannot.
    pub async fn go(&self, url: &str) {
        self.client.goto(url).await.unwrap_or_else(|error| panic!("{url}: {error}"));
    }

    /// Runs a script of the test's in the page.
    ///
    /// # Panics
    /// When it throws.
    pub async fn evaluate(&self, script: &str) -> Value {
        let outcome = self.client.execute(script, Vec::new()).await;
        outcome.unwrap_or_else(|error| panic!("{script}: {error}"))
    }

    /// Waits for an element and clicks it.
    ///
    /// # Panics
    /// When it does not come.
    pub async fn click(&self, css: &str) {
        poll::until(css, LIMIT, async || {
            let found = self.client.find(Locator::Css(css)).await.map_err(|e| e.to_string())?;
            found.click().await.map_err(|error| error.to_string())
        })
        .await;
    }

    /// Clicks what sends a form or follows a link, and waits until another page is there: what the
    /// server does for it is then done, whatever the page before it already said.
    ///
    /// # Panics
    /// When it does not come, or no other page comes.
    pub async fn submit(&self, css: &str) {
        let root = self.client.find(Locator::Css("html")).await.expect("a page");
        self.click(css).await;
        poll::until(&format!("the page after {css}"), LIMIT, async || {
            match root.tag_name().await {
                Ok(_) => Err("the page before it is still there"),
                Err(_gone) => Ok(()),
            }
        })
        .await;
    }

    /// Waits for a field and writes into it.
    ///
    /// # Panics
    /// When it does not come.
    pub async fn fill(&self, css: &str, text: &str) {
        poll::until(css, LIMIT, async || {
            let found = self.client.find(Locator::Css(css)).await.map_err(|e| e.to_string())?;
            found.clear().await.map_err(|error| error.to_string())?;
            found.send_keys(text).await.map_err(|error| error.to_string())
        })
        .await;
    }

    /// Waits until the page shows a text.
    ///
    /// # Panics
    /// When it does not.
    pub async fn shows(&self, text: &str) {
        poll::until(text, LIMIT, async || {
            let shown = self.text().await?;
            if shown.contains(text) { Ok(()) } else { Err(format!("the page shows: {shown}")) }
        })
        .await;
    }

    /// All text of the page.
    ///
    /// # Errors
    /// When there is no page at the moment.
    pub async fn text(&self) -> Result<String, String> {
        let body = self.client.find(Locator::Css("body")).await.map_err(|e| e.to_string())?;
        body.text().await.map_err(|error| error.to_string())
    }

    /// Signs in with the form.
    ///
    /// # Panics
    /// When that does not lead to a page with the user's name.
    pub async fn sign_in(&self, url: &str, username: &str, password: &str) {
        self.client.delete_all_cookies().await.expect("cookies can be deleted");
        self.go(&format!("{url}/sign-in")).await;
        self.fill("#username", username).await;
        self.fill("#password", password).await;
        self.submit("form.stack button").await;
        self.shows("Sign out").await;
    }

    /// Writes a picture of the whole page into the folder of pictures and returns where it is.
    ///
    /// # Panics
    /// When it cannot be taken or written.
    pub async fn picture(&self, name: &str) -> PathBuf {
        let size =
            self.evaluate("return [innerWidth, document.documentElement.scrollHeight]").await;
        let height = size[1].as_u64().unwrap_or(900).min(4000);
        let clip = json!({"x": 0, "y": 0, "width": size[0], "height": height, "scale": 1});
        let wanted = json!({"format": "png", "captureBeyondViewport": true, "clip": clip});
        let taken = self.devtools("Page.captureScreenshot", wanted).await;
        let text = taken["data"].as_str().expect("a picture");
        let bytes = base64::engine::general_purpose::STANDARD.decode(text).expect("base64");
        let folder = environment::pictures();
        std::fs::create_dir_all(&folder).expect("a folder of pictures");
        let path = folder.join(format!("{name}.png"));
        std::fs::write(&path, bytes).expect("a picture is written");
        path
    }

    /// What axe finds that is serious or critical, in words; empty if nothing is.
    ///
    /// # Panics
    /// When axe does not run.
    pub async fn barriers(&self, axe: &str) -> Vec<String> {
        // The page's own policy forbids foreign scripts; the driver's are not of the page.
        self.evaluate(&format!("{axe}\nwindow.axe = axe; return typeof axe")).await;
        let script = "const done = arguments[arguments.length - 1]; axe.run(document, {resultTypes: ['violations']}).then((found) => done(found.violations.filter((v) => ['serious', 'critical'].includes(v.impact)).map((v) => v.id + ': ' + v.help + ' at ' + v.nodes.slice(0, 4).map((n) => n.html.slice(0, 160)).join(' | '))), (error) => done(['axe failed: ' + error]));";
        let found = self.client.execute_async(script, Vec::new()).await.expect("axe runs");
        let found = found.as_array().cloned().unwrap_or_default();
        found.iter().filter_map(Value::as_str).map(str::to_owned).collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.driver.kill();
        let _ = self.driver.wait();
        guardian::forget_process(self.driver.id());
    }
}

/// The source of axe-core, which `tests/install.sh` brings.
///
/// # Panics
/// When it is not there on a build machine.
#[must_use]
pub fn axe() -> Option<String> {
    let path = environment::axe();
    match std::fs::read_to_string(Path::new(&path)) {
        Ok(text) => Some(text),
        Err(error) => {
            skip(&format!("axe-core is not installed ({error}); tests/install.sh does it"));
            None
        }
    }
}

/// The port that the driver says it listens on.
fn announced_port(driver: &mut Child) -> u16 {
    let output = driver.stdout.take().expect("the driver's output is ours");
    let mut lines = BufReader::new(output).lines().map_while(Result::ok);
    let port = lines
        .find_map(|line| line.split("successfully on port ").nth(1).map(str::to_owned))
        .and_then(|rest| rest.trim_end_matches('.').parse().ok())
        .filter(|port| *port != 0);
    // Goes on reading, so that the driver never waits for somebody to do it.
    std::thread::spawn(move || lines.for_each(drop));
    port.expect("the driver says its port")
}

/// A call of the browser's own protocol through the driver.
#[derive(Debug)]
struct DevTools {
    command: String,
    parameters: Value,
}

impl WebDriverCompatibleCommand for DevTools {
    fn endpoint(
        &self,
        base: &Url,
        session: Option<&str>,
    ) -> Result<Url, <Url as std::str::FromStr>::Err> {
        base.join(&format!("session/{}/goog/cdp/execute", session.unwrap_or_default()))
    }

    fn method_and_body(&self, _: &Url) -> (Method, Option<String>) {
        let body = json!({"cmd": self.command, "params": self.parameters});
        (Method::POST, Some(body.to_string()))
    }
}
