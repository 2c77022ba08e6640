//! A headless Chromium inside a namespace, steered over `WebDriver`, which is JSON over HTTP.

use std::{
    env, fs,
    net::{SocketAddr, TcpStream},
    path::Path,
};

use anyhow::{Context, Result, ensure};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

use crate::{
    http::exchange,
    netns::Namespace,
    process::Child,
    require,
    wait::{holds_within, wait_until},
    world::DEADLINE,
};

/// Where the driver listens, inside.
const DRIVER: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9515);

/// A browser with one page.
#[derive(Debug)]
pub struct Browser<'a> {
    namespace: &'a Namespace,
    session: String,
    _driver: Child,
    _profile: tempfile::TempDir,
}

impl<'a> Browser<'a> {
    /// Starts one; `None`, said loudly, where `cargo xtask` has not set one up.
    pub fn start(namespace: &'a Namespace) -> Result<Option<Self>> {
        let Some(program) = env::var_os("SWF_FILTER_CHROMEDRIVER") else {
            require::skip("needs SWF_FILTER_CHROMEDRIVER: run `cargo xtask test`");
            return Ok(None);
        };
        let profile = tempfile::Builder::new().prefix("swft-").tempdir()?;
        // Browsers outlive their driver. In a namespace of processes, they end with its first.
        let mut command = namespace.command("unshare");
        command.args(["--pid", "--fork", "--kill-child", "--mount-proc"]);
        let port = format!("--port={}", DRIVER.port());
        command.arg(program).arg(port).env("HOME", profile.path());
        let driver = Child::spawn("chromedriver", &mut command)?;
        wait_until(DEADLINE, "a driver that listens", || {
            namespace.run(|| TcpStream::connect(DRIVER).is_ok())
        });
        let folder = format!("--user-data-dir={}", profile.path().display());
        let arguments = [
            "--headless=new",
            // Of root's processes Chromium makes no sandbox.
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--window-size=1360,1000",
            &folder,
        ];
        let mut browser = Self {
            namespace,
            session: String::new(),
            _driver: driver,
            _profile: profile,
        };
        let options = json!({"args": arguments});
        let wanted = json!({"capabilities": {"alwaysMatch": {
            "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}
        }}});
        let answer = browser.ask("POST", "/session", &wanted)?;
        let id = answer["sessionId"].as_str().context("no session")?;
        browser.session = format!("/session/{id}");
        Ok(Some(browser))
    }

    /// Goes to a page, and waits until it is loaded.
    pub fn open(&self, address: &str) -> Result<()> {
        self.order("/url", &json!({"url": address})).map(drop)
    }

    /// What a script returns.
    pub fn run(&self, script: &str) -> Result<Value> {
        self.order("/execute/sync", &json!({"script": script, "args": []}))
    }

    /// Waits until a script returns true.
    ///
    /// Fails with what the page shows if it does not.
    pub fn wait_for(&self, what: &str, script: &str) -> Result<()> {
        let holds = || self.run(script).is_ok_and(|value| value == true);
        if holds_within(DEADLINE, holds) {
            return Ok(());
        }
        let shows = self.run("return document.body.innerText")?;
        anyhow::bail!(
            "no {what}: {shows}, and in the console {:?}",
            self.console()?
        )
    }

    /// Whether the page is to be light or dark.
    pub fn prefer(&self, scheme: &str) -> Result<()> {
        let features = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        self.devtools("Emulation.setEmulatedMedia", &json!({"features": features}))
    }

    /// Gives the page's window another size.
    pub fn resize(&self, width: u32, height: u32) -> Result<()> {
        let size =
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.devtools("Emulation.setDeviceMetricsOverride", &size)
    }

    fn devtools(&self, command: &str, parameters: &Value) -> Result<()> {
        let order = json!({"cmd": command, "params": parameters});
        self.order("/goog/cdp/execute", &order).map(drop)
    }

    /// Errors and warnings that the page has had since they were asked for.
    pub fn console(&self) -> Result<Vec<String>> {
        let lines = self.order("/se/log", &json!({"type": "browser"}))?;
        let lines = lines.as_array().context("no list of lines")?.iter();
        let lines = lines.map(|line| line["message"].to_string());
        // The page that a new browser begins with has a word to say, too.
        Ok(lines.filter(|line| !line.contains("chrome://")).collect())
    }

    /// Saves a picture of what is in the window.
    pub fn screenshot(&self, path: &Path) -> Result<()> {
        let picture = self.ask("GET", &format!("{}/screenshot", self.session), &json!({}))?;
        let picture = picture.as_str().context("no picture")?;
        Ok(fs::write(path, BASE64_STANDARD.decode(picture)?)?)
    }

    fn order(&self, path: &str, body: &Value) -> Result<Value> {
        self.ask("POST", &format!("{}{path}", self.session), body)
    }

    fn ask(&self, method: &str, path: &str, body: &Value) -> Result<Value> {
        let head =
            format!("{method} {path} HTTP/1.1\nHost: {DRIVER}\nContent-Type: application/json");
        let body = if method == "GET" {
            String::new()
        } else {
            body.to_string()
        };
        let answer = exchange(self.namespace, DRIVER, &head, &body)?;
        let mut value: Value = serde_json::from_str(&answer.body)?;
        ensure!(answer.status == 200, "{path}: {value}");
        Ok(value["value"].take())
    }
}
